"""The run as an MLflow run: a projection of what lies in the run's folder, made after the fact, as often as one likes.

The store is one sqlite file and a folder of artifacts; no server. A run that was stored before is brought up to date, not
stored twice: `mlflow.json` in the run's folder remembers which one it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

from ami.errors import TraceError
from ami.evaluation.table import FILE as SUMMARY_FILE
from ami.learning.learning_log import read_rows
from ami.storage.files import FileKind, write_json
from ami.storage.schema import Like
from ami.trace.header import read_header
from ami.tracking.mlflow_database import ARTIFACTS, DATABASE, opened
from ami.tracking.mlflow_traces import OF_RUN, known_trees, store_trees
from ami.views.spans import Forest, Sample, identity_of
from ami.views.tables import Tables

MEMORY = "mlflow.json"
MAX_KEY, MAX_VALUE, MAX_PARAMETERS, MAX_METRICS = 250, 6000, 100, 1000  # what one batch of MLflow takes
SHORT = Sample(every=20, episodes=10)  # what every run stores of itself; `ami trace sync` stores more
Row = Mapping[str, float | str]
RunId = Annotated[str, Like(r"\w{1,100}", "the id of an MLflow run")]


class Memory(TypedDict):
    """What `mlflow.json` holds."""

    run_id: RunId
    experiment: NotRequired[str]
    children: NotRequired[dict[str, RunId]]


MEMORY_FILE = FileKind("the memory of an MLflow run", TraceError, "delete it: the run is then stored anew", schema=Memory)


class Synced(NamedTuple):
    """What `sync` did.

    Attributes:
        experiment_id, run_id: MLflow's.
        written: how many traces it wrote.
        stored: how many of the run there are now.
        surprise: which one tick in ten exceeds; None where nothing tells of it.
    """

    experiment_id: str
    run_id: str
    written: int
    stored: int
    surprise: float | None


def store(folder: Path, store_folder: Path, experiment: str = "ami", parameters: Mapping[str, Any] | None = None,
          metrics: Mapping[str, Any] | None = None, rows: Sequence[Row] | None = None, sample: Sample | None = SHORT) -> str:
    """Store a finished run: parameters, metrics, every file of its folder and traces of some ticks and episodes.

    Args:
        folder: the run's folder.
        store_folder: holds `mlflow.db` and `mlartifacts/`; made if missing.
        experiment: the MLflow experiment.
        parameters: nested plain values; None takes every setting of the run's header, the defaults of constructors too.
        metrics: nested numbers; None takes `summary.json` from the run's folder.
        rows: figures over the steps of learning, each with "step" and perhaps "stage"; None takes `learning.jsonl` from the
            run's folder.
        sample: which ticks and episodes become MLflow traces; None stores none.

    Returns:
        The MLflow run's id.

    Raises:
        TraceError: there is no run in this folder.
        SettingError: the store cannot be made, or what is there cannot be read.
    """
    folder, store_folder = Path(folder), Path(store_folder).resolve()
    header = read_header(folder)
    with opened(store_folder) as (mlflow, client, uri):
        experiment_id = experiment_of(client, experiment, store_folder)
        run_id = _store_run(mlflow, client, folder, header, experiment, experiment_id, parameters, metrics, rows)
        forest = None if sample is None else _forest(folder)
        if sample is not None and forest is not None:
            store_trees(client, uri, forest, sample, experiment_id, run_id)
    return run_id


def sync(folder: Path, store_folder: Path, sample: Sample, experiment: str = "ami") -> Synced:
    """Bring the MLflow traces of a run up to date: what is missing is written, what is there is left alone.

    It may be killed at any moment: the next call goes on, and nothing is there twice. A run that MLflow does not know yet is
    stored as well, as `store` does.

    Args:
        folder: the run's folder.
        store_folder: holds `mlflow.db` and `mlartifacts/`; made if missing.
        sample: which ticks and episodes.
        experiment: the MLflow experiment.

    Raises:
        TraceError: there is no run in this folder.
        SettingError: the store cannot be made, or what is there cannot be read.
    """
    folder, store_folder = Path(folder), Path(store_folder).resolve()
    header = read_header(folder)
    forest = _forest(folder)
    with opened(store_folder) as (mlflow, client, uri):
        experiment_id = experiment_of(client, experiment, store_folder)
        known = known_run(mlflow, client, remembered_run(folder))
        if known is None or client.get_run(known).info.status != "FINISHED":
            known = _store_run(mlflow, client, folder, header, experiment, experiment_id)
        else:
            experiment_id = client.get_run(known).info.experiment_id
        written = 0 if forest is None else store_trees(client, uri, forest, sample, experiment_id, known)
        return Synced(experiment_id, known, written, len(known_trees(client, experiment_id, known)),
                      None if forest is None else forest.surprise(0.9))


def _forest(folder: Path) -> Forest | None:
    """The trace of a run; None without one: a run without tracing is still a run."""
    try:
        return Forest(Tables.load(folder))
    except TraceError:
        return None


def store_family(folder: Path, store_folder: Path, parameters: Mapping[str, Any],
                 children: Mapping[str, Mapping[str, Any]], experiment: str = "ami") -> str:
    """Store a comparison: a parent run with the files of its folder, and in it one run per variant.

    Args:
        folder: the comparison's folder, which also names the parent run.
        store_folder: holds `mlflow.db` and `mlartifacts/`; made if missing.
        parameters: of the parent, nested plain values.
        children: by name, {"parameters": nested plain values, "metrics": nested numbers}.
        experiment: the MLflow experiment.

    Returns:
        The parent run's id.
    """
    folder, store_folder = Path(folder), Path(store_folder).resolve()
    with opened(store_folder) as (mlflow, client, _):
        experiment_id = experiment_of(client, experiment, store_folder)
        remembered = _read(folder / MEMORY, MEMORY_FILE)
        parent = known_run(mlflow, client, remembered.get("run_id")) or str(client.create_run(
            experiment_id, run_name=folder.resolve().name, tags={"ami.kind": "comparison"}).info.run_id)
        log_parameters(mlflow, client, parent, parameters)
        _log_files(client, parent, folder)
        own: dict[str, str] = {}
        for name, child in children.items():
            run_id = known_run(mlflow, client, remembered.get("children", {}).get(name)) or str(client.create_run(
                experiment_id, run_name=name, tags={"mlflow.parentRunId": parent, "ami.kind": "variant"}).info.run_id)
            log_parameters(mlflow, client, run_id, child["parameters"])
            _log_metrics(mlflow, client, run_id, child["metrics"], client.get_run(run_id).info.start_time)
            client.set_terminated(run_id)
            own[name] = run_id
        client.set_terminated(parent)
    write_json(folder / MEMORY, {"run_id": parent, "children": own, "experiment": experiment})
    return parent


def _store_run(mlflow: Any, client: Any, folder: Path, header: Mapping[str, Any], experiment: str, experiment_id: str,
               parameters: Mapping[str, Any] | None = None, metrics: Mapping[str, Any] | None = None,
               rows: Sequence[Row] | None = None) -> str:
    """The MLflow run with all but its traces."""
    parameters = resolved(header) if parameters is None else parameters
    run_id = _run(mlflow, client, remembered_run(folder), experiment_id, header)
    write_json(folder / MEMORY, {"run_id": run_id, "experiment": experiment})
    log_parameters(mlflow, client, run_id, parameters)
    client.set_tag(run_id, OF_RUN, identity_of(header))  # its page may have been made while it learnt, before its header
    started = client.get_run(run_id).info.start_time
    summary = _read(folder / "summary.json", SUMMARY_FILE) if metrics is None else metrics
    _log_metrics(mlflow, client, run_id, summary, started)
    log_rows(mlflow, client, run_id, read_rows(folder) if rows is None else rows, started)
    _log_files(client, run_id, folder)
    client.set_terminated(run_id)
    return run_id


def resolved(header: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a run: its configuration, with the defaults of the constructors of its nodes filled in."""
    return {**(header["config"] or {}), **header["graph"]["nodes"]}


def experiment_of(client: Any, name: str, store_folder: Path) -> str:
    """The experiment of this name; where it was deleted, the next one, "ami-2": a deleted one keeps its name, and to restore
    it would bring back the runs that were deleted with it."""
    for number in count(2):
        found = client.get_experiment_by_name(name)
        if found is None:
            return str(client.create_experiment(name, artifact_location=(store_folder / ARTIFACTS).as_uri()))
        if found.lifecycle_stage == "active":
            return str(found.experiment_id)
        name = f"{name.removesuffix(f'-{number - 1}')}-{number}"
    raise AssertionError("unreachable")


def _run(mlflow: Any, client: Any, run_id: str | None, experiment_id: str, header: Mapping[str, Any]) -> str:
    """The run stored before, if this store has it, or a new one."""
    known = known_run(mlflow, client, run_id)
    if known is not None:
        return known
    identity = identity_of(header)
    # a process that was killed after it had made the run did not remember it
    for found in client.search_runs([experiment_id], f"tags.`{OF_RUN}` = '{identity}'"):
        return str(found.info.run_id)
    tags = {"ami.graph.graph": header["graph_hash"], "ami.seed": str(header["seed"]), OF_RUN: identity}
    started = header["clock"]["epoch"] // 1_000_000
    return str(client.create_run(experiment_id, start_time=started, run_name=header["run_id"], tags=tags).info.run_id)


def known_run(mlflow: Any, client: Any, run_id: str | None) -> str | None:
    """The run stored before; None where it lies in another store, or was deleted in this one."""
    if run_id is None:
        return None
    try:
        found = client.get_run(run_id).info
    except mlflow.MlflowException:
        return None
    return str(found.run_id) if found.lifecycle_stage == "active" else None


def log_parameters(mlflow: Any, client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Settings as parameters; MLflow keeps the first value of each."""
    known = client.get_run(run_id).data.params  # MLflow refuses to change one
    flat = {_key(name, "."): str(value)[:MAX_VALUE] for name, value in _flattened(parameters)}
    new = [mlflow.entities.Param(name, value) for name, value in flat.items() if name not in known]
    for first in range(0, len(new), MAX_PARAMETERS):
        client.log_batch(run_id, params=new[first:first + MAX_PARAMETERS])


def _log_metrics(mlflow: Any, client: Any, run_id: str, metrics: Mapping[str, Any], when: int) -> None:
    """All at the run's own time: what was logged before is then recognised and not logged twice."""
    _log(client, run_id, [mlflow.entities.Metric(_key(name, "/"), float(value), when, 0)
                          for name, value in _flattened(metrics) if isinstance(value, (int, float))])


def log_rows(mlflow: Any, client: Any, run_id: str, rows: Sequence[Row], when: int) -> None:
    """Figures over the steps of learning, by stage; all at the run's own time, as `_log_metrics` does."""
    _log(client, run_id, [mlflow.entities.Metric(_key((str(row.get("stage", "learning")), name), "/"), float(value), when,
                                                 int(row["step"]))
                          for row in rows for name, value in row.items() if name not in ("stage", "step")])


def _log(client: Any, run_id: str, found: Sequence[Any]) -> None:
    for first in range(0, len(found), MAX_METRICS):
        client.log_batch(run_id, metrics=found[first:first + MAX_METRICS])


def _log_files(client: Any, run_id: str, folder: Path) -> None:
    """The files of the run's folder and its traces; what else lies there, perhaps the store itself, is not the run's."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in (MEMORY, DATABASE):
            client.log_artifact(run_id, str(path))
    if (folder / "trace").is_dir():
        client.log_artifacts(run_id, str(folder / "trace"), "trace")


def _flattened(content: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Nested mappings as (("a", "b", "c"), value); a list is one value."""
    if isinstance(content, Mapping):
        for name, inner in content.items():
            yield from _flattened(inner, (*names, str(name)))
    else:
        yield names, content


def _key(names: tuple[str, ...], separator: str) -> str:
    """A name that MLflow accepts; its pages group metrics by what stands before a slash."""
    return re.sub(r"[^\w\-./ :]", "_", separator.join(names))[:MAX_KEY]


def remembered_run(folder: Path) -> str | None:
    """The id of the MLflow run that a folder was stored as; raises TraceError where `mlflow.json` is something else."""
    return _read(folder / MEMORY, MEMORY_FILE).get("run_id")


def _read(path: Path, kind: FileKind) -> dict[str, Any]:
    """What a file of the folder holds; nothing where it is missing."""
    try:
        content: dict[str, Any] = kind.read_json(path, path.parent)
    except FileNotFoundError:
        return {}
    return content

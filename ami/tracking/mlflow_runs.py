"""A run's folder as an MLflow run, stored afterwards and any number of times.

The store is one sqlite file and a folder of artifacts; no server. A run that was stored before is updated, not stored twice:
`mlflow.json` in the run's folder holds its id.
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
from ami.tracking.planner_figures import planner_figures
from ami.views.spans import Forest, Sample, identity_of
from ami.views.tables import Tables

MEMORY = "mlflow.json"
MAX_KEY, MAX_VALUE, MAX_PARAMETERS, MAX_METRICS = 250, 6000, 100, 1000  # MLflow's limits per batch
SHORT = Sample(every=20, episodes=10)  # stored with every run; `ami trace sync` stores more
Row = Mapping[str, float | str]
RunId = Annotated[str, Like(r"\w{1,100}", "the id of an MLflow run")]


class Memory(TypedDict):
    """Content of `mlflow.json`."""

    run_id: RunId
    experiment: NotRequired[str]
    children: NotRequired[dict[str, RunId]]


MEMORY_FILE = FileKind("the reference to an MLflow run", TraceError, "delete it: the run is then stored anew", schema=Memory)


class Synced(NamedTuple):
    """Result of `sync`.

    Attributes:
        experiment_id, run_id: MLflow's.
        written: number of traces written.
        stored: number of traces of the run in the store.
        surprise: exceeded by one tick in ten; None if not recorded.
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
        store_folder: holds `mlflow.db` and `mlartifacts/`; created if missing.
        experiment: the MLflow experiment.
        parameters: nested plain values; None takes every setting of the run's header, the defaults of constructors too.
        metrics: nested numbers; None takes `summary.json` from the run's folder, and the figures of each planner.
        rows: metrics by learning step, each with "step" and optionally "stage"; None takes `learning.jsonl` from the run's
            folder.
        sample: which ticks and episodes become MLflow traces; None stores none.

    Returns:
        The MLflow run's id.

    Raises:
        TraceError: the folder holds no run.
        SettingError: the store cannot be created or read.
    """
    folder, store_folder = Path(folder), Path(store_folder).resolve()
    header = read_header(folder)
    with opened(store_folder) as (mlflow, client, uri):
        experiment_id = experiment_of(client, experiment, store_folder)
        forest = None if sample is None else _forest(folder)
        run_id = _store_run(mlflow, client, folder, header, experiment, experiment_id, forest, parameters, metrics, rows)
        if sample is not None and forest is not None:
            store_trees(client, uri, forest, sample, experiment_id, run_id)
    return run_id


def sync(folder: Path, store_folder: Path, sample: Sample, experiment: str = "ami") -> Synced:
    """Update the MLflow traces of a run: write missing ones, keep existing ones.

    It may be killed at any time: the next call continues without duplicates. A run that MLflow does not know yet is first
    stored as by `store`.

    Args:
        folder: the run's folder.
        store_folder: holds `mlflow.db` and `mlartifacts/`; created if missing.
        sample: which ticks and episodes.
        experiment: the MLflow experiment.

    Raises:
        TraceError: the folder holds no run.
        SettingError: the store cannot be created or read.
    """
    folder, store_folder = Path(folder), Path(store_folder).resolve()
    header = read_header(folder)
    forest = _forest(folder)
    with opened(store_folder) as (mlflow, client, uri):
        experiment_id = experiment_of(client, experiment, store_folder)
        known = known_run(mlflow, client, remembered_run(folder))
        if known is None or client.get_run(known).info.status != "FINISHED":
            known = _store_run(mlflow, client, folder, header, experiment, experiment_id, forest)
        else:
            experiment_id = client.get_run(known).info.experiment_id
        written = 0 if forest is None else store_trees(client, uri, forest, sample, experiment_id, known)
        return Synced(experiment_id, known, written, len(known_trees(client, experiment_id, known)),
                      None if forest is None else forest.surprise(0.9))


def _forest(folder: Path) -> Forest | None:
    """Return the span trees of a run's trace; None for a run without a trace."""
    try:
        return Forest(Tables.load(folder))
    except TraceError:
        return None


def store_family(folder: Path, store_folder: Path, parameters: Mapping[str, Any],
                 children: Mapping[str, Mapping[str, Any]], experiment: str = "ami") -> str:
    """Store a comparison: a parent run with the files of its folder, and in it one run per variant.

    Args:
        folder: the comparison's folder, which also names the parent run.
        store_folder: holds `mlflow.db` and `mlartifacts/`; created if missing.
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
               forest: Forest | None, parameters: Mapping[str, Any] | None = None, metrics: Mapping[str, Any] | None = None,
               rows: Sequence[Row] | None = None) -> str:
    """Store the MLflow run without its traces; return its id."""
    parameters = resolved(header) if parameters is None else parameters
    run_id = _run(mlflow, client, remembered_run(folder), experiment_id, header)
    write_json(folder / MEMORY, {"run_id": run_id, "experiment": experiment})
    log_parameters(mlflow, client, run_id, parameters)
    client.set_tag(run_id, OF_RUN, identity_of(header))  # its page may be older than its header
    started = client.get_run(run_id).info.start_time
    if metrics is None:
        planners = {} if forest is None else {"planners": planner_figures(forest.tables)}
        metrics = {**_read(folder / "summary.json", SUMMARY_FILE), **planners}
    _log_metrics(mlflow, client, run_id, metrics, started)
    log_rows(mlflow, client, run_id, read_rows(folder) if rows is None else rows, started)
    _log_files(client, run_id, folder)
    client.set_terminated(run_id)
    return run_id


def resolved(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting of a run: its configuration with the defaults of its nodes' constructors."""
    return {**(header["config"] or {}), **header["graph"]["nodes"]}


def experiment_of(client: Any, name: str, store_folder: Path) -> str:
    """Return the id of the experiment of this name; if it was deleted, of the next one, "ami-2".

    A deleted experiment keeps its name, and restoring it would restore its deleted runs.
    """
    for number in count(2):
        found = client.get_experiment_by_name(name)
        if found is None:
            return str(client.create_experiment(name, artifact_location=(store_folder / ARTIFACTS).as_uri()))
        if found.lifecycle_stage == "active":
            return str(found.experiment_id)
        name = f"{name.removesuffix(f'-{number - 1}')}-{number}"
    raise AssertionError("unreachable")


def _run(mlflow: Any, client: Any, run_id: str | None, experiment_id: str, header: Mapping[str, Any]) -> str:
    """Return the id of the run stored before, or of a new one."""
    known = known_run(mlflow, client, run_id)
    if known is not None:
        return known
    identity = identity_of(header)
    # a process killed after creating the run did not write its id
    for found in client.search_runs([experiment_id], f"tags.`{OF_RUN}` = '{identity}'"):
        return str(found.info.run_id)
    tags = {"ami.graph.graph": header["graph_hash"], "ami.seed": str(header["seed"]), OF_RUN: identity}
    started = header["clock"]["epoch"] // 1_000_000
    return str(client.create_run(experiment_id, start_time=started, run_name=header["run_id"], tags=tags).info.run_id)


def known_run(mlflow: Any, client: Any, run_id: str | None) -> str | None:
    """Return the id of the run stored before; None if it is in another store or was deleted."""
    if run_id is None:
        return None
    try:
        found = client.get_run(run_id).info
    except mlflow.MlflowException:
        return None
    return str(found.run_id) if found.lifecycle_stage == "active" else None


def log_parameters(mlflow: Any, client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Log settings as parameters; MLflow keeps the first value of each."""
    known = client.get_run(run_id).data.params  # MLflow refuses to change one
    flat = {_key(name, "."): str(value)[:MAX_VALUE] for name, value in _flattened(parameters)}
    new = [mlflow.entities.Param(name, value) for name, value in flat.items() if name not in known]
    for first in range(0, len(new), MAX_PARAMETERS):
        client.log_batch(run_id, params=new[first:first + MAX_PARAMETERS])


def _log_metrics(mlflow: Any, client: Any, run_id: str, metrics: Mapping[str, Any], when: int) -> None:
    """Log metrics with the run's start time, so that those logged before are recognised."""
    _log(client, run_id, [mlflow.entities.Metric(_key(name, "/"), float(value), when, 0)
                          for name, value in _flattened(metrics) if isinstance(value, (int, float))])


def log_rows(mlflow: Any, client: Any, run_id: str, rows: Sequence[Row], when: int) -> None:
    """Log metrics by stage and learning step, with the run's start time as in `_log_metrics`."""
    _log(client, run_id, [mlflow.entities.Metric(_key((str(row.get("stage", "learning")), name), "/"), float(value), when,
                                                 int(row["step"]))
                          for row in rows for name, value in row.items() if name not in ("stage", "step")])


def _log(client: Any, run_id: str, found: Sequence[Any]) -> None:
    for first in range(0, len(found), MAX_METRICS):
        client.log_batch(run_id, metrics=found[first:first + MAX_METRICS])


def _log_files(client: Any, run_id: str, folder: Path) -> None:
    """Log the files of the run's folder and its traces, but no other subfolder: it may hold the store itself."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in (MEMORY, DATABASE):
            client.log_artifact(run_id, str(path))
    if (folder / "trace").is_dir():
        client.log_artifacts(run_id, str(folder / "trace"), "trace")


def _flattened(content: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield nested mappings as (("a", "b", "c"), value); a list is one value."""
    if isinstance(content, Mapping):
        for name, inner in content.items():
            yield from _flattened(inner, (*names, str(name)))
    else:
        yield names, content


def _key(names: tuple[str, ...], separator: str) -> str:
    """Return a name that MLflow accepts; its pages group metrics by the part before a slash."""
    return re.sub(r"[^\w\-./ :]", "_", separator.join(names))[:MAX_KEY]


def remembered_run(folder: Path) -> str | None:
    """Return the id of a folder's MLflow run, if any; raise TraceError if `mlflow.json` is invalid."""
    return _read(folder / MEMORY, MEMORY_FILE).get("run_id")


def _read(path: Path, kind: FileKind) -> dict[str, Any]:
    """Return the content of a file; empty if it is missing."""
    try:
        content: dict[str, Any] = kind.read_json(path, path.parent)
    except FileNotFoundError:
        return {}
    return content

"""The run as an MLflow run: a projection of what lies in the run's folder, made after the fact, as often as one likes.

The store is one sqlite file and a folder of artifacts; no server. A run that was stored before is brought up to date, not
stored twice: `mlflow.json` in the run's folder remembers which one it is.
"""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ami.errors import TraceError
from ami.files import write_json
from ami.tracing.header import read_header
from ami.tracing.invocation import invocations
from ami.tracing.reader import Trace

DATABASE, ARTIFACTS, MEMORY = "mlflow.db", "mlartifacts", "mlflow.json"
TRACED_TICKS = 3  # one span costs about 10 ms; the rest is in the trace itself
MAX_KEY, MAX_VALUE, MAX_PARAMETERS, MAX_METRICS = 250, 6000, 100, 1000  # what one batch of MLflow takes
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",  # a crash loses all that is still in its queue
    "GIT_PYTHON_REFRESH": "quiet",
}
Row = Mapping[str, float | str]


def store(folder: Path, store_folder: Path, experiment: str = "ami", parameters: Mapping[str, Any] | None = None,
          metrics: Mapping[str, Any] | None = None, rows: Sequence[Row] = (), trace: bool = True) -> str:
    """Store a finished run: parameters, metrics, every file of its folder and a trace of its first ticks.

    Args:
        folder: the run's folder.
        store_folder: holds `mlflow.db` and `mlartifacts/`; made if missing.
        experiment: the MLflow experiment.
        parameters: nested plain values; None takes the configuration from the run's header.
        metrics: nested numbers; None takes `summary.json` from the run's folder.
        rows: figures over the steps of learning, each with "step" and perhaps "stage".
        trace: whether to store the first ticks of the first wave as an MLflow trace.

    Returns:
        The MLflow run's id.

    Raises:
        TraceError: there is no run in this folder.
    """
    folder, store_folder = Path(folder), Path(store_folder).resolve()
    header = read_header(folder)
    parameters = header["config"] or header["graph"]["nodes"] if parameters is None else parameters
    metrics = _read(folder / "summary.json") if metrics is None else metrics
    store_folder.mkdir(parents=True, exist_ok=True)
    with _quiet_mlflow() as mlflow, _tracking_in(mlflow, f"sqlite:///{store_folder / DATABASE}"):
        client = mlflow.MlflowClient()
        experiment_id = _experiment(client, experiment, store_folder)
        remembered = _read(folder / MEMORY)
        run_id = _run(mlflow, client, remembered.get("run_id"), experiment_id, header)
        when = header["clock"]["epoch"] // 1_000_000
        _log_parameters(mlflow, client, run_id, parameters)
        _log_metrics(mlflow, client, run_id, metrics, rows, when)
        _log_files(client, run_id, folder)
        trace_id = _log_trace(mlflow, client, folder, header, experiment_id, run_id, remembered.get("trace_id"), trace)
        client.set_terminated(run_id)
    write_json(folder / MEMORY, {"run_id": run_id, "trace_id": trace_id, "experiment": experiment})
    return run_id


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
    store_folder.mkdir(parents=True, exist_ok=True)
    with _quiet_mlflow() as mlflow, _tracking_in(mlflow, f"sqlite:///{store_folder / DATABASE}"):
        client = mlflow.MlflowClient()
        experiment_id = _experiment(client, experiment, store_folder)
        remembered = _read(folder / MEMORY)
        parent = _known_run(mlflow, client, remembered.get("run_id")) or str(client.create_run(
            experiment_id, run_name=folder.resolve().name, tags={"ami.kind": "comparison"}).info.run_id)
        _log_parameters(mlflow, client, parent, parameters)
        _log_files(client, parent, folder)
        own: dict[str, str] = {}
        for name, child in children.items():
            run_id = _known_run(mlflow, client, remembered.get("children", {}).get(name)) or str(client.create_run(
                experiment_id, run_name=name, tags={"mlflow.parentRunId": parent, "ami.kind": "variant"}).info.run_id)
            _log_parameters(mlflow, client, run_id, child["parameters"])
            _log_metrics(mlflow, client, run_id, child["metrics"], (), client.get_run(run_id).info.start_time)
            client.set_terminated(run_id)
            own[name] = run_id
        client.set_terminated(parent)
    write_json(folder / MEMORY, {"run_id": parent, "children": own, "experiment": experiment})
    return parent


@contextmanager
def _quiet_mlflow() -> Iterator[ModuleType]:
    """MLflow without telemetry, and without its remarks in the user's terminal."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.entities

        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield mlflow
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _tracking_in(mlflow: Any, uri: str) -> Iterator[None]:
    """Spans go where MLflow's global state says; a notebook's own choice is put back."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _experiment(client: Any, name: str, store_folder: Path) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=(store_folder / ARTIFACTS).as_uri()))


def _run(mlflow: Any, client: Any, run_id: str | None, experiment_id: str, header: Mapping[str, Any]) -> str:
    """The run stored before, if this store has it, or a new one."""
    known = _known_run(mlflow, client, run_id)
    if known is not None:
        return known
    tags = {"ami.graph": header["graph_hash"], "ami.seed": str(header["seed"])}
    started = header["clock"]["epoch"] // 1_000_000
    return str(client.create_run(experiment_id, start_time=started, run_name=header["run_id"], tags=tags).info.run_id)


def _known_run(mlflow: Any, client: Any, run_id: str | None) -> str | None:
    """The run stored before; None where it lies in another store, or was deleted in this one."""
    if run_id is None:
        return None
    try:
        return str(client.get_run(run_id).info.run_id)
    except mlflow.MlflowException:
        return None


def _log_parameters(mlflow: Any, client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    known = client.get_run(run_id).data.params  # MLflow refuses to change one
    flat = {_key(name, "."): str(value)[:MAX_VALUE] for name, value in _flattened(parameters)}
    new = [mlflow.entities.Param(name, value) for name, value in flat.items() if name not in known]
    for first in range(0, len(new), MAX_PARAMETERS):
        client.log_batch(run_id, params=new[first:first + MAX_PARAMETERS])


def _log_metrics(mlflow: Any, client: Any, run_id: str, metrics: Mapping[str, Any], rows: Sequence[Row],
                 when: int) -> None:
    """All at the run's own time: what was logged before is then recognised and not logged twice."""
    found = [mlflow.entities.Metric(_key(name, "/"), float(value), when, 0)
             for name, value in _flattened(metrics) if isinstance(value, (int, float))]
    found += [mlflow.entities.Metric(_key((str(row.get("stage", "learning")), name), "/"), float(value), when,
                                     int(row["step"]))
              for row in rows for name, value in row.items() if name not in ("stage", "step")]
    for first in range(0, len(found), MAX_METRICS):
        client.log_batch(run_id, metrics=found[first:first + MAX_METRICS])


def _log_files(client: Any, run_id: str, folder: Path) -> None:
    """The files of the run's folder and its traces; what else lies there, perhaps the store itself, is not the run's."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in (MEMORY, DATABASE):
            client.log_artifact(run_id, str(path))
    if (folder / "trace").is_dir():
        client.log_artifacts(run_id, str(folder / "trace"), "trace")


def _log_trace(mlflow: Any, client: Any, folder: Path, header: Mapping[str, Any], experiment_id: str, run_id: str,
               old: str | None, wanted: bool) -> str | None:
    """The first ticks of the first wave: one span per tick and in it one per node; in place of the one stored before."""
    try:
        record = Trace.open(folder) if wanted else None
    except TraceError:  # a run without tracing is still a run
        record = None
    if old is not None:
        client.delete_traces(experiment_id, trace_ids=[old])
    if record is None or not record.waves:
        return None
    wave = min(record.waves)
    ticks = [invocations(record, wave, tick) for tick in range(min(TRACED_TICKS, record.waves[wave]))]
    offset = header["clock"]["epoch"] - header["clock"]["monotonic"]
    root = mlflow.start_span_no_context(
        f"wave {wave}", "AGENT", experiment_id=experiment_id, metadata={"mlflow.sourceRun": run_id},
        start_time_ns=ticks[0][0].start + offset, inputs={"run": header["run_id"], "wave": wave, "ticks": len(ticks)})
    for fired in ticks:
        cycle = mlflow.start_span_no_context(f"tick {fired[0].tick}", "CHAIN", parent_span=root,
                                             start_time_ns=min(one.start for one in fired) + offset)
        for one in fired:
            span = mlflow.start_span_no_context(
                one.node, one.node.upper(), parent_span=cycle, start_time_ns=one.start + offset, inputs=one.inputs,
                attributes={"implementation": one.implementation, "tick": one.tick, "wave": one.wave})
            span.set_outputs({sent.port: {"shape": sent.shape, "content": sent.content, "hash": sent.hash}
                              for sent in one.outputs})
            span.end(end_time_ns=one.end + offset)
        cycle.end(end_time_ns=max(one.end for one in fired) + offset)
    root.end(end_time_ns=max(one.end for one in ticks[-1]) + offset)
    return str(root.trace_id)


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


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return content

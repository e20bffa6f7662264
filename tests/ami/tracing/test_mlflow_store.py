"""A new store costs seconds (MLflow's own migrations), so the tests of this file share one."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import TraceError
from ami.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.tracing.header import write_header
from ami.tracing.log import TraceLog
from ami.tracing.mlflow_store import TRACED_TICKS, store
from ami.tracing.reader import Trace

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's client in these tests; `store` has to keep quiet itself

SUMMARY = {"agent": {"across": {"n": 4, "success": 0.75, "mean_steps": None}}, "manifest_hash": "00ff", "seed": 3}
CONFIG = {"seed": 3, "planner": {"_target_": "modules.planner.cem.CEM", "horizon": 4}, "long": "x" * 9000, "list": [1, 2]}
ROWS = [{"stage": "world_model", "step": float(step), "loss": 1 / (step + 1)} for step in range(0, 1200, 20)]


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(tiny_mind: Callable[..., Graph], tmp_path: Path) -> Path:
    """A finished run of 5 ticks."""
    graph = tiny_mind(observe="state")
    folder = tmp_path / "run-7"
    write_header(folder, graph, CONFIG, seed=3)
    with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / "agent-0"))) as agent:
        for _ in agent.live([Episode(0, 1, {"start": [6.0, 10.0], "goal": [13.0, 10.0], "door": 10.0})]):
            pass
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return folder


@pytest.fixture
def client(store_folder: Path) -> Iterator[Any]:
    """An MLflow client of the shared store, which exists once something was stored."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{store_folder / 'mlflow.db'}")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def test_nothing_is_said_in_the_terminal_and_nothing_of_the_user_s_is_changed(
        run: Path, store_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import mlflow

    uri, level = mlflow.get_tracking_uri(), logging.getLogger("mlflow").level
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store(run, store_folder)
    assert capfd.readouterr() == ("", "")
    assert (mlflow.get_tracking_uri(), logging.getLogger("mlflow").level) == (uri, level)


def test_parameters_metrics_and_files_of_a_run_are_stored(run: Path, store_folder: Path, client: Any) -> None:
    run_id = store(run, store_folder, rows=ROWS)
    stored = client.get_run(run_id)
    assert stored.info.run_name == "run-7" and stored.info.status == "FINISHED"
    assert stored.data.params == {"seed": "3", "planner._target_": "modules.planner.cem.CEM", "planner.horizon": "4",
                                  "long": "x" * 6000, "list": "[1, 2]"}
    assert stored.data.metrics == {"agent/across/n": 4, "agent/across/success": 0.75, "seed": 3,
                                   "world_model/loss": pytest.approx(1 / 1181)}
    assert [metric.step for metric in client.get_metric_history(run_id, "world_model/loss")] == list(range(0, 1200, 20))
    assert {file.path for file in client.list_artifacts(run_id)} == {"header.json", "summary.json", "trace"}
    assert len(client.list_artifacts(run_id, "trace/agent-0")) == 7
    assert (store_folder / "mlartifacts" / run_id / "artifacts" / "summary.json").exists()


def test_the_first_ticks_are_an_mlflow_trace_of_the_run(run: Path, store_folder: Path, client: Any) -> None:
    run_id = store(run, store_folder)
    header, record = json.loads((run / "header.json").read_text()), Trace.open(run)
    trace = client.get_trace(json.loads((run / "mlflow.json").read_text())["trace_id"])
    assert trace.info.trace_metadata["mlflow.sourceRun"] == run_id
    spans = {(span.name, span.get_attribute("tick")): span for span in trace.data.spans}
    assert len(spans) == 1 + TRACED_TICKS * (1 + len(record.tables))
    planner = spans["planner", 1]
    assert planner.inputs == {"state": "world_model.state@1", "goal": "goal.goal@1", "mode": "configurator.mode@1"}
    assert planner.outputs["model_steps"]["content"] == "12"
    offset = header["clock"]["epoch"] - header["clock"]["monotonic"]
    assert planner.start_time_ns == record.table("planner")["start"][1].as_py() + offset
    assert planner.end_time_ns == record.table("planner")["end"][1].as_py() + offset


def test_storing_again_brings_the_same_run_up_to_date(run: Path, store_folder: Path, client: Any) -> None:
    first = store(run, store_folder, rows=ROWS)
    experiment = client.get_run(first).info.experiment_id
    runs, traces = len(client.search_runs([experiment])), len(client.search_traces(locations=[experiment]))
    (run / "summary.json").write_text(json.dumps(SUMMARY | {"seed": 4}))
    (run / "success.png").write_bytes(b"a picture")
    assert store(run, store_folder, rows=ROWS) == first
    assert len(client.search_runs([experiment])) == runs
    assert len(client.search_traces(locations=[experiment])) == traces
    assert len(client.get_metric_history(first, "world_model/loss")) == len(ROWS)
    assert client.get_run(first).data.metrics["seed"] == 4
    assert "success.png" in {file.path for file in client.list_artifacts(first)}


def test_a_run_that_was_deleted_from_the_store_is_stored_anew(run: Path, store_folder: Path) -> None:
    store(run, store_folder)
    (run / "mlflow.json").write_text(json.dumps({"run_id": "0" * 32, "trace_id": "tr-" + "0" * 32}))
    assert store(run, store_folder) != "0" * 32


def test_a_run_without_a_trace_is_stored_too(run: Path, store_folder: Path, client: Any) -> None:
    for file in (run / "trace" / "agent-0").iterdir():
        file.unlink()
    run_id = store(run, store_folder, parameters={"only": 1}, metrics={})
    assert json.loads((run / "mlflow.json").read_text())["trace_id"] is None
    assert client.get_run(run_id).data.params == {"only": "1"} and client.get_run(run_id).data.metrics == {}


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no run: expected a folder with header\.json"):
        store(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []

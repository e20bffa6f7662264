"""A new store costs seconds (MLflow's own migrations), so the tests of this file share one."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.exc import OperationalError

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import SettingError, TraceError
from ami.graph.graph import Graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace, read_batches
from ami.tracking.mlflow_database import opened
from ami.tracking.mlflow_runs import store, sync
from ami.tracking.planner_figures import planner_figures
from ami.views.spans import Sample
from ami.views.tables import Tables

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's client in these tests; `store` itself must be silent

SUMMARY = {"agent": {"across": {"n": 4, "success": 0.75, "mean_steps": None}}, "manifest_hash": "00ff", "seed": 3}
CONFIG = {"seed": 3, "planner": {"_target_": "modules.planner.cem.CEM", "horizon": 4}, "long": "x" * 9000, "list": [1, 2]}
ROWS = [{"stage": "world_model", "step": float(step), "loss": 1 / (step + 1)} for step in range(0, 1200, 20)]


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def run(tiny_agent: Callable[..., Graph], tmp_path: Path) -> Path:
    """A finished run of 5 ticks."""
    graph = tiny_agent(observe="state")
    folder = tmp_path / "run-7"
    write_header(folder, graph, CONFIG, seed=3)
    with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / "agent-0"))) as agent:
        for _ in rollout(agent, [Episode(0, 1, {"start": [6.0, 10.0], "goal": [13.0, 10.0], "door": 10.0})]):
            pass
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return folder


def rewritten(run: Path, node: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrite the recorded table of a node."""
    path = run / "trace" / "agent-0" / f"{node}.0.arrow"
    table = pa.Table.from_batches(read_batches(path)[0])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(change(table))


def cut_off(run: Path, *nodes: str) -> None:
    """Remove the last tick from some nodes' records, as if their process had been killed before."""
    for node in nodes:
        rewritten(run, node, lambda table: table.slice(0, table.num_rows - 1))


@pytest.fixture
def client(store_folder: Path) -> Iterator[Any]:
    """An MLflow client of the shared store, which exists after the first `store`."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{store_folder / 'mlflow.db'}")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


def test_storing_prints_nothing_and_keeps_global_state(
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
    params = stored.data.params
    assert params.items() >= {"seed": "3", "long": "x" * 6000, "list": "[1, 2]", "world.observe": "state"}.items()
    assert params["world.repeat"] == "1" and params["world.wrappers"] == "[]", "defaults of constructors are settings too"
    assert params["planner._target_"].endswith("conftest.Steps"), "of the module that ran"
    assert stored.data.metrics == {"agent/across/n": 4, "agent/across/success": 0.75, "seed": 3,
                                   "world_model/loss": pytest.approx(1 / 1181),
                                   **{f"planners/planner/{name}": pytest.approx(value)
                                      for name, value in planner_figures(Tables.load(run))["planner"].items()}}
    assert [metric.step for metric in client.get_metric_history(run_id, "world_model/loss")] == list(range(0, 1200, 20))
    assert {file.path for file in client.list_artifacts(run_id)} == {"header.json", "summary.json", "trace"}
    assert len(client.list_artifacts(run_id, "trace/agent-0")) == 7
    assert (store_folder / "mlartifacts" / run_id / "artifacts" / "summary.json").exists()


def traces_of(client: Any, run_id: str, filter_string: str = "") -> dict[str, Any]:
    """The traces of a run by name."""
    filters = " AND ".join(filter(None, (f"metadata.`ami.run` = '{run_id}'", filter_string)))
    experiment_id = client.get_run(run_id).info.experiment_id
    found = client.search_traces(locations=[experiment_id], filter_string=filters, max_results=500)
    names = [trace.info.tags["mlflow.traceName"] for trace in found]
    assert len(set(names)) == len(names), f"twice: {sorted(names)}"
    return dict(zip(names, found, strict=True))


def test_some_ticks_and_episodes_are_mlflow_traces_of_the_run(run: Path, store_folder: Path, client: Any) -> None:
    run_id = store(run, store_folder)
    found = traces_of(client, run_id)
    assert set(found) == {"wave 0, tick 0", "episode 0"}
    assert found["wave 0, tick 0"].info.trace_metadata["mlflow.sourceRun"] == run_id


def test_a_tick_is_a_span_per_module_with_exact_times(run: Path, store_folder: Path, client: Any) -> None:
    header, record = json.loads((run / "header.json").read_text()), Trace.open(run)
    found = traces_of(client, sync(run, store_folder, Sample(every=1)).run_id)
    ticks = sum(record.waves.values())
    assert set(found) == {"episode 0", *(f"wave 0, tick {tick}" for tick in range(ticks))}
    spans = {span.name: span for span in found["wave 0, tick 1"].data.spans}
    assert set(spans) == {"tick 1", *record.tables}
    planner = spans["planner"]
    assert planner.span_type == "PLANNER" and planner.parent_id == spans["tick 1"].span_id
    assert planner.inputs == {"state": "world_model.state@1", "goal": "goal.goal@1", "mode": "configurator.mode@1"}
    assert planner.outputs["model_steps"]["mean"] == planner.get_attribute("planner.model_steps") == 12
    offset = header["clock"]["epoch"] - header["clock"]["monotonic"]
    assert planner.start_time_ns == record.table("planner")["start"][1].as_py() + offset
    assert planner.end_time_ns == record.table("planner")["end"][1].as_py() + offset
    sender = next(span for span in found["wave 0, tick 0"].data.spans if span.name == "actor")
    (link,) = spans["world"].links
    assert (link.trace_id, link.span_id) == (sender.trace_id, sender.span_id)
    assert link.attributes == {"wire": "actor.action → world.action", "message": "actor.action@0"}
    episode = found["episode 0"]
    assert [span.name for span in episode.data.spans] == ["episode 0", *(f"tick {tick}" for tick in range(ticks))]
    assert {one.name: one.value for one in episode.info.assessments}["success"] is True


def test_ticks_are_searchable_by_surprise(run: Path, store_folder: Path, client: Any) -> None:
    surprise = [0.5, 3.5, float("nan"), 10.25, 3.0]
    rewritten(run, "world_model", lambda table: table.set_column(
        table.column_names.index("surprise.rows"), "surprise.rows",
        pa.array([[value] for value in surprise[:table.num_rows]], pa.list_(pa.float32()))))
    run_id = sync(run, store_folder, Sample(every=1000, episodes=0, surprise=3)).run_id
    assert set(traces_of(client, run_id)) == {f"wave 0, tick {tick}" for tick in (0, 1, 3)}
    sync(run, store_folder, Sample(every=1, episodes=0))
    assert set(traces_of(client, run_id, "feedback.surprise > 3")) == {"wave 0, tick 1", "wave 0, tick 3"}
    assert set(traces_of(client, run_id, "feedback.surprise >= 10.25")) == {"wave 0, tick 3"}


def test_an_unfinished_tick_is_always_stored_as_an_error(run: Path, store_folder: Path, client: Any) -> None:
    cut_off(run, "actor")
    last = max(Trace.open(run).waves.values()) - 1
    found = traces_of(client, sync(run, store_folder, Sample(every=1000, episodes=1)).run_id)
    assert found[f"wave 0, tick {last}"].info.state == "ERROR"
    assert found[f"wave 0, tick {last}"].data.spans[0].status.description == "did not finish: actor"
    assert found["wave 0, tick 0"].info.state == "OK"


class Killed(BaseException):
    """Ends a sync like a kill: no `except Exception` in MLflow catches it."""


def test_a_sync_killed_before_or_after_any_write_continues(
        run: Path, store_folder: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.tracing.client import TracingClient

    calls, end_at = 0, -1

    def ending(owner: Any, name: str) -> None:
        does = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == end_at:
                raise Killed
            done = does(*given, **named)
            calls += 1
            if calls == end_at:
                raise Killed
            return done

        monkeypatch.setattr(owner, name, call)

    for name in ("create_run", "log_batch", "log_artifact", "log_artifacts", "set_terminated"):
        ending(MlflowClient, name)
    for name in ("log_spans", "start_trace"):
        ending(TracingClient, name)
    monkeypatch.setattr("ami.tracking.mlflow_traces.SPANS_AT_ONCE", 12)
    ticks = Trace.open(run).waves[0]
    names = {"episode 0", *(f"wave 0, tick {tick}" for tick in range(0, ticks, 2))}
    header = json.loads((run / "header.json").read_text())
    for number in range(1, 1000):
        header["clock"]["epoch"] += 1  # another run, not stored yet
        (run / "header.json").write_text(json.dumps(header))
        (run / "mlflow.json").unlink(missing_ok=True)
        calls, end_at, is_over = 0, number, True
        try:
            sync(run, store_folder, Sample(every=2))
        except Killed:
            is_over = False
        end_at = -1
        done = sync(run, store_folder, Sample(every=2))
        found = traces_of(client, done.run_id)
        assert set(found) == names and done.stored == len(names)
        assert [len(trace.data.spans) for name, trace in found.items() if "tick" in name] == [8] * (len(names) - 1)
        assert [len(trace.info.assessments) for name, trace in found.items() if "tick" in name] == [1] * (len(names) - 1)
        identity = client.get_run(done.run_id).data.tags["ami.run"]
        assert len(client.search_runs([done.experiment_id], f"tags.`ami.run` = '{identity}'")) == 1
        if is_over:
            break
    assert number > 20


def test_a_complete_sync_writes_nothing(run: Path, store_folder: Path) -> None:
    first = sync(run, store_folder, Sample(every=2))
    again = sync(run, store_folder, Sample(every=2))
    assert first.written > 0 and again == first._replace(written=0)
    assert sync(run, store_folder, Sample(every=1)).written == Trace.open(run).waves[0] // 2


def test_an_episode_that_has_continued_is_updated(run: Path, store_folder: Path, client: Any) -> None:
    whole = {path: path.read_bytes() for path in (run / "trace" / "agent-0").iterdir()}
    cut_off(run, *Trace.open(run).tables)
    run_id = sync(run, store_folder, Sample(every=1000)).run_id
    assert traces_of(client, run_id)["episode 0"].info.state == "ERROR"
    for path, content in whole.items():
        path.write_bytes(content)
    assert sync(run, store_folder, Sample(every=1000)).written == 1
    assert traces_of(client, run_id)["episode 0"].info.state == "OK"


def test_the_list_names_the_run_and_the_page_shows_every_output(run: Path, store_folder: Path, client: Any) -> None:
    trace = traces_of(client, sync(run, store_folder, Sample(every=1)).run_id)["wave 0, tick 1"]
    name = json.loads((run / "header.json").read_text())["run_id"]
    assert trace.info.request_preview == f"{name}: wave 0, tick 1"
    root = trace.data.spans[0]
    assert root.inputs == {"episodes": "0"}
    assert root.outputs["planner"]["model_steps"] == 12 and root.outputs["world"]["terminated"] is False
    energy = root.get_attribute("planner.energy")
    assert root.outputs["planner"]["energy"] == float(f"{energy:.5g}") != energy


def test_a_store_that_mlflow_cannot_read_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "mlflow.db").write_text("no database")
    with pytest.raises(SettingError) as refused:
        sync(run, folder, Sample())
    assert str(refused.value) == (f"{folder / 'mlflow.db'} is not MLflow's database: it begins with b'no database': "
                                  "expected b'SQLite format 3\\x00'. Fix: another store, or move this file away")
    assert (folder / "mlflow.db").read_text() == "no database"


@pytest.mark.parametrize("fault, message", [
    (OSError(28, "No space left on device"), "No space left on device"),
    (OperationalError("INSERT INTO a_secret", {}, Exception("database is locked")), "database is locked")])
def test_a_failed_sync_names_the_error_and_continues_later(
        run: Path, store_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, message: str) -> None:
    from mlflow.tracing.client import TracingClient

    def fails(*_: Any, **__: Any) -> None:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(TracingClient, "start_trace", fails)
        with pytest.raises(SettingError) as refused:
            sync(run, store_folder, Sample(every=1))
    assert message in str(refused.value) and "INSERT" not in str(refused.value)
    assert str(refused.value).endswith("stays. Fix: `ami trace sync` continues from there")
    done = sync(run, store_folder, Sample(every=1))
    assert done.written == done.stored == Trace.open(run).waves[0] + 1


def test_a_store_whose_creation_was_killed_is_created_again(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".mlflow.db.{gone.pid}.tmp").write_bytes(b"half a database")
    with pytest.raises(TraceError), opened(tmp_path) as (_, client, _uri):
        assert client.search_experiments()
        raise TraceError("enough")
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db"}


@pytest.mark.parametrize("sample, words", [
    ({"every": 0}, "--every is 0: expected 1 or more"), ({"episodes": -1}, "--episodes is -1: expected 0 or more"),
    ({"surprise": float("nan")}, "--surprise is nan: expected a number")])
def test_an_invalid_sample_is_refused(sample: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Sample(**sample)


def test_storing_again_updates_the_same_run(run: Path, store_folder: Path, client: Any) -> None:
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


def test_a_deleted_run_is_stored_again(run: Path, store_folder: Path) -> None:
    store(run, store_folder)
    (run / "mlflow.json").write_text(json.dumps({"run_id": "0" * 32}))
    assert store(run, store_folder) != "0" * 32


def test_a_deleted_experiment_is_kept_and_the_next_one_is_used(run: Path, store_folder: Path, client: Any) -> None:
    first = client.get_run(store(run, store_folder, experiment="deleted", sample=None)).info
    client.delete_experiment(first.experiment_id)
    second = client.get_run(store(run, store_folder, experiment="deleted", sample=None)).info
    assert client.get_experiment(second.experiment_id).name == "deleted-2" and second.run_id != first.run_id
    assert client.get_experiment(first.experiment_id).lifecycle_stage == "deleted"
    client.rename_experiment(second.experiment_id, "renamed")
    assert store(run, store_folder, experiment="deleted", sample=None) == second.run_id, "found by its id"
    client.delete_experiment(second.experiment_id)
    third = client.get_run(store(run, store_folder, experiment="deleted", sample=None)).info
    assert client.get_experiment(third.experiment_id).name == "deleted-2"


def test_the_lock_of_a_locked_database_is_named(
        run: Path, store_folder: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store(run, store_folder, sample=None)
    monkeypatch.setattr("mlflow.MlflowClient.search_experiments", lambda *_, **__: locked())
    with pytest.raises(SettingError, match=r"another process has held the lock of mlflow\.db for 20 s\. Fix: end"):
        store(run, store_folder, sample=None)


def locked() -> None:
    raise OperationalError("SELECT", {}, Exception("database is locked"))


def test_a_run_without_a_trace_is_synced_too(run: Path, store_folder: Path, client: Any) -> None:
    for file in (run / "trace" / "agent-0").iterdir():
        file.unlink()
    done = sync(run, store_folder, Sample())
    assert (done.written, done.stored, done.surprise) == (0, 0, None)
    assert client.get_run(done.run_id).info.status == "FINISHED"


def test_a_run_without_a_trace_is_stored_too(run: Path, store_folder: Path, client: Any) -> None:
    for file in (run / "trace" / "agent-0").iterdir():
        file.unlink()
    run_id = store(run, store_folder, parameters={"only": 1}, metrics={})
    assert traces_of(client, run_id) == {}
    assert client.get_run(run_id).data.params == {"only": "1"} and client.get_run(run_id).data.metrics == {}


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"holds no run: expected a folder with header\.json"):
        store(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_logging_of_libraries_is_silenced(run: Path, tmp_path: Path) -> None:
    script = ("import logging, sys; logging.basicConfig(level=logging.INFO); from ami.cli.main import main; "
              "sys.exit(main(sys.argv[1:]))")
    done = subprocess.run([sys.executable, "-c", script, "trace", "sync", str(run), "--store", str(tmp_path / "store")],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == ""

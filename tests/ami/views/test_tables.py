import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import ami
from ami.agent import Agent
from ami.errors import TraceError
from ami.evaluation.evaluate import evaluate
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.views.tables import NAMES, Tables

PAGE = Path(__file__).parents[3] / "docs" / "traces.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run-7"


@pytest.fixture
def run(tiny_agent: Callable[..., Graph], folder: Path) -> Tables:
    """Three pairs of each kind, two at a time, run by the tiny agent once for all of these tests."""
    if not folder.exists():
        graph = tiny_agent(observe="state")
        write_header(folder, graph, {"evaluation": {"batch": 2}}, seed=3)
        manifest = Manifest.make(graph.drafts["world"], 5, 3)
        manifest.save(folder / "manifest.json")
        with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / "agent-0"))) as agent:
            evaluation = evaluate([agent], manifest, 2)
        (folder / "outcomes").write_text(repr([(o.kind, o.steps, o.success, o.ret) for o in evaluation.outcomes]))
    return ami.load_trace(folder)


def record(folder: Path, graph: Graph, *rows: tuple[str, int, int, dict[str, torch.Tensor]]) -> Tables:
    """Tables of the given (node, wave, tick, outputs)."""
    write_header(folder, graph, seed=0)
    log = TraceLog(folder / "trace" / "agent-0")
    for node, wave, tick, outputs in rows:
        log.add(node, wave, tick, 1000 * tick, 1000 * tick + 500, outputs)
    log.close()
    return ami.load_trace(str(folder))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_names_every_column_and_its_type(run: Tables, name: str) -> None:
    section = PAGE.read_text().split(f"\n## {name}: ")[1].split("\n## ")[0]
    columns = [column for line in section.splitlines() if line.startswith("| `")
               for column in re.findall(r"`([\w.]+)`", line.split("|")[1])]
    table: pa.Table = getattr(run, name)
    assert [column for column in table.column_names if "." not in column] == [c for c in columns if "." not in c]
    kinds = {"string": pa.string(), "int32": pa.int32(), "double": pa.float64(), "bool": pa.bool_(), "float": pa.float32(),
             "timestamp": pa.timestamp("ns", "UTC"), "list of int32": pa.list_(pa.int32()),
             "list of float": pa.list_(pa.float32())}
    for line in section.splitlines():
        if line.startswith("| `") and "." not in line.split("|")[1]:
            _, names, kind, *_ = line.split("|")
            allowed = [kinds[one] for one in kind.strip().split(", ") if one]
            found = [table.schema.field(column).type for column in re.findall(r"`(\w+)`", names)]
            assert not allowed or all(one in allowed for one in found), line


def test_there_is_a_row_for_every_record(run: Tables) -> None:
    invocations = sum(table.num_rows for table in run.trace.tables.values())
    ports = {node: len(ports) for node, ports in run.trace.ports.items()}
    assert run.invocations.num_rows == invocations
    assert run.messages.num_rows == sum(table.num_rows * ports[node] for node, table in run.trace.tables.items())
    assert run.ticks.num_rows == 2 * sum(run.trace.waves.values())
    assert run.episodes.num_rows == 6


def test_episodes_agree_with_the_evaluation(run: Tables, folder: Path) -> None:
    episodes = run.episodes
    columns = ("kind", "steps", "success", "return")
    rows = zip(*(episodes[name].to_pylist() for name in columns), strict=True)
    assert repr(list(rows)) == (folder / "outcomes").read_text()
    assert episodes["episode"].to_pylist() == [0, 1, 2, 3, 4, 5] and episodes["wave"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert all(episodes["over"].to_pylist())


def test_a_world_is_live_until_its_last_tick(run: Tables) -> None:
    frame = run.ticks.to_pandas()
    steps = run.episodes.to_pandas().set_index(["wave", "row"])["steps"]
    assert (frame[frame["live"]].groupby(["wave", "row"]).size() == steps + 1).all()
    assert (frame[frame["live"]].groupby(["wave", "row"])["world.terminated"].sum() <= 1).all()


def refilled(folder: Path, graph: Graph, first: int = 0, numbers: bool = True) -> Tables:
    """Row 0 plays pair 3 until tick 2, stands still at 3, then pair 3 again; row 1 plays pairs 4 and 1 without a pause."""
    sent = [[3, 3, 3, -1, 3, 3], [4, 4, 1, 1, 1, -1]]
    over = [[0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0]]
    return record(folder, graph, *(("world", 0, tick, {
        **({"episode": torch.tensor([row[tick] for row in sent])} if numbers else {}),
        "terminated": torch.tensor([bool(row[tick]) for row in over]),
        "reward": torch.tensor([1.0, 10.0 ** tick])}) for tick in range(first, 6)))


def test_a_row_lists_each_of_its_episodes(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    tables = refilled(tmp_path, tiny_agent())
    columns = ("row", "episode", "first", "ticks", "steps", "over", "return")
    rows = list(zip(*(tables.episodes[name].to_pylist() for name in columns), strict=True))
    assert rows == [(0, 3, 0, 3, 2, True, 3.0), (0, 3, 4, 2, 1, False, 2.0),
                    (1, 4, 0, 2, 1, True, 11.0), (1, 1, 2, 3, 2, True, 11100.0)]
    ticks = tables.ticks.sort_by([("row", "ascending"), ("tick", "ascending")])
    assert ticks["episode"].to_pylist() == [3, 3, 3, 3, 3, 3, 4, 4, 1, 1, 1, 1]
    assert ticks["live"].to_pylist() == [True, True, True, False, True, True, *[True] * 5, False]


def test_the_first_episodes_of_a_fork_began_before_it(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    episodes = refilled(tmp_path, tiny_agent(), first=1).episodes
    assert episodes["first"].to_pylist() == [0, 4, 0, 2] and episodes["ticks"].to_pylist() == [2, 2, 1, 3]
    assert episodes["steps"].to_pylist() == [2, 1, 1, 2]


def test_traces_without_numbers_hold_one_episode_per_row(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    episodes = refilled(tmp_path, tiny_agent(), numbers=False).episodes
    assert episodes["steps"].to_pylist() == [2, 1] and episodes["episode"].null_count == 2


def test_the_world_is_found_by_its_role(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    trace = refilled(tmp_path, tiny_agent()).trace
    graph = {**trace.header["graph"], "order": ["room"], "wires": []}
    tables = Tables(replace(trace, header={**trace.header, "graph": graph, "roles": {"room": "world"}},
                            tables={"room": trace.tables["world"]}, ports={"room": trace.ports["world"]}))
    assert tables.world == "room" and tables.episodes["return"].to_pylist() == [3.0, 2.0, 11.0, 11100.0]


def test_ticks_hold_every_scalar_of_every_world(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    ticks = record(tmp_path, tiny_agent(), *(("world_model", wave, tick, {"surprise": torch.arange(float(batch)) + 10 * tick,
                                                                       "state": torch.zeros(batch, 3)})
                                          for wave, batch in ((0, 3), (1, 2)) for tick in (0, 1))).ticks
    assert ticks["row"].to_pylist() == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1]
    assert ticks["world_model.surprise"].to_pylist() == [0, 1, 2, 10, 11, 12, 0, 1, 10, 11]
    assert "world_model.state" not in ticks.column_names
    assert ticks["episode"].null_count == ticks["kind"].null_count == 10
    assert ticks["live"].to_pylist() == [True] * 10


def test_a_resting_node_has_null_values(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    nan = {"energy": torch.tensor([float("nan")])}
    tables = record(tmp_path, tiny_agent(), ("actor", 0, 0, {"action": torch.zeros(1, 2)}), ("planner", 0, 0, nan),
                  ("actor", 0, 1, {"action": torch.zeros(1, 2)}))
    first, second = tables.ticks["planner.energy"].to_pylist()
    assert first != first and second is None
    assert tables.ticks["nodes"].to_pylist() == [2, 1]


def test_times_are_times_of_day(run: Tables) -> None:
    clock = run.trace.header["clock"]
    first = run.trace.table("world")["start"][0].as_py()
    row = run.invocations.slice(0, 1).to_pylist()[0]
    assert row["node"] == "world" and row["start"].value == first + clock["epoch"] - clock["monotonic"]
    assert row["us"] == pytest.approx((row["end"].value - row["start"].value) / 1000)
    tick = run.ticks.slice(0, 1).to_pylist()[0]
    assert 0 < tick["busy_us"] <= tick["us"]


def test_inputs_agree_with_the_terminal(run: Tables) -> None:
    from ami.trace.invocation import NOTHING_YET, invocations

    frame = run.inputs.to_pandas()
    for tick in (0, 1, 2):
        for one in invocations(run.trace, 1, tick):
            rows = frame.query(f"wave == 1 and tick == {tick} and node == '{one.node}'")
            found = {row.port: row.message if isinstance(row.message, str) else NOTHING_YET for row in rows.itertuples()}
            assert found == one.inputs
    late = frame.query("tick > 0 and node == 'world'")
    assert (late["age"] == 1).all() and set(late["from_node"]) == {"actor"}


def test_messages_have_their_statistics_and_scalars_their_values(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    table = record(tmp_path, tiny_agent(), ("world", 0, 4, {
        "seen": torch.zeros(2, 3, dtype=torch.uint8), "state": torch.tensor([[0.0, 2.0], [4.0, 6.0]]),
        "reward": torch.tensor([1.0, 3.0])})).messages
    seen, state, reward = ({row["port"]: row for row in table.to_pylist()}[port] for port in ("seen", "state", "reward"))
    assert (seen["message"], seen["dtype"], seen["shape"], seen["mean"], seen["values"]) == (
        "world.seen@4", "uint8", [2, 3], None, None)
    assert (state["mean"], state["min"], state["max"], state["values"]) == (3.0, 0.0, 6.0, None)
    assert [reward[name] for name in ("mean", "std", "min", "max", "values")] == [2.0, 1.0, 1.0, 3.0, [1.0, 3.0]]
    assert reward["hash"] == "0000803f00004040"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds no run"):
        ami.load_trace(tmp_path)

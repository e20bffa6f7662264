import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace
from ami.views.diff import diff, divergences, missing, settings_apart


@pytest.fixture
def graph(tiny_agent: Callable[..., Graph]) -> Graph:
    return tiny_agent(observe="state")


def record(folder: Path, graph: Graph, *ticks: dict[str, dict[str, torch.Tensor]], payload: bool = False,
         config: dict | None = None, seed: int = 0, published: int | None = None) -> Path:
    """A run of one wave, its messages by tick, node and port; weights are published as version 7 before one of its ticks."""
    write_header(folder, graph, config, seed=seed)
    log = TraceLog(folder / "trace" / "agent-0", payload)
    for tick, nodes in enumerate(ticks):
        if tick == published:
            log.publish(7)
        for node, outputs in nodes.items():
            log.add(node, 0, tick, 10 * tick, 10 * tick + 3, outputs)
    log.close()
    return folder


def both(tmp_path: Path, graph: Graph, one: list[torch.Tensor], two: list[torch.Tensor], payload: bool = False):
    """The comparison of the world's port `out`, which sent these messages."""
    folders = [record(tmp_path / name, graph, *({"world": {"out": value, "steady": value}} for value in values),
                    payload=payload) for name, values in (("one", one), ("two", two))]
    return divergences(*map(Trace.open, folders))[0]


def printed(one: Path, two: Path) -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=125, highlight=False)
    return diff(one, two, console), console.file.getvalue()


def test_scalar_messages_are_compared_by_value(graph: Graph, tmp_path: Path) -> None:
    apart = both(tmp_path, graph, [torch.tensor([1.0, 2.0])] * 4,
                 [torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])])
    assert (apart.node, apart.port, apart.messages, apart.differ, apart.first) == ("world", "out", 4, 2, (0, 1))
    assert (apart.measure, apart.typical, apart.largest, apart.size) == ("values", 1.75, 3.0, pytest.approx(2.5**0.5))


def test_statistics_give_lower_bounds_of_distances(graph: Graph, tmp_path: Path) -> None:
    apart = both(tmp_path, graph, [torch.zeros(1, 4)], [torch.tensor([[0.0, 0.0, 0.0, 2.0]])])
    assert (apart.measure, apart.typical, apart.largest, apart.size) == ("at least", 2.0, 2.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_recorded_payloads_give_exact_distances(graph: Graph, tmp_path: Path, dtype: torch.dtype) -> None:
    apart = both(tmp_path, graph, [torch.tensor([[1, 2, 3]]).to(dtype)], [torch.tensor([[3, 1, 2]]).to(dtype)], payload=True)
    assert (apart.measure, apart.largest, apart.size) == ("values", 2.0, pytest.approx((14 / 3) ** 0.5))


@pytest.mark.parametrize("payload", [False, True])
def test_size_is_the_root_mean_square_of_the_values_at_every_level(graph: Graph, tmp_path: Path, payload: bool) -> None:
    values = [torch.randn(4, 6, generator=torch.Generator().manual_seed(tick)) for tick in range(5)]
    apart = both(tmp_path, graph, values, [value + 1 for value in values], payload=payload)
    assert apart.size == pytest.approx(float(torch.stack(values).square().mean().sqrt()), rel=1e-5)
    text = " ".join(printed(tmp_path / "one", tmp_path / "two")[1].split())
    assert f" {apart.size:.3g} " in text and "size: root mean square of A's values" in text


def test_pictures_without_payload_differ_without_a_distance(graph: Graph, tmp_path: Path) -> None:
    apart = both(tmp_path, graph, [torch.zeros(1, 9, dtype=torch.uint8)], [torch.ones(1, 9, dtype=torch.uint8)])
    assert (apart.differ, apart.measure, apart.largest) == (1, "content", None)


def test_nan_in_one_trace_is_infinitely_far(graph: Graph, tmp_path: Path) -> None:
    values = [torch.tensor([1.0, math.nan, math.inf])], [torch.tensor([2.0, math.nan, math.inf])]
    assert both(tmp_path / "a", graph, *values).largest == 1.0
    assert both(tmp_path / "b", graph, values[0], [torch.tensor([math.nan, math.nan, math.inf])]).largest == math.inf


@pytest.mark.parametrize("other", [torch.zeros(3, 2), torch.zeros(1, 3), torch.zeros(1, 2, dtype=torch.float64)])
def test_messages_of_another_shape_have_no_distance(graph: Graph, tmp_path: Path, other: torch.Tensor) -> None:
    apart = both(tmp_path, graph, [torch.ones(1, 2)], [other])
    assert (apart.differ, apart.measure, apart.largest) == (1, "shape", None)


def test_trailing_zeros_of_a_small_message_count(graph: Graph, tmp_path: Path) -> None:
    assert both(tmp_path / "a", graph, [torch.tensor([1])], [torch.tensor([257])]).differ == 1
    assert both(tmp_path / "b", graph, [torch.tensor([0])], [torch.tensor([0])]).differ == 0


def test_contents_of_only_one_trace_are_named(graph: Graph, tmp_path: Path) -> None:
    out = {"port": torch.zeros(1)}
    one = Trace.open(record(tmp_path / "one", graph, {"world": out, "goal": out}, {"world": out}))
    two = Trace.open(record(tmp_path / "two", graph, {"world": {**out, "more": torch.zeros(1)}}))
    assert list(missing(one, two)) == ["only the first holds goal",
                                       "the first is longer in 1 wave (wave 0: 2 ticks, not 1)",
                                       "only the second holds world.more"]
    assert list(missing(one, one)) == []


def test_settings_wires_seed_and_versions_that_differ_are_named(graph: Graph, tmp_path: Path) -> None:
    config = {"learning": {"rounds": 4, "threads": 2}, "store": "here"}
    one = Trace.open(record(tmp_path / "one", graph, {"world": {"p": torch.zeros(1)}}, config=config))
    other = {"learning": {"rounds": 6, "threads": 2, "explore": 0.1}, "store": "there"}
    two = Trace.open(record(tmp_path / "two", graph, {"world": {"p": torch.zeros(1)}}, config=other, seed=1))
    assert settings_apart(one.header, two.header) == [
        ("seed", 0, 1), ("learning.rounds", 4, 6), ("learning.explore", None, 0.1)]
    assert settings_apart(one.header, one.header) == []


def test_a_default_is_a_setting_too(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    out = {"world": {"p": torch.zeros(1)}}
    folders = [record(tmp_path / "default", tiny_agent(), out, config={"world": {}}),
               record(tmp_path / "set", tiny_agent(repeat=2), out, config={"world": {"repeat": 2}})]
    assert settings_apart(*(Trace.open(folder).header for folder in folders)) == [("world.repeat", 1, 2)]


def test_two_equal_runs_are_the_same(graph: Graph, tmp_path: Path) -> None:
    folders = [record(tmp_path / name, graph, {"world": {"p": torch.zeros(1)}}) for name in ("one", "two")]
    same, text = printed(*folders)
    assert same and "the same: 1 invocations, trace digest " in text


def test_the_first_difference_then_where_and_how_much(graph: Graph, tmp_path: Path) -> None:
    def tick(energy: float, steady: float = 0.0) -> dict[str, dict[str, torch.Tensor]]:
        return {"world": {"reward": torch.tensor([steady])}, "planner": {"energy": torch.tensor([energy])}}

    one = record(tmp_path / "one", graph, tick(1.0), tick(2.0), tick(3.0), config={"learning": {"rounds": 4}})
    two = record(tmp_path / "two", graph, tick(1.0), tick(2.5), tick(7.0), config={"learning": {"rounds": 6}})
    same, text = printed(one, two)
    assert not same
    assert "A  one   seed 0" in text and "B  two   seed 0" in text
    assert "learning.rounds  4 | 6" in text
    assert "first difference at wave 0, tick 1, planner.energy" in text
    line = next(line for line in text.splitlines() if line.strip().startswith("planner.energy"))
    assert line.split() == ["planner.energy", "3", "2", "w0", "t1", "2.25", "4", "2.55"]
    assert next(line for line in text.splitlines() if line.strip().startswith("1 more")).split() == ["1", "more", "3", "0"]


@pytest.mark.parametrize("published", [0, 1, 2])
def test_differing_versions_of_weights_are_named(graph: Graph, tmp_path: Path, published: int) -> None:
    one, two = ([{"planner": {"energy": torch.tensor([energy])}} for energy in energies]
                for energies in ((1.0, 2.0, 3.0), (1.0, 2.5, 3.0)))
    text = printed(record(tmp_path / "one", graph, *one), record(tmp_path / "two", graph, *two, published=published))[1]
    assert "first difference at wave 0, tick 1, planner.energy" in text
    assert ("versions of the published weights there: 0 | 7" in text) is (published <= 1)


@pytest.fixture
def write_run(graph: Graph, tmp_path: Path) -> Callable[..., Path]:
    """Write a run of two waves of 4 ticks, or its fork, whose planner's output differs from tick `changes` on."""
    def write(name: str, fork: tuple[int, int] | None = None, changes: int = 99) -> Path:
        folder = tmp_path / name
        write_header(folder, graph, details={} if fork is None else {"fork_of": "run", "forked_at": list(fork)}, seed=0)
        log = TraceLog(folder / "trace" / "agent-0")
        for wave in (0, 1) if fork is None else (fork[0],):
            for tick in range(0 if fork is None else fork[1], 4):
                log.add("world", wave, tick, 10 * tick, 10 * tick + 3, {"reward": torch.tensor([float(tick)])})
                log.add("planner", wave, tick, 10 * tick + 4, 10 * tick + 5,
                        {"energy": torch.tensor([7.0 if tick >= changes else 1.0])})
        log.close()
        return folder
    return write


def test_a_fork_is_compared_from_where_it_begins_in_its_wave_alone(write_run: Callable[..., Path]) -> None:
    run = write_run("run")
    for pair in ((run, write_run("fork", (1, 1), changes=2)),
                 (write_run("early", (1, 1), changes=2), write_run("late", (1, 2)))):
        for folders in (pair, pair[::-1]):
            same, text = printed(*folders)
            assert not same and "first difference at wave 1, tick 2, planner.energy\n" in text
            assert "only A" not in text and "only B" not in text
    assert "compared from wave 1, tick 2 on, in this wave only: the extent of the fork" in text
    line = next(line for line in text.splitlines() if line.strip().startswith("planner.energy"))
    assert line.split()[1:5] == ["2", "2", "w1", "t2"]
    same, text = printed(run, write_run("alike", (1, 1)))
    assert same and text.splitlines()[-1] == "the same: 6 invocations"


def test_forks_of_other_waves_share_nothing(write_run: Callable[..., Path]) -> None:
    same, text = printed(write_run("one", (0, 1)), write_run("two", (1, 1)))
    assert not same and "first difference at wave 0, tick 1, world: only one trace holds this invocation" in text


def test_a_folder_without_a_run_is_refused(graph: Graph, tmp_path: Path) -> None:
    run = record(tmp_path / "one", graph, {"world": {"p": torch.zeros(1)}})
    with pytest.raises(TraceError, match="nowhere holds no run"):
        diff(run, tmp_path / "nowhere")

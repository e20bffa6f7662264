"""Agent: equal episodes in one process or many, and partial resets that equal fresh episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from torch import Tensor

import ami
from ami.agent import Agent, TickOutputs, flags_of
from ami.blueprint import Episode
from ami.config.compose import compose_baseline, to_graph
from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.graph.partition import Placement, Segment, cut, groups_of
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.runtime.mailbox import Parcel
from ami.runtime.worker import Worker
from tests.ami.toys import graph, groupings

Record = list[dict[str, Tensor]]
COGNITIVE = ["world_model", "memory", "planner", "goal"]
SHIPPED = {name: to_graph(compose_baseline(ami.compose(), name)) for name in ("jepa", "oracle", "random")}


class Workers:
    """A runtime for tests: one worker per group; exported outputs are copied into a parcel."""

    def __init__(self, of: Graph, placement: Placement, seed: int = 0, watch: Sequence[str] = ()) -> None:
        self.graph, self.segments = of, cut(of, placement, (*flags_of(of), *watch))
        groups = groups_of(of, placement)
        self.workers = {group: Worker(of, [node for node in of.order if groups[node] == group], seed)
                        for group in set(groups.values())}

    def ready(self) -> None: ...

    def begin(self, mask: Tensor, episodes: Sequence[Episode], wave: int) -> None:
        for worker in self.workers.values():
            worker.begin(mask, episodes, wave)

    def fire(self, segment: Segment, tick: int, parcels: Sequence[Parcel],
             most: int = 1) -> tuple[Parcel, dict[str, Tensor]]:
        outputs = self.workers[segment.group].fire(segment.nodes, tick, parcels)
        return (tick, {node: {port: outputs[node][port].clone() for port in ports}
                       for node, ports in segment.exports.items()}), {
            name: outputs[node][port] for name in segment.watched for node, port in (name.split("."),)}

    def read(self, handle: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return handle

    def publish(self, version: int, weights: Weights) -> None:
        for worker in self.workers.values():
            worker.load(version, weights)

    def settle(self) -> None:
        pass

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()


def every_port(of: Graph) -> list[str]:
    return [f"{node}.{port}" for node in of.order for port in of.outputs[node]]


def local(of: Graph, seed: int = 0) -> Agent:
    return Agent(LocalRuntime(of, seed, watch=every_port(of)))


def by_hand(of: Graph, placement: Placement, seed: int = 0) -> Agent:
    return Agent(Workers(of, placement, seed, every_port(of)))


def episodes(*numbers: int) -> list[Episode]:
    return [Episode(number, seed=1000 + number) for number in numbers]


def begun(agent: Agent, *numbers: int) -> Agent:
    agent.reset(torch.ones(len(numbers), dtype=torch.bool), episodes(*numbers))
    return agent


def live(agent: Agent, ticks: int) -> Record:
    return [{name: value.clone() for name, value in agent.cycle().items()} for _ in range(ticks)]


def assert_same(one: Record, other: Record, rows: Sequence[int], exact: bool = False) -> None:
    for tick, (left, right) in enumerate(zip(one, other, strict=True)):
        assert left.keys() == right.keys()
        for name in left:
            torch.testing.assert_close(left[name][list(rows)], right[name][list(rows)], rtol=0, atol=0 if exact else 1e-4,
                                       msg=lambda words, at=(tick, name): f"{at[1]} at tick {at[0]}: {words}")


# One cycle ------------------------------------------------------------------------------------------------------------


def test_a_cycle_fires_every_node_once_and_counts_ticks() -> None:
    agent = begun(local(graph()), 0)
    assert [tick["eye.state"][0, 0].item() for tick in live(agent, 4)] == [1, 3, 7, 15]
    assert agent.tick == 4


def test_tick_outputs_map_the_watched_ports() -> None:
    outputs = begun(Agent(LocalRuntime(graph(), watch=("hand.action", "eye.state"))), 0, 1).cycle()
    assert sorted(outputs) == ["eye.state", "hand.action"] and len(outputs) == 2
    assert outputs["eye.state"].shape == (2, 3)
    assert "head.plan" not in outputs and outputs.get("head.plan") is None


def test_tick_outputs_fetch_a_value_on_first_access_and_once() -> None:
    fetched: list[str] = []

    class Slow:
        def read(self, handle: str) -> dict[str, Tensor]:
            fetched.append(handle)
            return {f"{handle}.a": torch.zeros(1), f"{handle}.b": torch.ones(1)}

    outputs = TickOutputs(Slow(), {"x.a": "x", "x.b": "x", "y.a": "y"})  # type: ignore[arg-type]
    assert fetched == []
    assert outputs["x.a"].item() == 0 and outputs["x.b"].item() == 1 and outputs["x.a"].item() == 0
    assert fetched == ["x"]


def test_repeated_episodes_are_equal() -> None:
    agent = begun(local(SHIPPED["jepa"]), 4, 5)
    first = live(agent, 4)
    assert_same(live(begun(agent, 4, 5), 4), first, (0, 1), exact=True)


def test_leaving_the_block_closes_the_runtime(tiny_agent: Callable[..., Graph]) -> None:
    runtime = LocalRuntime(tiny_agent())
    closed: list[bool] = []
    runtime.close = lambda: closed.append(True)  # type: ignore[method-assign]
    with pytest.raises(KeyError), Agent(runtime):
        raise KeyError
    assert closed == [True]


@pytest.mark.parametrize(("mask", "numbers", "words"), [
    ([True, True], [1], "reset got 1 episodes for 2 worlds: expected one each"),
    ([True, False], [1, 2], "reset starts episodes in 1 of 2 rows, but the agent runs 0. Fix: start all rows first"),
])
def test_reset_refuses_rows_without_an_episode(mask: list[bool], numbers: list[int], words: str) -> None:
    agent = local(graph())
    with pytest.raises(SettingError) as refused:
        agent.reset(torch.tensor(mask), episodes(*numbers))
    assert str(refused.value) == words


def test_a_new_number_of_worlds_needs_a_full_reset() -> None:
    agent = begun(local(graph()), 0, 1, 2)
    with pytest.raises(SettingError, match="reset starts episodes in 1 of 2 rows, but the agent runs 3"):
        agent.reset(torch.tensor([True, False]), episodes(0, 1))
    assert live(begun(agent, 0, 1), 1)[0]["eye.state"].shape == (2, 3)


# Placements -----------------------------------------------------------------------------------------------------------


TOY = graph(eye={"action": {"from": "hand.action", "delay": 2, "init": 0.5}}, head={
    "state": "eye.state", "hint": "head.energy@-1", "calls": {"book": "book"}, "every": 2}, hand={"plan": "head.plan@-1"})


@settings(deadline=None, max_examples=40)
@given(placement=groupings(TOY))
def test_toy_episodes_are_equal_under_every_placement(placement: dict[str, list[str]]) -> None:
    assert_same(live(begun(by_hand(TOY, placement), 0, 1), 8), live(begun(local(TOY), 0, 1), 8), (0, 1), exact=True)


@settings(deadline=None, max_examples=8)
@given(placement=groupings(SHIPPED["jepa"]))
@example(placement={node: [node] for node in SHIPPED["jepa"].order})
def test_shipped_episodes_are_equal_under_every_placement(placement: dict[str, list[str]]) -> None:
    of = SHIPPED["jepa"]
    assert_same(live(begun(by_hand(of, placement), 4, 5), 3), live(begun(local(of), 4, 5), 3), (0, 1), exact=True)


# Partial resets -------------------------------------------------------------------------------------------------------


def two_workers(of: Graph) -> Agent:
    """Return an agent of two workers: every wire between them is a parcel."""
    cognitive = [node for node in of.order if node in COGNITIVE]
    return by_hand(of, {"cognitive": cognitive, "rest": [node for node in of.order if node not in cognitive]})


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("make", [local, two_workers], ids=["local", "two workers"])
def test_a_row_restarted_in_the_middle_equals_a_fresh_episode(make: Callable[[Graph], Agent], name: str) -> None:
    of = SHIPPED[name]
    agent, undisturbed, fresh = (begun(make(of), *numbers) for numbers in ((1, 2, 3), (1, 2, 3), (8, 9, 7)))
    live(agent, 3), live(undisturbed, 3)
    agent.reset(torch.tensor([False, True, False]), episodes(0, 9, 0))
    record = live(agent, 5)
    assert agent.tick == 8
    assert_same(record, live(undisturbed, 5), (0, 2))
    assert_same(record, live(fresh, 5), (1,))


def test_partial_resets_are_equal_under_every_placement() -> None:
    of = SHIPPED["jepa"]
    records = []
    for agent in (local(of), two_workers(of), by_hand(of, "module")):
        begun(agent, 1, 2)
        record = live(agent, 2)
        for mask in ([True, False], [False, True]):
            agent.reset(torch.tensor(mask), episodes(6, 7))
            record += live(agent, 2)
        records.append(record)
    assert_same(records[1], records[0], (0, 1), exact=True)
    assert_same(records[2], records[0], (0, 1), exact=True)


@pytest.mark.parametrize("make", [local, two_workers], ids=["local", "two workers"])
def test_rows_may_be_reset_one_by_one_before_a_tick(make: Callable[[Graph], Agent]) -> None:
    of = SHIPPED["random"]
    agent, fresh = begun(make(of), 1, 2, 3), begun(make(of), 8, 9, 7)
    live(agent, 2)
    agent.reset(torch.tensor([True, False, False]), episodes(8, 0, 0))
    agent.reset(torch.tensor([False, True, False]), episodes(0, 9, 0))
    assert_same(live(agent, 3), live(fresh, 3), (0, 1))


def test_the_wave_numbers_batches_and_defaults_to_the_next(
        tiny_agent: Callable[..., Graph]) -> None:
    waves: list[int] = []

    class Notes:
        def add(self, node: str, wave: int, *rest: Any) -> None:
            if wave not in waves:
                waves.append(wave)


        def notes(self, node: str) -> None: ...

        def close(self) -> None: ...

    agent = Agent(LocalRuntime(tiny_agent(), recorder=Notes()))
    for wave in (None, None, 7, None):
        agent.reset(torch.ones(2, dtype=torch.bool), episodes(0, 1), wave)
        agent.cycle()
        agent.reset(torch.tensor([True, False]), episodes(2, 1))  # a restarted row stays in its batch
        agent.cycle()
    assert waves == [0, 1, 7, 8]
    agent.reset(torch.ones(2, dtype=torch.bool), episodes(0, 1), 3)
    agent.cycle()
    assert waves[-1] == 3

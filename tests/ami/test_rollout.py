"""Rollout: episodes in waves and in refilled rows, their ages and ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

import ami
from ami.agent import Agent
from ami.blueprint import Episode, World
from ami.config.compose import to_graph
from ami.errors import GraphError, SettingError
from ami.graph.graph import Graph
from ami.rollout import Step, is_over, rollout
from ami.runtime.local import LocalRuntime
from tests.support.scripted import ScriptedGraph

NEAR, MIDDLE, FAR = [27.0, 10.0], [20.0, 24.0], [5.0, 25.0]


def options(number: int, start: Sequence[float]) -> Episode:
    return Episode(number, seed=number, options={"start": start, "goal": [24.0, 10.0]})


def test_rollout_ends_when_all_rows_are_over(tiny_agent: Callable[..., Graph]) -> None:
    agent = Agent(LocalRuntime(tiny_agent(), watch=("world.truth",)))
    ticks = list(rollout(agent, [options(0, NEAR), options(1, FAR), options(2, MIDDLE)]))
    over = torch.stack([is_over(step.world) for step in ticks])
    assert not over[-2].all() and over[-1].all()
    assert ticks[-1].world["success"].all()
    first = over.int().argmax(0).tolist()
    assert first[0] < first[2] < first[1] == len(ticks) - 1
    assert torch.equal(torch.stack([step.ended for step in ticks]).nonzero()[:, 0].sort()[0], torch.tensor(sorted(first)))
    assert [int(step.alive.sum()) for step in ticks] == [int((~over[:tick]).all(0).sum()) for tick in range(len(ticks))]
    for step in ticks[first[0]:]:  # it stays where it arrived
        assert torch.equal(step.outputs["world.truth"][0], ticks[first[0]].outputs["world.truth"][0])


def test_rollout_ends_at_the_time_limit(tiny_agent: Callable[..., Graph]) -> None:
    agent = Agent(LocalRuntime(tiny_agent(max_episode_steps=4)))
    ticks = list(rollout(agent, [options(0, FAR), options(1, [5.0, 5.0])]))
    assert len(ticks) == 5  # the beginning, and four steps
    assert ticks[-1].world["truncated"].all() and not ticks[-1].world["success"].any()
    assert [step.age.tolist() for step in ticks] == [[age, age] for age in range(5)]


def test_longest_cuts_an_episode_off(tiny_agent: Callable[..., Graph]) -> None:
    ticks = list(rollout(Agent(LocalRuntime(tiny_agent())), [options(0, FAR), options(1, FAR)], 1, longest=2))
    assert [int(step.age) for step in ticks] == [0, 1, 2, 0, 1, 2]
    assert [bool(step.ended) for step in ticks] == [False, False, True] * 2


def test_one_agent_runs_several_waves(tiny_agent: Callable[..., Graph]) -> None:
    agent = Agent(LocalRuntime(tiny_agent()))
    lengths = [len(list(rollout(agent, [options(number, NEAR) for number in batch]))) for batch in ((0,), (0, 0), (0,))]
    assert len(set(lengths)) == 1


def paths(steps: Sequence[Step], port: str) -> dict[int, torch.Tensor]:
    """Return the messages of a port by episode, (T + 1, …)."""
    found: dict[int, list[torch.Tensor]] = {}
    for step in steps:
        for row in step.alive.nonzero()[:, 0].tolist():
            found.setdefault(step.episodes[row].number, []).append(step.outputs[port][row])
            assert len(found[step.episodes[row].number]) == int(step.age[row]) + 1
    return {number: torch.stack(messages) for number, messages in found.items()}


def test_a_refilled_row_runs_the_same_episodes_in_fewer_ticks(tiny_agent: Callable[..., Graph]) -> None:
    graph = tiny_agent(observe="state")
    episodes = [options(number, start) for number, start in enumerate([NEAR, FAR, NEAR, FAR, MIDDLE, FAR, NEAR])]
    runs = [list(rollout(Agent(LocalRuntime(graph, watch=("world.truth", "actor.action"))), episodes, 2, refill=refill))
            for refill in (False, True)]
    assert len(runs[1]) < len(runs[0])
    for port in ("world.truth", "actor.action"):
        waves, refilled = (paths(run, port) for run in runs)
        assert waves.keys() == refilled.keys() == set(range(7))
        assert all(torch.equal(waves[number], refilled[number]) for number in waves)
    for run in runs:
        assert sum(int(step.ended.sum()) for step in run) == 7


class Slow(ScriptedGraph):
    def __init__(self) -> None:
        super().__init__({"world": 2})


class Short:
    """An agent whose episodes end after as many ticks as their number."""

    def __init__(self, graph: ScriptedGraph) -> None:
        self.graph, self.waves = graph, []

    def reset(self, mask: torch.Tensor, episodes: Sequence[Episode], wave: int | None = None) -> None:
        assert mask.all(), "a slow world begins all rows at once"
        self.numbers, self.tick = torch.tensor([episode.number for episode in episodes]), -1
        self.waves.append((wave, self.numbers.tolist()))

    def cycle(self, most: int = 1) -> dict[str, torch.Tensor]:
        self.tick += 1
        over = self.tick >= self.numbers
        return {"world.terminated": over, "world.truncated": over, "world.success": over, "world.reward": over.float()}


def test_a_slow_world_runs_in_waves() -> None:
    agent = Short(Slow())
    list(rollout(agent, [Episode(number, 0) for number in (1, 3, 2)], 2, wave=4, refill=True))  # type: ignore[arg-type]
    assert agent.waves == [(4, [1, 3]), (5, [2])]


def test_a_slow_planner_fires_by_the_age_of_a_refilled_row(tiny_agent: Callable[..., Graph]) -> None:
    fast = tiny_agent(observe="state")
    wiring = {node: {wire.to_port: f"{wire.node}.{wire.port}{'@-1' * wire.delay}" for wire in fast.inputs[node]}
              for node in fast.order}
    graph = Graph(fast.specs, {**wiring, "planner": {**wiring["planner"], "every": 2}})
    episodes = [options(number, start) for number, start in enumerate([NEAR, FAR, MIDDLE, FAR, NEAR])]
    runs = [list(rollout(Agent(LocalRuntime(graph, watch=("actor.action", "planner.plan"))), episodes, 2, refill=refill))
            for refill in (False, True)]
    assert len(runs[1]) < len(runs[0])
    for port in ("actor.action", "planner.plan"):
        waves, refilled = (paths(run, port) for run in runs)
        assert waves.keys() == refilled.keys() and all(torch.equal(waves[number], refilled[number]) for number in waves)


def test_a_batch_below_1_is_refused() -> None:
    with pytest.raises(SettingError, match="the batch is 0: expected 1 or more parallel worlds"):
        list(rollout(Short(ScriptedGraph()), [Episode(0, 0)], 0))  # type: ignore[arg-type]


def test_several_worlds_are_refused() -> None:
    agent = Short(ScriptedGraph(nodes={World: ("left", "right")}))
    with pytest.raises(GraphError, match=r"the graph has 2 nodes of the role world: left, right\. Expected one"):
        list(rollout(agent, [Episode(0, 0)]))  # type: ignore[arg-type]


def test_the_flags_are_those_of_the_world_whatever_its_name() -> None:
    config = ami.compose(["agent=random", "runtime=local", "world.max_episode_steps=3"])
    plain = to_graph(config)
    rename = {"world": "earth"}
    wiring = {rename.get(node, node): _renamed(entry) for node, entry in config.plain()["graph"].items()}
    graph = Graph({rename.get(node, node): plain.specs[node] for node in plain.order}, wiring)
    steps = list(rollout(Agent(LocalRuntime(graph)), [Episode(0, 7), Episode(1, 8)]))
    assert len(steps) == 4 and steps[-1].ended.all()


def _renamed(entry: object) -> object:
    if isinstance(entry, dict):
        return {key: _renamed(value) for key, value in entry.items()}
    return entry.replace("world.", "earth.") if isinstance(entry, str) else entry

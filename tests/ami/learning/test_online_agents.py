"""Agents that act while a trainer learns: bounded lag, bounded queue, a fixed replay ratio, and whoever is slow is seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ami.agent import Agent
from ami.blueprint import Episode
from ami.data.episode_folder import EpisodeFolder
from ami.data.replay_buffer import ReplayBuffer
from ami.graph.graph import Graph
from ami.learning.acted import VERSION, Acted, Pace, Wave
from ami.learning.collect import collect, collected_ports
from ami.learning.online_agents import ActingAgents
from ami.runtime.local import LocalRuntime
from tests.support.corridor import corridor

BATCH, LONGEST, RATIO, STEPS = 2, 5, 0.5, 60


@pytest.fixture(scope="module")
def graph() -> Graph:
    return corridor()


@contextmanager
def acting(graph: Graph, folder: Path, count: int = 2, max_lag: int = 8, queue: int = 2) -> Iterator[ActingAgents]:
    agents = [Agent(LocalRuntime(graph, number, watch=collected_ports(graph))) for number in range(count + 1)]
    start = collect(agents.pop(), 2, LONGEST, 2, seed=0)
    acted = Acted(Pace(RATIO, 1, BATCH, LONGEST, 3), start, EpisodeFolder(folder), ReplayBuffer())
    acted.begin(None)
    found = ActingAgents(agents, acted, frozenset(), max_lag, queue)
    try:
        yield found
    finally:
        found.close()


def learn(acting: ActingAgents, steps: int = STEPS, seconds: float = 0.0) -> list[dict[str, float]]:
    """Take steps of learning that do nothing; return the figures of each wave."""
    rows = []
    for done in range(steps):
        while acting.advance(done, dict):
            rows.append(acting.acted.figures(done))
        time.sleep(seconds)
    return rows


def mean_of(rows: list[dict[str, float]], figure: str) -> float:
    return sum(row[figure] for row in rows) / len(rows)


@pytest.mark.parametrize("max_lag", [1, 8])
def test_two_agents_keep_the_lag_and_the_replay_ratio(graph: Graph, max_lag: int, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    publish_of = LocalRuntime.publish

    def publish(self: LocalRuntime, *given: object) -> None:
        time.sleep(0.01)
        publish_of(self, *given)  # type: ignore[arg-type]

    begun: list[Episode] = []
    reset_of = Agent.reset

    def reset(self: Agent, mask: torch.Tensor, episodes: Sequence[Episode], wave: int | None = None) -> None:
        begun.extend(episodes)
        reset_of(self, mask, episodes, wave)

    monkeypatch.setattr(LocalRuntime, "publish", publish)
    with acting(graph, tmp_path / "episodes", max_lag=max_lag) as agents:
        monkeypatch.setattr(Agent, "reset", reset)
        rows = learn(agents, seconds=0.002)
    assert all(0 <= row["lag"] <= max_lag for row in rows)
    wave = BATCH * LONGEST
    assert all(row["world_steps"] - wave <= (STEPS + 1) / RATIO for row in rows)
    assert rows[-1]["world_steps"] >= STEPS / RATIO
    versions = agents.acted.buffer.column(VERSION)
    assert int(versions.max()) > 0 and len(versions.unique()) > 3
    assert EpisodeFolder(tmp_path / "episodes").num_episodes == agents.acted.buffer.num_episodes == BATCH * len(rows)
    assert len({episode.number for episode in begun}) == len(begun) >= BATCH * len(rows)


def test_a_slow_learner_lets_the_agents_wait_for_room(graph: Graph, tmp_path: Path) -> None:
    with acting(graph, tmp_path / "episodes", max_lag=1000, queue=3) as agents:
        rows = learn(agents, steps=40, seconds=0.03)
    assert max(row["queue"] for row in rows) == 3
    assert mean_of(rows[1:], "agents_waited") > 2 * mean_of(rows[1:], "learner_waited")


def test_slow_agents_let_the_learner_wait(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tick_of = Wave.tick

    def tick(self: Wave, *given: int) -> None:
        time.sleep(0.02)
        tick_of(self, *given)

    monkeypatch.setattr(Wave, "tick", tick)
    with acting(graph, tmp_path / "episodes") as agents:
        rows = learn(agents, steps=20)
    assert mean_of(rows, "learner_waited") > 2 * mean_of(rows, "agents_waited")
    assert max(row["queue"] for row in rows) <= 2


def test_the_error_of_an_agent_is_raised_in_the_learner(graph: Graph, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def tick(self: Wave, *given: int) -> None:
        raise ZeroDivisionError("in an agent")

    monkeypatch.setattr(Wave, "tick", tick)
    with acting(graph, tmp_path / "episodes") as agents, pytest.raises(ZeroDivisionError, match="in an agent"):
        learn(agents)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("acting")]


def test_a_later_process_goes_on_with_the_next_wave(graph: Graph, tmp_path: Path) -> None:
    with acting(graph, tmp_path / "episodes") as agents:
        learn(agents, steps=20)
        state = agents.acted.state()
        content = agents.acted.buffer.tensors()
    acted = Acted(agents.acted.pace, agents.acted.start, EpisodeFolder(tmp_path / "episodes"), ReplayBuffer())
    assert acted.holds(state) and not acted.holds({**state, "waves": state["waves"] + 1})
    acted.begin(state)
    assert acted.next_wave >= acted.waves == state["waves"] and acted.state() == state
    again = acted.buffer.tensors()
    assert again.keys() == content.keys() and all(torch.equal(again[name], content[name]) for name in again)

"""Trajectories: messages of running agents, windows that end with an episode, and the shuffled control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ami
from ami.agent import Agent
from ami.config.compose import compose_baseline, to_graph
from ami.data.replay_buffer import TERMINATED
from ami.errors import SettingError
from ami.learning import checkpoint
from ami.learning.sources.source import Supply
from ami.learning.sources.trajectories import STEPS, Trajectories, record, shuffled
from ami.runtime.local import LocalRuntime

PORTS = {"number": "world.episode", "energy": "cost.energy"}
SETTINGS: list[str] = ["planner=none", "graph.planner.calls=null", "learning=none", "world.max_episode_steps=6"]


def supply(tmp_path: Path, part: dict[str, torch.Tensor], batch: int = 200) -> Supply:
    """Return a supply whose episodes are recorded already."""
    checkpoint.save(tmp_path / "0", part, {})
    return Supply("stage", batch, 10, None, {}, file_of=lambda number: tmp_path / str(number))  # type: ignore[arg-type]


def recorded(steps: list[int], terminated: list[bool]) -> dict[str, torch.Tensor]:
    """Return episodes whose messages are 100 · episode + tick."""
    values = torch.cat([100.0 * number + torch.arange(count + 1.0) for number, count in enumerate(steps)])
    ends = torch.cat([torch.tensor([*[False] * count, over]) for count, over in zip(steps, terminated, strict=True)])
    return {"energy": values, TERMINATED: ends, STEPS: torch.tensor(steps)}


def source(**given: Any) -> Trajectories:
    return Trajectories(**{"ports": {"energy": "cost.energy"}, "agents": ["agent"], "length": 3, **given})


def test_windows_reach_beyond_a_terminal_step_alone(tmp_path: Path) -> None:
    batch = source().open(supply(tmp_path, recorded([5, 4], [True, False])))(0)
    found = {(tuple(values.tolist()), tuple(cont.tolist())) for values, cont in
             zip(batch["energy"], batch["cont"], strict=True)}
    assert found == {
        ((0, 1, 2, 3), (1, 1, 1)), ((1, 2, 3, 4), (1, 1, 1)), ((2, 3, 4, 5), (1, 1, 0)), ((3, 4, 5, 5), (1, 0, 0)),
        ((4, 5, 5, 5), (0, 0, 0)), ((100, 101, 102, 103), (1, 1, 1)), ((101, 102, 103, 104), (1, 1, 1))}


def test_shuffled_messages_are_those_of_the_next_episode() -> None:
    part = recorded([2, 1, 3], [True] * 3)
    assert shuffled(part["energy"], part[STEPS]).tolist() == [100, 101, 101, 200, 201, 0, 1, 2, 2]


def test_episodes_too_short_for_a_window_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        source(length=9).open(supply(tmp_path, recorded([5, 4], [False, False])))(0)
    assert str(refusal.value) == ("learning.stages.stage.source.length is 9, but the longest episode has 5 steps. "
                                  "Fix: learning.stages.stage.source.length=5")


def test_records_what_ports_send_until_an_episode_ends() -> None:
    graph = to_graph(ami.compose(SETTINGS))
    with Agent(LocalRuntime(graph, 0, watch=tuple(PORTS.values()))) as agent:
        whole = record(agent, PORTS, range(60, 120), 5)
        short = record(agent, PORTS, range(60, 63), 5, longest=2)
    assert int(whole[STEPS].max()) == 6 and len(whole["energy"]) == int((whole[STEPS] + 1).sum())
    firsts = (whole[STEPS] + 1).cumsum(0) - (whole[STEPS] + 1)
    assert short[STEPS].tolist() == [2, 2, 2]
    same = torch.cat([whole["energy"][first:first + 3] for first in firsts[:3].tolist()])
    assert torch.allclose(short["energy"], same, rtol=1e-5)


def test_an_agent_of_overrides_is_the_learner_with_them() -> None:
    config = ami.compose([*SETTINGS, "memory=none"])
    other = compose_baseline(config, "world.max_episode_steps=9 configurator.mode=1")
    assert other.settings.world.max_episode_steps == 9 and other.settings.configurator.mode == 1
    assert other.settings.memory == config.settings.memory
    assert to_graph(other).nodes_of_equal_class(to_graph(config)) == set(to_graph(config).order)


@pytest.mark.parametrize(("settings", "words"), [
    ({"ports": {}}, "Trajectories.ports is {}: expected ports by name, such as {energy: cost.energy}"),
    ({"ports": {"cont": "cost.energy"}}, "Trajectories.ports names 'cont' or 'steps', which are its own. Fix: another name"),
    ({"agents": []}, "Trajectories.agents is []: expected one or more names or overrides"),
    ({"episodes": 0}, "Trajectories.episodes is 0: expected 1 or more"),
    ({"length": 0}, "Trajectories.length is 0: expected 1 or more steps"),
    ({"longest": 0}, "Trajectories.longest is 0: expected 1 or more steps, or null"),
    ({"shuffle": ["felt"]}, "Trajectories.shuffle names 'felt': expected some of energy"),
])
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as refusal:
        source(**settings)
    assert str(refusal.value) == words

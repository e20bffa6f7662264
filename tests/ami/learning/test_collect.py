"""Collect: episodes are stored in order, whole and without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode
from ami.data.replay_buffer import ReplayBuffer
from ami.graph.graph import Graph
from ami.learning.collect import SEED_RANGE, Running, collect, collected_ports
from ami.rollout import Step
from ami.runtime.local import LocalRuntime
from tests.support.scripted import ScriptedGraph

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=6)
NEVER = 10**6


class Scripted:
    """An agent whose episodes end at given ticks: in episode e, tick t has observation 100 e + t and action -(100 e + t)."""

    def __init__(self, ends: Sequence[int]) -> None:
        self.ends = ends
        self.graph = ScriptedGraph()
        self.begun: list[Episode] = []
        self.ticks = 0

    def reset(self, mask: Tensor, episodes: Sequence[Episode], wave: int | None = None) -> None:
        assert len(mask) == len(episodes)
        self.begun += [episode for episode, new in zip(episodes, mask.tolist(), strict=True) if new]
        self.numbers = torch.tensor([episode.number for episode in episodes])
        self.age = torch.full((len(mask),), -1) if mask.all() else torch.where(mask, -1, self.age)

    def cycle(self, most: int = 1) -> dict[str, Tensor]:
        self.age, self.ticks = self.age + 1, self.ticks + 1
        ends = torch.tensor([self.ends[number] for number in self.numbers.tolist()])
        here = 100 * self.numbers + torch.minimum(self.age, ends)
        action = -(100 * self.numbers + self.age)
        over = self.age >= ends
        return {"world.observation": here[:, None].to(torch.uint8), "world.truth": here[:, None].float(),
                "actor.action": action[:, None].float(), "world.reward": here.float() / 8,
                "world.terminated": over & (ends % 2 == 0), "world.truncated": over & (ends % 2 == 1),
                "world.success": over}


def collected(ends: Sequence[int], steps: int, batch: int = 4) -> ReplayBuffer:
    return collect(Scripted(ends), len(ends), steps, batch, seed=0)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(ends=LENGTHS, steps=st.integers(1, 8), batch=st.integers(1, 4))
def test_an_episode_that_ends_early_is_cut_there(ends: list[int], steps: int, batch: int) -> None:
    experience = collected(ends, steps, batch)
    assert experience.steps.tolist() == [min(end, steps) for end in ends]
    assert experience.num_frames == sum(min(end, steps) + 1 for end in ends)
    assert experience.column("observation").dtype == torch.uint8 and experience.column("terminated").dtype == torch.bool
    for number, count in enumerate(experience.steps.tolist()):
        episode = experience.episode(number)
        assert episode["truth"][:, 0].tolist() == [100 * number + t for t in range(count + 1)]
        assert episode["action"][:, 0].tolist() == [*(-(100 * number + t) for t in range(count)), 0]
        assert not bool(episode["terminated"][:-1].any()) and episode["reward"][0] == 0


def test_episodes_are_numbered_consecutively_and_have_distinct_seeds() -> None:
    agent = Scripted([NEVER] * 5)
    collect(agent, episodes=5, steps=1, batch=2, seed=3)  # type: ignore[arg-type]
    assert [episode.number for episode in agent.begun] == [0, 1, 2, 3, 4]
    seeds = [episode.seed for episode in agent.begun]
    assert len(set(seeds)) == 5 and all(0 <= seed < SEED_RANGE for seed in seeds)
    repeated, other = Scripted([NEVER] * 5), Scripted([NEVER] * 5)
    collect(repeated, episodes=5, steps=1, batch=5, seed=3)  # type: ignore[arg-type]
    collect(other, episodes=5, steps=1, batch=5, seed=4)  # type: ignore[arg-type]
    assert [episode.seed for episode in repeated.begun] == seeds
    assert not {episode.seed for episode in other.begun} & set(seeds)


def test_progress_is_reported_in_episodes() -> None:
    reported: list[int] = []
    collect(Scripted([3] * 5), 5, 2, 2, seed=0, on_progress=reported.append)  # type: ignore[arg-type]
    assert reported == [2, 2, 1]


def test_an_ended_episode_leaves_its_row_to_the_next() -> None:
    agent = Scripted([2, 9, 2, 2, 2])
    experience = collect(agent, 5, 9, 2, seed=0)  # type: ignore[arg-type]
    assert experience.steps.tolist() == [2, 9, 2, 2, 2]
    assert agent.ticks == 12  # 4 episodes of 3 ticks beside one of 10; waves take 10 + 3 + 3


def test_an_episode_does_not_depend_on_the_batch_size(tiny_agent: Callable[..., Graph]) -> None:
    batches = []
    for batch in (3, 1):
        graph = tiny_agent(observe="state", max_episode_steps=5)
        agent = Agent(LocalRuntime(graph, watch=collected_ports(graph)))
        batches.append(collect(agent, episodes=3, steps=8, batch=batch, seed=1))
    together, alone = batches
    assert torch.equal(together.steps, alone.steps) and together.steps.max() <= 5
    assert torch.equal(together.column("observation"), alone.column("observation"))
    torch.testing.assert_close(together.column("action"), alone.column("action"))


def test_an_action_leads_from_one_observation_to_the_next(tiny_agent: Callable[..., Graph]) -> None:
    graph = tiny_agent(observe="state")
    agent = Agent(LocalRuntime(graph, watch=collected_ports(graph)))
    experience = collect(agent, episodes=4, steps=6, batch=4, seed=0)
    world = agent.runtime.worker.modules["world"].rows.env  # type: ignore[attr-defined]
    for number, count in enumerate(experience.steps.tolist()):
        episode = experience.episode(number)
        for step in range(count):
            after = world.dynamics.step(episode["truth"][step, None].numpy(), episode["action"][step, None].numpy())
            torch.testing.assert_close(torch.as_tensor(after)[0], episode["truth"][step + 1])


def test_reward_and_cont_belong_to_the_step_that_led_to_them() -> None:
    experience = collected([2, 3, 9], steps=4)
    # the reward is the observation over 8; episodes with an even end terminate, those with an odd end are truncated
    assert (8 * experience.arrived("reward")).tolist() == [1, 2, 101, 102, 103, 201, 202, 203, 204]
    assert experience.arrived("terminated").tolist() == [False, True, *[False] * 7]
    windows = experience.windows(experience.starts(2), 2)
    assert torch.equal(8 * windows["reward"], windows["observation"][:, 1:, 0].float())
    assert windows["cont"][0].tolist() == [1, 0]
    assert experience.mean_return == pytest.approx((3 + (101 + 102 + 103) + (201 + 202 + 203 + 204)) / 8 / 3)


def test_collection_stops_when_all_episodes_have_ended() -> None:
    agent = Scripted([2, 3])
    experience = collect(agent, 2, 50, 2, seed=0)  # type: ignore[arg-type]
    assert agent.ticks == 4 and experience.steps.tolist() == [2, 3]


@settings(deadline=None, max_examples=60)
@given(ends=LENGTHS, batch=st.integers(1, 4))
def test_few_finished_episodes_wait_for_an_earlier_one(ends: list[int], batch: int) -> None:
    most = 0

    class Counting(Running):
        def finish(self, row: int, step: Step) -> None:
            nonlocal most
            super().finish(row, step)
            most = max(most, sum(len(episode["action"]) for episode in self.finished.values()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ami.learning.collect.Running", Counting)
        experience = collected(ends, 9, batch)
    assert experience.steps.tolist() == ends and most <= 2 * batch * (max(ends) + 1)

"""Experience: episodes are stored in order, and no window crosses an episode's end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.learning.experience import SEED_RANGE, Experience, collect, collected_ports, joined
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


def collected(ends: Sequence[int], steps: int, batch: int = 4) -> Experience:
    return collect(Scripted(ends), len(ends), steps, batch, seed=0)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(ends=LENGTHS, steps=st.integers(1, 8), batch=st.integers(1, 4))
def test_an_episode_that_ends_early_is_cut_there(ends: list[int], steps: int, batch: int) -> None:
    experience = collected(ends, steps, batch)
    assert experience.steps.tolist() == [min(end, steps) for end in ends]
    assert experience.num_frames == sum(min(end, steps) + 1 for end in ends)
    assert experience.truth.shape == (len(ends), steps + 1, 1) and experience.action.shape == (len(ends), steps, 1)
    for episode, count in enumerate(experience.steps.tolist()):
        assert experience.truth[episode, : count + 1, 0].tolist() == [100 * episode + t for t in range(count + 1)]
        assert experience.action[episode, :count, 0].tolist() == [-(100 * episode + t) for t in range(count)]


@settings(deadline=None, max_examples=60)
@given(ends=LENGTHS.filter(any), steps=st.integers(1, 8), window=st.integers(1, 8))
def test_starts_are_all_windows_that_cross_no_end(ends: list[int], steps: int, window: int) -> None:
    experience = collected(ends, steps)
    if window > int(experience.steps.max()):
        with pytest.raises(SettingError, match="a window has"):
            experience.starts(window)
        return
    starts = experience.starts(window)
    assert starts.tolist() == [[episode, step] for episode, end in enumerate(ends)
                               for step in range(min(end, steps) - window + 1)]
    windows = Experience(experience.truth, experience.action, experience.truth, experience.steps).windows(starts, window)
    first = (100 * starts[:, 0] + starts[:, 1])[:, None]
    assert torch.equal(windows["observation"][..., 0], first + torch.arange(window + 1.0))
    assert torch.equal(windows["action"][..., 0], -(first + torch.arange(float(window))))


def test_a_window_longer_than_every_episode_is_refused() -> None:
    with pytest.raises(SettingError) as refused:
        collected([2, 4, 3], steps=8).starts(5)
    assert str(refused.value) == ("a window has 5 steps, but the longest episode has 4. "
                                  "Fix: a smaller window, or learning.collect.steps larger")


def test_lasts_marks_the_last_frame_of_every_episode() -> None:
    experience = collected([3, 0, 5], 4)
    assert experience.frames()[:, 0].tolist() == [0, 1, 2, 3, 100, 200, 201, 202, 203, 204]
    assert experience.lasts().nonzero()[:, 0].tolist() == [3, 4, 9]


def test_part_keeps_the_first_episodes() -> None:
    experience = collected([2, 9, 4], steps=5)
    part = experience.part(2)
    assert part.steps.tolist() == [2, 5] and part.num_frames == 9
    assert all(torch.equal(getattr(part, name), getattr(experience, name)[:2])
               for name in ("observation", "action", "truth"))


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
    for episode, count in enumerate(together.steps.tolist()):
        assert torch.equal(together.observation[episode, : count + 1], alone.observation[episode, : count + 1])
        torch.testing.assert_close(together.action[episode, :count], alone.action[episode, :count])


def test_an_action_leads_from_one_observation_to_the_next(tiny_agent: Callable[..., Graph]) -> None:
    graph = tiny_agent(observe="state")
    agent = Agent(LocalRuntime(graph, watch=collected_ports(graph)))
    experience = collect(agent, episodes=4, steps=6, batch=4, seed=0)
    world = agent.runtime.worker.modules["world"].rows.env  # type: ignore[attr-defined]
    for episode, count in enumerate(experience.steps.tolist()):
        for step in range(count):
            after = world.dynamics.step(experience.truth[episode, step, None].numpy(),
                                        experience.action[episode, step, None].numpy())
            torch.testing.assert_close(torch.as_tensor(after)[0], experience.truth[episode, step + 1])


def test_reward_and_cont_belong_to_the_step_that_led_to_them() -> None:
    experience = collected([2, 3, 9], steps=4)
    assert experience.reward is not None and experience.cont is not None
    # the reward is the observation over 8; episodes with an even end terminate, those with an odd end are truncated
    assert (8 * experience.reward[0, :2]).tolist() == [1, 2] and (8 * experience.reward[2]).tolist() == [201, 202, 203, 204]
    assert experience.cont[0, :2].tolist() == [1, 0] and experience.cont[1, :3].tolist() == [1, 1, 1]
    windows = experience.windows(experience.starts(2), 2)
    assert torch.equal(8 * windows["reward"], windows["observation"][:, 1:, 0].float())
    assert windows["cont"][0].tolist() == [1, 0]
    assert experience.mean_return == pytest.approx((3 + (101 + 102 + 103) + (201 + 202 + 203 + 204)) / 8 / 3)


def test_collection_stops_when_all_episodes_have_ended() -> None:
    agent = Scripted([2, 3])
    experience = collect(agent, 2, 50, 2, seed=0)  # type: ignore[arg-type]
    assert agent.ticks == 4 and experience.action.shape[1] == 50 and experience.steps.tolist() == [2, 3]


def test_experiences_are_joined() -> None:
    one, other = collected([2, 3], steps=4), collected([4], steps=4)
    both = joined([one, other])
    assert both.steps.tolist() == [2, 3, 4] and both.reward is not None and both.reward.shape == (3, 4)
    without = Experience(one.observation, one.action, one.truth, one.steps)
    assert joined([one, without]).reward is None and "reward" not in without.windows(without.starts(2), 2)
    assert without.mean_return != without.mean_return, "rewards were not recorded"


def test_endings_are_the_windows_that_end_at_a_terminal_step() -> None:
    experience = collected([2, 3, 4, 9, 0], steps=6)  # even ends terminate
    assert experience.endings(2).tolist() == [[0, 0], [2, 2]]
    assert experience.endings(3).tolist() == [[2, 1]]
    assert len(Experience(experience.observation, experience.action, experience.truth, experience.steps).endings(2)) == 0

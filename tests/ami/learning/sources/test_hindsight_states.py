"""Hindsight states: perceived and imagined successors, hindsight goals, and oversampled endings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ami.blueprint import Perception, Prediction, WorldModel
from ami.data.replay_buffer import ReplayBuffer
from ami.learning.sources import hindsight_states
from ami.learning.sources.hindsight_states import HindsightStates, States, directions, remember, spread
from ami.learning.sources.source import Supply
from ami.ports import ActionSpace
from modules.world_model.markov import MarkovWorldModel

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=6).filter(any)


class Eye(Perception):
    """Casts bytes to floats."""

    def encode(self, observation: Tensor) -> Tensor:
        return observation.float()


class Model(MarkovWorldModel):
    """Its state is twice the percept; every action moves all numbers of the state by the sum of its own."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.set_up({"P": (2,), "S": (2, 1), "A": width})

    def state_of(self, percept: Tensor) -> Tensor:
        return percept[..., None] * 2

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        moved = actions.sum(-1).cumsum(-1)
        return Prediction(state[:, None, None] + moved[..., None, None])


def experience(lengths: list[int], width: int = 2, reward: Tensor | None = None,
               terminated: Tensor | None = None) -> ReplayBuffer:
    """Return episodes whose observation is (20 e + t, e) in episode e at step t."""
    count, longest = len(lengths), max(lengths)
    observation = torch.full((count, longest + 1, 2), 255, dtype=torch.uint8)
    for episode, steps in enumerate(lengths):
        observation[episode, : steps + 1, 0] = 20 * episode + torch.arange(steps + 1)
        observation[episode, : steps + 1, 1] = episode
    return ReplayBuffer.of_padded(observation, torch.zeros(count, longest, width), torch.tensor(lengths),
                                  reward=reward, terminated=terminated)


def states_of(lengths: list[int], imagined: int = 3, width: int = 2) -> States:
    return remember(experience(lengths, width), Eye(), Model(width), imagined)


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS)
def test_states_are_those_of_all_frames_without_padding(lengths: list[int]) -> None:
    state = states_of(lengths).state.whole()
    assert state.shape == (sum(lengths) + len(lengths), 2, 1)
    assert (state[:, 0, 0] / 2).tolist() == [20 * e + t for e, steps in enumerate(lengths) for t in range(steps + 1)]


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS)
def test_the_first_successor_is_the_state_perceived_next(lengths: list[int]) -> None:
    made = states_of(lengths)
    future = made.first <= made.last
    assert torch.equal(made.successors.whole()[future, 0], made.state.whole()[future.nonzero()[:, 0] + 1])
    assert torch.equal(made.successors.whole()[future, 0, 1], made.state.whole()[future, 1]), "it is of the same episode"
    assert int((~future).sum()) == len(lengths), "only the last state of each episode has no future"


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS)
def test_the_action_is_the_one_taken_at_the_state(lengths: list[int]) -> None:
    steps = torch.arange(max(lengths)).float()
    action = (20 * torch.arange(len(lengths))[:, None] + steps)[..., None].repeat(1, 1, 2)
    frames = experience(lengths)
    given = ReplayBuffer.of_padded(torch.stack([torch.nn.functional.pad(frames.episode(e)["observation"].float(),
                                                                        (0, 0, 0, max(lengths) - steps))
                                                for e, steps in enumerate(lengths)]), action, torch.tensor(lengths))
    drawn = remember(given, Eye(), Model(), 0).draw(64)
    assert torch.equal(drawn["action"][:, 0], drawn["state"][:, 0, 0] / 2)


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS, imagined=st.integers(0, 5))
def test_the_requested_number_of_successors_is_imagined(lengths: list[int], imagined: int) -> None:
    made = states_of(lengths, imagined)
    assert made.successors.whole().shape == (len(made.state.whole()), 1 + imagined, 2, 1)
    moves = directions(imagined, 2).sum(-1)[None, :, None, None]
    torch.testing.assert_close(made.successors.whole()[:, 1:], made.state.whole()[:, None] + moves)


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS, seed=st.integers(0, 1000))
def test_a_hindsight_goal_is_a_later_state_of_the_same_episode(lengths: list[int], seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = states_of(lengths).draw(64)
    assert {name: value.shape for name, value in drawn.items()} == {
        "state": (64, 2, 1), "action": (64, 2), "successors": (64, 4, 2, 1), "goal": (64, 2, 1), "next": (64, 2, 1)}
    assert torch.equal(drawn["goal"][:, 1], drawn["state"][:, 1])
    assert (drawn["goal"][:, 0] > drawn["state"][:, 0]).all()
    assert torch.equal(drawn["successors"][:, 0, 0], drawn["state"][:, 0] + 2)


def test_every_state_with_a_future_and_every_later_state_is_drawn() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = states_of([3, 0, 2]).draw(2000)
    pairs = torch.stack([drawn["state"][:, 0, 0], drawn["goal"][:, 0, 0]], 1).div(2).int()
    counts = Counter(map(tuple, pairs.tolist()))
    assert set(counts) == {(t, goal) for t in range(3) for goal in range(t + 1, 4)} | {(40, 41), (40, 42), (41, 42)}
    # states alike, and for each state its goals alike: 2000 draws of 5 states, the first has three goals
    assert counts[0, 1] == pytest.approx(2000 / 5 / 3, rel=0.3) and counts[41, 42] == pytest.approx(2000 / 5, rel=0.2)


def test_remember_in_parts_equals_remember_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = states_of([4, 2, 5])
    monkeypatch.setattr(hindsight_states, "FRAMES_AT_ONCE", 3)
    parts = states_of([4, 2, 5])
    assert all(torch.equal(getattr(whole, name).whole(), getattr(parts, name).whole()) for name in ("state", "successors"))


def test_remember_passes_no_gradient() -> None:
    class Learns(Eye):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def encode(self, observation: Tensor) -> Tensor:
            return super().encode(observation) * self.scale

    made = remember(experience([2]), Learns(), Model(), 2)
    assert not made.state.whole().requires_grad and not made.successors.whole().requires_grad


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
def test_directions_have_length_1_and_are_always_the_same(count: int, width: int) -> None:
    made = directions(count, width)
    assert made.shape == (count, width)
    torch.testing.assert_close(made.norm(dim=-1), torch.ones(count))
    assert torch.equal(made, directions(count, width))


def test_directions_in_the_plane_go_evenly_around_the_circle() -> None:
    torch.testing.assert_close(directions(4, 2), torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), atol=1e-6, rtol=0)
    made = directions(7, 2)
    torch.testing.assert_close((made * made.roll(1, 0)).sum(-1), torch.full((7,), torch.tensor(2 * torch.pi / 7).cos()))


def test_directions_on_a_line_go_evenly_from_end_to_end() -> None:
    assert directions(5, 1).flatten().tolist() == [-1, -0.5, 0, 0.5, 1]


def test_directions_leave_the_global_stream_of_torch_alone() -> None:
    before = torch.get_rng_state()
    directions(5, 3)
    assert torch.equal(torch.get_rng_state(), before)


class RewardModel(Model):
    """Predicts the action's first number as the reward and its last as `cont`."""

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        return super().imagine(state, actions)._replace(reward=actions[..., 0], cont=actions[..., -1])


def states_with_reward(lengths: list[int], model: WorldModel, imagined: int, width: int = 2) -> States:
    reward = torch.arange(max(lengths)).expand(len(lengths), -1) + 1.0
    return remember(experience(lengths, width, reward, reward == 2), Eye(), model, imagined)


def test_reward_and_cont_are_the_recorded_then_the_predicted_ones() -> None:
    made = states_with_reward([2, 3], RewardModel(), 3)
    assert made.reward is not None and made.cont is not None
    with_future = made.first <= made.last
    assert made.reward[with_future, 0].tolist() == [1, 2, 1, 2, 3]
    assert made.cont[with_future, 0].tolist() == [1, 0, 1, 0, 1]
    assert torch.equal(made.reward[:, 1:], directions(3, 2)[:, 0].expand(7, 3))
    assert {"reward", "cont"} <= set(made.draw(4))


def test_values_that_the_model_does_not_predict_are_left_out() -> None:
    made = states_with_reward([2, 3], Model(), 3)
    assert made.reward is None and made.cont is None and not {"reward", "cont"} & set(made.draw(4))
    assert states_with_reward([2, 3], Model(), 0).reward is not None, "nothing is imagined, so recorded values suffice"


def test_every_choice_is_imagined_once() -> None:
    model = RewardModel()
    model.actions = ActionSpace(choices=(4,))
    made = states_with_reward([2], model, 1, width=4)
    assert made.successors.whole().shape[1] == 1 + 4 and made.reward is not None
    assert made.reward[:, 1:].tolist() == [[1, 0, 0, 0]] * 3


def test_imagined_actions_of_several_choices_and_numbers_are_valid() -> None:
    assert spread(ActionSpace(choices=(3, 2)), 9).shape == (6, 5), "every combination, if they are few"
    for space in (ActionSpace(choices=(3, 2)), ActionSpace(2, (3,))):
        actions = spread(space, 5)
        assert actions.shape == (5, 5) and space.fits(actions).all() and torch.equal(actions, spread(space, 5))


def test_states_shortly_before_a_terminal_step_are_oversampled() -> None:
    terminated = torch.zeros(4, 4, dtype=torch.bool)
    terminated[0, 3] = terminated[3, 0] = True  # the first and the last episode terminate
    made = remember(experience([4, 0, 3, 1], terminated=terminated), Eye(), Model(), 0)
    assert made.state.whole()[made.endings(2), 0, 0].div(2).tolist() == [2, 3, 60]
    assert made.state.whole()[made.endings(99), 0, 0].div(2).tolist() == [0, 1, 2, 3, 60]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = made.draw(800, made.endings(2), 400)["state"][:, 0, 0].div(2).int()
    counts = Counter(drawn.tolist())
    assert len(drawn) == 800 and set(counts) == {0, 1, 2, 3, 40, 41, 42, 60}
    assert counts[60] == pytest.approx(400 / 3 + 400 / 8, rel=0.3) and counts[0] == pytest.approx(400 / 8, rel=0.5)
    assert len(states_of([3, 2]).endings(5)) == 0, "termination was not recorded"


@settings(deadline=None, max_examples=30)
@given(lengths=LENGTHS, horizon=st.integers(1, 8))
def test_a_goal_is_at_most_the_horizon_ahead(lengths: list[int], horizon: int) -> None:
    drawn = replace(states_of(lengths), horizon=horizon).draw(40)
    ahead = (drawn["goal"] - drawn["state"])[:, 0, 0] / 2
    assert ahead.min() >= 1 and ahead.max() <= min(horizon, max(lengths))


@pytest.mark.parametrize("shuffled", [False, True])
def test_shuffled_actions_are_those_of_other_states(shuffled):
    buffer = ReplayBuffer.of_padded(torch.arange(40.0).view(4, 10, 1).repeat(1, 1, 2), torch.arange(36.0).view(4, 9, 1) + 1,
                                    torch.full((4,), 9))
    supply = Supply("inverse", 64, 10, buffer, {"perception": Eye(), "world_model": Model(1)})
    draws = [HindsightStates(imagined=0, shuffle_actions=shuffled).open(supply)(0) for _ in range(2)]
    number = [draw["state"][:, 0, 0] / 2 for draw in draws]  # of the frame; its episode has ten of them and nine actions
    own = [frame - frame.div(10, rounding_mode="floor") + 1 for frame in number]
    equal = [(draw["action"][:, 0] == action).float().mean() for draw, action in zip(draws, own, strict=True)]
    assert max(equal) < 0.5 if shuffled else min(equal) == 1

"""Inverse dynamics: actions towards a goal, learnt from random play or from an expert."""

import pytest
import torch
from torch import Tensor

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.inverse_dynamics import InverseDynamics

TOKENS = {"S": (2, 4, 3), "Q": (3, 3)}
"""States of two frames, each of three tokens and one further row."""


@pytest.mark.parametrize("dims", [{}, TOKENS, {"A": ActionSpace(choices=(3,))}])
def test_contract(dims):
    check_actor(InverseDynamics, dims=dims)


def made(dims=None, **given):
    return Subject(lambda: InverseDynamics(**given), dims).fresh([0])


def play(episodes: int, look: Tensor, steps: int = 12) -> dict[str, Tensor]:
    """Random play of a point, seen as three tokens that its place (2) moves and the episode's look (3, 2) shifts: states,
    goals one to four steps later, and the actions taken."""
    actions = torch.rand(episodes, steps, 2) * 2 - 1
    places = torch.nn.functional.pad(actions.cumsum(1), (0, 0, 1, 0))
    tokens = torch.nn.functional.pad(places[:, :, None] + look[:, None], (0, 1))  # the last number of each token is 0
    at, ahead = torch.randint(steps - 4, (episodes,)), torch.randint(1, 5, (episodes,))
    row = torch.arange(episodes)
    frames = torch.stack([tokens[row, at] * 0, tokens[row, at]], 1)
    return {"state": torch.nn.functional.pad(frames, (0, 0, 0, 1), value=1.0), "goal": tokens[row, at + ahead],
            "action": actions[row, at]}


def learnt(shuffled: bool = False) -> InverseDynamics:
    torch.manual_seed(0)
    module = made(TOKENS)
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    batch = play(2000, torch.randn(2000, 3, 2))
    if shuffled:
        batch["action"] = batch["action"][torch.randperm(2000)]
    for _ in range(150):
        loss, _ = module.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return module


def arrives(module: InverseDynamics, look: float) -> float:
    """The share of 100 goals, 3 units away, within half a unit of which it comes in six steps."""
    torch.manual_seed(1)
    place, shift = torch.zeros(100, 2), torch.randn(100, 3, 2) * look
    goal = torch.nn.functional.normalize(torch.randn(100, 2), dim=1) * 3

    def seen(at: Tensor) -> Tensor:
        return torch.nn.functional.pad(at[:, None] + shift, (0, 1))

    for _ in range(6):
        now = torch.nn.functional.pad(seen(place)[:, None].repeat(1, 2, 1, 1), (0, 0, 0, 1))
        with torch.no_grad():
            place = place + module.propose(now, seen(goal))
    return float(((place - goal).norm(dim=1) < 0.5).float().mean())


def test_random_play_teaches_the_way_to_goals_and_shuffled_actions_do_not():
    module = learnt()
    assert arrives(module, look=1.0) > 0.9
    assert arrives(module, look=5.0) > 0.9, "the look of the place does not matter"
    assert arrives(learnt(shuffled=True), look=1.0) < 0.1 and arrives(made(TOKENS), look=1.0) < 0.1


@pytest.mark.parametrize(("absolute", "differs"), [(False, False), (True, True)])
def test_only_with_absolute_does_the_place_count_beside_the_way(absolute, differs):
    module = made({"S": (3,)}, absolute=absolute)
    state, goal = torch.randn(2, 5, 3)
    with torch.no_grad():
        same = torch.allclose(module.propose(state, goal), module.propose(state + 1, goal + 1), atol=1e-6)
    assert same != differs


@pytest.mark.parametrize(("pooled", "differs"), [(True, False), (False, True)])
def test_only_unpooled_does_it_matter_which_token_is_away(pooled, differs):
    module = made(TOKENS, pooled=pooled)
    state, goal = torch.zeros(1, 2, 4, 3), torch.randn(1, 3, 3)
    with torch.no_grad():
        same = torch.allclose(module.propose(state, goal), module.propose(state, goal.flip(1)), atol=1e-6)
    assert same != differs


def test_windows_and_single_states_have_the_same_loss():
    module = made(TOKENS)
    batch = play(8, torch.randn(8, 3, 2))
    windows = {name: value.view(4, 2, *value.shape[1:]) for name, value in batch.items()}
    assert torch.isclose(module.loss(batch)[0], module.loss(windows)[0])


@pytest.mark.parametrize("goal", [(4, 3), (2, 2, 4, 3)])
def test_a_goal_that_is_no_part_of_a_state_is_refused(goal):
    with pytest.raises(SettingError, match=r"compares states of the shape \(2, 3, 3\) with goals of .+Fix: actor=policy"):
        made({"S": (2, 3, 3), "Q": goal})

"""Action values: the contract, forbidden actions, and values learnt from what was done, with its control."""

from functools import partial

import pytest
import torch

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.action_values import ActionValues

TWO, THREE = ({"A": ActionSpace(choices=(count,))} for count in (2, 3))


@pytest.mark.parametrize("dims", [THREE, {"S": (3, 2), "A": ActionSpace(choices=(3, 2))}])
def test_contract(dims):
    check_actor(ActionValues, dims=dims)


@pytest.mark.parametrize("dims", [{}, {"A": ActionSpace(1, (3,))}, {"A": ActionSpace(choices=(30, 30))}])
def test_actions_without_a_list_are_refused(dims):
    with pytest.raises(SettingError, match=r"expected at most 256 combinations\. Fix: actor=policy"):
        Subject(ActionValues, dims).fresh([0])


@pytest.mark.parametrize("given, message", [
    ({"hidden": 0}, "ActionValues.hidden is 0: expected 1 or more"),
    ({"gamma": 1.0}, "ActionValues.gamma is 1.0: expected 0 or more, less than 1"),
    ({"polyak": 0.0}, "ActionValues.polyak is 0.0: expected more than 0, at most 1"),
    ({"conservative": -1.0}, "ActionValues.conservative is -1.0: expected 0 or more"),
])
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(SettingError) as refusal:
        ActionValues(**given)
    assert str(refusal.value) == message


def test_a_forbidden_action_is_never_taken():
    subject = Subject(ActionValues, {**THREE, "S": (2,)})
    module = subject.fresh(range(20))
    inputs = {"state": torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), "goal": torch.zeros(20, 2),
              "mode": torch.ones(20, dtype=torch.int64)}
    with torch.no_grad():
        free = module.step(**inputs)["action"]
        masked = module.step(**inputs, action_mask=free == 0)["action"]
    assert not (free * masked).any() and (masked.sum(1) == 1).all()


def corridor(batch: int, taken: torch.Tensor, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Steps in a corridor of places 0 to 4: action 1 steps ahead, action 0 back; place 4 ends it with a reward of 5."""
    place = torch.randint(4, (batch,), generator=generator)
    after = (place + 2 * taken - 1).clamp(min=0)
    ends = (after == 4).float()
    one = torch.eye(5)
    return {"state": one[place], "action": torch.eye(2)[taken], "successors": one[after][:, None],
            "reward": 5 * ends[:, None], "cont": 1 - ends[:, None]}


def learnt(rewarded: bool, **settings: float) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the actions in places 0 to 3 after some learning, and the last figures."""
    torch.manual_seed(0)
    subject = Subject(partial(ActionValues, gamma=0.8, polyak=0.1, hidden=32, **settings), {**TWO, "S": (5,)})
    module, draws = subject.fresh([0]), torch.Generator().manual_seed(0)
    module.begin_learning()
    optimiser = torch.optim.Adam(module.net.parameters(), lr=0.01)
    for step in range(300):
        batch = corridor(64, torch.randint(2, (64,), generator=draws), draws)
        if not rewarded:
            batch["reward"] = torch.zeros_like(batch["reward"])
        loss, figures = module.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        module.after_step(step, 300)
    with torch.no_grad():
        values = module._values(torch.eye(5)[:4])
    return values, {name: float(value) for name, value in figures.items()}


def test_values_are_discounted_rewards_in_units_of_the_largest():
    values, figures = learnt(True, conservative=0.0)
    assert torch.allclose(values[:, 1], 0.8 ** torch.arange(3.0, -1.0, -1.0), atol=0.05)
    assert (values.argmax(1) == 1).all() and figures["td"] < 0.01


def test_without_rewards_nothing_is_worth_more():
    assert learnt(False, conservative=0.0)[0].abs().max() < 0.1


def test_an_action_that_was_never_taken_is_not_overrated():
    """Place 0 to 3, always ahead: the value of going back is unknown."""
    def unseen(conservative: float) -> float:
        torch.manual_seed(1)
        subject = Subject(partial(ActionValues, gamma=0.8, polyak=0.1, hidden=32, conservative=conservative),
                          {**TWO, "S": (5,)})
        module, draws = subject.fresh([0]), torch.Generator().manual_seed(0)
        with torch.no_grad():
            module.net[-1].bias[0] = 3.0  # it begins overrated
        module.begin_learning()
        optimiser = torch.optim.Adam(module.net.parameters(), lr=0.01)
        for step in range(200):
            loss, _ = module.loss(corridor(64, torch.ones(64, dtype=torch.int64), draws))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            module.after_step(step, 200)
        with torch.no_grad():
            values = module._values(torch.eye(5)[:4])
        return float((values[:, 0] - values[:, 1]).max())

    assert unseen(0.0) > 1 > 0 > unseen(0.3)


def test_experience_without_rewards_is_refused():
    batch = corridor(4, torch.ones(4, dtype=torch.int64), torch.Generator().manual_seed(0))
    del batch["reward"]
    with pytest.raises(SettingError, match="learns from recorded rewards and endings, which the experience lacks"):
        Subject(ActionValues, {**TWO, "S": (5,)}).fresh([0]).loss(batch)

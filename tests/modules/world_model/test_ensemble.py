"""Ensemble: one encoder, several predictors, and their disagreement."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from modules.perception.identity import Identity
from modules.world_model.jepa import JEPA

WIDTH = 4


def ensemble(**settings) -> JEPA:
    return JEPA(**{"hidden": 32, "num_predictors": 3, **settings})


def seeing(**settings) -> JEPA:
    """An ensemble whose perception passes vectors on."""
    torch.manual_seed(0)
    model = ensemble(anti_collapse="none", **settings)
    model.set_up({"P": (WIDTH,), "S": (WIDTH,), "A": 2})
    model.calls = Calls("world_model", {"perception": Callee("perception", Identity())})
    return model


def windows(num: int, steps: int = 3) -> dict[str, torch.Tensor]:
    """Windows near the origin of a nonlinear world."""
    draw = torch.Generator().manual_seed(1)
    action = torch.rand(num, steps, 2, generator=draw) * 2 - 1
    seen = [torch.rand(num, WIDTH, generator=draw) - 0.5]
    for step in range(steps):
        seen.append(seen[-1] + 0.2 * torch.sin(3 * seen[-1]) + 0.1 * action[:, step].repeat(1, 2))
    return {"observation": torch.stack(seen, 1), "action": action}


@pytest.mark.parametrize("method", ["vicreg", "ema"])
def test_contract(method):
    check_world_model(lambda: ensemble(anti_collapse=method))


def test_contract_with_rewards():
    check_world_model(lambda: ensemble(anti_collapse="none", rewards=True))


def test_mean_and_spread_of_the_predictors():
    model = seeing()
    state, actions = torch.randn(2, WIDTH), torch.randn(2, 3, 4, 2)
    found = model.imagine(state, actions)
    assert found.states.shape == (2, 3, 4, WIDTH) and found.spread.shape == (2, 3, 4)
    at = state[1]
    for h in range(4):
        guesses = torch.stack([one(at, actions[1, 2, h]) for one in (model.predictor, *model.others)])
        at = guesses.mean(0)
        torch.testing.assert_close(found.states[1, 2, h], at)
        torch.testing.assert_close(found.spread[1, 2, h], (guesses - at).square().sum(1).mean().sqrt())


def test_every_predictor_is_trained_on_perceived_states():
    model, batch = seeing(num_predictors=4), windows(8, steps=1)
    first, after = batch["observation"][:, 0], batch["observation"][:, 1]
    each = [(one(first, batch["action"][:, 0]) - after).square().mean() for one in (model.predictor, *model.others)]
    torch.testing.assert_close(model.loss(batch)[0], torch.stack(each).mean())


def test_spread_is_large_only_on_unseen_data():
    model, batch = seeing(), windows(256)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss, _ = model.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        known = model.imagine(batch["observation"][:, 0], batch["action"][:, None]).spread
        strange = model.imagine(6 * batch["observation"][:, 0], batch["action"][:, None]).spread
        untrained = seeing().imagine(batch["observation"][:, 0], batch["action"][:, None]).spread
    assert strange.mean() > 5 * known.mean()
    assert known.mean() < 0.4 * untrained.mean()


def test_refusals():
    with pytest.raises(SettingError) as error:
        ensemble(num_predictors=0)
    assert str(error.value) == "JEPA.num_predictors is 0: expected 1 or more"

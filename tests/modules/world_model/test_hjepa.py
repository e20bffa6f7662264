"""HJEPA: a slower state that does not collapse, and actions that are targets for level 1."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from ami.testing.stubs import StubWorldModel
from modules.world_model.hjepa import HJEPA

TICKS, STEPS = 4, 2


def model(**settings) -> HJEPA:
    torch.manual_seed(0)
    made = HJEPA(**{"ticks": TICKS, "features": 4, "width": 2, "hidden": 64, **settings})
    made.set_up({"P": (4,), "S": (4,), "Q": (4,), "A": 2, "L": 2})
    level1 = StubWorldModel()
    level1.set_up({"P": (4,), "S": (4,), "A": 2})
    made.calls = Calls("world_model", {"level1": Callee("level1", level1)})
    return made


def windows(batch: int = 64) -> dict[str, torch.Tensor]:
    """Walks in a square: places, and two numbers that change at every tick."""
    action = torch.randn(batch, 1, 2) * 0.1 + torch.randn(batch, TICKS * STEPS, 2) * 0.03
    at = torch.rand(batch, 1, 2) * 4 - 2 + torch.cat([torch.zeros(batch, 1, 2), action.cumsum(1)], 1)
    return {"percept": torch.cat([at, torch.randn_like(at)], -1), "action": action}


def learnt(steps: int = 400, **settings) -> tuple[HJEPA, dict[str, float]]:
    made = model(**settings)
    optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
    for _ in range(steps):
        loss, figures = made.loss(windows())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made, {name: float(value) for name, value in figures.items()}


@pytest.fixture(scope="module")
def trained() -> tuple[HJEPA, dict[str, float]]:
    return learnt()


def test_contract():
    check_world_model(lambda: HJEPA(ticks=2, features=5, width=3, hidden=16), dims={"P": (6,), "L": 3})


def moved(made: HJEPA, numbers: slice) -> float:
    """Return how far the state moves if some numbers of level 1's state become others'."""
    with torch.no_grad():
        below = windows(500)["percept"][:, 0]
        other = below.clone()
        other[:, numbers] = below.roll(1, 0)[:, numbers]
        return float(made.distance(made.state_of(below), other).mean())


def test_states_keep_what_is_slow_and_forget_what_is_fast(trained):
    assert moved(trained[0], slice(0, 2)) > 3 * moved(trained[0], slice(2, 4))


def test_states_spread_with_an_anti_collapse_term_and_collapse_without(trained):
    assert trained[1]["std"] > 0.5
    assert learnt(anti_collapse="none")[1]["std"] < 0.2


def test_targets_are_near_where_level_1_can_get(trained):
    made, _ = trained
    below = windows(300)["percept"][:, 0]
    with torch.no_grad():
        aim = made.target(below, torch.rand(300, 2) * 2 - 1)
    gone = (aim - below)[:, :2].norm(dim=-1)
    assert gone.mean() > 0.1 and gone.max() < 4 * 0.1 * TICKS


def test_a_goal_of_level_1_has_a_distance_of_0_to_its_own_state():
    made, below = model(), torch.randn(5, 4)
    assert made.distance(made.state_of(below), made.goal_of(below)).abs().max() == 0


@pytest.mark.parametrize(("settings", "message"), [
    ({"features": 0}, "HJEPA.features is 0: expected 1 or more"),
    ({"anti_collapse": "vicregg"}, "HJEPA.anti_collapse is 'vicregg': did you mean 'vicreg'?"),
    ({"anti_collapse": "ema"}, "HJEPA.anti_collapse is 'ema', which needs a slow copy of the encoder: expected a method "
                               "that adds to the loss, such as vicreg"),
])
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingError) as refusal:
        HJEPA(**settings)
    assert str(refusal.value).startswith(message)

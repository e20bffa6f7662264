"""HWM: macro-actions near a known prior, that predict where level 1 can get."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from ami.testing.stubs import StubWorldModel
from modules.world_model.hwm import HWM

TICKS, STEPS = 4, 2


def model(**settings) -> HWM:
    torch.manual_seed(0)
    made = HWM(**{"ticks": TICKS, "width": 2, "hidden": 64, **settings})
    made.set_up({"P": (2,), "S": (2,), "A": 2, "L": 2})
    level1 = StubWorldModel()
    level1.set_up({"P": (2,), "S": (2,), "A": 2})
    made.calls = Calls("world_model", {"level1": Callee("level1", level1)})
    return made


def windows(batch: int = 64, shuffled: bool = False) -> dict[str, torch.Tensor]:
    """Walks in a square with walls at -1 and 1."""
    action = torch.randn(batch, 1, 2) * 0.3 + torch.randn(batch, TICKS * STEPS, 2) * 0.1
    at = [torch.rand(batch, 2) * 2 - 1]
    for taken in action.unbind(1):
        at.append((at[-1] + taken).clamp(-1, 1))
    return {"percept": torch.stack(at, 1), "action": action[torch.randperm(batch)] if shuffled else action}


def learnt(shuffled: bool = False, steps: int = 300) -> tuple[HWM, dict[str, float]]:
    made = model()
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(steps):
        loss, figures = made.loss(windows(shuffled=shuffled))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made, {name: float(value) for name, value in figures.items()}


@pytest.fixture(scope="module")
def trained() -> tuple[HWM, dict[str, float]]:
    return learnt()


def test_contract():
    check_world_model(lambda: HWM(ticks=2, width=3, hidden=16), dims={"P": (6,), "L": 3})


def test_macro_actions_say_where_level_1_gets(trained):
    assert trained[1]["prediction"] < 0.2


def test_macro_actions_of_other_walks_say_nothing():
    assert learnt(shuffled=True)[1]["prediction"] > 0.6


def test_macro_actions_are_drawn_from_the_prior(trained):
    made, _ = trained
    with torch.no_grad():
        _, action, _ = made._steps_in(windows(batch=1000))
    latents = 2.5 * action.flatten(0, 1)
    assert latents.mean(0).abs().max() < 0.3
    assert (latents.std(0) - 1).abs().max() < 0.4
    assert action.abs().mean() < 0.5  # within a planner's range


def test_no_macro_action_leads_through_a_wall(trained):
    with torch.no_grad():
        ends = trained[0].imagine(torch.full((1, 2), 0.8), torch.rand(1, 200, 1, 2) * 2 - 1).states
    assert ends.max() < 1.3


def test_the_target_is_the_first_imagined_state():
    made, state, action = model(), torch.randn(5, 2), torch.rand(5, 2)
    assert torch.allclose(made.target(state, action), made.imagine(state, action[:, None, None]).states[:, 0, 0])


def test_gradients_do_not_reach_level_1():
    made = model()
    batch = windows()
    batch["percept"].requires_grad_()
    made.loss(batch)[0].backward()
    assert batch["percept"].grad is None


def test_windows_shorter_than_a_step_are_refused():
    batch = {name: value[:, :3] for name, value in windows().items()}
    with pytest.raises(SettingError) as refusal:
        model().loss({**batch, "action": batch["action"][:, :2]})
    assert str(refusal.value) == ("HWM.ticks is 4, and a window has 2 actions: expected as many or more. "
                                  "Fix: source.length=4 of the stage, or a multiple of it")


@pytest.mark.parametrize(("settings", "message"), [
    ({"ticks": 0}, "HWM.ticks is 0: expected 1 or more"),
    ({"width": 0}, "HWM.width is 0: expected 1 or more"),
    ({"kl": -1}, "HWM.kl is -1: expected 0 or more"),
])
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingError) as refusal:
        HWM(**settings)
    assert str(refusal.value) == message


def test_states_of_level_1_that_are_no_vectors_are_refused():
    with pytest.raises(SettingError, match=r"HWM receives states of shape \(4, 4\) from level 1: expected vectors \(D,\)"):
        HWM().infer_dims({"P": (4, 4)})

"""VJEPA: the future is predicted from the past alone; surprise at what cannot be foreseen, after learning only."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from modules.perception.patches import Patches
from modules.perception.vit import ViT
from modules.world_model.vjepa import VJEPA

PLACES, STEPS = 8, 9


def model(**settings) -> VJEPA:
    torch.manual_seed(0)
    made = VJEPA(**{"frames": 2, "ahead": 1, "width": 24, "heads": 2, "predictor": 24, "depth": 1} | settings)
    made.set_up({"P": (PLACES, 2), "A": 1, **made.infer_dims({"P": (PLACES, 2)})})
    return made.eval()


def clips(rows: int, seed: int = 0) -> torch.Tensor:
    """Return percepts (N, T + 1, L, 2) of a wave on a ring of places, which moves one place per frame, either way."""
    draw = torch.Generator().manual_seed(seed)
    start, way = torch.randint(PLACES, (rows, 1), generator=draw), torch.randint(2, (rows, 1), generator=draw) * 2 - 1
    at = start + way * torch.arange(STEPS + 1)
    angle = (torch.arange(PLACES) - at[..., None]) * (2 * torch.pi / PLACES)
    return torch.stack([angle.cos(), angle.sin()], -1)


def surprise(made: VJEPA, percepts: torch.Tensor) -> torch.Tensor:
    """Return the surprise (N, T) at each percept after the first."""
    with torch.no_grad():
        states, _ = made.observe(percepts, torch.zeros(*percepts.shape[:2], 1))
        before = states[:, :-1].flatten(0, 1)
        ahead = made.imagine(before, torch.zeros(len(before), 1, 1, 1)).states[:, 0, 0]
        return made.surprise_of(ahead, states[:, 1:].flatten(0, 1)).view(len(percepts), -1)


@pytest.fixture(scope="module")
def trained() -> tuple[VJEPA, dict[str, float]]:
    made, steps = model(), 250
    made.begin_learning()
    optimiser = torch.optim.AdamW([one for one in made.parameters() if one.requires_grad], lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        loss, figures = made.loss({"percept": clips(32, seed=1 + step), "action": torch.zeros(32, STEPS, 1)})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        made.after_step(step, steps)
    return made, {name: float(value) for name, value in figures.items()}


def test_contract():
    check_world_model(lambda: VJEPA(frames=3, width=16, heads=2, predictor=8, depth=1), dims={"P": (4, 6)})


def test_states_and_predictions_do_not_depend_on_later_frames():
    made, seen = model(), clips(3)
    later = seen.clone()
    later[:, 6:] = 1 - later[:, 6:]
    with torch.no_grad():
        before, after = (made.observe(one, torch.zeros(3, STEPS + 1, 1))[0][:, :6] for one in (seen, later))
    assert torch.equal(before, after)


def test_near_predictions_do_not_depend_on_the_horizon():
    made = model()
    with torch.no_grad():
        state = made.observe(clips(3), torch.zeros(3, STEPS + 1, 1))[0][:, -1]
        near, far = (made.imagine(state, torch.zeros(3, 2, horizon, 1)).states for horizon in (1, 7))
    assert far.shape == (3, 2, 7, 2, PLACES, 24)
    assert torch.equal(near[:, :, 0], far[:, :, 0])


def test_masked_frames_of_one_pass_do_not_see_later_ones():
    nearer, farther = model(), model(ahead=3)
    with torch.no_grad():
        for name, value in farther.predictor.state_dict().items():
            own = nearer.predictor.state_dict()[name]
            own.copy_(value[:len(own)])
        state = farther.observe(clips(2), torch.zeros(2, STEPS + 1, 1))[0][:, -1]
        assert torch.allclose(nearer.predictor(state)[:, 0], farther.predictor(state)[:, 0], atol=1e-5)


def test_it_learns_where_things_move(trained):
    assert trained[1]["prediction"] < 0.6 * trained[1]["still"]
    assert trained[1]["std"] > 0.3


def test_surprise_at_a_jump_comes_from_learning(trained):
    seen = clips(64, seed=10_001)
    jumped = seen.clone()
    jumped[:, 6:] = jumped[:, 6:].roll(PLACES // 2, 2)
    ratios = [float(surprise(one, jumped)[:, 5].mean() / surprise(one, seen)[:, 4:].mean()) for one in (trained[0], model())]
    assert ratios[0] > 2
    assert ratios[1] < 1.2


def test_distance_is_of_the_last_frame_alone():
    made, seen = model(), clips(4)
    with torch.no_grad():
        states, _ = made.observe(seen, torch.zeros(4, STEPS + 1, 1))
        assert torch.allclose(made.distance(states[:, -1], made.goal_of(seen[:, -1])), torch.zeros(4), atol=1e-6)
        assert (made.distance(states[:, -1], made.goal_of(seen[:, 0])) > 0.01).all()


@pytest.mark.parametrize(("settings", "words"), [
    ({"frames": 0}, "VJEPA.frames is 0: expected 1 or more"),
    ({"predictor": 15}, "VJEPA.predictor is 15: expected a multiple of VJEPA.heads, 2"),
    ({"momentum": 1.5}, "EMA.momentum is 1.5"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        model(**settings)


def test_vectors_are_refused():
    with pytest.raises(SettingError, match=r"^VJEPA receives percepts of shape \(7,\): expected tokens \(L, D\)"):
        VJEPA().infer_dims({"P": (7,)})


def test_a_perception_that_learns_at_the_same_time_is_refused():
    made = model()
    fixed, learning = Patches(8), ViT(pool="tokens")
    for perception in (fixed, learning):
        perception.set_up({"O": (16, 16, 3), "P": (4, 3)})
        made.calls = Calls("world_model", {"perception": Callee("perception", perception)})
        if perception is fixed:
            made.begin_learning()
    with pytest.raises(SettingError, match=r"^VJEPA predicts what ViT encodes, which is trained at the same time"):
        made.begin_learning()

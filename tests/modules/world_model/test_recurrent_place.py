"""Recurrent place: the belief of GRU and RSSM, its two read-outs, correction by memory, and its losses."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_world_model
from modules.world_model.recurrent_place import RecurrentPlace
from tests.modules.world_model.test_place import STATIC, WIDTH, Streams, moving, percepts

STATE = WIDTH + 2
SMALL = {"static": STATIC, "hidden": 16, "width": 16, "latent": 4, "projected": 4}


def model(**settings) -> RecurrentPlace:
    torch.manual_seed(0)
    made = RecurrentPlace(**{**SMALL, **settings})
    made.set_up({"P": (WIDTH,), "S": (STATE,), "Q": (STATE,), "A": 2, "U": 2})
    return made


@pytest.mark.parametrize("cell", ["gru", "rssm"])
@pytest.mark.parametrize("readout", ["linear", "sum"])
def test_contract(cell, readout):
    check_world_model(lambda: RecurrentPlace(**SMALL, cell=cell, readout=readout), dims={"P": (WIDTH,)},
                      calls={"perception": Streams()})


@pytest.mark.parametrize("sees_action", [False, True])
def test_belief_depends_on_actions_only_if_it_sees_them(sees_action):
    made, seen = model(sees_action=sees_action), percepts()
    one, _ = made.observe(seen, torch.zeros(3, 5, 2))
    other, _ = made.observe(seen, torch.ones(3, 5, 2))
    assert torch.equal(one, other) is not sees_action


@pytest.mark.parametrize("readout", ["linear", "sum"])
def test_correction_moves_all_later_places(readout):
    made, seen, still = model(readout=readout, trust=0.5, pull=0.5), percepts(batch=1), torch.zeros(1, 1, 2)
    with torch.no_grad():
        states, carry = made.observe(seen[:, :1], still)
        recall = states[:, 0] + torch.tensor([0.0] * WIDTH + [2.0, 4.0])
        corrected, moved = made.correct(states[:, 0], carry, recall, torch.ones(1))
        plain, _ = made.observe(seen[:, 1:2], still, carry)
        later, _ = made.observe(seen[:, 1:2], still, moved)
    assert torch.allclose(corrected[:, -2:] - states[:, 0, -2:], torch.tensor([[1.0, 2.0]]))
    assert torch.allclose(later[..., -2:] - plain[..., -2:], torch.tensor([[[1.0, 2.0]]]), atol=1e-5)


@pytest.mark.parametrize("settings", [
    {"readout": "linear"}, {"readout": "sum", "anti_collapse": "ema"}, {"anti_collapse": "sigreg"},
    {"cell": "rssm", "anti_collapse": "none"}, {"foresight": 0.0},
], ids=str)
def test_learning_lowers_the_error(settings):
    made = model(**settings)
    made.begin_learning()
    optimiser = torch.optim.Adam([*made.off.parameters(), *made.jump.parameters()], lr=1e-2)
    drifts = []
    for step in range(60):
        value, noted = made.place(moving())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        made.after_step(step, 60)
        drifts.append(float(noted["drift"]))
    assert sum(drifts[-5:]) < 0.7 * sum(drifts[:5])


def test_only_ema_has_a_slow_copy():
    for method in ("ema", "vicreg"):
        made = model(anti_collapse=method)
        made.begin_learning()
        assert hasattr(made, "learning_state") == (method == "ema")


def test_figures_name_every_term():
    made = model(cell="rssm", anti_collapse="vicreg")
    assert {*made.place(moving())[1]} == {"drift", "prediction", "variance", "covariance", "smoothness", "idm",
                                          "reconstruction", "divergence"}
    assert {*model(foresight=0.0).place(moving())[1]} == {"drift"}


@pytest.mark.parametrize("settings, message", [
    ({"cell": "lstm"}, "RecurrentPlace.cell is 'lstm'"),
    ({"readout": "summ"}, "RecurrentPlace.readout is 'summ': did you mean 'sum'?"),
    ({"width": 0}, "RecurrentPlace.width is 0: expected 1 or more"),
    ({"foresight": -1}, "RecurrentPlace.foresight is -1: expected 0 or more"),
    ({"anti_collapse": "vicreq"}, "RecurrentPlace.anti_collapse is 'vicreq': did you mean 'vicreg'?"),
])
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingError) as refusal:
        RecurrentPlace(**settings)
    assert str(refusal.value).startswith(message)

"""iCEM: the contract, coloured noise, kept elites and refusals."""

import pytest
import torch
from planning_objectives import H, bowl, search, valleys

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_planner
from modules.planner.cem import CEM
from modules.planner.icem import ICEM, coloured


def test_contract():
    check_planner(ICEM)


def test_contract_with_token_states_and_other_settings():
    check_planner(lambda: ICEM(horizon=5, num_candidates=24, num_iterations=4, num_elites=4, fraction_reused=0),
                  dims={"S": (2, 3)})
    check_planner(lambda: ICEM(horizon=1, num_candidates=3, num_iterations=1, num_elites=2, fraction_reused=1))


@pytest.mark.parametrize("horizon", [1, 2, 5, 8])
def test_every_noise_colour_has_variance_1(horizon):
    assert torch.allclose(coloured(horizon, 0.0), torch.eye(horizon), atol=1e-6)
    assert torch.allclose(coloured(horizon, 2.0).square().sum(0), torch.ones(horizon), atol=1e-5)


def test_coloured_noise_is_correlated_and_its_power_falls_with_frequency():
    noise = torch.randn(20000, 16, generator=torch.Generator().manual_seed(0))
    alike = [float((made[:, 1:] * made[:, :-1]).mean()) for made in (noise @ coloured(16, b) for b in (0.0, 1.0, 2.0))]
    assert abs(alike[0]) < 0.02 < 0.2 < alike[1] < alike[2]
    power = torch.fft.rfft(noise @ coloured(16, 2.0)).abs().square().mean(0)
    frequency = torch.fft.rfftfreq(16)
    assert torch.allclose(power[1:] * frequency[1:].square() / (power[1] * frequency[1].square()), torch.ones(8), atol=0.1)


def test_populations_decay_to_twice_the_elites():
    (outputs,) = search(lambda: ICEM(H, num_candidates=40, num_iterations=4, num_elites=8, decay=1.5), bowl)
    assert outputs["model_steps"].tolist() == [(40 + 26 + 17 + 16) * H]


def test_energy_belongs_to_the_plan():
    (outputs,) = search(ICEM, bowl_of_four := lambda actions: actions.square().sum((-1, -2)), rows=5)
    assert torch.allclose(bowl_of_four(outputs["plan"]), outputs["energy"])


def test_kept_elites_improve_plans_from_tick_to_tick():
    def at_the_first_step(actions):  # the same objective at every tick
        return (actions - 0.37).square().sum((-1, -2))

    keeping = search(lambda: ICEM(H, 20, 2), at_the_first_step, rows=40, ticks=4)[-1]["energy"].mean()
    forgetting = search(lambda: ICEM(H, 20, 2, fraction_reused=0), at_the_first_step, rows=40, ticks=4)[-1]["energy"].mean()
    assert keeping < forgetting


def test_beats_cem_at_a_small_budget():
    def held(actions):  # lowest for a constant action, which coloured noise favours
        return (actions - 0.8).square().sum((-1, -2))

    improved = search(lambda: ICEM(H, 16, 2), held, rows=40)[0]
    plain = search(lambda: CEM(H, 16, 2), held, rows=40)[0]
    assert improved["model_steps"][0] <= plain["model_steps"][0]
    assert improved["energy"].mean() < held(plain["plan"]).mean()


@pytest.mark.parametrize("objective", [bowl, valleys])
def test_more_iterations_find_better_plans(objective):
    energies = [search(lambda n=n: ICEM(H, 40, n), objective, rows=20)[0]["energy"].mean() for n in (1, 3, 9)]
    assert energies[0] > energies[1] > energies[2]


def test_discrete_actions_are_refused_with_a_fix():
    with pytest.raises(SettingError, match="ICEM plans continuous actions, but here an action is one of 3"):
        check_planner(ICEM, dims={"A": ActionSpace(choices=(3,))})


@pytest.mark.parametrize(("settings", "words"), [
    ({"num_candidates": 1}, "ICEM.num_candidates is 1: expected 2 or more"),
    ({"num_iterations": 0}, "ICEM.num_iterations is 0: expected 1 or more"),
    ({"num_elites": 1}, "ICEM.num_elites is 1: expected 2 to num_candidates, 32"),
    ({"noise_exponent": -1.0}, "ICEM.noise_exponent is -1.0: expected 0 or more"),
    ({"decay": 0.5}, "ICEM.decay is 0.5: expected 1 or more"),
    ({"fraction_reused": 1.1}, "ICEM.fraction_reused is 1.1: expected 0 to 1"),
    ({"momentum": 1.0}, "ICEM.momentum is 1.0: expected 0 or more and less than 1"),
    ({"init_std": 0.0}, "ICEM.init_std is 0.0: expected more than 0"),
    ({"min_std": 0.9}, "ICEM.min_std is 0.9: expected 0 to init_std, 0.8"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        ICEM(**settings)
    assert str(error.value) == words

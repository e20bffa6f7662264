"""MPPI: the contract, pytorch-mppi's updates from the same noise, weights and refusals."""

import pytest
import torch
from planning_objectives import A, H, bowl, search, valleys
from pytorch_mppi import MPPI as Reference

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_planner
from modules.planner.mppi import MPPI


def reference_plan(noise, objective, temperature, std):
    """pytorch-mppi's plan after one refinement per row of noise (I, K, H, A), from a zero plan."""
    taken = []
    theirs = Reference(lambda state, action: taken.append(action) or state, lambda state, action: state[:, 0] * 0, nx=1,
                       noise_sigma=std**2 * torch.eye(A), num_samples=noise.shape[1], horizon=H, lambda_=temperature,
                       u_min=-torch.ones(A), u_max=torch.ones(A), U_init=torch.zeros(H, A),
                       terminal_state_cost=lambda states, actions: objective(actions[0]))
    draws = iter(noise)
    theirs._sample_noise = lambda shape: std * next(draws)
    theirs._compute_action_cost = torch.zeros_like  # Williams' γ = 0: the effort of actions is the objective's business
    for _ in noise:
        theirs.command(torch.zeros(1), shift_nominal_trajectory=False)
    return theirs.U


class Recording(MPPI):
    def draw(self):
        type(self).noise = super().draw()
        return self.noise


def test_contract():
    check_planner(MPPI)


def test_contract_with_token_states_and_other_settings():
    check_planner(lambda: MPPI(horizon=5, num_candidates=24, num_iterations=3, relative=False), dims={"S": (2, 3)})


@pytest.mark.parametrize("objective", [bowl, valleys])
@pytest.mark.parametrize("iterations", [1, 4])
def test_equals_pytorch_mppi_for_the_same_noise(objective, iterations):
    settings = {"temperature": 2.0, "std": 0.4}
    (outputs,) = search(lambda: Recording(H, 50, iterations, relative=False, **settings), objective, rows=3)
    for plan, noise in zip(outputs["plan"], Recording.noise, strict=True):
        assert torch.allclose(plan, reference_plan(noise, objective, **settings), atol=1e-4)


def test_low_temperature_concentrates_weights_on_low_energy():
    energy = torch.tensor([[3.0, 1.0, 2.0]])
    warm, cold = (MPPI(temperature=t)._weights(energy)[0] for t in (1.0, 0.1))
    assert warm[1] > warm[2] > warm[0] and cold[1] > warm[1]
    assert torch.allclose(warm.sum(), torch.tensor(1.0))


def test_relative_temperature_is_invariant_to_units():
    energy = torch.tensor([[3.0, 1.0, 2.0]])
    assert torch.allclose(MPPI()._weights(energy), MPPI()._weights(1000 * energy + 7), atol=1e-4)
    absolute = MPPI(temperature=1.0, relative=False)
    assert not torch.allclose(absolute._weights(energy), absolute._weights(1000 * energy + 7), atol=1e-4)


def test_equal_energies_give_equal_weights():
    assert torch.allclose(MPPI()._weights(torch.full((2, 4), 5.0)), torch.full((2, 4), 0.25))


def test_model_steps_are_candidates_times_horizon_times_iterations():
    (outputs,) = search(lambda: MPPI(horizon=3, num_candidates=10, num_iterations=4), lambda actions: actions.sum((-1, -2)))
    assert outputs["model_steps"].tolist() == [120]


def test_more_iterations_find_better_plans():
    energies = [bowl(search(lambda n=n: MPPI(H, 50, n), bowl, rows=20)[0]["plan"]).mean() for n in (1, 3, 9)]
    assert energies[0] > energies[1] > energies[2]


def test_warm_start_is_the_shifted_last_plan():
    class Still(MPPI):
        def draw(self):
            return super().draw() * (self.carry["plan"].abs().sum() == 0)

    first, second = search(lambda: Still(H, 50, 3), bowl, ticks=2)
    assert torch.allclose(second["plan"][:, :-1], first["plan"][:, 1:], atol=1e-6)
    assert not second["plan"][:, -1].any()


def test_discrete_actions_are_refused_with_a_fix():
    with pytest.raises(SettingError, match="MPPI plans continuous actions, but here an action is one of 3"):
        check_planner(MPPI, dims={"A": ActionSpace(choices=(3,))})


@pytest.mark.parametrize(("settings", "words"), [
    ({"num_candidates": 1}, "MPPI.num_candidates is 1: expected 2 or more"),
    ({"num_iterations": 0}, "MPPI.num_iterations is 0: expected 1 or more"),
    ({"temperature": 0.0}, "MPPI.temperature is 0.0: expected more than 0"),
    ({"std": -1.0}, "MPPI.std is -1.0: expected more than 0"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        MPPI(**settings)
    assert str(error.value) == words

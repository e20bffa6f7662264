"""Categorical CEM: the contract, found plans, warm starts and refusals."""

from itertools import product

import pytest
import torch

from ami.blueprint import Actor
from ami.errors import SettingError
from ami.module import callable_method
from ami.ports import ActionSpace
from ami.testing import check_planner
from ami.testing.subject import Subject
from modules.planner.categorical import Categorical

THREE = {"A": ActionSpace(choices=(3,))}


def planned(make, batch=8, ticks=1):
    """A planner after some ticks in the same states, its inputs and its outputs."""
    subject = Subject(make, THREE)
    module = subject.fresh(range(batch))
    inputs = subject.sample_inputs(batch, 1)[0]
    return module, inputs, subject.run(module, [inputs] * ticks)


def energy(module, inputs, plans):
    """Energies (B, K) of plans (B, K, H, A)."""
    prediction = module.calls.world_model.imagine(inputs["state"], plans)
    return module.calls.cost.energy(prediction, plans, inputs["goal"])


def test_contract():
    check_planner(Categorical, dims=THREE)


def test_contract_with_other_settings_and_widths():
    check_planner(lambda: Categorical(horizon=3, num_candidates=9, num_iterations=4, num_elites=2),
                  dims={"A": ActionSpace(choices=(5,)), "S": (2, 3)})


def test_model_steps_are_candidates_times_horizon_times_iterations():
    _, _, (outputs,) = planned(lambda: Categorical(horizon=3, num_candidates=10, num_iterations=4), batch=2)
    assert outputs["model_steps"].tolist() == [120, 120]


def test_finds_the_best_of_all_plans_by_enumeration():
    module, inputs, (outputs,) = planned(lambda: Categorical(horizon=4, num_candidates=40, num_iterations=6, num_elites=6))
    every = torch.nn.functional.one_hot(torch.tensor(list(product(range(3), repeat=4))), 3).float()
    least = energy(module, inputs, every.expand(8, -1, -1, -1)).amin(1)
    assert torch.allclose(outputs["energy"], least, rtol=1e-4)


def test_energy_and_imagined_belong_to_the_plan():
    module, inputs, (outputs,) = planned(Categorical)
    assert torch.allclose(energy(module, inputs, outputs["plan"][:, None])[:, 0], outputs["energy"], rtol=1e-5)
    states = module.calls.world_model.imagine(inputs["state"], outputs["plan"][:, None]).states[:, 0]
    assert torch.allclose(states, outputs["imagined"], atol=1e-6)


def test_warm_start_is_the_shifted_last_plan():
    _, _, (first, second) = planned(
        lambda: Categorical(num_candidates=2, num_iterations=1, num_elites=1, warm_start_prob=1.0), ticks=2)
    assert torch.equal(second["plan"][:, :-1], first["plan"][:, 1:])


def test_warm_start_is_the_policys_plan():
    class Second(Actor):
        @callable_method
        def propose(self, state, goal):
            return torch.nn.functional.one_hot(torch.ones(len(state), dtype=torch.int64), 3).float()

    make = lambda: Categorical(num_candidates=2, num_iterations=1, num_elites=1, warm_start_prob=1.0)  # noqa: E731
    check_planner(Categorical, dims=THREE, calls={"policy": Second()})
    subject = Subject(make, THREE, calls={"policy": Second()})
    (outputs,) = subject.run(subject.fresh([0]), subject.sample_inputs(1, 1))
    assert outputs["plan"][0, :, 1].tolist() == [1.0] * 8


def test_continuous_actions_are_refused_with_a_fix():
    with pytest.raises(SettingError) as error:
        check_planner(Categorical, dims={"A": 2})
    assert str(error.value) == ("Categorical plans choices, but here an action is 2 numbers in [-1, 1]. Fix: planner=cem, "
                                "or another planner of continuous actions")


@pytest.mark.parametrize(("settings", "words"), [
    ({"horizon": 0}, "Categorical.horizon is 0: expected 1 or more"),
    ({"num_candidates": 1}, "Categorical.num_candidates is 1: expected 2 or more"),
    ({"num_iterations": 0}, "Categorical.num_iterations is 0: expected 1 or more"),
    ({"num_elites": 33}, "Categorical.num_elites is 33: expected 1 to num_candidates, 32"),
    ({"warm_start_prob": 1.5}, "Categorical.warm_start_prob is 1.5: expected 0 to 1"),
    ({"epsilon": -0.1}, "Categorical.epsilon is -0.1: expected 0 to 1"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        Categorical(**settings)
    assert str(error.value) == words

"""CEM: the contract, found plans, warm starts and refusals."""

import cma
import numpy as np
import pytest
import torch
from planning_objectives import A, H, bowl, search, valleys

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_planner
from ami.testing.subject import Subject
from modules.planner.cem import CEM


def plan_for(cem, goal, ticks=1):
    """The outputs of a planner at state 0 with the goal (B, 6), after some ticks."""
    subject = Subject(cem, {"S": (6,), "A": 2})
    inputs = {"state": torch.zeros_like(goal), "goal": goal, "mode": torch.full((len(goal),), 2), "weights": None}
    module = subject.fresh(range(len(goal)))
    return subject, module, subject.run(module, [inputs] * ticks)


def test_contract():
    check_planner(CEM)


def test_contract_with_token_states_and_other_settings():
    check_planner(lambda: CEM(horizon=5, num_candidates=24, num_iterations=3, num_elites=4), dims={"S": (2, 3)})


def test_model_steps_are_candidates_times_horizon_times_iterations():
    _, _, (outputs,) = plan_for(lambda: CEM(horizon=3, num_candidates=10, num_iterations=4), torch.ones(2, 6))
    assert outputs["model_steps"].tolist() == [120, 120]


def test_more_iterations_find_better_plans():
    goal = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    energies = [plan_for(lambda n=n: CEM(num_iterations=n), goal)[2][0]["energy"].mean() for n in (1, 2, 5)]
    assert energies[0] > energies[1] > energies[2]


def test_momentum_keeps_a_share_of_the_last_mean_in_every_refit():
    goal = torch.ones(1, 6)
    alone, kept = (plan_for(lambda m=m: CEM(num_iterations=1, momentum=m), goal)[2][0]["plan"] for m in (0.0, 0.25))
    assert torch.allclose(kept, 0.75 * alone)  # the first mean is 0
    slow, fast = (plan_for(lambda m=m: CEM(num_iterations=4, momentum=m), goal.expand(20, -1))[2][0]["energy"].mean()
                  for m in (0.6, 0.0))
    assert fast < slow
    with pytest.raises(SettingError, match=r"CEM.momentum is 1: expected 0 or more and less than 1"):
        CEM(momentum=1)


def test_warm_start_is_the_shifted_last_plan():
    class Watched(CEM):
        def search(self, state, goal, weights, before, noise):
            self.befores = [*getattr(self, "befores", []), before]
            return super().search(state, goal, weights, before, torch.zeros_like(noise))

    _, module, record = plan_for(Watched, torch.ones(1, 6), ticks=2)
    assert not module.befores[0].any()
    assert torch.equal(module.befores[1], record[0]["plan"])


def test_plan_without_noise_is_the_shifted_last_plan():
    class Still(CEM):
        def draw(self):
            return super().draw().zero_()

    subject, module, _ = plan_for(Still, torch.ones(1, 6))
    module.carry["plan"] = torch.arange(8.0).view(1, 4, 2) / 10
    (inputs,) = subject.sample_inputs(1, 1)
    (outputs,) = subject.run(module, [inputs])
    assert torch.allclose(outputs["plan"], torch.tensor([[[0.2, 0.3], [0.4, 0.5], [0.6, 0.7], [0.0, 0.0]]]))


def test_imagined_is_the_path_of_a_candidate():
    _, _, (outputs,) = plan_for(CEM, torch.ones(3, 6))
    assert outputs["imagined"].shape == (3, 4, 6)
    to_goal = (outputs["imagined"] - 1).square().sum((1, 2))
    assert torch.allclose(to_goal, outputs["energy"])


@pytest.mark.parametrize(("settings", "words"), [
    ({"horizon": -3}, "CEM.horizon is -3: expected 1 or more"),
    ({"num_candidates": 1}, "CEM.num_candidates is 1: expected 2 or more"),
    ({"num_iterations": 0}, "CEM.num_iterations is 0: expected 1 or more"),
    ({"num_elites": 33}, "CEM.num_elites is 33: expected 2 to num_candidates, 32"),
    ({"num_elites": 1}, "CEM.num_elites is 1: expected 2 to num_candidates, 32"),
    ({"init_std": 0.0}, "CEM.init_std is 0.0: expected more than 0"),
    ({"min_std": 0.9}, "CEM.min_std is 0.9: expected 0 to init_std, 0.8"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        CEM(**settings)
    assert str(error.value) == words


def test_discrete_actions_are_refused_with_a_fix():
    with pytest.raises(SettingError) as error:
        check_planner(CEM, dims={"A": ActionSpace(choices=(3,))})
    assert str(error.value) == ("CEM plans continuous actions, but here an action is one of 3. Fix: "
                                "planner=categorical or planner=tree")


# Against a reference ---------------------------------------------------------------------------------------------------

def cma_energy(objective, evaluations, seed):
    """The least energy found by CMA-ES (Hansen), from the same start."""
    search_ = cma.CMAEvolutionStrategy([0.0] * (H * A), 0.8, {"bounds": [-1, 1], "seed": seed, "verbose": -9})
    while search_.countevals < evaluations:
        asked = search_.ask()
        search_.tell(asked, objective(torch.tensor(np.array(asked)).view(-1, H, A)).tolist())
    return search_.result.fbest


@pytest.mark.parametrize("objective", [bowl, valleys])
@pytest.mark.parametrize("evaluations", [240, 600])
def test_plans_are_as_good_as_those_of_cma_es_at_equal_evaluations(objective, evaluations):
    make = lambda: CEM(H, evaluations // 10, 10, num_elites=max(4, evaluations // 60), min_std=0.02)  # noqa: E731
    (outputs,) = search(make, objective, rows=10)
    assert outputs["model_steps"].tolist() == [evaluations * H] * 10
    theirs = np.median([cma_energy(objective, evaluations, seed) for seed in range(1, 11)])
    assert float(objective(outputs["plan"]).median()) <= theirs

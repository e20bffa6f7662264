"""Planning by gradient descent: the contract, convergence, no gradient on weights, and refusals."""

import pytest
import torch
from planning_objectives import H, bowl, search
from torch import nn

from ami.blueprint import Prediction
from ami.config.compose import compose, to_graph
from ami.errors import SettingError
from ami.module import callable_method
from ami.ports import ActionSpace
from ami.runtime.worker import Worker
from ami.testing import check_planner
from ami.testing.stubs import StubCost, StubWorldModel
from ami.testing.subject import Subject
from modules.planner.cem import CEM
from modules.planner.gradient import GradientDescent
from tests.support.episodes import numbered


class Learnt(StubWorldModel):
    """A world model with weights."""

    def build(self, dims):
        super().build(dims)
        self.weight = nn.Parameter(torch.ones(()))

    @callable_method
    def imagine(self, state, actions, noise=None):
        return Prediction(super().imagine(state, self.weight * actions).states)


class Felt(StubCost):
    """A cost with weights."""

    def build(self, dims):
        super().build(dims)
        self.weight = nn.Parameter(torch.ones(()))

    @callable_method
    def energy(self, prediction, actions, goal, weights=None):
        return self.weight * super().energy(prediction, actions, goal, weights)


def test_contract():
    check_planner(GradientDescent)


def test_contract_with_token_states_and_other_settings():
    check_planner(lambda: GradientDescent(horizon=5, num_candidates=1, num_iterations=3), dims={"S": (2, 3)})


def test_contract_with_trainable_callees():
    check_planner(GradientDescent, calls={"world_model": Learnt(), "cost": Felt()})


def test_callees_weights_receive_no_gradient():
    model, cost = Learnt(), Felt()
    subject = Subject(GradientDescent, calls={"world_model": model, "cost": cost})
    module = subject.fresh(range(2))
    (outputs,) = subject.run(module, subject.sample_inputs(2, 1))
    assert model.weight.grad is None and cost.weight.grad is None
    assert model.weight.requires_grad and cost.weight.requires_grad
    assert not any(value.requires_grad for value in [*outputs.values(), *module.carry.values()])
    assert torch.is_grad_enabled()


def test_finds_lower_energy_than_cem_at_equal_cost():
    (downhill,) = search(lambda: GradientDescent(H, num_candidates=4, num_iterations=29), bowl, rows=10)
    (around,) = search(lambda: CEM(H, num_candidates=24, num_iterations=10, min_std=0.02), bowl, rows=10)
    assert downhill["model_steps"].tolist() == [30 * 4 * H] * 10
    assert 2 * downhill["model_steps"][0] <= around["model_steps"][0]
    assert downhill["energy"].mean() < bowl(around["plan"]).mean()


def test_plan_is_the_best_of_all_iterations():
    (outputs,) = search(lambda: GradientDescent(H, learning_rate=5.0), bowl, rows=5)  # too large a learning rate
    assert torch.allclose(bowl(outputs["plan"]), outputs["energy"], rtol=1e-5)
    (start,) = search(lambda: GradientDescent(H, num_iterations=1, learning_rate=1e-9), bowl, rows=5)
    assert bool((outputs["energy"] <= start["energy"] + 1e-5).all())


def test_nan_gradient_leaves_the_plan_unchanged():
    def kinked(actions):  # a distance of 0 at the zero plan, the initial plan
        return actions.square().sum((-1, -2)).sqrt()

    (outputs,) = search(lambda: GradientDescent(H, num_candidates=1), kinked)
    assert outputs["energy"].tolist() == [0.0] and not outputs["plan"].any()


@pytest.mark.parametrize("weights", [False, True])
def test_energy_without_gradient_is_refused_with_a_fix(weights):
    class Outside(StubWorldModel):
        @callable_method
        def imagine(self, state, actions, noise=None):
            return Prediction(torch.from_numpy(super().imagine(state, actions.detach()).states.numpy()))

    subject = Subject(GradientDescent, calls={"world_model": Outside(), "cost": Felt() if weights else StubCost()})
    with pytest.raises(SettingError) as error:
        subject.run(subject.fresh([0]), subject.sample_inputs(1, 1))
    assert str(error.value) == (
        "GradientDescent needs the energy's gradient with respect to the actions, and world_model.imagine or cost.energy "
        "has none: is one of them computed outside torch? Fix: planner=cem, or another planner that needs no gradient")


def test_default_agent_plans_by_gradient():
    graph = to_graph(compose(["planner=gradient"]))
    module = Worker(graph, ["planner"], 0).modules["planner"]
    module.begin(torch.ones(2, dtype=torch.bool), numbered([0, 1]))
    with torch.no_grad():
        outputs = module.step(state=torch.randn(2, 64), goal=torch.randn(2, 64), mode=torch.full((2,), 2))
    assert outputs["plan"].abs().sum() > 0 and torch.isfinite(outputs["energy"]).all()


def test_discrete_actions_are_refused_with_a_fix():
    with pytest.raises(SettingError, match="GradientDescent plans continuous actions, but here an action is one of 3"):
        check_planner(GradientDescent, dims={"A": ActionSpace(choices=(3,))})


@pytest.mark.parametrize(("settings", "words"), [
    ({"num_candidates": 0}, "GradientDescent.num_candidates is 0: expected 1 or more"),
    ({"num_iterations": 0}, "GradientDescent.num_iterations is 0: expected 1 or more"),
    ({"learning_rate": 0.0}, "GradientDescent.learning_rate is 0.0: expected more than 0"),
    ({"init_std": 0.0}, "GradientDescent.init_std is 0.0: expected more than 0"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        GradientDescent(**settings)
    assert str(error.value) == words

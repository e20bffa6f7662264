"""ε-greedy: any actor wrapped, its ports, calls, weights and random numbers unchanged."""

import pytest
import torch

from ami.config.compose import compose, to_graph
from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.runtime.worker import Worker
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.epsilon_greedy import EpsilonGreedy
from modules.actor.plan_follower import PlanFollower
from modules.actor.policy import Policy
from modules.actor.random import RandomActor

CHOICES = ActionSpace(choices=(4,))
ACTORS = {"held plan": lambda: PlanFollower(3), "policy": Policy, "random": lambda: RandomActor(stickiness=0.5),
          "itself": lambda: EpsilonGreedy(Policy(), 0.2)}


@pytest.mark.parametrize("width", [2, CHOICES])
@pytest.mark.parametrize("actor", ACTORS)
def test_contract(actor, width):
    check_actor(lambda: EpsilonGreedy(ACTORS[actor](), 0.5), dims={"A": width})


@pytest.mark.parametrize("width", [2, CHOICES])
def test_explores_for_a_share_of_the_ticks(width):
    subject = Subject(lambda: EpsilonGreedy(PlanFollower(), 0.3), {"A": width, "H": 1})
    (inputs,) = subject.sample_inputs(2000, 1)
    inputs |= {"plan": torch.zeros(2000, 1, subject.actions.width), "action_mask": None}
    if isinstance(width, ActionSpace):
        inputs["plan"][..., 0] = 1.0
    (outputs,) = subject.run(subject.fresh(range(2000)), [inputs])
    drawn = outputs["action"][(outputs["action"] != inputs["plan"][:, 0]).any(-1)]
    if isinstance(width, ActionSpace):
        assert len(drawn) / 2000 == pytest.approx(0.3 * 3 / 4, abs=0.04)
        assert torch.equal(drawn.sum(-1), torch.ones(len(drawn))) and drawn.mean(0)[1:].min() > 0.25
    else:
        assert len(drawn) / 2000 == pytest.approx(0.3, abs=0.04)
        assert drawn.min() < -0.9 and drawn.max() > 0.9 and abs(drawn.mean()) < 0.1


def acted(make, ticks=6):
    subject = Subject(make)
    record = subject.run(subject.fresh([0, 1, 2]), subject.sample_inputs(3, ticks))
    return torch.stack([outputs["action"] for outputs in record])


@pytest.mark.parametrize("actor", ["held plan", "policy", "random"])
def test_epsilon_0_is_the_actor_itself(actor):
    assert torch.equal(acted(lambda: EpsilonGreedy(ACTORS[actor](), 0.0)), acted(ACTORS[actor]))


def test_weights_have_the_actors_own_names():
    plain, wrapped = (Subject(make).fresh([0]) for make in (Policy, lambda: EpsilonGreedy(EpsilonGreedy(Policy()))))
    assert list(wrapped.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, wrapped.state_dict()[name]) for name, value in plain.state_dict().items())
    other = {name: value + 1 for name, value in plain.state_dict().items()}
    wrapped.load_state_dict(other)
    assert torch.equal(wrapped.actor.actor.last.bias, other["last.bias"])
    with pytest.raises(RuntimeError, match="Missing key"):
        wrapped.load_state_dict({"first.bias": other["first.bias"]})


def test_methods_of_the_actor_can_be_called_and_learnt():
    module = Subject(lambda: EpsilonGreedy(Policy())).fresh([0])
    state, goal = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module.propose(state, goal), module.actor.propose(state, goal))
    loss, _ = module.loss({"state": state, "goal": goal, "plan": torch.zeros(3, 2, 2)})
    assert loss.requires_grad
    assert module.can_learn and not EpsilonGreedy(RandomActor()).can_learn
    assert EpsilonGreedy(RandomActor()).callable_methods() == ()


def test_any_actor_is_wrapped_from_a_config():
    graph = to_graph(compose(["actor=epsilon_greedy", "actor.actor._target_=modules.actor.policy.Policy",
                              "actor.epsilon=0.3", "actor.actor.hidden=8", "graph.planner.calls.policy=actor"]))
    assert graph.warnings == []
    worker = Worker(graph, graph.order, seed=0)
    inner = worker.modules["actor"].actor
    assert isinstance(inner, Policy) and inner.hidden == 8 and inner.dims == worker.modules["actor"].dims
    assert worker.modules["planner"].calls.policy.propose(torch.zeros(1, 64), torch.zeros(1, 64)).shape == (1, 2)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: EpsilonGreedy(Policy(), 1.5), "EpsilonGreedy.epsilon is 1.5: expected 0 to 1"),
    (lambda: EpsilonGreedy(torch.nn.Linear(1, 1)), "EpsilonGreedy.actor is a Linear: expected an ami.blueprint.Actor, such "
                                                   "as actor.actor._target_=modules.actor.policy.Policy"),
])
def test_invalid_settings_are_refused(make, words):
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value) == words

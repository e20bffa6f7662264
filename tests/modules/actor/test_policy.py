"""The policy: Mode-1, followed plans in Mode-2, imitation of plans, proposals to planners."""

import pytest
import torch

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_actor
from ami.testing.subject import Subject
from modules.actor.policy import Policy

SIZES = [{}, {"S": (3, 2), "A": 4}, {"A": ActionSpace(choices=(3,))}]


@pytest.mark.parametrize("dims", SIZES)
def test_contract(dims):
    check_actor(Policy, dims=dims)


def acts(mode, dims=None, plan=True):
    subject = Subject(Policy, dims)
    (inputs,) = subject.sample_inputs(3, 1)
    inputs["mode"] = torch.tensor(mode)
    inputs["plan"] = inputs["plan"] if plan else None
    module = subject.fresh(range(3))
    (outputs,) = subject.run(module, [inputs])
    with torch.no_grad():
        return outputs["action"], module.propose(inputs["state"], inputs["goal"]), inputs["plan"]


def test_mode_2_follows_the_newest_plan():
    action, _, plan = acts([2, 2, 2])
    assert torch.equal(action, plan[:, 0])


def test_mode_is_per_world():
    action, own, plan = acts([1, 2, 1])
    assert torch.equal(action[1], plan[1, 0])
    assert torch.equal(action[[0, 2]], own[[0, 2]])


def test_reacts_without_a_plan():
    action, own, _ = acts([2, 2, 2], plan=False)
    assert torch.equal(action, own)


def test_discrete_actions_are_one_hot():
    action, _, _ = acts([1, 1, 1], {"A": ActionSpace(choices=(3,))})
    assert action.sum(-1).tolist() == [1, 1, 1] and set(action.flatten().tolist()) == {0, 1}


@pytest.mark.parametrize(("dims", "figure", "reached"), [
    ({}, "action_error", lambda error: error < 0.02),
    ({"A": ActionSpace(choices=(3,))}, "agreement", lambda share: share > 0.95),
])
def test_learns_the_plans_first_actions(dims, figure, reached):
    subject = Subject(Policy, {**dims, "S": (3,)})
    module = subject.fresh([0])
    state, goal = torch.randn(2, 256, 3, generator=torch.Generator().manual_seed(0))
    wanted = (goal - state).clamp(-1, 1)[:, :subject.dims["A"]]
    if subject.actions.choices:
        wanted = torch.nn.functional.one_hot(wanted.argmax(-1), 3).float()
    batch = {"state": state, "goal": goal, "plan": torch.stack([wanted, torch.zeros_like(wanted)], 1)}
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(200):
        loss, figures = module.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert reached(float(figures[figure]))


def test_a_hidden_width_of_0_is_refused():
    with pytest.raises(SettingError) as error:
        Policy(hidden=0)
    assert str(error.value) == "Policy.hidden is 0: expected 1 or more"

"""modules.planner.none: no planning at all."""

import torch

from ami.testing import check_module
from ami.testing.subject import Subject
from modules.planner.none import NoPlanner


def test_it_keeps_the_contract_of_a_module():
    check_module(NoPlanner)


def test_it_plans_one_zero_action_and_spends_nothing():
    subject = Subject(NoPlanner)
    (inputs,) = subject.life(2, 1)
    (outputs,) = subject.live(subject.fresh(range(2)), [inputs])
    assert torch.equal(outputs["plan"], torch.zeros(2, 1, 2))
    assert outputs["model_steps"].tolist() == [0, 0]
    assert torch.equal(outputs["imagined"][:, 0], inputs["state"])

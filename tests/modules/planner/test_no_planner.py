"""modules.planner.none: zero plans."""

import torch

from ami.testing import check_module
from ami.testing.subject import Subject
from modules.planner.none import NoPlanner


def test_module_contract():
    check_module(NoPlanner)


def test_plan_is_one_zero_action_without_model_steps():
    subject = Subject(NoPlanner)
    (inputs,) = subject.sample_inputs(2, 1)
    (outputs,) = subject.run(subject.fresh(range(2)), [inputs])
    assert torch.equal(outputs["plan"], torch.zeros(2, 1, 2))
    assert outputs["model_steps"].tolist() == [0, 0]
    assert torch.equal(outputs["imagined"][:, 0], inputs["state"])

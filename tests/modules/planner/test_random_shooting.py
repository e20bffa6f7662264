"""Random shooting: the contract, the best of its candidates, and its refusals."""

import pytest
import torch

from ami.errors import SettingError
from ami.ports import ActionSpace
from ami.testing import check_planner
from ami.testing.subject import Subject
from modules.planner.random_shooting import RandomShooting


def test_contract():
    check_planner(RandomShooting)


def test_plan_is_the_candidate_of_least_energy():
    subject = Subject(RandomShooting, {"S": (6,)})
    module = subject.fresh(range(2))
    (inputs,) = subject.sample_inputs(2, 1)
    (outputs,) = subject.run(module, [inputs])
    states = module.calls.world_model.imagine(inputs["state"], outputs["plan"][:, None]).states[:, 0]
    assert torch.allclose(states, outputs["imagined"], atol=1e-6)
    assert torch.allclose((states - inputs["goal"][:, None]).square().sum((1, 2)), outputs["energy"], rtol=1e-5)


@pytest.mark.parametrize(("settings", "words"), [
    ({"horizon": 0}, "RandomShooting.horizon is 0: expected 1 or more"),
    ({"num_candidates": 0}, "RandomShooting.num_candidates is 0: expected 1 or more"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        RandomShooting(**settings)
    assert str(error.value) == words


def test_contract_with_discrete_actions():
    check_planner(RandomShooting, dims={"A": ActionSpace(choices=(3,))})

"""Tree search: the contract, exhaustive search without repeated rollouts, and refusals."""

from itertools import product

import pytest
import torch

from ami.blueprint import Prediction
from ami.errors import SettingError
from ami.module import callable_method
from ami.ports import ActionSpace
from ami.testing import check_planner
from ami.testing.stubs import StubCost, StubWorldModel
from ami.testing.subject import Subject
from modules.planner.random_shooting import RandomShooting
from modules.planner.tree import TreeSearch

THREE = {"A": ActionSpace(choices=(3,))}


def planned(make, batch=8, ticks=1, **settings):
    """A planner after some ticks in the same states, its inputs and its outputs."""
    subject = Subject(make, THREE, **settings)
    module = subject.fresh(range(batch))
    inputs = subject.sample_inputs(batch, 1)[0]
    return module, inputs, subject.run(module, [inputs] * ticks)


def energy(module, inputs, plans):
    """Energies (B, K) of plans (B, K, H, A)."""
    prediction = module.calls.world_model.imagine(inputs["state"], plans)
    return module.calls.cost.energy(prediction, plans, inputs["goal"])


def test_contract():
    check_planner(TreeSearch, dims=THREE)


def test_contract_with_other_settings_and_widths():
    check_planner(lambda: TreeSearch(horizon=5, num_expansions=9), dims={"A": ActionSpace(choices=(2,)), "S": (2, 3)})
    check_planner(lambda: TreeSearch(horizon=2, num_expansions=50), dims={"A": ActionSpace(choices=(4,))})


def test_full_expansion_finds_the_best_plan_without_repeated_rollouts():
    module, inputs, (outputs,) = planned(lambda: TreeSearch(horizon=3, num_expansions=20))
    every = torch.nn.functional.one_hot(torch.tensor(list(product(range(3), repeat=3))), 3).float()
    assert torch.allclose(outputs["energy"], energy(module, inputs, every.expand(8, -1, -1, -1)).amin(1), rtol=1e-4)
    assert outputs["model_steps"].tolist() == [3 + 9 + 27] * 8


def test_energy_and_imagined_belong_to_the_plan():
    module, inputs, (outputs,) = planned(TreeSearch)
    assert torch.allclose(energy(module, inputs, outputs["plan"][:, None])[:, 0], outputs["energy"], rtol=1e-4)
    states = module.calls.world_model.imagine(inputs["state"], outputs["plan"][:, None]).states[:, 0]
    assert torch.allclose(states, outputs["imagined"], atol=1e-5)


def test_beats_random_shooting_at_equal_model_steps():
    _, _, (tree,) = planned(TreeSearch, batch=30)
    spent = int(tree["model_steps"].float().mean()) // 8 + 1
    _, _, (chance,) = planned(lambda: RandomShooting(horizon=8, num_candidates=spent), batch=30)
    assert chance["model_steps"][0] >= tree["model_steps"].float().mean()
    assert tree["energy"].mean() < chance["energy"].mean()


def test_root_is_the_shifted_last_plan():
    # with equal energies the root stays the best
    class Flat(StubCost):
        @callable_method
        def energy(self, prediction, actions, goal, weights=None):
            return torch.zeros(actions.shape[:2])

    _, _, (first, second) = planned(TreeSearch, ticks=2, calls={"cost": Flat()})
    assert torch.equal(second["plan"][:, :-1], first["plan"][:, 1:])


def test_all_fields_of_a_prediction_reach_the_cost():
    class Rewarding(StubWorldModel):
        @callable_method
        def imagine(self, state, actions, noise=None):
            return Prediction(super().imagine(state, actions).states, reward=actions[..., 1], cont=actions[..., 0])

    class Rewarded(StubCost):
        @callable_method
        def energy(self, prediction, actions, goal, weights=None):
            assert prediction.spread is None
            assert torch.equal(prediction.reward, actions[..., 1]) and torch.equal(prediction.cont, actions[..., 0])
            return -prediction.reward.sum(-1)

    _, _, (outputs,) = planned(lambda: TreeSearch(horizon=4), calls={"cost": Rewarded(), "world_model": Rewarding()})
    assert outputs["energy"].tolist() == [-4.0] * 8


def test_continuous_actions_are_refused_with_a_fix():
    with pytest.raises(SettingError) as error:
        check_planner(TreeSearch, dims={"A": 2})
    assert str(error.value) == ("TreeSearch plans choices, but here an action is 2 numbers in [-1, 1]. Fix: planner=cem, "
                                "or another planner of continuous actions")


@pytest.mark.parametrize(("settings", "words"), [
    ({"horizon": 0}, "TreeSearch.horizon is 0: expected 1 or more"),
    ({"num_expansions": 0}, "TreeSearch.num_expansions is 0: expected 1 or more"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        TreeSearch(**settings)
    assert str(error.value) == words


def test_notes_hold_the_energies_of_all_nodes():
    subject = Subject(lambda: TreeSearch(horizon=2, num_expansions=1), {"A": ActionSpace(choices=(3,))})
    module = subject.fresh(range(2))
    module.notes = {}
    (inputs,) = subject.sample_inputs(2, 1)
    (outputs,) = subject.run(module, [{**inputs, "mode": torch.tensor([2, 2])}])
    assert module.notes["candidates"].shape == (2, 1, 3)
    assert torch.equal(module.notes["candidates"].amin((1, 2)), outputs["energy"])

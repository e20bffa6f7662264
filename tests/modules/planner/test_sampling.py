"""The base of sampling planners: idle rows without cost, warm starts from a policy, action spaces."""

import pytest
import torch

from ami.blueprint import Actor
from ami.config.compose import compose, to_graph
from ami.errors import GraphError
from ami.module import callable_method
from ami.testing import check_planner
from ami.testing.subject import Subject
from modules.planner import sampling
from modules.planner.categorical import Categorical
from modules.planner.cem import CEM
from modules.planner.gradient import GradientDescent
from modules.planner.icem import ICEM
from modules.planner.mppi import MPPI
from modules.planner.random_shooting import RandomShooting
from modules.planner.tree import TreeSearch


def stepped(modes):
    """The stub world model's step count and the outputs of one tick with these modes."""
    subject = Subject(RandomShooting)
    module = subject.fresh(range(len(modes)))
    (inputs,) = subject.sample_inputs(len(modes), 1)
    (outputs,) = subject.run(module, [{**inputs, "mode": torch.tensor(modes)}])
    return subject.callee(module, "world_model").steps, outputs


def test_idle_rows_cost_no_model_steps():
    both, _ = stepped([2, 2])
    one, outputs = stepped([1, 2])
    assert one * 2 == both
    assert outputs["model_steps"].tolist() == [0, one]
    assert not outputs["plan"][0].any()


def test_idle_rows_do_not_change_the_plans_of_others():
    assert torch.allclose(stepped([2, 2])[1]["plan"][1], stepped([1, 2])[1]["plan"][1])


def test_all_idle_rows_need_no_rollout():
    steps, outputs = stepped([1, 1])
    assert steps == 0
    assert outputs["imagined"].shape == (2, 4, 6)


def test_idle_row_draws_no_random_numbers():
    subject = Subject(RandomShooting)
    module = subject.fresh(range(2))
    (inputs,) = subject.sample_inputs(2, 1)
    subject.run(module, [{**inputs, "mode": torch.tensor([1, 2])}])
    assert "row.0" not in module.random.snapshot() and "row.1" in module.random.snapshot()


# Starting from a policy -----------------------------------------------------------------------------------------------

class Straight(Actor):
    """Proposes half of the way to the goal in each of the first A numbers."""

    @callable_method
    def propose(self, state, goal):
        return (0.5 * (goal - state))[..., :self.dims["A"]].clamp(-1, 1)


PLANNERS = [RandomShooting, CEM, ICEM, MPPI, GradientDescent]


@pytest.mark.parametrize("planner", PLANNERS)
def test_contract_and_model_steps_with_a_policy(planner):
    check_planner(planner, calls={"policy": Straight()})


@pytest.mark.parametrize("make", [lambda: RandomShooting(num_candidates=1),
                                  lambda: CEM(num_candidates=2, num_iterations=1, num_elites=2, init_std=1e-9, min_std=0),
                                  lambda: ICEM(num_candidates=2, num_iterations=1, num_elites=2, init_std=1e-9, min_std=0),
                                  lambda: MPPI(num_candidates=2, num_iterations=1, std=1e-9),
                                  lambda: GradientDescent(num_candidates=1, num_iterations=1, learning_rate=1e-9)])
def test_warm_start_is_the_policys_rollout(make):
    policy = Straight()
    subject = Subject(make, calls={"policy": policy})
    module = subject.fresh([0])
    (inputs,) = subject.sample_inputs(1, 1)
    (outputs,) = subject.run(module, [inputs])
    state, goal = inputs["state"], inputs["goal"]
    for h in range(4):
        action = policy.propose(state, goal)
        assert torch.allclose(outputs["plan"][:, h], action, atol=1e-6)
        state = module.calls.world_model.imagine(state, action[:, None, None]).states[:, 0, 0]


def test_actor_without_propose_is_refused_with_a_fix():
    with pytest.raises(GraphError) as refusal:
        to_graph(compose(["graph.planner.calls.policy=actor"]))
    assert ("planner calls actor.propose, which modules.actor.plan_follower.PlanFollower does not declare callable: there "
            "is none. Fix: mark it @callable_method, or bind graph.planner.calls.policy to another node; to do without: "
            "graph.planner.calls.policy=null") in str(refusal.value)


# Action spaces ---------------------------------------------------------------------------------------------------------

def test_unsupported_action_space_is_refused_before_the_first_tick():
    with pytest.raises(GraphError) as refusal:
        to_graph(compose(["planner=categorical"]))
    assert ("planner: Categorical plans choices, but here an action is 2 numbers in [-1, 1]. "
            "Fix: planner=cem") in str(refusal.value)


@pytest.mark.parametrize("make", [
    lambda: CEM(num_candidates=8, num_elites=3), lambda: ICEM(num_candidates=12, num_elites=3),
    lambda: MPPI(num_candidates=6), lambda: GradientDescent(num_candidates=3), lambda: RandomShooting(num_candidates=7),
    lambda: Categorical(num_candidates=8)], ids=["cem", "icem", "mppi", "gradient", "random_shooting", "categorical"])
def test_rows_searched_in_parts_find_the_same_plans(make, monkeypatch):
    subject = Subject(make)
    sequence = subject.sample_inputs(7, 3)
    for tick, inputs in enumerate(sequence):
        inputs["mode"] = torch.tensor([2, 1, 2, 2, 2, 2, 2]) if tick == 1 else torch.full((7,), 2)

    def record():
        module = subject.fresh(range(7))
        module.notes, energies, outputs = {}, [], []
        for inputs in sequence:
            outputs += subject.run(module, [inputs])
            energies.append(module.notes["candidates"])
        return outputs, energies

    whole, noted = record()
    monkeypatch.setattr(sampling, "CANDIDATES_AT_ONCE", 20)
    parts, noted_in_parts = record()
    for one, other in zip(whole, parts, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name])
    for one, other in zip(noted, noted_in_parts, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


def test_parts_have_few_enough_candidates(monkeypatch):
    seen = []

    class Watching(RandomShooting):
        def search(self, state, *others):
            seen.append(len(state))
            return super().search(state, *others)

    subject = Subject(lambda: Watching(num_candidates=10))
    monkeypatch.setattr(sampling, "CANDIDATES_AT_ONCE", 35)
    subject.run(subject.fresh(range(8)), subject.sample_inputs(8, 1))
    assert seen == [3, 3, 2]
    seen.clear()
    monkeypatch.setattr(sampling, "CANDIDATES_AT_ONCE", 5)
    subject.run(subject.fresh(range(2)), subject.sample_inputs(2, 1))
    assert seen == [1, 1], "a row is never divided"


@pytest.mark.parametrize("make", [CEM, ICEM, MPPI, GradientDescent, RandomShooting, Categorical, TreeSearch])
def test_outputs_carry_and_notes_leave_inference_mode(make):
    subject = Subject(make)
    module = subject.fresh(range(2))
    module.notes = {}
    with torch.no_grad():
        outputs = module.step(**subject.sample_inputs(2, 1)[0])
    kept = [*outputs.values(), *module.carry.values(), *module.notes.values()]
    assert not any(value.is_inference() for value in kept)
    assert not any(value.requires_grad for value in kept)


@pytest.mark.parametrize("make, iterations, candidates", [
    (lambda: CEM(num_candidates=8, num_iterations=3), 3, 8),
    (lambda: ICEM(num_candidates=12, num_iterations=2, num_elites=3, decay=2.0), 2, 12),
    (lambda: MPPI(num_candidates=6, num_iterations=2), 2, 6),
    (lambda: GradientDescent(num_candidates=3, num_iterations=2), 3, 3),
    (lambda: RandomShooting(num_candidates=7), 1, 7)], ids=["cem", "icem", "mppi", "gradient", "random_shooting"])
def test_notes_hold_the_candidates_energies_by_iteration(make, iterations, candidates):
    subject = Subject(make)
    module = subject.fresh(range(3))
    (inputs,) = subject.sample_inputs(3, 1)
    inputs["mode"] = torch.tensor([2, 1, 2])
    (silent,) = subject.run(subject.fresh(range(3)), [inputs])
    module.notes = {}
    (outputs,) = subject.run(module, [inputs])
    energies = module.notes["candidates"]
    assert energies.shape == (3, iterations, candidates)
    assert energies[1].isnan().all() and not energies[[0, 2], 0].isnan().any(), "the row that reacts has no candidates"
    assert torch.equal(outputs["plan"], silent["plan"]), "noting changes nothing"

"""The goal as an image: encoded once per episode with the agent's perception."""

import pytest
import torch

from ami.errors import GraphError
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.module import Module
from ami.ports import Port
from ami.testing import check_goal
from ami.testing.stubs import StubPerception, StubWorldModel
from ami.testing.subject import Subject
from modules.goal.image import ImageGoal
from tests.support.episodes import numbered


class Counting(StubPerception):
    seen = 0

    def encode(self, observation):
        self.seen += len(observation)
        return super().encode(observation)


def test_contract():
    check_goal(ImageGoal)


def test_goal_is_the_encoded_observation():
    subject = Subject(ImageGoal, {"P": (5,), "S": (6,)})
    module = subject.fresh([0, 1])
    (inputs,) = subject.sample_inputs(2, 1)
    (outputs,) = subject.run(module, [inputs])
    percept = module.calls.perception.encode(inputs["observation"])
    assert torch.equal(outputs["goal"], module.calls.world_model.goal_of(percept))


def test_goal_is_encoded_once_per_episode():
    perception = Counting()
    subject = Subject(ImageGoal, calls={"perception": perception})
    module, sequence = subject.fresh([0, 1]), subject.sample_inputs(2, 3)
    first = subject.run(module, sequence)
    assert perception.seen == 2
    module.begin(torch.tensor([True, False]), numbered([7, 1]))
    second = subject.run(module, sequence[1:])
    assert perception.seen == 4
    assert not torch.equal(second[0]["goal"][0], first[0]["goal"][0])
    assert torch.equal(second[1]["goal"][1], first[0]["goal"][1])


def test_goal_image_of_another_size_is_refused():
    class Shower(Module):
        outputs = {"observation": Port("observation", ("*O",)), "goal": Port("goal_observation", ("*G",)),
                   "action": Port("action", ("A",))}

        def infer_dims(self, known):
            return {"O": (8, 8, 3), "G": (4, 4, 3), "A": 2}

    class Sized(StubPerception):
        def infer_dims(self, known):
            return {"P": (6,)}

    class SizedModel(StubWorldModel):
        def infer_dims(self, known):
            return {"S": (6,)}

    parts = {"world": ModuleSpec(Shower), "perception": ModuleSpec(Sized), "world_model": ModuleSpec(SizedModel),
             "goal": ModuleSpec(ImageGoal)}
    wiring = {"world": {}, "perception": {"observation": "world.observation"},
              "world_model": {"percept": "perception.percept", "action": "world.action"},
              "goal": {"observation": "world.goal", "calls": {"perception": "perception", "world_model": "world_model"}}}
    with pytest.raises(GraphError, match="wrong shape along the call goal ⇄ perception"):
        Graph(parts, wiring)


@pytest.mark.parametrize("changes", [False, True])
def test_a_goal_that_changes_within_an_episode_is_encoded_again_if_expected(changes):
    subject = Subject(lambda: ImageGoal(changes=changes), {"P": (5,), "S": (6,)})
    module = subject.fresh([0, 1])
    first, second = subject.sample_inputs(2, 2)
    before, after = subject.run(module, [first, {**second, "observation": second["observation"]}])
    assert torch.equal(before["goal"], after["goal"]) is not changes


def test_a_goal_that_stays_is_encoded_once_although_it_may_change():
    perception = Counting()
    subject = Subject(lambda: ImageGoal(changes=True), {"P": (5,), "S": (6,)}, {"perception": perception})
    module = subject.fresh([0, 1])
    (inputs,) = subject.sample_inputs(2, 1)
    subject.run(module, [inputs] * 3)
    assert module.calls.perception._module.seen == 2

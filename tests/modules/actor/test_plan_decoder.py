"""The plan decoder: the world model decodes a plan's latent actions; the world's mask is obeyed."""

import torch

from ami.ports import ActionSpace
from ami.testing import check_actor
from ami.testing.subject import Subject
from ami.testing.toys.latent_actions import LatentActions
from modules.actor.plan_decoder import PlanDecoder

THREE = ActionSpace(choices=(3,))


class Scores(LatentActions):
    """Decodes a code to a score per alternative."""

    def decode_action(self, state, action):
        return action


def acting(num_steps):
    subject = Subject(lambda: PlanDecoder(num_steps), {"H": 2, "S": (2,), "U": 3, "A": THREE}, {"world_model": Scores()})
    actor = subject.fresh([0])

    def act(plan, allowed=None):
        sent = actor.step(torch.zeros(1, 2), torch.zeros(1, 2), torch.full((1,), 2), torch.tensor([plan]),
                          None if allowed is None else torch.tensor([allowed]).bool())
        assert THREE.fits(sent["action"]).all()
        return int(sent["action"].argmax())

    return act


def test_contract_with_masks():
    check_actor(lambda: PlanDecoder(num_steps=2))
    assert "action_mask" in PlanDecoder.inputs


def test_the_best_allowed_alternative_is_decoded():
    act = acting(1)
    plan = [[0.1, 0.9, 0.5], [0.0, 0.0, 0.0]]
    assert act(plan) == 1
    assert act(plan, [1, 1, 1]) == 1
    assert act(plan, [1, 0, 1]) == 2
    assert act(plan, [1, 0, 0]) == 0


def test_the_newest_plan_is_taken_if_the_decoded_action_of_the_last_is_forbidden():
    act = acting(2)
    last, newest = [[0.9, 0.1, 0.1], [0.1, 0.9, 0.5]], [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]]
    assert act(last, [1, 1, 1]) == 0
    assert act(newest, [1, 1, 1]) == 1
    assert act(last, [1, 1, 1]) == 0
    assert act(newest, [1, 0, 1]) == 2
    assert act(last, [1, 1, 1]) == 0, "the second action of the newest plan"

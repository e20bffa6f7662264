"""Wish: one of two goals that memory knows."""

import torch

from ami.module import Episode
from modules.goal.wish import Wish


def sent(relief_score: float, wishes: list[int]) -> dict[str, torch.Tensor]:
    made = Wish()
    made.set_up({"S": (3,), "Q": (3,), "G": 2})
    made.begin(torch.ones(2, dtype=torch.bool), [Episode(0, seed=0), Episode(1, seed=0)])
    return made.step(wanted=torch.ones(2, 3), relief=torch.full((2, 3), 2.0), relief_score=torch.full((2,), relief_score),
                     wish=torch.tensor(wishes))


def test_the_chosen_goal_is_sent_beside_both():
    outputs = sent(1.0, [0, 1])
    assert outputs["goal"].tolist() == [[1.0] * 3, [2.0] * 3]
    assert outputs["goals"].tolist() == [[[1.0] * 3, [2.0] * 3]] * 2


def test_a_wish_for_relief_that_was_never_felt_is_a_wish_for_the_goal():
    assert sent(0.0, [0, 1])["goal"].tolist() == [[1.0] * 3] * 2

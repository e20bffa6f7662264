"""Wish: one of two goals that memory knows."""

import torch

from ami.module import Episode
from modules.goal.wish import Wish


def test_the_chosen_goal_is_sent_beside_both():
    made = Wish()
    made.set_up({"S": (3,), "Q": (3,), "G": 2})
    made.begin(torch.ones(2, dtype=torch.bool), [Episode(0, seed=0), Episode(1, seed=0)])
    wanted, relief = torch.ones(2, 3), torch.full((2, 3), 2.0)
    outputs = made.step(wanted=wanted, wanted_score=torch.tensor([0.9, 0.0]), relief=relief,
                        relief_score=torch.ones(2), wish=torch.tensor([0, 1]))
    assert outputs["goal"].tolist() == [[1.0] * 3, [2.0] * 3]
    assert outputs["goals"].tolist() == [[[1.0] * 3, [2.0] * 3]] * 2
    assert outputs["known"].tolist() == [[True, True], [False, True]]

"""What planners that imagine random candidates share: idle rows cost nothing and move no other row's stream."""

import torch

from ami.testing.subject import Subject
from modules.planner.random_shooting import RandomShooting


def lived(modes):
    """The stub world model's steps, and the outputs, of one tick with these modes."""
    subject = Subject(RandomShooting)
    module = subject.fresh(range(len(modes)))
    (inputs,) = subject.life(len(modes), 1)
    (outputs,) = subject.live(module, [{**inputs, "mode": torch.tensor(modes)}])
    return subject.callee(module, "world_model").steps, outputs


def test_idle_rows_cost_no_model_steps():
    both, _ = lived([2, 2])
    one, outputs = lived([1, 2])
    assert one * 2 == both
    assert outputs["model_steps"].tolist() == [0, one]
    assert not outputs["plan"][0].any()


def test_a_row_plans_the_same_beside_an_idle_row():
    assert torch.allclose(lived([2, 2])[1]["plan"][1], lived([1, 2])[1]["plan"][1])


def test_when_all_rows_are_idle_nothing_is_imagined():
    steps, outputs = lived([1, 1])
    assert steps == 0
    assert outputs["imagined"].shape == (2, 4, 6)

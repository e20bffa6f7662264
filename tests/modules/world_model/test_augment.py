"""Augmentation: one change for all frames of a window, another for each window."""

import pytest
import torch

from ami.errors import SettingError
from modules.world_model._augment import SHIFT, augmented


def test_every_window_has_one_change_of_its_own():
    torch.manual_seed(0)
    picture = torch.randint(60, 120, (1, 1, 16, 16, 3), dtype=torch.uint8)
    changed = augmented(picture.expand(4, 3, -1, -1, -1))
    assert changed.shape == (4, 3, 16, 16, 3)
    assert bool(((changed >= 0) & (changed <= 1)).all())
    assert torch.equal(changed[:, 0], changed[:, 2])
    assert (changed[0, 0] - changed[1, 0]).abs().mean() > 0.01


def test_shift_moves_a_bright_dot_and_repeats_the_edge():
    torch.manual_seed(0)
    picture = torch.zeros(200, 1, 21, 21, 3, dtype=torch.uint8)
    picture[:, :, 10, 10] = 255
    places = augmented(picture)[:, 0].sum(-1).flatten(1).argmax(1)
    rows, columns = places // 21, places % 21
    assert {int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())} == {10 - SHIFT, 10 + SHIFT}


def test_other_than_byte_pictures_are_refused_with_a_fix():
    with pytest.raises(SettingError, match=r"expected windows of byte pictures .+ Fix: loss: world_model.eyes"):
        augmented(torch.zeros(2, 3, 8, 8, 3))

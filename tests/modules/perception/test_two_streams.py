"""Two streams: two encoders without shared weights, side by side in one percept."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_perception
from modules.perception.two_streams import TwoStreams

PICTURE = {"O": (24, 24, 3)}


def built(**settings) -> TwoStreams:
    torch.manual_seed(0)
    made = TwoStreams(**{"static": 3, "moving": 5, "hidden": 8, **settings})
    made.set_up({**PICTURE, "P": (8,)})
    return made


def test_contract():
    check_perception(lambda: TwoStreams(static=3, moving=5, hidden=8), dims=PICTURE)


def test_the_percept_is_the_static_part_then_the_moving_part():
    made, pictures = built(), torch.randint(0, 255, (2, 4, 24, 24, 3), dtype=torch.uint8)
    percept = made.encode(pictures)
    assert torch.equal(percept[..., :3], made.encode_static(pictures))
    assert torch.equal(percept[..., 3:], made.encode_moving(pictures))


def test_a_loss_of_one_part_leaves_the_other_encoder_unchanged():
    made = built()
    made.encode_moving(torch.randint(0, 255, (2, 24, 24, 3), dtype=torch.uint8))[:, 0].sum().backward()
    assert all(parameter.grad is None for parameter in made.stays.parameters())
    assert any(parameter.grad is not None for parameter in made.moves.parameters())


def test_a_size_below_one_is_refused():
    with pytest.raises(SettingError, match=r"^TwoStreams\.moving is 0: expected 1 or more$"):
        TwoStreams(moving=0)

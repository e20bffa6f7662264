"""Patches: the pixels of an image's patches, row by row; refusals."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_perception
from modules.perception.patches import Patches


@pytest.mark.parametrize(("size", "patch"), [((16, 24, 3), 8), ((7, 7, 3), 1), ((12, 12), 4)])
def test_contract(size, patch):
    check_perception(lambda: Patches(patch), dims={"O": size})


def test_patches_are_pixels_row_by_row():
    patches = Patches(4)
    patches.set_up({"O": (8, 12, 3), **patches.infer_dims({"O": (8, 12, 3)})})
    seen = torch.rand(2, 5, 8, 12, 3)
    cut = patches.encode(seen)
    assert cut.shape == (2, 5, 6, 48)
    assert torch.equal(cut[0, 1, 5].view(3, 4, 4), seen[0, 1, 4:, 8:].permute(2, 0, 1))
    patches.fit_statistics({"observation": seen[0]})
    assert torch.allclose(patches.encode(seen[0]).view(-1, 3, 16).mean((0, 2)), torch.zeros(3), atol=1e-5)


def test_refusals():
    with pytest.raises(SettingError, match=r"^Patches.patch is 0: expected 1 or more$"):
        Patches(0)
    with pytest.raises(SettingError, match=r"^Patches.patch is 8: expected a divisor of both sides of images of shape"):
        Patches().infer_dims({"O": (30, 32, 3)})

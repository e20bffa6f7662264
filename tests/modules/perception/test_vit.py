"""ViT: self-attention over patches, three poolings; refusals."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_perception
from modules.perception.vit import POOLS, ViT


def made(size=(32, 32, 3), **settings) -> ViT:
    torch.manual_seed(0)
    vit = ViT(**settings)
    vit.set_up({"O": size, **vit.infer_dims({"O": size})})
    return vit.eval()


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("size", "patch"), [((16, 24, 3), 8), ((7, 7, 3), 1), ((12, 12), 4)])
def test_contract(pool, size, patch):
    check_perception(lambda: ViT(width=7, patch=patch, pool=pool, embedding=16, heads=2), dims={"O": size})


def test_percept_is_a_vector_or_one_token_per_patch():
    assert ViT(width=5).infer_dims({}) == {"P": (5,)}
    assert ViT(pool="tokens").infer_dims({}) == {}
    assert ViT(width=5, pool="tokens").infer_dims({"O": (16, 24, 3)}) == {"P": (6, 5)}


def test_tokens_are_patches_row_by_row():
    vit, seen = made((16, 24, 3)), pictures(1, 16, 24, 3)
    patches = torch.nn.functional.pixel_unshuffle(vit.colours(seen), 8).flatten(2).transpose(1, 2)
    expected = vit.colours(seen)[0, :, 8:, 16:]  # the last patch, (C, 8, 8)
    assert patches.shape == (1, 6, 192)
    assert torch.equal(patches[0, 5], expected.flatten())


@pytest.mark.parametrize("pool", POOLS)
def test_percept_depends_on_every_patch_and_its_position(pool):
    vit, seen = made(pool=pool), pictures(1, 32, 32, 3)
    before = vit.encode(seen)
    for row, column in ((0, 0), (31, 31)):
        changed = seen.clone()
        changed[0, row, column] = 255 - changed[0, row, column]
        assert not torch.equal(vit.encode(changed), before)
    moved = seen.roll(8, dims=2)
    assert not torch.allclose(vit.encode(moved).sum(), before.sum(), atol=1e-5)


@pytest.mark.parametrize(("settings", "words"), [
    ({"depth": 0}, "ViT.depth is 0: expected 1 or more"),
    ({"pool": "men"}, "ViT.pool is 'men': did you mean 'mean'?"),
    ({"embedding": 30}, "ViT.embedding is 30: expected a multiple of ViT.heads, 4"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        ViT(**settings)
    assert str(error.value) == words


@pytest.mark.parametrize(("size", "patch", "nearest"), [((30, 32, 3), 8, 2), ((7, 7, 3), 8, 7), ((32, 32), 5, 4)])
def test_patch_that_does_not_divide_the_image_is_refused_with_a_fix(size, patch, nearest):
    with pytest.raises(SettingError) as error:
        ViT(patch=patch).infer_dims({"O": size})
    assert str(error.value) == (f"ViT.patch is {patch}, which does not divide the sides of images of shape {size}. "
                                f"Fix: perception.patch={nearest}")


def test_refuses_other_than_images():
    with pytest.raises(SettingError, match=r"^ViT receives observations of shape \(4,\): expected images"):
        ViT().infer_dims({"O": (4,)})

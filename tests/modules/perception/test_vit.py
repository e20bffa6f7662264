"""ViT: self-attention over patches, of images and clips, three poolings and positions; refusals."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_perception
from modules.perception._positions import POSITIONS, Grid, Rotary, rotated, sincos
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


@pytest.mark.parametrize("settings", [{"positions": "sincos"}, {"positions": "rope"}, {"frames": 4}, {"width": 0},
                                      {"frames": 4, "positions": "rope", "pool": "cls"}, {"objective": "ijepa"},
                                      {"frames": 4, "objective": "vjepa", "pool": "tokens", "width": 0}], ids=str)
def test_contract_of_other_settings(settings):
    small = {"width": 7, "patch": 4, "embedding": 16, "heads": 2}
    check_perception(lambda: ViT(**{**small, **settings}), dims={"O": (12, 16, 3)})


def test_contract_of_stacked_frames():
    check_perception(lambda: ViT(width=7, patch=4, embedding=16, heads=2), dims={"O": (4, 12, 16, 3)})


@pytest.mark.parametrize("positions", POSITIONS)
def test_only_kept_tokens_enter(positions):
    vit, seen = made(pool="tokens", positions=positions), pictures(2, 32, 32, 3)
    keep = torch.tensor([[0, 5, 6], [1, 2, 15]])
    before = vit.encode(seen, keep)
    assert before.shape == (2, 3, 64)
    changed = seen.clone()
    changed[0, 8:16, 16:24] = 0  # token 6 of the first image alone
    after = vit.encode(changed, keep)
    assert not torch.allclose(after[0], before[0]) and torch.equal(after[1], before[1])
    changed[0, 24:] = 0  # tokens 12 to 15
    assert torch.equal(vit.encode(changed, keep), after)
    torch.testing.assert_close(vit.encode(seen, torch.arange(16).expand(2, -1)), vit.encode(seen))


def test_rotated_attention_depends_on_relative_positions():
    rotary = Rotary(Grid(1, 8, 8), 16)
    query, key = torch.randn(2, 1, 1, 16, generator=torch.Generator().manual_seed(0)).unbind()

    def product(one: int, other: int) -> torch.Tensor:
        turned, other_turned = (rotated(vector[None], rotary.of(torch.tensor([[place]])))
                                for vector, place in ((query, one), (key, other)))
        return (turned * other_turned).sum()

    torch.testing.assert_close(product(0, 9), product(27, 36))  # one row down, one column right
    assert not torch.allclose(product(0, 9), product(0, 10))


def test_all_positions_differ():
    for grid, width in ((Grid(1, 7, 7), 16), (Grid(4, 5, 3), 24)):
        table = sincos(grid, width)
        assert (torch.cdist(table, table) + torch.eye(grid.size)).min() > 0.05


def test_an_image_is_encoded_as_one_tubelet_of_equal_frames():
    vit, seen = made(frames=6, pool="tokens"), pictures(2, 32, 32, 3)
    clip = seen[:, None].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(vit.encode_clip(clip), vit.encode(seen))
    assert vit.encode_clip(seen[:, None].expand(-1, 6, -1, -1, -1)).shape == (2, 48, 64)


def test_a_clip_has_other_percepts_when_its_frames_are_reversed():
    vit, clips = made(frames=4), pictures(2, 3, 4, 32, 32, 3)
    assert vit.encode_clip(clips).shape == (2, 3, 64)
    assert not torch.allclose(vit.encode_clip(clips.flip(2)), vit.encode_clip(clips))


def test_stacked_frames_are_a_clip():
    vit, stacks = made((4, 16, 16, 3), pool="tokens"), pictures(2, 4, 16, 16, 3)
    assert vit.encode(stacks).shape == (2, 8, 64)
    torch.testing.assert_close(vit.encode_clip(stacks), vit.encode(stacks))
    vit.fit_statistics({"observation": stacks})
    colours = vit.colours(stacks)
    torch.testing.assert_close(colours.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(colours.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_without_a_width_the_percept_is_that_of_the_tokens():
    vit = ViT(width=0, embedding=16, heads=2, pool="tokens")
    assert vit.infer_dims({"O": (16, 24, 3)}) == {"P": (6, 16)}
    assert not [name for name, _ in made(width=0).named_parameters() if name.startswith("head")]


def test_clips_of_another_length_are_refused():
    with pytest.raises(SettingError, match=r"clips of 3 frames: expected at most 4, and a multiple of 2"):
        made(frames=4).encode_clip(pictures(1, 3, 32, 32, 3))
    with pytest.raises(SettingError, match=r"needs a model of clips, and ViT.frames is 1. Fix: perception.frames=8"):
        made().encode_clip(pictures(1, 2, 32, 32, 3))


@pytest.mark.parametrize(("settings", "words"), [
    ({"positions": "rop"}, "ViT.positions is 'rop': did you mean 'rope'?"),
    ({"frames": 5}, "ViT.frames is 5: expected 1, or a multiple of ViT.tubelet, 2"),
    ({"width": -1}, "ViT.width is -1: expected 0, for that of a token, or more"),
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

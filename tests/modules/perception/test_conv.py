"""Conv: images of several sizes, the same percept in any batch, refusals."""

import pytest
import torch

from ami.errors import SettingError
from modules.perception.conv import Conv


def made(size=(32, 32, 3), **settings) -> Conv:
    conv = Conv(**settings)
    conv.set_up({"O": size, **conv.infer_dims({"O": size})})
    return conv.eval()


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("size", [(4, 4, 1), (16, 16, 3), (32, 32, 3), (36, 20, 3), (64, 64, 3)])
def test_any_sides_divisible_by_four(size):
    assert made(size, width=7).encode(pictures(5, *size)).shape == (5, 7)


def test_width_is_the_size_of_the_percept():
    assert Conv(width=16).infer_dims({}) == {"P": (16,)}
    assert Conv().infer_dims({"O": (32, 32, 3)}) == {"P": (64,)}


def test_any_leading_dimensions():
    conv, seen = made(), pictures(2, 3, 32, 32, 3)
    percepts = conv.encode(seen)
    assert percepts.shape == (2, 3, 64)
    torch.testing.assert_close(conv.encode(seen[1, 2]), percepts[1, 2])
    torch.testing.assert_close(conv.step(observation=seen[0])["percept"], percepts[0])


def test_non_contiguous_image_has_the_same_percept():
    conv, seen = made(), pictures(6, 32, 32, 3)
    torch.testing.assert_close(conv.encode(seen[::2]), conv.encode(seen[::2].clone()))


def test_the_patch_map_is_a_convolution():
    conv, seen = made((8, 12, 3)), pictures(2, 8, 12, 3)
    kernel = conv.patches.weight.view(-1, 4, 4, 3).permute(0, 3, 1, 2)
    pixels = seen.permute(0, 3, 1, 2) / 255 - 0.5
    features = torch.nn.functional.conv2d(pixels, kernel, conv.patches.bias, stride=4).relu()
    expected = conv.head(conv.convolution(features).relu().flatten(1))
    torch.testing.assert_close(conv.encode(seen), expected)


@pytest.mark.parametrize("size", [(30, 32, 3), (32, 68, 3), (0, 32, 3), (3,), (32, 32)])
def test_refuses_other_than_small_images(size):
    with pytest.raises(SettingError) as error:
        Conv().infer_dims({"O": size})
    assert str(error.value) == (
        f"Conv receives observations of shape {size}: expected images (H, W, C), H and W divisible by 4 and at most 64. "
        "Fix: a world with such images, or perception=identity for vectors")


@pytest.mark.parametrize("name", ["width", "channels", "hidden"])
def test_refuses_empty_layers(name):
    with pytest.raises(SettingError, match=rf"^Conv\.{name} is 0: expected 1 or more$"):
        Conv(**{name: 0})

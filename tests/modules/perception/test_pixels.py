"""Pixels: images of any size and dtype, from symbols to cameras; refusals."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_perception
from modules.perception.pixels import Pixels


def made(size=(32, 32, 3), **settings) -> Pixels:
    pixels = Pixels(**settings)
    pixels.set_up({"O": size, **pixels.infer_dims({"O": size})})
    return pixels.eval()


def pictures(*shape: int, highest: int = 256) -> torch.Tensor:
    return torch.randint(0, highest, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


SIZES = [(1, 1, 3), (3, 3, 1), (7, 7, 3), (28, 28), (32, 32, 3), (5, 64, 2), (84, 84, 4), (96, 64, 3)]


@pytest.mark.parametrize("size", SIZES)
def test_contract_at_any_size(size):
    check_perception(lambda: Pixels(width=7, channels=8, hidden=16), dims={"O": size})


def test_strides_until_few_positions_are_left():
    strides = [layer.stride for layer in made((96, 5, 3)).convolutions[::2]]
    assert strides == [(4, 2), (4, 1), (2, 1)]
    assert [layer.stride for layer in made((3, 3, 3)).convolutions[::2]] == [(1, 1)]
    assert made((210, 160, 3)).head[0].in_features == 4 * 3 * 32


def test_numbers_and_bytes_of_one_image_have_the_same_percept():
    torch.manual_seed(0)
    bytes_, numbers = made(), made()
    numbers.load_state_dict(bytes_.state_dict())
    seen = pictures(8, 32, 32, 3)
    bytes_.fit_statistics({"observation": seen})
    numbers.fit_statistics({"observation": seen.float() * 0.1 - 5})
    torch.testing.assert_close(numbers.encode(seen.float() * 0.1 - 5), bytes_.encode(seen), atol=1e-4, rtol=1e-4)


def test_channels_are_standardised_except_constant_ones():
    pixels, seen = made((7, 7, 3)), pictures(3000, 7, 7, 3, highest=9)
    seen[..., 2] = 4
    pixels.fit_statistics({"observation": seen})
    colours = pixels.colours(seen)
    torch.testing.assert_close(colours.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(colours.std((0, 2, 3)), torch.tensor([1.0, 1, 0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32, torch.float64])
def test_observations_are_not_changed(dtype):
    pixels, seen = made((7, 7, 3)), pictures(6, 7, 7, 3).to(dtype)
    before = seen.clone()
    pixels.fit_statistics({"observation": seen})
    pixels.encode(seen)
    assert torch.equal(seen, before)


def test_gradients_reach_the_observations():
    seen = pictures(6, 7, 7, 3).float().requires_grad_()
    made((7, 7, 3)).encode(seen).sum().backward()
    assert seen.grad.abs().sum() > 0


def test_statistics_are_saved_with_the_weights():
    pixels, other = made(), made()
    pixels.fit_statistics({"observation": pictures(8, 32, 32, 3)})
    other.load_state_dict(pixels.state_dict())
    seen = pictures(2, 32, 32, 3)
    assert torch.equal(other.encode(seen), pixels.encode(seen))


@pytest.mark.parametrize("size", [(3,), 4, (0, 32, 3), (2, 8, 8, 3)])
def test_refuses_other_than_images(size):
    with pytest.raises(SettingError) as error:
        Pixels().infer_dims({"O": size})
    assert str(error.value) == (f"Pixels receives observations of shape {size}: expected images (H, W, C) or (H, W). "
                                "Fix: perception=vector, or a world with images")


@pytest.mark.parametrize("name", ["width", "channels", "places", "hidden"])
def test_refuses_empty_layers(name):
    with pytest.raises(SettingError, match=rf"^Pixels\.{name} is 0: expected 1 or more$"):
        Pixels(**{name: 0})

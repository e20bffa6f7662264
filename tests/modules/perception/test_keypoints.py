"""Keypoints: places in an image, tokens linear in them, refusals."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_perception
from modules.perception.keypoints import Keypoints


def made(size=(24, 32, 3), **settings) -> Keypoints:
    torch.manual_seed(0)
    keypoints = Keypoints(**settings)
    keypoints.set_up({"O": size, **keypoints.infer_dims({"O": size})})
    return keypoints


@pytest.mark.parametrize("size", [(16, 24, 3), (8, 8), (6, 2, 1)], ids=str)
def test_contract(size):
    check_perception(lambda: Keypoints(tokens=2, width=5, points=3, channels=4), dims={"O": size})


def test_a_point_follows_what_it_has_learnt_to_look_for():
    keypoints = made(tokens=1, points=1)
    optimiser = torch.optim.Adam(keypoints.parameters(), lr=0.01)
    draw = torch.Generator().manual_seed(1)

    def drawn(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures with a bright dot, and its cell (x, y) from the middle."""
        cells = torch.stack([torch.randint(1, side - 1, (number,), generator=draw) for side in (16, 12)], dim=1)
        pictures = 0.3 * torch.rand(number, 24, 32, 3, generator=draw)
        for picture, (column, row) in zip(pictures, cells, strict=True):
            picture[2 * row:2 * row + 2, 2 * column:2 * column + 2] = 1.0
        return pictures, cells - torch.tensor([7.5, 5.5])

    for _ in range(60):
        pictures, cells = drawn(16)
        loss = (keypoints.places(pictures)[:, 0, 0, :2] - cells).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pictures, cells = drawn(64)
    assert float((keypoints.eval().places(pictures)[:, 0, 0, :2] - cells).detach().abs().mean()) < 0.5  # cells of 2 px


def test_a_token_is_linear_in_its_own_points():
    keypoints, seen = made(tokens=3, points=2, width=4).eval(), torch.rand(5, 24, 32, 3)
    places = keypoints.places(seen)
    assert places.shape == (5, 3, 2, 4)
    tokens = keypoints.encode(seen)
    torch.testing.assert_close(tokens[:, 1], places[:, 1].flatten(1) @ keypoints.weight[1], atol=1e-4, rtol=1e-4)


def test_a_weak_response_far_away_counts_for_little_after_some_batches_learnt_from():
    keypoints = made((24, 32, 1), tokens=1, points=1, whole=2)
    keypoints.maps = torch.nn.Sequential(torch.nn.AvgPool2d(2))  # a map of brightness
    seen = torch.zeros(1, 24, 32, 1)
    seen[:, 10:12, 4:6], seen[:, 10:12, 30:32] = 2.0, 1.2  # 4 % of the whole share

    def x() -> float:
        return float(keypoints.eval().places(seen)[0, 0, 0, 0])

    at_first = x()
    keypoints.train()
    with torch.no_grad():
        keypoints.places(seen)
    assert x() == at_first
    for _ in range(2):
        keypoints.train().places(seen)
    assert keypoints.learnt == 2
    assert abs(x() - -5.5) < abs(at_first - -5.5) / 4


@pytest.mark.parametrize("name", ["tokens", "width", "points", "channels"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(SettingError, match=rf"^Keypoints\.{name} is 0: expected 1 or more$"):
        Keypoints(**{name: 0})
    with pytest.raises(SettingError, match=r"^Keypoints.whole is -1: expected 0 or more batches$"):
        Keypoints(whole=-1)


def test_odd_sides_are_refused():
    with pytest.raises(SettingError, match=r"^Keypoints receives images of shape \(7, 8, 3\): expected sides that are mul"):
        Keypoints().infer_dims({"O": (7, 8, 3)})

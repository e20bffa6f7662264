"""Pictures of the table: what is where, in which colour, and what camera and light change."""

import numpy as np
import pytest

from worlds.tabletop.looks import FAMILIES, PALETTE, light_at, table_colours
from worlds.tabletop.physics import CLOSED, OPEN
from worlds.tabletop.rendering import FLOOR, PLATE, Scene, draw, draw_table
from worlds.tabletop.sprites import SHAPES, masks

PLAIN = np.array([1.0, 0.0, 0.0])


def picture(shape=1, place=(10.0, 30.0), gripper=(30.0, 8.0), gap=CLOSED, camera=(0.0, 0.0), lighting=PLAIN, size=48):
    camera = np.array(camera)
    canvas = draw_table(size, 1, lighting, camera, np.array([28.0, 28.0]))
    scene = Scene(canvas[None], np.array([[shape]]), np.array([[0]]), lighting[None], camera[None])
    return draw(scene, size, np.array([gripper]), np.array([gap]), np.array([[place]]))[0].astype(int)


def test_floor_plate_object_and_gripper_are_where_they_should_be():
    seen = picture()
    assert seen[1, 1].tolist() == list(FLOOR) and np.abs(seen[32, 32] - PLATE).max() <= 1
    assert np.abs(seen[34, 14] - PALETTE[0]).max() <= 2
    assert seen[12, 33].max() < 40 and seen[12, 35].max() < 40


@pytest.mark.parametrize("size", [32, 48, 64])
def test_an_object_moves_with_its_place_at_every_size(size):
    def centre(place):
        redness = picture(place=place, size=size)
        redness = np.clip(redness[..., 0] - redness[..., 1] - 60, 0, None)
        rows, columns = np.mgrid[:size, :size] + 0.5
        return np.array([(redness * columns).sum(), (redness * rows).sum()]) / redness.sum() * 48 / size - 4

    for place in ((10.0, 30.0), (20.3, 11.7), (4.0, 4.0)):
        np.testing.assert_allclose(centre(place), place, atol=0.25)


def test_the_camera_shifts_everything():
    here, there = picture(), picture(camera=(3.0, -2.0))
    np.testing.assert_array_equal(here[10:40, 8:40], there[8:38, 11:43])


def test_light_brightens_table_and_objects_alike():
    dark = picture(lighting=np.array([0.5, 0.0, 0.0]))
    np.testing.assert_allclose(dark, picture() * 0.5, atol=1.6)
    assert light_at(np.array([1.0, 0.3, 0.0]), np.array([[40.0, 20.0], [0.0, 20.0]])).tolist() == pytest.approx([1.3, 0.7])


def test_no_two_shapes_look_alike_and_an_open_gripper_is_wider():
    shown = [picture(shape=number) for number in range(len(SHAPES))]
    apart = [np.abs(one - other).sum() for i, one in enumerate(shown) for other in shown[:i]]
    assert min(apart) > 1000
    dark = [np.flatnonzero((picture(gap=gap)[12, 15:43] < 80).all(-1)) for gap in (CLOSED, OPEN)]
    assert [np.ptp(columns) for columns in dark] == pytest.approx([2 * CLOSED + 1, 2 * OPEN + 1], abs=1.5)


def test_masks_cover_the_same_area_at_every_phase():
    cover = masks(1.0)[..., 0].sum(axis=(3, 4))
    np.testing.assert_allclose(cover, cover.mean(axis=(1, 2), keepdims=True) * np.ones_like(cover), rtol=0.02)


def test_families_of_textures_do_not_overlap():
    assert not set(FAMILIES[True]) & set(FAMILIES[False])
    x, y = np.meshgrid(np.arange(40.0), np.arange(40.0))
    pictures = {table_colours(seed, x, y).tobytes() for seed in range(20)}
    assert len(pictures) == 20

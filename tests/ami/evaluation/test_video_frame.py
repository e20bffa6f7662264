import numpy as np
import pytest
from PIL import Image

from ami.evaluation.video_frame import MARGIN, PATH, PLAN, TITLE_HEIGHT, WANTED, Frame, draw

WHITE = np.full((32, 32, 3), 255, np.uint8)
SIDE = 384  # pixels




def pixel(frame: Image.Image, place: tuple[float, float]) -> tuple[int, int, int]:
    return frame.getpixel((MARGIN + round(place[0] * SIDE), TITLE_HEIGHT + round(place[1] * SIDE)))


def is_near(one: tuple[int, ...], two: tuple[int, ...], tolerance: int = 60) -> bool:
    return max(abs(a - b) for a, b in zip(one, two, strict=True)) <= tolerance


def test_plan_and_path_are_drawn_at_their_positions() -> None:
    past = [Frame("pair 0", i, WHITE, place=(0.125 + i / 16, 0.25), plan=[(0.625, 0.25), (0.875, 0.75)]) for i in range(3)]
    frame = draw(past)
    assert is_near(pixel(frame, (0.125, 0.25)), PATH) and is_near(pixel(frame, (0.1875, 0.25)), PATH)
    assert is_near(pixel(frame, (0.625, 0.25)), PLAN)
    assert pixel(frame, (0.875, 0.75))[2] > pixel(frame, (0.875, 0.75))[0] + 60  # bluish, faded
    assert pixel(frame, (0.5, 0.875)) == (255, 255, 255)


def test_goal_drawn_as_an_ellipse_in_a_picture_that_is_not_square() -> None:
    wide = np.full((96, 192, 3), 255, np.uint8)
    frame = draw([Frame("pair 0", 0, wide, wanted=(0.5, 0.5), goal_radii=(0.1, 0.2))])
    world = (384, 192)
    for share in ((0.6, 0.5), (0.5, 0.7), (0.4, 0.5)):
        at = (MARGIN + round(share[0] * world[0]), TITLE_HEIGHT + round(share[1] * world[1]))
        assert any(is_near(frame.getpixel((at[0] + i, at[1] + j)), WANTED) for i in (-1, 0, 1) for j in (-1, 0, 1)), share


def test_finished_episode_has_no_plan() -> None:
    frame = draw([Frame("pair 0", 9, WHITE, place=(0.125, 0.25), plan=[(0.625, 0.25)], over=True, success=True)])
    assert pixel(frame, (0.625, 0.25)) == (255, 255, 255)


def test_frame_with_only_an_image() -> None:
    frame = draw([Frame("pair 0", 0, WHITE)])
    assert frame.getpixel((MARGIN, TITLE_HEIGHT)) == (255, 255, 255)
    margin = frame.crop((MARGIN * 2 + SIDE, TITLE_HEIGHT, frame.width, frame.height))
    assert len(margin.getcolors()) == 1, "no legend of what is not drawn"


@pytest.mark.parametrize("size", [(7, 5), (210, 160), (1000, 1400), (20, 400)])
def test_frame_has_room_for_text_at_any_image_size(size: tuple[int, int]) -> None:
    white = np.full((*size, 3), 255, np.uint8)
    frame = draw([Frame("pair 0", 0, white, goal=white, place=(0.5, 0.5), energy=2.0, mode=2)])
    assert 280 + 160 < frame.width < 384 + 160 + 4 * MARGIN and 200 < frame.height <= 384 + 2 * TITLE_HEIGHT


def test_all_frames_of_an_episode_have_one_size() -> None:
    first = Frame("pair 0", 0, WHITE, goal=WHITE, energy=2.0, mode=1)
    last = Frame("pair 0", 60, WHITE, goal=WHITE, place=(0.1, 0.1), wanted=(0.9, 0.9), energy=1.0, mode=2, over=True)
    assert draw([first]).size == draw([first, last]).size

import numpy as np
from PIL import Image

from ami.evaluation.frame import MARGIN, PATH, PLAN, TITLE_HEIGHT, Shot, draw

WHITE = np.full((32, 32, 3), 255, np.uint8)
SCALE = 12  # 384 pixels for 32 units


def pixel(frame: Image.Image, place: tuple[float, float]) -> tuple[int, int, int]:
    return frame.getpixel((MARGIN + round(place[0] * SCALE), TITLE_HEIGHT + round(place[1] * SCALE)))


def is_near(one: tuple[int, ...], two: tuple[int, ...], tolerance: int = 60) -> bool:
    return max(abs(a - b) for a, b in zip(one, two, strict=True)) <= tolerance


def test_the_plan_and_the_past_are_drawn_where_they_are() -> None:
    past = [Shot("pair 0", i, WHITE, place=(4.0 + 2 * i, 8.0), plan=[(20.0, 8.0), (28.0, 24.0)]) for i in range(3)]
    frame = draw(past, extent=32.0)
    assert is_near(pixel(frame, (4.0, 8.0)), PATH) and is_near(pixel(frame, (6.0, 8.0)), PATH)
    assert is_near(pixel(frame, (20.0, 8.0)), PLAN)
    assert pixel(frame, (28.0, 24.0))[2] > pixel(frame, (28.0, 24.0))[0] + 60  # bluish, faded
    assert pixel(frame, (16.0, 28.0)) == (255, 255, 255)


def test_a_finished_episode_has_no_plan_any_more() -> None:
    frame = draw([Shot("pair 0", 9, WHITE, place=(4.0, 8.0), plan=[(20.0, 8.0)], over=True, success=True)], extent=32.0)
    assert pixel(frame, (20.0, 8.0)) == (255, 255, 255)


def test_a_shot_that_knows_nothing_but_the_picture_can_be_drawn() -> None:
    assert draw([Shot("pair 0", 0, WHITE)], extent=32.0).getpixel((MARGIN, TITLE_HEIGHT)) == (255, 255, 255)


def test_all_frames_of_an_episode_have_one_size() -> None:
    first = Shot("pair 0", 0, WHITE, goal=WHITE, energy=2.0, mode=1)
    last = Shot("pair 0", 60, WHITE, goal=WHITE, place=(1.0, 1.0), wanted=(30.0, 30.0), energy=1.0, mode=2, over=True)
    assert draw([first], 32.0).size == draw([first, last], 32.0).size

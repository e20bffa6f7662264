"""Noise in the two rooms: its region, its independence across frames and episodes, and the unaffected starts and goals."""

import numpy as np
import pytest

from worlds.two_rooms import TwoRoomsVectorEnv
from worlds.two_rooms_noise import Noise

STILL = np.zeros((2, 2), np.float32)
STARTS = {"start": np.array([[6.0, 6.0], [6.0, 20.0]]), "goal": np.array([[12.0, 12.0], [6.0, 6.0]])}


def seen(noise: str, num_steps: int = 6) -> np.ndarray:
    """Return pictures (T, 2, 32, 32, 3) of two dots that stand still."""
    env = TwoRoomsVectorEnv(2, noise=noise)
    views = [env.reset(seed=3, options=dict(STARTS))[0]]
    views += [env.step(STILL)[0] for _ in range(num_steps)]
    return np.stack([view["observation"] for view in views]).astype(int)


def test_without_noise_nothing_flickers():
    assert (np.ptp(seen("none"), axis=0) == 0).all()


def test_a_television_flickers_only_in_its_corner():
    reach = np.ptp(seen("tv"), axis=0)
    assert (reach[:, 22:, 22:] > 60).all()
    assert not reach[:, :22].any() and not reach[:, :, :22].any()


def test_a_background_flickers_everywhere_but_on_wall_and_dot():
    frames, plain = seen("background"), seen("none")
    reach = np.ptp(frames, axis=0).max(-1)
    assert np.median(reach) > 60
    assert not reach[:, 20:, 15:17].any()  # the wall's inner columns
    assert np.abs(frames[:, 0, 5:7, 5:7] - plain[:, 0, 5:7, 5:7]).max() < 40  # the middle of the dot


def test_no_two_episodes_and_no_two_frames_share_their_noise():
    frames = seen("background").reshape(7, 2, -1)
    assert not np.array_equal(frames[0, 0], frames[0, 1])
    assert len(np.unique(frames[:, 0], axis=0)) == 7


def test_the_goal_picture_has_its_own_noise():
    env = TwoRoomsVectorEnv(2, noise="tv")
    first = env.reset(seed=3, options=dict(STARTS))[0]
    later = env.step(STILL)[0]
    assert np.array_equal(first["goal"], later["goal"])
    assert not np.array_equal(first["goal"][:, 22:, 22:], first["observation"][:, 22:, 22:])


@pytest.mark.parametrize("noise", ["tv", "background"])
def test_noise_changes_no_start_goal_or_pair(noise):
    plain, noisy = TwoRoomsVectorEnv(3, door="random"), TwoRoomsVectorEnv(3, door="random", noise=noise)
    infos = [env.reset(seed=5)[1] for env in (plain, noisy)]
    for name in ("state", "goal_state"):
        assert np.array_equal(infos[0][name], infos[1][name])
    assert plain.sample_pairs(1, 4) == noisy.sample_pairs(1, 4)


def test_noise_is_uniform_and_uncorrelated():
    floor = Noise("background", 32).floor(np.arange(64, dtype=np.uint64), np.zeros(64, np.int64))
    blocks = (floor[:, ::4, ::4] - 96) / (255 - 96)
    assert abs(blocks.mean() - 0.5) < 0.01 and abs(blocks.std() - 1 / 12**0.5) < 0.01
    assert abs(np.corrcoef(blocks[:, 0, 0, 0], blocks[:, 0, 1, 0])[0, 1]) < 0.4


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="noise='fog' is unknown; expected one of 'none', 'tv', 'background'"):
        TwoRoomsVectorEnv(1, noise="fog")

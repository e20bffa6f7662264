"""The two rooms as gymnasium environments: the API contract, bitwise independent rows, error messages."""

import copy
import re
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from worlds.two_rooms import TwoRoomsEnv, TwoRoomsVectorEnv
from worlds.two_rooms_drawing import Drawing
from worlds.two_rooms_pairs import TEST_DOORS

ID = "worlds:ami/TwoRooms-v0"
SETTINGS = [{}, {"observe": "state"}, {"door": "random", "size": 48}, {"noise": "tv"}, {"noise": "background", "size": 20}]


def play(env: gymnasium.vector.VectorEnv, num_steps: int, seed: int = 0) -> list:
    """Reset with the seed, take random actions, and return every result in order."""
    rng = np.random.default_rng(seed)
    history = [env.reset(seed=seed)]
    for _ in range(num_steps):
        history.append(env.step(rng.uniform(-1, 1, (env.num_envs, 2)).astype(np.float32)))
    return history


def row_of(history: list, row: int) -> list:
    """Return one row of every result in a history, as a batch of one."""
    pick = {
        dict: lambda d: {k: v[row : row + 1] for k, v in d.items()},
        np.ndarray: lambda a: a[row : row + 1],
    }
    return [tuple(pick[type(part)](part) for part in parts) for parts in history]


def assert_equal(left: list, right: list) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_equal(one, other)


@pytest.mark.parametrize("kwargs", SETTINGS, ids=str)
def test_gymnasiums_checker_passes_without_a_warning(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ID, **kwargs).unwrapped)
        env = gymnasium.make(ID, **kwargs)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()


@pytest.mark.parametrize("kwargs", SETTINGS, ids=str)
def test_the_vector_environment_agrees_with_single_ones(kwargs):
    vector = gymnasium.make_vec(
        ID, num_envs=3, vectorization_mode="vector_entry_point", max_episode_steps=20, **kwargs
    )
    singles = SyncVectorEnv(
        [lambda: TwoRoomsEnv(max_episode_steps=20, **kwargs)] * 3, autoreset_mode=AutoresetMode.DISABLED
    )
    assert (
        isinstance(vector, TwoRoomsVectorEnv) and vector.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    )
    assert vector.single_observation_space == singles.single_observation_space
    history = play(vector, 20)
    assert_equal(history, play(singles, 20))
    assert all(observation in vector.observation_space for observation, *_ in history)


@pytest.mark.parametrize("door", ["fixed", "random"])
def test_a_single_row_equals_the_row_in_a_batch(door):
    batch = play(TwoRoomsVectorEnv(200, door=door), 3)
    alone = TwoRoomsVectorEnv(1, door=door)
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 200, 2)).astype(np.float32)
    for row in (0, 130, 199):
        assert_equal(
            row_of(batch, row), [alone.reset(seed=row), *(alone.step(action[[row]]) for action in actions)]
        )


@pytest.mark.parametrize("size", [16, 32, 37, 64])
def test_a_picture_does_not_depend_on_its_batch(size):
    states = np.random.default_rng(0).uniform(4.5, 27.5, (300, 3))
    drawing = Drawing(size)
    batch = drawing.draw(states)
    assert batch.shape == (300, size, size, 3) and batch.dtype == np.uint8
    assert all((drawing.draw(states[[row]])[0] == batch[row]).all() for row in range(300))
    assert (drawing.draw(states[5:9]) == batch[5:9]).all()


def test_the_picture_shows_dot_wall_and_door():
    picture = Drawing(32).draw(np.array([[24.5, 20.5, 22.0]]))[0].astype(int)
    redness = picture[..., 0] - picture[..., 1]
    assert np.unravel_index(redness.argmax(), redness.shape) == (20, 24), "rows are y, columns are x"
    wall = picture[:, 16].sum(-1) < 500
    assert np.flatnonzero(~wall).tolist() == [20, 21, 22, 23], (
        "the door, 19.5 to 24.5 px; its two half rows are half wall"
    )


def test_the_goal_picture_is_the_world_with_the_dot_at_the_goal():
    env = TwoRoomsVectorEnv(2, door="random")
    observation, info = env.reset(seed=5)
    np.testing.assert_array_equal(observation["goal"], env.drawing.draw(info["goal_state"]))
    np.testing.assert_array_equal(observation["observation"], env.drawing.draw(info["state"]))
    np.testing.assert_array_equal(info["goal_state"][:, 2], info["state"][:, 2])


def test_a_masked_reset_leaves_other_rows_unchanged():
    env, untouched = (TwoRoomsVectorEnv(3, observe="state", door="random") for _ in range(2))
    play(env, 4), play(untouched, 4)
    mask = np.array([False, True, False])
    observation, _ = env.reset(seed=[None, 77, None], options={"reset_mask": mask})
    fresh, _ = TwoRoomsVectorEnv(1, observe="state", door="random").reset(seed=77)
    np.testing.assert_array_equal(observation["observation"][[1]], fresh["observation"])
    actions = np.full((3, 2), 0.5, np.float32)
    after, expected = env.step(actions), untouched.step(actions)
    for row in (0, 2):
        assert_equal(row_of([after], row), row_of([expected], row))
    # A later unseeded episode is the same too: the masked reset drew nothing from the generators of other
    # rows.
    later, expected_later = env.reset(), untouched.reset()
    assert_equal(row_of([later], 2), row_of([expected_later], 2))


def test_an_empty_mask_resets_nothing():
    env = TwoRoomsVectorEnv(2)
    before = env.reset(seed=0)
    np.testing.assert_equal(env.reset(options={"reset_mask": np.zeros(2, bool)}), before)


def test_success_ends_a_row_which_then_stands_still():
    env = TwoRoomsVectorEnv(2, max_episode_steps=6)
    env.reset(seed=0, options={"start": [[4, 20], [4, 20]], "goal": [[10, 20], [4, 4]]})
    east = np.array([[1, 0], [1, 0]], np.float32)
    rewards, ends = [], []
    for _ in range(8):
        observation, reward, terminated, truncated, info = env.step(east)
        rewards.append(reward.tolist())
        ends.append([terminated.tolist(), truncated.tolist()])
    assert rewards == [[0, 0], [1, 0], *[[0, 0]] * 6], "4 + 2 steps of 2 px are within 2 px of 10"
    assert ends[0] == [[False, False], [False, False]] and ends[1] == [[True, False], [False, False]]
    assert ends[5] == ends[7] == [[True, False], [False, True]]
    np.testing.assert_allclose(info["state"][:, 0], [8, 14])
    assert info["success"].tolist() == [True, False]
    assert env.step(-east)[0]["observation"].tobytes() == observation["observation"].tobytes()


def test_no_episode_begins_solved_or_outside_its_space():
    env = TwoRoomsVectorEnv(400, observe="state", door="random")
    observation, info = env.reset(seed=0)
    away = np.linalg.norm((info["state"] - info["goal_state"])[:, :2], axis=1)
    assert away.min() >= 6 - 1e-5 and not info["success"].any()
    assert all(row in env.single_observation_space["observation"] for row in observation["observation"])
    assert (info["state"] != env.reset()[1]["state"])[:, :2].all(), (
        "no seed: the next episode, not the same one"
    )


def test_training_episodes_avoid_the_test_doors():
    env = TwoRoomsVectorEnv(400, observe="state", door="random")
    doors = env.reset(seed=0)[1]["state"][:, 2]
    assert np.abs(doors[:, None] - TEST_DOORS).min() >= 0.75
    tested = [pair["door"] for pair in env.sample_pairs(seed=0, num_pairs=20)]
    assert (np.abs(np.array(tested)[:, None] - TEST_DOORS).min(1) <= 0.5).all()
    row = TwoRoomsVectorEnv(1, door="random").reset(options={"door": [tested[0]]})[1]["state"][0]
    assert row[2] == np.float32(tested[0]), "the option can request a test door"


def test_returned_arrays_are_independent_copies():
    env = TwoRoomsVectorEnv(2, observe="state")
    first = env.reset(seed=0)
    kept = copy.deepcopy(first)
    second = env.step(np.ones((2, 2)))
    np.testing.assert_equal(first, kept)
    for part in (second[0], second[4]):
        for array in part.values():
            array[...] = 0
    second[2][...] = True
    assert not env.step(np.ones((2, 2)))[2].any()
    np.testing.assert_equal(env.step(np.zeros((2, 2)))[0]["goal"], kept[0]["goal"])


def test_np_random_drives_a_single_episode():
    one, other = TwoRoomsEnv(), TwoRoomsEnv()
    one.reset(seed=1), other.reset(seed=2)
    one.np_random = np.random.default_rng(9)
    other.np_random = np.random.default_rng(9)
    np.testing.assert_equal(one.reset(), other.reset())


def test_spaces_of_two_environments_have_separate_seeds():
    one, other = TwoRoomsEnv(), TwoRoomsEnv()
    one.action_space.seed(0), other.action_space.seed(0)
    one.action_space.sample()
    expected = TwoRoomsEnv().action_space
    expected.seed(0)
    np.testing.assert_array_equal(other.action_space.sample(), expected.sample())


def test_render_enlarges_the_agents_picture():
    env = gymnasium.make(ID, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (256, 256, 3)
    np.testing.assert_array_equal(frame[4::8, 4::8], observation["observation"])
    assert TwoRoomsVectorEnv(2).render() is None


def test_pairs_of_the_world_can_be_used_as_options():
    env = gymnasium.make(ID, door="random", observe="state").unwrapped
    pairs = env.sample_pairs(seed=3, num_pairs=2)
    assert [pair["kind"] for pair in pairs] == ["same_room", "same_room", "across", "across"]
    assert env.pair_kinds == ("same_room", "across")
    for pair in pairs:
        options = {name: pair[name] for name in ("start", "goal", "door")}
        _, info = env.reset(seed=pair["seed"], options=options)
        np.testing.assert_array_equal(info["state"], np.float32([*pair["start"], pair["door"]]))
        np.testing.assert_array_equal(info["goal_state"], np.float32([*pair["goal"], pair["door"]]))
    vector = TwoRoomsVectorEnv(4, door="random")
    assert vector.sample_pairs(seed=3, num_pairs=2) == pairs


def test_an_oracle_solves_every_pair():
    """The true dynamics and distance suffice to plan: greedy descent reaches each goal in time."""
    env = TwoRoomsVectorEnv(40, observe="state")
    pairs = env.sample_pairs(seed=0, num_pairs=20)
    options = {name: [pair[name] for pair in pairs] for name in ("start", "goal", "door")}
    _, info = env.reset(options=options)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    candidates = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    for _ in range(env.max_episode_steps):
        after = env.dynamics.step(info["state"][:, None], candidates[None])
        best = env.dynamics.distance(after, info["goal_state"][:, None]).argmin(axis=1)
        *_, info = env.step(candidates[best])
    assert info["success"].all()


SETTINGS_REFUSED = [
    (
        {"observe": "pixel"},
        "observe='pixel' is unknown; expected one of 'pixels', 'state'. Did you mean 'pixels'?",
    ),
    (
        {"door": "randm"},
        "door='randm' is unknown; expected one of 'fixed', 'random'. Did you mean 'random'?",
    ),
    ({"size": 65}, "size=65 is not possible; expected a whole number in [16, 64]."),
    ({"size": 32.0}, "size=32.0 is not possible; expected a whole number in [16, 64]."),
    ({"num_envs": 0}, "num_envs=0 is not possible; expected a whole number from 1 up."),
    ({"max_episode_steps": 0}, "max_episode_steps=0 is not possible; expected a whole number from 1 up."),
    ({"render_mode": "human"}, "render_mode='human' is unknown; expected one of 'rgb_array'."),
]


@pytest.mark.parametrize(("kwargs", "words"), SETTINGS_REFUSED, ids=str)
def test_an_invalid_setting_is_refused(kwargs, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        TwoRoomsVectorEnv(**kwargs)


OPTIONS_REFUSED = [
    (
        {"start": [[16, 20], [4, 4]]},
        "start=[16.0, 20.0] is inside the wall; expected |x - 16.0| >= 1.5 px, or, to stand in the door, "
        "|y - 10.0| <= 2.5 px.",
    ),
    (
        {"goal": [[4, 4], [4, 31]]},
        "goal=[4.0, 31.0] is outside the world; expected x and y in [2.0, 30.0] px.",
    ),
    (
        {"goal": [[np.nan, 4], [4, 4]]},
        "goal=[nan, 4.0] is outside the world; expected x and y in [2.0, 30.0] px.",
    ),
    (
        {"start": [[4, 4], [4, 4]], "goal": [[4, 20], [5, 5]]},
        "start=[4.0, 4.0] is solved already: goal=[5.0, 5.0] lies within 2.0 px. Put them farther apart; "
        "those the world draws itself keep 6.0 px.",
    ),
    (
        {"door": [3, 10]},
        "door=[3.0, 10.0] leaves no whole door; expected a centre y in [4.5, 27.5] px.",
    ),
    (
        {"start": [4, 4]},
        "option start has shape (2,); expected (2, 2), in px of the 32 x 32 world.",
    ),
    (
        {"gaol": [[4, 4], [4, 4]]},
        "option='gaol' is unknown; expected one of 'reset_mask', 'start', 'goal', "
        "'door'. Did you mean 'goal'?",
    ),
    (
        {"reset_mask": [0, 1]},
        "option reset_mask has dtype int64 and shape (2,); expected bool (2,), True for rows to reset.",
    ),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS_REFUSED, ids=str)
def test_an_invalid_option_is_refused(options, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        TwoRoomsVectorEnv(2).reset(options=options)


SEEDS_REFUSED = [
    (
        [1, 2, 3],
        "seed holds 3 values; expected one per row, 2. Pass a whole number s to seed row i with s + i.",
    ),
    (-1, "seed=-1 is not possible; expected a whole number from 0 up."),
    ([0, 1.5], "seed=1.5 is not possible; expected a whole number from 0 up."),
]


@pytest.mark.parametrize(("seed", "words"), SEEDS_REFUSED, ids=str)
def test_an_invalid_seed_is_refused(seed, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        TwoRoomsVectorEnv(2).reset(seed=seed)


def test_an_invalid_action_is_refused():
    env, single = TwoRoomsVectorEnv(2), TwoRoomsEnv()
    env.reset(), single.reset()
    with pytest.raises(
        ValueError, match=r"action has shape \(2,\); expected \(2, 2\), a velocity .* for each row\.$"
    ):
        env.step(np.zeros(2))
    with pytest.raises(
        ValueError, match=r"action has shape \(1, 2\); expected \(2,\), a velocity \(x, y\) in \[-1, 1\]\.$"
    ):
        single.step(np.zeros((1, 2)))
    with pytest.raises(
        ValueError, match=r"action \[nan, 1\.0\] is not finite; expected .* diverged weights"
    ):
        env.step([[0, 0], [np.nan, 1]])
    with pytest.raises(ValueError, match=r"action \[inf, 1\.0\] is not finite"):
        single.step([np.inf, 1])


def test_a_row_must_be_reset_before_it_moves():
    env = TwoRoomsVectorEnv(2)
    with pytest.raises(
        ResetNeeded, match=r"a step came before rows \[0, 1\] were ever reset; call reset\(\) first\."
    ):
        env.step(np.zeros((2, 2)))
    with pytest.raises(
        ResetNeeded, match=r"a reset of some rows only came before rows \[1\] were ever reset"
    ):
        env.reset(options={"reset_mask": np.array([True, False])})

"""The house as a gymnasium environment: the API contract, bitwise independent rows, tour, errands, battery, shut doors."""

import re
import time
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from worlds.house.episodes import STEPS
from worlds.house.map import is_connected, openings, room_of
from worlds.house.physics import is_free
from worlds.house.rendering import draw_agent, draw_rooms
from worlds.house.single import HouseEnv
from worlds.house.world import HouseVectorEnv

ID = "worlds:ami/House-v0"
SETTINGS = [{}, {"kind": "far"}, {"kind": "life", "thinking_cost": 1.0}, {"kind": "life", "observe": "state", "rooms": 4},
            {"kind": "far", "shut": True}, {"kind": "far", "tour": False}]
STILL = np.zeros(2, np.float32)


def actions_of(rng, env):
    velocity = rng.uniform(-1, 1, (env.num_envs, 2)).astype(np.float32)
    return {"action": velocity, "mode": rng.integers(1, 3, env.num_envs)} if isinstance(
        env.single_action_space, gymnasium.spaces.Dict) else velocity


def play(env, num_steps, seed=0):
    """Reset with the seed, take random actions, and return every result in order."""
    rng = np.random.default_rng(seed)
    history = [env.reset(seed=seed)]
    for _ in range(num_steps):
        history.append(env.step(actions_of(rng, env)))
    return history


def options_of(pairs, **changed):
    """Return pairs as reset options, some of them changed in all rows."""
    names = [name for name in pairs[0] if name not in ("kind", "seed")]
    options = {name: np.array([pair[name] for pair in pairs]) for name in names}
    return options | {name: np.full_like(options[name], value) for name, value in changed.items()}


def started(kind, num_envs=1, changed=None, **settings):
    """Return a world whose rows began the first pairs of a kind, after their tour, and the last observation and info."""
    env = HouseVectorEnv(num_envs, **settings)
    pairs = [pair for pair in env.sample_pairs(7, num_envs) if pair["kind"] == kind]
    seen, info = env.reset(seed=0, options=options_of(pairs, **(changed or {})))
    still = np.zeros((num_envs, 2), np.float32)
    while seen["body"][:, 1].any():
        seen, *_, info = env.step(still)
    return env, seen, info


def assert_equal(left, right):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_equal(one, other)


@pytest.mark.parametrize("kwargs", SETTINGS, ids=str)
def test_gymnasiums_checker_passes_without_a_warning(kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(ID, **kwargs).unwrapped)


@pytest.mark.parametrize("kwargs", SETTINGS, ids=str)
def test_the_vector_environment_agrees_with_single_ones(kwargs):
    vector = gymnasium.make_vec(ID, num_envs=3, vectorization_mode="vector_entry_point", **kwargs)
    singles = SyncVectorEnv([lambda: HouseEnv(**kwargs)] * 3, autoreset_mode=AutoresetMode.DISABLED)
    assert isinstance(vector, HouseVectorEnv)
    assert vector.single_observation_space == singles.single_observation_space
    history = play(vector, 12)
    assert_equal(history, play(singles, 12))
    assert all(observation in vector.observation_space for observation, *_ in history)


def test_a_single_row_equals_the_row_in_a_batch():
    batch = HouseVectorEnv(150)
    history = play(batch, 30)
    rng = np.random.default_rng(0)
    actions = [actions_of(rng, batch) for _ in range(30)]
    for row in (0, 129, 149):
        alone = HouseVectorEnv(1)
        seen = [alone.reset(seed=row)[0], *(alone.step(action[[row]])[0] for action in actions)]
        assert_equal(seen, [{key: value[[row]] for key, value in step[0].items()} for step in history])


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others():
    one, same, other = (play(HouseVectorEnv(2, kind="far"), 5, seed)[-1][0] for seed in (0, 0, 9))
    np.testing.assert_equal(one, same)
    assert (one["observation"] != other["observation"]).any()


def test_a_partial_reset_leaves_the_other_rows():
    env, twin = HouseVectorEnv(4), HouseVectorEnv(4)
    play(env, 5), play(twin, 5)
    mask = np.array([True, False, True, False])
    seen, _ = env.reset(seed=[50, None, 51, None], options={"reset_mask": mask})
    kept = twin.step(np.zeros((4, 2)))[0]
    again, _ = HouseVectorEnv(2).reset(seed=[50, 51])
    for key in seen:
        np.testing.assert_array_equal(seen[key][mask], again[key])
    after = env.step(np.zeros((4, 2)))[0]
    for key in kept:
        np.testing.assert_array_equal(after[key][~mask], kept[key][~mask])


def test_a_step_before_a_reset_is_refused():
    with pytest.raises(ResetNeeded, match=r"a step came before rows \[0\] were ever reset"):
        HouseVectorEnv(1).step(np.zeros((1, 2)))


@pytest.mark.parametrize("rooms", [3, 4])
def test_the_agent_is_never_inside_a_wall_and_sees_its_room_alone(rooms):
    env = HouseVectorEnv(60, rooms=rooms)
    rng = np.random.default_rng(1)
    env.reset(seed=3)
    heading = rng.uniform(-1, 1, (60, 2))
    for _ in range(80):
        seen, *_ = env.step(heading)
        turned = (seen["body"][:, 2] > 0) | (rng.random(60) < 0.06)
        heading = np.where(turned[:, None], rng.uniform(-1, 1, (60, 2)), heading)
        assert is_free(env._place, *openings(env._options["doors"])).all()
        np.testing.assert_array_equal(seen["state"][:, :2], env._place.astype(np.float32))
    np.testing.assert_array_equal(seen["observation"], draw_agent(env._rooms, env._place, rooms))


@pytest.mark.parametrize("rooms", [3, 4])
def test_the_tour_visits_every_room_and_ends_at_the_charger(rooms):
    env = HouseVectorEnv(20, rooms=rooms, kind="far")
    seen, _ = env.reset(seed=1)
    charger, rng = seen["map"][:, -4:-2], np.random.default_rng(0)
    visited = [set() for _ in range(20)]
    lines = openings(env._options["doors"])
    while (touring := seen["body"][:, 1] > 0).any():
        before = env._place.copy()
        seen, *_ = env.step(rng.uniform(-1, 1, (20, 2)))  # ignored
        assert is_free(env._place, *lines).all()
        assert (np.linalg.norm(env._place - before, axis=1)[touring] <= 1.8 + 1e-9).all()
        ended = touring & (seen["body"][:, 1] == 0)
        np.testing.assert_allclose(seen["state"][ended, :2], charger[ended], atol=1e-5)
        for row in np.flatnonzero(touring):
            visited[row].add(int(room_of(env._place[row], rooms)))
    assert all(len(rooms_seen) == rooms**2 for rooms_seen in visited)
    assert env._tour_steps.max() < env.max_episode_steps - max(STEPS.values())


def test_a_far_errand_ends_with_success_at_its_goal():
    env, _, info = started("far")
    assert not info["success"][0]
    inwards = 1 if env._goal[0, 1] % 16 < 8 else -1
    env._place[0] = env._goal[0] + [0.5, 3.9 * inwards]
    _, reward, terminated, *_ = env.step(np.zeros((1, 2)))
    assert not reward[0] and not terminated[0]
    _, reward, terminated, truncated, info = env.step(np.array([[0.0, -inwards]]))
    assert reward[0] == 1 and terminated[0] and not truncated[0] and info["success"][0] and info["errands_done"][0] == 1
    before = env._place.copy()
    _, reward, terminated, *_ = env.step(np.ones((1, 2)))
    assert not reward[0] and terminated[0] and (env._place == before).all(), "a finished row stands still"


def test_a_life_shows_one_goal_after_another():
    env, seen, _ = started("life")
    shown, total = [], 0.0
    for done in range(4):
        shown.append(seen["goal"][0])
        env._place[0] = env._options["goals"][0, done]
        seen, reward, terminated, _, info = env.step(np.zeros((1, 2)))
        total += reward[0]
        assert info["errands_done"][0] == done + 1 and terminated[0] == (done == 3)
    assert total == 4 and info["success"][0] and len({picture.tobytes() for picture in shown}) == 4


def test_an_empty_battery_ends_a_life_without_success():
    env, seen, _ = started("life")
    assert seen["body"][0, 0] == 1
    env._place[0] = env._options["tour"][0, 0] // 16 * 16 + 1.0  # a corner of the home room, away from the charger
    for step in range(100):
        assert not env._terminated[0], step
        seen, _, terminated, truncated, info = env.step(np.zeros((1, 2)))
    assert terminated[0] and not truncated[0] and info["died"][0] and not info["success"][0] and seen["body"][0, 0] == 0


def test_the_charger_fills_the_battery():
    env, seen, _ = started("life")
    env._battery[0] = 50
    assert env.step(np.zeros((1, 2)))[0]["body"][0, 0] == pytest.approx(0.55)
    for _ in range(10):
        seen, *_ = env.step(np.zeros((1, 2)))
    assert seen["body"][0, 0] == 1


def test_a_tick_of_planning_costs_more():
    env = HouseVectorEnv(2, thinking_cost=1.0, tour=False)
    pair = env.sample_pairs(0, 1)[1]
    env.reset(seed=0, options=options_of([pair, pair]))
    env._place[:] = env._options["goals"][:, 1] + [3.0, 0.0]
    seen, *_ = env.step({"action": np.zeros((2, 2)), "mode": np.array([1, 2])})
    assert seen["body"][:, 0].tolist() == pytest.approx([0.99, 0.98])


def test_time_runs_out():
    env, _, _ = started("far", changed={"steps": 3})
    flags = [env.step(np.zeros((1, 2)))[3][0] for _ in range(3)]
    assert flags == [False, False, True] and env._info()["out_of_time"][0]


def test_a_walk_has_no_errand_no_battery_and_200_steps():
    env = HouseVectorEnv(1)
    seen, _ = env.reset(seed=0)
    assert seen["body"][0].tolist() == [1, 0, 0]
    env._place[0] = env._options["goals"][0, 0]
    for _ in range(200):
        seen, reward, terminated, truncated, _ = env.step(np.zeros((1, 2)))
        assert not terminated[0] and not reward[0]
    assert truncated[0]


def test_a_shut_door_is_drawn_and_blocks_after_the_tour():
    env = HouseVectorEnv(1, shut=True)
    pair = next(pair for pair in env.sample_pairs(0, 20) if pair["shut"] >= 0)
    seen, _ = env.reset(seed=0, options=options_of([pair]))
    goal, rooms = seen["goal"], env._rooms.copy()
    assert seen["map"][0, pair["shut"]] > 0
    while seen["body"][0, 1]:
        seen, *_ = env.step(STILL[None])
    assert seen["map"][0, pair["shut"]] == 0 and is_connected(seen["map"][0, :-4])
    assert (rooms != env._rooms).any(axis=(0, 2, 3, 4)).sum() == 2
    np.testing.assert_array_equal(goal, seen["goal"])


def test_a_door_is_bumped_into_where_it_is_shut():
    env, _, _ = started("far")
    doors = env._options["doors"][0]
    lines = openings(np.where(np.arange(len(doors)) == np.flatnonzero(doors)[0], 0, doors)[None])
    assert (np.isnan(lines[0]).sum() + np.isnan(lines[1]).sum()) == 1 + sum(np.isnan(one).sum() for one in (
        env._vertical, env._horizontal))


def test_the_picture_shows_walls_doors_charger_and_agent():
    doors = np.zeros(12)
    doors[[0, 6]] = 8.0  # to the right of room 0, and below it
    rooms = draw_rooms(doors, 4, 0, np.array([4.0, 12.0]))
    room = rooms[0].astype(int)
    assert (room[:2] == 0).all() and (room[:, :2] == 0).all()
    white = (room == 255).all(-1)
    assert np.flatnonzero(white[:, 23]).tolist() == np.flatnonzero(white[23]).tolist() == list(range(8, 16))
    assert room[18, 6].tolist() == [255, 220, 0]
    seen = draw_agent(rooms[None], np.array([[10.0, 5.0]]), 3)[0].astype(int)
    assert np.unravel_index((seen[..., 0] - seen[..., 1]).argmax(), (24, 24)) in ((7, 14), (7, 15))


def test_no_two_rooms_look_alike():
    rooms = draw_rooms(np.zeros(12), 4, 0, np.array([8.0, 8.0]))
    assert len({room[2:22, 2:22].tobytes() for room in rooms}) == 9


def test_the_overview_shows_the_whole_house():
    env, _, _ = started("life", num_envs=2, render_mode="rgb_array")
    pictures = env.render()
    assert len(pictures) == 2 and pictures[0].shape == (288, 288, 3) and pictures[0].dtype == np.uint8
    x, y = (env._place[0] * 6).astype(int)
    assert pictures[0][y, x].tolist() == [255, 0, 0]
    assert HouseVectorEnv(1).render() is None


def test_ten_thousand_frames_a_second():
    env = HouseVectorEnv(100)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    best = np.inf
    for _ in range(5):
        began = time.process_time()
        for _ in range(20):
            env.step(actions)
        best = min(best, time.process_time() - began)
    assert 20 * 100 / best > 10_000


@pytest.mark.parametrize(("settings", "words"), [
    ({"kind": "stroll"}, "kind='stroll' is unknown; expected one of 'walk', 'far', 'life'."),
    ({"rooms": 2}, "rooms=2 is not possible; expected a whole number from 3 up."),
    ({"battery": 0}, "battery=0 is not possible; expected a number above 0 to 10000."),
    ({"thinking_cost": -1.0}, "thinking_cost=-1.0 is not possible; expected a number from 0 to 10000."),
])
def test_an_invalid_setting_is_refused(settings, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        HouseVectorEnv(1, **settings)


def test_invalid_options_are_refused():
    env = HouseVectorEnv(1)
    options = options_of(env.sample_pairs(0, 1)[:1])
    with pytest.raises(ValueError, match="the options of an episode lack look; expected all of doors, look, home"):
        env.reset(options={name: value for name, value in options.items() if name != "look"})
    with pytest.raises(ValueError, match=r"option doors has shape \(1, 12\); expected \(1, 24\), for 4 x 4 rooms"):
        HouseVectorEnv(1, rooms=4).reset(options=options)
    with pytest.raises(ValueError, match="leave a room without a way to it"):
        env.reset(options=options | {"doors": np.zeros((1, 12))})
    with pytest.raises(ValueError, match=r"goals=\[0.0, 0.0\] is outside the house or inside a wall"):
        env.reset(options=options | {"goals": np.zeros((1, 4, 2))})


def test_invalid_actions_are_refused():
    env, *_ = started("far")
    with pytest.raises(ValueError, match=r"the action has shape \(2,\); expected \(1, 2\)"):
        env.step(STILL)
    with pytest.raises(ValueError, match=r"the action \[nan, 0.0\] is not finite"):
        env.step(np.array([[np.nan, 0.0]]))

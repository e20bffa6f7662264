"""The table as a gymnasium environment: the API contract, bitwise independent rows, goals, success, sub-goals, refusals."""

import hashlib
import re
import time
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from worlds.tabletop.expert import Expert
from worlds.tabletop.single import TableTopEnv
from worlds.tabletop.world import TableTopVectorEnv

ID = "worlds:ami/TableTop-v0"
SETTINGS = [{}, {"kind": "mixed", "size": 32}, {"kind": "pick_and_place", "subgoals": True, "objects": 3, "size": 64},
            {"kind": "push", "observe": "state", "objects": 1}, {"kind": "carry", "unseen": "texture+camera"}]


def play(env, num_steps, seed=0):
    """Reset with the seed, take random actions, and return every result in order."""
    rng = np.random.default_rng(seed)
    history = [env.reset(seed=seed)]
    for _ in range(num_steps):
        history.append(env.step(rng.uniform(-1, 1, (env.num_envs, 3)).astype(np.float32)))
    return history


def options_of(pairs):
    return {name: np.array([pair[name] for pair in pairs]) for name in pairs[0] if name not in ("kind", "seed")}


def started(kind, num_envs=1, **settings):
    env = TableTopVectorEnv(num_envs, **settings)
    pairs = [pair for pair in env.sample_pairs(7, num_envs) if pair["kind"] == kind]
    return env, pairs, env.reset(seed=0, options=options_of(pairs))[0]


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
    singles = SyncVectorEnv([lambda: TableTopEnv(**kwargs)] * 3, autoreset_mode=AutoresetMode.DISABLED)
    assert isinstance(vector, TableTopVectorEnv)
    assert vector.single_observation_space == singles.single_observation_space
    history = play(vector, 8)
    assert_equal(history, play(singles, 8))
    assert all(observation in vector.observation_space for observation, *_ in history)


def test_a_single_row_equals_the_row_in_a_batch():
    batch = TableTopVectorEnv(65)
    history = play(batch, 15)
    rng = np.random.default_rng(0)
    actions = [rng.uniform(-1, 1, (65, 3)).astype(np.float32) for _ in range(15)]
    for row in (0, 33, 64):
        alone = TableTopVectorEnv(1)
        seen = [alone.reset(seed=row)[0], *(alone.step(action[[row]])[0] for action in actions)]
        assert_equal(seen, [{key: value[[row]] for key, value in step[0].items()} for step in history])


def test_the_same_seed_gives_the_same_digest_and_another_seed_another():
    def digest(seed):
        code = hashlib.sha256()
        for observation, *_ in play(TableTopVectorEnv(3, kind="mixed"), 12, seed):
            for key in sorted(observation):
                code.update(np.ascontiguousarray(observation[key]).tobytes())
        return code.hexdigest()

    assert digest(0) == digest(0) != digest(5)


def test_a_partial_reset_leaves_the_other_rows():
    env = TableTopVectorEnv(3)
    before = play(env, 4)[-1][0]
    after, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    for key in before:
        np.testing.assert_array_equal(before[key][[0, 2]], after[key][[0, 2]])
    assert (before["observation"][1] != after["observation"][1]).any()


@pytest.mark.parametrize("kind", ["reach", "grasp", "reach_with_object", "pick_and_place"])
def test_success_ends_an_episode_with_reward_1_at_the_picture_of_the_goal(kind):
    env, _, seen = started(kind)
    goal, steps = seen["goal"].astype(int), 0
    before = np.abs(seen["observation"].astype(int) - goal).mean()
    terminated = np.zeros(1, bool)
    while not terminated[0]:
        seen, reward, terminated, truncated, info = env.step(Expert().action(seen["state"]))
        steps += 1
        assert steps < 50 and reward[0] == terminated[0] == info["success"][0] and not truncated[0]
    assert kind == "reach" or np.abs(seen["observation"].astype(int) - goal).mean() < 0.7 * before
    again, reward, terminated, *_ = env.step(np.ones((1, 3)))
    assert reward[0] == 0 and terminated[0]
    np.testing.assert_array_equal(again["observation"], seen["observation"])


def test_sub_goals_follow_each_other_by_time():
    env, pairs, seen = started("pick_and_place", subgoals=True)
    shown = [seen["goal"][0]]
    for _ in range(45):
        seen, *_ = env.step(np.zeros((1, 3)))
        shown.append(seen["goal"][0])
    changes = [step for step in range(1, 46) if (shown[step] != shown[step - 1]).any()]
    assert changes == [20, 40]
    whole = TableTopVectorEnv(1)
    np.testing.assert_array_equal(shown[-1], whole.reset(seed=0, options=options_of(pairs))[0]["goal"][0])


def test_proprioception_is_the_grippers_place_and_opening():
    env, pairs, seen = started("grasp")
    assert seen["proprioception"][0].tolist() == pytest.approx([*pairs[0]["gripper"], 1.0])
    seen, *_ = env.step(np.array([[0.5, 0.0, -0.5]]))
    assert seen["proprioception"][0].tolist() == pytest.approx([pairs[0]["gripper"][0] + 1.5, pairs[0]["gripper"][1],
                                                                1 - 0.75 / 4.7], abs=1e-5)


def test_time_runs_out_and_play_has_no_success():
    env, *_ = started("reach")
    for step in range(30):
        _, _, terminated, truncated, _ = env.step(np.zeros((1, 3)))
        assert not terminated[0] and truncated[0] == (step == 29)
    history = play(TableTopVectorEnv(2), 100)
    assert history[-1][3].all() and not any(step[4]["success"].any() for step in history[1:])


def test_a_pair_starts_the_same_episode_in_every_world():
    _, pairs, seen = started("reach", 2)
    single = TableTopEnv()
    alone, _ = single.reset(seed=3, options={name: values[1] for name, values in options_of(pairs).items()})
    assert_equal([alone["observation"], alone["goal"]], [seen["observation"][1], seen["goal"][1]])


def test_render_shows_the_table_without_the_cameras_shift():
    env, pairs, _ = started("reach", render_mode="rgb_array", unseen="camera")
    (shown,) = env.render()
    assert shown.shape == (192, 192, 3) and shown.dtype == np.uint8
    x, y = (np.array(pairs[0]["gripper"]) * 4 + 16).astype(int)
    assert shown[y - 7, x].max() < 40, "the bar between the fingers is 1.6 units above their centre"
    assert TableTopVectorEnv(1).render() is None


def test_ten_thousand_frames_a_second():
    env = TableTopVectorEnv(64)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (8, 64, 3))
    best = np.inf
    for _ in range(8):
        began = time.process_time()
        for action in actions:
            env.step(action)
        best = min(best, time.process_time() - began)
    assert 8 * 64 / best > 10_000


def test_a_step_needs_a_reset():
    with pytest.raises(ResetNeeded, match=re.escape("a step came before rows [0] were ever reset; call reset() first.")):
        TableTopVectorEnv(1).step(np.zeros((1, 3)))


@pytest.mark.parametrize(("settings", "words"), [
    ({"kind": "grab"}, "kind='grab' is unknown; expected one of 'play', 'reach', 'grasp'"),
    ({"size": 128}, "size=128 is not possible; expected a whole number in [32, 64]."),
    ({"objects": 0}, "objects=0 is not possible; expected a whole number in [1, 4]."),
    ({"subgoals": 1}, "subgoals=1 is not possible; expected true or false."),
    ({"unseen": "texture+colour"}, "unseen='colour' is unknown; expected one of 'all', 'none', 'texture', 'lighting', "
                                   "'colours', 'clutter', 'camera'. Did you mean 'colours'?"),
    ({"unseen": 3}, "unseen=3 is not possible; expected 'all', 'none', or some of texture, lighting, colours, clutter, "
                    "camera, joined by +."),
])
def test_an_invalid_setting_is_refused(settings, words):
    for make in (TableTopVectorEnv, TableTopEnv):
        with pytest.raises(ValueError, match=re.escape(words)):
            make(**settings)


def test_invalid_options_are_refused():
    env, pairs, _ = started("reach_with_object")
    options = options_of(pairs)

    def refused(words, **changed):
        with pytest.raises(ValueError, match=re.escape(words)):
            env.reset(options=options | changed)

    with pytest.raises(ValueError, match="the options of an episode lack plate; expected all of task, gripper, opening"):
        env.reset(options={name: value for name, value in options.items() if name != "plate"})
    refused("option places has shape (1, 2, 2); expected (1, 5, 2), for 5 objects with clutter. Fix: the settings it was "
            "drawn with", places=options["places"][:, :2])
    refused("gripper=[1.0, 1.0] is outside its range; expected x in [6.5, 33.5] and y in [5, 35] units.",
            gripper=np.ones((1, 2)), held=np.array([-1]))
    refused("overlap each other or the table's edge by 6.4 units; expected at most 0.02. Fix: take them from sample_pairs()",
            places=np.repeat(options["places"][:, :1], 5, axis=1), shapes=np.ones((1, 5)))
    refused("held=0, but the gripper at [20.0, 20.0] does not reach the target at", gripper=np.full((1, 2), 20.0))
    refused("task=[9.0] is not possible; expected whole numbers in [0, 6].", task=np.array([9]))
    refused("shapes: object 0, the target, is absent; expected a shape from 0 up.", shapes=np.full((1, 5), -1))
    refused("option goal is not finite; expected numbers.", goal=np.full((1, 2), np.nan))
    refused("option='goals' is unknown; expected one of", goals=options["goal"])


def test_invalid_actions_are_refused():
    env, *_ = started("grasp")
    with pytest.raises(ValueError, match=re.escape("the action has shape (3,); expected (1, 3), a velocity (x, y) and a "
                                                   "speed of opening, in [-1, 1].")):
        env.step(np.zeros(3))
    with pytest.raises(ValueError, match=re.escape("the action [nan, 0.0, 0.0] is not finite")):
        env.step(np.array([[np.nan, 0, 0]]))

"""Faulty and unusual environments: each either runs or is refused with exactly the message of the table.

An outcome that begins with "runs" gives the number of steps and the return. Any other outcome is the error message, with
WORLD for `world tests.support.hostile_envs:hostile/NAME-v0` and @5 for `WORLD, row 0, tick 5, seed 7`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from ami.blueprint import Episode
from ami.config.instantiate import specs_of
from ami.envs.world import GymWorld
from ami.errors import AmiError, TrustError
from tests.support import hostile_envs

PACKAGE = "tests.support.hostile_envs:hostile"
FOLDER = f"{Path(hostile_envs.__file__).parent}/"
NEW_API = ("Fix: `return observation, {}` from reset() and `return observation, reward, terminated, truncated, info` from "
           "step(); for a package of others, shimmy's GymV21CompatibilityV0")
FINITE = ("expected finite numbers. Fix: correct the environment, or replace the value in a wrapper, "
          "world.wrappers=[package.Class]")
CORRECT = "Fix: correct the environment, or give it what it needs"
DECLARED = "Fix: declare the returned shape, or return the declared one"
RUNS = "runs 12 steps, return 12"

TABLE: list[tuple[str, dict[str, Any], str]] = [
    ("Plain", {}, RUNS),
    # numbers that are not finite
    ("NanReward", {}, f"@5: port world.reward: reward is nan: {FINITE}"),
    ("NanObservation", {}, f"@5: port world.observation: observation[1] is nan: {FINITE}"),
    ("Huge", {}, f"@5: port world.observation: observation[2] is inf: {FINITE}"),
    ("State", {}, f"@5: port world.truth: info['state'][1] is inf: {FINITE}"),
    # the API before gymnasium 0.26
    ("OldApi", {}, "WORLD, row 0, tick 0, seed 0: reset() returned an array (3,) of float32 alone, as before gymnasium "
                   f"0.26: expected (observation, info). {NEW_API}"),
    ("OldStep", {}, "WORLD, row 0, tick 1, seed 0: step() returned 4 values, as before gymnasium 0.26: expected 5. "
                    f"{NEW_API}"),
    ("OldStepWithLimit", {}, "WORLD, row 0, tick 1, seed 0: step() returned 4 values, as before gymnasium 0.26: expected 5. "
                             f"{NEW_API}"),
    ("OldReset", {}, "WORLD, row 0, tick 0, seed 0: reset() does not take gymnasium's arguments (OldReset.reset() got an "
                     "unexpected keyword argument 'seed'): expected reset(self, *, seed=None, options=None). Fix: add them, "
                     "and begin with super().reset(seed=seed)"),
    # rewards
    ("RewardArray", {}, RUNS),
    ("Returns", {"reward": np.array([3])}, "runs 12 steps, return 14"),
    ("Returns", {"reward": True}, RUNS),
    ("Returns", {"reward": None}, "@5: the reward is None: expected a number. Fix: return "
                                  "float(reward) from step()"),
    ("Returns", {"reward": "1"}, "@5: the reward is '1' (str): expected a number. Fix: return "
                                 "float(reward) from step()"),
    ("Returns", {"reward": np.ones(2)}, "@5: the reward is an array (2,) of float64: expected a "
                                        "number. Fix: return float(reward) from step()"),
    # flags and infos
    ("Returns", {"truncated": 1}, "runs 5 steps, return 5"),
    ("Returns", {"terminated": np.array([True])}, "runs 5 steps, return 5"),
    ("Returns", {"terminated": None}, "@5: terminated is None: expected True or False. Fix: return "
                                      "bool(terminated)"),
    ("Returns", {"terminated": "no"}, "@5: terminated is 'no' (str): expected True or False. Fix: "
                                      "return bool(terminated)"),
    ("Returns", {"info": None}, "@5: step() returned the info None: expected a dict. Fix: return {} "
                                "if it is empty"),
    ("Returns", {"info": {"success": float("nan")}}, "@5: info['success'] is nan (float): expected "
                                                     "True or False. Fix: return bool(info['success'])"),
    # observations that are not as declared
    ("Double", {}, RUNS),
    ("Misdeclared", {}, RUNS),
    ("Whole", {}, RUNS),
    ("Scalar", {}, RUNS),
    ("OneAgain", {}, RUNS),
    ("Returns", {"seen": [0, 0, 0]}, RUNS),
    ("Returns", {"seen": None}, "@5: the observation is None: expected float32 numbers of shape (3,), "
                                "as its space declares"),
    ("Misshapen", {}, "WORLD, row 0, tick 0, seed 0: the observation has the shape (1, 3): expected (3,), as its space "
                      f"declares. {DECLARED}"),
    ("Grows", {}, "@5: the observation has the shape (4,): expected (3,), as its space declares. "
                  f"{DECLARED}"),
    ("FloatPicture", {}, "WORLD, row 0, tick 2, seed 7: the observation is float64 with values from 0.003734 to 0.9955: "
                         "expected uint8, as its space declares, to which these cannot be cast without loss. Fix: return "
                         "it, or declare Box(low, high, (8, 8, 3), np.float64)"),
    # spaces: their conversion is tested in test_spaces.py
    *[(name, {}, RUNS) for name in ("ChannelFirst", "Masked", "MaskInInfo", "MultiDiscrete", "MultiBinary", "TupleAction",
                                    "DictAction", "PictureAndBody", "GoalInAKey", "Mission")],
    ("NothingAllowed", {}, "@5: port world.action_mask: [0, 0, 0] allows no action: expected an allowed alternative of each "
                           "choice until the episode is over. Fix: correct the mask, or end the episode there"),
    ("ShortMask", {}, "WORLD, row 0, tick 0, seed 0: action_mask has 2 flags: expected 3, one per alternative of an action, "
                      "which is one of 3. Fix: correct the environment's mask"),
    ("LongMission", {}, "WORLD, row 0, tick 0, seed 0: a text of 60 bytes was sent: expected 40 at most. Fix: declare "
                        "Text(max_length)"),
    # environments that fail
    ("Dies", {}, "WORLD, row 0, tick 6, seed 7: step() raised ConnectionError: simulator lost: port 5005 (hostile_envs.py, "
                 f"line LINE, in step). {CORRECT}"),
    ("Exits", {}, "WORLD, row 0, tick 6, seed 7: step() raised SystemExit: no licence (hostile_envs.py, line LINE, in "
                  f"step). {CORRECT}"),
    ("FailsToStart", {}, "world 'tests.support.hostile_envs:hostile/FailsToStart-v0' cannot be made: __init__() raised "
                         f"FileNotFoundError: no file 'maze.xml' (hostile_envs.py, line LINE, in __init__). {CORRECT}"),
]


@pytest.mark.parametrize(("name", "settings", "expected"), TABLE, ids=[
    f"{name}-{i}" if settings else name for i, (name, settings, _) in enumerate(TABLE)])
def test_outcome_of_each_environment(name: str, settings: dict[str, Any], expected: str) -> None:
    found = outcome(name, settings)
    shown = found.replace(FOLDER, "").replace(f"world {PACKAGE}/{name}-v0", "WORLD")
    shown = shown.replace("WORLD, row 0, tick 5, seed 7", "@5")
    assert shown == with_line(expected, found)


SET_LIMIT = "Fix: world.max_episode_steps=1000, or another limit"
NO_LIMIT = f"WORLD declares no limit: an episode is truncated after 10000 steps. {SET_LIMIT}"
SEEDLESS = ("WORLD ignores its seed: reset(seed=0) and the same actions gave another episode. The pairs of an evaluation "
            "are then not the same for all agents. Fix: draw from self.np_random, after super().reset(seed=seed)")
LOST = ("WORLD was solved at step 3 of a random episode and not at its end: it counts as not solved. Fix: world.success=any "
        "counts it, world.success=last accepts the rule")
LONG = {"max_episode_steps": 100}
# the last entry: whether it reports success; None if it is refused
TRIALS: list[tuple[str, dict[str, Any], list[str], bool | None]] = [
    ("Plain", {}, [NO_LIMIT], False),
    ("Plain", LONG, [], False),
    ("NeverEnds", {}, ["WORLD declares no limit, and an episode of random actions had not ended after 200 steps: expected "
                       f"an end. {SET_LIMIT}"], None),
    ("NeverEnds", LONG, [], False),
    ("SuccessAtTheEnd", LONG, [], True),
    ("SuccessOnTheWay", LONG, [LOST], True),
    ("SuccessOnTheWay", LONG | {"success": "any"}, [], True),
    ("SuccessOnTheWay", LONG | {"success": "last"}, [], True),
    ("Unseeded", LONG, [SEEDLESS], False),
    ("Dies", LONG, ["WORLD, row 0, tick 6, seed 0: step() raised ConnectionError: simulator lost: port 5005 "
                    f"(hostile_envs.py, line LINE, in step). {CORRECT}"], None),
]


@pytest.mark.parametrize(("name", "settings", "expected", "reports"), TRIALS)
def test_trial_before_any_work(name: str, settings: dict[str, Any], expected: list[str], reports: bool | None,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("world", "trial"):
        monkeypatch.setattr(f"ami.envs.{place}.TRIAL", 200)
    world = GymWorld(f"{PACKAGE}/{name}-v0", **settings)
    try:
        found = world.warnings()
    except AmiError as error:
        found = [str(error)]
        assert reports is None
    else:
        assert world.reports_success is reports
    assert [text.replace(FOLDER, "").replace(f"world {PACKAGE}/{name}-v0", "WORLD") for text in found] == [
        with_line(wanted, shown) for wanted, shown in zip(expected, found, strict=True)]


@pytest.mark.parametrize(("rule", "expected"), [(None, [False, False]), ("last", [False, False]), ("any", [True, True])])
def test_success_is_that_of_the_last_step_or_of_any(rule: str | None, expected: list[bool]) -> None:
    world = begun("SuccessOnTheWay", success=rule)
    sent = [world.step(action=torch.zeros(1, 3))["success"].item() for _ in range(14)]
    assert sent[2:5] == [False, True, rule == "any"] and sent[12:] == expected
    world.begin(torch.ones(1, dtype=torch.bool), [Episode(1, 9)])
    assert not world.step(action=torch.zeros(1, 3))["success"].item()


def test_success_within_a_repeated_action_counts_by_the_rule_any() -> None:
    for rule, expected in (("any", True), ("last", False)):
        world = begun("SuccessOnTheWay", success=rule, repeat=4)
        assert [world.step(action=torch.zeros(1, 3))["success"].item() for _ in range(2)] == [False, expected]


def test_an_episode_without_a_limit_is_truncated_at_the_default_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ami.envs.make.LIMIT", 40)
    assert outcome("NeverEnds", {}) == "runs 40 steps, return 40"


def begun(name: str, **settings: Any) -> GymWorld:
    """Return a world of one row whose episode begins at its next step."""
    world = GymWorld(f"{PACKAGE}/{name}-v0", **settings)
    world.set_up(dict(world.infer_dims({})))
    world.begin(torch.ones(1, dtype=torch.bool), [Episode(0, 0)])
    return world


def outcome(name: str, settings: dict[str, Any], limit: int = 60) -> str:
    """Run two rows of an environment, seeds 7 and 8, with its first action, until both are over."""
    try:
        world = GymWorld(f"{PACKAGE}/{name}-v0", **settings)
        world.set_up(dict(world.infer_dims({})))
        every = torch.ones(2, dtype=torch.bool)
        world.begin(every, [Episode(0, 7), Episode(1, 8)])
        action = torch.zeros(2, *world.inputs["action"].shape(world.dims))
        returned = 0.0
        for tick in range(limit):
            sent = world.step(action=action)
            for port, spec in world.outputs.items():
                spec.validate(f"world.{port}", sent[port], world.dims, 2)
            returned += float(sent["reward"][0])
            if bool((sent["terminated"] | sent["truncated"]).all()):
                return f"runs {tick} steps, return {returned:g}"
    except AmiError as error:
        return str(error)
    return f"runs on after {limit} steps"


def with_line(expected: str, found: str) -> str:
    """Insert the found line number into the expectation, as line numbers of the environments' file change."""
    line = found.partition(", line ")[2].partition(",")[0]
    return expected.replace("LINE", line) if line.isdigit() else expected


def test_a_fault_in_one_row_names_that_row() -> None:
    world = GymWorld(f"{PACKAGE}/FailsAbove-v0")
    world.set_up(dict(world.infer_dims({})))
    every = torch.ones(3, dtype=torch.bool)
    with pytest.raises(AmiError, match="row 1, tick 0, seed 50: reset\\(\\) raised ValueError: seed 50"):
        world.begin(every, [Episode(0, 1), Episode(1, 50), Episode(2, 2)])
        world.step(action=torch.zeros(3, 3))


def test_a_reused_observation_array_is_copied() -> None:
    world = begun("OneAgain")
    sent = [world.step(action=torch.zeros(1, 3))["observation"] for _ in range(3)]
    assert [round(float(seen[0, 0]), 2) for seen in sent] == [0, 0.01, 0.02]


def test_a_nan_action_is_not_reported_as_the_worlds_fault() -> None:
    world = begun("Plain")
    world.step(action=torch.zeros(1, 3))
    with pytest.raises(AmiError, match=r"world.action received \[nan, 0.0, 0.0\] in row 0 at tick 1: expected finite"):
        world.step(action=torch.tensor([[float("nan"), 0, 0]]))


STACK = "gymnasium.wrappers.FrameStackObservation"
WRAPPED: list[tuple[dict[str, Any], str]] = [
    ({"stack_size": 4}, "(4, 3)"),
    ({"stack_sise": 4}, f"world.wrappers: {STACK} has no argument 'stack_sise': did you mean 'stack_size'?"),
    ({}, f"world.wrappers: {STACK} needs stack_size. Fix: world.wrappers=[{{_target_: {STACK}, stack_size: …}}]"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRAPPED)
def test_wrappers_with_arguments(arguments: dict[str, Any], expected: str) -> None:
    try:
        world = GymWorld(f"{PACKAGE}/Plain-v0", wrappers=[{"_target_": STACK, **arguments}])
        assert str(world.infer_dims({})["O"]) == expected
        assert world.settings == {"wrappers": [{"_target_": STACK, "stack_size": 4}]}
    except AmiError as error:
        assert str(error) == expected


def test_wrappers_of_a_config_are_checked_against_the_allow_list() -> None:
    given = [{"_target_": STACK, "stack_size": 2}, "gymnasium.wrappers.FlattenObservation"]
    assert made(id="CartPole-v1", wrappers=given).infer_dims({})["O"] == (8,)
    with pytest.raises(TrustError, match=r"world.wrappers names 'nowhere.Stack': expected a class from"):
        made(id="CartPole-v1", wrappers=[{"_target_": "nowhere.Stack", "stack_size": 2}])
    with pytest.raises(TrustError, match=r"world.wrappers names 'nowhere.Stack': expected a class from"):
        made(wrappers=["nowhere.Stack"])


def made(allow: Sequence[str] = (), **settings: Any) -> GymWorld:
    """Make the world of a configuration."""
    world: GymWorld = specs_of({"world": {"_target_": "ami.envs.world.GymWorld", **settings}}, allow)["world"].make()
    return world


POINTS: list[tuple[dict[str, Any], str]] = [
    ({"entry_point": "tests.support.hostile_envs:Plein"},
     "world.entry_point is 'tests.support.hostile_envs:Plein': did you mean 'Plain'?"),
    ({"entry_point": "nowhere:Plain"}, "world.entry_point is 'nowhere:Plain', and its module cannot be imported: No module "
                                       "named 'nowhere'. Fix: put its folder on PYTHONPATH"),
    ({"entry_point": "Plain"}, "world.entry_point is 'Plain': expected module:Class"),
    ({"entry_point": "__main__:Plain"}, "world.entry_point is '__main__:Plain': other processes cannot find a class of the "
                                        "script. Fix: put it in a file of its own, world.entry_point=file:Class"),
    ({"entry_point": "a:B", "id": "CartPole-v1"}, "world.id is 'CartPole-v1' and world.entry_point is 'a:B': expected one "
                                                  "of them. Fix: leave one out"),
]


@pytest.mark.parametrize(("settings", "expected"), POINTS)
def test_invalid_entry_points_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(AmiError) as refused:
        GymWorld(**settings)
    assert str(refused.value) == expected


def test_an_id_known_only_to_this_process_is_refused_for_others() -> None:
    gymnasium.register("own/Plain-v0", "tests.support.hostile_envs:Plain", disable_env_checker=True)
    with pytest.raises(AmiError) as refused:
        GymWorld("own/Plain-v0").check_elsewhere()
    assert str(refused.value) == (
        "world 'own/Plain-v0' is registered in this process only, and Ray's actors run in others: expected an id that they "
        "can find. Fix: world.entry_point=tests.support.hostile_envs:Plain")
    del gymnasium.registry["own/Plain-v0"]
    for known in ({"id": "CartPole-v1"}, {"id": "minigrid:MiniGrid-DoorKey-6x6-v0"}, {"id": f"{PACKAGE}/Plain-v0"},
                  {"entry_point": "tests.support.hostile_envs:Plain"}):
        GymWorld(**known).check_elsewhere()


def test_facts_of_a_world() -> None:
    assert GymWorld(f"{PACKAGE}/SuccessOnTheWay-v0", max_episode_steps=20, success="any").facts() == {
        "observation": "float32 (3,)", "action": "one of 3", "episode": "at most 20 steps",
        "success": "an episode is solved if success is true at any step", "seed": "the same seed gives the same episode",
        "trial": "12 random steps"}


def test_an_environment_needs_no_registration() -> None:
    given = {"entry_point": "tests.support.hostile_envs:Plain", "max_episode_steps": 5}
    with pytest.raises(TrustError, match=r"world.entry_point is 'tests.support.hostile_envs:Plain': expected a class from"):
        made(**given)
    world = made(["tests."], **given)
    assert world.infer_dims({})["O"] == (3,) and world.limit == 5

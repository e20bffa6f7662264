"""GymWorld: spaces, resets, limits, success and seeds of gymnasium environments; errors for unsupported ones."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Text, Tuple
from gymnasium.spaces.utils import flatten
from gymnasium.vector import AutoresetMode
from torch import Tensor

from ami.blueprint import Actor, Episode
from ami.envs.world import GymWorld
from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.ports import ActionSpace
from ami.terminal.extras import how_to_install
from ami.testing import check_world

Outputs = dict[str, Tensor]


class Line(gymnasium.Env):
    """A walk from 0 to `length` with steps of at most 0.5; falling below 0 ends the episode without success."""

    observation_space = Box(-10, 10, (2,), np.float64)
    action_space = Box(-0.5, 0.5, (1, 1), np.float64)

    def __init__(self, length: float = 1.0, tells: bool = True) -> None:
        self.length, self.tells = length, tells
        self.at = 0.0
        self.resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = float((options or {}).get("start", self.np_random.uniform(0, 0.2)))
        self.resets += 1
        return self._seen()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert action.shape == (1, 1) and action.dtype == np.float64
        self.at += float(action[0, 0])
        seen, info = self._seen()
        if self.tells:
            info["success"] = self.at >= self.length
        return seen, self.at, not 0 <= self.at < self.length, False, info

    def _seen(self) -> tuple[np.ndarray, dict[str, Any]]:
        return np.array([self.at, self.resets]), {"state": np.float64(self.at)} if self.tells else {}


class Shown(gymnasium.Env):
    """Returns samples of its observation space, the first of each episode drawn by its seed, and stores the actions."""

    def __init__(self, seen: Space, done: Space | None = None) -> None:
        self.observation_space = copy.deepcopy(seen)
        self.action_space = Box(-1, 1, (2,)) if done is None else done
        self.done: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.done.append(action)
        return self.observation_space.sample(), 1.0, False, False, {}


class Halved(gymnasium.RewardWrapper):
    """A wrapper that halves the reward."""

    def reward(self, reward: Any) -> float:
        return float(reward) / 2


class Impatient(gymnasium.vector.VectorEnv):
    """A vector environment that resets by itself."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1) -> None:
        self.num_envs = num_envs


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the registrations of each test."""
    for package in ("worlds", "minigrid", "gymnasium_robotics"):
        importlib.import_module(package)  # registered before the copy
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    gymnasium.register("Line-v0", Line, max_episode_steps=6)
    gymnasium.register("Shown-v0", Shown)
    gymnasium.register("Patient-v0", Line, vector_entry_point=Impatient)
    gymnasium.register("Impatient-v0", vector_entry_point=Impatient)
    gymnasium.register("OneRow-v0", "worlds.two_rooms:TwoRoomsEnv", disable_env_checker=True)


def world(env: str, batch: int, options: Sequence[dict[str, Any]] | None = None, first: int = 0,
          **settings: Any) -> GymWorld:
    """Make a world that begins episodes of seeds `first`, `first` + 1, … at its next step."""
    made = GymWorld(env, **settings)
    made.set_up(dict(made.infer_dims({})))
    begin(made, [True] * batch, range(first, first + batch), options)
    return made


def begin(of: GymWorld, mask: Sequence[bool], seeds: Sequence[int], options: Sequence[dict[str, Any]] | None = None) -> None:
    chosen = options or [{}] * len(mask)
    of.begin(torch.tensor(mask), [Episode(seed, seed, chosen[row]) for row, seed in enumerate(seeds)])


def step(of: GymWorld, *actions: float) -> Outputs:
    """Run one tick and validate the outputs."""
    (width,) = of.inputs["action"].shape(of.dims)
    sent = of.step(torch.tensor(actions)[:, None].expand(-1, width).contiguous())
    for name, port in of.outputs.items():
        port.validate(f"world.{name}", sent[name], of.dims, len(actions))
    return sent


def same(one: Outputs, other: Outputs, rows: Sequence[int] = (0,), others: Sequence[int] | None = None) -> bool:
    return all(torch.equal(one[name][list(rows)], other[name][list(others or rows)]) for name in one)


# Any environment ------------------------------------------------------------------------------------------------------


def test_a_plain_environment_is_a_world() -> None:
    pendulum = world("Pendulum-v1", 3)
    assert dict(pendulum.infer_dims({})) == {"O": (3,), "G": (0,), "A": 1, "X": 0}
    sent = [step(pendulum, 0.0, 1.0, -1.0) for _ in range(4)]
    assert sent[0]["observation"].shape == (3, 3) and sent[0]["goal"].shape == (3, 0)
    assert sent[0]["reward"].tolist() == [0, 0, 0] and (sent[1]["reward"] < 0).all()
    assert not any(tick[flag].any() for tick in sent for flag in ("terminated", "truncated", "success"))


def test_a_plain_environment_equals_the_bare_one() -> None:
    ours, theirs = world("Pendulum-v1", 2, first=7), gymnasium.make("Pendulum-v1")
    seen, _ = theirs.reset(seed=8)
    assert torch.equal(step(ours, 9, 9)["observation"][1], torch.tensor(seen))
    for action in (0.25, -0.75, 1.0):  # its torque goes from -2 to 2
        seen, reward, *_ = theirs.step(np.array([2 * action], np.float32))
        sent = step(ours, 2.0, action)
        assert torch.equal(sent["observation"][1], torch.tensor(seen))
        assert sent["reward"][1].item() == pytest.approx(float(reward))


def test_without_info_state_the_truth_has_width_0() -> None:
    assert step(world("Pendulum-v1", 2), 0, 0)["truth"].shape == (2, 0)
    assert step(world("Line-v0", 2, tells=False), 0, 0)["truth"].shape == (2, 0)


def test_the_truth_is_read_of_every_row() -> None:
    line = world("Line-v0", 2, [{"start": 0.25}, {"start": 0.5}])
    assert line.dims["X"] == 1
    assert step(line, 0, 0)["truth"].tolist() == [[0.25], [0.5]]
    assert step(line, 0.5, -0.5)["truth"].tolist() == [[0.5], [0.25]]


def test_success_is_read_from_info_and_absent_otherwise() -> None:
    for tells, expected in ((True, [True, False]), (False, [False, False])):
        line = world("Line-v0", 2, [{"start": 0.75}, {"start": 0.0}], tells=tells)
        assert line.reports_success is tells
        assert step(line, 0, 0)["success"].tolist() == [False, False]
        sent = step(line, 0.5, -0.5)
        assert sent["terminated"].tolist() == [True, True]
        assert sent["success"].tolist() == expected


def test_actions_are_rescaled_clipped_and_reshaped() -> None:
    line = world("Line-v0", 2, [{"start": 0.25}, {"start": 0.5}])
    assert line.dims["A"] == 1
    step(line, 0, 0)
    assert step(line, 7, -0.5)["truth"].tolist() == [[0.75], [0.25]]


@pytest.mark.parametrize("settings", [{}, {"observe": "state"}, {"door": "random", "size": 16, "max_episode_steps": 5}])
def test_rows_and_a_vector_environment_agree(settings: dict[str, Any]) -> None:
    options = [{"start": [24.0 + row, 7.0], "goal": [27.0, 10.0]} for row in range(3)]
    at_once = world("worlds:ami/TwoRooms-v0", 3, options, **settings)
    by_row = world("OneRow-v0", 3, options, **settings)
    assert type(by_row.rows) is not type(at_once.rows)
    assert dict(by_row.infer_dims({})) == dict(at_once.infer_dims({}))
    assert by_row.outputs == at_once.outputs
    ended = torch.zeros(3, dtype=torch.bool)
    for tick in range(9):
        if tick == 4:
            for rooms in (at_once, by_row):
                begin(rooms, [False, True, False], [0, 99, 0], options)
        one, other = step(at_once, 1.0, 0.5, 0.2), step(by_row, 1.0, 0.5, 0.2)
        assert same(one, other, range(3)), tick
        ended |= one["terminated"] | one["truncated"]
    assert ended.any()


# Spaces of every kind -------------------------------------------------------------------------------------------------

HAND, EYE = Box(-1, 1, (2,)), Box(0, 255, (4, 4, 3), np.uint8)
SEEN: list[tuple[Space, tuple[int, ...], tuple[int, ...]]] = [
    (Discrete(3), (3,), (0,)),
    (MultiDiscrete([2, 3]), (5,), (0,)),
    (Tuple((HAND, Discrete(3))), (5,), (0,)),
    (EYE, (4, 4, 3), (0,)),
    (Dict(place=HAND, floor=Discrete(4)), (6,), (0,)),
    (Dict(eye=EYE, mission=Text(5)), (4, 4, 3), (0,)),
    (Dict(eye=EYE, way=Discrete(4), mission=Text(5)), (52,), (0,)),
    (Dict(observation=HAND, goal=Discrete(4)), (2,), (4,)),
    (Dict(observation=Dict(hand=HAND, eye=EYE), achieved_goal=HAND, desired_goal=HAND), (50,), (2,)),
]


@pytest.mark.parametrize(("seen", "observation", "goal"), SEEN, ids=[str(case[0])[:24] for case in SEEN])
def test_numeric_spaces_are_observed(seen: Space, observation: tuple[int, ...], goal: tuple[int, ...]) -> None:
    shown = world("Shown-v0", 2, seen=seen)
    assert shown.dims["O"] == observation and shown.dims["G"] == goal
    assert [step(shown, 0, 0)["reward"].tolist() for _ in range(3)] == [[0, 0], [1, 1], [1, 1]]


def test_flattening_equals_gymnasiums() -> None:
    space = Dict(floor=Discrete(4), place=HAND)
    sent = step(world("Shown-v0", 2, first=5, seen=space), 0, 0)["observation"]
    for row in range(2):
        space.seed(5 + row)
        assert sent[row].tolist() == flatten(space, space.sample()).tolist()


def test_a_one_hot_action_selects_its_choice() -> None:
    shown = world("Shown-v0", 2, seen=HAND, done=Discrete(3, start=5))
    assert shown.inputs["action"].space == ActionSpace(choices=(3,)) and shown.dims["A"] == 3
    for _ in range(2):
        shown.step(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    assert [env.unwrapped.done for env in shown.rows.envs] == [[6], [7]]


def test_a_repeated_action_sums_rewards_and_stops_at_the_end() -> None:
    line = world("Line-v0", 2, [{"start": 0.25}, {"start": 0.0}], repeat=3)
    step(line, 0, 0)
    sent = step(line, 1.0, 0.25)
    assert sent["truth"].tolist() == [[1.25], [0.375]]
    assert sent["reward"].tolist() == [0.75 + 1.25, 0.125 + 0.25 + 0.375] and sent["terminated"].tolist() == [True, False]
    assert line.settings == {"repeat": 3}


def test_wrappers_are_named_by_their_path() -> None:
    shown = world("Shown-v0", 1, seen=HAND, wrappers=["tests.ami.envs.test_world.Halved"] * 2)
    assert [step(shown, 0)["reward"].item() for _ in range(2)] == [0, 0.25]
    assert GymWorld("worlds:ami/TwoRooms-v0", wrappers=["gymnasium.wrappers.RecordEpisodeStatistics"]).settings == {
        "wrappers": ["gymnasium.wrappers.RecordEpisodeStatistics"]}


@pytest.mark.parametrize(("env", "sizes"), [
    ("CartPole-v1", {"O": (4,), "G": (0,), "A": 2}), ("Acrobot-v1", {"O": (6,), "G": (0,), "A": 3}),
    ("LunarLander-v3", {"O": (8,), "G": (0,), "A": 4}),
    ("minigrid:MiniGrid-DoorKey-6x6-v0", {"O": (151,), "G": (0,), "A": 7}),
    ("gymnasium_robotics:PointMaze_UMaze-v3", {"O": (4,), "G": (2,), "A": 2})])
def test_the_worlds_of_the_experiments_run(env: str, sizes: dict[str, Any]) -> None:
    made = world(env, 2)
    assert {symbol: made.dims[symbol] for symbol in sizes} == sizes
    assert made.reports_success is ("Maze" in env)
    for _ in range(3):
        step(made, 1, 0)


@pytest.mark.parametrize("settings", [{"id": "Pendulum-v1"}, {"id": "CartPole-v1"}, {"id": "CartPole-v1", "repeat": 2},
                                      {"id": "Shown-v0", "seen": Dict(hand=HAND, words=Text(5)), "done": Discrete(4)}])
def test_worlds_pass_the_contract_check(settings: dict[str, Any]) -> None:
    check_world(lambda: GymWorld(**settings), ticks=60)


# Beginning and ending -------------------------------------------------------------------------------------------------


def test_a_row_depends_only_on_its_seed() -> None:
    together, alone = world("Pendulum-v1", 3, first=4), world("Pendulum-v1", 1, first=6)
    for _ in range(3):
        assert same(step(together, 1.0, -1.0, 0.5), step(alone, 0.5), [2], [0])


def test_finished_rows_stand_still_until_reset() -> None:
    line = world("Line-v0", 2, [{"start": 0.75}, {"start": 0.0}])
    step(line, 0, 0)
    end = step(line, 1.0, 0.0)
    assert end["terminated"].tolist() == [True, False] and end["reward"].tolist() == [1.25, 0]
    for _ in range(2):
        later = step(line, -1.0, 0.5)
        assert later["episode"].tolist() == [-1, 1]
        assert same({**end, "reward": torch.zeros(2), "episode": later["episode"]}, later, [0])
    assert later["truth"][1].item() == 0.5
    begin(line, [True, False], [3, 0], [{"start": 0.25}, {"start": 0.0}])
    anew = step(line, 1.0, 0.5)
    assert anew["truth"].tolist() == [[0.25], [0.75]]
    assert not anew["terminated"].any() and not anew["success"].any() and anew["reward"].tolist() == [0, 0.75]
    assert step(line, 1.0, 0.0)["truth"][0].item() == 0.75


def test_the_time_limit_of_the_environment_holds() -> None:
    line = world("Line-v0", 2, [{"start": 0.5}, {"start": 0.5}])
    flags = [step(line, 0.0, 0.0)["truncated"].tolist() for _ in range(3)]
    begin(line, [False, True], [0, 1], [{"start": 0.5}, {"start": 0.5}])
    flags += [step(line, 0.0, 0.0)["truncated"].tolist() for _ in range(7)]
    assert [one for one, _ in flags].index(True) == 6 and flags[-1] == [True, True]
    assert [other for _, other in flags].index(True) == 9


def test_a_reset_row_is_fresh_and_the_others_are_unaffected() -> None:
    one, undisturbed, fresh = (world("Pendulum-v1", 3, first=first) for first in (0, 0, 50))
    for _ in range(3):
        step(one, 1, 1, 1), step(undisturbed, 1, 1, 1)
    begin(one, [False, True, False], [50, 51, 52])
    for _ in range(4):
        sent = step(one, 1, 1, 1)
        assert same(sent, step(undisturbed, 1, 1, 1), [0, 2]) and same(sent, step(fresh, 1, 1, 1), [1])


def test_the_action_at_a_reset_is_ignored() -> None:
    one, other = world("Line-v0", 1, first=3), world("Line-v0", 1, first=3)
    assert same(step(one, 0.5), step(other, -0.5))


def test_another_batch_size_makes_new_environments() -> None:
    line = world("Line-v0", 2)
    step(line, 0, 0)
    begin(line, [True] * 4, range(4))
    assert same(step(line, 0, 0, 0, 0), step(world("Line-v0", 4), 0, 0, 0, 0), range(4))


def test_later_steps_do_not_change_sent_messages() -> None:
    for env in ("Line-v0", "worlds:ami/TwoRooms-v0"):
        of = world(env, 2)
        sent = [step(of, 0.25, 0.25) for _ in range(2)]
        copies = [{name: value.clone() for name, value in tick.items()} for tick in sent]
        step(of, 0.25, -0.25)
        begin(of, [True, False], [5, 6])
        step(of, 0.25, -0.25)
        assert all(same(one, other, range(2)) for one, other in zip(sent, copies, strict=True))


def test_episodes_of_one_batch_give_the_same_options() -> None:
    line = world("Line-v0", 2, [{"start": 0.75}, {}])
    with pytest.raises(SettingError) as refused:
        step(line, 0, 0)
    assert str(refused.value) == (
        "the episodes of one batch give different options (start): expected the same ones in every row")


def test_an_autoreset_vector_environment_is_made_row_by_row() -> None:
    line = world("Patient-v0", 1, [{"start": 0.75}])
    step(line, 0)
    assert [step(line, 1.0)["truth"].item() for _ in range(3)] == [1.25] * 3


# Refused worlds -------------------------------------------------------------------------------------------------------

REGISTER = ("Fix: 'package:id' imports the package that registers it, world.entry_point=module:Class needs no "
            "registration, and gymnasium.pprint_registry() prints all ids")
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Pendulm-v1", {}, "world 'Pendulm-v1' is not registered with gymnasium in this process: did you mean 'Pendulum-v1'? "
                       f"{REGISTER}"),
    ("worlds:ami/TwoRoom-v0", {}, "world 'worlds:ami/TwoRoom-v0' is not registered with gymnasium in this process: did you "
                                  f"mean 'ami/TwoRooms-v0'? {REGISTER}"),
    ("nowhere:Maze-v0", {}, "world 'nowhere:Maze-v0' needs the package 'nowhere': No module named 'nowhere'."),
    ("Line-v0", {"lenght": 3}, "Line-v0 has no setting 'lenght': did you mean 'length'?"),
    ("minigrid:MiniGrid-DoorKey-6x6-v0", {"max_step": 9}, "minigrid:MiniGrid-DoorKey-6x6-v0 has no setting 'max_step': did "
                                                          "you mean 'max_steps'?"),
    ("worlds:ami/TwoRooms-v0", {"dor": "fixed"}, "worlds:ami/TwoRooms-v0 has no setting 'dor': did you mean 'door'?"),
    ("Line-v0", {"repeat": 0}, "world.repeat is 0: expected 1 or more"),
    ("Line-v0", {"wrappers": ["nowhere.Blind"]}, "world.wrappers names 'nowhere.Blind', whose package cannot be imported: "
     f"No module named 'nowhere'. Fix: {how_to_install('worlds')}, or put its folder on PYTHONPATH"),
    ("Line-v0", {"wrappers": ["gymnasium.wrappers.FlatenObservation"]}, "world.wrappers names "
     "'gymnasium.wrappers.FlatenObservation', which is not a gymnasium wrapper: did you mean 'FlattenObservation'?"),
    ("Shown-v0", {"seen": Dict(mission=Text(3, charset="a"))}, "Shown-v0 has the observation space Dict('mission': Text(1, "
     "3, charset=a)), which is not numeric: expected a Box, a Discrete or a Dict of them. Fix: a wrapper of your "
     "own, world.wrappers=[package.file.Class]"),
    ("Shown-v0", {"seen": Box(0, 1, (2,)), "done": Text(3, charset="a")}, "Shown-v0 has the action space Text(1, 3, "
     "charset=a): expected a Box, Discrete, MultiDiscrete, MultiBinary, or a Tuple or Dict of them. Fix: a wrapper of your "
     "own, world.wrappers=[package.file.Class], that turns actions into one of these"),
    ("Shown-v0", {"seen": Box(0, 1, (2,)), "done": Box(-np.inf, 1, (1,))}, "Shown-v0 has the action space Box(-inf, 1.0, "
     "(1,), float32), which is unbounded: expected finite bounds, to which actions in [-1, 1] are rescaled. Fix: a wrapper "
     "of your own, world.wrappers=[package.file.Class], that turns actions into one of these"),
    ("Impatient-v0", {}, "Impatient-v0 resets episodes by itself: expected a vector environment with autoreset_mode "
                         "DISABLED, or an entry_point as well"),
]


@pytest.mark.parametrize(("env", "settings", "words"), REFUSED, ids=[f"{case[0]} {'.'.join(case[1])}" for case in REFUSED])
def test_invalid_worlds_are_refused_with_the_reason(env: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as refused:
        GymWorld(env, **settings)
    assert str(refused.value) == words


def test_an_id_of_another_package_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_mazes.py").write_text("import gymnasium\nfrom tests.ami.envs.test_world import Line\n"
                                          "gymnasium.register('mine/Maze-v0', 'my_mazes:Line')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError, match="world 'mine/Maze-v0' is not registered with gymnasium"):
        GymWorld("mine/Maze-v0")
    assert step(world("my_mazes:mine/Maze-v0", 1), 0)["observation"].shape == (1, 2)
    del sys.modules["my_mazes"]


# In a graph, and for evaluations --------------------------------------------------------------------------------------


def test_nodes_infer_their_sizes_from_the_world() -> None:
    class Still(Actor):
        inputs = {}

    graph = Graph({"world": ModuleSpec(GymWorld, {"id": "Pendulum-v1"}), "actor": ModuleSpec(Still)},
                  {"world": {"action": "actor.action@-1"}, "actor": {}})
    assert graph.dims["actor"]["A"] == 1


def test_observation_dtypes_are_declared() -> None:
    assert GymWorld("worlds:ami/TwoRooms-v0").outputs["observation"].dtype == torch.uint8
    assert GymWorld("worlds:ami/TwoRooms-v0", observe="state").outputs["goal"].dtype == torch.float32
    assert GymWorld("Line-v0").outputs["observation"].dtype == torch.float32

"""GymWorld: any gymnasium environment of boxes is a world; finished rows stand still; what is no world is told why."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode
from torch import Tensor

from ami.blueprint import Actor, Episode
from ami.errors import SettingError
from ami.graph import Graph
from ami.gym_world import GymWorld
from ami.parts import Part

Outputs = dict[str, Tensor]


class Line(gymnasium.Env):
    """A walk from 0 to `length`; falling below 0 ends it too, without success."""

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


class Signed(Line):
    action_space = Discrete(3)


class Labelled(Line):
    observation_space = Dict({"observation": Box(0, 1, (2,)), "goal": Discrete(4)})


class Headless(Line):
    observation_space = Dict({"pixels": Box(0, 1, (2,))})


class Impatient(gymnasium.vector.VectorEnv):
    """Begins anew by itself."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1) -> None:
        self.num_envs = num_envs


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered here is gone after each test."""
    importlib.import_module("worlds")  # those that stay
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    for cls in (Line, Signed, Labelled, Headless):
        gymnasium.register(f"{cls.__name__}-v0", cls, max_episode_steps=6)
    gymnasium.register("Patient-v0", Line, vector_entry_point=Impatient)
    gymnasium.register("Impatient-v0", vector_entry_point=Impatient)
    gymnasium.register("OneRow-v0", "worlds.two_rooms:TwoRoomsEnv", disable_env_checker=True)


def world(env: str, batch: int, options: Sequence[dict[str, Any]] | None = None, first: int = 0,
          **settings: Any) -> GymWorld:
    """Made, and about to begin episodes of seeds `first`, `first` + 1, …"""
    made = GymWorld(env, **settings)
    made.set_up(dict(made.infer_dims({})))
    begin(made, [True] * batch, range(first, first + batch), options)
    return made


def begin(of: GymWorld, mask: Sequence[bool], seeds: Sequence[int], options: Sequence[dict[str, Any]] | None = None) -> None:
    chosen = options or [{}] * len(mask)
    of.assign(torch.tensor(mask), [Episode(seed, seed, chosen[row]) for row, seed in enumerate(seeds)])
    of.begin(torch.tensor(mask), list(seeds))


def step(of: GymWorld, *actions: float) -> Outputs:
    """One tick; what is sent fits the ports."""
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


def test_a_plain_environment_moves_as_it_does_without_us() -> None:
    ours, theirs = world("Pendulum-v1", 2, first=7), gymnasium.make("Pendulum-v1")
    seen, _ = theirs.reset(seed=8)
    assert torch.equal(step(ours, 9, 9)["observation"][1], torch.tensor(seen))
    for action in (0.5, -1.5, 1.0):
        seen, reward, *_ = theirs.step(np.array([action], np.float32))
        sent = step(ours, 2.0, action)
        assert torch.equal(sent["observation"][1], torch.tensor(seen))
        assert sent["reward"][1].item() == pytest.approx(float(reward))


def test_an_environment_that_tells_no_truth_has_a_truth_of_width_0() -> None:
    assert step(world("Pendulum-v1", 2), 0, 0)["truth"].shape == (2, 0)
    assert step(world("Line-v0", 2, tells=False), 0, 0)["truth"].shape == (2, 0)


def test_the_truth_is_read_of_every_row() -> None:
    line = world("Line-v0", 2, [{"start": 0.25}, {"start": 0.5}])
    assert line.dims["X"] == 1
    assert step(line, 0, 0)["truth"].tolist() == [[0.25], [0.5]]
    assert step(line, 0.25, -0.25)["truth"].tolist() == [[0.5], [0.25]]


def test_success_is_what_the_environment_calls_so_and_else_there_is_none() -> None:
    for tells, expected in ((True, [True, False]), (False, [False, False])):
        line = world("Line-v0", 2, [{"start": 0.75}, {"start": 0.0}], tells=tells)
        assert line.tells_success is tells
        assert step(line, 0, 0)["success"].tolist() == [False, False]
        sent = step(line, 0.5, -0.5)
        assert sent["terminated"].tolist() == [True, True]
        assert sent["success"].tolist() == expected


def test_actions_beyond_the_space_are_clipped_and_get_its_shape() -> None:
    line = world("Line-v0", 2, [{"start": 0.25}, {"start": 0.5}])
    assert line.dims["A"] == 1
    step(line, 0, 0)
    assert step(line, 7, -0.25)["truth"].tolist() == [[0.75], [0.25]]


@pytest.mark.parametrize("settings", [{}, {"observe": "state"}, {"door": "random", "size": 16, "max_episode_steps": 5}])
def test_made_row_by_row_a_world_is_the_same_as_made_at_once(settings: dict[str, Any]) -> None:
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


# Beginning and ending -------------------------------------------------------------------------------------------------


def test_a_row_depends_on_its_own_seed_alone() -> None:
    together, alone = world("Pendulum-v1", 3, first=4), world("Pendulum-v1", 1, first=6)
    for _ in range(3):
        assert same(step(together, 1.0, -1.0, 0.5), step(alone, 0.5), [2], [0])


def test_finished_rows_stand_still_until_they_begin_anew() -> None:
    line = world("Line-v0", 2, [{"start": 0.75}, {"start": 0.0}])
    step(line, 0, 0)
    end = step(line, 0.5, 0.0)
    assert end["terminated"].tolist() == [True, False] and end["reward"].tolist() == [1.25, 0]
    for _ in range(2):
        later = step(line, -0.5, 0.25)
        assert same({**end, "reward": torch.zeros(2)}, later, [0])
    assert later["truth"][1].item() == 0.5
    begin(line, [True, False], [3, 0], [{"start": 0.25}, {"start": 0.0}])
    anew = step(line, 0.5, 0.25)
    assert anew["truth"].tolist() == [[0.25], [0.75]]
    assert not anew["terminated"].any() and not anew["success"].any() and anew["reward"].tolist() == [0, 0.75]
    assert step(line, 0.5, 0.0)["truth"][0].item() == 0.75


def test_the_time_limit_of_the_environment_holds() -> None:
    line = world("Line-v0", 2, [{"start": 0.5}, {"start": 0.5}])
    flags = [step(line, 0.0, 0.0)["truncated"].tolist() for _ in range(3)]
    begin(line, [False, True], [0, 1], [{"start": 0.5}, {"start": 0.5}])
    flags += [step(line, 0.0, 0.0)["truncated"].tolist() for _ in range(7)]
    assert [one for one, _ in flags].index(True) == 6 and flags[-1] == [True, True]
    assert [other for _, other in flags].index(True) == 9


def test_a_row_that_begins_anew_is_a_fresh_one_and_the_others_are_not_touched() -> None:
    one, undisturbed, fresh = (world("Pendulum-v1", 3, first=first) for first in (0, 0, 50))
    for _ in range(3):
        step(one, 1, 1, 1), step(undisturbed, 1, 1, 1)
    begin(one, [False, True, False], [50, 51, 52])
    for _ in range(4):
        sent = step(one, 1, 1, 1)
        assert same(sent, step(undisturbed, 1, 1, 1), [0, 2]) and same(sent, step(fresh, 1, 1, 1), [1])


def test_an_action_that_came_before_the_beginning_is_not_taken() -> None:
    one, other = world("Line-v0", 1, first=3), world("Line-v0", 1, first=3)
    assert same(step(one, 0.5), step(other, -0.5))


def test_another_number_of_worlds_begins_from_nothing() -> None:
    line = world("Line-v0", 2)
    step(line, 0, 0)
    begin(line, [True] * 4, range(4))
    assert same(step(line, 0, 0, 0, 0), step(world("Line-v0", 4), 0, 0, 0, 0), range(4))


def test_messages_that_were_sent_are_not_changed_by_later_steps() -> None:
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


def test_an_environment_that_begins_anew_by_itself_is_made_row_by_row() -> None:
    line = world("Patient-v0", 1, [{"start": 0.75}])
    step(line, 0)
    assert [step(line, 0.5)["truth"].item() for _ in range(3)] == [1.25] * 3


# What is no world -----------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Pendulm-v1", {}, "world 'Pendulm-v1' is not registered with gymnasium: did you mean 'Pendulum-v1'? "
                       "Cure: 'package:id' imports the package that registers it"),
    ("worlds:ami/TwoRoom-v0", {}, "world 'worlds:ami/TwoRoom-v0' is not registered with gymnasium: did you mean "
                                  "'ami/TwoRooms-v0'? Cure: 'package:id' imports the package that registers it"),
    ("nowhere:Maze-v0", {}, "world 'nowhere:Maze-v0' needs the package 'nowhere': No module named 'nowhere'"),
    ("Signed-v0", {}, "Signed-v0 has the action space Discrete(3): expected a Box. Cure: a gymnasium wrapper"),
    ("Labelled-v0", {}, "Labelled-v0 has the goal space Discrete(4): expected a Box. Cure: a gymnasium wrapper"),
    ("Headless-v0", {}, "Headless-v0 has the observation space None: expected a Box. Cure: a gymnasium wrapper"),
    ("CartPole-v1", {}, "CartPole-v1 has the action space Discrete(2): expected a Box. Cure: a gymnasium wrapper"),
    ("Line-v0", {"lenght": 3}, "Line-v0 refused the settings {'lenght': 3}: Line.__init__() got an unexpected keyword "
                               "argument 'lenght' was raised from the environment creator for Line-v0 with kwargs "
                               "({'lenght': 3})"),
    ("worlds:ami/TwoRooms-v0", {"dor": "fixed"}, "worlds:ami/TwoRooms-v0 refused the settings {'dor': 'fixed'}: "
                                                 "TwoRoomsVectorEnv.__init__() got an unexpected keyword argument 'dor'"),
    ("Impatient-v0", {}, "Impatient-v0 begins episodes anew by itself: expected a vector environment with autoreset_mode "
                         "DISABLED, or a single one beside it"),
]


@pytest.mark.parametrize(("env", "settings", "words"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_no_world_is_told_why(env: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as refused:
        GymWorld(env, **settings)
    assert str(refused.value) == words


def test_an_id_of_another_package_imports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_mazes.py").write_text("import gymnasium\nfrom tests.ami.test_gym_world import Line\n"
                                          "gymnasium.register('mine/Maze-v0', 'my_mazes:Line')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingError, match="world 'mine/Maze-v0' is not registered with gymnasium"):
        GymWorld("mine/Maze-v0")
    assert step(world("my_mazes:mine/Maze-v0", 1), 0)["observation"].shape == (1, 2)
    del sys.modules["my_mazes"]


# In a graph, and for evaluations --------------------------------------------------------------------------------------


def test_every_node_learns_its_sizes_from_the_world() -> None:
    class Still(Actor):
        inputs = {}

    graph = Graph({"world": Part(GymWorld, {"id": "Pendulum-v1"}), "actor": Part(Still)},
                  {"world": {"action": "actor.action@-1"}, "actor": {}})
    assert graph.dims["actor"]["A"] == 1


def test_a_world_of_bytes_says_so() -> None:
    assert GymWorld("worlds:ami/TwoRooms-v0").outputs["observation"].dtype == torch.uint8
    assert GymWorld("worlds:ami/TwoRooms-v0", observe="state").outputs["goal"].dtype == torch.float32
    assert GymWorld("Line-v0").outputs["observation"].dtype == torch.float32


def test_a_world_without_goals_gives_seeds_for_an_evaluation() -> None:
    pendulum = GymWorld("Pendulum-v1")
    pairs = pendulum.sample_pairs(seed=3, num_pairs=20)
    assert all(pair.keys() == {"kind", "seed"} and pair["kind"] == "episode" for pair in pairs)
    assert len({pair["seed"] for pair in pairs}) == 20
    assert pairs == pendulum.sample_pairs(3, 20) and pairs != pendulum.sample_pairs(4, 20)


def test_a_world_with_goals_gives_its_own_pairs() -> None:
    rooms = GymWorld("worlds:ami/TwoRooms-v0")
    pairs = rooms.sample_pairs(seed=3, num_pairs=2)
    assert [pair["kind"] for pair in pairs] == ["same_room", "same_room", "across", "across"]
    assert pairs == rooms.rows.sample_pairs(seed=3, num_pairs=2)

"""DataWorld: the ports of a file of episodes; it refuses to be stepped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ami
from ami.actions import ActionSpace
from ami.config.compose import to_graph
from ami.data.read import Data
from ami.envs.data_world import DataWorld
from ami.errors import DataError, SettingError
from tests.ami.data import written


def test_its_ports_are_those_of_the_data(tmp_path: Path) -> None:
    world = DataWorld(str(written.npz_folder(tmp_path / "npz")))
    dims = world.infer_dims({})
    assert dims == {"O": (2,), "G": (0,), "X": 0, "A": 3} and world.space == ActionSpace(choices=(3,))
    assert world.outputs["observation"].dtype == torch.float32 and not world.reports_success
    assert DataWorld(str(tmp_path / "npz"), choices=5).space == ActionSpace(choices=(5,))
    assert DataWorld(str(tmp_path / "npz"), goal=True).infer_dims({})["G"] == (2,)


def test_data_without_rewards_have_a_goal(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", obs=np.zeros((4, 16, 16, 3), np.uint8), act=np.array([[-2.0], [0], [2]]),
             truth=np.ones((4, 2)))
    world = DataWorld(str(tmp_path / "a.npz"), low=-2, high=2)
    assert world.infer_dims({}) == {"O": (16, 16, 3), "G": (16, 16, 3), "X": 2, "A": 1} and world.space == ActionSpace(1)
    assert world.outputs["goal"].dtype == torch.uint8


def test_the_agent_is_fitted_to_the_data(tmp_path: Path) -> None:
    graph = to_graph(ami.compose(["world=data", f"world.path={written.npz_folder(tmp_path / 'npz')}"]))
    kinds = {node: type(module).__name__ for node, module in graph.drafts.items()}
    assert kinds["perception"] == "Vector" and kinds["planner"] == "Categorical" and kinds["goal"] == "NoGoal"


def test_own_data_state_their_choices(tmp_path: Path) -> None:
    buffer = Data.at(written.npz_folder(tmp_path / "npz")).load(1e9, tmp_path / "rows")
    buffer.save(tmp_path / "own")
    assert DataWorld(str(tmp_path / "own")).space == ActionSpace(3)
    (tmp_path / "own" / "notes.json").write_text('{"choices": [3]}')
    assert DataWorld(str(tmp_path / "own")).space == ActionSpace(choices=(3,))


def test_nothing_acts_in_it(tmp_path: Path) -> None:
    world = DataWorld(str(written.npz_folder(tmp_path / "npz")))
    for act in (lambda: world.step(torch.zeros(1, 3)), lambda: world.sample_pairs(0, 1)):
        with pytest.raises(SettingError, match=r"world=data has no environment: .* Fix: learn with `ami train`; to act, "):
            act()


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"world\.path is missing"):
        DataWorld()
    with pytest.raises(DataError, match="there is no data at"):
        DataWorld(str(tmp_path / "none"))
    with pytest.raises(SettingError, match="expected low below high"):
        DataWorld(str(tmp_path), low=2)

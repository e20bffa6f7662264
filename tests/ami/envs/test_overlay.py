from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from ami.envs.overlay import Overlay
from ami.envs.world import GymWorld
from ami.errors import SettingError

STATED = {"state": [2, 0], "top_left": [-1, 1], "bottom_right": [1, -1], "goal_radius": 0.5}


class Meadow(gymnasium.Env):
    """An environment with pictures of any size, channels last, that declares an overlay."""

    metadata = {"render_modes": ["rgb_array"], "overlay": STATED}
    action_space = Discrete(2)

    def __init__(self, size: int = 20, state: int | None = 3, overlay: Any = STATED, vector: int = 0) -> None:
        self.observation_space = Box(-1, 1, (vector,), np.float32) if vector else Box(0, 255, (size, 2 * size, 3), np.uint8)
        self.metadata = {**type(self).metadata, "overlay": overlay}
        self.numbers = state

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._shown()

    def step(self, action: int) -> Any:
        seen, info = self._shown()
        return seen, 0.0, False, False, info

    def _shown(self) -> Any:
        info = {} if self.numbers is None else {"state": np.zeros(self.numbers)}
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), info


gymnasium.register("Meadow-v0", Meadow)


def test_places_are_shares_of_the_picture_and_y_may_grow_upwards() -> None:
    overlay = Overlay.read(STATED, "Meadow-v0")
    states = np.array([[1.0, 9, -1], [-1, 9, 1], [0, 9, 0], [0.5, 9, 0]])
    assert overlay.places(states).tolist() == [[0, 0], [1, 1], [0.5, 0.5], [0.5, 0.25]]
    assert overlay.goal_radii() == (0.25, 0.25)
    assert Overlay.read(overlay.plain(), "again") == overlay


def test_goal_place_is_the_option_or_else_in_the_goal_vector() -> None:
    overlay = Overlay.read(STATED, "Meadow-v0")
    assert overlay.goal([0.5, 0.25], None) == (0.5, 0.25)
    assert overlay.goal(None, np.array([7.0, 8, 9])) == (9, 7)
    assert overlay.goal([1, 2, 3], np.zeros((4, 4, 3))) is None and overlay.goal(None, np.zeros(2)) is None
    assert Overlay.read({**STATED, "goal_radius": None}, "").goal([0.5, 0.25], None) is None


@pytest.mark.parametrize("change, words", [
    ({"state": [0]}, r"\['state'\] is \[0\]: expected two entries, whole numbers from 0, \[x, y\]"),
    ({"state": [0, 1.5]}, r"\['state'\] is \[0, 1.5\]: expected two entries"),
    ({"top_left": ["a", 0]}, r"\['top_left'\] is \['a', 0\]: expected two finite numbers, \[x, y\]"),
    ({"bottom_right": [float("inf"), 0]}, r"expected two finite numbers"),
    ({"bottom_right": [-1, 0]}, r"has the corners \[-1, 1\] and \[-1, 0\]: expected two that differ in x and in y"),
    ({"goal_radius": 0}, r"\['goal_radius'\] is 0: expected a number above 0"),
    ({"goal_radios": 1}, r"has an unknown entry 'goal_radios': did you mean 'goal_radius'\?")])
def test_an_invalid_overlay_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=f"Meadow-v0: overlay.*{words}"):
        Overlay.read({**STATED, **change}, "Meadow-v0: overlay")
    with pytest.raises(SettingError, match="has no 'top_left': expected state, top_left, bottom_right"):
        Overlay.read({"state": [0, 1], "bottom_right": [1, 1]}, "Meadow-v0: overlay")
    with pytest.raises(SettingError, match=r"is 32: expected a mapping with state, top_left, bottom_right"):
        Overlay.read(32, "Meadow-v0: overlay")


def test_a_world_declares_its_overlay_or_has_none() -> None:
    assert GymWorld("Meadow-v0").overlay == Overlay.read(STATED, "Meadow-v0")
    assert GymWorld("Meadow-v0", state=None, vector=3).overlay is not None
    assert GymWorld("Meadow-v0", overlay=None).overlay is None
    assert GymWorld("CartPole-v1").overlay is None
    assert GymWorld("worlds:ami/TwoRooms-v0").overlay == Overlay((0, 1), (0, 0), (32, 32), 2)


@pytest.mark.parametrize("settings", [{"state": 2}, {"state": None}, {"state": None, "vector": 2}])
def test_an_overlay_with_missing_state_entries_is_refused(settings: dict[str, Any]) -> None:
    words = (r"Meadow-v0: metadata\['overlay'\]\['state'\] is \[2, 0\]: expected entries of info\['state'\], or of an "
             r"observation that is a vector, which has [02] numbers")
    with pytest.raises(SettingError, match=words):
        GymWorld("Meadow-v0", **settings)


def test_an_overlay_of_the_rendering_alone() -> None:
    overlay = Overlay.read({**STATED, "picture": "render"}, "Meadow-v0")
    assert overlay.is_of_render and Overlay.read(overlay.plain(), "again") == overlay
    assert not Overlay.read(STATED, "Meadow-v0").is_of_render
    with pytest.raises(SettingError, match=r"\['picture'\] is 'screen': expected 'render', or no entry"):
        Overlay.read({**STATED, "picture": "screen"}, "Meadow-v0")

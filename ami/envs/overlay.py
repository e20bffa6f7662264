"""Overlay: where the true state lies in a world's picture, so that paths and plans can be drawn over it.

An environment states it in its `metadata`; one that does not gets pictures without paths:

    metadata = {"render_modes": ["rgb_array"],
                "overlay": {"state": [0, 1], "top_left": [0, 0], "bottom_right": [32, 32], "goal_radius": 2}}

    state         which two numbers are x and y: entries of info["state"], flattened; in a world without info["state"], of
                  the observation, a vector
    top_left      x and y at the top left corner of the picture, in the state's units
    bottom_right  x and y at its bottom right corner; where y grows upwards, this y is the smaller one
    goal_radius   optional: a goal is drawn as a circle of this radius, in the state's units. Its place is the option "goal"
                  of the episode, [x, y]; without that option, the same two entries of the goal, a vector

The picture is the observation, or what `render()` returns: both have to show the same part of the world.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ami.errors import SettingError, require, suggestion

KEY = "overlay"
NEEDED, OPTIONAL = ("state", "top_left", "bottom_right"), ("goal_radius",)


@dataclass(frozen=True)
class Overlay:
    """Where the true state lies in a picture; see the file's docstring."""

    state: tuple[int, int]
    top_left: tuple[float, float]
    bottom_right: tuple[float, float]
    goal_radius: float | None = None

    @classmethod
    def read(cls, given: Any, where: str) -> Overlay | None:
        """An overlay from plain values; None if `given` is None.

        Args:
            given: a mapping, as a world states it.
            where: what an error names, such as "Ice-v0: metadata['overlay']".

        Raises:
            SettingError: an entry is missing, unknown or has another form.
        """
        if given is None:
            return None
        if not isinstance(given, Mapping):
            raise SettingError(f"{where} is {given!r}: expected a mapping with {', '.join(NEEDED)}")
        known = (*NEEDED, *OPTIONAL)
        for name in given:
            require(name in known, f"{where} has an unknown entry '{name}'{suggestion(str(name), known)}")
        for name in NEEDED:
            require(name in given, f"{where} has no '{name}': expected {', '.join(NEEDED)}")
            value = given[name]
            kind, numbers = (int, "entries, whole numbers from 0") if name == "state" else (float, "finite numbers")
            require(_are_two(value, kind), f"{where}['{name}'] is {value!r}: expected two {numbers}, [x, y]")
        (left, top), (right, bottom) = given["top_left"], given["bottom_right"]
        require(left != right and top != bottom,
                f"{where} has the corners {given['top_left']!r} and {given['bottom_right']!r}: expected two that differ "
                "in x and in y")
        radius = given.get("goal_radius")
        require(radius is None or (_is_number(radius, float) and radius > 0),
                f"{where}['goal_radius'] is {radius!r}: expected a number above 0")
        x, y = given["state"]
        return cls((int(x), int(y)), (float(left), float(top)), (float(right), float(bottom)),
                   None if radius is None else float(radius))

    def plain(self) -> dict[str, Any]:
        """As JSON would give it back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
                if value is not None}

    def fits(self, width: int) -> bool:
        """Whether a state of so many numbers has both entries."""
        return max(self.state) < width

    def places(self, states: np.ndarray) -> np.ndarray:
        """States (…, X) as places in the picture (…, 2): shares of its width and height, from its top left corner."""
        return self.shares(states[..., list(self.state)])

    def shares(self, xy: np.ndarray) -> np.ndarray:
        """x and y (…, 2) in the state's units as places in the picture (…, 2)."""
        corner = np.asarray(self.top_left)
        shares: np.ndarray = (np.asarray(xy, float) - corner) / (np.asarray(self.bottom_right) - corner)
        return shares

    def goal_radii(self) -> tuple[float, float] | None:
        """The goal's radius in shares of the picture's width and height; None if no goal is drawn."""
        if self.goal_radius is None:
            return None
        width, height = (abs(far - near) for near, far in zip(self.top_left, self.bottom_right, strict=True))
        return self.goal_radius / width, self.goal_radius / height

    def goal(self, option: Any, shown: np.ndarray | None) -> tuple[float, float] | None:
        """The goal's x and y in the state's units; None if no goal is drawn or its place is not known.

        Args:
            option: the option "goal" of the episode.
            shown: the goal that the world shows; only a vector has a place.
        """
        if self.goal_radius is None:
            return None
        if isinstance(option, list | tuple | np.ndarray) and np.shape(option) == (2,):
            return float(option[0]), float(option[1])
        if shown is not None and shown.ndim == 1 and self.fits(len(shown)):
            return float(shown[self.state[0]]), float(shown[self.state[1]])
        return None


def _are_two(value: Any, kind: type) -> bool:
    return isinstance(value, list | tuple | np.ndarray) and len(value) == 2 and all(_is_number(one, kind) for one in value)


def _is_number(value: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and math.isfinite(value)

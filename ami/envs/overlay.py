"""Overlay: the position of the true state in a world's picture, so that paths and plans can be drawn over it.

An environment declares it in its `metadata`; otherwise pictures have no paths:

    metadata = {"render_modes": ["rgb_array"],
                "overlay": {"state": [0, 1], "top_left": [0, 0], "bottom_right": [32, 32], "goal_radius": 2}}

    state         the indices of x and y in info["state"], flattened; in a world without info["state"], in the observation,
                  a vector
    top_left      x and y at the top left corner of the picture, in the state's units
    bottom_right  x and y at its bottom right corner; if y grows upwards, this y is the smaller one
    goal_radius   optional: a goal is drawn as a circle of this radius, in the state's units. Its centre is the option "goal"
                  of the episode, [x, y]; without that option, the same two entries of the goal, a vector

    picture       optional: "render" if only the output of `render()` shows this part of the world, as in a world whose
                  observation is a partial view; video, and viewer with --render, then draw over it

The picture is the observation or the output of `render()`; both must show the same part of the world, unless `picture` is
"render".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ami.errors import SettingError, require, suggestion

KEY, RENDER = "overlay", "render"
NEEDED, OPTIONAL = ("state", "top_left", "bottom_right"), ("goal_radius", "picture")


@dataclass(frozen=True)
class Overlay:
    """The position of the true state in a picture; see the module docstring."""

    state: tuple[int, int]
    top_left: tuple[float, float]
    bottom_right: tuple[float, float]
    goal_radius: float | None = None
    picture: str | None = None

    @classmethod
    def read(cls, given: Any, where: str) -> Overlay | None:
        """Read an overlay from plain values; None if `given` is None.

        Args:
            given: a mapping from an environment's metadata.
            where: its name in errors, such as "Ice-v0: metadata['overlay']".

        Raises:
            SettingError: an entry is missing, unknown or invalid.
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
        picture = given.get("picture")
        require(picture in (None, RENDER), f"{where}['picture'] is {picture!r}: expected '{RENDER}', or no entry")
        x, y = given["state"]
        return cls((int(x), int(y)), (float(left), float(top)), (float(right), float(bottom)),
                   None if radius is None else float(radius), picture)

    def plain(self) -> dict[str, Any]:
        """Return the overlay as JSON-compatible values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
                if value is not None}

    @property
    def is_of_render(self) -> bool:
        """Whether it refers to the output of `render()` alone, not to the observation."""
        return self.picture == RENDER

    def fits(self, width: int) -> bool:
        """Return whether a state of `width` numbers has both entries."""
        return max(self.state) < width

    def places(self, states: np.ndarray) -> np.ndarray:
        """Convert states (…, X) to picture positions (…, 2): fractions of width and height from the top left corner."""
        return self.shares(states[..., list(self.state)])

    def shares(self, xy: np.ndarray) -> np.ndarray:
        """Convert x and y (…, 2) in the state's units to picture positions (…, 2)."""
        corner = np.asarray(self.top_left)
        shares: np.ndarray = (np.asarray(xy, float) - corner) / (np.asarray(self.bottom_right) - corner)
        return shares

    def goal_radii(self) -> tuple[float, float] | None:
        """Return the goal's radius in fractions of the picture's width and height; None if no goal is drawn."""
        if self.goal_radius is None:
            return None
        width, height = (abs(far - near) for near, far in zip(self.top_left, self.bottom_right, strict=True))
        return self.goal_radius / width, self.goal_radius / height

    def goal(self, option: Any, shown: np.ndarray | None) -> tuple[float, float] | None:
        """Return the goal's x and y in the state's units; None if no goal is drawn or its position is unknown.

        Args:
            option: the option "goal" of the episode.
            shown: the goal that the world sends; only a vector has a position.
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

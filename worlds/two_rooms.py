"""Two rooms joined by a door: a dot has to reach a goal given as an image.

The single environment is the first row of the vector environment, so that both agree. Geometry and
motion are in `two_rooms_physics.py`, the images in `two_rooms_drawing.py`.

Shapes: B = num_envs rows, S = size. A state is (x, y, door_y) in px of the 32 x 32 world, float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from worlds import two_rooms_pairs as pairs
from worlds import two_rooms_physics as physics
from worlds.refusals import check_choice, check_count
from worlds.rows import MASK, FirstRow, Info, Observation, Options, Rows
from worlds.two_rooms_drawing import Drawing
from worlds.two_rooms_noise import GOAL_FRAME, Noise
from worlds.two_rooms_physics import Array
from worlds.two_rooms_refusals import check_option, check_places, check_velocity

OBSERVE_MODES = ("pixels", "state")
RENDER_MODES = ("rgb_array",)
RENDER_SIZE = 256  # larger than the agent's image, for people
OPTION_SHAPES: dict[str, tuple[int, ...]] = {"start": (2,), "goal": (2,), "door": ()}  # of one row


@dataclass(kw_only=True, eq=False, repr=False)
class Settings:
    """Settings of the two rooms, the constructor of both environments.

    Args:
        observe: "pixels" or "state".
        door: "fixed" or "random".
        noise: see `worlds.two_rooms_noise`.
        size: px of an image's side.
        max_episode_steps: steps until an episode is truncated.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: a setting is not possible.
    """

    observe: str = "pixels"
    door: str = "fixed"
    noise: str = "none"
    size: int = 32
    max_episode_steps: int = 60
    render_mode: str | None = None

    def __post_init__(self) -> None:
        check_choice("observe", self.observe, OBSERVE_MODES)
        check_choice("door", self.door, pairs.DOOR_MODES)
        if self.render_mode is not None:
            check_choice("render_mode", self.render_mode, RENDER_MODES)
        check_count("max_episode_steps", self.max_episode_steps)
        self.floors = Noise(self.noise, self.size)
        self.dynamics = physics.Dynamics()
        self.drawing = Drawing(self.size)


@dataclass(eq=False, repr=False)
class TwoRoomsVectorEnv(Settings, Rows):
    """B independent rows of the two rooms; a row depends on its own seed, options and actions only, bitwise.

    An action is a velocity (x, y); its Euclidean norm is clipped to 1, which is 2 px per step. An episode
    ends with reward 1 when the dot is within 2 px of the goal (terminated), or after `max_episode_steps`
    (truncated). There is no autoreset: a finished row stays as it is, with reward 0, until it is reset.

    Settings: `observe` "pixels" (uint8 (S, S, 3)) or "state" (float32 (3,)), for observation and goal;
    `door` "fixed" (centre y = 10 px) or "random" (drawn per episode, see `two_rooms_pairs`); `noise` "none",
    "tv" or "background" (noise in the images, see `two_rooms_noise`); `size` S of the image in
    [16, 64] pixels.

    Raises ValueError for an invalid setting, option or action, and `ResetNeeded` for a step before a reset.
    """

    metadata = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.DISABLED,
        # position of the state in an image of any size
        "overlay": {"state": [0, 1], "top_left": [0, 0], "bottom_right": [physics.SIDE, physics.SIDE],
                    "goal_radius": physics.SUCCESS_RADIUS},
    }
    pair_kinds = pairs.PAIR_KINDS

    num_envs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_envs", self.num_envs)
        num_envs, observe, size = self.num_envs, self.observe, self.size
        self.prepare_rows(num_envs)
        self.single_observation_space = Dict(
            {name: _view_space(observe, size) for name in ("observation", "goal")}
        )
        self.single_action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        self._state = np.full((num_envs, 3), np.nan, np.float32)
        self._goal_state = self._state.copy()
        self._num_steps = np.zeros(num_envs, np.int64)
        self._keys = np.zeros(num_envs, np.uint64)  # noise seeds of the episodes
        self._goal_view = self._view(np.zeros_like(self._state), self._keys, self._num_steps)
        self._terminated = np.zeros(num_envs, bool)
        self._truncated = np.zeros(num_envs, bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Options = None
    ) -> tuple[Observation, Info]:
        """Start an episode in the rows of `reset_mask` (all by default); the others are unchanged.

        seed: int s seeds row i with s + i; a sequence of B holds one seed per row; None continues the
        row's own generator. options, each optional, values used in the masked rows only: "reset_mask" (B,)
        bool, "start" (B, 2) px, "goal" (B, 2) px, "door" (B,) px.
        """
        options = _given(options, (MASK, *OPTION_SHAPES))
        mask = options.pop(MASK, None)
        for name, value in options.items():
            options[name] = check_option(name, value, (self.num_envs, *OPTION_SHAPES[name]))
        rows = self.rows_to_reset(mask, seed)
        placed = [self._place(row, **{name: values[row] for name, values in options.items()}) for row in rows]
        state, goal_state = np.asarray(placed, np.float32).reshape(len(rows), 2, 3).swapaxes(0, 1)
        check_places(state, goal_state)

        self._state[rows], self._goal_state[rows] = state, goal_state
        if self.floors.kind != "none":
            self._keys[rows] = [self.generator(row).integers(2**63) for row in rows]
        self._goal_view[rows] = self._view(goal_state, self._keys[rows], np.full(len(rows), GOAL_FRAME))
        self._num_steps[rows] = 0
        self._terminated[rows] = self._truncated[rows] = False
        self._started[rows] = True
        return self._observation(), self._info()

    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, Info]:
        """Apply actions (B, 2) -> observation, reward (B,) float64, terminated and truncated (B,), info."""
        actions = check_velocity(actions, (self.num_envs, 2))
        self.need_reset("a step")
        active = ~(self._terminated | self._truncated)
        self._state = np.where(active[:, None], self.dynamics.step(self._state, actions), self._state)
        self._num_steps += active
        succeeded = active & physics.is_success(self._state, self._goal_state)
        self._terminated |= succeeded
        self._truncated |= active & ~succeeded & (self._num_steps >= self.max_episode_steps)
        reward = succeeded.astype(np.float64)
        terminated, truncated = self._terminated.copy(), self._truncated.copy()
        return self._observation(), reward, terminated, truncated, self._info()

    def render(self) -> tuple[Array, ...] | None:
        """Return one enlarged image (about 256 pixels high, uint8) per row, or None without a render mode."""
        if self.render_mode is None:
            return None
        self.need_reset("a render")
        factor = max(1, round(RENDER_SIZE / self.size))
        pictures = self.drawing.draw(self._state, self.floors.floor(self._keys, self._num_steps))
        return tuple(pictures.repeat(factor, axis=1).repeat(factor, axis=2))

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Return `num_pairs` evaluation pairs of each kind, same room first; see `two_rooms_pairs.sample_pairs`."""
        every = (pairs.sample_pairs(seed, num_pairs, kind, door=self.door) for kind in self.pair_kinds)
        return [pair for of_a_kind in every for pair in of_a_kind]

    def _place(
        self, row: int, start: Array | None = None, goal: Array | None = None, door: Array | None = None
    ) -> tuple[list[float], list[float]]:
        """Return state and goal state of a new episode; the row's generator draws values not given by options."""
        rng = self.generator(row)
        door_y = pairs.sample_door(rng, self.door) if door is None else float(door)
        start_xy = pairs.sample_position(rng, door_y, away_from=goal) if start is None else start
        goal_xy = pairs.sample_position(rng, door_y, away_from=start_xy) if goal is None else goal
        return [*start_xy, door_y], [*goal_xy, door_y]

    def _view(self, state: Array, keys: Array, frames: Array) -> Array:
        """(N, 3) -> (N, S, S, 3) uint8 or (N, 3) float32; always a new array."""
        return self.drawing.draw(state, self.floors.floor(keys, frames)) if self.observe == "pixels" else state.copy()

    def _observation(self) -> Observation:
        """Return new arrays at each call, so that callers may keep or change them."""
        return {"observation": self._view(self._state, self._keys, self._num_steps), "goal": self._goal_view.copy()}

    def _info(self) -> Info:
        """Return ground truth for tests, probes and oracles, with gymnasium's masks set for every row and key."""
        info: Info = {"state": self._state, "goal_state": self._goal_state, "success": self._terminated}
        info = {key: value.copy() for key, value in info.items()}
        return self.with_masks(info)


class TwoRoomsEnv(Settings, FirstRow):
    """One row of the two rooms, with the same `Settings` and episode ends; options have no row axis."""

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 10, "overlay": TwoRoomsVectorEnv.metadata["overlay"]}
    pair_kinds = pairs.PAIR_KINDS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.take(TwoRoomsVectorEnv(1, **{one.name: getattr(self, one.name) for one in fields(Settings)}))

    def reset(self, *, seed: int | None = None, options: Options = None) -> tuple[Observation, Info]:
        """Start an episode; options, each optional: "start" (2,) px, "goal" (2,) px, "door" px."""
        given = _given(options, tuple(OPTION_SHAPES))
        return super().reset(seed=seed, options={
            name: check_option(name, value, OPTION_SHAPES[name]) for name, value in given.items()})

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Apply an action (2,); see `TwoRoomsVectorEnv.step`."""
        return super().step(check_velocity(action, (2,)))


def _view_space(observe: str, size: int) -> Box:
    """Return the space of an observation or a goal; a new one each time, because a space holds a generator."""
    if observe == "pixels":
        return Box(0, 255, (size, size, 3), np.uint8)
    low = np.array([physics.LOW, physics.LOW, physics.DOOR_LOW], np.float32)
    high = np.array([physics.HIGH, physics.HIGH, physics.DOOR_HIGH], np.float32)
    return Box(low, high)


def _given(options: Options, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of the options that are not None; raise ValueError for a name not in `names`."""
    for name in options or {}:
        check_choice("option", name, names)
    return {name: value for name, value in (options or {}).items() if value is not None}

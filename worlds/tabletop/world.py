"""B tables side by side, as a gymnasium vector environment.

Shapes: B = num_envs rows, N objects (with room for clutter), S = 7 + 4 N the size of a state (`worlds.tabletop.state`).
Places are (x, y) in units: the table has 40 x 40 of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from worlds.refusals import check_action, check_count, check_episode_options
from worlds.rows import EpisodeRows, Info, Observation
from worlds.tabletop import options as checks
from worlds.tabletop.dynamics import to_state
from worlds.tabletop.episodes import PAIR_KINDS, STEPS, one_stream, sample_episode, sample_pairs
from worlds.tabletop.goals import MOST_GOALS, REACH_RADIUS, SWITCH, goal_states, is_success
from worlds.tabletop.physics import TABLE, Bodies, gap_of, move
from worlds.tabletop.rendering import MARGIN, PAD, VIEW, Scene, draw, draw_table
from worlds.tabletop.settings import RENDER_MODES, Settings
from worlds.tabletop.state import GRIPPER, HELD, OPENING, PLATE, TASK, Array, objects_of, places_of, size_of

RENDERED = 192  # px
ACTION = "a velocity (x, y) and a speed of opening, in [-1, 1]"


@dataclass(eq=False, repr=False)
class TableTopVectorEnv(Settings, EpisodeRows):
    """B independent tables with one `Settings`; a row depends on its own seed, options and actions only, bitwise.

    An action is (velocity x, velocity y, speed of opening) in [-1, 1]: the velocity's Euclidean norm is clipped to 1, which
    is 3 units per step; 1 opens and -1 closes the gripper by 1.5 units per finger and step. What the fingers and a held
    object run into is pushed. An object between closing fingers is gripped; it is held until the gripper opens at more than
    .3. Success is reward 1 and terminates. There is no autoreset: a finished row stays as it is, with reward 0, until it is
    reset.

    Observations:
        observation: the picture, uint8 (size, size, 3); the state (S,) with observe="state".
        goal: the picture of the goal in the same place, light and camera; or the goal as a state.
        proprioception: float32 (3,): x and y of the gripper in units, and its opening, 0 closed to 1 open.
        state: float32 (2 S,): the true state, and the goal as a state. For experts, probes and pictures.

    Args:
        num_envs: B.

    Raises ValueError for an invalid setting, option or action, and `ResetNeeded` for a step before a reset.
    """

    metadata = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 5,
        "autoreset_mode": AutoresetMode.DISABLED,
        "on_demand": ["proprioception", "state"],
        "overlay": {"state": [0, 1], "top_left": [-MARGIN, -MARGIN], "bottom_right": [VIEW - MARGIN, VIEW - MARGIN],
                    "goal_radius": REACH_RADIUS, "picture": "render"},
    }
    pair_kinds = PAIR_KINDS
    max_episode_steps = max(STEPS.values())

    num_envs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_envs", self.num_envs)
        num_envs, size = self.num_envs, self.size
        self.prepare_rows(num_envs)
        slots = self.rules.num_slots
        self.single_observation_space = _observation_space(self.observe, size, size_of(slots))
        self.single_action_space = Box(-1.0, 1.0, (3,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        self.prepare_options(checks.shapes(slots))
        self._state = np.zeros((num_envs, size_of(slots)))
        self._goals = np.zeros((num_envs, MOST_GOALS, size_of(slots)))
        self._bodies = Bodies(np.full((num_envs, 2), TABLE / 2), np.zeros(num_envs), np.full(num_envs, -1),
                              np.zeros((num_envs, slots, 2)), np.zeros((num_envs, slots), bool))
        side = size + 2 * PAD
        self._canvas = np.zeros((num_envs, side, side, 3), np.uint8)
        self._goal_pictures = np.zeros((num_envs, MOST_GOALS, size, size, 3), np.uint8)
        self._num_steps = np.zeros(num_envs, np.int64)
        self._success, self._truncated = np.zeros(num_envs, bool), np.zeros(num_envs, bool)

    def step(self, actions: Any) -> tuple[Observation, Array, Array, Array, Info]:
        """Apply actions (B, 3) -> observation, reward (B,) float64, terminated and truncated (B,), info."""
        action = check_action(actions, (self.num_envs, 3), ACTION)
        self.need_reset("a step")
        rows = np.flatnonzero(~(self._success | self._truncated))
        moved = move(self._bodies.take(rows), action[rows])
        for values, new in zip(self._bodies, moved, strict=True):
            values[rows] = new
        self._state[rows] = to_state(moved, self._state[rows])
        self._num_steps[rows] += 1
        reached = np.zeros(self.num_envs, bool)
        reached[rows] = is_success(self._state[rows], self._goals[rows, -1])
        self._success |= reached
        self._truncated[rows] = ~reached[rows] & (self._num_steps[rows] >= self._options["steps"][rows])
        return self._observation(), reached.astype(np.float64), self._success.copy(), self._truncated.copy(), self._info()

    def render(self) -> tuple[Array, ...] | None:
        """Return a picture (192, 192, 3) uint8 per row, not shifted by the camera, or None without a render mode."""
        if self.render_mode is None:
            return None
        self.need_reset("a render")
        options, still = self._options, np.zeros((self.num_envs, 2))
        canvas = np.stack([draw_table(RENDERED, int(options["texture"][row]), options["lighting"][row], still[row],
                                      options["plate"][row]) for row in range(self.num_envs)])
        scene = self._scene()._replace(canvas=canvas, camera=still)
        return tuple(draw(scene, RENDERED, self._bodies.gripper, self._bodies.gap, self._bodies.places))

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Return `num_pairs` evaluation pairs of each kind; see `worlds.tabletop.episodes.sample_pairs`."""
        return sample_pairs(seed, num_pairs, self.rules)

    def _checked(self, options: dict[str, Any]) -> dict[str, Array]:
        slots = self.rules.num_slots
        return check_episode_options(options, checks.shapes(slots), self.num_envs, f"{slots} objects with clutter")

    def _check_episodes(self, options: dict[str, Array]) -> None:
        checks.check_episodes(options)

    def _drawn(self, row: int) -> dict[str, Any]:
        return sample_episode(one_stream(self.generator(row)), self.kind, self.rules)

    def _begin(self, rows: Array) -> None:
        options = {name: values[rows] for name, values in self._options.items()}
        for values, new in zip(self._bodies, checks.bodies_of(options), strict=True):
            values[rows] = new
        state = np.zeros((len(rows), self._state.shape[1]))
        state[:, GRIPPER], state[:, OPENING], state[:, HELD] = options["gripper"], options["opening"], options["held"]
        state[:, PLATE], state[:, TASK] = options["plate"], options["task"]
        objects = objects_of(state)
        objects[..., :2], objects[..., 2], objects[..., 3] = options["places"], options["shapes"], options["colours"]
        self._state[rows], self._goals[rows] = state, goal_states(state, options["goal"])
        for row in rows.tolist():
            self._canvas[row] = draw_table(self.size, int(self._options["texture"][row]), self._options["lighting"][row],
                                           self._options["camera"][row], self._options["plate"][row])
        scene = self._scene(rows)
        for number in range(MOST_GOALS):
            goal = self._goals[rows, number]
            self._goal_pictures[rows, number] = draw(scene, self.size, goal[:, GRIPPER], gap_of(goal[:, OPENING]),
                                                     places_of(goal))
        self._num_steps[rows], self._success[rows], self._truncated[rows] = 0, False, False

    def _scene(self, rows: Array | slice = slice(None)) -> Scene:
        options = self._options
        return Scene(self._canvas[rows], options["shapes"][rows].astype(np.int64), options["colours"][rows].astype(np.int64),
                     options["lighting"][rows], options["camera"][rows])

    @property
    def _present(self) -> Array:
        """The index (B,) of the present goal: the last one, or a sub-goal by the number of steps."""
        if not self.subgoals:
            return np.full(self.num_envs, MOST_GOALS - 1)
        present: Array = (self._num_steps[:, None] >= SWITCH).sum(axis=1)
        return present

    def _observation(self) -> Observation:
        """Return new arrays at each call, so that callers may keep or change them."""
        every = np.arange(self.num_envs)
        goal: Array = self._goals[every, self._present].astype(np.float32)
        state: Array = self._state.astype(np.float32)
        if self.observe == "pixels":
            seen: Array = draw(self._scene(), self.size, self._bodies.gripper, self._bodies.gap, self._bodies.places)
            wanted: Array = self._goal_pictures[every, self._present]
        else:
            seen, wanted = state, goal
        return {"observation": seen, "goal": wanted, "proprioception": state[:, :OPENING + 1].copy(),
                "state": np.concatenate([state, goal], axis=1)}

    def _info(self) -> Info:
        """Return the true state and success, with gymnasium's masks set for every row and key."""
        info: Info = {"state": self._state.astype(np.float32), "success": self._success.copy()}
        return self.with_masks(info)


def _observation_space(observe: str, size: int, width: int) -> Dict:
    """Return the space of an observation; a new one each time, because a space holds a generator."""
    def states(count: int) -> Box:
        return Box(-1.0, TABLE, (count,), np.float32)

    def view() -> Box:
        return Box(0, 255, (size, size, 3), np.uint8) if observe == "pixels" else states(width)

    bounds = np.array([TABLE, TABLE, 1.0], np.float32)
    return Dict({"observation": view(), "goal": view(), "proprioception": Box(np.zeros_like(bounds), bounds),
                 "state": states(2 * width)})

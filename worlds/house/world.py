"""B houses side by side, as a gymnasium vector environment.

Shapes: B = num_envs rows, K rooms per side, R = K * K, W = 2 K (K - 1) interior walls, E errands of a life. Places are
(x, y) in units: a room is 16 x 16 of them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from worlds.house import options as checks
from worlds.house.episodes import PAIR_KINDS, STEPS, sample_episode, sample_pairs
from worlds.house.map import ROOM, WALL_HALF_WIDTH, Array, openings
from worlds.house.overview import draw_house
from worlds.house.physics import SUCCESS_RADIUS, move, separation
from worlds.house.rendering import SIZE, draw_agent, draw_rooms
from worlds.house.settings import MOST_BATTERY, RENDER_MODES, Settings
from worlds.house.tour import longest_tour, places_at_ticks
from worlds.refusals import check_action, check_count, check_episode_options
from worlds.rows import EpisodeRows, Info, Observation

CHARGE, CHARGE_RADIUS = 6.0, 3.5  # ticks of battery per tick, units
TOUR_BATTERY = 0.5  # share at the start of a tour, so that charging can be felt
PLANNING = 2  # the mode in which a tick costs `thinking_cost` more


@dataclass(eq=False, repr=False)
class HouseVectorEnv(Settings, EpisodeRows):
    """B independent houses with one `Settings`; a row depends on its own seed, options and actions only, bitwise.

    An action is a velocity (x, y); its Euclidean norm is clipped to 1, which is 2 units per step. An episode begins with a
    tour through all rooms, in which actions are ignored; the battery is half full when it begins and full when it ends. Then
    the errands come one after another: the goal's picture changes when the agent is within 2 units of the goal. Each errand
    has reward 1; success is that all are done (terminated). An empty battery ends an episode too (terminated, no success).
    There is no autoreset: a finished row stays as it is, with reward 0, until it is reset.

    Observations:
        observation: the picture of the room the agent is in, uint8 (24, 24, 3); the place (2,) with observe="state".
        goal: the picture of the present goal with the agent there, or its place.
        body: float32 (3,): share of the battery that is left (1 without a battery), 1 during the tour, 1 if the last step
            was stopped by a wall.
        state: float32 (4,): place and the goal's place.
        map: float32 (W + 4,): door centres in units of each wall, 0 without a door; the charger's place, the home room, the
            capacity of the battery in ticks, 0 without one.

    Args:
        num_envs: B.

    Raises ValueError for an invalid setting, option or action, and `ResetNeeded` for a step before a reset.
    """

    metadata = {
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.DISABLED,
        "on_demand": ["body", "state", "map"],
    }
    pair_kinds = PAIR_KINDS

    num_envs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("num_envs", self.num_envs)
        num_envs, rooms, errands = self.num_envs, self.rooms, self.errands
        self.prepare_rows(num_envs)
        self.max_episode_steps = longest_tour(rooms) + max(STEPS.values())
        side = rooms * ROOM
        self.metadata = {**self.metadata, "overlay": {"state": [0, 1], "top_left": [0, 0], "bottom_right": [side, side],
                                                      "picture": "render"}}

        num_walls = 2 * rooms * (rooms - 1)
        self.single_observation_space = _observation_space(self.observe, side, num_walls)
        self.single_action_space = _action_space(self.thinking_cost)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

        self.prepare_options(checks.shapes(rooms, errands))
        self._tour = np.zeros((num_envs, longest_tour(rooms) + 1, 2))
        self._tour_steps = np.zeros(num_envs, np.int64)
        self._vertical, self._horizontal = openings(self._options["doors"])
        self._rooms = np.zeros((num_envs, rooms**2, SIZE, SIZE, 3), np.uint8)
        self._goal_pictures = np.zeros((num_envs, errands, SIZE, SIZE, 3), np.uint8)
        self._place = np.full((num_envs, 2), ROOM / 2)
        self._battery = np.zeros(num_envs)
        self._num_steps = np.zeros(num_envs, np.int64)
        self._done = np.zeros(num_envs, np.int64)
        self._bump, self._died, self._truncated = (np.zeros(num_envs, bool) for _ in range(3))

    def step(self, actions: Any) -> tuple[Observation, Array, Array, Array, Info]:
        """Apply actions (B, 2) -> observation, reward (B,) float64, terminated and truncated (B,), info."""
        cost = 1.0
        if self.thinking_cost:
            cost = 1.0 + self.thinking_cost * (np.asarray(actions["mode"]).reshape(self.num_envs) == PLANNING)
            actions = actions["action"]
        velocity = check_action(actions, (self.num_envs, 2), "a velocity (x, y) in [-1, 1]")
        self.need_reset("a step")
        active = ~(self._terminated | self._truncated)
        carried = active & self._is_touring
        free = active & ~carried
        self._num_steps += active
        moved, bump = move(self._place, velocity, self._vertical, self._horizontal)
        on_tour = self._tour[np.arange(self.num_envs), np.minimum(self._num_steps, self._tour_steps)]
        self._place = np.where(free[:, None], moved, np.where(carried[:, None], on_tour, self._place))
        self._bump = np.where(active, free & bump, self._bump)
        self._shut(np.flatnonzero(carried & ~self._is_touring))

        has_battery = self._options["battery"] > 0
        charged = CHARGE * (separation(self._place, self._options["charger"]) <= CHARGE_RADIUS)
        left = np.clip(self._battery - cost + charged, 0.0, self._options["battery"])
        # on a tour the battery is charged and not used, and filled up at its end, which is at the charger
        whole = np.where(self._is_touring, np.minimum(self._battery + charged, self._options["battery"]),
                         self._options["battery"])
        self._battery = np.where(has_battery, np.where(free, left, np.where(carried, whole, self._battery)), self._battery)
        reached = free & (self._done < self._options["errands"]) & (separation(self._place, self._goal) <= SUCCESS_RADIUS)
        self._done += reached
        self._died |= free & has_battery & (self._battery <= 0) & ~self._success
        ended = self._num_steps >= self._tour_steps + self._options["steps"]
        self._truncated |= active & ended & ~self._terminated
        return self._observation(), reached.astype(np.float64), self._terminated, self._truncated.copy(), self._info()

    def render(self) -> tuple[Array, ...] | None:
        """Return one picture of the whole house per row, (96 K, 96 K, 3) uint8, or None without a render mode."""
        if self.render_mode is None:
            return None
        self.need_reset("a render")
        options = self._options
        pictures = []
        for row in range(self.num_envs):
            goal = self._goal[row] if options["errands"][row] and not self._is_touring[row] else None
            battery = self._battery[row] / options["battery"][row] if options["battery"][row] else None
            pictures.append(draw_house(self._rooms[row], options["doors"][row], options["charger"][row], goal,
                                       self._place[row], battery))
        return tuple(pictures)

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Return `num_pairs` evaluation pairs of each kind; see `worlds.house.episodes.sample_pairs`."""
        return sample_pairs(seed, num_pairs, self.rules)

    def _checked(self, options: dict[str, Any]) -> dict[str, Array]:
        return check_episode_options(options, checks.shapes(self.rooms, self.errands), self.num_envs,
                                     f"{self.rooms} x {self.rooms} rooms and {self.errands} errands")

    def _check_episodes(self, options: dict[str, Array]) -> None:
        checks.check_episodes(options)

    def _drawn(self, row: int) -> dict[str, Any]:
        return sample_episode(self.generator(row), self.kind, self.rules)

    def _begin(self, rows: Array) -> None:
        options = self._options
        for row in rows.tolist():
            places = places_at_ticks(options["tour"][row])
            self._tour_steps[row] = len(places) - 1
            self._tour[row, :len(places)] = places
            self._draw(row)
            views = np.broadcast_to(self._rooms[row], (self.rules.errands, *self._rooms[row].shape))
            self._goal_pictures[row] = draw_agent(views, options["goals"][row], self.rooms)
        self._vertical[rows], self._horizontal[rows] = openings(options["doors"][rows])
        self._place[rows] = self._tour[rows, 0]
        self._battery[rows] = options["battery"][rows] * np.where(self._tour_steps[rows] > 0, TOUR_BATTERY, 1.0)
        self._num_steps[rows] = self._done[rows] = 0
        self._bump[rows] = self._died[rows] = self._truncated[rows] = False
        self._shut(rows[self._tour_steps[rows] == 0])

    def _shut(self, rows: Array) -> None:
        """Close the door to be shut in rows (N,) whose tour is over; their goal pictures show the house as it was."""
        for row in rows[self._options["shut"][rows] >= 0].tolist():
            self._options["doors"][row, int(self._options["shut"][row])] = 0.0
            self._vertical[row], self._horizontal[row] = (one[0] for one in openings(self._options["doors"][[row]]))
            self._draw(row)

    def _draw(self, row: int) -> None:
        options = self._options
        self._rooms[row] = draw_rooms(options["doors"][row], int(options["look"][row]), int(options["home"][row]),
                                      options["charger"][row])

    @property
    def _is_touring(self) -> Array:
        return self._num_steps < self._tour_steps

    @property
    def _success(self) -> Array:
        errands = self._options["errands"]
        return (errands > 0) & (self._done >= errands)

    @property
    def _terminated(self) -> Array:
        return self._success | self._died

    @property
    def _present(self) -> Array:
        """The index (B,) of the present goal: the first one that is not reached, or the last one."""
        return np.minimum(self._done, np.maximum(self._options["errands"].astype(np.int64) - 1, 0))

    @property
    def _goal(self) -> Array:
        goal: Array = self._options["goals"][np.arange(self.num_envs), self._present]
        return goal

    def _observation(self) -> Observation:
        """Return new arrays at each call, so that callers may keep or change them."""
        options, goal = self._options, self._goal
        if self.observe == "pixels":
            seen = draw_agent(self._rooms, self._place, self.rooms)
            wanted = self._goal_pictures[np.arange(self.num_envs), self._present]
        else:
            seen, wanted = self._place.astype(np.float32), goal.astype(np.float32)
        capacity = options["battery"]
        share = np.where(capacity > 0, self._battery / np.where(capacity > 0, capacity, 1.0), 1.0)
        body = np.stack([share, self._is_touring, self._bump], axis=1)
        plain = [options["doors"], options["charger"], options["home"][:, None], capacity[:, None]]
        return {"observation": seen, "goal": wanted, "body": body.astype(np.float32),
                "state": np.concatenate([self._place, goal], axis=1).astype(np.float32),
                "map": np.concatenate(plain, axis=1).astype(np.float32)}

    def _info(self) -> Info:
        """Return the true place and the counts of the episode, with gymnasium's masks set for every row and key."""
        info: Info = {"state": self._place.astype(np.float32), "success": self._success, "errands_done": self._done.copy(),
                      "died": self._died.copy(), "out_of_time": self._truncated.copy()}
        return self.with_masks(info)


def _observation_space(observe: str, side: float, num_walls: int) -> Dict:
    """Return the space of an observation; a new one each time, because a space holds a generator."""
    most = np.array([*[ROOM] * num_walls, side, side, (side / ROOM) ** 2, MOST_BATTERY], np.float32)

    def places(count: int) -> Box:
        return Box(WALL_HALF_WIDTH, side - WALL_HALF_WIDTH, (count,), np.float32)

    def view() -> Box:
        return Box(0, 255, (SIZE, SIZE, 3), np.uint8) if observe == "pixels" else places(2)

    return Dict({"observation": view(), "goal": view(), "body": Box(0, 1, (3,), np.float32),
                 "state": places(4), "map": Box(np.zeros_like(most), most)})


def _action_space(thinking_cost: float) -> Box | Dict:
    velocity = Box(-1.0, 1.0, (2,), np.float32)
    return Dict({"action": velocity, "mode": Discrete(2, start=1)}) if thinking_cost else velocity

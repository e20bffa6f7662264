"""The true motion and the true distance to a goal, for oracles: stateless, over states (`worlds.tabletop.state`).

Shapes: … any leading dimensions, which broadcast; S the size of a state.
"""

import numpy as np

from worlds.tabletop.episodes import KINDS
from worlds.tabletop.goals import PLACE, PLACE_RADIUS, apart
from worlds.tabletop.physics import OPEN, TABLE, Bodies, gap_of, move, opening_of
from worlds.tabletop.state import GRIPPER, HELD, OPENING, TARGET, TASK, Array, objects_of, places_of, shapes_of

RELEASED = 2 * TABLE  # cost of a target that is not held and not where it should be
WIDE = 4.0  # units that a closed gripper is worse by, far from what it has to grasp
NEAR = 1.0  # units within which it should close


class Dynamics:
    """Motion and distance in the true world."""

    def step(self, state: Array, action: Array) -> Array:
        """Move by one step: states (..., S), actions (..., 3) -> states (..., S), in the dtype of the states."""
        size, width = np.shape(state)[-1], np.shape(action)[-1]
        lead = np.broadcast_shapes(np.shape(state)[:-1], np.shape(action)[:-1])
        rows = np.broadcast_to(state, (*lead, size)).reshape(-1, size)
        taken = np.broadcast_to(action, (*lead, width)).reshape(-1, width)
        moved = to_state(move(to_bodies(rows), taken.astype(np.float64)), rows)
        return moved.reshape(*lead, size)

    def distance(self, state: Array, goal: Array) -> Array:
        """Return how far states (..., S) are from goals (..., S), in units; 0 or near it where the task is solved.

        It follows the order of a task: open the gripper and come to the target, close it, carry the target, release it.
        """
        state, goal = np.broadcast_arrays(state, goal)
        kind = goal[..., TASK].round().astype(np.int64)
        gripper, target = apart(state[..., GRIPPER], goal[..., GRIPPER]), apart(state[..., PLACE], goal[..., PLACE])
        holds = state[..., HELD].round() == TARGET
        to_target = apart(state[..., GRIPPER], state[..., PLACE])
        opening = state[..., OPENING]
        grasp = np.where(holds, 0.0, to_target + WIDE * np.where(to_target > NEAR, 1 - opening, opening - 1) + WIDE)
        carried = np.where(holds, gripper, RELEASED + grasp)
        lets_go = goal[..., HELD].round() != TARGET
        on_plate = target <= PLACE_RADIUS / 2
        placed = np.where(holds, target + np.where(on_plate, WIDE, 2 * WIDE), np.where(on_plate, target,
                          RELEASED + grasp + target))
        found = gripper
        for name, one in (("grasp", grasp), ("reach_with_object", carried), ("carry", carried),
                          ("pick_and_place", np.where(lets_go, placed, carried)), ("push", target)):
            found = np.where(kind == KINDS.index(name), one, found)
        return found


def to_bodies(state: Array) -> Bodies:
    """Return the bodies of states (R, S)."""
    state = np.asarray(state, np.float64)
    return Bodies(state[:, GRIPPER], np.clip(gap_of(state[:, OPENING]), 0.0, OPEN), state[:, HELD].round().astype(np.int64),
                  places_of(state), shapes_of(state) >= 0)


def to_state(bodies: Bodies, before: Array) -> Array:
    """Return states (R, S): the bodies, and what does not move from the states before."""
    state = before.copy()
    state[:, GRIPPER], state[:, OPENING], state[:, HELD] = bodies.gripper, opening_of(bodies.gap), bodies.held
    objects_of(state)[..., :2] = bodies.places
    return state

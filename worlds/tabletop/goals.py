"""Goals of an episode as states, which goal pictures show, and the test of success.

Shapes: … any leading dimensions, S the size of a state (`worlds.tabletop.state`), G goals of an episode.
"""

import numpy as np

from worlds.tabletop.episodes import KINDS, STEPS
from worlds.tabletop.physics import GRIP, opening_of
from worlds.tabletop.state import GRIPPER, HELD, NOTHING, OBJECTS, OPENING, TARGET, TASK, Array

REACH_RADIUS = 2.0  # units: of the gripper or the target from its goal
CARRY_RADIUS = 0.5  # so that clips end as far from the middle as they begin
PLACE_RADIUS = 2.5  # units: of the cup's centre from the plate's, on which the cup then lies whole
MOST_GOALS = 3
SWITCH = (STEPS["pick_and_place"] // 3, 2 * STEPS["pick_and_place"] // 3)
"""The steps at which the second and third sub-goal of `pick_and_place` begin."""
PLACE = slice(OBJECTS + 4 * TARGET, OBJECTS + 4 * TARGET + 2)
"""The entries of a state that are the target's place."""


def goal_states(start: Array, goal: Array) -> Array:
    """Return the goals (..., 3, S) of states (..., S) at the start: the sub-goals, the last of them the goal itself.

    `pick_and_place` has three, as in V-JEPA 2-AC: the cup in the gripper, the cup held over the plate, the cup on the plate
    and released. Other kinds have one, repeated. `goal` is the option (..., 2).
    """
    kind = start[..., TASK].round().astype(np.int64)
    first, held, last = start.copy(), start.copy(), start.copy()
    on_object = opening_of(np.asarray(GRIP))
    for state, place in ((first, start[..., PLACE]), (held, goal), (last, goal)):
        state[..., GRIPPER] = state[..., PLACE] = place
        state[..., OPENING], state[..., HELD] = on_object, TARGET
    last[..., OPENING], last[..., HELD] = 1.0, NOTHING
    reach, pushed = start.copy(), start.copy()
    reach[..., GRIPPER] = pushed[..., PLACE] = goal
    away = goal - start[..., PLACE]
    behind = goal - away / np.maximum(np.sqrt((away**2).sum(axis=-1, keepdims=True)), 1e-9) * (2 * GRIP)
    pushed[..., GRIPPER], pushed[..., OPENING] = behind, 0.0

    def chosen(**by_kind: Array) -> Array:
        state = reach
        for name, one in by_kind.items():
            state = np.where((kind == KINDS.index(name))[..., None], one, state)
        return state

    play = np.where(start[..., HELD, None].round() == TARGET, held, reach)
    alike = {"play": play, "grasp": first, "reach_with_object": held, "carry": held, "push": pushed}
    return np.stack([chosen(**alike, pick_and_place=one) for one in (first, held, last)], axis=-2)


def is_success(state: Array, goal: Array) -> Array:
    """Return whether states (..., S) solve their task, given the last goals (..., S): (...) bool; never in `play`."""
    kind = goal[..., TASK].round().astype(np.int64)
    gripper, target = (apart(state[..., part], goal[..., part]) for part in (GRIPPER, PLACE))
    holds = state[..., HELD].round() == TARGET
    near = gripper <= REACH_RADIUS
    solved = {"reach": near, "grasp": holds, "reach_with_object": holds & near, "carry": holds & (gripper <= CARRY_RADIUS),
              "pick_and_place": ~holds & (target <= PLACE_RADIUS), "push": target <= REACH_RADIUS}
    found = np.zeros(kind.shape, bool)
    for name, one in solved.items():
        found |= (kind == KINDS.index(name)) & one
    return found


def apart(one: Array, other: Array) -> Array:
    """Return the distance (...) of places (..., 2)."""
    away: Array = np.sqrt((one[..., 0] - other[..., 0]) ** 2 + (one[..., 1] - other[..., 1]) ** 2)
    return away

"""The expert of the table: a script on the true state that opens, comes to the target, closes, carries and releases.

Shapes: B rows, S the size of a state.
"""

import numpy as np

from worlds.refusals import check_share
from worlds.tabletop.episodes import KINDS
from worlds.tabletop.goals import PLACE
from worlds.tabletop.physics import CLOSED, FINGER, GRIP, GRIP_SPEED, HIGH, LOW, OPEN, RADIUS, SPEED, TABLE
from worlds.tabletop.state import GRIPPER, HELD, OPENING, TARGET, TASK, Array, places_of, shapes_of

CLEAR = RADIUS + FINGER + 0.6  # units above or below an object at which fingers pass it
ALIGNED = 0.4  # units
WIDE = 0.95  # an opening at which an object fits between the fingers
BEHIND = GRIP + 0.6  # units between the gripper's centre and an object that it is going to push
OPENS, CLOSES = 1.0, -1.0
PUSHED, WEDGED = 3.0, 30.0  # units that a way is worse by for an object on it that gives way, or that the edge stops


class Expert:
    """Actions from true states and goals; it keeps no memory, so that it may begin anywhere in an episode.

    Args:
        speed: the share of full speed at which it moves, above 0 to 1; slower gives longer clips.

    Raises:
        ValueError: the speed is not in its range.
    """

    def __init__(self, speed: float = 1.0) -> None:
        check_share("Expert.speed", speed)
        self.speed = speed

    def action(self, truth: Array) -> Array:
        """Return actions (B, 3) for the port `state` of the table (B, 2 S): the state, and the state that is the goal."""
        size = truth.shape[-1] // 2
        truth = np.asarray(truth, np.float64)
        action = np.array([_action(row[:size], row[size:]) for row in truth]).reshape(-1, 3)
        length = np.hypot(action[:, 0], action[:, 1])
        action[:, :2] *= np.minimum(self.speed / np.maximum(length, self.speed), 1.0)[:, None]
        return action


def _action(state: Array, goal: Array) -> Array:
    kind = KINDS[int(goal[TASK].round())]
    gripper, target, holds = state[GRIPPER], state[PLACE], int(state[HELD].round()) == TARGET
    if kind == "push":
        return _push(state, goal[PLACE])
    if kind in ("play", "reach"):
        return _go(gripper, goal[GRIPPER], _to_opening(state, goal))
    if not holds:
        let_go = kind == "pick_and_place" and np.hypot(*(target - goal[PLACE])) <= 1.0
        return np.zeros(3) if let_go else _grasp(state)
    if kind == "grasp":
        return np.zeros(3)
    lets_go = int(goal[HELD].round()) != TARGET
    away = goal[PLACE] - target
    if lets_go and np.hypot(*away) < ALIGNED:
        return np.array([0.0, 0.0, OPENS])
    return _go(np.zeros(2), away, 0.0)


def _go(start: Array, end: Array, opens: float) -> Array:
    """Return the action that goes straight from start to end (2,)."""
    velocity = (end - start) / SPEED
    return np.array([*(velocity / max(float(np.hypot(*velocity)), 1.0)), opens])


def _to_opening(state: Array, goal: Array) -> float:
    wanted = (goal[OPENING] - state[OPENING]) * (OPEN - CLOSED) / GRIP_SPEED
    return float(np.clip(wanted, -1.0, 1.0))


def _grasp(state: Array) -> Array:
    """Open, go above or below the target, come down on it in y, close."""
    gripper, target = state[GRIPPER], state[PLACE]
    away = target - gripper
    if state[HELD].round() >= 0:
        return np.array([0.0, 0.0, OPENS])  # another object
    if np.abs(away).max() < ALIGNED:
        return np.array([0.0, 0.0, CLOSES])
    wide = OPENS if state[OPENING] < 1.0 else 0.0
    if abs(away[0]) < ALIGNED:
        return _go(gripper, target, wide) if state[OPENING] >= WIDE else np.array([0.0, 0.0, OPENS])
    side = min((1.0, -1.0), key=lambda side: _detour(state, target[1] + side * CLEAR))
    beside = target[1] + side * CLEAR
    if side * (gripper[1] - target[1]) < CLEAR - ALIGNED:  # beside the target: first up or down, then across
        return _go(gripper, np.array([gripper[0], beside]), wide)
    return _go(gripper, np.array([target[0], beside]), wide)


def _detour(state: Array, height: float) -> float:
    """Return the length in units of the way to a height y, and what the objects on the way from there to the target add."""
    if not LOW[1] <= height <= HIGH[1]:
        return np.inf
    gripper, target = state[GRIPPER], state[PLACE]
    heading = np.sign(target[0] - gripper[0])
    others = places_of(state)[1:][shapes_of(state)[1:] >= 0]
    last = target[0] + heading * (OPEN + GRIP)  # where what is pushed all the way comes to
    begin, end = sorted((gripper[0] - heading * OPEN, last))
    inside = (np.abs(others[:, 1] - height) < GRIP) & (others[:, 0] > begin) & (others[:, 0] < end)
    is_wedged = not RADIUS <= last <= TABLE - RADIUS
    return abs(float(gripper[1] - height)) + float(inside.sum()) * (WEDGED if is_wedged else PUSHED)


def _push(state: Array, goal: Array) -> Array:
    """Go around the target to its far side with the gripper closed, then push along the line to the goal."""
    gripper, target = state[GRIPPER], state[PLACE]
    if state[HELD].round() >= 0:
        return np.array([0.0, 0.0, OPENS])
    line = goal - target
    heading = line / max(float(np.hypot(*line)), 1e-9)
    across = np.array([-heading[1], heading[0]])
    behind = target - heading * BEHIND
    off = gripper - target
    if float(off @ heading) > -GRIP + 1.0 and abs(float(off @ across)) < BEHIND:  # not behind it: around its side
        side = 1.0 if float(off @ across) >= 0 else -1.0
        if abs(float(off @ across)) < BEHIND - ALIGNED:
            return _go(gripper, gripper + across * side * (BEHIND - abs(float(off @ across))), CLOSES)
    if abs(float(off @ across)) > ALIGNED and float(off @ heading) > -BEHIND + ALIGNED:
        away = gripper + heading * (-BEHIND - float(off @ heading))
        return _go(gripper, away, CLOSES)
    if abs(float(off @ across)) > ALIGNED:
        return _go(gripper, behind, CLOSES)
    return _go(gripper, gripper + heading * min(float(np.hypot(*line)) + 0.3, 1.5) - across * float(off @ across), CLOSES)

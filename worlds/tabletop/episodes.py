"""Episodes on the table, as plain reset options: layout, look, task and limit; and the evaluation's sealed pairs.

Kinds:

    play                 no task: random objects, in half of the episodes one of them in the gripper
    reach                the gripper has to come to a place
    grasp                the gripper has to hold the target, object 0
    reach_with_object    the target is in the gripper, and has to be carried to a place
    pick_and_place       the target, a cup, has to be put on the plate and released
    push                 the target has to be pushed 9 units to the left, right, up or down; for clips
    carry                the target is in the gripper, and has to be carried 12 units in such a direction; for clips

`mixed` draws one of the four tasks of `PAIR_KINDS`. Shapes: N objects; the options of every kind have the same shapes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from worlds.tabletop import looks
from worlds.tabletop.physics import FINGER, GRIP, LOW, OPEN, RADIUS, TABLE, gap_of, opening_of
from worlds.tabletop.rendering import PLATE_RADIUS
from worlds.tabletop.sprites import CUP
from worlds.tabletop.state import Array

KINDS = ("play", "reach", "grasp", "reach_with_object", "pick_and_place", "push", "carry")
PAIR_KINDS = ("reach", "grasp", "reach_with_object", "pick_and_place")
STEPS = {"play": 100, "reach": 30, "grasp": 40, "reach_with_object": 30, "pick_and_place": 60, "push": 40, "carry": 20}
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))  # left, right, up, down
PUSHED, CARRIED = 9.0, 12.0  # units
FAR = 10.0  # units that start and goal are apart at least
APART = 2 * RADIUS + 2.0  # between the centres of two objects; fingers fit between an object and the next
INNER = 10.0  # units from the edge, of targets and plate: the gripper fits around them
NUM_DRAWS = 2_000


class Rules(NamedTuple):
    """The settings that episodes depend on.

    Attributes:
        objects: the number of objects besides clutter.
        unseen: the factors of variation (`worlds.tabletop.looks.FACTORS`) whose unseen values evaluation pairs have.
    """

    objects: int
    unseen: frozenset[str]

    @property
    def num_slots(self) -> int:
        """N: the objects, and as many places for clutter as there may be."""
        return self.objects + looks.MOST_CLUTTER


Streams = Mapping[str, np.random.Generator]


def sample_episode(streams: Streams, kind: str, rules: Rules, for_evaluation: bool = False) -> dict[str, Any]:
    """Sample an episode as reset options, plain numbers rounded to 3 decimals, so that a JSON file keeps them exactly.

    Args:
        streams: a generator for "layout" and for each factor; with one stream each, a factor changes nothing else.
        kind: one of `KINDS`, or "mixed".
        rules: the settings.
        for_evaluation: whether the factors in `rules.unseen` have unseen values.

    Returns:
        {"task" int, index into `KINDS`; "gripper" (2,) units; "opening" 0 to 1; "held" int, 0 if the target is in the
        gripper, else -1; "places" (N, 2) units; "shapes" (N,) int, -1 for an absent object; "colours" (N,) int; "plate" (2,)
        units; "goal" (2,) units, where the gripper or the target has to come to; "steps" int, the limit; "texture" int;
        "lighting" (3,); "camera" (2,) units}. Textures of evaluation are even numbers, others odd.
    """
    rng = streams["layout"]
    if kind == "mixed":
        kind = str(rng.choice(PAIR_KINDS))
    unseen = rules.unseen if for_evaluation else frozenset()
    layout = _layout(rng, kind, rules.objects)
    clutter = looks.sample_clutter(streams["clutter"], "clutter" in unseen)
    places = layout["places"]
    for _ in clutter:
        places = [*places, _beside(streams["clutter"], places, layout)]
    absent = rules.num_slots - len(places)
    colours = looks.sample_colours(streams["colours"], rules.num_slots, "colours" in unseen)
    return {
        "task": KINDS.index(kind), "gripper": _plain(layout["gripper"]), "opening": round(float(layout["opening"]), 3),
        "held": layout["held"], "places": [*map(_plain, places), *[[0.0, 0.0]] * absent],
        "shapes": [*layout["shapes"], *clutter, *[-1] * absent], "colours": colours, "plate": _plain(layout["plate"]),
        "goal": _plain(layout["goal"]), "steps": STEPS[kind],
        "texture": looks.sample_texture(streams["texture"], "texture" in unseen),
        "lighting": looks.sample_lighting(streams["lighting"], "lighting" in unseen),
        "camera": looks.sample_camera(streams["camera"], "camera" in unseen),
    }


def one_stream(rng: np.random.Generator) -> Streams:
    """Return the streams of an ordinary reset, which are all one generator."""
    return dict.fromkeys(("layout", *looks.FACTORS), rng)


def sample_pairs(seed: int, num_pairs: int, rules: Rules) -> list[dict[str, Any]]:
    """Return `num_pairs` pairs of each of `PAIR_KINDS`, equal for equal seeds; the first n do not depend on `num_pairs`.

    Each is {"kind", "seed", …}, with the options of `sample_episode`. The layout does not depend on `rules.unseen`: two
    settings of it give the same tasks in other places. No pair is solved at its start.
    """
    pairs = []
    for kind in PAIR_KINDS:
        streams = {name: np.random.default_rng([seed, KINDS.index(kind), number])
                   for number, name in enumerate(("layout", *looks.FACTORS))}
        seeds = np.random.default_rng([seed, KINDS.index(kind), len(streams)])
        for _ in range(num_pairs):
            pairs.append({"kind": kind, **sample_episode(streams, kind, rules, for_evaluation=True),
                          "seed": int(seeds.integers(2**31))})
    return pairs


def _layout(rng: np.random.Generator, kind: str, num_objects: int) -> dict[str, Any]:
    """Return gripper, opening, held, places, shapes, plate and goal of an episode, without clutter."""
    shapes = [int(one) for one in rng.permutation(looks.OBJECT_SHAPES)[:num_objects]]
    if kind == "pick_and_place":
        shapes = [CUP, *[one for one in shapes if one != CUP], *[one for one in looks.OBJECT_SHAPES if one not in shapes]]
        shapes = shapes[:num_objects]
    held = kind in ("reach_with_object", "carry") or (kind == "play" and rng.random() < 0.5)
    heading = np.array(DIRECTIONS[int(rng.integers(4))], float)
    if kind in ("push", "carry"):
        length, spread = (PUSHED, 3.5) if kind == "push" else (CARRIED, 6.0)  # the gripper fits behind what it pushes
        middle = rng.uniform(TABLE / 2 - spread, TABLE / 2 + spread, 2)
        target, goal = middle - heading * length / 2, middle + heading * length / 2
    else:
        target = _draw(rng, INNER, lambda place: True)
        goal = _draw(rng, INNER, lambda place: _clear(place, [target], FAR))
    taken = [target] if kind == "grasp" else [target, goal]
    plate = goal if kind == "pick_and_place" else _draw(rng, INNER, lambda place: True)
    places = [target]
    while len(places) < num_objects:
        place = _draw(rng, RADIUS + 0.3, lambda place: _clear(place, [*taken, *places], APART + 1.0) and (
            kind != "pick_and_place" or _clear(place, [plate], PLATE_RADIUS + RADIUS + 1.0)))
        places.append(place)
    if held:
        gripper, opening = target, float(opening_of(np.array(GRIP)))
    else:
        opening = 1.0 if kind in ("grasp", "pick_and_place", "push") else float(rng.uniform())
        wanted = goal if kind == "reach" else target
        gripper = _free_gripper(rng, places, opening, lambda place: _clear(place, [wanted], FAR))
    if kind == "reach" or (kind == "play" and not held):  # a goal at which the fingers touch nothing
        goal = _free_gripper(rng, places, opening, lambda place: _clear(place, [gripper], FAR))
    elif kind == "grasp":
        goal = target
    return {"gripper": gripper, "opening": opening, "held": 0 if held else -1, "places": places, "shapes": shapes,
            "plate": plate, "goal": goal}


def _free_gripper(rng: np.random.Generator, places: list[Array], opening: float,
                  allowed: Callable[[Array], bool]) -> Array:
    """Draw a place of the gripper at which neither finger touches an object."""
    reach = np.array([gap_of(np.array(opening)), 0.0])

    def fits(place: Array) -> bool:
        return allowed(place) and all(_clear(place + side * reach, places, GRIP + 0.2) for side in (-1, 1))

    return _draw(rng, LOW, fits)


def _draw(rng: np.random.Generator, edge: Any, fits: Callable[[Array], bool]) -> Array:
    """Draw a place at least `edge` units from the table's edge that fits, rounded to 3 decimals."""
    for _ in range(NUM_DRAWS):
        place: Array = np.round(rng.uniform(edge, TABLE - np.asarray(edge), 2), 3)
        if fits(place):
            return place
    raise RuntimeError(f"no free place on the table in {NUM_DRAWS} draws")


def _beside(rng: np.random.Generator, places: list[Array], layout: Mapping[str, Any]) -> Array:
    """Draw a place of clutter, which touches no object, neither gripper nor plate, and does not lie on the goal."""
    reach = np.array([OPEN + FINGER, 0.0])
    tips = [layout["gripper"] + share * reach for share in (-1, 0, 1)]
    return _draw(rng, RADIUS + 0.3, lambda place: _clear(place, [*places, layout["goal"]], APART) and (
        _clear(place, tips, GRIP + FINGER)) and _clear(place, [layout["plate"]], PLATE_RADIUS + RADIUS))


def _clear(place: Array, others: list[Array], distance: float) -> bool:
    return all(float(np.hypot(*(place - other))) >= distance for other in others)


def _plain(values: Array) -> list[float]:
    return [round(float(value), 3) for value in values]

"""Checks of a table's settings, reset options and actions. Every refusal is a ValueError.

Shapes: B = num_envs rows, N objects.
"""

from typing import Any

import numpy as np

from worlds.tabletop.episodes import KINDS
from worlds.tabletop.looks import FACTORS, PALETTE, factors_of
from worlds.tabletop.physics import HIGH, LOW, TABLE, TOLERANCE, ZONE, Bodies, gap_of, overlap
from worlds.tabletop.sprites import SHAPES
from worlds.tabletop.state import Array
from worlds.two_rooms_refusals import check_choice


def shapes(num_objects: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each reset option of one row."""
    return {"task": (), "gripper": (2,), "opening": (), "held": (), "places": (num_objects, 2), "shapes": (num_objects,),
            "colours": (num_objects,), "plate": (2,), "goal": (2,), "steps": (), "texture": (), "lighting": (3,),
            "camera": (2,)}


def check_unseen(given: Any) -> frozenset[str]:
    """Return the factors of the setting `unseen`; refuse an unknown one."""
    if not isinstance(given, str):
        raise ValueError(f"unseen={given!r} is not possible; expected 'all', 'none', or some of {', '.join(FACTORS)}, "
                         "joined by +.")
    factors = factors_of(given)
    for factor in sorted(factors):
        check_choice("unseen", factor, ("all", "none", *FACTORS))
    return factors


def check_flag(setting: str, given: Any) -> None:
    """Refuse other values than True and False."""
    if not isinstance(given, (bool, np.bool_)):
        raise ValueError(f"{setting}={given!r} is not possible; expected true or false.")


def check_share(setting: str, given: Any) -> None:
    """Refuse other values than numbers above 0, up to 1."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= 1:
        raise ValueError(f"{setting}={given!r} is not possible; expected a number above 0, up to 1.")


def check_options(options: dict[str, Any], num_envs: int, num_objects: int) -> dict[str, Array]:
    """Return the options as arrays (B, ...); refuse an unknown or missing name, another shape, and what is not finite."""
    expected = shapes(num_objects)
    for name in options:
        check_choice("option", name, (*expected, "reset_mask"))
    missing = [name for name in expected if name not in options]
    if missing:
        raise ValueError(f"the options of an episode lack {', '.join(missing)}; expected all of {', '.join(expected)}, "
                         "or none. Fix: take them from sample_pairs()")
    arrays = {name: np.asarray(options[name], np.float64) for name in expected}
    for name, values in arrays.items():
        if values.shape != (num_envs, *expected[name]):
            raise ValueError(f"option {name} has shape {values.shape}; expected {(num_envs, *expected[name])}, for "
                             f"{num_objects} objects with clutter. Fix: the settings it was drawn with")
        if not np.isfinite(values).all():
            raise ValueError(f"option {name} is not finite; expected numbers.")
    return arrays


def check_episodes(options: dict[str, Array]) -> None:
    """Refuse bodies that overlap or are outside the table, and unknown shapes: options (R, ...) of the rows that begin."""
    most = {"task": len(KINDS) - 1, "shapes": len(SHAPES) - 1, "colours": len(PALETTE) - 1, "opening": 1.0, "held": 0}
    least = {"shapes": -1.0, "held": -1.0}
    for name, high in most.items():
        values, low = options[name], least.get(name, 0.0)
        whole = name == "opening" or (values == values.round()).all()
        if not whole or values.min() < low or values.max() > high:
            raise ValueError(f"{name}={values.tolist()} is not possible; expected {'' if name == 'opening' else 'whole '}"
                             f"numbers in [{low:g}, {high:g}].")
    gripper = options["gripper"]
    outside = ((gripper < LOW) | (gripper > HIGH)).any(axis=1)
    if outside.any():
        raise ValueError(f"gripper={gripper[outside][0].tolist()} is outside its range; expected x in [{LOW[0]:g}, "
                         f"{HIGH[0]:g}] and y in [{LOW[1]:g}, {HIGH[1]:g}] units.")
    for name in ("plate", "goal"):
        if (options[name] < 0).any() or (options[name] > TABLE).any():
            raise ValueError(f"{name}={options[name].tolist()} is outside the table; expected x and y in [0, {TABLE:g}] "
                             "units.")
    if (options["shapes"][:, 0] < 0).any():
        raise ValueError("shapes: object 0, the target, is absent; expected a shape from 0 up.")
    apart = np.abs(options["places"][:, 0] - gripper)
    lost = (options["held"] >= 0) & ((apart[:, 0] > TOLERANCE) | (apart[:, 1] > ZONE))
    if lost.any():
        raise ValueError(f"held=0, but the gripper at {gripper[lost][0].tolist()} does not reach the target at "
                         f"{options['places'][lost][0, 0].tolist()}; expected the same x, and y at most {ZONE} units apart.")
    found = overlap(bodies_of(options))
    if (found > TOLERANCE).any():
        row = int(found.argmax())
        raise ValueError(f"the objects at places={options['places'][row].tolist()} and the gripper at "
                         f"{gripper[row].tolist()} overlap each other or the table's edge by {found[row]:.3g} units; "
                         f"expected at most {TOLERANCE}. Fix: take them from sample_pairs()")


def bodies_of(options: dict[str, Array]) -> Bodies:
    """Return the bodies of options (R, ...)."""
    return Bodies(options["gripper"], gap_of(options["opening"]), options["held"].astype(np.int64), options["places"],
                  options["shapes"] >= 0)


def check_action(action: Any, shape: tuple[int, ...]) -> Array:
    """Return the action as float64; refuse another shape or values that are not finite."""
    found = np.asarray(action, np.float64)
    if found.shape != shape:
        raise ValueError(f"the action has shape {found.shape}; expected {shape}, a velocity (x, y) and a speed of opening, "
                         "in [-1, 1].")
    if not np.isfinite(found).all():
        wrong = found[~np.isfinite(found).all(axis=-1)].reshape(-1, 3)[0].tolist()
        raise ValueError(f"the action {wrong} is not finite; expected numbers in [-1, 1]. Check its source: diverged "
                         "weights of a policy give such values.")
    return found

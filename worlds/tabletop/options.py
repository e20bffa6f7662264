"""Checks of a table's settings and reset options. Every refusal is a ValueError.

Shapes: B = num_envs rows, N objects.
"""

from typing import Any

import numpy as np

from worlds.refusals import check_choice
from worlds.tabletop.episodes import KINDS
from worlds.tabletop.looks import FACTORS, PALETTE, factors_of
from worlds.tabletop.physics import HIGH, LOW, TABLE, TOLERANCE, ZONE, Bodies, gap_of, overlap
from worlds.tabletop.sprites import SHAPES
from worlds.tabletop.state import Array


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

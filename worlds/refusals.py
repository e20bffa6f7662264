"""Checks that the worlds share; every message has the given value, the expected one and a fix.

Every refusal is a ValueError. Shapes: B = num_envs rows.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def check_choice(setting: str, given: Any, choices: Iterable[str]) -> None:
    """Refuse a name not in `choices`, with all choices and the nearest name."""
    choices = tuple(choices)
    if isinstance(given, str) and given in choices:
        return
    nearest = difflib.get_close_matches(str(given), choices, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"{setting}={given!r} is unknown; expected one of {', '.join(map(repr, choices))}.{hint}")


def check_count(setting: str, given: Any, least: int = 1, most: int | None = None) -> None:
    """Refuse other values than whole numbers in [least, most]."""
    whole = isinstance(given, (int, np.integer)) and not isinstance(given, bool)
    if not whole or given < least or (most is not None and given > most):
        expected = f"from {least} up" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{setting}={given!r} is not possible; expected a whole number {expected}.")


def check_number(setting: str, given: Any, above: float = -1.0, most: float = 10_000.0) -> None:
    """Refuse other values than numbers of 0 or more, above one bound and up to another."""
    valid = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not valid or not (0 <= given <= most and given > above):
        expected = "from 0" if above < 0 else f"above {above:g}"
        raise ValueError(f"{setting}={given!r} is not possible; expected a number {expected} to {most:g}.")


def check_flag(setting: str, given: Any) -> None:
    """Refuse other values than True and False."""
    if not isinstance(given, (bool, np.bool_)):
        raise ValueError(f"{setting}={given!r} is not possible; expected true or false.")


def check_share(setting: str, given: Any) -> None:
    """Refuse other values than numbers above 0, up to 1."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= 1:
        raise ValueError(f"{setting}={given!r} is not possible; expected a number above 0, up to 1.")


def check_action(action: Any, shape: tuple[int, ...], what: str, dtype: Any = np.float64) -> Array:
    """Return the action as an array; refuse another shape, and numbers that are not finite.

    Args:
        action: the given one.
        shape: (B, A), or (A,) of a single environment.
        what: the meaning of its A numbers, for the message.
        dtype: of the result.
    """
    found = np.asarray(action, dtype)
    if found.shape != shape:
        raise ValueError(f"the action has shape {found.shape}; expected {shape}, {what}.")
    if not np.isfinite(found).all():
        wrong = found[~np.isfinite(found).all(axis=-1)].reshape(-1, shape[-1])[0].tolist()
        raise ValueError(f"the action {wrong} is not finite; expected numbers in [-1, 1]. Check its source: diverged "
                         "weights of a policy give such values.")
    return found


def check_reset_mask(given: Any, num_envs: int) -> Array:
    """Return the mask (B,); refuse other than bool, since a list of row numbers would be misread."""
    mask = np.asarray(given)
    if mask.dtype != bool or mask.shape != (num_envs,):
        raise ValueError(f"option reset_mask has dtype {mask.dtype} and shape {mask.shape}; expected bool ({num_envs},), "
                         "True for rows to reset.")
    return mask


def check_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return one seed or None per row: a whole number s means s + i for row i, as in gymnasium."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        check_count("seed", seed, least=0)
        return [int(seed) + row for row in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"seed holds {len(seed)} values; expected one per row, {num_envs}. Pass a whole number s to seed "
                         "row i with s + i.")
    for row_seed in seed:
        if row_seed is not None:
            check_count("seed", row_seed, least=0)
    return [None if row_seed is None else int(row_seed) for row_seed in seed]


def check_episode_options(options: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], num_envs: int,
                          what: str) -> dict[str, Array]:
    """Return all options of an episode as float64 (B, …); refuse an unknown or missing name, another shape, and what is not
    finite.

    Args:
        options: the given ones.
        expected: the shape of each option of one row.
        num_envs: B.
        what: the settings that the shapes follow from, for the message.
    """
    for name in options:
        check_choice("option", name, (*expected, "reset_mask"))
    missing = [name for name in expected if name not in options]
    if missing:
        raise ValueError(f"the options of an episode lack {', '.join(missing)}; expected all of {', '.join(expected)}, "
                         "or none. Fix: take them from sample_pairs()")
    arrays = {name: np.asarray(options[name], np.float64) for name in expected}
    for name, values in arrays.items():
        if values.shape != (num_envs, *expected[name]):
            raise ValueError(f"option {name} has shape {values.shape}; expected {(num_envs, *expected[name])}, for {what}. "
                             "Fix: the settings it was drawn with")
        if not np.isfinite(values).all():
            raise ValueError(f"option {name} is not finite; expected numbers.")
    return arrays

"""Sweeps: overrides with several values, `planner=cem,mppi`, become one list of overrides per combination.

The syntax and the product are those of Hydra's basic sweeper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException

from ami.config.compose import forced
from ami.errors import SettingError


class Combination(NamedTuple):
    """One combination of a sweep's values.

    Attributes:
        label: what differs between the combinations, "planner=cem world.noise=tv".
        overrides: all of its overrides, those that every combination has included.
        swept: the value of each key that differs, {"planner": "cem"}.
    """

    label: str
    overrides: tuple[str, ...]
    swept: Mapping[str, str]


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a multirun."""
    parsed = _parsed(overrides)
    if any(override.key_or_group == "hydra/sweeper" for override in parsed):
        # only that sweeper knows what it will try: what is fixed is checked now, the rest when each job starts
        return [[str(override.input_line) for override in parsed if not override.is_sweep_override()]]
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def differing(overrides: Sequence[str]) -> list[str]:
    """What differs between the jobs of a multirun, in the order of `jobs`: "planner.horizon=2 seed=1"."""
    parsed = _parsed(overrides)
    if any(override.key_or_group == "hydra/sweeper" for override in parsed):
        return ["chosen by the sweeper"]
    swept = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    return [" ".join(_told(text) for text in job if text.partition("=")[0] in swept) for job in jobs(overrides)]


def combinations(overrides: Sequence[str]) -> list[Combination]:
    """Every combination of the values of the swept keys, in the order they were given.

    Raises:
        SettingError: no key has several values, a combination is there twice, or the values cannot be listed beforehand.
    """
    parsed = _parsed(overrides)
    swept = [place for place, override in enumerate(parsed) if override.is_sweep_override()]
    if not swept:
        raise SettingError(f"nothing to compare in '{' '.join(overrides)}': expected a key with several values, such as "
                           "'planner=cem,random_shooting'")
    for place in swept:
        if not parsed[place].is_discrete_sweep() or "glob(" in overrides[place]:
            raise SettingError(f"'{overrides[place]}' does not say which values: expected them one by one, `key=a,b,c`, or "
                               "a range of numbers, `key=range(2,8,2)`")
    found = []
    for job in (job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch):
        differing = [_told(job[place]) if place in swept else "" for place in range(len(parsed))]
        texts = tuple(new or given for new, given in zip(differing, overrides, strict=True))
        # Hydra takes no null as a choice; it is what nothing said means, and one side of a comparison
        chosen = tuple(text for text in texts if text != "experiment=null")
        swept_values = dict(text.lstrip("+").split("=", 1) for text in differing if text)
        found.append(Combination(" ".join(filter(None, differing)), chosen, swept_values))
    twice = [one.label for number, one in enumerate(found) if one.label in [other.label for other in found[:number]]]
    if twice:
        raise SettingError(f"'{twice[0]}' is there twice. Fix: name each value once")
    if len(found) < 2:
        raise SettingError(f"'{found[0].label}' is one variant alone: expected two or more, `key=a,b`")
    return found


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return list(OverridesParser.create().parse_overrides(forced(overrides)))
    except OverrideParseException as error:
        raise SettingError(f"cannot read the override '{_told(error.override)}': expected `key=value`, `key=one,other`, "
                           "`+key=value` or `~key`") from None
    except HydraException as error:
        raise SettingError(f"the overrides cannot be read: {error}") from None


def _told(override: str) -> str:
    """As the user wrote it: `ami.config.compose.forced` adds the plus signs, and will again."""
    return override.removeprefix("++")

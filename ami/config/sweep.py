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

from ami.config.overrides import forced
from ami.errors import SettingError


class Combination(NamedTuple):
    """One combination of a sweep's values.

    Attributes:
        label: its swept overrides, "planner=cem world.noise=tv".
        overrides: all of its overrides, including those shared by every combination.
        swept: the value of each swept key, {"planner": "cem"}.
    """

    label: str
    overrides: tuple[str, ...]
    swept: Mapping[str, str]


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a multirun."""
    parsed = _parsed(overrides)
    if any(override.key_or_group == "hydra/sweeper" for override in parsed):
        # the sweeper chooses values itself: the fixed overrides are checked now, the rest when each job starts
        return [[str(override.input_line) for override in parsed if not override.is_sweep_override()]]
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def differing(overrides: Sequence[str]) -> list[str]:
    """Return the swept overrides of each job of a multirun, in the order of `jobs`: "planner.horizon=2 seed=1"."""
    parsed = _parsed(overrides)
    if any(override.key_or_group == "hydra/sweeper" for override in parsed):
        return ["chosen by the sweeper"]
    swept = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    return [" ".join(_as_written(text) for text in job if text.partition("=")[0] in swept) for job in jobs(overrides)]


def combinations(overrides: Sequence[str]) -> list[Combination]:
    """Return every combination of the values of the swept keys, in the given order.

    Raises:
        SettingError: no key has several values, a combination occurs twice, or the values cannot be listed beforehand.
    """
    parsed = _parsed(overrides)
    swept = [place for place, override in enumerate(parsed) if override.is_sweep_override()]
    if not swept:
        raise SettingError(f"nothing to compare in '{' '.join(overrides)}': expected a key with several values, such as "
                           "'planner=cem,random_shooting'")
    for place in swept:
        if not parsed[place].is_discrete_sweep() or "glob(" in overrides[place]:
            raise SettingError(f"'{overrides[place]}' does not list its values: expected them one by one, `key=a,b,c`, or "
                               "a range of numbers, `key=range(2,8,2)`")
    found = []
    for job in (job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch):
        differing = [_as_written(job[place]) if place in swept else "" for place in range(len(parsed))]
        texts = tuple(new or given for new, given in zip(differing, overrides, strict=True))
        # Hydra does not accept null as a choice; `experiment=null` means no experiment, one side of a comparison
        chosen = tuple(text for text in texts if text != "experiment=null")
        swept_values = dict(text.lstrip("+").split("=", 1) for text in differing if text)
        found.append(Combination(" ".join(filter(None, differing)), chosen, swept_values))
    twice = [one.label for number, one in enumerate(found) if one.label in [other.label for other in found[:number]]]
    if twice:
        raise SettingError(f"'{twice[0]}' occurs twice. Fix: name each value once")
    if len(found) < 2:
        raise SettingError(f"'{found[0].label}' is a single variant: expected two or more, `key=a,b`")
    return found


def _parsed(overrides: Sequence[str]) -> list[Override]:
    try:
        return list(OverridesParser.create().parse_overrides(forced(overrides)))
    except OverrideParseException as error:
        raise SettingError(f"cannot read the override '{_as_written(error.override)}': expected `key=value`, "
                           "`key=one,other`, `+key=value` or `~key`") from None
    except HydraException as error:
        raise SettingError(f"the overrides cannot be read: {error}") from None


def _as_written(override: str) -> str:
    """Return an override as the user wrote it, without the plus signs that `ami.config.overrides.forced` adds."""
    return override.removeprefix("++")

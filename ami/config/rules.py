"""Rules: which values a setting may have, from its type and bounds in a dataclass.

    pairs: int = setting("number of sealed pairs of each kind", least=1, most=1_000_000)

gives the check and its message, "a whole number from 1 to 1000000". Types are `int`, `float`, `str` (not empty), `bool`,
`Literal`, `list[str]`, a list of a `Literal`, a mapping of names to lists or to anything, unions of these, and `None`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Rule:
    """The allowed values of one setting: a description for the user, and a test."""

    expected: str
    accepts: Callable[[Any], bool]


def setting(help: str, *, least: float | None = None, most: float | None = None, above: float | None = None,
            default: Any = MISSING, optional: bool = False) -> Any:
    """Return a dataclass field that is a setting.

    Args:
        help: one sentence for `ami run --help`.
        least, most: bounds of a number, or of a list's length (`least`); both are allowed values.
        above: a number's bound that is not an allowed value itself.
        default: the value if a configuration has none; by default it must have one, which `configs/` gives.
        optional: whether a configuration may lack it without a default here.
    """
    kept = {"help": help, "least": least, "most": most, "above": above, "optional": optional}
    return field(default=default, metadata=kept)


@lru_cache(maxsize=32)
def types_of(section: type) -> dict[str, tuple[Any, Field[Any]]]:
    """Return the type and the field of each setting of a section, in order."""
    hints = get_type_hints(section)
    return {one.name: (hints[one.name], one) for one in fields(section) if "help" in one.metadata}


@lru_cache(maxsize=256)
def rule_of(section: type, name: str) -> Rule:
    """Return the rule of one setting of a section."""
    kind, of = types_of(section)[name]
    return _rule(kind, of.metadata["least"], of.metadata["most"], of.metadata["above"])


def _rule(kind: Any, least: float | None = None, most: float | None = None, above: float | None = None) -> Rule:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        rules = [_rule(one, least, most, above) for one in inner if one is not NoneType]
        nothing = ["null"] * (NoneType in inner)
        return Rule(", or ".join([*(rule.expected.removeprefix("one of ") for rule in rules), *nothing]),
                    lambda value: (value is None and bool(nothing)) or any(rule.accepts(value) for rule in rules))
    if kind is bool:
        return Rule("true or false", lambda value: isinstance(value, bool))
    if kind is str:
        return Rule("a text", lambda value: isinstance(value, str) and value != "")
    if kind in (int, float):
        return Rule(_bounds("a whole number" if kind is int else "a number", least, most, above),
                    lambda value: isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
                    and math.isfinite(value) and (least is None or value >= least) and (most is None or value <= most)
                    and (above is None or value > above))
    if origin is Literal:
        return Rule(f"one of {', '.join(inner)}", lambda value: isinstance(value, str) and value in inner)
    if origin is list:
        return _list(inner[0], least or 0)
    if origin is dict and inner[1] is Any:
        return Rule("a mapping of settings", lambda value: isinstance(value, dict))
    if origin is dict:
        groups = _rule(inner[1])
        return Rule("a mapping {group: [nodes]}",
                    lambda value: isinstance(value, dict) and all(map(groups.accepts, value.values())))
    raise TypeError(f"a setting cannot have the type {kind}")


def _bounds(noun: str, least: float | None, most: float | None, above: float | None) -> str:
    if above is not None:
        return f"{noun} above {above:g}"
    if least is None:
        return noun
    return f"{noun}, {least:g} or more" if most is None else f"{noun} from {_plain(least)} to {_plain(most)}"


def _plain(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _list(inner: Any, least: float) -> Rule:
    """Return the rule of a list of names, or of a list of some of a few names."""
    names = get_args(inner)
    some = "one or more names" if least else "names"
    words = f"a list of {' and '.join(names)}, `[{', '.join(names)}]`" if names else f"a list of {some}, `[a, b]`"
    return Rule(words, lambda value: isinstance(value, list) and len(value) >= least
                and all(isinstance(name, str) and (not names or name in names) for name in value))

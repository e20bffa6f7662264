"""Schema: check plain values read from a file against a type.

The types are Python's own: `int`, `float`, `str`, `bool`, `None`, `Literal`, unions, `list`, `tuple`, `dict`, `TypedDict`,
`NamedTuple` and dataclasses, with bounds as `Annotated[int, Between(0, 10)]`. A mapping may have more keys than its
`TypedDict` declares, since newer versions write more; a `NamedTuple` or a dataclass allows no unknown keys.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null",
                         list: "a list", tuple: "a list", dict: "a mapping"}
LONGEST = 60  # characters of a value in a message


class Mismatch(ValueError):
    """A value does not match its type; the text names the field, what was found and what was expected."""


@dataclasses.dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`; NaN is outside."""

    low: float
    high: float

    @property
    def words(self) -> str:
        return f"a number from {self.low:,} to {self.high:,}"

    def holds(self, value: Any) -> bool:
        return bool(self.low <= value <= self.high)


@dataclasses.dataclass(frozen=True)
class Like:
    """Texts that match a pattern as a whole."""

    pattern: str
    words: str

    def holds(self, value: Any) -> bool:
        return re.fullmatch(self.pattern, value) is not None


@dataclasses.dataclass(frozen=True)
class AtMost:
    """Texts, lists and mappings of a limited length."""

    count: int

    @property
    def words(self) -> str:
        return f"at most {self.count:,} characters or entries"

    def holds(self, value: Any) -> bool:
        return len(value) <= self.count


Whole = Annotated[int, Between(0, 2**62)]
Count = Annotated[int, Between(0, 2**31 - 1)]
Line = Annotated[str, Like("[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]{0,10000}", "a text of one line, no control characters")]
"""Text that is printed unchanged; `ami.terminal.text` escapes the remaining invisible characters."""
Name = Annotated[str, Like(r"[A-Za-z_]\w{0,99}", "a name of letters, digits and _")]
"""The grammar of node and port names in `ami.graph.wiring`."""


def check(value: Any, kind: Any, where: str = "") -> None:
    """Check a plain value against a type.

    Args:
        value: the value.
        kind: the type.
        where: the field that holds it, for the message.

    Raises:
        Mismatch: at the first field that differs.
    """
    origin, given = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if not _is_a(value, given[0]):
            raise _mismatch(where, value, words(kind))
        check(value, given[0], where)
        for bound in given[1:]:
            if not bound.holds(value):
                raise _mismatch(where, value, bound.words)
        return
    if not _is_a(value, kind):
        raise _mismatch(where, value, words(kind))
    if origin in (Union, UnionType):
        check(value, next(one for one in given if _is_a(value, one)), where)
    elif origin is tuple and given[-1] is not Ellipsis:
        if len(value) != len(given):
            raise _mismatch(where, value, f"a list of {len(given)}")
        for place, (inner, one) in enumerate(zip(value, given, strict=True)):
            check(inner, one, f"{where}[{place}]")
    elif origin in (list, tuple):
        for place, inner in enumerate(value):
            check(inner, given[0], f"{where}[{place}]")
    elif origin is dict:
        for key, inner in value.items():
            check(key, given[0], f"a key of {where or 'the content'}")
            check(inner, given[1], _below(where, key))
    elif _is_record(kind):
        _check_record(value, kind, where)


def words(kind: Any) -> str:
    """Describe a type in words: `a whole number or null`."""
    origin, given = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return next((bound.words for bound in given[1:] if isinstance(bound, Like)), words(given[0]))
    if origin is NotRequired:
        return words(given[0])
    if origin is Literal:
        return " or ".join(map(repr, given))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(words, given)))
    return "a mapping" if _is_record(kind) else WORDS[origin or kind]


def shown(value: object) -> str:
    """Format a value for a message: on one line, without control characters, not longer than `LONGEST`."""
    if isinstance(value, Mapping) and len(value) > 3:
        return f"a mapping of {len(value)} entries"
    if isinstance(value, list) and len(value) > 8:
        return f"a list of {len(value)} entries"
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _check_record(value: Mapping[str, Any], kind: Any, where: str) -> None:
    known = _fields(kind)
    for name, (inner, is_required) in known.items():
        if name in value:
            check(value[name], inner, _below(where, name))
        elif is_required:
            raise Mismatch(f"{_below(where, name)} is missing: expected {words(inner)}")
    unknown = [] if is_typeddict(kind) else [key for key in value if key not in known]
    if unknown:
        raise Mismatch(f"{_below(where, unknown[0])} is unknown: expected {', '.join(known)}")


@lru_cache(maxsize=64)
def _fields(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return the fields of a record: their type, and whether they are required."""
    hints = get_type_hints(kind, include_extras=True)
    if is_typeddict(kind):
        return {name: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, True)
                for name, hint in hints.items()}
    if dataclasses.is_dataclass(kind):
        return {field.name: (hints[field.name], field.default is dataclasses.MISSING) for field in dataclasses.fields(kind)}
    return {name: (hint, name not in kind._field_defaults) for name, hint in hints.items()}


def _is_record(kind: Any) -> bool:
    return is_typeddict(kind) or dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")


def _is_a(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type, without checking its content."""
    origin, given = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return _is_a(value, given[0])
    if origin in (Union, UnionType):
        return any(_is_a(value, one) for one in given)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in given)
    if isinstance(value, bool):  # Python counts it as a number
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    if origin in (list, tuple):
        return isinstance(value, list)
    return isinstance(value, dict if _is_record(kind) else origin or kind)


def _below(where: str, name: object) -> str:
    text = str(name) if re.fullmatch(r"[\w.-]{1,60}", str(name)) else f"[{shown(name)}]"
    return f"{where}.{text}" if where else text


def _mismatch(where: str, value: object, expected: str) -> Mismatch:
    return Mismatch(f"{where or 'the content'} is {shown(value)}: expected {expected}")

"""Schema: every mismatch names the field, what was found and what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import pytest

from ami.storage.schema import AtMost, Between, Like, Mismatch, Name, check, shown


class Inner(TypedDict):
    steps: Annotated[int, Between(1, 9)]
    note: NotRequired[str | None]


class Pair(NamedTuple):
    kind: Literal["a", "b"]
    ret: float = 0.0


@dataclass
class Run:
    name: Name
    inner: Inner
    pairs: tuple[Pair, ...]
    place: tuple[int, int] = (0, 0)
    files: Annotated[dict[Name, list[float]], AtMost(2)] | None = None
    rest: Any = None


GOOD = {"name": "world_model", "inner": {"steps": 3, "note": None, "new": 1}, "pairs": [{"kind": "a", "ret": 1}],
        "place": [1, 2], "files": {"x": [1, 2.5]}, "rest": [{}]}


def test_values_of_the_declared_types_pass() -> None:
    check(GOOD, Run)
    check({"name": "x", "inner": {"steps": 1}, "pairs": []}, Run)


@pytest.mark.parametrize(("change", "words"), [
    ({"name": 5}, "name is 5: expected a name of letters, digits and _"),
    ({"name": "a.b"}, "name is 'a.b': expected a name of letters, digits and _"),
    ({"name": "a\x1b\u202e"}, r"name is 'a\\x1b\\u202e': expected a name of letters, digits and _"),
    ({"inner": []}, r"inner is []: expected a mapping"),
    ({"inner": {}}, "inner.steps is missing: expected a whole number"),
    ({"inner": {"steps": True}}, "inner.steps is True: expected a whole number"),
    ({"inner": {"steps": 1.0}}, "inner.steps is 1.0: expected a whole number"),
    ({"inner": {"steps": 10}}, "inner.steps is 10: expected a number from 1 to 9"),
    ({"inner": {"steps": 1, "note": 5}}, "inner.note is 5: expected a text or null"),
    ({"pairs": {}}, "pairs is {}: expected a list"),
    ({"pairs": [{"kind": "c"}]}, "pairs[0].kind is 'c': expected 'a' or 'b'"),
    ({"pairs": [{"kind": "a", "ret": "1"}]}, "pairs[0].ret is '1': expected a number"),
    ({"pairs": [{"kind": "a", "steps": 1}]}, "pairs[0].steps is unknown: expected kind, ret"),
    ({"place": [1]}, "place is [1]: expected a list of 2"),
    ({"files": {"a b": []}}, "a key of files is 'a b': expected a name of letters, digits and _"),
    ({"files": {"a": 1}}, "files.a is 1: expected a list"),
    ({"files": {"a": [], "b": [], "c": []}},
     "files is {'a': [], 'b': [], 'c': []}: expected at most 2 characters or entries"),
    ({"other": 1}, "other is unknown: expected name, inner, pairs, place, files, rest"),
])
def test_a_mismatch_names_the_field_what_was_found_and_what_was_expected(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Mismatch) as caught:
        check({**GOOD, **change}, Run)
    assert str(caught.value) == words.replace("\\\\", "\\")


def test_nan_is_outside_of_every_range() -> None:
    with pytest.raises(Mismatch, match="nan"):
        check(float("nan"), Annotated[float, Between(0, 1)])


def test_a_value_in_a_message_is_short_and_on_one_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 10_000)) <= 61
    assert shown(dict.fromkeys(range(1000))) == "a mapping of 1000 entries"
    assert shown([0] * 1000) == "a list of 1000 entries"


def test_a_pattern_must_match_the_whole_text() -> None:
    with pytest.raises(Mismatch):
        check("ab\n", Annotated[str, Like("ab", "ab")])

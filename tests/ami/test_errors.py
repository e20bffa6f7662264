"""Errors: the tree in the docstring, the built-in base classes, and the wording of suggestions."""

from __future__ import annotations

import builtins
import pickle
import re

import pytest

from ami import errors
from ami.errors import AmiError, GraphError, SettingError, require, suggestion, unknown_name

LISTED = dict(re.findall(r"[├└]── (\w+) +\((\w+)\)", errors.__doc__ or ""))
DEFINED = {name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
NAMES = ("cem", "none", "random_shooting")


def made(name: str) -> AmiError:
    cls = DEFINED[name]
    return cls(["one. Fix: a", "two. Fix: b"]) if cls is GraphError else cls("what was given. Fix: this")


def test_the_docstring_lists_every_error_and_no_other() -> None:
    assert {"AmiError", *LISTED} == set(DEFINED)


@pytest.mark.parametrize("name", LISTED)
def test_an_error_derives_from_amierror_and_its_listed_builtin(name: str) -> None:
    with pytest.raises(getattr(builtins, LISTED[name])) as raised:
        raise made(name)
    assert isinstance(raised.value, AmiError)
    assert DEFINED[name].__bases__ == (AmiError, getattr(builtins, LISTED[name]))


@pytest.mark.parametrize("name", DEFINED)
def test_an_error_survives_pickling(name: str) -> None:
    error = made(name)
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error) and str(there) == str(error) and vars(there) == vars(error)


def test_a_refused_graph_lists_every_mistake() -> None:
    assert str(GraphError(["a is wrong. Fix: b"])) == "the graph was refused, 1 mistake:\n  - a is wrong. Fix: b"
    assert str(GraphError(["a", "b"])) == "the graph was refused, 2 mistakes:\n  - a\n  - b"
    assert GraphError(iter(["a", "b"])).mistakes == ("a", "b")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "existing", "words"), [
    ("cme", NAMES, ": did you mean 'cem'?"),
    ("random_shoting", NAMES, ": did you mean 'random_shooting'?"),
    ("CEM", NAMES, ": did you mean 'cem'?"),
    ("cem", ["CEM", "Cem"], ": did you mean 'CEM'?"),
    ("mpc", NAMES, ": expected one of cem, none, random_shooting."),
    ("mpc", reversed(NAMES), ": expected one of cem, none, random_shooting."),
    ("mpc", ["gradient"], ": expected 'gradient'."),
    ("mpc", [], ": there is none."),
    ("mpc", [*(f"node_{i}" for i in range(1200)), "cpm"], ": expected one of 1,201 names; the nearest are cpm, node_999, "
                                                          "node_998."),
    ("", NAMES, ": expected one of cem, none, random_shooting."),
])
def test_a_suggestion_is_the_nearest_name_or_a_list(name: str, existing: list[str], words: str) -> None:
    assert suggestion(name, existing) == words


def test_unknown_name_gives_the_name_and_the_nearest() -> None:
    assert str(unknown_name("planner", "cme", NAMES)) == "unknown planner 'cme': did you mean 'cem'?"
    assert str(unknown_name("world", "maze", ["two_rooms"], "Fix: see `ami list`")) == (
        "unknown world 'maze': expected 'two_rooms'. Fix: see `ami list`")


def test_require_raises_a_setting_error_if_the_condition_fails() -> None:
    require(True, "never seen")
    with pytest.raises(SettingError, match=r"^CEM\.horizon is -3: expected 1 or more$"):
        require(False, "CEM.horizon is -3: expected 1 or more")

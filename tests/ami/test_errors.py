"""Errors: the tree is the one that is drawn, each is also a built-in one, and sentences name the nearest fix."""

from __future__ import annotations

import builtins
import pickle
import re

import pytest

from ami import errors
from ami.errors import AmiError, GraphError, SettingError, require, suggestion, unknown_name

DRAWN = dict(re.findall(r"[├└]── (\w+) +\((\w+)\)", errors.__doc__ or ""))
DEFINED = {name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
MENU = ("cem", "none", "random_shooting")


def made(name: str) -> AmiError:
    cls = DEFINED[name]
    return cls(["one. Fix: a", "two. Fix: b"]) if cls is GraphError else cls("what was given. Fix: this")


def test_the_drawing_shows_every_error_and_no_other() -> None:
    assert {"AmiError", *DRAWN} == set(DEFINED)


@pytest.mark.parametrize("name", DRAWN)
def test_an_error_is_ours_and_the_built_in_one_that_is_drawn_beside_it(name: str) -> None:
    with pytest.raises(getattr(builtins, DRAWN[name])) as raised:
        raise made(name)
    assert isinstance(raised.value, AmiError)
    assert DEFINED[name].__bases__ == (AmiError, getattr(builtins, DRAWN[name]))


@pytest.mark.parametrize("name", DEFINED)
def test_an_error_travels_between_processes(name: str) -> None:
    error = made(name)
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error) and str(there) == str(error) and vars(there) == vars(error)


def test_a_refused_graph_lists_every_mistake() -> None:
    assert str(GraphError(["a is wrong. Fix: b"])) == "the graph was refused, 1 mistake:\n  - a is wrong. Fix: b"
    assert str(GraphError(["a", "b"])) == "the graph was refused, 2 mistakes:\n  - a\n  - b"
    assert GraphError(iter(["a", "b"])).mistakes == ("a", "b")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "menu", "words"), [
    ("cme", MENU, ": did you mean 'cem'?"),
    ("random_shoting", MENU, ": did you mean 'random_shooting'?"),
    ("CEM", MENU, ": did you mean 'cem'?"),
    ("cem", ["CEM", "Cem"], ": did you mean 'CEM'?"),
    ("mpc", MENU, ": expected one of cem, none, random_shooting."),
    ("mpc", reversed(MENU), ": expected one of cem, none, random_shooting."),
    ("mpc", ["gradient"], ": expected 'gradient'."),
    ("mpc", [], ": there is none."),
    ("", MENU, ": expected one of cem, none, random_shooting."),
])
def test_a_suggestion_is_the_nearest_name_or_the_menu(name: str, menu: list[str], words: str) -> None:
    assert suggestion(name, menu) == words


def test_an_unknown_name_says_what_was_named_and_what_is_near() -> None:
    assert str(unknown_name("planner", "cme", MENU)) == "unknown planner 'cme': did you mean 'cem'?"
    assert str(unknown_name("world", "maze", ["two_rooms"], "Fix: see `ami list`")) == (
        "unknown world 'maze': expected 'two_rooms'. Fix: see `ami list`")


def test_a_requirement_that_holds_is_silent_and_one_that_does_not_is_a_setting_error() -> None:
    require(True, "never seen")
    with pytest.raises(SettingError, match=r"^CEM\.horizon is -3: expected 1 or more$"):
        require(False, "CEM.horizon is -3: expected 1 or more")

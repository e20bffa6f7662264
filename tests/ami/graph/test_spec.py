"""ModuleSpec: a class and its settings, checked before construction and resolved with their defaults."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from tests.ami.toys import PARTS, WIRING, Eye

HERE = __name__


class Term:
    def __init__(self, scale: float = 1.0) -> None:
        if scale < 0:
            raise ValueError("scale below 0")
        self.scale = scale


class Sum:
    def __init__(self, terms: Mapping[str, Term] | Sequence[Term], first: Term | None = None, *, weight: float = 2.0,
                 sizes: Sequence[int] = (8, 8)) -> None:
        self.terms, self.first, self.weight, self.sizes = terms, first, weight, sizes


class Takes:
    """Takes any settings."""

    def __init__(self, env: str, **settings: Any) -> None:
        self.env, self.settings = env, settings


def test_valid_settings_have_no_mistakes() -> None:
    assert ModuleSpec(Sum, {"terms": {}, "weight": 1}).check("cost") == []
    assert ModuleSpec(Takes, {"env": "maze", "anything": 1}).check("world") == []


def test_an_unknown_setting_gets_the_nearest_name() -> None:
    assert ModuleSpec(Term, {"scal": 1}).check("cost") == [
        f"cost has no setting 'scal': did you mean 'scale'? ({HERE}.Term)"]
    assert ModuleSpec(Sum, {"terms": {}, "zoom": 1}).check("cost") == [
        f"cost has no setting 'zoom': expected one of first, sizes, terms, weight. ({HERE}.Sum)"]


def test_a_missing_setting_is_reported_with_its_fix() -> None:
    assert ModuleSpec(Sum).check("cost") == [
        f"cost needs the setting 'terms', which {HERE}.Sum has no default for. Fix: cost.terms=<value>"]
    assert ModuleSpec(Takes).check("world") == [
        f"world needs the setting 'env', which {HERE}.Takes has no default for. Fix: world.env=<value>"]


def test_every_mistake_is_reported_also_of_inner_specs() -> None:
    wrong = ModuleSpec(Term, {"scle": 1})
    part = ModuleSpec(Sum, {"wight": 1, "first": wrong, "terms": {"deep": {"er": wrong}, "many": [wrong, ModuleSpec(Sum)]}})
    words = f"has no setting 'scle': did you mean 'scale'? ({HERE}.Term)"
    assert part.check("cost") == [
        f"cost has no setting 'wight': did you mean 'weight'? ({HERE}.Sum)",
        f"cost.first {words}",
        f"cost.terms.deep.er {words}",
        f"cost.terms.many[0] {words}",
        f"cost.terms.many[1] needs the setting 'terms', which {HERE}.Sum has no default for. "
        "Fix: cost.terms.many[1].terms=<value>"]


class Typed:
    def __init__(self, count: int = 1, rate: float | None = 0.5, name: str = "a", on: bool = True,
                 sizes: Sequence[int] = (), each: Mapping[str, float] | None = None, term: Term | None = None) -> None: ...


@pytest.mark.parametrize(("setting", "fits", "wrong", "expected"), [
    ("count", [3, -1], [1.5, True, "3", None, [1]], "a whole number"),
    ("rate", [3, 0.5, None], ["fast", False, {}], "a number or null"),
    ("name", ["b", ""], [1, None, ["b"]], "a text"),
    ("on", [True, False], [1, "yes", None], "true or false"),
    ("sizes", [[1, 2], []], [3, "12", {"a": 1}], "a list"),
    ("each", [{"a": 1}, None], [[1], "a"], "a mapping or null"),
])
def test_a_plain_setting_must_have_the_annotated_type(
        setting: str, fits: list[Any], wrong: list[Any], expected: str) -> None:
    assert [ModuleSpec(Typed, {setting: value}).check("cost") for value in fits] == [[]] * len(fits)
    for value in wrong:
        assert ModuleSpec(Typed, {setting: value}).check("cost") == [
            f"cost.{setting} is {value!r}: expected {expected} ({HERE}.Typed)"]


def test_other_settings_are_left_to_the_constructor() -> None:
    assert ModuleSpec(Typed, {"term": ModuleSpec(Term)}).check("cost") == ModuleSpec(Typed, {"term": 3}).check("cost") == []


def test_make_makes_inner_specs_first() -> None:
    terms = {"a": ModuleSpec(Term), "b": [ModuleSpec(Term, {"scale": 3}), 7]}
    made = ModuleSpec(Sum, {"terms": terms, "first": ModuleSpec(Term)}).make()
    assert (made.terms["a"].scale, made.terms["b"][0].scale, made.terms["b"][1]) == (1.0, 3, 7)
    assert isinstance(made.first, Term) and made.weight == 2.0


def test_make_returns_new_objects() -> None:
    part = ModuleSpec(Sum, {"terms": {"a": ModuleSpec(Term)}})
    one, other = part.make(), part.make()
    assert one is not other and one.terms is not other.terms and one.terms["a"] is not other.terms["a"]


def test_make_names_the_class_of_wrong_settings() -> None:
    with pytest.raises(SettingError) as refused:
        ModuleSpec(Sum, {"terms": [ModuleSpec(Term, {"scalee": 1})], "x": 1}).make()
    assert str(refused.value) == (
        f"Sum has no setting 'x': expected one of first, sizes, terms, weight. ({HERE}.Sum) "
        f"Sum.terms[0] has no setting 'scalee': did you mean 'scale'? ({HERE}.Term)")


def test_errors_of_the_constructor_pass_through() -> None:
    with pytest.raises(ValueError, match="scale below 0"):
        ModuleSpec(Sum, {"terms": [ModuleSpec(Term, {"scale": -1})]}).make()


def test_resolved_settings_are_plain_and_include_defaults() -> None:
    resolved = ModuleSpec(Sum, {"terms": {"a": ModuleSpec(Term), "b": [ModuleSpec(Term, {"scale": 3}), 7]}}).resolved()
    assert resolved == {
        "_target_": f"{HERE}.Sum",
        "terms": {"a": {"_target_": f"{HERE}.Term", "scale": 1.0}, "b": [{"_target_": f"{HERE}.Term", "scale": 3}, 7]},
        "first": None, "weight": 2.0, "sizes": [8, 8]}
    assert json.loads(json.dumps(resolved)) == resolved


def test_resolved_settings_include_keyword_arguments() -> None:
    assert ModuleSpec(Takes, {"env": "maze", "size": [ModuleSpec(Term)]}).resolved() == {
        "_target_": f"{HERE}.Takes", "env": "maze", "size": [{"_target_": f"{HERE}.Term", "scale": 1.0}]}


def test_an_explicit_default_gives_the_same_hash() -> None:
    written = Graph({**PARTS, "eye": ModuleSpec(Eye, {"size": 3})}, WIRING)
    assert written.hash() == Graph(PARTS, WIRING).hash()


def test_the_name_of_a_spec_is_its_dotted_path() -> None:
    assert ModuleSpec(Eye).name == "tests.ami.toys.Eye"


def test_a_spec_survives_pickling() -> None:
    part = ModuleSpec(Eye, {"size": 4})
    there = pickle.loads(pickle.dumps(part))
    assert there == part and there.make().size == 4

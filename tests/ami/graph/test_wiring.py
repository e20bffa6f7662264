"""The wiring file: valid entries become wires, invalid ones are reported and skipped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.graph.wiring import Wire, parse


def test_a_short_wire_is_read() -> None:
    assert parse({"planner": {"state": "world_model.state"}}).wires == [Wire("world_model", "state", "planner", "state")]


def test_a_delayed_wire_is_read_and_printed_the_same_way() -> None:
    (wire,) = parse({"world": {"action": "actor.action@-2"}}).wires
    assert (wire.delay, wire.init) == (2, 0.0)
    assert str(wire) == "actor.action@-2 → world.action"


def test_the_long_form_sets_the_initial_value() -> None:
    (wire,) = parse({"memory": {"energy": {"from": "cost.energy", "delay": 1, "init": 0.5}}}).wires
    assert wire == Wire("cost", "energy", "memory", "energy", 1, 0.5)


def test_a_wire_can_be_cut() -> None:
    (wire,) = parse({"goal": {"observation": {"from": "world.goal", "cut": True, "init": 2}}}).wires
    assert wire == Wire("world", "goal", "goal", "observation", 0, 2.0, cut=True)


def test_calls_and_rates_are_not_wires() -> None:
    wiring = parse({"planner": {"calls": {"cost": "cost"}, "every": 3, "device": "cuda:1"}})
    assert (wiring.wires, wiring.calls, wiring.every) == ([], {"planner": {"cost": "cost"}}, {"planner": 3})
    assert wiring.devices == {"planner": "cuda:1"}


def test_null_removes_a_wire() -> None:
    wiring = parse({"planner": {"state": None, "calls": None, "every": None}, "world": None})
    assert (wiring.nodes, wiring.wires, wiring.mistakes) == (("planner", "world"), [], [])


def test_null_removes_a_call() -> None:
    wiring = parse({"planner": {"calls": {"cost": None, "world_model": "world_model"}}})
    assert (wiring.calls, wiring.mistakes) == ({"planner": {"world_model": "world_model"}}, [])


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"actor": "planner.plan"}, "actor is wired to 'planner.plan': expected a mapping, `actor: {input: node.output}`"),
    ({"actor": {"plan": "planner"}}, "actor.plan is wired from 'planner': expected `node.output` or `node.output@-1`"),
    ({"actor": {"plan": 3}}, "actor.plan is wired from 3: expected `node.output` or `node.output@-1`"),
    ({"actor": {"evry": 3}}, "actor.evry is wired from 3: expected `node.output` or `node.output@-1`. "
                             "'evry': did you mean 'every'?"),
    ({"actor": {"plan": "planner.plan@1"}}, "actor.plan has the delay -1: expected `@-1`, one tick late, or `@-n`"),
    ({"actor": {"plan": {"from": "planner.plan", "delay": 0.5}}},
     "actor.plan has the delay 0.5: expected `@-1`, one tick late, or `@-n`"),
    ({"actor": {"plan": {"from": "planner.plan", "init": "zero"}}}, "actor.plan has the init 'zero': expected a number"),
    ({"actor": {"plan": {"from": "planner.plan", "dealy": 1}}},
     "actor.plan has the key 'dealy': did you mean 'delay'?"),
    ({"actor": {"plan": {"from": "planner.plan", "cut": "yes"}}}, "actor.plan has the cut 'yes': expected true or false"),
    ({"actor": {"plan": {"from": "planner.plan", "optional": 3}}}, "actor.plan has the optional 3: expected true or false"),
    ({"planner": {"calls": "cost"}}, "planner.calls is 'cost': expected a mapping, `calls: {world_model: world_model}`"),
    ({"planner": {"every": 0}}, "planner.every is 0: expected a whole number of ticks, 1 or more"),
    ({"planner": {"device": "gpu"}}, "planner.device is 'gpu': expected auto, cpu, cuda or cuda:n"),
    ({"planner": {"device": "cuda:"}}, "planner.device is 'cuda:': expected auto, cpu, cuda or cuda:n"),
    ({"planner": {"device": 0}}, "planner.device is 0: expected auto, cpu, cuda or cuda:n"),
    ({"planner": {"every": True}}, "planner.every is True: expected a whole number of ticks, 1 or more"),
]


@pytest.mark.parametrize(("file", "sentence"), MISTAKES)
def test_an_invalid_entry_is_reported(file: dict[str, Any], sentence: str) -> None:
    assert parse(file).mistakes == [sentence]


def test_parsing_continues_after_a_mistake() -> None:
    wiring = parse({"actor": {"plan": "planner", "state": "world_model.state"}})
    assert len(wiring.mistakes) == len(wiring.wires) == 1


ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=3))


@given(st.dictionaries(st.text(min_size=1, max_size=6), ANYTHING, max_size=3))
def test_no_file_breaks_the_parser(file: dict[str, Any]) -> None:
    wiring = parse(file)
    assert wiring.nodes == tuple(sorted(file))

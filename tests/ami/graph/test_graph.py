"""The graph refuses an invalid wiring before tick 0, with all mistakes at once, each with its fix."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from ami.blueprint import Planner
from ami.errors import GraphError
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.module import Call
from ami.ports import Port
from tests.ami.toys import PARTS, WIRING, Book, Eye, Hand, Head, graph


class Deaf(Hand):
    """A hand without the wired port."""

    inputs = {"program": Port("plan", ("H", "A"))}


class Whole(Hand):
    """A hand with an integer input: the wrong dtype for energies."""

    inputs = {"plan": Port("plan", ("H", "A")), "energy": Port("energy", (), torch.int64, optional=True)}


class Echo(Book):
    """A book that calls a book."""

    requires = {"book": Call(("look_up",))}


class Unborn(Eye):
    """Omits super().__init__()."""

    def __init__(self) -> None:
        self.size = 3


class Stone:
    """Not a module."""


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("unknown node", {"hand": {"plan": "heat.plan"}},
     "hand.plan is wired from the unknown node 'heat': did you mean 'head'?"),
    ("unknown output", {"hand": {"plan": "head.plam"}},
     "hand.plan is wired from 'head.plam', but head has no output 'plam': did you mean 'plan'?"),
    ("unknown input", {"hand": {"plan": "head.plan", "pln": "head.plan"}},
     f"hand has no input 'pln': did you mean 'plan'? ({Hand.__module__}.Hand)"),
    ("wrong kind", {"hand": {"plan": "head.energy"}},
     "head.energy → hand.plan carries the kind 'energy': hand.plan expects the kind 'plan'. Fix: wire it from head.plan"),
    ("a kind without an output", {"head": {"state": "eye.state", "hint": "eye.reward", "calls": {"book": "book"}},
                                "parts": {"head": ModuleSpec(type("Odd", (Head,), {"inputs": {
                                    **Head.inputs, "hint": Port("surprise", optional=True)}}))}},
     "eye.reward → head.hint carries the kind 'reward': head.hint expects the kind 'surprise'. "
     "No output of this graph is of that kind"),
    ("wrong dtype", {"hand": {"plan": "head.plan", "energy": "head.energy"}, "parts": {"hand": ModuleSpec(Whole)}},
     "head.energy → hand.energy carries torch.float32: hand.energy expects torch.int64. "
     "Fix: a module between them that casts"),
    ("an input that is needed", {"hand": {}},
     "hand.plan is not wired and hand needs it (plan float32 (B, H, A)). Fix: graph.hand.plan=head.plan"),
    ("a loop", {"eye": {"action": "hand.action"}},
     "eye → head → hand → eye wait for each other within one tick. Fix: put `@-1` on one of these wires: "
     "eye.state → head.state, head.plan → hand.plan, hand.action → eye.action"),
    ("a loop of one", {"head": {"state": "eye.state", "hint": "head.energy", "calls": {"book": "book"}}},
     "head → head waits for itself within one tick. Fix: put `@-1` on one of these wires: head.energy → head.hint"),
    ("a call that is needed", {"head": {"state": "eye.state"}},
     "head needs the call 'book' (look_up), which is not bound. Fix: graph.head.calls.book=<node>"),
    ("an unknown callee", {"head": {"state": "eye.state", "calls": {"book": "bok"}}},
     "head calls the unknown node 'bok': did you mean 'book'?"),
    ("an undeclared method", {"head": {"state": "eye.state", "calls": {"book": "hand"}}},
     f"head calls hand.look_up, which {Hand.__module__}.Hand does not declare callable: there is none. "
     "Fix: mark it @callable_method, or bind graph.head.calls.book to another node"),
    ("a book that calls itself", {"book": {"calls": {"book": "book"}}, "parts": {"book": ModuleSpec(Echo)}},
     "book → book calls itself. Fix: bind one of these calls to another node"),
    ("no module", {"nose": {}},
     "node 'nose' is wired but has no module: expected one of book, eye, hand, head. "
     "Fix: give it one, `+nose._target_=…`, or remove its wiring, `~graph.nose`"),
    ("an unknown setting", {"parts": {"eye": ModuleSpec(Eye, {"sise": 3})}},
     f"eye has no setting 'sise': did you mean 'size'? ({Eye.__module__}.Eye)"),
    ("an invalid setting", {"parts": {"eye": ModuleSpec(Eye, {"size": 0})}},
     f"eye: {Eye.__module__}.Eye does not take these settings: no size"),
    ("no module at all", {"parts": {"eye": ModuleSpec(Stone)}},
     "eye is a tests.ami.graph.test_graph.Stone: expected an ami Module, see ami.blueprint"),
    ("no super().__init__()", {"parts": {"eye": ModuleSpec(Unborn)}},
     "eye: tests.ami.graph.test_graph.Unborn.__init__() does not begin with super().__init__()"),
    ("an unknown node on a wire that may go", {"head": {"state": "eye.state", "hint": "stomach.energy"}},
     "head.hint is wired from the unknown node 'stomach': expected one of book, eye, hand, head. "
     "Fix to do without: `~graph.head.hint`"),
    ("two sizes for one symbol", {"parts": {"eye": ModuleSpec(Eye, {"size": 4})}},
     "wrong shape along the call head ⇄ book: head has S = (4,), not (3,). "
     "Fix: a setting that makes both ends agree, or another module or wire"),
]


@pytest.mark.parametrize(("changes", "sentence"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_mistake_is_reported_with_its_fix(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(GraphError) as refused:
        graph(**changes)
    assert sentence in refused.value.mistakes


def test_all_mistakes_come_in_one_report() -> None:
    with pytest.raises(GraphError) as refused:
        graph(eye={"action": "hnd.action", "acton": "hand.actoin"}, head={"state": "eye.reward"})
    assert str(refused.value) == "\n".join([
        "the graph was refused, 5 mistakes:",
        "  - eye.action is wired from the unknown node 'hnd': did you mean 'hand'?",
        "  - eye.acton is wired from 'hand.actoin', but hand has no output 'actoin': did you mean 'action'?",
        f"  - eye has no input 'acton': did you mean 'action'? ({Eye.__module__}.Eye)",
        "  - eye.reward → head.state carries the kind 'reward': head.state expects the kind 'state'. "
        "Fix: wire it from eye.state",
        "  - head needs the call 'book' (look_up), which is not bound. Fix: graph.head.calls.book=<node>",
    ])


def test_an_unknown_node_and_an_unknown_input_on_one_wire_are_both_reported() -> None:
    with pytest.raises(GraphError) as refused:
        graph(hand={"plan": "head.plan", "pln": "heat.plan"})
    assert refused.value.mistakes == (
        "hand.pln is wired from the unknown node 'heat': did you mean 'head'?",
        f"hand has no input 'pln': did you mean 'plan'? ({Hand.__module__}.Hand)")


def test_a_planner_without_calls_is_refused_with_the_reason() -> None:
    planner = type("Searching", (Head, Planner), {})
    with pytest.raises(GraphError, match="which is not bound: Mode-2 cannot search without it"):
        graph({"head": ModuleSpec(planner)}, head={"state": "eye.state"})


def test_nodes_fire_in_topological_order_with_ties_broken_by_name() -> None:
    assert graph().order == ("book", "eye", "head", "hand")


def test_the_order_does_not_depend_on_the_order_in_the_file() -> None:
    forwards = graph()
    backwards = Graph(PARTS, dict(reversed(WIRING.items())))
    assert forwards.order == backwards.order
    assert forwards.hash() == backwards.hash()


def test_every_symbol_gets_its_size_from_wires_and_calls() -> None:
    assert graph().dims == {"book": {"S": (3,)}, "eye": {"S": (3,), "A": 2}, "head": {"S": (3,), "A": 2, "H": 2},
                            "hand": {"A": 2, "H": 2}}


def test_the_hash_changes_with_a_setting_a_wire_and_a_rate() -> None:
    hashes = {graph().hash(),
              graph(hand={"plan": "head.plan", "every": 2}).hash(),
              graph(eye={"action": "hand.action@-2"}).hash(),
              graph(head={"state": "eye.state", "hint": "head.energy@-1", "calls": {"book": "book"}}).hash()}
    assert len(hashes) == 4


def test_parts_without_effect_are_warned_of_and_not_refused() -> None:
    idle = graph({"spare": ModuleSpec(Book)}, head={"state": "eye.state", "calls": {"book": "book", "books": "book"}})
    assert idle.warnings == [
        f"head.calls.books has no effect: {Head.__module__}.Head calls book, friend",
        "module 'spare' has no effect: the graph does not name it"]


def test_an_unread_node_is_warned_of() -> None:
    assert graph({"spare": ModuleSpec(Book)}, spare={}).warnings == ["spare has no effect: no wire and no call reads it"]


def test_a_call_that_is_optional_may_stay_unbound() -> None:
    assert "friend" not in graph().calls["head"]


def test_callees_are_found_through_calls_of_calls() -> None:
    deep = graph({"shelf": ModuleSpec(Book), "book": ModuleSpec(Echo)}, shelf={}, book={"calls": {"book": "shelf"}})
    assert deep.callees("head") == ("book", "shelf")
    assert deep.callees("hand") == ()


def test_a_graph_is_pickled_without_its_drafts() -> None:
    sound = graph()
    there = pickle.loads(pickle.dumps(sound))
    assert there.order == sound.order and there.dims == sound.dims and there.drafts == {}


def test_a_wire_that_is_cut_closes_no_loop_and_changes_the_hash() -> None:
    severed = graph(eye={"action": {"from": "hand.action", "cut": True}})
    assert severed.order == graph().order
    assert severed.hash() != graph().hash()
    described = severed.describe()
    assert described["cut"] == ["hand.action → eye.action"] and "hand.action → eye.action" not in described["wires"]
    assert "cut" not in graph().describe()


def test_the_ends_of_a_cut_wire_must_fit_too() -> None:
    with pytest.raises(GraphError, match="carries the kind 'energy'"):
        graph(hand={"plan": {"from": "head.energy", "cut": True}})

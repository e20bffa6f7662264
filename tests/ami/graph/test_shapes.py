"""Shape inference: sizes propagate both ways along wires and calls; contradictions and open symbols are reported."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch

from ami.errors import SettingError
from ami.graph.shapes import AGREE, DimSolver
from ami.graph.wiring import Wire
from ami.module import Call, Module
from ami.ports import Port, Size


class Node(Module):
    """A module with the ports and sizes a test gives it."""

    def __init__(self, inputs: Mapping[str, Port] | None = None, outputs: Mapping[str, Port] | None = None,
                 decides: Mapping[str, Size] | None = None, requires: Mapping[str, Call] | None = None) -> None:
        super().__init__()
        self.inputs, self.outputs, self.requires = dict(inputs or {}), dict(outputs or {}), dict(requires or {})
        self.decides = dict(decides or {})

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return self.decides


class Picky(Node):
    """Refuses a size."""

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if known.get("S") == (3,):
            raise SettingError("Picky takes no states of 3 numbers")
        return {}


def port(*dims: str | int, optional: bool = False) -> Port:
    return Port("state", dims, torch.float32, optional)


def solve(calls: dict[str, dict[str, str]] | None = None, **nodes: Node) -> tuple[dict[str, Any], list[str]]:
    """Solve a chain: every node's `out` is wired to the next node's `in`."""
    names = list(nodes)
    wires = [Wire(a, "out", b, "in") for a, b in pairwise(names)
             if "out" in nodes[a].outputs and "in" in nodes[b].inputs]
    solver = DimSolver(nodes, wires, {name: (calls or {}).get(name, {}) for name in names})
    return solver.solve(), solver.mistakes


def test_a_size_flows_forward_and_backward() -> None:
    first = Node(outputs={"out": port("A")})
    middle = Node({"in": port("X")}, {"out": port("X")}, {"X": 5})
    last = Node({"in": port("Z")})
    assert solve(first=first, middle=middle, last=last) == ({"first": {"A": 5}, "middle": {"X": 5}, "last": {"Z": 5}}, [])


def test_a_variadic_symbol_takes_the_remaining_sizes() -> None:
    sizes, mistakes = solve(a=Node(outputs={"out": port("H", "*S")}, decides={"H": 4, "S": (7, 8)}),
                            b=Node({"in": port("*T", "W")}))
    assert (sizes["b"], mistakes) == ({"T": (4, 7), "W": 8}, [])


def test_a_call_equates_the_symbols_it_names() -> None:
    caller = Node({"in": port("*S")}, requires={"book": Call((), {"S": "S"})})
    book = Node(outputs={"page": port("*S")}, decides={"S": (6,)})
    sizes, mistakes = solve({"caller": {"book": "book"}}, caller=caller, book=book)
    assert (sizes["caller"], mistakes) == ({"S": (6,)}, [])


def test_two_sizes_along_one_wire_are_reported() -> None:
    three, four = {"S": (3,)}, {"S": (4,)}
    _, mistakes = solve(a=Node(outputs={"out": port("*S")}, decides=three), b=Node({"in": port("*S")}, decides=four))
    assert mistakes == [f"wrong shape along a.out → b.in: b has S = (4,), not (3,). {AGREE}"]


def test_a_message_with_too_few_dims_is_reported() -> None:
    _, mistakes = solve(a=Node(outputs={"out": port("*S")}, decides={"S": ()}), b=Node({"in": port("H", "*S")}))
    assert mistakes == [f"wrong shape along a.out → b.in: (B) arrives, expected state float32 (B, H, *S). {AGREE}"]


def test_a_fixed_size_is_checked_against_the_producers() -> None:
    _, mistakes = solve(a=Node(outputs={"out": port("D")}, decides={"D": 3}), b=Node({"in": port(2)}))
    assert mistakes == [f"wrong shape along a.out → b.in: (B, 3) arrives, expected state float32 (B, 2). {AGREE}"]


def test_a_module_that_refuses_a_size_is_quoted() -> None:
    _, mistakes = solve(a=Node(outputs={"out": port("*S")}, decides={"S": (3,)}), b=Picky({"in": port("*S")}))
    assert mistakes == ["b: Picky takes no states of 3 numbers"]


@pytest.mark.parametrize("decided", [None, 4, {"H": "four"}, {"H": -1}, {"S": (4, None)}])
def test_an_invalid_size_is_reported(decided: Any) -> None:
    node = Node(outputs={"out": port("H")})
    node.infer_dims = lambda known: decided  # type: ignore[method-assign]
    _, mistakes = solve(a=node)
    assert mistakes == [f"a: Node.infer_dims() gave {decided!r}: expected sizes by symbol, {{'H': 4, 'S': (64,)}}"]


def test_an_unresolved_size_is_reported() -> None:
    _, mistakes = solve(a=Node(outputs={"out": port("*S")}), b=Node({"in": port("*S")}))
    assert mistakes == [
        "a: the size of 'S' is unresolved: no wire determines it. Fix: return it from Node.infer_dims()",
        "b: the size of 'S' is unresolved: no wire determines it. Fix: return it from Node.infer_dims()"]


def test_an_optional_port_needs_no_size() -> None:
    assert solve(a=Node({"in": port("*S", optional=True)})) == ({"a": {}}, [])


def test_a_plane_beyond_the_size_is_reported() -> None:
    _, mistakes = solve(a=Node(outputs={"out": Port("state", ("*S",), plane=(0, 3))}, decides={"S": (3,)}))
    assert mistakes == ["a.out: a port of the kind 'state' has the plane (0, 3), but its last dimension has 3 entries: "
                        "expected two of -3 to 2"]

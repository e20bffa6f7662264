"""An agent of four toy modules in a minimal loop: eye → head → hand → eye, and the head calls a book."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.module import Call, Module, callable_method
from ami.ports import Dims, Port, Size


class Eye(Module):
    """Maps the hand's action to a state of `size` numbers."""

    inputs = {"action": Port("action", ("A",))}
    outputs = {"state": Port("state", ("*S",)), "reward": Port("reward")}

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        if size < 1:
            raise ValueError("no size")
        self.size = size

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": (self.size,)}

    def step(self, action: Tensor) -> dict[str, Tensor]:
        return {"state": action.sum(-1, keepdim=True).expand(-1, self.size) + 1, "reward": action[:, 0]}


class Head(Module):
    """Computes its plan by a call to a book."""

    inputs = {"state": Port("state", ("*S",)), "hint": Port("energy", optional=True)}
    outputs = {"plan": Port("plan", ("H", "A")), "energy": Port("energy"), "count": Port("count", (), torch.int64)}
    requires = {"book": Call(("look_up",), {"S": "S"}), "friend": Call(("ask",), optional=True)}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"H": 2, "A": 2}

    def step(self, state: Tensor, hint: Tensor | None = None) -> dict[str, Tensor]:
        plan = self.calls.book.look_up(state)[:, None, None].expand(-1, 2, 2)
        return {"plan": plan, "energy": state.sum(-1), "count": torch.ones(len(state), dtype=torch.int64)}


class Hand(Module):
    """Takes the plan's first action."""

    inputs = {"plan": Port("plan", ("H", "A"))}
    outputs = {"action": Port("action", ("A",))}

    def step(self, plan: Tensor) -> dict[str, Tensor]:
        return {"action": plan[:, 0]}


class Book(Module):
    """Is called by others; fires without inputs."""

    outputs = {"score": Port("score")}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": (3,)}

    def step(self) -> dict[str, Tensor]:
        return {"score": torch.zeros(self.batch)}

    @callable_method
    def look_up(self, state: Tensor) -> Tensor:
        return state.mean(-1)


class Wise(Book):
    """A book with weights."""

    def build(self, dims: Dims) -> None:
        self.reads = nn.Linear(3, 5)

    def look_up(self, state: Tensor) -> Tensor:
        return self.reads(state).mean(-1)


PARTS = {"eye": ModuleSpec(Eye), "head": ModuleSpec(Head), "hand": ModuleSpec(Hand), "book": ModuleSpec(Book)}
WIRING: dict[str, Any] = {
    "book": {},
    "eye": {"action": "hand.action@-1"},
    "head": {"state": "eye.state", "calls": {"book": "book"}},
    "hand": {"plan": "head.plan"},
}


def graph(parts: Mapping[str, ModuleSpec] | None = None, **changes: Any) -> Graph:
    """Return the toy graph with other specs or wires: `graph(hand={"plan": "head.energy"})`; None removes a node."""
    wiring = {**WIRING, **changes}
    return Graph({**PARTS, **(parts or {})}, {node: wires for node, wires in wiring.items() if wires is not None})


def groupings(of: Graph, most: int = 4) -> st.SearchStrategy[dict[str, list[str]]]:
    """Return a strategy for placements of a graph's nodes in at most `most` processes."""

    def grouped(numbers: list[int]) -> dict[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for node, number in zip(of.order, numbers, strict=True):
            groups.setdefault(f"group {number}", []).append(node)
        return groups

    return st.lists(st.integers(1, most), min_size=len(of.order), max_size=len(of.order)).map(grouped)

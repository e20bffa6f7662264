"""Ports: the type of a message on a wire.

A message is one tensor. A port states its *kind* (what it means), its dtype and its dims. Dims are symbols that the graph
resolves from the world's spaces onwards: `"A"` stands for one size, `"*S"` for any number of sizes (a state may be a
vector (D,) or tokens (N, D)). `"B"`, the number of parallel worlds, comes first in every message and is known only when
episodes begin. Kinds catch mistakes that shapes cannot: a goal and a state may have the same shape but differ in meaning.

The idea of a specification that validates and generates its values is dm_env's (`specs.Array.validate`,
`generate_value`); https://github.com/google-deepmind/dm_env.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ami.actions import ActionSpace as ActionSpace
from ami.dtypes import WIDTHS
from ami.errors import PortError

Size = int | tuple[int, ...]


DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in WIDTHS}
"""The dtypes of messages and weights, by their name in files."""

Dims = dict[str, Size]
"""Resolved symbols of one node: "A" -> 2, and "S" -> (64,) for the variadic symbol "*S"."""


def shape_of(dims: Mapping[str, Size], symbol: str) -> tuple[int, ...]:
    """Return the sizes of a symbol as a shape; () if it is unresolved."""
    size = dims.get(symbol, ())
    return size if isinstance(size, tuple) else (size,)


KINDS = {
    "observation": "the world's observation, pixels or vector",
    "goal_observation": "the world's observation of the goal, pixels or vector",
    "failure": "the reason for which an episode failed, a text; empty while it has not",
    "percept": "the encoded observation, without history",
    "state": "the world model's belief after history and last action",
    "action": "one action of the actor",
    "plan": "a sequence of actions",
    "imagined": "the predicted states along a plan",
    "goal": "the target, in the space that the world model compares states with",
    "recall": "memory's answer to a query",
    "remembered": "several states from memory",
    "places": "all states that a memory keeps",
    "links": "the numbers of the remembered states that followed each remembered state, -1 for none",
    "goals": "several targets, of which one is chosen",
    "wish": "the number of the chosen target",
    "felt": "what the choice of a target depends on",
    "energy": "a cost, lower is better",
    "energies": "several costs, one per target",
    "surprise": "the distance of the predicted to the perceived state, 0 without a prediction",
    "score": "how well a query matched, 0 to 1",
    "mode": "1: react, 2: plan",
    "weights": "the configurator's factors for the cost's weights",
    "count": "a number of uses, such as model steps",
    "reward": "the world's own reward",
    "flag": "true or false",
    "mask": "the alternatives that the next action may take",
    "episode": "the number of a row's episode, -1 once it is over",
    "truth": "the world's true state, for probes and pictures: no input of the agent",
}

CONTROL = frozenset({"mode", "wish", "flag", "count", "episode"})
"""The kinds whose messages stay on the CPU, whatever the devices of their nodes (`ami.graph.devices`): a few numbers per
world, from which Python code branches, so that reading them never waits for an accelerator. A module that combines one with
its other inputs moves it there. Every other message arrives on its receiver's device, masks included."""


@dataclass(frozen=True)
class Port:
    """One end of a wire.

    Args:
        kind: one of `KINDS`.
        dims: symbols or sizes after the leading "B", e.g. ("A",), ("*S",), ("H", "*S").
        dtype: the tensor's dtype; None accepts any.
        optional: an input that may stay unwired; `step` then receives None.
        space: the action space, on a world's action port; None elsewhere.
        is_text: an output whose messages are texts, (B, n) uint8: the bytes of their UTF-8 code, padded with 0.
        plane: the two entries of a state, or of another last dimension, that are a place in a plane, negative ones from its
            end; the viewer draws them.
    """

    kind: str
    dims: tuple[str | int, ...] = ()
    dtype: torch.dtype | None = torch.float32
    optional: bool = False
    space: ActionSpace | None = None
    is_text: bool = False
    plane: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PortError(f"a port has the kind '{self.kind}': expected one of {', '.join(KINDS)}")
        if self.plane is not None and not self.dims:
            raise PortError(f"a port of the kind '{self.kind}' has the plane {self.plane} and no dims: expected a vector, "
                            "such as ('*S',)")
        if sum(str(d).startswith("*") for d in self.dims) > 1:
            raise PortError(f"a port has the dims {self.dims}: expected at most one variadic symbol such as '*S'")

    def shape(self, dims: Mapping[str, Size]) -> tuple[int, ...]:
        """Return the sizes after the batch. Raise KeyError if a symbol is unresolved."""
        sizes: list[int] = []
        for dim in self.dims:
            if isinstance(dim, int):
                sizes.append(dim)
            else:
                size = dims[dim.removeprefix("*")]
                sizes.extend(size if isinstance(size, tuple) else (size,))
        return tuple(sizes)

    def plane_of(self, dims: Mapping[str, Size]) -> tuple[int, int] | None:
        """Return the entries of the plane, counted from 0; None without one.

        Raises:
            PortError: the last dimension has no such entry.
            KeyError: a symbol is unresolved.
        """
        if self.plane is None:
            return None
        size = self.shape(dims)[-1]
        for entry in self.plane:
            if not -size <= entry < size:
                raise PortError(f"a port of the kind '{self.kind}' has the plane {self.plane}, but its last dimension has "
                                f"{size} entries: expected two of {-size} to {size - 1}")
        first, second = self.plane
        return first % size, second % size

    def describe(self) -> str:
        """Return the text of a port in error messages and `ami list`: `state float32 (B, *S)`."""
        name = "any dtype" if self.dtype is None else str(self.dtype).removeprefix("torch.")
        return f"{self.kind} {name} ({', '.join(['B', *map(str, self.dims)])})"

    def with_dtype(self, dtype: torch.dtype) -> Port:
        """Return the same port with another dtype, as for a world whose observations are bytes."""
        return replace(self, dtype=dtype)

    def validate(self, where: str, value: object, dims: Mapping[str, Size], batch: int) -> None:
        """Check one message.

        Raises:
            PortError: the message does not fit; names `where` ("planner.plan"), what was found and what was expected.
        """
        if not isinstance(value, Tensor):
            raise PortError(f"{where} gave a {type(value).__name__}: expected a tensor, {self.describe()}")
        expected = (batch, *self.shape(dims))
        if tuple(value.shape) != expected:
            raise PortError(f"{where} gave the shape {tuple(value.shape)}: expected {expected}, {self.describe()}")
        if self.dtype is not None and value.dtype != self.dtype:
            raise PortError(f"{where} gave the dtype {value.dtype}: expected {self.dtype}. Fix: cast it in step()")

    def sample(self, dims: Mapping[str, Size], batch: int, generator: torch.Generator,
               actions: ActionSpace | None = None) -> Tensor:
        """Return a random message that fits this port, so that a module's test needs no world.

        Args:
            dims: the sizes, by symbol.
            batch: B.
            generator: torch's.
            actions: the action space; None: numbers in [-1, 1].
        """
        shape = (batch, *self.shape(dims))
        if self.kind == "mode":
            return torch.full(shape, 2, dtype=torch.int64)
        if self.kind == "mask" and actions is not None and actions.choices:  # at least one per choice
            allowed = actions.draw(torch.rand(batch, actions.num_draws, generator=generator)) > 0
            return allowed | (torch.rand(shape, generator=generator) < 0.5)
        if self.dtype == torch.bool:
            return torch.rand(shape, generator=generator) < 0.5
        if self.dtype == torch.uint8:
            return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        if self.dtype is not None and not self.dtype.is_floating_point:
            return torch.randint(0, 8, shape, generator=generator, dtype=self.dtype)
        real = self.dtype or torch.float32
        if self.kind in ("action", "plan"):
            if actions is not None and actions.choices:
                return actions.draw(torch.rand(*shape[:-1], actions.num_draws, generator=generator)).to(real)
            return torch.rand(shape, generator=generator, dtype=real) * 2 - 1
        if self.kind == "weights":
            return torch.ones(shape, dtype=real)
        return torch.randn(shape, generator=generator, dtype=real)

"""Module: the one thing every part of a mind is.

A module has named input and output ports, `step` turns one tick's inputs into its outputs, `reset(mask)` makes the rows
whose episode just began forget, and methods marked `@callable_method` may be used many times within a tick over a call
edge. Construction has two phases: the constructor takes settings only; `build(dims)` makes the networks once the graph
knows every size, so that no size is written twice.

What a module remembers from tick to tick lives in `self.carry`, a dict of batch-first tensors that `initial` describes.
Resetting, saving and restoring it is then the same few lines for every module, and here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ami.errors import CallError, suggestion
from ami.ports import ActionSpace, Dims, Port, Size
from ami.rng import RowRNG

Method = TypeVar("Method", bound=Callable[..., Any])
Batch = Mapping[str, Tensor]
"""What a learner learns from: named tensors, batch first."""


def callable_method(method: Method) -> Method:
    """Mark a method as usable over a call edge.

    Such a method is pure: its result depends on its arguments and the module's weights alone, and it changes nothing.
    That is what lets the engine serve it from a replica in the caller's process.
    """
    method.is_ami_callable = True  # type: ignore[attr-defined]
    return method


@dataclass(frozen=True)
class Call:
    """What a module wants to call.

    Args:
        methods: the callee's methods, each marked `@callable_method` there.
        dims: which symbol of the callee equals which of mine, {"S": "S"}; the graph unifies them.
        optional: whether the module works without this call edge.
    """

    methods: tuple[str, ...]
    dims: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False


class Arrival(NamedTuple):
    """How messages arrive that are sent only every few ticks.

    Attributes:
        every: ticks between two of them; in between the last one arrives again.
        delay: how many ticks late each arrives.
    """

    every: int
    delay: int


class Calls:
    """The bound call edges of one module: `self.calls.world_model.rollout(...)`."""

    def __init__(self, owner: str, edges: Mapping[str, Callee] | None = None) -> None:
        self._owner = owner
        self._edges = dict(edges or {})

    def __contains__(self, name: str) -> bool:
        return name in self._edges

    def __getattr__(self, name: str) -> Callee:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._edges[name]
        except KeyError:
            raise CallError(
                f"{self._owner} calls '{name}', which is not bound. "
                f"Fix: wire it in the graph, `{self._owner}: {{calls: {{{name}: <node>}}}}`"
            ) from None


class Callee:
    """One end of a call edge: the callable methods of a module and nothing else of it."""

    def __init__(self, node: str, module: Module) -> None:
        self._node, self._module = node, module
        for name in module.callable_methods():
            setattr(self, name, getattr(module, name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise CallError(
            f"{self._node}.{name} is not declared callable{suggestion(name, self._module.callable_methods())} "
            f"Fix: mark the method with @callable_method in {type(self._module).__name__}"
        )


def module_behind(callee: Callee) -> Module:
    """The module at the other end of a call edge. Only learning may ask for it: a slow copy needs the weights."""
    return callee._module


class Module(nn.Module):
    """A part of a mind: named ports, `step`, `reset(mask)`, a carry, callable methods.

    Attributes:
        inputs, outputs: the ports, by name. A role fixes them; a module may add its own.
        wants: the calls this module makes, by the name it uses for them.
        calls: the bound call edges, set by the engine.
        dims: the sizes of its ports, by symbol, set by the engine.
        actions: what an action consists of, as the world's port states it, set by the engine: before `infer_dims` where it
            is known, and before `build`. None for a module without actions.
        every: ticks between two steps of this module, set by the engine.
        arrivals: by input, how messages arrive that their sender sends only every few ticks, set by the engine.
        random: this node's random streams, set by the engine.
        carry: what is remembered from tick to tick: batch-first tensors, shaped by `initial`.
        batch: how many worlds run in parallel, B.
        notes: where somebody wants to know more of a step than its outputs tell, a dict that the step may put figures in,
            (B, …) by name; None where nobody does. They reach the trace alone, never another module.
    """

    role: ClassVar[str] = "module"
    inputs: Mapping[str, Port] = {}
    outputs: Mapping[str, Port] = {}
    wants: Mapping[str, Call] = {}

    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls(self.role)
        self.random = RowRNG(0, self.role)
        self.carry: dict[str, Tensor] = {}
        self.dims: Dims = {}
        self.actions: ActionSpace | None = None
        self.every = 1
        self.arrivals: dict[str, Arrival] = {}
        self.batch = 0
        self.notes: dict[str, Tensor] | None = None

    # What an author writes -------------------------------------------------------------------------------------------

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        """The sizes this module decides, given those already known: {"S": (64,)}. Asked until nothing new comes."""
        return {}

    def build(self, dims: Dims) -> None:
        """Make the networks: every symbol of every port is known now."""

    def initial(self, batch: int) -> dict[str, Tensor]:
        """The carry of `batch` episodes that have just begun."""
        return {}

    def step(self, **inputs: Tensor | None) -> dict[str, Tensor]:
        """One tick: a value for every output port. It may not change its inputs."""
        raise NotImplementedError(f"{type(self).__name__} has no step()")  # a mistake of the module's author

    # What the engine does with it ------------------------------------------------------------------------------------

    def set_up(self, dims: Dims, actions: ActionSpace | None = None) -> None:
        """Second phase of construction: remember the sizes and build.

        Args:
            dims: every size, by symbol.
            actions: what an action consists of; None where no world states it: then actions are continuous.
        """
        self.dims = dict(dims)
        width = dims.get("A")
        self.actions = actions if actions is not None or not isinstance(width, int) else ActionSpace(width)
        self.build(self.dims)

    def begin(self, mask: Tensor, episodes: Sequence[int]) -> None:
        """New episodes begin in the masked rows (B,): fresh random streams, fresh carry."""
        self.batch = len(mask)
        self.random.begin(mask, episodes)
        self.reset(mask)

    def reset(self, mask: Tensor) -> None:
        """Forget what the masked rows (B,) remember."""
        fresh = self.initial(self.batch)
        if mask.all() or not self.carry:
            self.carry = fresh
            return
        for name, value in fresh.items():
            where = mask.view(-1, *[1] * (value.ndim - 1))
            self.carry[name] = torch.where(where, value, self.carry[name])

    def snapshot(self) -> dict[str, Tensor]:
        """All that changes while running: the carry and where the random streams stand."""
        state = {f"carry.{name}": value.clone() for name, value in self.carry.items()}
        return state | {f"random.{name}": value for name, value in self.random.snapshot().items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go on from where `snapshot()` was taken."""
        parts: dict[str, dict[str, Tensor]] = {"carry": {}, "random": {}}
        for name, value in snapshot.items():
            part, key = name.split(".", 1)
            parts[part][key] = value
        self.carry = {name: value.clone() for name, value in parts["carry"].items()}
        self.random.restore(parts["random"])
        self.batch = len(parts["random"]["episodes"])

    @classmethod
    def code_roots(cls, settings: Mapping[str, Any]) -> Sequence[Any]:
        """What these settings make run besides the class itself: roots for `ami.storage.code_hash`."""
        return ()

    @classmethod
    def callable_methods(cls) -> tuple[str, ...]:
        """The names of the methods that may be used over a call edge."""

        def names() -> Iterator[str]:
            for name in dir(cls):
                # an override need not repeat the mark: the role that declares the method decides
                if any(getattr(vars(base).get(name), "is_ami_callable", False) for base in cls.__mro__):
                    yield name

        return tuple(names())

"""Module: the base class of every part of an agent.

A module has named input and output ports. `step` maps one tick's inputs to its outputs. `reset(mask)` clears the carry of
rows whose episode just began. Methods marked `@callable_method` may be called many times within a tick over a call edge.
Construction has two phases: the constructor takes settings only; `build(dims)` makes the networks once the graph has
resolved every size, so that no size is written twice.

A module keeps its recurrent state in `self.carry`, a dict of batch-first tensors described by `initial`. This class can
therefore reset, save and restore the state of every module.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ami.errors import CallError, suggestion
from ami.ports import ActionSpace, Dims, Port, Size
from ami.rng import RowRNG

LEARNING_STATE = "learning_state"
"""The name of the submodule that holds state which only training needs."""
Method = TypeVar("Method", bound=Callable[..., Any])
Batch = Mapping[str, Tensor]
"""The input of a loss: named tensors, batch first."""


def callable_method(method: Method) -> Method:
    """Mark a method as usable over a call edge.

    Such a method is pure: its result depends on its arguments and the module's weights alone, and it changes nothing.
    The engine can therefore serve it from a replica in the caller's process.
    """
    method.is_ami_callable = True  # type: ignore[attr-defined]
    return method


def objective(method: Method) -> Method:
    """Mark a method as a loss of its own, with the signature of `Module.loss`: a stage names it, `loss: NODE.METHOD`.

    For a module whose parts learn in several stages.
    """
    method.is_ami_objective = True  # type: ignore[attr-defined]
    return method


@dataclass(frozen=True)
class Call:
    """The methods that a module calls on another module.

    Args:
        methods: the callee's methods, each marked `@callable_method` there.
        dims: the caller's symbol for each symbol of the callee, {"A": "U"}; the graph unifies their sizes, and for "A" and
            "U" their action spaces.
        optional: whether the module works without this call edge.
        learning: whether only learning calls them. Such an edge is not bound in a running agent, whose processes hold no
            replica of the callee for it.
    """

    methods: tuple[str, ...]
    dims: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    learning: bool = False


class Episode(NamedTuple):
    """One episode: its number, and the seed and options for the world's reset.

    Attributes:
        number: selects the random streams of every node; unique within a run.
        seed: the world's own seed.
        options: the world's reset options (start, goal, …), as plain values.
    """

    number: int
    seed: int
    options: Mapping[str, Any] = {}


class Arrival(NamedTuple):
    """The timing of an input whose sender fires only every few ticks.

    Attributes:
        every: ticks between two messages; in between the last message is repeated.
        delay: the wire's delay in ticks.
    """

    every: int
    delay: int


class Calls:
    """The bound call edges of one module: `self.calls.world_model.imagine(...)`."""

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
    """The callee's end of a call edge: it exposes the callable methods of a module and nothing else."""

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
    """Return the module at the other end of a call edge. For learning only: a target network needs its weights."""
    return callee._module


class Module(nn.Module):
    """A part of an agent: named ports, `step`, `reset(mask)`, a carry, callable methods.

    Attributes:
        inputs, outputs: the ports, by name. A role fixes them; a module may add its own.
        requires: the calls this module makes, by the name it uses for them.
        ignores: inputs that `step` does not read. A node whose outputs nothing else reads need not fire
            (`ami.graph.prune`). A subclass that overrides `step` must declare it again.
        on_demand: outputs that are sent only if a wire reads them; the engine removes unread ones from `outputs`.
        equal_dims: symbols of this module that have equal sizes, {"Q": "S"}; the graph unifies them.
        calls: the bound call edges, set by the engine.
        dims: the sizes of its ports, by symbol, set by the engine.
        actions: the action space of the symbol "A", or of "U" in a module without "A", set by the engine before `build`,
            and before `infer_dims` if it is known by then. None for a module without actions.
        every: ticks between two steps of this module, set by the engine.
        arrivals: the timing of inputs whose sender fires only every few ticks, by input, set by the engine.
        random: this node's random streams, set by the engine; draws lie on `device`.
        device: the device of the weights, the carry, random draws and inputs, set by the engine. Inputs of the kinds
            `ami.ports.CONTROL` lie on the CPU; outputs may lie on either.
        carry: the state kept from tick to tick: batch-first tensors, shaped by `initial`.
        batch: the number of parallel worlds, B.
        notes: a dict for further figures of a step, (B, …) by name; None if they are not recorded. They are recorded in the
            trace and never sent to another module.
    """

    role: ClassVar[str] = "module"
    inputs: Mapping[str, Port] = {}
    outputs: Mapping[str, Port] = {}
    requires: Mapping[str, Call] = {}
    ignores: Collection[str] = ()
    on_demand: Collection[str] = ()
    equal_dims: Mapping[str, str] = {}

    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls(self.role)
        self.random = RowRNG(0, self.role)
        self.device = torch.device("cpu")
        self.carry: dict[str, Tensor] = {}
        self.dims: Dims = {}
        self.actions: ActionSpace | None = None
        self.every = 1
        self.arrivals: dict[str, Arrival] = {}
        self.batch = 0
        self.notes: dict[str, Tensor] | None = None

    # Written by a module's author ------------------------------------------------------------------------------------

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        """Return the sizes this module decides, given those resolved so far: {"S": (64,)}. Called until nothing changes."""
        return {}

    def build(self, dims: Dims) -> None:
        """Build the networks; every symbol of every port is resolved."""

    def initial(self, batch: int) -> dict[str, Tensor]:
        """Return the initial carry of `batch` episodes; the engine moves it to the module's device."""
        return {}

    def step(self, *args: Any, **inputs: Any) -> dict[str, Tensor]:
        """Run one tick: return a value for every output port. Must not change its inputs."""
        raise NotImplementedError(f"{type(self).__name__} has no step()")  # a mistake of the module's author

    def weights_changed(self) -> None:
        """Drop what the carry holds of other weights. Called between two ticks after weights were published, for this module
        or others in its process."""

    # Learning: a stage of `learning.stages` minimises the loss of one module ------------------------------------------

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, a scalar, and further scalars to log.

        Args:
            batch: what the stage's source draws, see `ami.learning.sources`. A batch of a prioritised source has importance
                weights, "weight" (N,), and the loss reports "errors" (N,) too, see `ami.blueprint.RowErrors`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no loss()")  # refused before learning, see `can_learn`

    @property
    def can_learn(self) -> bool:
        """Whether this module has a loss of its own."""
        return type(self).loss is not Module.loss

    @classmethod
    def losses(cls) -> list[str]:
        """Return the names of the methods that are losses: "loss", and those marked `@objective`."""
        marked = [name for name in dir(cls) if getattr(getattr(cls, name, None), "is_ami_objective", False)]
        return [*(["loss"] if cls.loss is not Module.loss else []), *marked]

    def loss_of(self, name: str) -> Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]:
        """Return the loss of that name, one of `losses`."""
        found: Callable[[Batch], tuple[Tensor, dict[str, Tensor]]] = getattr(self, name)
        return found

    def begin_learning(self) -> None:
        """Prepare for a stage with this module's loss. State that only training needs, such as a target network, is a
        submodule of the name `LEARNING_STATE`: it is saved with the progress and dropped when the stage ends."""

    def after_step(self, step: int, total: int) -> None:
        """Update such state after optimiser step `step`, counted from 0, of the stage's `total`."""

    def fit_statistics(self, batch: Batch) -> None:
        """Set statistics of all experience, before each round of learning.

        Args:
            batch: "observation" (F, *O), every frame in order, to be read in parts, `.split(n)`: beyond the limit of memory
                it is no tensor; "last" (F,) bool, whether it is the last of its episode;
                and "reward" (F',), every reward, if recorded.
        """

    # Called by the engine --------------------------------------------------------------------------------------------

    def set_up(self, dims: Dims, actions: ActionSpace | None = None) -> None:
        """Run the second phase of construction: store the sizes and build.

        Args:
            dims: every size, by symbol.
            actions: the action space; None if no world states one: actions are then continuous.
        """
        self.dims = dict(dims)
        for one, other in self.equal_dims.items():
            if other in dims:
                self.dims.setdefault(one, dims[other])
        width = dims.get("A", dims.get("U"))
        self.actions = actions if actions is not None or not isinstance(width, int) else ActionSpace(width)
        self.build(self.dims)

    def move_to(self, device: torch.device) -> None:
        """Move the weights, and from now on carry and random draws, to a device."""
        self.device = self.random.device = device
        self.to(device)

    def begin(self, mask: Tensor, episodes: Sequence[Episode]) -> None:
        """Start new episodes in the masked rows (B,), with fresh random streams and carry.

        Args:
            mask: the rows that begin.
            episodes: one per row; those of other rows are not read.
        """
        self.batch = len(mask)
        self.random.begin(mask, [episode.number for episode in episodes])
        self.reset(mask)

    def reset(self, mask: Tensor) -> None:
        """Reset the carry of the masked rows (B,)."""
        fresh = self.fresh_carry(self.batch)
        if mask.all() or not self.carry:
            self.carry = fresh
            return
        mask = mask.to(self.device)
        for name, value in fresh.items():
            where = mask.view(-1, *[1] * (value.ndim - 1))
            self.carry[name] = torch.where(where, value, self.carry[name])

    def fresh_carry(self, batch: int) -> dict[str, Tensor]:
        """Return the initial carry of `batch` episodes, on this module's device."""
        return {name: value.to(self.device) for name, value in self.initial(batch).items()}

    def snapshot(self) -> dict[str, Tensor]:
        """Return all state that changes during a run, on the CPU: the carry and the random streams."""
        state = {f"carry.{name}": value.to("cpu", copy=True) for name, value in self.carry.items()}
        return state | {f"random.{name}": value for name, value in self.random.snapshot().items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Restore the state that `snapshot()` returned."""
        parts: dict[str, dict[str, Tensor]] = {"carry": {}, "random": {}}
        for name, value in snapshot.items():
            part, key = name.split(".", 1)
            parts[part][key] = value
        self.carry = {name: value.to(self.device, copy=True) for name, value in parts["carry"].items()}
        self.random.restore(parts["random"])
        self.batch = len(parts["random"]["episodes"])

    @classmethod
    def code_roots(cls, settings: Mapping[str, Any]) -> Sequence[Any]:
        """Return code that these settings run besides the class itself, as roots for `ami.storage.code_hash`."""
        return ()

    @classmethod
    def callable_methods(cls) -> tuple[str, ...]:
        """Return the names of the methods that may be used over a call edge."""

        def names() -> Iterator[str]:
            for name in dir(cls):
                # an override need not repeat the mark: the role that declares the method decides
                if any(getattr(vars(base).get(name), "is_ami_callable", False) for base in cls.__mro__):
                    yield name

        return tuple(names())

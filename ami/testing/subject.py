"""Subject: a module under test, constructed and bound without a graph, as often as a check needs it.

Shapes: B parallel worlds; a sequence is a list of inputs, one dict per tick, and its record the list of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import torch
from torch import Tensor

from ami.blueprint import (
    Episode,
    World,
)
from ami.errors import SettingError
from ami.module import Callee, Calls, Module
from ami.ports import ActionSpace, Dims, Port, Size
from ami.rng import RowRNG
from ami.testing.report import BROKEN, KEPT, UNJUDGED, Broken, Report
from ami.testing.stubs import StubPerception, StubWorldModel, stub_for

Make = Callable[[], Module]
Inputs = dict[str, Tensor | None]
Outputs = dict[str, Tensor]
Sizes = Mapping[str, Size | ActionSpace]
"""Sizes by symbol; the size of "A" may be an action space."""
SIZES: Dims = {"O": (16, 16, 3), "G": (16, 16, 3), "P": (6,), "S": (6,), "A": 2, "H": 3, "M": 4, "W": 2, "X": 3, "Y": (3,)}
"""Default sizes of symbols that neither the caller nor the module decides."""

OF_WORLDS = {
    "its outputs are finite": "correct what reset() and step() return",
    "it never changes a message it has sent": "return new arrays from reset() and step()",
    "the same seed gives the same outputs": "draw from self.np_random, after super().reset(seed=seed)",
    "a row alone gives what it gives in a batch": "keep all state in the environment's object, none in its class or module",
    "a reset row keeps nothing of its old episode": "set all state of an episode in reset()",
    "reset leaves the other rows alone": "keep all state in the environment's object, none in its class or module",
    "its saved weights give the same module": "set all state of an episode in reset()",
}
"""The fixes for an environment, by promise, in place of those for other modules."""


class Subject:
    """The module examined by a check.

    Args:
        make: factory of the module with its settings; called many times.
        dims: sizes to use, by symbol, or an action space for "A"; the module's own decisions and `SIZES` fill in the rest.
        calls: modules to bind to its calls, by name, in place of stubs.
        report: collects the findings; None raises at the first broken promise.

    Raises:
        AssertionError: the module is no ami Module, or it has a call that no stub serves.
    """

    def __init__(self, make: Make, dims: Sizes | None = None,
                 calls: Mapping[str, Module] | None = None, report: Report | None = None) -> None:
        self.make, self.callees, self.report = make, dict(calls or {}), report
        given = {symbol: size.width if isinstance(size, ActionSpace) else size for symbol, size in (dims or {}).items()}
        self.given: Dims = given
        width = given.get("A", SIZES["A"])
        space = (dims or {}).get("A")
        self.actions = space if isinstance(space, ActionSpace) else ActionSpace(width if isinstance(width, int) else 0)
        self._runs = True
        self._last: tuple[Module | None, Outputs] = None, {}  # the module that ran last, and its outputs
        if isinstance(make, Module):
            raise AssertionError(f"a check received the module {type(make).__name__}(): expected its class, or a function "
                                 "that makes one")
        draft = make()
        self.name = type(draft).__name__
        if report is not None:
            report.name = report.name or self.name
        if not isinstance(draft, Module):
            self.broken("it is an ami Module", f"it is a {self.name}", "inherit from a role of ami.blueprint")
        if "_modules" not in vars(draft):
            self.broken("it is an ami Module", "__init__() leaves out super().__init__()", "begin __init__() with it")
        self.draft = draft
        spaces = [port.space for port in (*draft.inputs.values(), *draft.outputs.values()) if port.space is not None]
        self.actions = spaces[0] if spaces else self.actions
        self.dims = self._solve(draft)
        width = self.dims["A"]
        if isinstance(width, int) and width != self.actions.width:  # a user's world without a declared space
            self.actions = ActionSpace(width)
        if report is not None:
            self.fresh([0])  # a module that cannot be built raises its own error

    def broken(self, promise: str, how: str, fix: str) -> NoReturn:
        """Raise for a broken promise; `fix` is that for a module other than a world."""
        if promise in OF_WORLDS and isinstance(self.draft, World):
            fix = OF_WORLDS[promise]
        raise Broken(self.name, promise, how, fix)

    @contextmanager
    def keeps(self, *promises: str, vital: bool = False) -> Iterator[None]:
        """Check promises in a block. With a report, a broken one is recorded and the checks continue after the block.

        Args:
            promises: the promises checked by the block; an error raised by the module itself breaks the first.
            vital: whether later promises are not judged after a failure here, because they depend on it.
        """
        broken: tuple[str, str, str] | None = None
        try:
            yield
        except Broken as found:
            if self.report is None:
                raise
            broken = found.promise, found.how, found.fix
        except Exception as error:
            if self.report is None:
                raise
            broken = promises[0], f"it raised {type(error).__name__}: {error}", "correct its cause"
        if self.report is None:
            return
        for promise in promises:
            self.report.note(promise, UNJUDGED if broken else KEPT)
        if broken and self._runs:
            self.report.note(broken[0], BROKEN, *broken[1:])
        self._runs = self._runs and not (broken and vital)

    def fresh(self, episodes: Sequence[int], seed: int = 0) -> Module:
        """Return a new module with initial weights of `seed`, at the beginning of these episodes (B = their number)."""
        module = self.make()
        module.random = RowRNG(0, module.role)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module.set_up(self.dims, self.actions)
        module.eval()
        module.calls = Calls(module.role, {name: Callee(name, callee) for name, callee in self._bind(module).items()})
        self.begin(module, torch.ones(len(episodes), dtype=torch.bool), episodes)
        return module

    def begin(self, module: Module, mask: Tensor, episodes: Sequence[int]) -> None:
        """Start episodes in the masked rows, as the engine does."""
        module.begin(mask, [Episode(number, seed=number) for number in episodes])

    def sample_inputs(self, batch: int, ticks: int, optional: bool = True, masked: bool = False) -> list[Inputs]:
        """Sample inputs for each tick; without `optional` optional ones are None, without `masked` masks allow all."""
        generator = torch.Generator().manual_seed(7)
        ports = self.draft.inputs.items()
        sequence = [{name: port.sample(self.dims, batch, generator, self.space_of(port)) if optional or not port.optional
                 else None for name, port in ports} for _ in range(ticks)]
        if not masked:
            for inputs in sequence:
                for name, port in self.draft.inputs.items():
                    mask = inputs[name]
                    if port.kind == "mask" and mask is not None:
                        inputs[name] = torch.ones_like(mask)
        return sequence

    def space_of(self, port: Port) -> ActionSpace:
        """Return the space of a port's actions, by its last symbol."""
        return self.plan_space if port.dims[-1:] == ("U",) else self.actions

    def run(self, module: Module, sequence: Sequence[Inputs]) -> list[Outputs]:
        """Run the module on a sequence; return its record, with copies of the outputs."""
        record: list[Outputs] = []
        with torch.no_grad():
            for inputs in sequence:
                inputs = self.fitting(inputs, self._last[1] if self._last[0] is module else {})
                record.append({name: value.clone() for name, value in module.step(**inputs).items()})
                self._last = module, record[-1]
        return record

    def with_actions(self, *spaces: ActionSpace) -> Subject | None:
        """Return the same module with the first of these action spaces that it accepts.

        None if it accepts none, or if modules of fixed sizes are bound to its calls.
        """
        if self.callees:
            return None
        given = {symbol: size for symbol, size in self.given.items() if symbol != "U"}
        for space in spaces:
            with suppress(SettingError):
                return Subject(self.make, {**given, "A": space}, self.callees)
        return None

    def fitting(self, inputs: Inputs, before: Mapping[str, Tensor]) -> Inputs:
        """Return the inputs of a tick after a world sent `before`, with forbidden actions replaced by allowed ones."""
        action, allowed = inputs.get("action"), before.get("action_mask")
        if action is None or allowed is None:
            return inputs
        return {**inputs, "action": self.actions.nearest(action, allowed)}

    @property
    def plan_space(self) -> ActionSpace:
        """The space of a plan's actions: the world's, or numbers in [-1, 1] if U differs from A."""
        width = self.dims["U"]
        assert isinstance(width, int)
        return self.actions if width == self.dims["A"] else ActionSpace(width)

    def callee(self, module: Module, name: str) -> Module | None:
        """Return the module bound to a call of this one."""
        return getattr(getattr(module.calls, name), "_module", None) if name in module.calls else None

    def _solve(self, module: Module) -> Dims:
        known: Dims = {**SIZES, **self.given}
        for _ in range(len(known) + 1):
            module.actions = self.actions
            try:
                decided = module.infer_dims(_completed(known))
            except SettingError:
                if "A" in self.given or self.actions.choices:
                    raise
                self.actions = ActionSpace(choices=(3,))  # a module that refuses continuous actions may take discrete ones
                known["A"] = self.actions.width
                continue
            if not isinstance(decided, Mapping):
                self.broken("infer_dims() returns sizes by symbol", f"it returns {decided!r}", "return {'H': 4}, or {}")
            clash = [symbol for symbol in decided if symbol in self.given and decided[symbol] != self.given[symbol]]
            if clash:
                self.broken("it fits the given sizes", f"{clash[0]} = {self.given[clash[0]]} was given and it decides "
                            f"{decided[clash[0]]}", "return only sizes it decides from infer_dims()")
            decided = {**{one: known[other] for one, other in module.equal_dims.items()
                          if other in known and one not in self.given}, **decided}
            settled = all(known.get(symbol) == size for symbol, size in decided.items())
            known.update(decided)
            if settled:
                break
        known = _completed(known)
        for call in module.requires.values():
            for theirs, mine in call.dims.items():
                if mine in known:
                    known.setdefault(theirs, known[mine])
        return known

    def _bind(self, module: Module) -> dict[str, Module]:
        bound: dict[str, Module] = {}
        for name, call in module.requires.items():
            stub = self.callees.get(name) or stub_for(call.methods)
            if stub is None:
                if call.optional:
                    continue
                self.broken("its calls can be bound", f"it calls {name}.{', '.join(call.methods)}, which no stub has",
                            f"pass a module, calls={{'{name}': …}}")
            if isinstance(stub, (StubPerception, StubWorldModel)) or not stub.dims:
                stub.set_up({**self.dims, **{theirs: self.dims[mine] for theirs, mine in call.dims.items()
                                             if mine in self.dims}}, self.actions)
            bound[name] = stub
        return bound


def _completed(known: Dims) -> Dims:
    """Return the sizes with Q = S and U = A where the goal's and the plan's are not known."""
    return {"Q": known["S"], "U": known["A"], **known}


def rows(tree: Mapping[str, Tensor | None], index: Sequence[int]) -> Inputs:
    """Select rows of every tensor."""
    return {name: None if value is None else value[list(index)] for name, value in tree.items()}


def copied(tree: Mapping[str, Tensor | None]) -> Inputs:
    """Copy every tensor."""
    return {name: None if value is None else value.clone() for name, value in tree.items()}


def close(one: Tensor, other: Tensor, tolerance: float = 1e-4) -> bool:
    """Return whether two tensors are equal up to rounding, which depends on the batch."""
    return torch.allclose(one.double(), other.double(), rtol=tolerance, atol=tolerance / 2)


def difference(one: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None], exact: bool = True) -> str:
    """Describe the first difference of two dicts of tensors; empty if there is none."""
    for name, left in one.items():
        right = other.get(name)
        if left is None or right is None:
            if left is not right:
                return f"'{name}' is missing on one side"
        elif left.shape != right.shape or left.dtype != right.dtype:
            return f"'{name}' is {left.dtype} {tuple(left.shape)} and then {right.dtype} {tuple(right.shape)}"
        elif not (torch.equal(left, right) if exact else close(left, right)):
            return f"'{name}' differs by up to {float((left.double() - right.double()).abs().max()):.3g}"
    return ""

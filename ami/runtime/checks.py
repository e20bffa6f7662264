"""Checks of what a module returns, and the errors that name its faults."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ami.errors import ModuleError, PortError
from ami.graph.faults import FIX, callee_of, describe, raised
from ami.graph.graph import Graph
from ami.module import Module
from ami.runtime.mailbox import Mailbox, Outputs

Expected = tuple[str, torch.Size, torch.dtype | None]
"""An output port: its name, shape and dtype."""
SMALL = 256
"""Up to this many numbers, Python sums a message faster than torch does."""
Sum = Callable[[Tensor], float]


class InPlaceGuard:
    """Detects in-place changes of messages by a step. A check of every node at every tick costs too much: the worker checks
    all nodes when episodes begin, then one node per tick, in turn. Tensors of torch's inference mode cannot be checked.

    Args:
        inputs: the step's inputs.
        sent: the node's outputs at the previous tick.
    """

    def __init__(self, inputs: Mapping[str, Tensor | None], sent: Outputs | None) -> None:
        self._inputs, self._sent = _versions(inputs), _versions(sent or {})

    def changed(self) -> str:
        """Return the first changed message as text; empty if none changed."""
        for name, value, version in self._inputs:
            if value._version != version:
                return f"its input '{name}'"
        for name, value, version in self._sent:
            if value._version != version:
                return f"'{name}', which it had sent at the tick before,"
        return ""


def _versions(messages: Mapping[str, Tensor | None]) -> list[tuple[str, Tensor, int]]:
    """Return the messages whose changes torch counts, and their counts so far."""
    return [(name, value, value._version) for name, value in messages.items()
            if value is not None and not value.is_inference()]


class Fit:
    """The cheap check of a node's outputs, which runs at every tick: names, shapes, dtypes, and finite numbers.

    Args:
        module: the module.
        batch: the number of rows.
        before: the check of the batch before: a port of any dtype keeps its first one.

    Attributes:
        expected: the outputs.
        judged: the outputs checked for finite numbers: one number per world, and actions.
    """

    def __init__(self, module: Module, batch: int, before: Fit | None = None) -> None:
        known = {name: dtype for name, _, dtype in before.expected} if before else {}
        self.expected: list[Expected] = []
        self.judged: list[str] = []
        for name, port in module.outputs.items():
            shape = torch.Size((batch, *port.shape(module.dims)))
            self.expected.append((name, shape, port.dtype or known.get(name)))
            if port.dtype == torch.float32 and (not port.dims or port.kind == "action"):
                self.judged.append(name)
        self._ports = self._with_sums()

    def __call__(self, outputs: Any) -> bool:
        """Return whether outputs fit."""
        try:
            for name, shape, dtype, total in self._ports:
                value = outputs[name]
                if value.dtype is not dtype or value.shape != shape:
                    return self._fits_at_first(outputs)
                if total is not None and not math.isfinite(total(value)):
                    return False
            return len(outputs) == len(self._ports)
        except (KeyError, TypeError, AttributeError, IndexError):  # no mapping, no such port, no tensor
            return False

    def _with_sums(self) -> list[tuple[str, torch.Size, torch.dtype | None, Sum | None]]:
        """Return the expected outputs, each with the sum that is finite if its numbers are; None if they are not judged."""
        return [(name, shape, dtype, sum_of(shape) if name in self.judged else None) for name, shape, dtype in self.expected]

    def _fits_at_first(self, outputs: Mapping[str, Any]) -> bool:
        """Return whether outputs fit with a first dtype, which is kept."""
        for i, (name, shape, dtype) in enumerate(self.expected):
            value = outputs[name]
            if not isinstance(value, Tensor) or value.shape != shape or (dtype is not None and value.dtype is not dtype):
                return False
            self.expected[i] = (name, shape, value.dtype)
        if len(outputs) != len(self.expected):
            return False
        self._ports = self._with_sums()
        return all(bool(outputs[name].isfinite().all()) for name in self.judged)


def sum_of(shape: torch.Size) -> Sum:
    """Return the fastest sum of a message of this shape; it is not finite if one of the numbers is not."""
    if shape == (1,):
        return Tensor.item
    if shape.numel() > SMALL:
        return lambda value: value.sum().item()
    if len(shape) == 1:
        return lambda value: sum(value.tolist())
    if len(shape) == 2:
        return lambda value: sum(map(sum, value.tolist()))
    return lambda value: sum(value.flatten().tolist())


class Faults:
    """The errors of a worker's modules, with wave, tick, node and row.

    Args:
        graph: the graph.
        modules: the modules by node.
        mail: the messages, to find the first that was not finite.

    Attributes:
        numbers: of the episodes, by row.
    """

    def __init__(self, graph: Graph, modules: Mapping[str, Module], mail: Mailbox) -> None:
        self.graph, self.modules, self.mail = graph, modules, mail
        self.numbers: list[int] = []

    def failed(self, node: str, wave: int, tick: int, inputs: Mapping[str, object], error: BaseException) -> ModuleError:
        callee = callee_of(error, node, self.modules)
        within = f", in its call {callee}()" if callee else ""
        given = {name: value for name, value in inputs.items() if value is not None}
        return ModuleError(f"{node}.step() failed at wave {wave}, tick {tick}{within}: {raised(error)}. "
                           f"It received {describe(given)}. {FIX}")

    def refuse(self, node: str, wave: int, tick: int, inputs: Mapping[str, object], outputs: Any,
               fit: Fit) -> None:
        """Raise a PortError with the first fault of a node's outputs.

        Return if there is none: a sum may overflow although every number is finite.
        """
        module, when = self.modules[node], f"at wave {wave}, tick {tick} "
        author = type(module).__name__
        if not isinstance(outputs, Mapping):
            raise PortError(f"{when}{node}.step() gave a {type(outputs).__name__}: expected a dict of its outputs, "
                            f"{{{', '.join(module.outputs)}}}. Fix: return one in {author}.step()")
        for name, port in module.outputs.items():
            port.validate(f"{when}{node}.{name}", outputs.get(name), module.dims, module.batch)
        for name in outputs:
            if name not in module.outputs:
                raise PortError(f"{when}{node}.step() gave '{name}', which is no output port: expected "
                                f"{', '.join(module.outputs)}. Fix: declare the port in {author}.outputs, or leave it out")
        for name, shape, dtype in fit.expected:
            if outputs[name].dtype is not dtype:
                raise PortError(f"{when}{node}.{name} gave the dtype {outputs[name].dtype}: expected {dtype}, as before. "
                                f"Fix: cast it in {author}.step()")
            if outputs[name].shape != shape:
                raise PortError(f"{when}{node}.{name} gave the shape {tuple(outputs[name].shape)}: expected {tuple(shape)}")
        for name in fit.judged:
            if not bool(outputs[name].isfinite().all()):
                self._refuse_numbers(node, name, wave, tick, inputs, outputs[name])

    def _refuse_numbers(self, node: str, name: str, wave: int, tick: int, inputs: Mapping[str, object],
                        value: Tensor) -> None:
        """Raise a PortError with the first message, known here, that held numbers that are not finite."""
        row, found = _not_finite(value)
        where = f"at wave {wave}, tick {tick} {node}.{name} is {found} in row {row} (episode {self.numbers[row]})"
        for sent_at, by_node in self.mail.kept().items():
            for sender in self.graph.order:
                if sent_at == tick and sender == node:
                    break  # later nodes of this tick have sent already
                for port, message in by_node.get(sender, {}).items():
                    if isinstance(message, Tensor) and message.is_floating_point() and not bool(message.isfinite().all()):
                        row, found = _not_finite(message)
                        raise PortError(f"{where}: {sender}.{port} was {found} in row {row} before it, at tick {sent_at}. "
                                        f"Fix: guard divisions, roots and logarithms in {self.graph.specs[sender].name}")
        raise PortError(f"{where}: expected finite numbers. It received {describe(inputs)}, all of them finite. "
                        f"Fix: guard divisions, roots and logarithms in {self.graph.specs[node].name}")


def _not_finite(value: Tensor) -> tuple[int, float]:
    """Return the first row with a number that is not finite, and that number."""
    row, *_ = (~value.isfinite()).nonzero()[0].tolist()
    return row, float(value[row][~value[row].isfinite()].flatten()[0])


def check_carry(node: str, module: Module) -> None:
    """Raise PortError unless a module's carry holds tensors with one row per world."""
    for name, value in module.carry.items():
        if not isinstance(value, Tensor) or not value.ndim or len(value) != module.batch:
            raise PortError(f"{node}: {type(module).__name__}.initial() gave {describe({name: value})}: expected a tensor "
                            f"with {module.batch} rows, one per world. Fix: return it so from initial()")



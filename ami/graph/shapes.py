"""Shape inference: sizes propagate from the world's spaces along the wires and the call edges.

Every node has its own symbols. A wire equates the dims at its two ends, a call edge equates the symbols it names, and a
module returns sizes from `Module.infer_dims` or declares symbols equal in `Module.equal_dims`. These rules are applied until
nothing changes. The world's action space belongs to the symbol "A" and propagates with it: along wires of actions, plans and
masks, along calls that name it, and to an equal symbol, such as "U", the width of a plan's actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ami.errors import AmiError, ModuleError, PortError
from ami.graph.faults import FIX, blamed, raised
from ami.graph.wiring import Wire
from ami.module import Module
from ami.ports import ActionSpace, Dims, Port, Size

OF_ACTIONS = ("action", "plan", "mask")
"""The kinds of ports that share the world's action space."""
OF_WIDTHS = ("A", "U")
"""The symbols that have an action space; a module with both has that of the first as its own."""
ASSUMED = {"Q": "S", "U": "A"}
AGREE = "Fix: a setting that makes both ends agree, or another module or wire"


class DimSolver:
    """Solves all symbols of a graph; collects contradictions and unresolved symbols.

    Args:
        modules: the drafts, by node.
        wires: the valid wires.
        calls: the call edges, {node: {name: callee}}.
    """

    def __init__(self, modules: Mapping[str, Module], wires: Sequence[Wire],
                 calls: Mapping[str, Mapping[str, str]]) -> None:
        self.modules, self.wires, self.calls = modules, wires, calls
        self.known: dict[str, Dims] = {node: {} for node in modules}
        self.spaces: dict[tuple[str, str], ActionSpace] = {}
        self.mistakes: list[str] = []
        self._changed = False

    @property
    def actions(self) -> dict[str, ActionSpace]:
        """The action space of each node that handles actions."""
        return {node: self.spaces[node, symbol] for symbol in reversed(OF_WIDTHS) for node in self.modules
                if (node, symbol) in self.spaces}

    def solve(self, complete: bool = True) -> dict[str, Dims]:
        """Return all sizes, by node and symbol. `mistakes` lists contradictions and, if `complete`, unresolved symbols."""
        for node, module in self.modules.items():
            for port in (*module.inputs.values(), *module.outputs.values()):
                if port.space is not None:
                    self._share(node, _width_of(port), port.space, f"{node} states two action spaces")
        self._propagate()
        if not self.mistakes and self._assume():
            self._propagate()
        if complete and not self.mistakes:
            self._report_open()
        if complete and not self.mistakes:
            self._report_planes()
        return self.known

    def _propagate(self) -> None:
        """Infer sizes until nothing changes, or a contradiction is found."""
        self._changed = True
        while self._changed and not self.mistakes:
            self._changed = False
            for node in self.modules:
                self._infer(node)
            for wire in self.wires:
                self._flow(wire)
            for node in self.modules:
                self._follow_calls(node)

    def _assume(self) -> bool:
        """Set unresolved sizes of goals and plans to those of states and actions; return whether any changed."""
        for node, module in self.modules.items():
            for symbol, other in ASSUMED.items():
                if symbol in _symbols(module) and symbol not in self.known[node] and other in self.known[node]:
                    self._bind(node, symbol, self.known[node][other], "an assumption")
        return self._changed

    def _bind(self, node: str, symbol: str, size: Size, why: str) -> None:
        before = self.known[node].get(symbol)
        if before is None:
            self.known[node][symbol] = size
            self._changed = True
        elif before != size:
            self._mistake(f"{why}: {node} has {symbol} = {before}, not {size}. {AGREE}")

    def _share(self, node: str, symbol: str | int, space: ActionSpace | None, why: str) -> None:
        """Set the action space of a node's symbol, or report a contradiction."""
        if space is None or not isinstance(symbol, str):
            return
        before = self.spaces.get((node, symbol))
        if before is None:
            self.spaces[node, symbol] = space
            self._changed = True
        elif before != space:
            self._mistake(f"{why}: {node} has actions of {before}, not {space}. {AGREE}")

    def _unify(self, one: tuple[str, str], other: tuple[str, str], why: str, spaces: bool) -> None:
        """Equate the sizes of two symbols, each (node, symbol), and with `spaces` their action spaces."""
        for source, target in ((other, one), (one, other)):
            if self.mistakes:  # the reverse direction would repeat the mistake
                return
            if spaces:
                self._share(*target, self.spaces.get(source), f"other actions {why}")
            size = self.known[source[0]].get(source[1])
            if size is not None:
                self._bind(*target, size, f"wrong shape {why}")

    def _mistake(self, mistake: str) -> None:
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def _infer(self, node: str) -> None:
        module = self.modules[node]
        module.actions = next((self.spaces[node, symbol] for symbol in OF_WIDTHS if (node, symbol) in self.spaces), None)
        try:
            with blamed(node, "infer_dims()", passing=(KeyError,)):
                decided = module.infer_dims(dict(self.known[node]))
        except KeyError as error:
            # a size that is not resolved yet; `_report_open` reports those that never are
            if not error.args or error.args[0] not in _symbols(module):
                self.mistakes.append(f"{node}: infer_dims() failed: {raised(error)}. {FIX}")
            return
        except AmiError as error:
            self.mistakes.append(str(error) if isinstance(error, ModuleError) else f"{node}: {error}")
            return
        if not isinstance(decided, Mapping) or not all(map(_is_size, decided.values())):
            self.mistakes.append(f"{node}: {type(module).__name__}.infer_dims() gave {decided!r}: expected sizes by symbol, "
                                 "{'H': 4, 'S': (64,)}")
            return
        for symbol, size in decided.items():
            self._bind(node, symbol, size, f"{type(module).__name__} decides its own sizes and they do not fit the wires")
        for one, other in module.equal_dims.items():
            self._unify((node, one), (node, other), f"in {node}, where {one} = {other}", one in OF_WIDTHS)

    def _flow(self, wire: Wire) -> None:
        source = (wire.node, self.modules[wire.node].outputs[wire.port])
        target = (wire.to_node, self.modules[wire.to_node].inputs[wire.to_port])
        why = f"wrong shape along {wire}"
        if source[1].kind in OF_ACTIONS and target[1].kind in OF_ACTIONS:
            ends = [(node, _width_of(port)) for node, port in (source, target)]
            for one, other in (ends, ends[::-1]):
                self._share(*other, self.spaces.get(one), f"other actions along {wire}")  # type: ignore[arg-type]
        self._carry_over(source, target, why)
        if not self.mistakes:  # the reverse direction would repeat the mistake
            self._carry_over(target, source, why)

    def _carry_over(self, source: tuple[str, Port], target: tuple[str, Port], why: str) -> None:
        (node, port), (to_node, to_port) = source, target
        try:
            shape = port.shape(self.known[node])
        except KeyError:
            self._carry_over_aligned(source, target, why)
            return
        loose = [i for i, dim in enumerate(to_port.dims) if str(dim).startswith("*")]
        fixed = len(to_port.dims) - len(loose)
        if len(shape) < fixed or (not loose and len(shape) != fixed):
            self._mismatch(why, shape, to_port)
            return
        head = loose[0] if loose else len(to_port.dims)
        tail = len(to_port.dims) - head - 1 if loose else 0
        pairs: list[tuple[str | int, Size]] = list(zip(to_port.dims[:head], shape[:head], strict=True))
        if loose:
            pairs.append((to_port.dims[head], shape[head:len(shape) - tail]))
            pairs.extend(zip(to_port.dims[head + 1:], shape[len(shape) - tail:], strict=True))
        for dim, size in pairs:
            if isinstance(dim, int):
                if dim != size:
                    self._mismatch(why, shape, to_port)
            else:
                self._bind(to_node, dim.removeprefix("*"), size, why)

    def _carry_over_aligned(self, source: tuple[str, Port], target: tuple[str, Port], why: str) -> None:
        """Propagate the known sizes position by position; both patterns must have the same form."""
        (node, port), (to_node, to_port) = source, target
        stars = [[str(d).startswith("*") for d in p.dims] for p in (port, to_port)]
        if stars[0] != stars[1]:
            return
        for dim, to_dim in zip(port.dims, to_port.dims, strict=True):
            size = dim if isinstance(dim, int) else self.known[node].get(dim.removeprefix("*"))
            if size is not None and isinstance(to_dim, str):
                self._bind(to_node, to_dim.removeprefix("*"), size, why)

    def _follow_calls(self, node: str) -> None:
        for name, call in self.modules[node].requires.items():
            callee = self.calls[node].get(name)
            if callee is None or callee not in self.modules:
                continue
            for theirs, mine in call.dims.items():
                self._unify((node, mine), (callee, theirs), f"along the call {node} ⇄ {callee}", theirs in OF_WIDTHS)

    def _mismatch(self, why: str, shape: tuple[int, ...], port: Port) -> None:
        self._mistake(f"{why}: ({', '.join(map(str, ('B', *shape)))}) arrives, expected {port.describe()}. {AGREE}")

    def _report_planes(self) -> None:
        for node, module in self.modules.items():
            for name, port in module.outputs.items():
                try:
                    port.plane_of(self.known[node])
                except PortError as error:
                    self.mistakes.append(f"{node}.{name}: {error}")

    def _report_open(self) -> None:
        for node, module in self.modules.items():
            needed = [port for port in [*module.inputs.values(), *module.outputs.values()] if not port.optional]
            for symbol in sorted(_symbols_of(needed) - set(self.known[node])):
                self.mistakes.append(f"{node}: the size of '{symbol}' is unresolved: no wire determines it. "
                                     f"Fix: return it from {type(module).__name__}.infer_dims()")


def _width_of(port: Port) -> str | int:
    """Return the symbol of the width of an action, a plan or a mask."""
    return port.dims[-1]


def _symbols(module: Module) -> set[str]:
    """Return the symbols of a module's ports and calls."""
    called = {symbol for call in module.requires.values() for symbol in call.dims.values()}
    return called | _symbols_of([*module.inputs.values(), *module.outputs.values()])


def _symbols_of(ports: Sequence[Port]) -> set[str]:
    return {dim.removeprefix("*") for port in ports for dim in port.dims if isinstance(dim, str)}


def _is_size(size: object) -> bool:
    """Return whether this is a size, or the sizes of a variadic symbol."""
    return all(isinstance(n, int) and n >= 0 for n in (size if isinstance(size, tuple) else (size,)))

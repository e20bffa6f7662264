"""Invocation: one firing of one node, told in words: what it was given, by whom, what it said and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ami.errors import TraceError
from ami.tracing.header import wires_of
from ami.tracing.reader import Trace

FEW = 4  # values of that many worlds are told one by one
NOTHING_YET = "nothing sent yet"


@dataclass(frozen=True)
class Message:
    """One message that a node sent.

    Attributes:
        port: the output.
        shape: dtype and sizes, `float32 (1, 64)`.
        content: its values or their statistics in a few words; empty where neither is recorded.
        hash: of its content, 16 hex digits.
    """

    port: str
    shape: str
    content: str
    hash: str


@dataclass(frozen=True)
class Invocation:
    """One firing of one node.

    Attributes:
        node: its name in the graph.
        implementation: the dotted path of its module.
        wave, tick: when, as the mind counts.
        start, end: when, in nanoseconds of the monotonic clock.
        inputs: by input port, the message that arrived: `node.port@tick`.
        outputs: what it sent.
    """

    node: str
    implementation: str
    wave: int
    tick: int
    start: int
    end: int
    inputs: dict[str, str]
    outputs: tuple[Message, ...]

    @property
    def us(self) -> float:
        """How many microseconds it took."""
        return (self.end - self.start) / 1000


def implementation(trace: Trace, node: str) -> str:
    """The dotted path of a node's module."""
    return str(trace.header["graph"]["nodes"].get(node, {}).get("_target_", "?"))


def invocations(trace: Trace, wave: int, tick: int, only: str | None = None) -> list[Invocation]:
    """Every firing of one tick, or that of one node, in firing order; a node that rests at this tick is left out.

    Raises:
        TraceError: the trace holds no such wave or tick.
    """
    check(trace, wave, tick)
    found = []
    for node, table in trace.tables.items():
        row = _row(table, wave, tick) if only in (None, node) else None
        if row is None:
            continue
        start, end, batch = (int(table[name][row].as_py()) for name in ("start", "end", "batch"))
        outputs = tuple(_message(trace, node, port, row, batch) for port in trace.ports[node])
        found.append(Invocation(node, implementation(trace, node), wave, tick, start, end,
                                _inputs(trace, node, wave, tick), outputs))
    return found


def check(trace: Trace, wave: int, tick: int | None = None) -> None:
    """Refuse a wave or a tick that the trace does not hold.

    Raises:
        TraceError: says what there is instead.
    """
    waves = list(trace.waves)
    if wave not in trace.waves:
        raise TraceError(f"{trace.folder} holds no wave {wave}: expected {_range(waves)}. Cure: --wave {waves[-1]}")
    began = [table["tick"].to_numpy()[table["wave"].to_numpy() == wave].min(initial=trace.waves[wave] - 1)
             for table in trace.tables.values()]  # a fork begins later
    ticks = range(int(min(began)), trace.waves[wave])
    if tick is not None and tick not in ticks:
        raise TraceError(f"{trace.folder} holds no tick {tick} in wave {wave}: expected {_range(ticks)}. "
                         f"Cure: --tick {ticks[-1]}")


def _inputs(trace: Trace, node: str, wave: int, tick: int) -> dict[str, str]:
    """The message ids, derived from the wires: a delayed wire brings an older one, a resting node's last one holds."""
    inputs: dict[str, str] = {}
    for wire in wires_of(trace.header):
        if wire.to_node != node:
            continue
        sent = _last_fired(trace, wire.node, wave, tick - wire.delay)
        inputs[wire.to_port] = NOTHING_YET if sent is None else f"{wire.node}.{wire.port}@{sent}"
    return inputs


def _last_fired(trace: Trace, node: str, wave: int, tick: int) -> int | None:
    table = trace.tables.get(node)
    if table is None:
        return None
    ticks = table["tick"].to_numpy()[table["wave"].to_numpy() == wave]
    return max(ticks[ticks <= tick].tolist(), default=None)


def _row(table: pa.Table, wave: int, tick: int) -> int | None:
    rows = np.flatnonzero((table["wave"].to_numpy() == wave) & (table["tick"].to_numpy() == tick))
    return int(rows[0]) if len(rows) else None


def _message(trace: Trace, node: str, port: str, row: int, batch: int) -> Message:
    table = trace.tables[node]
    dtype, shape = trace.ports[node][port]
    sizes = ", ".join(map(str, (batch, *shape))) + ("," if not shape else "")
    content = ""
    if f"{port}.rows" in table.column_names:
        content = _told(dtype, table[f"{port}.rows"][row].as_py())
    elif f"{port}.mean" in table.column_names:
        mean, std, low, high = (table[f"{port}.{name}"][row].as_py() for name in ("mean", "std", "min", "max"))
        content = "" if mean is None else f"{mean:.3g} ± {std:.3g} [{low:.3g}, {high:.3g}]"
    return Message(port, f"{dtype} ({sizes})", content, table[f"{port}.hash"][row].as_py().hex())


def _told(dtype: str, values: Sequence[float]) -> str:
    if dtype == "bool":
        return ("yes" if values[0] else "no") if len(values) == 1 else f"{sum(map(bool, values))} of {len(values)} yes"
    if len(set(values)) == 1:
        return number(values[0])
    if len(values) <= FEW:
        return ", ".join(map(number, values))
    return f"{np.mean(values):.3g} ± {np.std(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def number(value: float) -> str:
    """Four digits, and all those before the point: 0.1235, 12.35, 18,430."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"

"""Invocation: one firing of one node as text: its inputs and their senders, its outputs, its duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ami.errors import TraceError
from ami.trace.arrivals import arrivals
from ami.trace.header import read_header, wires_of
from ami.trace.node_file import VERSION
from ami.trace.reader import Trace, texts_of
from ami.trace.stream_reader import Span

FEW = 4  # worlds: the values of more are summarised, and of more different texts the first are shown
NOTHING_YET = "nothing sent yet"


@dataclass(frozen=True)
class Message:
    """One message that a node sent.

    Attributes:
        port: the output.
        shape: dtype and sizes, `float32 (1, 64)`.
        content: its values or their statistics as short text; a text in quotes; empty if none of them was recorded.
        hash: hash of its content, 16 hex digits.
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
        wave, tick: the wave, and the tick within it.
        start, end: when, in nanoseconds of the monotonic clock.
        inputs: by input port, the id of the received message, `node.port@tick`.
        outputs: the sent messages.
        version: the version of the published weights; 0 for none.
    """

    node: str
    implementation: str
    wave: int
    tick: int
    start: int
    end: int
    inputs: dict[str, str]
    outputs: tuple[Message, ...]
    version: int = 0

    @property
    def us(self) -> float:
        """Duration in microseconds."""
        return (self.end - self.start) / 1000


def implementation(trace: Trace, node: str) -> str:
    """Return the dotted path of a node's module."""
    return str(trace.header["graph"]["nodes"].get(node, {}).get("_target_", "?"))


def invocations(trace: Trace, wave: int, tick: int) -> list[Invocation]:
    """Return the invocations of one tick, in firing order; nodes that did not fire are left out.

    Raises:
        TraceError: the trace holds no such wave or tick.
    """
    check(trace, wave, tick)
    return [one for node in trace.tables for one in _fired(trace, node, _of_wave(trace, node, wave, tick, tick + 1))]


def history(trace: Trace, wave: int, node: str) -> list[Invocation]:
    """Return the invocations of one node in a wave, in order.

    Raises:
        TraceError: the trace holds no such wave.
        UnknownName: the trace holds no such node.
    """
    check(trace, wave)
    trace.table(node)
    return _fired(trace, node, _of_wave(trace, node, wave))


def version_of(trace: Trace, node: str, wave: int, tick: int) -> int:
    """Return the version of the published weights at a tick; 0 for none, and if the node did not fire."""
    rows = _of_wave(trace, node, wave, tick, tick + 1) if node in trace.tables else ()
    return _versions(rows)[0] if len(rows) else 0


def check(trace: Trace, wave: int, tick: int | None = None) -> None:
    """Raise if the trace does not hold a wave or a tick.

    Raises:
        TraceError: names the waves or ticks that it holds.
    """
    waves = list(trace.waves)
    if wave not in trace.waves:
        raise TraceError(f"{trace.folder} holds no wave {wave}: expected {_range(waves)}. Fix: --wave {waves[-1]}")
    if tick is None:
        return
    ticks = ticks_of(trace, wave)
    if tick not in ticks:
        raise TraceError(f"{trace.folder} holds no tick {tick} in wave {wave}: expected {_range(ticks)}. "
                         f"Fix: --tick {ticks[-1]}")


def open_tick(folder: Path, wave: int | None, tick: int) -> Trace:
    """Read one tick of a trace, and the earlier ticks that its delayed inputs may come from.

    Args:
        folder: the run's folder.
        wave: the tick's wave; None takes the first.
        tick: the tick.

    Returns:
        The trace of these ticks; the whole trace if it holds no such tick, whose errors name those that it has.
    """
    header = read_header(folder)
    longest = max((wire.delay for wire in wires_of(header)), default=0)
    reach = longest + max(header["graph"].get("every", {}).values(), default=0)
    wave = Trace.first_wave(folder) if wave is None else wave
    trace = Trace.open(folder, Span(wave, max(0, tick - reach), tick + 1))
    is_there = any(tick in table["tick"].to_numpy() for table in trace.tables.values())
    return trace if is_there else Trace.open(folder)


def ticks_of(trace: Trace, wave: int) -> range:
    """Return the ticks of a wave that the trace holds. A fork begins after tick 0."""
    firsts = [int(rows["tick"][0].as_py()) for node in trace.tables if len(rows := _of_wave(trace, node, wave))]
    return range(min(firsts), trace.waves[wave])


def _of_wave(trace: Trace, node: str, wave: int, since: int = 0, until: int | None = None) -> pa.Table:
    """Return a node's invocations of a wave in ticks [since, until). Tables are sorted by wave and tick."""
    table = trace.tables[node]
    waves = table["wave"].to_numpy()
    begin, end = (int(np.searchsorted(waves, wave, side)) for side in ("left", "right"))
    ticks = table["tick"].to_numpy()[begin:end]
    first = int(np.searchsorted(ticks, since))
    last = len(ticks) if until is None else int(np.searchsorted(ticks, until))
    return table.slice(begin + first, max(0, last - first))


def _fired(trace: Trace, node: str, rows: pa.Table) -> list[Invocation]:
    """Convert rows of a node's table, all of one wave, to invocations."""
    if not len(rows):
        return []
    wave = int(rows["wave"][0].as_py())
    inputs = _inputs(trace, node, rows)
    messages = [_messages(rows, port, *trace.ports[node][port], f"{node}.{port}" in trace.texts)
                for port in trace.ports[node]]
    name = implementation(trace, node)
    versions = _versions(rows)
    return [Invocation(node, name, wave, tick, start, end, {port: sent[at] for port, sent in inputs.items()},
                       tuple(sent[at] for sent in messages), versions[at])
            for at, (tick, start, end) in enumerate(zip(*(rows[key].to_pylist() for key in ("tick", "start", "end")),
                                                        strict=True))]


def _versions(rows: pa.Table) -> list[int]:
    versions: list[int] = rows[VERSION].to_pylist() if VERSION in rows.column_names else [0] * len(rows)
    return versions


def _inputs(trace: Trace, node: str, rows: pa.Table) -> dict[str, list[str]]:
    """Return the ids of the received messages, by port and row."""
    return {wire.to_port: [NOTHING_YET if at < 0 else f"{wire.node}.{wire.port}@{at}" for at in sent.tolist()]
            for wire, sent in arrivals(trace, node, rows)}


def _messages(rows: pa.Table, port: str, dtype: str, shape: tuple[int, ...], is_text: bool) -> list[Message]:
    """Return the messages that a node sent through one port."""
    contents = [""] * len(rows)
    if f"{port}.rows" in rows.column_names:
        contents = [_values_text(dtype, values) for values in rows[f"{port}.rows"].to_pylist()]
    elif is_text and f"{port}.data" in rows.column_names:
        contents = ["" if data is None else _texts_text(texts_of(data, batch))
                    for data, batch in zip(rows[f"{port}.data"].to_pylist(), rows["batch"].to_pylist(), strict=True)]
    elif f"{port}.mean" in rows.column_names:
        statistics = zip(*(rows[f"{port}.{name}"].to_pylist() for name in ("mean", "std", "min", "max")), strict=True)
        contents = ["" if mean is None else f"{mean:.3g} ± {std:.3g} [{low:.3g}, {high:.3g}]"
                    for mean, std, low, high in statistics]
    behind = "".join(f", {size}" for size in shape) or ","
    columns = zip(rows["batch"].to_pylist(), contents, rows[f"{port}.hash"].to_pylist(), strict=True)
    return [Message(port, f"{dtype} ({batch}{behind})", content, hash.hex()) for batch, content, hash in columns]


def _values_text(dtype: str, values: Sequence[float]) -> str:
    if dtype == "bool":
        return ("yes" if values[0] else "no") if len(values) == 1 else f"{sum(map(bool, values))} of {len(values)} yes"
    if len(set(values)) == 1:
        return number(values[0])
    if len(values) <= FEW:
        return ", ".join(map(number, values))
    return f"{np.mean(values):.3g} ± {np.std(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def _texts_text(texts: Sequence[str]) -> str:
    different = list(dict.fromkeys(texts))
    more = f", and {len(different) - FEW} more" if len(different) > FEW else ""
    return ", ".join(f"'{text}'" for text in different[:FEW]) + more


def number(value: float) -> str:
    """Format with four significant digits, and all digits before the point: 0.1235, 12.35, 18,430."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"

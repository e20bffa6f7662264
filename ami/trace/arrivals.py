"""Arrivals: at which tick each message that reached an invocation was sent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ami.errors import TraceError
from ami.graph.wiring import Wire
from ami.trace.header import wires_of
from ami.trace.node_file import AGE, INITIAL
from ami.trace.reader import Trace
from ami.trace.stream_reader import FILE


def arrivals(trace: Trace, node: str, rows: pa.Table) -> Iterator[tuple[Wire, np.ndarray]]:
    """Yield every connected wire into a node, and the tick (rows,) at which its message was sent; -1 for its initial value.

    Traces of earlier versions hold no ages. There a message's tick is derived from the wires: a delayed wire delivers an
    older message, and the last message of a resting node stays valid.

    Args:
        trace: the trace.
        node: a node that it holds.
        rows: rows of the node's table.

    Raises:
        TraceError: the number of recorded ages is not that of the wires.
    """
    wires = [wire for wire in wires_of(trace.header) if wire.to_node == node]
    tick = rows["tick"].to_numpy()
    if AGE in rows.column_names and not rows[AGE].null_count:
        kept = rows[AGE].combine_chunks()
        if kept.type.list_size != len(wires):
            raise TraceError(f"{trace.folder} holds {kept.type.list_size} ages per invocation of {node}, but {len(wires)} "
                             f"wires into it in the header: expected as many. Fix: {FILE.fix}")
        ages = kept.flatten().to_numpy().reshape(len(rows), len(wires))
        for number, wire in enumerate(wires):
            yield wire, np.where(ages[:, number] < 0, INITIAL, tick - ages[:, number])
        return
    for wire in wires:
        yield wire, _derived(trace, wire.node, rows["wave"].to_numpy(), tick - wire.delay)


def _derived(trace: Trace, node: str, wave: np.ndarray, until: np.ndarray) -> np.ndarray:
    """Return the tick of the last message that a node had sent by a tick of its wave; -1 if there is none."""
    if node not in trace.tables:
        return np.full(len(wave), INITIAL)
    table = trace.tables[node]
    sent_wave, sent_tick = table["wave"].to_numpy().astype(np.int64), table["tick"].to_numpy()
    found = np.searchsorted(sent_wave << 32 | sent_tick, (wave.astype(np.int64) << 32) + until, side="right") - 1
    known = (found >= 0) & (sent_wave[found] == wave) & (until >= 0)
    return np.where(known, sent_tick[found], INITIAL)

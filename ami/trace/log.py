"""The record of truth: a local append-only log of every invocation, written by the process that ran the module.

One Arrow stream per node (`ami.trace.node_file`). The bytes of a tick's messages are copied when its modules have fired:
together, since what copies is in the processor's caches then. Nothing that happens to a message later is recorded. At most
`BLOCK_ROWS` ticks or `BLOCK_SECONDS` later a thread (`ami.trace.writer`) hashes them, sums them up and appends them as one
whole record batch. A killed process leaves whole batches, and every reader stops at the last one.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Collection, Mapping
from ctypes import string_at
from pathlib import Path

import safetensors.torch
from torch import Tensor

from ami.errors import PortError
from ami.trace.node_file import NodeFile, Row, hashes
from ami.trace.writer import Block, Writer

BLOCK_ROWS = 512
BLOCK_SECONDS = 1.0

Fresh = tuple[str, int, int, int, int, Mapping[str, Tensor], bytes]
"""node, wave, tick, start, end, outputs, notes: an invocation whose messages are not copied yet."""


class TraceLog:
    """Writes the invocations of some nodes into a folder, one file per node.

    Args:
        folder: where the files go; made if missing.
        payload: also record the bytes of every message, or of the messages of some ports, "node.port".
    """

    def __init__(self, folder: Path, payload: bool | Collection[str] = False) -> None:
        self.folder, self.payload = Path(folder), payload
        self.folder.mkdir(parents=True, exist_ok=True)
        self._fresh: list[Fresh] = []
        self._held: dict[str, _Held] = {}
        self._notes: dict[str, dict[str, Tensor]] = {}
        self._writer = Writer(self.folder)
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)
        atexit.register(self.close)  # who never closes loses nothing either

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor]) -> None:
        """Remember one invocation."""
        self._fresh.append((node, wave, tick, start, end, outputs,
                            _taken(self._notes[node], node) if node in self._notes else b""))

    def keep(self) -> None:
        """Copy what was sent since the last time; hand it to the writer when a block is due.

        The worker has held every message against its port: the ports, dtypes and shapes of a node are always the same.
        """
        fresh, self._fresh = self._fresh, []  # at once: what is interrupted here is not copied a second time
        for node, wave, tick, start, end, outputs, notes in fresh:
            held = self._held.get(node) or self._held_by(node, outputs)
            values = [outputs[name] for name in held.names]
            # a tuple of bytes is nothing the garbage collector has to look at again; written out, since every tick pays
            contents = tuple([string_at(value.data_ptr(), value.nbytes) if value.is_contiguous() and value.is_cpu
                              else _content(value) for value in values])
            held.rows.append((wave, tick, len(values[0]) if values else 0, start, end, contents, notes))
            if end > self._due or len(held.rows) >= BLOCK_ROWS:
                self._hand_over()

    def notes(self, node: str) -> dict[str, Tensor] | None:
        """Where a node may put figures before it is told of; None where no message of it is recorded whole."""
        if isinstance(self.payload, bool):
            is_kept = self.payload
        else:
            is_kept = any(port.split(".")[0] == node for port in self.payload)
        return self._notes.setdefault(node, {}) if is_kept else None

    def flush(self) -> None:
        """Append what is held in memory, and wait until it is written."""
        self.keep()
        self._hand_over()
        self._writer.drain()

    def close(self) -> None:
        """Write the rest and put it on the disk."""
        atexit.unregister(self.close)
        try:
            self.keep()
        finally:
            self._hand_over()
            self._writer.close()

    def _held_by(self, node: str, outputs: Mapping[str, Tensor]) -> _Held:
        held = self._held[node] = _Held(NodeFile(self.folder, node, outputs, self.payload, node in self._notes), outputs)
        return held

    def _hand_over(self) -> None:
        for held in self._held.values():
            if held.rows:
                # in this order, and in the log twice at worst, where the later counts: an interrupt in between loses nothing
                self._writer.take(Block(held.file, held.rows))
                held.rows = []
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)


class _Held:
    """What is held in memory of one node's invocations; `names` are those of its outputs."""

    def __init__(self, file: NodeFile, outputs: Mapping[str, Tensor]) -> None:
        self.file, self.names = file, tuple(outputs)
        self.rows: list[Row] = []


def _content(value: Tensor) -> bytes:
    """A copy of what a tensor holds; by way of numpy it would take twice as long."""
    value = value.detach().cpu().contiguous()
    return string_at(value.data_ptr(), value.nbytes)


def hash_of(value: Tensor) -> bytes:
    """The hash that the log writes of a message."""
    found: bytes = hashes([_content(value)])[0].as_py()
    return found


def _taken(notes: dict[str, Tensor], node: str) -> bytes:
    """What a step noted, which the next step may note anew.

    Raises:
        PortError: a figure is no tensor.
    """
    noted = notes.copy()
    notes.clear()
    for name, value in noted.items():
        if not isinstance(value, Tensor):
            raise PortError(f"{node} notes '{name}' as a {type(value).__name__}: expected a tensor with the worlds in front")
    # copies: two figures may be parts of one tensor
    return safetensors.torch.save({name: value.detach().cpu().clone() for name, value in noted.items()}) if noted else b""

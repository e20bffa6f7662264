"""The record of truth: a local append-only log of every invocation, written by the process that ran the module.

One Arrow stream per node (`ami.tracing.node_file`). The bytes of a tick's messages are copied when its modules have fired:
together, since that takes a quarter less time than one by one. Nothing that happens to a message later is recorded. At most
`BLOCK_ROWS` ticks or `BLOCK_SECONDS` later a thread (`ami.tracing.writer`) hashes them, sums them up and appends them as one
whole record batch. A killed process leaves whole batches, and every reader stops at the last one.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from ctypes import string_at
from pathlib import Path

import safetensors.torch
from torch import Tensor

from ami.tracing.node_file import NodeFile, Row
from ami.tracing.writer import Block, Writer

BLOCK_ROWS = 512
BLOCK_SECONDS = 1.0


class TraceLog:
    """Writes the invocations of some nodes into a folder, one file per node.

    Args:
        folder: where the files go; made if missing.
        payload: also record the bytes of every message, or of the messages of some ports, "node.port".
    """

    def __init__(self, folder: Path, payload: bool | Collection[str] = False) -> None:
        self.folder, self.payload = Path(folder), payload
        self.folder.mkdir(parents=True, exist_ok=True)
        self._fresh: list[tuple[str, int, int, int, int, Mapping[str, Tensor]]] = []
        self._held: dict[str, _Held] = {}
        self._notes: dict[str, dict[str, Tensor]] = {}
        self._writer = Writer(self.folder)
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor]) -> None:
        """Remember one invocation."""
        self._fresh.append((node, wave, tick, start, end, outputs))
        if node in self._notes:
            self._held_by(node, outputs).notes.append(_taken(self._notes[node]))

    def keep(self) -> None:
        """Copy what was sent since the last time; hand it to the writer when a block is due."""
        if not self._fresh:
            return
        for node, wave, tick, start, end, outputs in self._fresh:
            held = self._held.get(node) or self._held_by(node, outputs)
            # a tuple of bytes is nothing the garbage collector has to look at again; written out, since every tick pays
            contents = tuple([string_at(value.data_ptr(), value.nbytes) if value.is_contiguous() and value.is_cpu
                              else _content(value) for value in map(outputs.__getitem__, held.names)])
            held.rows.append((wave, tick, outputs[held.names[0]].size(0), start, end, contents))
        self._fresh.clear()
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
        self.keep()
        self._hand_over()
        self._writer.close()

    def _held_by(self, node: str, outputs: Mapping[str, Tensor]) -> _Held:
        if node not in self._held:
            self._held[node] = _Held(NodeFile(self.folder, node, outputs, self.payload, node in self._notes), tuple(outputs))
        return self._held[node]

    def _hand_over(self) -> None:
        blocks = [held.block() for held in self._held.values() if held.rows]
        if blocks:
            self._writer.take(blocks)
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)


class _Held:
    """What is held in memory of one node's invocations."""

    def __init__(self, file: NodeFile, names: tuple[str, ...]) -> None:
        self.file, self.names = file, names
        self.rows: list[Row] = []
        self.notes: list[bytes] = []

    def block(self) -> Block:
        """Take it out."""
        block = Block(self.file, self.rows, self.notes)
        self.rows, self.notes = [], []
        return block


def _content(value: Tensor) -> bytes:
    """A copy of what a tensor holds; by way of numpy it would take twice as long."""
    value = value.detach().cpu().contiguous()
    return string_at(value.data_ptr(), value.nbytes)


def _taken(notes: dict[str, Tensor]) -> bytes:
    """What a step noted, which the next step may note anew."""
    whole = {name: value.detach().cpu().contiguous() for name, value in notes.items()}
    notes.clear()
    return safetensors.torch.save(whole) if whole else b""

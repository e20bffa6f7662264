"""Append-only log of every invocation, written locally by the process that ran the module.

Each node has one Arrow stream (`ami.trace.node_file`). Messages are copied when they are added; later changes are not
recorded. At most `BLOCK_ROWS`
ticks or `BLOCK_SECONDS` later a thread (`ami.trace.writer`) hashes the copies, computes their statistics and appends them as
one record batch. After a kill, readers stop at the last whole batch.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from ctypes import Array, c_char
from pathlib import Path

import safetensors.torch
from torch import Tensor

from ami.errors import PortError
from ami.trace.node_file import NodeFile, Row, hashes
from ami.trace.writer import Block, Writer

BLOCK_ROWS = 512
BLOCK_SECONDS = 1.0

class TraceLog:
    """Log of some nodes' invocations: a folder with one file per node.

    Args:
        folder: folder of the files; created if missing.
        payload: also record the bytes of every message, or of the messages of some ports, "node.port".
    """

    def __init__(self, folder: Path, payload: bool | Collection[str] = False) -> None:
        self.folder, self.payload = Path(folder), payload
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held: dict[str, _Held] = {}
        self._notes: dict[str, dict[str, Tensor]] = {}
        self._version = 0
        self._writer = Writer(self.folder)
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)
        atexit.register(self.close)  # writes the rest if close() is never called

    def add(self, node: str, wave: int, tick: int, start: int, end: int, outputs: Mapping[str, Tensor],
            ages: Sequence[int] = ()) -> None:
        """Copy one invocation; pass the copies to the writer when a block is due.

        The worker has checked every message against its port: a node's ports, dtypes and shapes never change.
        """
        notes = _taken(self._notes[node], node) if node in self._notes else b""
        held = self._held.get(node) or self._held_by(node, outputs, len(ages))
        batch = outputs[held.first].shape[0] if held.first else 0
        if batch != held.batch:
            held.resize(batch, outputs)
        # the garbage collector does not track a tuple of bytes; inlined, since it runs at every tick
        contents = tuple([memory_at(value.data_ptr()).raw
                          if (value := outputs[name]).is_contiguous() and value.is_cpu else _content(value)
                          for name, memory_at in held.memories])
        held.rows.append((wave, tick, batch, start, end, ages, contents, notes))
        if end > self._due or len(held.rows) >= BLOCK_ROWS:
            self._hand_over()

    def notes(self, node: str) -> dict[str, Tensor] | None:
        """Return the dict for the notes of a node's next invocation; None if no message of it is recorded in full."""
        if isinstance(self.payload, bool):
            is_kept = self.payload
        else:
            is_kept = any(port.split(".")[0] == node for port in self.payload)
        return self._notes.setdefault(node, {}) if is_kept else None

    def publish(self, version: int) -> None:
        """Record later invocations with this version of the weights."""
        self._hand_over()
        self._version = version

    def flush(self) -> None:
        """Append the rows held in memory, and wait until they are written."""
        self._hand_over()
        self._writer.drain()

    def close(self) -> None:
        """Write the remaining rows and sync them to disk."""
        atexit.unregister(self.close)
        self._hand_over()
        self._writer.close()

    def _held_by(self, node: str, outputs: Mapping[str, Tensor], num_inputs: int) -> _Held:
        file = NodeFile(self.folder, node, outputs, num_inputs, self.payload, node in self._notes)
        held = self._held[node] = _Held(file, outputs)
        return held

    def _hand_over(self) -> None:
        for held in self._held.values():
            if held.rows:
                # in this order an interrupt loses no row; rows logged twice count once, as the later record
                self._writer.take(Block(held.file, held.rows, self._version))
                held.rows = []
        self._due = time.perf_counter_ns() + int(BLOCK_SECONDS * 1e9)


class _Held:
    """Rows of one node that are still in memory.

    Attributes:
        first: one of its outputs; empty without any.
        batch: the number of worlds.
        memories: the names of its outputs, and what `memory_of` returns for the number of bytes of one message.
    """

    def __init__(self, file: NodeFile, outputs: Mapping[str, Tensor]) -> None:
        self.file, self.names, self.first, self.batch = file, tuple(outputs), next(iter(outputs), ""), -1
        self.memories: list[tuple[str, Callable[[int], Array[c_char]]]] = []
        self.rows: list[Row] = []

    def resize(self, batch: int, outputs: Mapping[str, Tensor]) -> None:
        """Set the sizes of the messages for another number of worlds."""
        self.batch, self.memories = batch, [(name, memory_of(outputs[name].nbytes)) for name in self.names]


def _content(value: Tensor) -> bytes:
    """Copy a tensor's bytes; a copy through numpy takes twice as long."""
    value = value.detach().cpu().contiguous()
    return memory_of(value.nbytes)(value.data_ptr()).raw


def memory_of(size: int) -> Callable[[int], Array[c_char]]:
    """Return a function from an address to the memory there; its `raw` takes a quarter of the time of `ctypes.string_at`."""
    return (c_char * size).from_address


def hash_of(value: Tensor) -> bytes:
    """Return a message's hash as the log writes it."""
    found: bytes = hashes([_content(value)])[0].as_py()
    return found


def _taken(notes: dict[str, Tensor], node: str) -> bytes:
    """Serialise a step's notes and clear them for the next step.

    Raises:
        PortError: a note is not a tensor.
    """
    noted = notes.copy()
    notes.clear()
    for name, value in noted.items():
        if not isinstance(value, Tensor):
            raise PortError(f"{node} notes '{name}' as a {type(value).__name__}: expected a tensor with the batch first")
    # clones: two notes may share one tensor's memory
    return safetensors.torch.save({name: value.detach().cpu().clone() for name, value in noted.items()}) if noted else b""

"""Writer thread of the log: no tick waits for hashing, statistics or a disk.

A full or failing disk stops the recording, never the agent. It is reported once on stderr, and a file INCOMPLETE in the
folder states from which tick on nothing is recorded. A slow disk is also reported once; the agent runs ahead of it until
`BACKLOG_BYTES` wait in memory. Then ticks wait, which is reported too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ami.errors import TraceError
from ami.terminal.text import report
from ami.trace.node_file import NodeFile, Row

SLOW_SECONDS = 1.0  # a block that takes longer to write is reported
BACKLOG_BYTES = 256 * 2**20
INCOMPLETE = "INCOMPLETE"
FIX = "Fix: a store on a quicker disk, or trace.record=false"


class Block(NamedTuple):
    """Some invocations of one node, in order, all with one version of the weights."""

    file: NodeFile
    rows: Sequence[Row]
    version: int = 0

    @property
    def bytes(self) -> int:
        """Approximate memory, estimated from the first row."""
        *_, contents, notes = self.rows[0]
        return len(self.rows) * (sum(map(len, contents)) + len(notes))


class Writer:
    """Writes blocks in order of arrival.

    Args:
        folder: the log's folder, for INCOMPLETE.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread = ThreadPoolExecutor(1, "ami-trace")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._thread.submit(int).result()  # started now: an interrupt while a thread starts would leave it running
        self._files: dict[NodeFile, None] = {}
        self._is_closed = self._is_over = self._is_slow = self._is_behind = False

    def take(self, block: Block) -> None:
        """Queue a node's block; wait only if the backlog is full."""
        if self._is_closed:
            raise TraceError(f"the trace in {self.folder} is closed: nothing more can be recorded there. Fix: another log")
        while self._waiting and self._waiting[0][0].done():
            self._first()
        size = block.bytes
        while self._waiting and (waiting := sum(size for _, size in self._waiting)) + size > BACKLOG_BYTES:
            self._report_behind(waiting)
            self._first()
        self._waiting.append((self._begin(self._write, block), size))

    def drain(self) -> None:
        """Wait until every queued block is written or dropped."""
        while self._waiting:
            self._first()

    def close(self) -> None:
        """Write the queued blocks and sync the files; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            with self._thread:
                try:
                    self.drain()
                finally:
                    self._begin(self._end).result()

    def _begin(self, work: Callable[..., None], *given: Block) -> Future[None]:
        try:
            return self._thread.submit(work, *given)
        except RuntimeError:  # the interpreter is exiting and has ended all threads
            work(*given)
            done: Future[None] = Future()
            done.set_result(None)
            return done

    def _first(self) -> None:
        """Wait for the oldest block; raise its error, unless it is the disk's."""
        self._waiting.popleft()[0].result()

    def _write(self, block: Block) -> None:
        if self._is_over:
            return
        wave, tick = block.rows[0][:2]
        self._files[block.file] = None
        try:
            waited = block.file.write(block.rows, block.version)
        except OSError as error:
            self._give_up(error, f"nothing is recorded from wave {wave}, tick {tick} on")
            return
        if waited > SLOW_SECONDS and not self._is_slow:
            self._is_slow = True
            report(f"the disk took {waited:.1f} s to write a block of the trace in {self.folder}: the agent runs ahead of "
                   f"it, by up to {BACKLOG_BYTES / 2**20:.0f} MiB in memory. {FIX}")

    def _end(self) -> None:
        try:
            for file in self._files:
                file.close()
        except OSError as error:
            self._give_up(error, "its last block may be missing")

    def _give_up(self, error: OSError, lost: str) -> None:
        """Stop recording; keep the whole record batches."""
        self._is_over = True
        for file in self._files:
            file.abandon()
        self._files.clear()
        fault = f"the trace could not be written ({error.strerror or error}): {lost}"
        report(f"{self.folder}: {fault}; the agent continues. Fix: room on this disk, or another store")
        with suppress(OSError):
            (self.folder / INCOMPLETE).write_text(f"{fault}\n")

    def _report_behind(self, waiting: int) -> None:
        if not self._is_behind:
            self._is_behind = True
            report(f"{waiting / 2**20:.0f} MiB of the trace wait for the disk of {self.folder}: from now on ticks "
                  f"wait for it. {FIX}")


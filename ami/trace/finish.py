"""Finish the trace of a killed run, so that a later process can add to it; find the waves that it holds whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ami.errors import TraceError
from ami.storage.lock import locked
from ami.trace.node_file import END_OF_STREAM
from ami.trace.reader import Trace, trace_files
from ami.trace.stream_reader import Span, Stream
from ami.trace.writer import INCOMPLETE

WAIT_SECONDS = 30.0
"""How long a process of a killed run, such as a Ray actor, may still write."""


def finish_files(folder: Path) -> None:
    """Cut every file of a trace that has no end mark after its last whole record, and add the mark.

    A file without a whole record is deleted, as are the notes of a full disk.

    Args:
        folder: the run's folder.

    Raises:
        TraceError: a process still writes, or a file is damaged.
    """
    for path in trace_files(folder, "*.arrow"):
        finish_file(path, folder)
    for path in trace_files(folder, INCOMPLETE):
        path.unlink()


def finish_file(path: Path, within: Path) -> None:
    """Finish one file, in the folder `within`; see `finish_files`."""
    with path.open("r+b") as file:
        if not locked(file.fileno(), WAIT_SECONDS):
            raise TraceError(f"another process still writes '{path}'. Fix: end it, or wait until it has ended")
        stream = Stream(path, within, Span(-1, 0, 0))
        if not stream.is_finished and stream.whole:
            file.truncate(stream.whole)
            file.seek(stream.whole)
            file.write(END_OF_STREAM)
            file.flush()
            os.fsync(file.fileno())
    if not stream.whole:
        path.unlink()


def whole_waves(folder: Path, ticks: Mapping[int, int], every: Mapping[str, int]) -> set[int]:
    """Return the waves that a trace holds whole.

    Args:
        folder: the run's folder.
        ticks: the number of ticks of each wave in question.
        every: the recorded nodes, and the ticks between two firings of each.
    """
    try:
        tables = Trace.open(folder).tables
    except TraceError:  # it was killed before its first record
        return set()
    whole = set(ticks)
    for node, between in every.items():
        if node not in tables:
            return set()
        wave, tick = (tables[node][name].to_numpy() for name in ("wave", "tick"))
        for one in list(whole):
            if not np.array_equal(tick[wave == one], np.arange(0, ticks[one], between)):
                whole.remove(one)
    return whole

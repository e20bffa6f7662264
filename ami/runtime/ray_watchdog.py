"""Watchdog: kills Ray's leftover processes after the driver was killed.

After a `kill -9` of the driver, Ray's own processes end within seconds, save two helpers of the raylet (its dashboard agent
and its runtime environment agent, 180 MB together): they try for 60 seconds, fixed in Ray 2.60, to report to a dead server.
The watchdog is a small process in its own session. It records the raylet's children until its standard input ends, which
happens however the driver ends, and kills those that still run `GRACE_SECONDS` later. So no process outlives a cluster
whose servers died either.

It reads `/proc`, so it is started on Linux only. As a script it imports the standard library alone: 10 MB.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GRACE_SECONDS = 4.0
NOTE_EVERY_SECONDS = 2.0

Process = tuple[int, str]
"""A process's id and its start time, since ids are reused."""


@contextmanager
def watchdog() -> Iterator[Callable[[int], None]]:
    """Run a watchdog during a block; yield the function that sets the raylet's process id.

    The block's end waits until all of the raylet's children have ended.
    """
    if not Path("/proc/self/stat").exists():
        yield lambda raylet: None
        return
    process = subprocess.Popen([sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True, cwd="/")

    def watch(raylet: int) -> None:
        with contextlib.suppress(OSError):  # the watchdog was killed
            assert process.stdin is not None  # it has a pipe
            process.stdin.write(f"{raylet}\n".encode())
            process.stdin.flush()

    try:
        yield watch
    finally:
        process.communicate()


def children_of(pid: int) -> set[Process]:
    """Return the children of a running process."""
    found: set[Process] = set()
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found.add((int(child), began(int(child))))
    return found


def began(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot; empty if there is none, or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]


def main() -> None:
    """Wait for the driver's end, then kill the remaining children."""
    raylet = int(sys.stdin.buffer.readline() or 0)  # one line; the driver may end before it has a raylet
    seen = children_of(raylet)
    while not select.select([sys.stdin], [], [], NOTE_EVERY_SECONDS)[0]:
        seen |= children_of(raylet)
    end = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < end and any(began(pid) == start for pid, start in seen if start):
        time.sleep(0.05)
    for pid, start in seen:
        if start and began(pid) == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""Ends what Ray leaves behind when its driver is killed.

After a `kill -9` of the driver, Ray's own processes end within seconds, save two helpers of the raylet (its dashboard agent
and its runtime environment agent, 180 MB together): they try for 60 seconds, fixed in Ray 2.60, to report to a server that
is gone. The watchdog is a small process in a session of its own. It notes the raylet's children while it waits for its
standard input to end, which happens however the driver ends, and kills those that are still there `GRACE_SECONDS` later. So
nothing outlives a cluster whose servers died either.

It reads `/proc`, so it is started on Linux only. As a script it imports nothing but the standard library: 10 MB.
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
"""A process's number and when it began, since numbers are used again."""


@contextmanager
def watchdog() -> Iterator[Callable[[int], None]]:
    """A watchdog for the length of a block; yields the function that is told the raylet's number.

    The block's end waits until all of the raylet's children are gone.
    """
    if not Path("/proc/self/stat").exists():
        yield lambda raylet: None
        return
    process = subprocess.Popen([sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True, cwd="/")

    def watch(raylet: int) -> None:
        with contextlib.suppress(OSError):  # somebody killed it
            assert process.stdin is not None  # it has a pipe
            process.stdin.write(f"{raylet}\n".encode())
            process.stdin.flush()

    try:
        yield watch
    finally:
        process.communicate()


def children_of(pid: int) -> set[Process]:
    """The children of a process that is alive."""
    found: set[Process] = set()
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found.add((int(child), began(int(child))))
    return found


def began(pid: int) -> str:
    """When a process began, in clock ticks since the machine started; empty when there is none, or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]


def main() -> None:
    """Wait for the driver's end; kill what is left."""
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

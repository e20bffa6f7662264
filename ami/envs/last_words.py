"""Last words: print one line if an environment ends the whole process, by `os._exit` or a crash in compiled code.

The ended process cannot report it itself. A small child process waits for the end of this one, and prints the line if an
environment was running at that moment. It always ends with this process and ignores Ctrl-C.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

NAME_BYTES = 500
IDLE = b"0"
LINE = ("ami: world {} ended ami's process in its reset() or step(). Fix: correct the environment; world.timeout=60 runs it "
        "in its own process, whose end is reported with row and tick")
_WAIT = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
parent, note = int(sys.argv[1]), int(sys.argv[2])
while os.read(parent, 1):
    pass
found = os.pread(note, {NAME_BYTES + 1}, 0)
if found[:1] == b"1":
    os.write(2, ({LINE!r}.format(found[1:].rstrip(bytes(1)).decode(errors="replace")) + chr(10)).encode())
"""

_notes: list[mmap.mmap] = []


@contextlib.contextmanager
def last_words() -> Iterator[None]:
    """Watch this process within the block."""
    parent, ours = os.pipe()
    with tempfile.TemporaryFile() as note:
        note.truncate(NAME_BYTES + 1)
        given = parent, note.fileno()
        watcher = subprocess.Popen([sys.executable, "-I", "-S", "-c", _WAIT, *map(str, given)], pass_fds=given,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.close(parent)
        _notes.append(mmap.mmap(note.fileno(), NAME_BYTES + 1))
        try:
            yield
        finally:
            _notes.pop()
            watcher.kill()
            watcher.wait()
            os.close(ours)


def note_of(world: str) -> bytes:
    """Return the note for `leave` while an environment is running."""
    return b"1" + world.encode()[:NAME_BYTES].ljust(NAME_BYTES, bytes(1))


def leave(note: bytes = IDLE) -> None:
    """Leave a note for the watcher, if there is one: the running environment, or `IDLE`."""
    for kept in _notes:
        kept[:len(note)] = note

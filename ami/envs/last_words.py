"""Last words: one line when an environment ends the whole process, by `os._exit` or a crash in compiled code.

Nothing in the process can say so then. A small child process waits for this one's end, and prints the line if an environment
was at work at that moment. It ends with this process, however that ends, and hears no Ctrl-C.
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
LINE = ("ami: world {} ended ami's process in its reset() or step(). Fix: mend the environment; world.timeout=60 runs it in "
        "a process of its own, whose end is reported with row and tick")
_WAIT = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
life, note = int(sys.argv[1]), int(sys.argv[2])
while os.read(life, 1):
    pass
found = os.pread(note, {NAME_BYTES + 1}, 0)
if found[:1] == b"1":
    os.write(2, ({LINE!r}.format(found[1:].rstrip(bytes(1)).decode(errors="replace")) + chr(10)).encode())
"""

_notes: list[mmap.mmap] = []


@contextlib.contextmanager
def last_words() -> Iterator[None]:
    """Watch over this process within the block."""
    life, ours = os.pipe()
    with tempfile.TemporaryFile() as note:
        note.truncate(NAME_BYTES + 1)
        given = life, note.fileno()
        watcher = subprocess.Popen([sys.executable, "-I", "-S", "-c", _WAIT, *map(str, given)], pass_fds=given,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.close(life)
        _notes.append(mmap.mmap(note.fileno(), NAME_BYTES + 1))
        try:
            yield
        finally:
            _notes.pop()
            watcher.kill()
            watcher.wait()
            os.close(ours)


def note_of(world: str) -> bytes:
    """What `leave` takes while an environment is at work."""
    return b"1" + world.encode()[:NAME_BYTES].ljust(NAME_BYTES, bytes(1))


def leave(note: bytes = IDLE) -> None:
    """Leave a note for the watcher, if there is one: which environment is at work, or that none is."""
    for kept in _notes:
        kept[:len(note)] = note

"""Patience: print one line if an environment in this process does not return; otherwise a hang would look like work.

The call is not ended; that needs an environment in its own process, `world.timeout`.
"""

from __future__ import annotations

import threading
import time

from ami.envs.last_words import leave, note_of
from ami.terminal.text import report

SECONDS = 30.0
"""The duration of a call after which the line is printed."""

_at_work: dict[int, tuple[float, str]] = {}
_noted: set[str] = set()
_lookouts: list[threading.Thread] = []


class expecting:
    """A block in which an environment's code runs.

    Args:
        world: its name, for the line.
    """

    def __init__(self, world: str) -> None:
        self.world = world
        self._note = note_of(world)

    def __enter__(self) -> None:
        _at_work[threading.get_ident()] = time.monotonic(), self.world
        leave(self._note)
        if not _noted and not (_lookouts and _lookouts[0].is_alive()):
            _lookouts[:] = [threading.Thread(target=_look, name="patience", daemon=True)]
            _lookouts[0].start()

    def __exit__(self, *_: object) -> None:
        leave()
        _at_work.pop(threading.get_ident(), None)


def _look() -> None:
    """Check a few times per `SECONDS`, until the line is printed."""
    while not _noted:
        time.sleep(SECONDS / 6)
        for begun, world in list(_at_work.values()):
            if time.monotonic() - begun > SECONDS:
                _noted.add(world)
                report(f"world {world} has not returned for {SECONDS:.0f} s; still waiting. Fix if it hangs: Ctrl-C, "
                       "then world.timeout=60, which ends such a step and reports where it hung")
                break

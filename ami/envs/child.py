"""The child process of `ami.envs.remote`: holds environments and serves requests until its parent ends.

It reads nothing from the terminal; the output of environments goes to standard error.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ami.envs.failures import LastingRows
from ami.envs.make import make_rows
from ami.envs.vector import RowFault, Rows, VectorRows
from ami.errors import AmiError


class Environments:
    """Environments by number.

    Args:
        current: one integer in memory shared with the parent: the row that is being stepped.
    """

    def __init__(self, current: np.ndarray) -> None:
        self.current = current
        self.held: dict[int, Rows | VectorRows] = {}
        self.made = 0

    def make(self, *arguments: Any) -> tuple[int, dict[str, Any]]:
        """Make rows as `make_rows` does; return their number and their attributes for the parent."""
        rows = make_rows(*arguments)
        if isinstance(rows, Rows):
            rows.current = self.current
        self.made += 1
        self.held[self.made] = rows
        return self.made, {"single_observation_space": rows.single_observation_space, "limit": rows.limit,
                           "reading": rows.reading.described(),
                           "single_action_space": rows.single_action_space, "metadata": dict(rows.drawing.metadata or {}),
                           "samples_pairs": rows.pair_sampler is not None}

    def reset(self, number: int, *arguments: Any) -> Any:
        """See `Rows.reset`."""
        return self.held[number].reset(*arguments)

    def step(self, number: int, actions: np.ndarray) -> Any:
        """See `Rows.step`."""
        return self.held[number].step(actions)

    def doom(self, number: int, row: int, reason: str) -> None:
        """See `ami.envs.failures.LastingRows.doom`."""
        rows = self.held[number]
        assert isinstance(rows, LastingRows)  # the parent's rows outlast failures
        rows.doom(row, reason)

    def render(self, number: int) -> tuple[Any, ...]:
        """See `Rows.render`."""
        return self.held[number].render()

    def sample_pairs(self, number: int, named: dict[str, int]) -> Any:
        """Return the environment's own pairs."""
        sampler = self.held[number].pair_sampler
        return sampler and list(sampler(**named))

    def close(self, number: int) -> None:
        """Close some rows."""
        self.held.pop(number).close()


def serve(requests: Connection, environments: Environments) -> None:
    """Answer (method, arguments) with ("returned", value), ("fault", row, found) or ("raised", class, message)."""
    while True:
        try:
            method, arguments = requests.recv()
        except EOFError:
            return
        try:
            answer: tuple[Any, ...] = "returned", getattr(environments, method)(*arguments)
        except RowFault as fault:
            answer = "fault", fault.row, fault.found
        except AmiError as error:
            answer = "raised", type(error).__name__, str(error)
        requests.send(answer)


def _end_with_parent(parent: int) -> None:
    """Exit when the parent ends: it holds the other end of a pipe and never writes, so a read returns at its end."""
    os.read(parent, 1)
    os._exit(0)


def main() -> None:
    """Run `python -m ami.envs.child REQUESTS PARENT CURRENT STACK`; the arguments are file descriptors."""
    requests, parent, current, stack = map(int, sys.argv[1:5])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    faulthandler.register(signal.SIGUSR1, file=stack, all_threads=False)
    environments = Environments(np.frombuffer(mmap.mmap(current, 8), np.int64))
    serve(Connection(requests), environments)


if __name__ == "__main__":
    main()

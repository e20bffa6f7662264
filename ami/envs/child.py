"""The child process of `ami.envs.remote`: holds environments, and does what it is sent until its parent is gone.

Nothing is read from the terminal, and what an environment prints goes to standard error.
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

from ami.envs.make import make_rows
from ami.envs.vector import RowFault, Rows, VectorRows
from ami.errors import AmiError


class Environments:
    """Environments by number.

    Args:
        current: one whole number that the parent sees too: the row that is stepped.
    """

    def __init__(self, current: np.ndarray) -> None:
        self.current = current
        self.held: dict[int, Rows | VectorRows] = {}
        self.made = 0

    def make(self, *arguments: Any) -> tuple[int, dict[str, Any]]:
        """See `make_rows`: their number, and what the parent tells of them."""
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

    def render(self, number: int) -> tuple[Any, ...]:
        """See `Rows.render`."""
        return self.held[number].render()

    def sample_pairs(self, number: int, named: dict[str, int]) -> Any:
        """The environment's own pairs."""
        sampler = self.held[number].pair_sampler
        return sampler and list(sampler(**named))

    def close(self, number: int) -> None:
        """Close some rows."""
        self.held.pop(number).close()


def serve(requests: Connection, environments: Environments) -> None:
    """Answer (method, arguments) with ("returned", value), ("fault", row, found) or ("raised", class, words)."""
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


def _end_with_parent(life: int) -> None:
    """The parent holds the other end of a pipe and never writes: it reads as ended when the parent is gone."""
    os.read(life, 1)
    os._exit(0)


def main() -> None:
    """What `python -m ami.envs.child REQUESTS LIFE CURRENT STACK` runs: four file descriptors."""
    requests, life, current, stack = map(int, sys.argv[1:5])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()
    faulthandler.register(signal.SIGUSR1, file=stack, all_threads=False)
    environments = Environments(np.frombuffer(mmap.mmap(current, 8), np.int64))
    serve(Connection(requests), environments)


if __name__ == "__main__":
    main()

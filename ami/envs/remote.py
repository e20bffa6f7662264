"""Environments in a child process. The child is killed if a call times out; a crash in it does not end the parent.

One child per process holds all of its environments. It starts with the first of them and always ends with its parent. Ctrl-C
does not reach it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ami import errors
from ami.envs.vector import RowFault
from ami.errors import WorldFault

START_SECONDS = 120.0
"""The time a child has to start, import an environment's package and make it."""
STACK_SECONDS = 1.0


class Child:
    """A process that runs `ami.envs.child`."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.discarded: deque[int] = deque()
        self._lock = threading.Lock()
        self._connection, theirs = Pipe()
        parent, self._alive = os.pipe()
        self._current, self._stack = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115  (closed in `end`)
        self._current.write(bytes(8))
        self._current.flush()
        given = (theirs.fileno(), parent, self._current.fileno(), self._stack.fileno())
        path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ami.envs.child", *map(str, given)], pass_fds=given, stdin=subprocess.DEVNULL,
                stdout=2, env={**os.environ, "PYTHONPATH": path}, start_new_session=True)
        finally:
            theirs.close()
            os.close(parent)
        atexit.register(self.end)

    @property
    def is_alive(self) -> bool:
        """Whether it can serve requests: it runs, and was started by this process."""
        return self._alive >= 0 and self.process.poll() is None and self.pid == os.getpid()

    def call(self, method: str, *arguments: Any, seconds: float) -> Any:
        """Call a method of `ami.envs.child.Environments` in the child and return its result.

        Raises:
            RowFault: an environment failed, did not return in time, or ended the process.
            AmiError: an error raised by the method.
        """
        with self._lock:
            if self._alive < 0:
                raise RowFault(None, "the process of this environment ended at an earlier fault. Fix: make a new world")
            try:
                while self.discarded:
                    self._answer("close", (self.discarded.popleft(),), seconds)
                return self._answer(method, arguments, seconds)
            except (RowFault, errors.AmiError):
                raise
            except BaseException:  # Ctrl-C: the pending answer would be taken for that of the next request
                self.end()
                raise

    def _answer(self, method: str, arguments: tuple[Any, ...], seconds: float) -> Any:
        try:
            self._connection.send((method, arguments))
            if not self._connection.poll(seconds):
                row, place = self._row(), self._place()
                self.end()
                raise RowFault(row, f"{method}() did not return within {seconds:g} s{place}, and its process was ended. "
                                    "Fix: correct the environment, or set a longer world.timeout")
            kind, *answer = self._connection.recv()
        except (EOFError, OSError):
            row, how = self._row(), self._exit()
            self.end()
            raise RowFault(row, f"{method}() ended the environment's process, {how}. Fix: correct the environment; its "
                                "output is above") from None
        if kind == "fault":
            raise RowFault(*answer)
        if kind == "raised":
            raise getattr(errors, answer[0], WorldFault)(answer[1])
        return answer[0]

    def _row(self) -> int:
        self._current.seek(0)
        return int.from_bytes(self._current.read(8), sys.byteorder, signed=True)

    def _place(self) -> str:
        """Return the line of code that the child is executing."""
        self.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + STACK_SECONDS
        while time.monotonic() < until:
            self._stack.seek(0)
            found = re.search(r'File "([^"]+)", line (\d+) in (\S+)', self._stack.read().decode(errors="replace"))
            if found:
                return f" ({found[1]}, line {found[2]}, in {found[3]})"
            time.sleep(0.01)
        return ""

    def _exit(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(5)
            if code >= 0:
                return f"with exit code {code}"
            name = signal.Signals(-code).name
            return f"killed by {name}" + ", possibly for lack of memory" * (name == "SIGKILL")
        return "which no longer responds"

    def end(self) -> None:
        """Kill the process and close its pipes and files."""
        if self._alive < 0 or self.pid != os.getpid():
            return
        atexit.unregister(self.end)
        self.process.kill()
        self.process.wait()
        os.close(self._alive)
        self._alive = -1
        for file in (self._connection, self._current, self._stack):
            file.close()


_children: list[Child] = []


def _child() -> Child:
    """Return this process's child; start a new one if it ended."""
    if not _children or not _children[0].is_alive:
        for ended in _children:
            ended.end()
        _children[:] = [Child()]
    return _children[0]


class RemoteRows:
    """Rows in the child process; see `ami.envs.vector.Rows`.

    Args:
        seconds: the timeout of a reset or step of all rows.
        num_envs: B.
        arguments: the other arguments of `make_rows`.

    Raises:
        SettingError: as `make_rows`.
        RowFault: the environments were not made in time.
    """

    def __init__(self, seconds: float, env_id: str, num_envs: int, *arguments: Any) -> None:
        self._seconds, self.num_envs, self._how = seconds, num_envs, (env_id, num_envs, *arguments)
        made = self._make()
        self.single_observation_space, self.single_action_space = (made["single_observation_space"],
                                                                   made["single_action_space"])
        self.limit: int | None = made["limit"]
        self.reading = made["reading"]
        self.drawing = SimpleNamespace(metadata=made["metadata"])
        self._samples_pairs = made["samples_pairs"]

    def _make(self) -> dict[str, Any]:
        """Make the environments; return their attributes."""
        self._child = _child()
        self._number, made = self._child.call("make", *self._how, seconds=max(START_SECONDS, self._seconds))
        self._discard = weakref.finalize(self, self._child.discarded.append, self._number)
        return dict(made)

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._child.call(method, self._number, *arguments, seconds=self._seconds)

    def reset(self, seeds: Sequence[int | None], mask: np.ndarray,
              options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """As `Rows.reset`."""
        seen, info = self._call("reset", list(seeds), mask, dict(options))
        return seen, info

    def step(self, actions: Sequence[Any] | np.ndarray) -> tuple[Any, ...]:
        """As `Rows.step`."""
        sent: tuple[Any, ...] = self._call("step", actions)
        return sent

    @property
    def pair_sampler(self) -> Callable[..., Any] | None:
        """The environment's own `sample_pairs`."""
        if not self._samples_pairs:
            return None
        seconds = max(START_SECONDS, self._seconds)
        return lambda **named: self._child.call("sample_pairs", self._number, named, seconds=seconds)

    def render(self) -> tuple[Any, ...]:
        """As `Rows.render`."""
        drawn: tuple[Any, ...] = self._child.call("render", self._number, seconds=self._seconds)
        return drawn

    def close(self) -> None:
        """Close every environment, with the next request."""
        self._discard()

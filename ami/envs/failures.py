"""Rows that outlast a failure of one environment: `world.on_failure=fail`, or `retry`.

    fail    the failed episode ends as truncated, with its reason; the other rows go on
    retry   the episode is repeated once: a new environment takes its seed and its actions so far, held against what they led
            to before, then the failed call; if that fails too, the episode ends as with `fail`

A failed environment is replaced. If environments in a child process are lost with it, all rows are repeated in a new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector.utils import create_empty_array

from ami.envs.remote import RemoteRows
from ami.envs.spaces import Reading
from ami.envs.vector import FAILURE, FAILURE_BYTES, RowFault, Rows

RULES = ("raise", "fail", "retry")
DIFFERS = ("the repeated episode differs from the failed one at step {}: expected the same one for the same seed and "
           "actions. Fix: draw from self.np_random, after super().reset(seed=seed), or world.on_failure=fail. It had "
           "failed: {}")


class _Done(NamedTuple):
    """A call that returned: its method, its arguments and its result."""

    method: str
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    result: Any


class LastingRows(Rows):
    """Single environments, of which a failed one ends its own episode only; its info then has the reason under `FAILURE`.

    Args:
        envs, reading, limit: as in `Rows`.
        again: makes one more environment.
        retry: whether to repeat an episode before it counts as failed.
    """

    def __init__(self, envs: Sequence[gymnasium.Env], reading: Reading, limit: int | None,
                 again: Callable[[], gymnasium.Env], retry: bool) -> None:
        super().__init__(envs, reading, limit)
        self._again, self._retry = again, retry
        self._episodes: list[list[_Done]] = [[] for _ in self.envs]
        self._doomed: dict[int, str] = {}

    def reset(self, seeds: Sequence[int | None], mask: np.ndarray,
              options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """As `Rows.reset`, without faults."""
        for row in np.flatnonzero(mask).tolist():
            self._episodes[row] = []
        seen, info = super().reset(seeds, mask, options)
        self._flags[1] |= [FAILURE in own for own in self._infos]
        return seen, info

    def doom(self, row: int, reason: str) -> None:
        """Let the next call of a row fail, without its environment."""
        self._doomed[row] = reason

    def _call(self, row: int, method: str, *arguments: Any, **named: Any) -> Any:
        if row in self._doomed:
            return self._failed(row, method, self._doomed.pop(row))
        try:
            result = super()._call(row, method, *arguments, **named)
        except RowFault as fault:
            self._replace(row)
            try:
                result = self._repeated(row, fault, method, arguments, named)
            except RowFault as again:
                return self._failed(row, method, again.found)
        if self._retry:
            self._episodes[row].append(_Done(method, arguments, named, result))
        return result

    def _replace(self, row: int) -> None:
        with contextlib.suppress(Exception, SystemExit):  # it is broken already
            self.envs[row].close()
        with contextlib.suppress(Exception, SystemExit):  # the closed one then fails the next call, too
            self.envs[row] = self._again()

    def _repeated(self, row: int, fault: RowFault, method: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Repeat an episode up to the call that failed; return that call's result."""
        if not self._retry:
            raise fault
        for step, done in enumerate(self._episodes[row]):
            found = super()._call(row, done.method, *done.arguments, **done.named)
            if found[1:-1] != done.result[1:-1] or not _equal(found[0], done.result[0]):
                raise RowFault(row, DIFFERS.format(step, fault.found))
        return super()._call(row, method, *arguments, **named)

    def _failed(self, row: int, method: str, reason: str) -> tuple[Any, ...]:
        """Return the result of a failed call: the last observation, zeros if there is none, and the end of the episode."""
        reason = reason.encode()[:FAILURE_BYTES].decode(errors="ignore")
        if method == "step":
            state = {"state": self._infos[row]["state"]} if "state" in self._infos[row] else {}
            return self._last[row], 0.0, False, True, {**state, FAILURE: reason}
        zeros: Any = create_empty_array(self.single_observation_space, 1, np.zeros)
        first = {key: value[0] for key, value in zeros.items()} if isinstance(zeros, dict) else zeros[0]
        return first, {FAILURE: reason}


class LastingRemoteRows(RemoteRows):
    """Environments in a child process that outlast the process: a new one repeats all calls since all rows began.

    Args:
        retry: whether to repeat the call that ended the process, before the row's episode counts as failed.
        given: the arguments of `RemoteRows`.
    """

    def __init__(self, retry: bool, *given: Any) -> None:
        super().__init__(*given)
        self._retry, self._calls = retry, list[_Done]()

    def _call(self, method: str, *arguments: Any) -> Any:
        if method == "reset" and arguments[1].all():
            self._calls = []
        try:
            result = super()._call(method, *arguments)
        except RowFault as fault:
            result = self._recovered(fault, method, arguments)
        self._calls.append(_Done(method, arguments, {}, result))
        return result

    def _recovered(self, fault: RowFault, method: str, arguments: tuple[Any, ...]) -> Any:
        """Return the result of a call that ended the process, from a new process."""
        retries, doomed = int(self._retry), set[int]()
        while True:
            if self._child.is_alive or fault.row is None or fault.row in doomed:  # no row is known to have ended it
                raise fault
            if retries:
                retries -= 1
            else:
                doomed.add(fault.row)
                self._calls.append(_Done("doom", (fault.row, fault.found), {}, None))
            try:
                self._make()
                for step, done in enumerate(self._calls):
                    found = super()._call(done.method, *done.arguments)
                    compared = zip(found[:4], done.result[:4], strict=True) if done.method == "step" else ()
                    if not all(_equal(one, other) for one, other in compared):
                        raise RowFault(None, DIFFERS.format(step, fault.found))
                return super()._call(method, *arguments)
            except RowFault as again:
                fault = again


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return all(_equal(one[key], other[key]) for key in one)
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))

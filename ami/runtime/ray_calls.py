"""Remote calls of an agent's actors, how they fail, and the error that a failure is for the user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ami.runtime.ray_cluster  # noqa: F401  (sets Ray's environment before Ray is imported)
from ami.errors import AmiError, WorkerLost
from ami.runtime.ray_worker import NotMade

# isort: split
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError


@dataclass(frozen=True)
class Recovery:
    """How an agent outlasts the death of its processes.

    Attributes:
        restarts: the number of restarts within `seconds` after which a further death ends the run; 0 never restarts.
        seconds: the window in which restarts are counted.
        timeout: the seconds after which a call that has not returned counts as a death; None waits, with a note.
        every: the number of ticks between two snapshots.
    """

    restarts: int = 0
    seconds: float = 60.0
    timeout: float | None = None
    every: int = 25


@dataclass(eq=False)
class Call:
    """A remote call, which is repeated if its actor dies.

    Attributes:
        group: the actor's group.
        method: the actor's method.
        arguments: of the method; a call stands for its parcel.
        doing: a description for messages, "at tick 3".
        returns: the number of results; of two the first is a parcel, which the driver does not fetch.
        number: its place in the order of all calls.
        refs: its results.
        repeats: how often it was repeated because it raised an error.
    """

    group: str
    method: str
    arguments: tuple[Any, ...]
    doing: str
    returns: int
    number: int
    refs: Sequence[Any] = ()
    repeats: int = 0

    @property
    def ref(self) -> Any:
        """The result that the driver fetches."""
        return self.refs[-1]


class Failure(Exception):
    """An actor failed.

    Attributes:
        call: the first call without a result, in the order of all calls.
        error: its error; None if it did not return in time.
    """

    def __init__(self, call: Call, error: RayError | None) -> None:
        super().__init__(call, error)
        self.call, self.error = call, error

    @property
    def cause(self) -> BaseException | None:
        """The exception that the actor raised; None if its process failed."""
        return self.error.cause if isinstance(self.error, RayTaskError) else None

    @property
    def is_death(self) -> bool:
        """Whether the process died or hangs; otherwise its code raised an error."""
        return self.error is None or isinstance(self.error, RayActorError) or isinstance(
            self.cause, (RayActorError, NotMade))

    def final(self, names: str, timeout: float | None) -> Exception:
        """Return the error that ends the run.

        Args:
            names: the nodes of the actor.
            timeout: seconds after which a call counts as hanging.
        """
        what, doing = f"the process of {names}", self.call.doing
        if not self.is_death:
            return self.cause if isinstance(self.cause, AmiError) else self.error or self
        if self.error is None:
            return WorkerLost(f"{what} did not return within {timeout} s {doing}. The trace up to then is kept. Fix: a "
                              "longer recovery.timeout; runtime=local shows where it hangs")
        reason = " ".join(str(self.cause or self.error).split())
        detail = reason.partition("Worker exit detail: ")[2] or reason
        if "connection error code 2" in detail or not detail or isinstance(self.error, ActorUnavailableError):
            detail = ("killed by kill -9 or for lack of memory, or ended by its own code, with os._exit() or a crash in "
                      "compiled code")
        return WorkerLost(f"{what} died {doing}: {detail}. The trace up to then is kept. Fix: run again; if it dies again, "
                          "runtime=local shows where it happens")

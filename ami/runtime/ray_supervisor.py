"""Supervisor: the actors of one agent. One that dies, hangs or raises is made again, with the state that it had.

Ray restarts the process (`max_restarts`), without its state. The supervisor then has the modules built again, the newest
snapshot restored, and the calls since then repeated in order, with the same parcels: `Worker.fire` repeats no node, and a
world repeats its actions, held against its recorded outputs. Calls of other actors that failed for lack of a parcel follow.
So every message and the trace's digest are those of an undisturbed run.

An error of a module's own code restarts its actor once per call; if the repeated call fails too, the error is raised.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ami.errors import WorkerLost
from ami.runtime.ray_calls import Call, Failure, Recovery
from ami.runtime.ray_cluster import dead_server  # sets Ray's environment before Ray is imported
from ami.runtime.ray_worker import WorkerActor
from ami.terminal.text import report

# isort: split
import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError

LOOK_SECONDS = 1.0
"""The interval at which a wait checks that Ray's servers are alive."""
NOTICE_SECONDS = 30.0
"""A longer wait is reported, and reported again whenever it has doubled."""
RESTART_SECONDS = 120.0
"""How long Ray may take to start a process again."""
POLL_SECONDS = 0.1
FIRES = ("fire", "fire_ahead")


class Supervisor:
    """The actors of one agent.

    Args:
        members: the nodes of each group.
        make: the arguments with which each group's actor is made, see `WorkerActor.make`.
        recovery: how deaths are outlasted.
        raises: the groups whose death or error ends the run.
    """

    def __init__(self, members: Mapping[str, Sequence[str]], make: Mapping[str, tuple[Any, ...]], recovery: Recovery,
                 raises: frozenset[str] = frozenset()) -> None:
        self.members, self._make, self.recovery, self._raises = members, make, recovery, raises
        actor = ray.remote(num_cpus=0, max_restarts=-1 if recovery.restarts else 0, max_task_retries=0)(WorkerActor)
        self.actors: dict[str, Any] = {group: actor.remote() for group in members}
        self._calls: dict[str, deque[Call]] = {group: deque() for group in members}
        self._published: dict[str, list[Call]] = {group: [] for group in members}
        self._snapshots: dict[str, Any] = {}
        self._pending: dict[str, Call] = {}
        self._due = recovery.every
        self._deaths: deque[float] = deque()
        self._number = 0
        self._looked = time.monotonic()
        self._made = [self._submitted(Call(group, "make", given, "to be made", 1, 0)) for group, given in make.items()]

    def ready(self) -> None:
        """Wait until every actor has built its modules; raise the error of a module's construction."""
        made, self._made = self._made, []
        self.wait(made)

    def call(self, group: str, method: str, *arguments: Any, doing: str, returns: int = 1) -> Call:
        """Call a method of a group's actor, without waiting."""
        self._number += 1
        call = self._submitted(Call(group, method, arguments, doing, returns, self._number))
        self._calls[group].append(call)
        return call

    def wait(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of calls; restart the actors that fail in the meantime.

        Raises:
            WorkerLost: an actor died and may not be restarted, or Ray's servers died.
            The error of a module's own code.
        """
        while True:
            try:
                return self._got(calls)
            except Failure as failure:
                try:
                    self._recover(failure)
                except Exception:
                    self.begin()  # the error is raised once
                    raise

    def begin(self) -> None:
        """Forget all calls: every actor begins new episodes in all rows, and has written its trace."""
        for group in self.members:
            self._forget(group)
        self._snapshots, self._pending, self._due = {}, {}, self.recovery.every

    def forget_done(self, keep: int) -> None:
        """Without restarts: keep the newest calls only; a later failure may follow from an earlier one."""
        for calls in self._calls.values():
            while not self.recovery.restarts and len(calls) > keep:
                calls.popleft().arguments = ()

    def ticked(self, tick: int) -> None:
        """Have every actor take a snapshot of its state if one is due after a tick of all groups.

        Calls before the newest finished snapshot are forgotten. The intervals grow with the age of the episodes, since a
        world's snapshot holds all their actions.
        """
        if not self.recovery.restarts or tick + 1 < self._due:
            return
        self._due = tick + 1 + max(self.recovery.every, tick // 8)
        for group in self.members:
            pending = self._pending.get(group)
            if pending is not None and self._is_done(pending):
                self._snapshots[group] = pending.refs[0]
                self._forget(group, pending.number)
            self._pending[group] = self.call(group, "snapshot", doing="to take a snapshot", returns=2)

    @property
    def calls(self) -> list[Call]:
        """The calls that may be repeated, in their order."""
        return sorted((call for calls in self._calls.values() for call in calls), key=lambda call: call.number)

    # Failures --------------------------------------------------------------------------------------------------------

    def _got(self, calls: Sequence[Call]) -> list[Any]:
        begun, notice, limit = time.monotonic(), NOTICE_SECONDS, self.recovery.timeout
        while True:
            self._look()
            try:
                found: list[Any] = ray.get([call.ref for call in calls], timeout=LOOK_SECONDS)
                return found
            except GetTimeoutError:
                seconds = time.monotonic() - begun
                waiting = self._waiting(calls) if seconds > min(notice, limit or notice) else []
                if limit is not None and seconds > limit and waiting and waiting[0].method != "make":
                    raise Failure(waiting[0], None) from None
                if seconds > notice and waiting:
                    notice *= 2
                    report(f"waiting for {self.names(waiting[0].group)} {waiting[0].doing} for {seconds:.0f} s; its process "
                           "is alive. Ctrl-C stops the run and keeps the trace so far")
            except RayError as error:
                raise self._first_failure(calls) or Failure(calls[0], error) from error

    def _look(self) -> None:
        """Raise WorkerLost if a server of Ray died: a minute later Ray ends this process, and the trace must be written."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        server = dead_server()
        if server:
            raise WorkerLost(f"Ray's {server} died: it was killed, or the machine is out of memory. The trace up to then "
                             "is kept. Fix: run again, or in this process with runtime=local")

    def _waiting(self, calls: Sequence[Call]) -> list[Call]:
        """Return the calls that are not done: in firing order, all later ones wait for the first."""
        every = {call.ref: call for call in (*self.calls, *calls)}
        _, waiting = ray.wait(list(every), num_returns=len(every), timeout=0)
        return [every[ref] for ref in every if ref in waiting]

    def _first_failure(self, calls: Sequence[Call]) -> Failure | None:
        """Return the first failure, once no earlier call is waiting, whose failure may be its cause."""
        until = time.monotonic() + (self.recovery.timeout or RESTART_SECONDS)
        while True:
            failed, waiting = self._failed([*self.calls, *calls]), self._waiting(calls)
            if not failed or not any(one.number < failed[0].call.number for one in waiting) or time.monotonic() > until:
                return failed[0] if failed else None
            time.sleep(POLL_SECONDS)

    def _failed(self, calls: Sequence[Call]) -> list[Failure]:
        """Return the failures of calls, in order, without those that had no parcel because of another failure."""
        failures: list[Failure] = []
        bad: set[int] = set()
        for call in calls:
            try:
                ray.get(call.ref, timeout=0)
            except GetTimeoutError:
                pass
            except RayError as error:
                if not any(isinstance(given, Call) and id(given) in bad for given in call.arguments):
                    failures.append(Failure(call, error))
                bad.add(id(call))
        return failures

    def _recover(self, failure: Failure) -> None:
        """Restart an actor that failed, and repeat the calls that have no result because of it."""
        while True:
            group = failure.call.group
            if not self.recovery.restarts or group in self._raises or not (failure.is_death or _may_repeat(failure.call)):
                raise self._final(failure) from failure.error
            self._count(failure)
            if failure.error is None or not failure.is_death:
                ray.kill(self.actors[group], no_restart=False)
            try:
                self._rebuild(group)
                self._repeat(group)
                return
            except Failure as again:
                failure = again

    def _final(self, failure: Failure) -> Exception:
        return failure.final(self.names(failure.call.group), self.recovery.timeout)

    def _count(self, failure: Failure) -> None:
        """Report a restart; raise WorkerLost if there were too many."""
        now, how = time.monotonic(), self.recovery
        while self._deaths and now - self._deaths[0] > how.seconds:
            self._deaths.popleft()
        if len(self._deaths) >= how.restarts:
            times = "1 restart" if how.restarts == 1 else f"{how.restarts} restarts"
            raise WorkerLost(f"{times} within {how.seconds:g} s did not help: {self._final(failure)}") from failure.error
        self._deaths.append(now)
        what = f"did not return within {how.timeout} s" if failure.error is None else (
            "died" if failure.is_death else "failed")
        report(f"the process of {self.names(failure.call.group)} {what} {failure.call.doing} and is restarted "
               f"(restart {len(self._deaths)} of at most {how.restarts} within {how.seconds:g} s)")

    def _rebuild(self, group: str) -> None:
        """Build the modules of a group in its new process, and restore their state."""
        until = time.monotonic() + RESTART_SECONDS
        steps: list[tuple[str, tuple[Any, ...]]] = [("make", (*self._make[group], True))]
        steps += [(call.method, call.arguments) for call in self._published[group]]
        if group in self._snapshots:
            steps.append(("restore", (self._snapshots[group],)))
        for method, arguments in steps:
            while True:
                call = self._submitted(Call(group, method, arguments, "to be made again", 1, 0))
                try:
                    ray.get(call.ref, timeout=RESTART_SECONDS)
                    break
                except GetTimeoutError:
                    raise Failure(call, None) from None
                except RayError as error:
                    if not isinstance(error, ActorUnavailableError) or time.monotonic() > until:
                        raise Failure(call, error) from error
                    time.sleep(POLL_SECONDS)

    def _repeat(self, group: str) -> None:
        """Repeat the calls of a new actor since its snapshot, and those of others that failed with it."""
        limit = time.monotonic() + (self.recovery.timeout or RESTART_SECONDS)
        while any(call.group != group for call in self._waiting(())) and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)  # they end soon: what they wait for has failed
        for call in self.calls:
            if call.group == group or self._is_failed(call):
                self._submitted(call)

    def _is_failed(self, call: Call) -> bool:
        return bool(self._failed([call]))

    def _is_done(self, call: Call) -> bool:
        """Return whether a call has its result."""
        return bool(ray.wait([call.ref], timeout=0)[0]) and not self._is_failed(call)

    def _submitted(self, call: Call) -> Call:
        method = getattr(self.actors[call.group], call.method).options(num_returns=call.returns)
        refs = method.remote(*(given.refs[0] if isinstance(given, Call) else given for given in call.arguments))
        call.refs = [refs] if call.returns == 1 else refs
        return call

    def _forget(self, group: str, until: int | None = None) -> None:
        """Forget the calls of a group, up to one of them; the weights that they have published are kept."""
        calls = self._calls[group]
        while calls and (until is None or calls[0].number <= until):
            call = calls.popleft()
            if call.method != "publish":
                call.arguments = ()  # a chain of calls would keep all parcels
                continue
            _, nodes, is_load, *_ = call.arguments
            if is_load:
                newer = set(nodes)
                older = [one for one in self._published[group] if not newer.issuperset(one.arguments[1])]
                self._published[group] = [*older, call]

    def names(self, group: str) -> str:
        """Return the nodes of a group as text."""
        return ", ".join(self.members.get(group, ()))


def _may_repeat(call: Call) -> bool:
    """Return whether a call that raised an error is repeated: a tick, once."""
    call.repeats += 1
    return call.method in FIRES and call.repeats == 1

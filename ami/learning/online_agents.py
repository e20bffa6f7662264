"""Learning while agents act at the same time: each agent in a thread of its own, in any runtime.

The trainer is the one learner and holds the only replay buffer, so no batch crosses a process. Three settings bound it. The
replay ratio: a step of learning waits for the episodes that it is due after. `queue`: an agent waits while so many waves are
not taken yet. `max_lag`: a step of learning waits for agents that act with weights that old; they take over newer ones at
their next tick. An agent in mid-wave waits for nothing, so trainer and agents never wait for each other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition

from ami.agent import Agent
from ami.learning.acted import Acted, Wave
from ami.runtime.held_modules import Weights


class ActingAgents:
    """Agents that act while the trainer learns.

    Which episodes come when depends on the speed of all parts: two trainings do not end with equal weights.

    Args:
        agents: they must watch `collected_ports`, and have the weights that learning begins with.
        acted: where their episodes go.
        nodes: the nodes of the agents that have learnt weights.
        max_lag: the most steps of learning by which acting weights may be behind, 1 or more.
        queue: the most waves that wait for the trainer.
    """

    def __init__(self, agents: Sequence[Agent], acted: Acted, nodes: frozenset[str], max_lag: int, queue: int) -> None:
        self.agents, self.acted, self.nodes, self.max_lag, self.queue = agents, acted, nodes, max_lag, queue
        self._every = min(acted.pace.publish_every, max_lag)
        self._changed = Condition()
        self._done = self._version = self._next = 0
        self._weights: Weights = {}
        self._acting: dict[int, int] = {}  # the version with which each agent in mid-wave acts
        self._blocked: dict[int, float] = {}  # since when each agent waits for room
        self._finished: deque[Wave] = deque()
        self._is_closed = False
        self._pool = ThreadPoolExecutor(len(agents), thread_name_prefix="acting")
        self._running: list[Future[None]] = []
        self._since = self._agents_waited = self._learner_waited = 0.0

    def advance(self, done: int, weights: Callable[[], Weights]) -> bool:
        with self._changed:
            self._done = done
            if done - self._version >= (self._every if self._running else 1):
                self._version, self._weights = done, self._copy(weights())
                self._changed.notify_all()
            if not self._running:
                self._start()
            if self.acted.pace.is_due(done, self.acted.world_steps):
                self._wait(lambda: all(done + 1 - version <= self.max_lag for version in self._acting.values()))
                return False
            self._wait(lambda: bool(self._finished))
            waiting, wave = len(self._finished), self._finished.popleft()
            self._changed.notify_all()
            self.acted.add(wave, delay=done - wave.version, queue=float(waiting), **self._shares())
        return True

    def close(self) -> None:
        """Stop all agents at their next tick."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._pool.shutdown()

    def _start(self) -> None:
        self._next, self._since = self.acted.next_wave, time.perf_counter()
        self._running = [self._pool.submit(self._run, number) for number in range(len(self.agents))]
        for one in self._running:
            one.add_done_callback(lambda _: self._notify())

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _copy(self, weights: Weights) -> Weights:
        """Return a copy: the trainer changes its weights while agents load them."""
        return {node: {name: value.clone() for name, value in own.items()}
                for node, own in weights.items() if node in self.nodes}

    def _wait(self, is_met: Callable[[], bool]) -> None:
        """Wait for the agents; raise the error of one that failed."""
        begun = time.perf_counter()
        self._changed.wait_for(lambda: is_met() or any(one.done() for one in self._running))
        self._learner_waited += time.perf_counter() - begun
        for one in self._running:
            if one.done():
                one.result()

    def _shares(self) -> dict[str, float]:
        """Return the shares of the time since the last wave in which the trainer, and the agents, waited."""
        now = time.perf_counter()
        seconds, self._since = max(now - self._since, 1e-9), now
        for number in list(self._blocked):
            self._unblock(number)
            self._blocked[number] = now
        found = {"learner_waited": self._learner_waited / seconds,
                 "agents_waited": self._agents_waited / seconds / len(self.agents)}
        self._learner_waited = self._agents_waited = 0.0
        return {name: min(1.0, share) for name, share in found.items()}

    def _unblock(self, number: int) -> None:
        self._agents_waited += time.perf_counter() - self._blocked.pop(number)

    # In the thread of an agent ---------------------------------------------------------------------------------------

    def _run(self, number: int) -> None:
        version = 0
        while (wave := self._begun(number)) is not None:
            while not wave.is_over:
                found = self._newer(number, version)
                if found is None:
                    return
                version, lag = found
                wave.tick(version, lag)
            if not self._hand_over(number, wave):
                return

    def _begun(self, number: int) -> Wave | None:
        """Return the agent's next wave; None if all agents stop."""
        with self._changed:
            if self._is_closed:
                return None
            wave, self._next = self._next, self._next + 1
            return Wave(self.agents[number], self.acted.pace, wave)

    def _newer(self, number: int, version: int) -> tuple[int, int] | None:
        """Take over newer weights, if there are any; return their version and its lag, or None if all agents stop."""
        with self._changed:
            if self._is_closed:
                return None
            newest, weights = self._version, self._weights
            self._acting[number] = newest  # before they are loaded: the trainer may not run ahead meanwhile
            self._changed.notify_all()
        if newest > version:
            self.agents[number].runtime.publish(newest, weights)
        with self._changed:
            return newest, self._done - newest

    def _hand_over(self, number: int, wave: Wave) -> bool:
        """Wait for room in the queue and add a wave to it; return False if all agents stop."""
        with self._changed:
            del self._acting[number]
            self._changed.notify_all()
            self._blocked[number] = time.perf_counter()
            self._changed.wait_for(lambda: self._is_closed or len(self._finished) < self.queue)
            self._unblock(number)
            if self._is_closed:
                return False
            self._finished.append(wave)
            self._changed.notify_all()
            return True

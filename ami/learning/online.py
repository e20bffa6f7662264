"""Learning while acting: an agent acts, and its episodes come to what its modules learn from.

`TurnTaking` is the synchronous reference: acting and learning alternate, so that a training depends on its seed alone. Ticks
and steps of learning are interleaved at a fixed ratio, the replay ratio (D'Oro and others, *Sample-efficient reinforcement
learning by breaking the replay ratio barrier*, 2023). The version of published weights is the number of steps that they have
learnt. Episodes run in waves: a killed training begins its last wave anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from ami.agent import Agent
from ami.learning.acted import Acted, Wave
from ami.runtime.held_modules import Weights


class Acting(Protocol):
    """Brings experience while a phase learns.

    Attributes:
        acted: all episodes so far.
    """

    acted: Acted

    def advance(self, done: int, weights: Callable[[], Weights]) -> bool:
        """Act until the next step of learning is due, or until episodes came in.

        Args:
            done: the number of steps that the weights have learnt.
            weights: returns them, by node.

        Returns:
            Whether episodes came in; if not, the step is due. Only after True may progress be saved.
        """


class TurnTaking:
    """One agent that acts in turns with the trainer, in any runtime.

    Args:
        agent: it must watch `collected_ports`, and have the weights that learning begins with.
        acted: where its episodes go.
        nodes: the nodes of the agent that have learnt weights.
    """

    def __init__(self, agent: Agent, acted: Acted, nodes: frozenset[str]) -> None:
        self.agent, self.acted, self.nodes, self.pace = agent, acted, nodes, acted.pace
        self.version = 0
        self._wave: Wave | None = None

    def advance(self, done: int, weights: Callable[[], Weights]) -> bool:
        with torch.random.fork_rng(devices=[]):  # learning draws from torch's global stream, wherever the agent runs
            while not self.pace.is_due(done, self.acted.world_steps + (self._wave.world_steps if self._wave else 0)):
                if done - self.version >= (self.pace.publish_every if self._wave else 1):
                    self.agent.runtime.publish(done, {node: own for node, own in weights().items() if node in self.nodes})
                    self.version = done
                self._wave = self._wave or Wave(self.agent, self.pace, self.acted.next_wave)
                self._wave.tick(self.version, done - self.version)
                if self._wave.is_over:
                    self.acted.add(self._wave)
                    self._wave = None
                    return True
        return False

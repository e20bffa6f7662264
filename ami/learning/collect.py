"""Collect: run an agent and store its episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, World
from ami.data.replay_buffer import ACTION, OBSERVATION, REWARD, TERMINATED, TRUTH, ReplayBuffer
from ami.graph.graph import Graph
from ami.graph.prune import prune
from ami.rng import derive_seed
from ami.rollout import Step, rollout
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime

SEED_RANGE = 2**31


def collected_ports(graph: Graph) -> tuple[str, str, str]:
    """Return the ports to watch so that episodes can be collected: the world's observation, its truth, and its action."""
    world = graph.the(World)
    (action,) = (wire for wire in graph.inputs[world] if wire.to_port == "action")
    return f"{world}.observation", f"{world}.truth", f"{action.node}.{action.port}"


def collector(graph: Graph, seed: int, weights: Weights | None = None) -> Agent:
    """Return an agent in this process whose episodes `collect` can record; only the nodes that this needs fire."""
    ports = collected_ports(graph)
    return Agent(LocalRuntime(prune(graph, ports), seed, weights, watch=ports))


def collect(agent: Agent, episodes: int, steps: int, batch: int, seed: int,
            on_progress: Callable[[int], None] | None = None, into: ReplayBuffer | None = None) -> ReplayBuffer:
    """Run an agent and store its episodes in the order of their numbers.

    Args:
        agent: it must watch `collected_ports`.
        episodes: E, the number of episodes.
        steps: T, the largest number of steps per episode.
        batch: the number of parallel worlds. A row whose episode is over takes the next one, see `ami.rollout`.
        seed: each world's seed derives from it and the episode's number alone.
        on_progress: called with the number of further episodes done.
        into: an empty buffer to store them in; None makes one in memory.
    """
    buffer = ReplayBuffer() if into is None else into
    for episode in episodes_of(agent, range(episodes), steps, batch, seed, on_progress):
        buffer.append(episode)
        if buffer.num_episodes == 1 and buffer.num_bytes * episodes <= buffer.memory:
            buffer.reserve((episodes - 1) * (steps + 1))
    return buffer


def episodes_of(agent: Agent, numbers: range, steps: int, batch: int, seed: int,
                on_progress: Callable[[int], None] | None = None) -> Iterator[dict[str, Tensor]]:
    """Run an agent and yield its episodes in the order of their numbers; arguments are those of `collect`."""
    running = Running(collected_ports(agent.graph), steps)
    numbered = [Episode(n, derive_seed(seed, "collect", n) % SEED_RANGE) for n in numbers]
    following = numbers.start
    for step in rollout(agent, numbered, batch, longest=steps, refill=True):
        running.add(step)
        ended = step.ended.nonzero()[:, 0].tolist()
        for row in ended:
            running.finish(row, step)
        if ended and on_progress is not None:
            on_progress(len(ended))
        while following in running.finished:
            yield running.finished.pop(following)
            following += 1


class Running:
    """The running episodes, and the finished ones that wait for an earlier one: at most what all rows send in one episode.

    Args:
        ports: the ports of observation, truth and action.
        steps: T, the largest number of steps per episode.
    """

    def __init__(self, ports: tuple[str, str, str], steps: int) -> None:
        self.ports, self.steps = ports, steps
        self.finished: dict[int, dict[str, Tensor]] = {}
        self._columns: dict[str, Tensor] = {}

    def add(self, step: Step, more: Mapping[str, Tensor] | None = None) -> None:
        """Store one tick of all rows that are alive, with `more` fields (B, …)."""
        observation, truth, action = (step.outputs[port] for port in self.ports)
        rows = step.alive.nonzero()[:, 0]
        for name, value in {OBSERVATION: observation, ACTION: action, TRUTH: truth, REWARD: step.world[REWARD],
                            TERMINATED: step.world[TERMINATED], **(more or {})}.items():
            if name not in self._columns or len(self._columns[name]) < len(value):
                self._columns[name] = value.new_empty((len(value), self.steps + 1, *value.shape[1:]))
            self._columns[name][rows, step.age[rows]] = value[rows]

    def finish(self, row: int, step: Step) -> None:
        """Store the finished episode of a row. Its last action led nowhere, and nothing arrived with its first
        observation."""
        episode = {name: column[row, :int(step.age[row]) + 1].clone() for name, column in self._columns.items()}
        episode[ACTION][-1] = 0
        episode[REWARD][0] = 0
        episode[TERMINATED][0] = False
        self.finished[step.episodes[row].number] = episode

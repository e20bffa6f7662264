"""Trajectories: what chosen ports send while agents run, for modules that learn from the agent's own course.

The experience of a round (`learning.collect`) holds what a world sends and receives. A part that decides on messages between
modules, such as a configurator, learns from those: they depend on all weights learnt before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode
from ami.data.replay_buffer import TERMINATED
from ami.errors import SettingError, require
from ami.learning import checkpoint
from ami.learning.collect import SEED_RANGE
from ami.learning.sources.source import Draw, Source, Supply
from ami.rng import derive_seed
from ami.rollout import rollout

WORLDS_AT_ONCE = 50
STEPS = "steps"
"""The name, beside those of the ports, of the number of steps of each episode, (E,)."""


class Trajectories(Source):
    """Windows of T + 1 ticks of episodes that agents run: NAME (N, T + 1, …) for each port, and "cont" (N, T), 0 from a
    terminal step on. Beyond it the last messages are repeated; a window begins before it.

    Each agent runs in its turn, with the weights learnt so far; the steps of the stage are shared evenly among them, and all
    their episodes stay in the data. They are stored in a file, so that training resumes with the same ones after a kill.

    Args:
        ports: the ports, "node.port", by the name of their messages in the batch.
        agents: the agents: names of `configs/agent`, or overrides of the agent that learns, separated by spaces, such as
            "world.kind=life configurator.explore=1".
        episodes: the number of episodes of each agent.
        length: T.
        longest: the most steps of an episode; None for the world's own limit.
        shuffle: names of ports whose messages are taken from the next episode, at the same tick: a control, in which nothing
            can be learnt from them.

    Raises:
        SettingError: a setting is out of its range; or, when a batch is drawn, no episode is long enough.
    """

    made_by = "the agents of the stage computed it"

    def __init__(self, ports: Mapping[str, str], agents: Sequence[str], episodes: int = 100, length: int = 5,
                 longest: int | None = None, shuffle: Sequence[str] = ()) -> None:
        require(len(ports) > 0 and all(isinstance(port, str) and port.count(".") == 1 for port in ports.values()),
                f"Trajectories.ports is {dict(ports)}: expected ports by name, such as {{energy: cost.energy}}")
        require(not {"cont", STEPS} & set(ports), "Trajectories.ports names 'cont' or 'steps', which are its own. "
                                                  "Fix: another name")
        require(len(agents) > 0 and all(isinstance(name, str) for name in agents),
                f"Trajectories.agents is {list(agents)}: expected one or more names or overrides")
        require(episodes >= 1, f"Trajectories.episodes is {episodes}: expected 1 or more")
        require(length >= 1, f"Trajectories.length is {length}: expected 1 or more steps")
        require(longest is None or longest >= 1, f"Trajectories.longest is {longest}: expected 1 or more steps, or null")
        for name in shuffle:
            require(name in ports, f"Trajectories.shuffle names '{name}': expected some of {', '.join(ports)}")
        self.ports, self.agents, self.episodes, self.length = dict(ports), tuple(agents), episodes, length
        self.longest, self.shuffle = longest, tuple(shuffle)

    def open(self, supply: Supply) -> Draw:
        self.check_agents(supply)
        return _Growing(self, supply).draw

    def shrunk(self, longest: int, episodes: int) -> Self:
        return type(self)(self.ports, self.agents, min(self.episodes, episodes), min(self.length, longest),
                          min(self.longest or longest, longest), self.shuffle)


class _Growing:
    """The episodes of one round: those of a further agent are added when its share of the steps begins."""

    def __init__(self, source: Trajectories, supply: Supply) -> None:
        self.source, self.supply = source, supply
        self._parts: list[dict[str, Tensor]] = []
        self._columns: dict[str, Tensor] = {}
        self._starts = self._lasts = torch.zeros(0, dtype=torch.int64)

    def draw(self, step: int) -> dict[str, Tensor]:
        due = 1 + step * len(self.source.agents) // self.supply.steps
        if len(self._parts) < due:
            while len(self._parts) < due:
                self._parts.append(self._part(len(self._parts), step))
            self._join()
        chosen = torch.randint(len(self._starts), (self.supply.batch,))
        ticks = self._starts[chosen, None] + torch.arange(self.source.length + 1)
        last = self._lasts[chosen, None]
        rows = torch.minimum(ticks, last)
        ended = self._columns[TERMINATED][last[:, 0]][:, None] & (ticks[:, 1:] >= last)
        return {**{name: self._columns[name][rows] for name in self.source.ports}, "cont": (~ended).float()}

    def _join(self) -> None:
        """Join the parts; find where windows begin, and the last tick of the episode of each."""
        self._columns = {name: torch.cat([part[name] for part in self._parts])
                         for name in (*self.source.ports, TERMINATED)}
        steps = torch.cat([part[STEPS] for part in self._parts])
        lasts = (steps + 1).cumsum(0) - 1
        length = self.source.length
        # a window may reach beyond a terminal step alone: what follows another last step is unknown
        counts = torch.where(self._columns[TERMINATED][lasts], steps, (steps + 1 - length).clamp(min=0))
        firsts = (lasts - steps).repeat_interleave(counts)
        within = torch.arange(len(firsts)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        self._starts, self._lasts = firsts + within, lasts.repeat_interleave(counts)
        if not len(self._starts):
            where = f"learning.stages.{self.supply.stage}.source"
            raise SettingError(f"{where}.length is {length}, but the longest episode has {int(steps.max())} steps. "
                               f"Fix: {where}.length={max(1, int(steps.max()))}")

    def _part(self, number: int, step: int) -> dict[str, Tensor]:
        source, supply, file = self.source, self.supply, self.supply.file_of(number)
        if not file.exists():
            numbers = range(number * source.episodes, (number + 1) * source.episodes)
            with supply.experts[source.agents[number]](supply.weights, lambda graph: source.ports.values()) as agent:
                part = record(agent, source.ports, numbers, derive_seed(supply.seed, "trajectories", supply.stage),
                              source.longest, lambda done: supply.on_episodes(step, numbers.start + done))
            checkpoint.save(file, part, {})
        part = checkpoint.load(file)[0]
        return {name: shuffled(value, part[STEPS]) if name in source.shuffle else value for name, value in part.items()}


def record(agent: Agent, ports: Mapping[str, str], numbers: range, seed: int, longest: int | None = None,
           on_episodes: Any = lambda done: None) -> dict[str, Tensor]:
    """Run episodes and return what ports sent, episode after episode.

    Args:
        agent: it must watch the ports.
        ports: see `Trajectories`.
        numbers: the episodes' numbers.
        seed: each world's seed derives from it and the episode's number alone.
        longest: the most steps of an episode; None for no limit.
        on_episodes: called with the number of episodes done.

    Returns:
        NAME (F, …) for each port, "terminated" (F,) bool, and "steps" (E,) int64: episode e has 1 + steps[e] of the F ticks.
    """
    running: dict[int, list[dict[str, Tensor]]] = {}
    done: dict[int, list[dict[str, Tensor]]] = {}
    episodes = [Episode(number, derive_seed(seed, number) % SEED_RANGE) for number in numbers]
    for step in rollout(agent, episodes, WORLDS_AT_ONCE, longest=longest, refill=True):
        sent = {**{name: step.outputs[port] for name, port in ports.items()}, TERMINATED: step.world[TERMINATED]}
        for row in step.alive.nonzero()[:, 0].tolist():
            number = step.episodes[row].number
            running.setdefault(number, []).append({name: value[row].clone() for name, value in sent.items()})
            if step.ended[row]:
                done[number] = running.pop(number)
                on_episodes(len(done))
    ticks = [tick for number in numbers for tick in done[number]]
    return {**{name: torch.stack([tick[name] for tick in ticks]) for name in (*ports, TERMINATED)},
            STEPS: torch.tensor([len(done[number]) - 1 for number in numbers])}


def shuffled(values: Tensor, steps: Tensor) -> Tensor:
    """Return messages (F, …) of which each is that of the next episode at the same tick, or at its last one."""
    sizes = (steps + 1).tolist()
    episodes = values.split(sizes)
    return torch.cat([following[torch.arange(size).clamp(max=len(following) - 1)]
                      for size, following in zip(sizes, _next(episodes), strict=True)])


def _next(episodes: Sequence[Tensor]) -> Iterator[Tensor]:
    yield from episodes[1:]
    yield episodes[0]

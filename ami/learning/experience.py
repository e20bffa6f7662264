"""Experience: collected episodes, and windows of them for learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, World
from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.graph.prune import prune
from ami.rng import derive_seed
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Weights

SEED_RANGE = 2**31


def collected_ports(graph: Graph) -> tuple[str, str, str]:
    """Return the ports to watch so that episodes can be collected: the world's observation, its truth, and its action."""
    world = graph.the(World)
    (action,) = (wire for wire in graph.inputs[world] if wire.to_port == "action")
    return f"{world}.observation", f"{world}.truth", f"{action.node}.{action.port}"


@dataclass(frozen=True)
class Experience:
    """E episodes of up to T steps.

    Attributes:
        observation: (E, T + 1, *O).
        action: (E, T, A); action[t] leads from observation[t] to observation[t + 1].
        truth: (E, T + 1, X), the world's true state, for probes alone.
        steps: (E,), the number of steps of each episode; entries beyond it are padding.
        reward: (E, T), the world's reward on arriving at observation[t + 1]; None if rewards were not recorded.
        cont: (E, T), 0 if the episode terminated at observation[t + 1], else 1, also at a truncation; None if termination
            was not recorded.
    """

    observation: Tensor
    action: Tensor
    truth: Tensor
    steps: Tensor
    reward: Tensor | None = None
    cont: Tensor | None = None

    @property
    def num_frames(self) -> int:
        """The number of observations, without padding."""
        return int((self.steps + 1).sum())

    def part(self, episodes: int) -> Experience:
        """Return the first `episodes` episodes."""
        return self.some(range(min(episodes, len(self.steps))))

    def some(self, episodes: range) -> Experience:
        """Return these episodes."""
        kept = slice(episodes.start, episodes.stop)
        return replace(self, **{name: value[kept] for name, value in vars(self).items() if value is not None})

    @property
    def mean_return(self) -> float:
        """The mean over episodes of the rewards' sum; nan if rewards were not recorded."""
        if self.reward is None:
            return float("nan")
        is_real = torch.arange(self.reward.shape[1])[None] < self.steps[:, None]
        return float((self.reward.double() * is_real).sum(1).mean())

    def frames(self) -> Tensor:
        """Return every observation without padding, (F, *O), episode after episode."""
        return torch.cat([self.observation[e, : n + 1] for e, n in enumerate(self.steps.tolist())])

    def lasts(self) -> Tensor:
        """Return whether each of `frames()` is the last of its episode, (F,)."""
        last = torch.zeros(self.num_frames, dtype=torch.bool)
        last[(self.steps + 1).cumsum(0) - 1] = True
        return last

    def starts(self, window: int) -> Tensor:
        """Return the start indices (episode, step) of all windows of `window` steps, (M, 2).

        Raises:
            SettingError: no episode is that long.
        """
        fits = torch.arange(self.action.shape[1])[None] + window <= self.steps[:, None]
        starts = fits.nonzero()
        if len(starts) == 0:
            raise SettingError(f"a window has {window} steps, but the longest episode has {int(self.steps.max())}. "
                               "Fix: a smaller window, or learning.collect.steps larger")
        return starts

    def endings(self, window: int) -> Tensor:
        """Return start indices (M, 2) of windows that end at a terminal step; empty if termination was not recorded."""
        if self.cont is None:
            return torch.zeros(0, 2, dtype=torch.int64)
        last = (self.steps - 1).clamp(min=0)
        ended = (self.cont[torch.arange(len(last)), last] == 0) & (self.steps >= window)
        return torch.stack([ended.nonzero()[:, 0], self.steps[ended] - window], dim=1)

    def windows(self, starts: Tensor, window: int) -> dict[str, Tensor]:
        """Return the windows that begin at `starts` (N, 2): "observation" (N, window + 1, *O), "action" (N, window, A) and,
        if recorded, "reward" and "cont" (N, window)."""
        episode, step = starts[:, :1], starts[:, 1:] + torch.arange(window + 1)
        columns = {"action": self.action, "reward": self.reward, "cont": self.cont}
        return {"observation": self.observation[episode, step]} | {
            name: value[episode, step[:, :-1]] for name, value in columns.items() if value is not None}


def collector(graph: Graph, seed: int, weights: Weights | None = None) -> Agent:
    """Return an agent in this process whose episodes `collect` can record; only the nodes that this needs fire."""
    ports = collected_ports(graph)
    return Agent(LocalRuntime(prune(graph, ports), seed, weights, watch=ports))


def collect(agent: Agent, episodes: int, steps: int, batch: int, seed: int,
            on_progress: Callable[[int], None] | None = None) -> Experience:
    """Run an agent and collect its episodes.

    Args:
        agent: it must watch `collected_ports`.
        episodes: E, the number of episodes.
        steps: T, the largest number of steps per episode.
        batch: the number of parallel worlds. A row whose episode is over takes the next one, see `ami.rollout`.
        seed: each world's seed derives from it and the episode's number alone.
        on_progress: called with the number of further episodes done.
    """
    observation, truth, action = collected_ports(agent.graph)
    numbered = [Episode(n, derive_seed(seed, "collect", n) % SEED_RANGE) for n in range(episodes)]
    columns: dict[str, Tensor] = {}
    lengths = torch.zeros(episodes, dtype=torch.int64)
    for step in rollout(agent, numbered, batch, longest=steps, refill=True):
        sent = {"observation": step.outputs[observation], "truth": step.outputs[truth], "action": step.outputs[action],
                "reward": step.world["reward"], "terminated": step.world["terminated"]}
        rows = step.alive.nonzero()[:, 0]
        number = torch.tensor([step.episodes[row].number for row in rows.tolist()])
        for name, value in sent.items():
            if name not in columns:
                columns[name] = value.new_zeros((episodes, steps + 1, *value.shape[1:]))
            columns[name][number, step.age[rows]] = value[rows]
        ended = step.ended.nonzero()[:, 0].tolist()
        for row in ended:
            lengths[step.episodes[row].number] = step.age[row]
        if ended and on_progress is not None:
            on_progress(len(ended))
    return Experience(columns["observation"], columns["action"][:, :-1].contiguous(), columns["truth"], lengths,
                      columns["reward"][:, 1:].contiguous(), 1.0 - columns["terminated"][:, 1:].float())


def joined(parts: Sequence[Experience]) -> Experience:
    """Concatenate experiences with equal T; fields that one of them lacks become None."""
    names = [name for name in vars(parts[0]) if all(getattr(part, name) is not None for part in parts)]
    return Experience(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

"""Plans: what a mind in Mode-2 perceived, wanted and planned, for a policy to learn from.

The paper calls this compilation: what deliberation found is distilled into a policy that reacts (section 3.1.3). Several
agents may live one after another, each with what has been learnt by then; nothing they brought is forgotten. When the
first only plans and the later ones act by the policy for part of the time, this is DAgger (Ross and others, *A reduction of
imitation learning and structured prediction to no-regret online learning*, 2011): states that the policy's own mistakes
lead to are in the data too, with what the planner would have done there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode
from ami.errors import require
from ami.learning import checkpoint
from ami.learning.experience import SEED_RANGE
from ami.learning.stage import Stage
from ami.module import Module
from ami.rng import derive_seed

PORTS = {"state": "world_model.state", "goal": "goal.goal", "plan": "planner.plan"}
MODEL_STEPS = "planner.model_steps"
WATCH = (*PORTS.values(), MODEL_STEPS)
"""The ports an agent must be built to watch for its plans to be kept."""
WORLDS_AT_ONCE = 50

Expert = Callable[[Mapping[str, Mapping[str, Tensor]]], Agent]
"""Makes an agent that watches `WATCH`, with these weights by node."""


@dataclass(frozen=True)
class Plans:
    """M plans, each with what it was made from.

    Attributes:
        state: (M, *S).
        goal: (M, *S).
        plan: (M, H, A).
    """

    state: Tensor
    goal: Tensor
    plan: Tensor

    def draw(self, batch: int) -> dict[str, Tensor]:
        """N plans, with torch's global stream: "state" (N, *S), "goal" (N, *S), "plan" (N, H, A)."""
        index = torch.randint(len(self.plan), (batch,))
        return {name: getattr(self, name)[index] for name in PORTS}


class ExpertPlans:
    """The data of one stage that learns from plans: an agent of `stage.agents` lives whenever it is its turn.

    The steps of the stage are shared evenly among the agents. What each brought is kept in a file, so that learning which
    was killed goes on with the same plans.

    Args:
        stage: the stage.
        teachers: makes each agent that it names.
        modules: what learns; an agent lives with the weights of the moment.
        seed: the worlds' seeds derive from it.
        file_of: where what an agent lived is kept, by its number; the name holds the hash of what it depends on.
        on_lived: is told the stage's step and how many episodes are done.
    """

    def __init__(self, stage: Stage, teachers: Mapping[str, Expert], modules: Mapping[str, Module], seed: int,
                 file_of: Callable[[int], Path], on_lived: Callable[[int, int], None]) -> None:
        self.stage, self.teachers, self.modules, self.seed = stage, teachers, modules, seed
        self.file_of, self.on_lived = file_of, on_lived
        self._rounds: list[Plans] = []
        self._all: Plans | None = None

    def draw(self, step: int) -> dict[str, Tensor]:
        """A batch for a step of the stage, from all that was lived up to it."""
        due = 1 + step * len(self.stage.agents) // self.stage.steps
        if self._all is None or len(self._rounds) < due:
            while len(self._rounds) < due:
                self._rounds.append(self._round(len(self._rounds), step))
            self._all = Plans(*(torch.cat([getattr(one, name) for one in self._rounds]) for name in PORTS))
        return self._all.draw(self.stage.batch)

    def _round(self, number: int, step: int) -> Plans:
        file = self.file_of(number)
        if file.exists():
            return checkpoint.as_record(file, checkpoint.load(file)[0], Plans)
        name = self.stage.agents[number]
        weights = {node: module.state_dict() for node, module in self.modules.items()}
        with self.teachers[name](weights) as agent:
            numbers = range(number * self.stage.episodes, (number + 1) * self.stage.episodes)
            plans = live(agent, numbers, derive_seed(self.seed, "plans", self.stage.name),
                         lambda done: self.on_lived(step, numbers.start + done))
        _require_plans(plans, self.stage, name)
        checkpoint.save(file, vars(plans), {})
        return plans


def _require_plans(plans: Plans, stage: Stage, name: str) -> None:
    require(len(plans.plan) > 0, f"learning.stages.{stage.name}.agents names {name}, which never planned in "
                                 f"{stage.episodes} episodes. Fix: an agent in Mode-2, such as teacher")


def live(agent: Agent, numbers: range, seed: int, on_lived: Callable[[int], None]) -> Plans:
    """Let an agent live episodes as its world begins them, and keep every plan it made in a world that was not over.

    Args:
        agent: built to watch `WATCH`.
        numbers: of the episodes.
        seed: the worlds' seeds derive from it and the episode's number alone.
        on_lived: is told how many of them are done.
    """
    kept = _Kept()
    every = agent.graph.every[MODEL_STEPS.split(".")[0]]
    for wave, first in enumerate(range(0, len(numbers), WORLDS_AT_ONCE)):
        some = numbers[first:first + WORLDS_AT_ONCE]
        lives = agent.live([Episode(n, derive_seed(seed, n) % SEED_RANGE) for n in some], wave)
        for tick, moment in enumerate(lives):
            if tick % every == 0:  # in between the last plan arrives again, which was made for another state
                kept.add(moment)
        on_lived(first + len(some))
    return kept.plans()


def first_plans(agent: Agent, stage: Stage, name: str, seed: int, most_ticks: int = 200) -> Plans:
    """The first plans that an agent makes in a few episodes.

    Args:
        agent: built to watch `WATCH`.
        stage: which it lives for: so many episodes.
        name: the agent's, for messages.
        seed: of the worlds.
        most_ticks: after which it may never have planned: a gate may wait for long. Any message stands for a plan then.

    Raises:
        SettingError: it never planned in whole episodes.
    """
    kept, anything = _Kept(), _Kept()
    episodes = [Episode(n, derive_seed(seed, n) % SEED_RANGE) for n in range(stage.episodes)]
    for tick, moment in enumerate(agent.live(episodes)):
        anything.add(moment, all_rows=True)
        if kept.add(moment):
            return kept.plans()
        if tick == most_ticks:
            return anything.plans()
    _require_plans(kept.plans(), stage, name)
    return kept.plans()


class _Kept:
    """What is kept of an agent's life."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {name: [] for name in PORTS}

    def add(self, moment: Mapping[str, Tensor], all_rows: bool = False) -> int:
        """Keep the plans of a tick, of worlds that are not over; returns how many."""
        planned = (moment[MODEL_STEPS] > 0) & ~(moment["world.terminated"] | moment["world.truncated"])
        rows = torch.ones_like(planned) if all_rows else planned
        for name, port in PORTS.items():
            self._parts[name].append(moment[port][rows])
        return int(rows.sum())

    def plans(self) -> Plans:
        return Plans(*(torch.cat(parts) for parts in self._parts.values()))

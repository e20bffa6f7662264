"""Expert plans: states, goals and plans of a Mode-2 agent, distilled into a policy.

The paper calls this compilation: a reactive policy learns the planner's results (section 3.1.3). Several agents may run one
after another, each with the weights learnt so far; all their plans stay in the data. If the first only plans and the later
ones act by the policy part of the time, this is DAgger (Ross and others, *A reduction of imitation learning and structured
prediction to no-regret online learning*, 2011): the data include states that the policy's own mistakes lead to, each with
the planner's action there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, Planner
from ami.errors import require
from ami.graph.graph import Graph
from ami.learning import checkpoint
from ami.learning.collect import SEED_RANGE
from ami.learning.stage import Stage
from ami.module import Module
from ami.rng import derive_seed
from ami.rollout import Step, rollout

COLUMNS = ("state", "goal", "plan")
MODEL_STEPS = "model_steps"
WORLDS_AT_ONCE = 50

Expert = Callable[[Mapping[str, Mapping[str, Tensor]]], Agent]
"""Builds an agent that watches `planned_ports`, with these weights by node."""


def planned_ports(graph: Graph) -> dict[str, str]:
    """Return the ports to watch so that plans can be collected: the planner's state, goal, plan and model steps.

    Raises:
        GraphError: the graph does not have one planner.
    """
    planner = graph.the(Planner)
    read = {wire.to_port: f"{wire.node}.{wire.port}" for wire in graph.inputs[planner]}
    return {"state": read["state"], "goal": read["goal"],
            "plan": f"{planner}.plan", MODEL_STEPS: f"{planner}.{MODEL_STEPS}"}


@dataclass(frozen=True)
class Plans:
    """M plans, each with its state and goal.

    Attributes:
        state: (M, *S).
        goal: (M, *S).
        plan: (M, H, A).
    """

    state: Tensor
    goal: Tensor
    plan: Tensor

    def draw(self, batch: int) -> dict[str, Tensor]:
        """Draw N plans from torch's global stream: "state" (N, *S), "goal" (N, *S), "plan" (N, H, A)."""
        index = torch.randint(len(self.plan), (batch,))
        return {name: getattr(self, name)[index] for name in COLUMNS}


class ExpertPlans:
    """The data of one stage that learns from plans: each agent of `stage.agents` runs in its turn.

    The steps of the stage are shared evenly among the agents. Each agent's plans are stored in a file, so that training
    resumes with the same plans after a kill.

    Args:
        stage: the stage.
        teachers: the builder of each agent, by name.
        modules: the modules that learn; an agent runs with their current weights.
        seed: the worlds' seeds derive from it.
        file_of: the file of an agent's plans, by its index; the file's name holds the hash of its dependencies.
        on_episodes: called with the stage's step and the number of episodes done.
    """

    def __init__(self, stage: Stage, teachers: Mapping[str, Expert], modules: Mapping[str, Module], seed: int,
                 file_of: Callable[[int], Path], on_episodes: Callable[[int, int], None]) -> None:
        self.stage, self.teachers, self.modules, self.seed = stage, teachers, modules, seed
        self.file_of, self.on_episodes = file_of, on_episodes
        self._rounds: list[Plans] = []
        self._all: Plans | None = None

    def draw(self, step: int) -> dict[str, Tensor]:
        """Draw a batch for a step of the stage, from all plans collected so far."""
        due = 1 + step * len(self.stage.agents) // self.stage.steps
        if self._all is None or len(self._rounds) < due:
            while len(self._rounds) < due:
                self._rounds.append(self._round(len(self._rounds), step))
            self._all = Plans(*(torch.cat([getattr(one, name) for one in self._rounds]) for name in COLUMNS))
        return self._all.draw(self.stage.batch)

    def _round(self, number: int, step: int) -> Plans:
        file = self.file_of(number)
        if file.exists():
            return checkpoint.as_record(file, checkpoint.load(file)[0], Plans)
        name = self.stage.agents[number]
        weights = {node: module.state_dict() for node, module in self.modules.items()}
        with self.teachers[name](weights) as agent:
            numbers = range(number * self.stage.episodes, (number + 1) * self.stage.episodes)
            plans = run(agent, numbers, derive_seed(self.seed, "plans", self.stage.name),
                         lambda done: self.on_episodes(step, numbers.start + done))
        _require_plans(plans, self.stage, name)
        checkpoint.save(file, vars(plans), {})
        return plans


def _require_plans(plans: Plans, stage: Stage, name: str) -> None:
    require(len(plans.plan) > 0, f"learning.stages.{stage.name}.agents names {name}, which never planned in "
                                 f"{stage.episodes} episodes. Fix: an agent in Mode-2, such as teacher")


def run(agent: Agent, numbers: range, seed: int, on_episodes: Callable[[int], None]) -> Plans:
    """Run an agent and collect its plans, except those after the end of an episode.

    Args:
        agent: it must watch `planned_ports`.
        numbers: the episodes' numbers.
        seed: each world's seed derives from it and the episode's number alone.
        on_episodes: called with the number of episodes done.
    """
    kept, done = _Kept(agent.graph), 0
    for step in rollout(agent, _episodes(numbers, seed), WORLDS_AT_ONCE):
        kept.add(step)
        done += int(step.ended.sum())
        if not bool(step.continues.any()):
            on_episodes(done)
    return kept.plans()


def first_plans(agent: Agent, stage: Stage, name: str, seed: int, most_ticks: int = 200) -> Plans:
    """Return the first plans of an agent in a few episodes.

    Args:
        agent: it must watch `planned_ports`.
        stage: sets the number of episodes.
        name: the agent's name, for messages.
        seed: the worlds' seeds derive from it.
        most_ticks: the limit on ticks without a plan, as a gate may wait for long; any message then replaces a plan.

    Raises:
        SettingError: the agent never planned in whole episodes.
    """
    kept, anything = _Kept(agent.graph), _Kept(agent.graph)
    for tick, step in enumerate(rollout(agent, _episodes(range(stage.episodes), seed))):
        anything.add(step, every_row=True)
        if kept.add(step):
            return kept.plans()
        if tick == most_ticks:
            return anything.plans()
    _require_plans(kept.plans(), stage, name)
    return kept.plans()


def _episodes(numbers: range, seed: int) -> list[Episode]:
    return [Episode(n, derive_seed(seed, n) % SEED_RANGE) for n in numbers]


class _Kept:
    """Collects an agent's plans, tick by tick."""

    def __init__(self, graph: Graph) -> None:
        self._ports = planned_ports(graph)
        self._every = graph.every[graph.the(Planner)]
        self._parts: dict[str, list[Tensor]] = {name: [] for name in COLUMNS}

    def add(self, step: Step, every_row: bool = False) -> int:
        """Add the plans made at one tick in rows whose episode continues; return their number.

        A planner that did not fire repeats its last plan, which was made for another state.
        """
        planned = step.continues & (step.age % self._every == 0) & (step.outputs[self._ports[MODEL_STEPS]] > 0)
        rows = torch.ones_like(planned) if every_row else planned
        for name in COLUMNS:
            self._parts[name].append(step.outputs[self._ports[name]][rows])
        return int(rows.sum())

    def plans(self) -> Plans:
        return Plans(*(torch.cat(parts) for parts in self._parts.values()))

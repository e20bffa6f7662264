"""Expert plans: states, goals and plans of a Mode-2 agent, distilled into a policy.

The paper calls this compilation: a reactive policy learns the planner's results (section 3.1.3). Several agents may run one
after another, each with the weights learnt so far; all their plans stay in the data. If the first only plans and the later
ones act by the policy part of the time, this is DAgger (Ross and others, *A reduction of imitation learning and structured
prediction to no-regret online learning*, 2011): the data include states that the policy's own mistakes lead to, each with
the planner's action there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, Planner
from ami.errors import require
from ami.graph.graph import Graph
from ami.learning import checkpoint
from ami.learning.collect import SEED_RANGE
from ami.learning.sources.source import Draw, Source, Supply
from ami.rng import derive_seed
from ami.rollout import Step, rollout

COLUMNS = ("state", "goal", "plan")
MODEL_STEPS = "model_steps"
WORLDS_AT_ONCE = 50


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


class ExpertPlans(Source):
    """States, goals and plans, "state" (N, *S), "goal" (N, *S) and "plan" (N, H, A), of agents in Mode-2.

    Each agent runs in its turn, with the weights learnt so far; the steps of the stage are shared evenly among them. Its
    plans are stored in a file, so that training resumes with the same plans after a kill.

    Args:
        agents: the agents' names.
        episodes: the number of episodes of each agent.

    Raises:
        SettingError: a setting is out of its range; or, when a batch is drawn, an agent never planned.
    """

    made_by = "the agents of the stage computed it"

    def __init__(self, agents: Sequence[str] = ("teacher", "apprentice"), episodes: int = 400) -> None:
        require(len(agents) > 0 and all(isinstance(name, str) for name in agents),
                f"ExpertPlans.agents is {list(agents)}: expected one or more names, such as [teacher]")
        require(episodes >= 1, f"ExpertPlans.episodes is {episodes}: expected 1 or more")
        self.agents, self.episodes = tuple(agents), episodes

    def open(self, supply: Supply) -> Draw:
        self.check_agents(supply)
        return _Growing(self, supply).draw

    def shrunk(self, longest: int, episodes: int) -> Self:
        return type(self)(self.agents, min(self.episodes, episodes))


class _Growing:
    """The plans of one round: those of a further agent are added when its share of the steps begins."""

    def __init__(self, source: ExpertPlans, supply: Supply) -> None:
        self.source, self.supply = source, supply
        self._parts: list[Plans] = []
        self._all: Plans | None = None

    def draw(self, step: int) -> dict[str, Tensor]:
        due = 1 + step * len(self.source.agents) // self.supply.steps
        if self._all is None or len(self._parts) < due:
            while len(self._parts) < due:
                self._parts.append(self._part(len(self._parts), step))
            self._all = Plans(*(torch.cat([getattr(one, name) for one in self._parts]) for name in COLUMNS))
        return self._all.draw(self.supply.batch)

    def _part(self, number: int, step: int) -> Plans:
        supply, episodes, file = self.supply, self.source.episodes, self.supply.file_of(number)
        if file.exists():
            return checkpoint.as_record(file, checkpoint.load(file)[0], Plans)
        name = self.source.agents[number]
        with supply.experts[name](supply.weights, lambda graph: planned_ports(graph).values()) as agent:
            numbers = range(number * episodes, (number + 1) * episodes)
            plans = run(agent, numbers, derive_seed(supply.seed, "plans", supply.stage),
                        lambda done: supply.on_episodes(step, numbers.start + done))
        _require_plans(plans, supply.stage, name, episodes)
        checkpoint.save(file, vars(plans), {})
        return plans


def _require_plans(plans: Plans, stage: str, name: str, episodes: int) -> None:
    require(len(plans.plan) > 0, f"learning.stages.{stage}.source.agents names {name}, which never planned in "
                                 f"{episodes} episodes. Fix: an agent in Mode-2, such as teacher")


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


def first_plans(agent: Agent, episodes: int, stage: str, name: str, seed: int, most_ticks: int = 200) -> Plans:
    """Return the first plans of an agent in a few episodes.

    Args:
        agent: it must watch `planned_ports`.
        episodes: the number of episodes.
        stage, name: the names of the stage and of the agent, for messages.
        seed: the worlds' seeds derive from it.
        most_ticks: the limit on ticks without a plan, as a gate may wait for long; any message then replaces a plan.

    Raises:
        SettingError: the agent never planned in whole episodes.
    """
    kept, anything = _Kept(agent.graph), _Kept(agent.graph)
    for tick, step in enumerate(rollout(agent, _episodes(range(episodes), seed))):
        anything.add(step, every_row=True)
        if kept.add(step):
            return kept.plans()
        if tick == most_ticks:
            return anything.plans()
    _require_plans(kept.plans(), stage, name, episodes)
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

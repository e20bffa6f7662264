"""Dry run: two steps of every learning stage on a few short episodes, with modules that are discarded afterwards.

Faults that would otherwise stop learning after minutes are raised at once. The measured sizes and durations are checked
against the available memory and time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ami.blueprint import CriticTerm
from ami.data.replay_buffer import OBSERVATION, ReplayBuffer
from ami.learning import checkpoint
from ami.learning.cache import Cache
from ami.learning.probe import probe_modules
from ami.learning.schedule import Phase
from ami.learning.sources.expert_plans import ExpertPlans, first_plans, planned_ports
from ami.learning.sources.source import Expert
from ami.learning.stage import Stage
from ami.learning.stage_run import Row
from ami.learning.trainer import Trainer
from ami.module import Module
from ami.runtime.worker import Worker
from ami.session.experience import little_acting, little_experience
from ami.session.plan import TrainingPlan
from ami.storage.limits import check_memory, check_space, check_time

EPISODES, TICKS, BATCH, STEPS = 4, 16, 8, 2
FLOAT = 4
"""Bytes per number: modules compute in float32, whatever the dtype of the world's pictures."""


@dataclass
class _Watch:
    """Records when each step of each stage ended."""

    moments: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, stage: Stage, step: int, row: Row | None) -> None:
        if row is None or "episodes" not in row:
            self.moments.setdefault(stage.name, []).append(time.perf_counter())

    def pace(self, stage: Stage) -> float:
        """Return the shortest time between two steps, in seconds."""
        done = self.moments.get(stage.name, [])
        return min((after - before for before, after in pairwise(done)), default=0.0)


def dry_run(plan: TrainingPlan, experts: dict[str, Expert]) -> list[str]:
    """Run every stage of a plan for a few steps.

    Args:
        plan: the training plan.
        experts: functions that build the expert agents, by name.

    Returns:
        Warnings about work that takes more than a day.

    Raises:
        SettingError: a stage cannot learn, or needs more memory or time than available; names the stage.
        GraphError, PortError, UnknownName: an agent that collects its data cannot run.
    """
    seed = plan.config.settings.seed
    with TemporaryDirectory(prefix="ami-dry-run-") as place, torch.random.fork_rng(devices=[]):
        longest = max((stage.data.length for stage in plan.stages), default=1)
        experience, tick = little_experience(plan, EPISODES, max(longest, TICKS))
        warnings = [*_of_collecting(plan, experience, tick), *_of_acting(plan, experience)]
        modules = Worker(plan.graph.on_cpu(), plan.nodes, seed, plan.initial.weights, learning=True).modules
        _check_memory(plan, experience, modules)
        probe_modules(modules, experience)
        cache, watch = Cache(Path(place)), _Watch()
        phases = [Phase(f"{number}", 0, tuple(_shrunk(stage, experience) for stage in stages), plan.nodes)
                  for number, stages in enumerate(plan.at_once)]
        for phase in phases:
            _keep_plans(phase, experts, modules, seed, cache)
        trainer = Trainer(modules, [Phase("experience", 0), *phases], seed, cache, save_every=STEPS + 1, on_step=watch,
                          experts=experts, graph=plan.graph)
        trainer.learn(lambda phase: (experience, 0.0, False))
        probe_modules(modules, experience)
        warnings += _of_stages(plan, watch)
    return warnings


def step_seconds(plan: TrainingPlan, experts: dict[str, Expert], steps: int) -> float:
    """Return the shortest duration of a step of the first stage, of its real batch on a few short episodes.

    Args:
        plan: the training plan.
        experts: functions that build the expert agents, by name.
        steps: number of steps, 2 or more.

    Raises as `dry_run` does.
    """
    seed, stage = plan.config.settings.seed, plan.stages[0]
    with TemporaryDirectory(prefix="ami-threads-") as place, torch.random.fork_rng(devices=[]):
        experience, _ = little_experience(plan, EPISODES, max(stage.data.length, TICKS))
        modules = Worker(plan.graph.on_cpu(), plan.nodes, seed, plan.initial.weights, learning=True).modules
        _check_memory(plan, experience, modules)
        cache, watch = Cache(Path(place)), _Watch()
        few = replace(_shrunk(stage, experience), steps=max(steps, len(stage.data.agents)), batch=stage.batch)
        phase = Phase("first", 0, (few,), plan.nodes)
        _keep_plans(phase, experts, modules, seed, cache)
        Trainer(modules, [Phase("experience", 0), phase], seed, cache, save_every=few.steps + 1, on_step=watch,
                experts=experts, graph=plan.graph).learn(lambda phase: (experience, 0.0, False))
    return watch.pace(few)


def _shrunk(stage: Stage, experience: ReplayBuffer) -> Stage:
    """Return the stage with few steps, small batches, and windows no longer than the longest collected episode."""
    return replace(stage, steps=max(STEPS, len(stage.data.agents)), batch=min(stage.batch, BATCH),
                   data=stage.data.shrunk(int(experience.steps.max()), EPISODES))


def _keep_plans(phase: Phase, experts: dict[str, Expert], modules: dict[str, Module], seed: int, cache: Cache) -> None:
    """Save the first plans of each stage's expert agents where the stage expects the plans of whole episodes."""
    weights = {node: dict(module.state_dict()) for node, module in modules.items()}
    for stage in phase.stages:
        if isinstance(stage.data, ExpertPlans):
            for number, name in enumerate(stage.data.agents):
                with experts[name](weights, lambda graph: planned_ports(graph).values()) as agent:
                    plans = first_plans(agent, stage.data.episodes, stage.name, name, seed)
                checkpoint.save(cache.file(f"{phase.name}.{stage.name}-{number}"), vars(plans), {})


def _of_collecting(plan: TrainingPlan, experience: ReplayBuffer, tick: float) -> Iterator[str]:
    """Check the configured amount of experience against memory, disk and time."""
    if plan.data is not None:
        return
    how = plan.config.settings.learning.collect
    frame = sum(column.row_bytes for column in experience.columns.values())
    check_space("learning.collect.episodes", how.episodes, plan.rounds * how.episodes * (how.steps + 1) * frame,
                plan.config.settings.store, "fewer episodes, or fewer learning.collect.steps")
    together = min(how.batch, how.episodes)
    check_memory("learning.collect.batch", how.batch, together * math.prod(experience.columns[OBSERVATION].shape) * FLOAT,
                 "a smaller batch")
    waves = plan.rounds * math.ceil(how.episodes / how.batch)
    warning = check_time("learning.collect.episodes", how.episodes, waves * (how.steps + 1) * tick,
                         "fewer episodes, or fewer learning.collect.steps")
    if warning:
        yield warning


def _of_acting(plan: TrainingPlan, experience: ReplayBuffer) -> Iterator[str]:
    """Check the agent that acts while it learns, and its amount of experience against disk and time."""
    if plan.online is None:
        return
    longest, frame = plan.config.settings.learning.collect.steps, sum(one.row_bytes for one in experience.columns.values())
    _, tick = little_acting(plan, plan.learner, EPISODES, TICKS)
    waves = math.ceil(plan.steps / plan.online.replay_ratio / longest / plan.online.batch)
    name, ratio = "learning.online.replay_ratio", plan.online.replay_ratio
    fix = "a larger ratio, or fewer steps of its stages"
    check_space(name, ratio, waves * plan.online.batch * (longest + 1) * frame, plan.config.settings.store, fix)
    warning = check_time(name, ratio, waves * (longest + 1) * tick, fix)
    if warning:
        yield warning


def _check_memory(plan: TrainingPlan, experience: ReplayBuffer, modules: Mapping[str, Module]) -> None:
    """Check the batch of every stage against memory."""
    how = plan.config.settings.learning.get("collect")
    steps = plan.rounds * how.episodes * how.steps if plan.data is None else int(experience.steps.sum())
    sizes = [dims.get("S") for dims in plan.graph.dims.values()]
    state = next((math.prod(size) for size in sizes if isinstance(size, tuple)), 1)
    bytes_of = {"observation": math.prod(experience.columns[OBSERVATION].shape) * FLOAT, "state": state * FLOAT,
                "steps": steps}
    for stage in plan.stages:
        pairs = any("pairs" in part.needs for part in modules[stage.learner].modules() if isinstance(part, CriticTerm))
        for setting, needed in stage.data.bytes_of(stage.batch, bytes_of, pairs).items():
            given = getattr(stage, setting, None) or getattr(stage.data, setting.rpartition(".")[2])
            where = f"learning.stages.{stage.name}.{setting}"
            if setting == "batch":
                check_memory(where, given, needed, "a smaller number")
            else:  # what is kept beside the experience
                check_space(where, given, needed, plan.config.settings.store, "a smaller number")


def _of_stages(plan: TrainingPlan, watch: _Watch) -> Iterator[str]:
    """Check the number of steps of every stage against time."""
    for stage in plan.stages:
        warning = check_time(f"learning.stages.{stage.name}.steps", stage.steps,
                             plan.rounds * stage.steps * watch.pace(stage), "fewer steps")
        if warning:
            yield warning

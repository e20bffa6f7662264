"""The trainer: one loop for all modules with a `loss(batch)`.

Every phase of the schedule has a key, the hash of its dependencies; a result stored under the same key is loaded instead of
computed. A progress file holds the state of a running phase (weights, optimisers, random state, steps), so that a killed
training resumes to bit-identical weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from ami.data.replay_buffer import REWARD, ReplayBuffer, joined
from ami.data.scratch import Scratch
from ami.graph.graph import Graph
from ami.learning import checkpoint
from ami.learning.cache import Cache
from ami.learning.online import Acting
from ami.learning.schedule import Phase, due
from ami.learning.sources.source import Expert, Supply, weights_of
from ami.learning.stage import Stage, check_modules
from ami.learning.stage_run import Row, StageRun
from ami.module import LEARNING_STATE, Module
from ami.rng import derive_seed
from ami.runtime.held_modules import Weights

COLLECT = "collect"
"""The "stage" of those rows of the learning curve that describe collected episodes: of a round, or acted while learning."""
OPTIMISER = "optimiser."
"""The prefix, in a file of weights by node, of the state of a stage's optimiser."""
RANDOM = "random"


@dataclass
class TrainingProgress:
    """The progress of a training.

    Attributes:
        rows: the logged figures, one dict per logged step with "stage" and "step".
        seconds: the computing time of all phases, including the original time of loaded ones and excluding unsaved work of a
            killed training.
        found: the phases loaded from the cache.
        found_seconds: the computing time of the loaded phases.
        resumed: whether a phase was resumed from a progress file.
    """

    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    found: list[Phase] = field(default_factory=list)
    found_seconds: float = 0.0
    resumed: bool = False


Collector = Callable[[Phase], tuple[ReplayBuffer, float, bool]]
"""Returns the experience of a phase, the seconds of its collection, and whether it was loaded from the cache."""
OnStep = Callable[[Stage, int, Row | None], None]
Begin = Callable[[Phase, ReplayBuffer, Weights], AbstractContextManager[Acting]]
"""Begins to act in a phase, given the experience that it begins with and the weights by node."""


class Trainer:
    """Runs a schedule over the modules of one agent.

    Args:
        modules: the modules, bound to each other (see `ami.runtime.worker.Worker`).
        schedule: the phases in order; a round begins with its experience.
        seed: the random numbers of a phase derive from it, the stages' names and the round.
        cache: holds finished phases, and the progress of the running one.
        save_every: steps between two saves.
        on_step: called at every step, with figures if they are logged.
        experts: functions that build the expert agents, by name, for stages that learn from plans.
        memory: bytes in memory of what sources compute from all experience; beyond it, it is in files of the cache.
        capacity: the largest number of observations to learn from; the oldest episodes are left out.
        fresh: whether every round begins with fresh optimisers, schedulers and target networks.
        graph: the agent's graph, for stages that unroll nodes.
        given: frozen nodes with given weights, which keep their statistics too.
        act: begins to act, for phases that do.

    Attributes:
        on_known: called with each logged row of a loaded or resumed phase, and of collected episodes.
    """

    def __init__(self, modules: Mapping[str, Module], schedule: Sequence[Phase], seed: int, cache: Cache, save_every: int,
                 on_step: OnStep = lambda stage, step, row: None, experts: Mapping[str, Expert] | None = None,
                 fresh: bool = True, graph: Graph | None = None, memory: float = math.inf,
                 capacity: int | None = None, given: Collection[str] = (), act: Begin | None = None) -> None:
        self.modules, self.graph, self.schedule, self.seed, self.fresh = modules, graph, list(schedule), seed, fresh
        self.memory, self.capacity = memory, capacity
        self.cache, self.save_every, self.on_step, self.experts = cache, save_every, on_step, experts or {}
        self.on_known: Callable[[Row], None] = lambda row: None
        self._runs: dict[str, StageRun] = {}
        self._given, self._act = frozenset(given), act
        for stage in {stage.name: stage for phase in self.schedule for stage in phase.stages}.values():
            check_modules(stage, modules)

    def learn(self, collected: Collector) -> TrainingProgress:
        """Run the schedule; resume from the cache and the progress of a killed training.

        Args:
            collected: returns the experience of a round; called once per round, in order.
        """
        progress = TrainingProgress()
        rounds: list[ReplayBuffer] = []
        experience: ReplayBuffer | None = None
        with _own_random_state():
            for phase in self.schedule:
                if not phase.stages:
                    rounds.append(self._collect(progress, phase, collected))
                    experience = joined(rounds, self.capacity)
                    self._fit_statistics(experience)
                    continue
                if experience is None:
                    raise ValueError("a schedule begins with experience: expected its first phase without stages")
                if not self._find(progress, phase):
                    with self._acting(phase, experience) as acting:
                        self._run(progress, phase, experience, acting)
                if self.fresh:
                    self._forget_runs()
        self._forget_runs()
        for module in self.modules.values():
            module.requires_grad_(False).eval()
        return progress

    def _collect(self, progress: TrainingProgress, phase: Phase, collected: Collector) -> ReplayBuffer:
        """Return one round's experience; with several rounds, add its mean return to the learning curve."""
        for module in self.modules.values():
            module.eval()
        experience, seconds, found = collected(phase)
        self._account(progress, phase, seconds, found)
        if any(other.round for other in self.schedule):
            progress.rows.append({"stage": COLLECT, "step": float(phase.round), "return": experience.mean_return,
                                  "steps": float(experience.steps.float().mean())})
            self.on_known(progress.rows[-1])
        return experience

    def _fit_statistics(self, experience: ReplayBuffer) -> None:
        """Let every module fit its statistics to all experience, before a round learns from it."""
        batch = {"observation": cast(Tensor, experience.observations()), "last": experience.lasts()}
        if REWARD in experience.columns:
            batch["reward"] = experience.arrived(REWARD)
        for node, module in self.modules.items():
            if node not in self._given:
                module.fit_statistics(batch)

    def _account(self, progress: TrainingProgress, phase: Phase, seconds: float, found: bool) -> None:
        progress.seconds += seconds
        if found:
            progress.found.append(phase)
            progress.found_seconds += seconds

    # One phase -------------------------------------------------------------------------------------------------------

    def _find(self, progress: TrainingProgress, phase: Phase) -> bool:
        """Load the phase's weights and rows from the cache; return whether they were found."""
        kept = self.cache.find(phase.name)
        if kept is None:
            return False
        tensors, notes = kept
        if not self.fresh:
            self._load_runs(self._begin(phase), tensors, notes)
        self._load_weights(tensors)
        progress.rows += notes["rows"]
        for row in notes["rows"]:
            self.on_known(row)
        self._account(progress, phase, notes["seconds"], True)
        return True

    def _acting(self, phase: Phase, experience: ReplayBuffer) -> AbstractContextManager[Acting | None]:
        assert self._act is not None or not phase.acts
        return self._act(phase, experience, weights_of(self.modules)) if self._act and phase.acts else nullcontext()

    def _run(self, progress: TrainingProgress, phase: Phase, experience: ReplayBuffer, acting: Acting | None) -> None:
        saved = self.cache.find(f"{phase.name}.progress")
        if saved is not None and acting is not None and not acting.acted.holds(saved[1]["acting"]):
            saved = None
        rows: list[Row] = list(saved[1]["rows"]) if saved else []
        for row in rows:
            self.on_known(row)
        progress.resumed |= saved is not None
        started = time.perf_counter() - (saved[1]["seconds"] if saved else 0.0)
        names = "+".join(stage.name for stage in phase.stages)
        torch.manual_seed(derive_seed(self.seed, "learning", names, *([phase.round] if phase.round else [])))
        runs = self._begin(phase)
        # sources compute with the weights of the phase's beginning, also when it is resumed; or of the last new experience
        scratch = self._open(phase, runs, experience) if acting is None else None
        if saved is not None:
            self._load_weights(saved[0])
            self._load_runs(runs, *saved)
            torch.set_rng_state(saved[0][RANDOM])
        if acting is not None:
            acting.acted.begin(saved[1]["acting"] if saved is not None else None)
        total = sum(stage.steps for stage in phase.stages)
        done = kept = sum(run.step for run in runs.values())

        def save() -> None:
            tensors, notes = self._state(list(self.modules), runs, rows, time.perf_counter() - started)
            checkpoint.save(self.cache.file(f"{phase.name}.progress"), tensors,
                            notes if acting is None else {**notes, "acting": acting.acted.state()})

        learning: str | None = None
        for stage in due(phase.stages, done):
            while acting is not None and acting.advance(done, lambda: weights_of(self.modules)):
                rows.append({"stage": COLLECT, **acting.acted.figures(done)})
                self.on_known(rows[-1])
                if scratch is not None:
                    scratch.close()  # now: the next one has the same folder
                scratch = None
                if done - kept >= self.save_every:
                    save()
                    kept = done
            run = runs[stage.name]
            if acting is not None and scratch is None:
                self._fit_statistics(acting.acted.experience)
                scratch, learning = self._open(phase, runs, acting.acted.experience), None
            if learning != stage.name:
                run.thaw()
            learning, figures = stage.name, run.update()
            done += 1
            if figures is not None:
                rows.append(figures)
            self.on_step(stage, run.step, figures)
            if acting is None and done % self.save_every == 0 and done < total:
                save()
        if scratch is not None:
            scratch.close()
        seconds = time.perf_counter() - started
        if self.fresh:
            self._forget_runs()
        progress.rows += rows
        self._account(progress, phase, seconds, False)
        self.cache.keep(phase.name, *self._state(phase.nodes, {} if self.fresh else runs, rows, seconds))
        self.cache.forget(f"{phase.name}.")

    def _open(self, phase: Phase, runs: Mapping[str, StageRun], experience: ReplayBuffer) -> Scratch:
        """Prepare the data of all stages of a phase; return what holds them."""
        scratch = Scratch(self.memory, self.cache.spill(phase.name))
        for stage in phase.stages:
            runs[stage.name].thaw()
            runs[stage.name].open(self._supply(phase, stage, experience, scratch))
        return scratch

    def _begin(self, phase: Phase) -> dict[str, StageRun]:
        """Return the runs of a phase's stages; create missing ones. With `fresh=False` those of earlier rounds continue."""
        for stage in phase.stages:
            if stage.name not in self._runs:
                self.modules[stage.learner].begin_learning()
                self._runs[stage.name] = StageRun(stage, self.modules, self.graph)
            self._runs[stage.name].begin()
        return {stage.name: self._runs[stage.name] for stage in phase.stages}

    def _forget_runs(self) -> None:
        """Drop optimisers, and the state that `begin_learning` created, such as target networks."""
        self._runs.clear()
        for module in self.modules.values():
            for part in list(module.modules()):
                if LEARNING_STATE in part._modules:
                    delattr(part, LEARNING_STATE)

    def _supply(self, phase: Phase, stage: Stage, experience: ReplayBuffer, scratch: Scratch) -> Supply:
        def on_episodes(step: int, episodes: int) -> None:
            self.on_step(stage, step, {"stage": stage.name, "step": float(step), "episodes": float(episodes)})

        trained = tuple(path.split(".")[0] for one in phase.stages for path in one.train)
        return Supply(stage.name, stage.batch, stage.steps, experience, self.modules, trained, self.seed, self.experts,
                      scratch, lambda number: self.cache.file(f"{phase.name}.{stage.name}-{number}"), on_episodes)

    # The progress file -----------------------------------------------------------------------------------------------

    def _state(self, nodes: Sequence[str], runs: Mapping[str, StageRun], rows: list[Row],
               seconds: float) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and notes: the weights of some nodes, and the state of some runs."""
        tensors = {node: dict(self.modules[node].state_dict()) for node in nodes}
        plain: dict[str, Any] = {}
        for stage, run in runs.items():
            tensors[f"{OPTIMISER}{stage}"], plain[stage] = run.state()
        return ({**checkpoint.flat(tensors), RANDOM: torch.get_rng_state()},
                {"seconds": seconds, "rows": rows, "runs": plain})

    def _load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        for node, state in checkpoint.by_node(tensors).items():
            if node in self.modules:
                self.modules[node].load_state_dict(state)

    def _load_runs(self, runs: Mapping[str, StageRun], tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        nodes = checkpoint.by_node(tensors)
        for stage, run in runs.items():
            run.load_state(nodes.get(f"{OPTIMISER}{stage}", {}), notes["runs"][stage])


@contextmanager
def _own_random_state() -> Iterator[None]:
    """Restore torch's global random state after learning. Losses draw from it, so that modules need no generator."""
    with torch.random.fork_rng(devices=[]):
        yield

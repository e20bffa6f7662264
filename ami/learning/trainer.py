"""The trainer: one loop for all modules with a `loss(batch)`.

Learning is a schedule of steps: experience is collected, then stages learn from it. Each step has a key, the hash of its
dependencies; a result stored under the same key is loaded instead of computed. A progress file holds the state of a running
stage (weights, optimiser, random state, step), so that a killed training resumes to bit-identical weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ami.data.replay_buffer import OBSERVATION, REWARD, ReplayBuffer, joined
from ami.errors import AmiError, SettingError, unknown_name
from ami.learning import checkpoint
from ami.learning.cache import Cache
from ami.learning.divergence import not_finite
from ami.learning.expert_plans import Expert, ExpertPlans
from ami.learning.sources import MADE_OF, Draw, memory, windows
from ami.learning.stage import Stage, specs_of
from ami.module import Module
from ami.rng import derive_seed
from ami.storage.limits import is_out_of_memory

LOG_EVERY = 20
COLLECT = "collect"
"""The "stage" of those rows of the learning curve that describe a round's collected episodes."""
LEARNING_STATE = "learning_state"
Row = dict[str, float | str]


class Step(NamedTuple):
    """One step of the schedule: a collection of experience, or a stage.

    Attributes:
        key: the hash of its dependencies.
        round: the round's index, from 0; a round runs all stages once.
        stage: the stage that learns; None for the collection of the round's experience.
        nodes: the nodes whose weights the cache stores for the stage.
    """

    key: str
    round: int
    stage: Stage | None = None
    nodes: tuple[str, ...] = ()


@dataclass
class TrainingProgress:
    """The progress of a training.

    Attributes:
        rows: the logged figures, one dict per logged step with "stage" and "step".
        seconds: the computing time of all steps, including the original time of loaded ones and excluding unsaved work of a
            killed training.
        found: the steps loaded from the cache.
        found_seconds: the computing time of the loaded steps.
        resumed: whether a stage was resumed from a progress file.
    """

    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    found: list[Step] = field(default_factory=list)
    found_seconds: float = 0.0
    resumed: bool = False


@dataclass
class _Running:
    """A running stage: its next step, and its seconds and rows so far."""

    step: int = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)


Collector = Callable[[Step], tuple[ReplayBuffer, float, bool]]
"""Returns the experience of a step, the seconds of its collection, and whether it was loaded from the cache."""
OnStep = Callable[[Stage, int, Row | None], None]


class Trainer:
    """Runs a schedule over the modules of one agent.

    Args:
        modules: the modules, bound to each other (see `ami.runtime.worker.Worker`).
        schedule: the steps in order; a round begins with its experience.
        seed: the random numbers of a stage derive from it, the stage's name and the round.
        cache: holds finished stages, and the progress of the running one.
        save_every: steps between two saves.
        on_step: called at every step, with figures if they are logged.
        teachers: functions that build the expert agents, by name, for stages that learn from plans.

    Attributes:
        on_known: called with each logged row of a loaded or resumed stage, and of a round's collection.
    """

    def __init__(self, modules: Mapping[str, Module], schedule: Sequence[Step], seed: int, cache: Cache, save_every: int,
                 on_step: OnStep = lambda stage, step, row: None, teachers: Mapping[str, Expert] | None = None) -> None:
        self.teachers = teachers or {}
        self.modules, self.schedule, self.seed = modules, list(schedule), seed
        self.cache, self.save_every, self.on_step = cache, save_every, on_step
        self.on_known: Callable[[Row], None] = lambda row: None
        for step in self.schedule:
            if step.stage is not None:
                _check(step.stage, modules)

    def learn(self, collected: Collector) -> TrainingProgress:
        """Run the schedule; resume from the cache and the progress of a killed training.

        Args:
            collected: returns the experience of a round; called once per round, in order.
        """
        progress = TrainingProgress()
        rounds: list[ReplayBuffer] = []
        experience: ReplayBuffer | None = None
        with _own_random_state():
            for step in self.schedule:
                if step.stage is None:
                    rounds.append(self._collect(progress, step, collected))
                    experience = joined(rounds)
                    self._fit_statistics(experience)
                    continue
                if experience is None:
                    raise ValueError("a schedule begins with experience: expected its first step without a stage")
                if not self._find(progress, step):
                    self._run_stage(progress, step, step.stage, experience)
        for module in self.modules.values():
            module.requires_grad_(False).eval()
        return progress

    def _collect(self, progress: TrainingProgress, step: Step, collected: Collector) -> ReplayBuffer:
        """Return one round's experience; with several rounds, add its mean return to the learning curve."""
        for module in self.modules.values():
            module.eval()
        experience, seconds, found = collected(step)
        self._account(progress, step, seconds, found)
        if any(other.round for other in self.schedule):
            progress.rows.append({"stage": COLLECT, "step": float(step.round), "return": experience.mean_return,
                                  "steps": float(experience.steps.float().mean())})
            self.on_known(progress.rows[-1])
        return experience

    def _fit_statistics(self, experience: ReplayBuffer) -> None:
        """Call `fit_statistics` of the modules that have it with all experience, before a round learns from it."""
        batch = {"observation": experience.column(OBSERVATION), "last": experience.lasts()}
        if REWARD in experience.columns:
            batch["reward"] = experience.arrived(REWARD)
        for module in self.modules.values():
            self._call_hook(module, "fit_statistics", batch)

    def _account(self, progress: TrainingProgress, step: Step, seconds: float, found: bool) -> None:
        progress.seconds += seconds
        if found:
            progress.found.append(step)
            progress.found_seconds += seconds

    # One stage -------------------------------------------------------------------------------------------------------

    def _find(self, progress: TrainingProgress, step: Step) -> bool:
        """Load the stage's weights and rows from the cache; return whether they were found."""
        kept = self.cache.find(stage_name(step))
        if kept is None:
            return False
        tensors, notes = kept
        self._load_weights(tensors)
        progress.rows += notes["rows"]
        for row in notes["rows"]:
            self.on_known(row)
        self._account(progress, step, notes["seconds"], True)
        return True

    def _run_stage(self, progress: TrainingProgress, step: Step, stage: Stage, experience: ReplayBuffer) -> None:
        running, saved = _Running(), self._progress(step)
        if saved is not None:
            notes = saved[1]
            running = _Running(notes["step"], notes["seconds"], notes["rows"])
            for row in notes["rows"]:
                self.on_known(row)
            progress.resumed = True
        started = time.perf_counter() - running.seconds
        learner = self.modules[stage.loss]
        torch.manual_seed(derive_seed(self.seed, "learning", stage.name, *([step.round] if step.round else [])))
        parameters = self._free(stage)
        self._call_hook(learner, "begin_learning")
        optimiser = torch.optim.AdamW(parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay, fused=True)
        if saved is not None:
            self._load_weights(saved[0])
        with _faults_named(stage, learner, running):
            draw = self._source(step, stage, experience)
        if saved is not None:
            self._load_optimiser(saved[0], optimiser)
            torch.set_rng_state(saved[0]["random"])
        while running.step < stage.steps:
            with _faults_named(stage, learner, running):
                row = self._step(stage, running.step, learner, parameters, optimiser, draw)
            running.step += 1
            running.seconds = time.perf_counter() - started
            if row is not None:
                running.rows.append(row)
            self.on_step(stage, running.step, row)
            if running.step % self.save_every == 0 and running.step < stage.steps:
                self._save(step, running, optimiser)
        running.seconds = time.perf_counter() - started
        self._drop_learning_state()
        progress.rows += running.rows
        self._account(progress, step, running.seconds, False)
        self.cache.keep(stage_name(step), checkpoint.flat({node: self.modules[node].state_dict() for node in step.nodes}),
                        {"stage": stage.name, "seconds": running.seconds, "rows": running.rows})
        self.cache.forget(f"{stage_name(step)}.")

    def _call_hook(self, learner: Module, hook: str, *arguments: Any) -> None:
        """Call an optional hook of a module."""
        if hasattr(learner, hook):
            getattr(learner, hook)(*arguments)

    def _drop_learning_state(self) -> None:
        """Delete the state that `begin_learning` created, such as target networks: only one stage needs it."""
        for module in self.modules.values():
            for part in list(module.modules()):
                if LEARNING_STATE in part._modules:
                    delattr(part, LEARNING_STATE)

    def _step(self, stage: Stage, step: int, learner: Any, parameters: list[nn.Parameter],
              optimiser: torch.optim.Optimizer, draw: Draw) -> Row | None:
        for group in optimiser.param_groups:
            group["lr"] = stage.rate(step)
        batch = draw(step)
        try:
            loss, figures = learner.loss(batch)
        except KeyError as error:
            other = [data for data, names in MADE_OF.items() if error.args[0] in names and error.args[0] not in batch]
            if not other:
                raise
            raise SettingError(f"learning.stages.{stage.name}.data is {stage.data}, which holds {', '.join(batch)}: the "
                               f"loss of {stage.loss} needs {error}. Fix: data={other[0]}, or another loss") from None
        if not bool(loss.isfinite()):
            raise not_finite(stage, step, loss, batch, self.modules)
        optimiser.zero_grad()
        loss.backward()
        if stage.clip:
            nn.utils.clip_grad_norm_(parameters, stage.clip)
        optimiser.step()
        self._call_hook(learner, "after_step", step, stage.steps)
        if step % LOG_EVERY and step + 1 < stage.steps:
            return None
        return {"stage": stage.name, "step": float(step), "loss": float(loss.detach()),
                **{name: float(figure) for name, figure in figures.items()}}

    def _free(self, stage: Stage) -> list[nn.Parameter]:
        """Freeze all modules but the stage's; return the trainable parameters, each once."""
        for module in self.modules.values():
            module.requires_grad_(False).eval()
        parameters: dict[int, nn.Parameter] = {}
        for part in specs_of(stage, self.modules).values():
            part.requires_grad_(True).train()
            parameters |= {id(parameter): parameter for parameter in part.parameters()}
        return list(parameters.values())

    def _source(self, step: Step, stage: Stage, experience: ReplayBuffer) -> Draw:
        if stage.data == "memory":
            return memory(stage, experience, self.modules)
        if stage.data == "experience":
            return windows(stage, experience)

        def on_episodes(at: int, episodes: int) -> None:
            self.on_step(stage, at, {"stage": stage.name, "step": float(at), "episodes": float(episodes)})

        return ExpertPlans(stage, self.teachers, self.modules, self.seed,
                       lambda number: self.cache.file(f"{stage_name(step)}.plans-{number}"), on_episodes).draw

    # The progress file -----------------------------------------------------------------------------------------------

    def _save(self, step: Step, running: _Running, optimiser: torch.optim.Optimizer) -> None:
        tensors = checkpoint.flat({node: module.state_dict() for node, module in self.modules.items()})
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}.{name}": value for name, value in state.items()}
        tensors["random"] = torch.get_rng_state()
        checkpoint.save(self.cache.file(f"{stage_name(step)}.progress"), tensors,
                        {"step": running.step, "seconds": running.seconds, "rows": running.rows})

    def _progress(self, step: Step) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        return self.cache.find(f"{stage_name(step)}.progress")

    def _load_weights(self, tensors: Mapping[str, Tensor]) -> None:
        for node, state in checkpoint.by_node(tensors).items():
            if node in self.modules:
                self.modules[node].load_state_dict(state)

    def _load_optimiser(self, tensors: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in checkpoint.by_node(tensors)["optimiser"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _check(stage: Stage, modules: Mapping[str, Module]) -> None:
    specs_of(stage, modules)
    if stage.loss not in modules:
        raise unknown_name(f"node in learning.stages.{stage.name}.loss", stage.loss, modules)
    if not hasattr(modules[stage.loss], "loss"):
        raise SettingError(f"learning.stages.{stage.name}.loss is {stage.loss}, whose module "
                           f"{type(modules[stage.loss]).__name__} has no loss(batch). Fix: drop the stage with "
                           f"~learning.stages.{stage.name}, or swap the module")


def stage_name(step: Step) -> str:
    """Return the name of a stage in the cache."""
    return f"stage-{step.key}"


@contextmanager
def _faults_named(stage: Stage, learner: Module, running: _Running) -> Iterator[None]:
    """Raise a SettingError with stage, step and node if a module's own code fails or runs out of memory."""
    try:
        yield
    except (AmiError, OSError):
        raise
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        where = f"learning.stages.{stage.name}"
        if is_out_of_memory(error):
            raise SettingError(f"{where} ran out of memory at step {running.step}: {text or 'MemoryError'}. Fix: "
                               f"{where}.batch below {stage.batch}, or smaller modules; saved progress is kept, and the "
                               "same command resumes from it") from None
        raise SettingError(f"{where} failed at step {running.step}: {stage.loss} ({type(learner).__name__}) raised "
                           f"{type(error).__name__}: {text}. Fix: correct its loss(batch), or drop the stage, ~{where}"
                           ) from error


@contextmanager
def _own_random_state() -> Iterator[None]:
    """Restore torch's global random state after learning. Losses draw from it, so that modules need no generator."""
    with torch.random.fork_rng(devices=[]):
        yield

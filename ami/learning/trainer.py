"""The trainer: one loop for anything with a `loss(batch)`.

Everything a stage's course depends on is in its progress file (weights, optimiser, random state, step), so a killed
training goes on to bit-identical weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ami.blueprint import Perception, WorldModel
from ami.errors import CheckpointError, SettingError, unknown_name
from ami.learning import checkpoint
from ami.learning.experience import Experience, joined
from ami.learning.memories import remember
from ami.learning.plans import Lessons, Teacher, file_of
from ami.learning.stage import Stage, parts_of
from ami.module import Module
from ami.streams import derive_seed

LOG_EVERY = 20
COLLECT = "collect"
"""What rows of the learning curve are filed under that tell how a round's episodes went."""
MADE_OF = {"experience": ("observation", "action"), "memory": ("state", "successors", "goal"),
           "plans": ("state", "goal", "plan")}
"""What a batch of each kind of data holds."""
LEARNING_STATE = "learning_state"
Draw = Callable[[int], dict[str, Tensor]]
"""Step of the stage to batch."""
Row = dict[str, float | str]


@dataclass
class Course:
    """How far learning has come.

    Attributes:
        stage, step: what comes next, in this round.
        round: how often all stages have been run.
        seconds: spent so far, killed attempts' unsaved work not counted.
        rows: the figures logged so far, one dict per logged step with "stage" and "step".
        resumed: whether it went on from a progress file.
    """

    stage: int = 0
    step: int = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    resumed: bool = False
    round: int = 0


Collector = Callable[[int], Experience]
"""The number of a round to what was lived in it: by an explorer, and in later rounds by what was learnt before."""
OnStep = Callable[[Stage, int, Row | None], None]


class Trainer:
    """Runs the stages of learning over the modules of one agent.

    Args:
        modules: the modules, bound to each other (see `ami.worker.Worker`).
        stages: in order.
        seed: every draw derives from it and the stage's name.
        progress: where the progress file goes.
        save_every: steps between two saves.
        identity: what the progress must have been made with to be continued.
        on_step: is told of every step, with figures when they are logged.
        teachers: makes the agents that bring plans, by name, for stages that learn from those.
        rounds: how often all stages are run, each time on more experience.
    """

    def __init__(self, modules: Mapping[str, Module], stages: Sequence[Stage], seed: int, progress: Path,
                 save_every: int, identity: str, on_step: OnStep = lambda stage, step, row: None,
                 teachers: Mapping[str, Teacher] | None = None, rounds: int = 1) -> None:
        self.teachers, self.rounds = teachers or {}, rounds
        self.modules, self.stages, self.seed = modules, list(stages), seed
        self.progress, self.save_every, self.identity, self.on_step = Path(progress), save_every, identity, on_step
        for stage in self.stages:
            parts_of(stage, modules)
            if stage.loss not in modules:
                raise unknown_name(f"node in learning.stages.{stage.name}.loss", stage.loss, modules)
            if not hasattr(modules[stage.loss], "loss"):
                raise SettingError(f"learning.stages.{stage.name}.loss is {stage.loss}, whose module "
                                   f"{type(modules[stage.loss]).__name__} has no loss(batch). Fix: drop the stage with "
                                   f"~learning.stages.{stage.name}, or swap the module")

    def learn(self, collected: Collector) -> Course:
        """Run all stages, round after round, from where the progress file stands.

        Args:
            collected: brings the experience of a round; asked for every round once, in order, and again after a kill.
        """
        course = Course()
        saved = self._open_progress()
        if saved is not None:
            notes = saved[1]
            course = Course(notes["stage"], notes["step"], notes["seconds"], notes["rows"], True, notes["round"])
        if course.step == 0 and saved is not None:  # between two rounds nothing but weights was kept
            self._load_weights(saved[0])
            saved = None
        lived: list[Experience] = []
        with _own_random_state():
            while course.round < self.rounds:
                lived += [self._live(course, number, collected) for number in range(len(lived), course.round + 1)]
                experience = joined(lived)
                if course.stage == course.step == 0:
                    self._measure(experience)
                while course.stage < len(self.stages):
                    self._run_stage(course, experience, saved)
                    self._drop_learning_state()
                    saved = None
                    course.stage, course.step = course.stage + 1, 0
                self._end_round(course)
        for module in self.modules.values():
            module.requires_grad_(False).eval()
        return course

    def _live(self, course: Course, number: int, collected: Collector) -> Experience:
        """One round's experience; that of later rounds counts as learning, and each is a point of the learning curve."""
        begun = time.perf_counter()
        for module in self.modules.values():
            module.eval()
        experience = collected(number)
        known = sum(row["stage"] == COLLECT for row in course.rows)
        if self.rounds > 1 and known <= number:
            course.seconds += time.perf_counter() - begun if number else 0.0
            course.rows.append({"stage": COLLECT, "step": float(number), "return": experience.mean_return,
                                "steps": float(experience.steps.float().mean())})
        return experience

    def _measure(self, experience: Experience) -> None:
        """Modules that ask for it are shown all experience before a round learns from it."""
        batch = {"observation": experience.frames(), "last": experience.lasts()}
        if experience.reward is not None:
            lived = torch.arange(experience.reward.shape[1])[None] < experience.steps[:, None]
            batch["reward"] = experience.reward[lived]
        for module in self.modules.values():
            self._tell(module, "measure", batch)

    def _end_round(self, course: Course) -> None:
        course.round, course.stage, course.step = course.round + 1, 0, 0
        if course.round == self.rounds:
            return
        self._forget_plans()  # they are made anew, by what has learnt more
        self._save(course, None)

    def tidy(self) -> None:
        """Learning is done and saved elsewhere: delete what was kept for going on."""
        self.progress.unlink(missing_ok=True)
        self._forget_plans()

    def _forget_plans(self) -> None:
        for stage in self.stages:
            for number in range(len(stage.agents)):
                file_of(self.progress.parent, stage, number).unlink(missing_ok=True)

    def _run_stage(self, course: Course, experience: Experience, saved: Any) -> None:
        started = time.perf_counter() - course.seconds
        stage = self.stages[course.stage]
        learner = self.modules[stage.loss]
        torch.manual_seed(derive_seed(self.seed, "learning", stage.name, *([course.round] if course.round else [])))
        parameters = self._free(stage)
        self._tell(learner, "begin_learning")
        optimiser = torch.optim.AdamW(parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay, fused=True)
        if saved is not None:
            self._load_weights(saved[0])
        draw = self._source(stage, experience)
        if saved is not None:
            self._load_optimiser(saved[0], optimiser)
            torch.set_rng_state(saved[0]["random"])
        while course.step < stage.steps:
            row = self._step(stage, course.step, learner, parameters, optimiser, draw)
            course.step += 1
            course.seconds = time.perf_counter() - started
            if row is not None:
                course.rows.append(row)
            self.on_step(stage, course.step, row)
            if course.step % self.save_every == 0 and course.step < stage.steps:
                self._save(course, optimiser)
        course.seconds = time.perf_counter() - started

    def _tell(self, learner: Module, hook: str, *news: Any) -> None:
        """Call a hook that a module may have."""
        if hasattr(learner, hook):
            getattr(learner, hook)(*news)

    def _drop_learning_state(self) -> None:
        """What `begin_learning` made (slow copies and the like) serves one stage: no later stage, no running agent."""
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
        optimiser.zero_grad()
        loss.backward()
        if stage.clip:
            nn.utils.clip_grad_norm_(parameters, stage.clip)
        optimiser.step()
        self._tell(learner, "after_step", step, stage.steps)
        if step % LOG_EVERY and step + 1 < stage.steps:
            return None
        value = float(loss.detach())
        if value != value or value in (float("inf"), float("-inf")):
            raise SettingError(f"the loss of learning.stages.{stage.name} became {value} at step {step}. "
                               "Fix: a smaller learning_rate, or clip > 0")
        return {"stage": stage.name, "step": float(step), "loss": value,
                **{name: float(figure) for name, figure in figures.items()}}

    def _free(self, stage: Stage) -> list[nn.Parameter]:
        """Freeze everything, then free what the stage names."""
        for module in self.modules.values():
            module.requires_grad_(False).eval()
        parameters: list[nn.Parameter] = []
        for part in parts_of(stage, self.modules).values():
            part.requires_grad_(True).train()
            parameters.extend(part.parameters())
        return parameters

    def _source(self, stage: Stage, experience: Experience) -> Draw:
        if stage.data == "memory":
            perceptions = [m for m in self.modules.values() if isinstance(m, Perception)]
            models = [m for m in self.modules.values() if isinstance(m, WorldModel)]
            if len(perceptions) != 1 or len(models) != 1:
                raise SettingError(f"learning.stages.{stage.name} learns from memory, which one perception and one world "
                                   f"model make: the graph has {len(perceptions)} and {len(models)}")
            memories = remember(experience, perceptions[0], models[0], stage.imagined)
            endings = memories.endings(stage.window) if stage.ends else None
            share = round(stage.ends * stage.batch) if endings is not None and len(endings) else 0
            return lambda step: memories.draw(stage.batch, endings, share)
        if stage.data == "plans":
            return self._lessons(stage).draw
        starts, ends = experience.starts(stage.window), experience.endings(stage.window)
        from_ends = round(stage.ends * stage.batch) if len(ends) else 0

        def windows(step: int) -> dict[str, Tensor]:
            drawn = [starts[torch.randint(len(starts), (stage.batch - from_ends,))]]
            if from_ends:
                drawn.append(ends[torch.randint(len(ends), (from_ends,))])
            return experience.windows(torch.cat(drawn), stage.window)

        return windows

    def _lessons(self, stage: Stage) -> Lessons:
        def on_lived(step: int, episodes: int) -> None:
            self.on_step(stage, step, {"stage": stage.name, "step": float(step), "lived": float(episodes)})

        return Lessons(stage, self.teachers, self.modules, self.seed, self.progress.parent, self.identity, on_lived)

    # The progress file -----------------------------------------------------------------------------------------------

    def _save(self, course: Course, optimiser: torch.optim.Optimizer | None) -> None:
        tensors = checkpoint.flat({node: module.state_dict() for node, module in self.modules.items()})
        for index, state in optimiser.state_dict()["state"].items() if optimiser is not None else ():
            tensors |= {f"optimiser/{index}.{name}": value for name, value in state.items()}
        tensors["random"] = torch.get_rng_state()
        checkpoint.save(self.progress, tensors, {
            "identity": self.identity, "round": course.round, "stage": course.stage, "step": course.step,
            "seconds": course.seconds, "rows": course.rows})

    def _open_progress(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        if not self.progress.exists():
            return None
        tensors, notes = checkpoint.load(self.progress)
        if notes.get("identity") != self.identity:
            raise CheckpointError(f"'{self.progress}' belongs to another training ({notes.get('identity')}, this one is "
                                  f"{self.identity}). Fix: delete it")
        return tensors, notes

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


@contextmanager
def _own_random_state() -> Iterator[None]:
    """Learning draws from torch's global stream, so that modules need no generator, and leaves it as it found it."""
    with torch.random.fork_rng(devices=[]):
        yield

"""StageRun: one stage while it learns: its trained parameters, optimiser, scheduler and source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ami.blueprint.row_errors import ERRORS
from ami.errors import AmiError, SettingError, require
from ami.graph.graph import Graph
from ami.learning.divergence import not_finite
from ami.learning.sources.prioritised import PrioritisedDraw
from ami.learning.sources.source import Draw, Supply
from ami.learning.stage import Stage, parts_of
from ami.learning.unroll import Unroll
from ami.module import Module
from ami.storage.limits import is_out_of_memory

LOG_EVERY = 20
PRIORITIES = "priorities"
Row = dict[str, float | str]


class StageRun:
    """Learns one stage, step by step. Its optimiser and scheduler last until it is dropped.

    Args:
        stage: the stage.
        modules: the modules that learn, and their callees, by node.
        graph: the agent's graph, for stages that unroll nodes.

    Attributes:
        step: the number of steps done in this round.
        parameters: the trained parameters, each once.

    Raises:
        UnknownName, SettingError: the stage names no trainable parts.
    """

    def __init__(self, stage: Stage, modules: Mapping[str, Module], graph: Graph | None = None) -> None:
        self.stage, self.modules, self.step = stage, modules, 0
        self.learner = modules[stage.learner]
        self.objective = self.learner.loss_of(stage.objective)
        self.parts = list(parts_of(stage, modules).values())
        self.parameters = list({id(one): one for part in self.parts for one in part.parameters()}.values())
        where = f"learning.stages.{stage.name}"
        with _refused(f"{where}.optimiser"):
            self.optimiser: torch.optim.Optimizer = stage.make("optimiser", params=self.parameters, lr=stage.learning_rate)
        with _refused(f"{where}.scheduler"):
            self.scheduler: Any = stage.make("scheduler", optimizer=self.optimiser, steps=stage.steps)
        self._draw: Draw | None = None
        self._priorities: Mapping[str, Tensor] = {}
        self._unroll: Unroll | None = None
        if stage.unroll:
            if graph is None:
                raise ValueError(f"{where}.unroll needs the graph")
            self._unroll = Unroll(graph, stage.unroll, modules, f"{where}.unroll")

    def begin(self) -> None:
        """Begin a round, whose data `open` prepares."""
        self._keep_priorities()
        self._draw, self.step = None, 0

    def _keep_priorities(self) -> None:
        if isinstance(self._draw, PrioritisedDraw):
            self._priorities = self._draw.state()

    def open(self, supply: Supply) -> None:
        """Prepare the data of a round, or what was added to them. Entries known before keep their priorities."""
        self._keep_priorities()
        with self._faults_named():
            self._draw = self.stage.data.open(supply)
            if isinstance(self._draw, PrioritisedDraw) and self._priorities:
                self._draw.load_state(self._priorities)

    def thaw(self) -> None:
        """Freeze all modules but the parts that this stage trains."""
        for module in self.modules.values():
            module.requires_grad_(False).eval()
        for part in self.parts:
            part.requires_grad_(True).train()

    def update(self) -> Row | None:
        """Take one step; return its figures if they are logged.

        Raises:
            SettingError: the loss is not finite, the batch lacks a tensor, or the module's own code fails; names the stage,
                the step and the node.
        """
        with self._faults_named():
            row = self._update()
        self.step += 1
        return row

    def _update(self) -> Row | None:
        stage = self.stage
        if self._draw is None:
            raise ValueError("open() the round before its first step")
        self.optimiser.zero_grad()
        figures: dict[str, Tensor] = {}
        for _ in range(stage.accumulate):
            batch = self._draw(self.step)
            loss, parts = self._loss(batch)
            if not bool(loss.isfinite()):
                raise not_finite(stage, self.step, loss, batch, self.modules)
            (loss / stage.accumulate if stage.accumulate > 1 else loss).backward()
            if isinstance(self._draw, PrioritisedDraw):
                self._draw.update(self._errors_in(parts))
            for name, value in {"loss": loss.detach(), **parts}.items():
                if name != ERRORS:
                    figures[name] = figures[name] + value if name in figures else value
        if stage.clip:
            nn.utils.clip_grad_norm_(self.parameters, stage.clip)
        self.optimiser.step()
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(float(figures["loss"]))
        else:
            self.scheduler.step()
        self.learner.after_step(self.step, stage.steps)
        if self.step % LOG_EVERY and self.step + 1 < stage.steps:
            return None
        return {"stage": stage.name, "step": float(self.step),
                **{name: float(value) / stage.accumulate for name, value in figures.items()}}

    def _loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        stage = self.stage
        half: AbstractContextManager[Any] = nullcontext() if stage.precision == "float32" else torch.autocast(
            self.learner.device.type, torch.bfloat16)
        try:
            with half:
                if self._unroll is not None:
                    batch = {**batch, **self._unroll(batch)}
                return self.objective(batch)
        except KeyError as error:
            if error.args[0] in batch:
                raise
            raise SettingError(f"learning.stages.{stage.name}.source is {type(stage.data).__name__}, which makes "
                               f"{', '.join(batch)}: the loss of {stage.loss} needs {error}. "
                               "Fix: another source, see `ami list learning`, or another loss") from None

    def _errors_in(self, figures: Mapping[str, Tensor]) -> Tensor:
        """Return the errors (N,) of a batch's rows, of which a prioritised source sets its priorities."""
        stage = self.stage
        where, learner = f"learning.stages.{stage.name}", f"{stage.loss} ({type(self.learner).__name__})"
        if ERRORS not in figures:
            raise SettingError(f"{where}.source draws rows in proportion to their errors, but the loss of {learner} reports "
                               f"none. Fix: {where}.source.alpha=0, or report them in its loss, see ami.blueprint.RowErrors")
        errors = figures[ERRORS]
        require(errors.shape == (stage.batch,) and bool(errors.isfinite().all()),
                f"{where}: the loss of {learner} reports '{ERRORS}' of shape {tuple(errors.shape)}: expected one finite "
                f"number for each of {stage.batch} rows")
        return errors

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        """Raise a SettingError with stage, step and node if a module's own code fails or runs out of memory."""
        try:
            yield
        except (AmiError, OSError):
            raise
        except Exception as error:
            text = str(error).strip().partition("\n")[0]
            where = f"learning.stages.{self.stage.name}"
            if is_out_of_memory(error):
                raise SettingError(f"{where} ran out of memory at step {self.step}: {text or 'MemoryError'}. Fix: "
                                   f"{where}.batch below {self.stage.batch}, or smaller modules; saved progress is kept, "
                                   "and the same command resumes from it") from None
            raise SettingError(f"{where} failed at step {self.step}: {self.stage.learner} ({type(self.learner).__name__}) "
                               f"raised {type(error).__name__}: {text}. Fix: correct its {self.stage.objective}(batch), or "
                               f"drop the stage, ~{where}") from error

    # Saved and restored ----------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the state of optimiser, scheduler and priorities: tensors by name, and plain values."""
        whole = self.optimiser.state_dict()
        tensors = {f"{index}.{name}": value for index, state in whole["state"].items() for name, value in state.items()
                   if isinstance(value, Tensor)}
        others = [[index, name, value] for index, state in whole["state"].items() for name, value in state.items()
                  if not isinstance(value, Tensor)]
        if isinstance(self._draw, PrioritisedDraw):
            tensors |= {f"{PRIORITIES}.{name}": value for name, value in self._draw.state().items()}
        return tensors, {"step": self.step, "others": others, "groups": whole["param_groups"],
                         "scheduler": self.scheduler.state_dict()}

    def load_state(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        state: dict[int, dict[str, Any]] = {}
        priorities: dict[str, Tensor] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            if index == PRIORITIES:
                priorities[key] = value
            else:
                state.setdefault(int(index), {})[key] = value
        for number, key, other in plain["others"]:
            state.setdefault(int(number), {})[key] = other
        self.step = int(plain["step"])
        self.optimiser.load_state_dict({"state": state, "param_groups": plain["groups"]})
        self.scheduler.load_state_dict(dict(plain["scheduler"]))
        self._priorities = priorities
        if isinstance(self._draw, PrioritisedDraw):
            self._draw.load_state(priorities)


@contextmanager
def _refused(where: str) -> Iterator[None]:
    """Raise a SettingError if torch refuses the settings of an optimiser or a scheduler."""
    try:
        yield
    except AmiError:
        raise
    except (ValueError, TypeError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise SettingError(f"{where} is refused by torch: {str(error).strip().partition(chr(10))[0]}") from None

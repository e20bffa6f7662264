"""Errors of a module's own code are one ModuleError with node, method, tick, inputs and line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ami.blueprint import Episode
from ami.errors import GraphError, ModuleError, PortError, SettingError, require
from ami.graph import faults
from ami.graph.spec import ModuleSpec
from ami.ports import Dims, Size
from ami.runtime.worker import Worker
from tests.ami.toys import Book, Eye, Hand, Head, graph

HERE = re.escape(__file__)


class Failing(Hand):
    """Raises in one of its methods, in `step` at tick 2."""

    def __init__(self, where: str = "step", how: str = "raise") -> None:
        super().__init__()
        self.where, self.how, self.ticks = where, how, 0
        self.fail_in("__init__")

    def fail_in(self, where: str) -> None:
        if where == self.where:
            if self.how == "exit":
                sys.exit(3)
            raise RuntimeError("no\nway")

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        self.fail_in("infer_dims")
        if self.where == "known":
            known["size of a shoe"]
        return {}

    def build(self, dims: Dims) -> None:
        self.fail_in("build")

    def initial(self, batch: int) -> dict[str, Tensor]:
        self.fail_in("initial")
        return {"one row": torch.zeros(1)} if self.where == "rows" else {}

    def step(self, plan: Tensor) -> dict[str, Tensor]:
        self.ticks += 1
        if self.ticks == 3:
            self.fail_in("step")
        return super().step(plan)


class Torn(Book):
    def look_up(self, state: Tensor) -> Tensor:
        return state[:, 7]


def live(batch: int = 2, ticks: int = 4, **parts: ModuleSpec) -> None:
    worker = Worker(graph(parts), graph(parts).order, 0)
    for wave in range(2):
        worker.begin(torch.ones(batch, dtype=torch.bool), [Episode(7 + row, seed=row) for row in range(batch)], wave)
        for tick in range(ticks):
            worker.fire(worker.nodes, tick)


def failing(where: str, how: str = "raise") -> ModuleSpec:
    return ModuleSpec(Failing, {"where": where, "how": how})


@pytest.mark.parametrize(("where", "error", "words"), [
    ("step", ModuleError, r"hand\.step\(\) failed at wave 0, tick 2: RuntimeError: no way \(FILE, line \d+, in fail_in\)\. "
                          r"It received plan float32 \(2, 2, 2\)\. Fix: correct it there; AMI_TRACEBACK=1 prints the whole"),
    ("build", ModuleError, r"hand: build\(\) failed: RuntimeError: no way \(FILE, line \d+, in fail_in\)\. Fix: correct it"),
    ("initial", ModuleError, r"hand: begin\(\) at wave 0 failed: RuntimeError: no way \(FILE, line \d+, in fail_in\)\. Fix"),
    ("rows", PortError, r"hand: Failing\.initial\(\) gave one row float32 \(1,\): expected a tensor with 2 rows, one per "
                        r"world\. Fix: return it so from initial\(\)$"),
    ("__init__", GraphError, r"the graph was refused, 1 mistake:\n  - hand: tests\.ami\.graph\.test_faults\.Failing\(\) "
                             r"failed: RuntimeError: no way \(FILE, line \d+, in fail_in\)\. Fix: correct it there"),
    ("infer_dims", GraphError, r"the graph was refused, 1 mistake:\n  - hand: infer_dims\(\) failed: RuntimeError: no way"),
    ("known", GraphError, r"the graph was refused, 1 mistake:\n  - hand: infer_dims\(\) failed: KeyError: 'size of a shoe' "
                          r"\(FILE, line \d+, in infer_dims\)"),
])
def test_reports_node_method_and_line_wherever_a_module_fails(where: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match="^" + words.replace("FILE", HERE)):
        live(hand=failing(where))


@pytest.mark.parametrize("where", ["step", "build", "initial"])
def test_reports_sys_exit_of_a_module(where: str) -> None:
    with pytest.raises(ModuleError, match=rf"failed.*: it called sys\.exit\(3\) \({HERE}, line \d+, in fail_in\)"):
        live(hand=failing(where, "exit"))


def test_names_caller_and_callee_of_a_failed_call() -> None:
    with pytest.raises(ModuleError, match=r"^head\.step\(\) failed at wave 0, tick 0, in its call book\.look_up\(\): "
                                          rf"IndexError: .* \({HERE}, line \d+, in look_up\)\. It received state float32"):
        live(book=ModuleSpec(Torn))


def test_keeps_the_original_error_for_a_debugger() -> None:
    with pytest.raises(ModuleError) as failed:
        live(hand=failing("step"))
    cause = failed.value.__cause__
    assert isinstance(cause, RuntimeError) and cause.__traceback__ is not None


def test_passes_ami_errors_through() -> None:
    class Strict(Hand):
        def step(self, plan: Tensor) -> dict[str, Tensor]:
            raise SettingError("gain is 0: expected more")

    with pytest.raises(SettingError, match=r"^gain is 0: expected more$"):
        live(hand=ModuleSpec(Strict))


def test_reports_a_step_that_does_not_take_its_ports() -> None:
    class Deaf(Hand):
        def step(self) -> dict[str, Tensor]:
            return {}

    with pytest.raises(ModuleError, match=r"^hand\.step\(\) failed at wave 0, tick 0: TypeError: .*unexpected keyword "
                                          r"argument 'plan'\. It received plan float32 \(2, 2, 2\)\. Fix"):
        live(hand=ModuleSpec(Deaf))


# Numbers that are not finite --------------------------------------------------------------------------------------------


class Dim(Eye):
    """From tick 2 on, its state is nan in the last row; its reward stays finite."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0

    def step(self, action: Tensor) -> dict[str, Tensor]:
        seen = super().step(action)
        self.ticks += 1
        if self.ticks > 2:
            seen["state"] = seen["state"].clone()
            seen["state"][-1] = torch.nan
        return seen


def test_traces_a_number_that_is_not_finite_back_to_its_first_message() -> None:
    with pytest.raises(PortError) as refused:
        live(eye=ModuleSpec(Dim))
    assert str(refused.value) == (
        "at wave 0, tick 2 head.energy is nan in row 1 (episode 8): eye.state was nan in row 1 before it, at tick 2. "
        "Fix: guard divisions, roots and logarithms in tests.ami.graph.test_faults.Dim")


def test_accepts_finite_numbers_whose_sum_overflows() -> None:
    class Far(Hand):
        def step(self, plan: Tensor) -> dict[str, Tensor]:
            return {"action": torch.full((len(plan), 2), 3e38)}

    live(300, ticks=1, hand=ModuleSpec(Far))


# Messages changed in place ----------------------------------------------------------------------------------------------


def test_refuses_a_module_that_changes_its_sent_message() -> None:
    class Reusing(Hand):
        def begin(self, mask: Tensor, episodes: Any) -> None:
            super().begin(mask, episodes)
            self.action = torch.zeros(len(mask), 2)

        def step(self, plan: Tensor) -> dict[str, Tensor]:
            return {"action": self.action.add_(1)}

    with pytest.raises(PortError, match=r"^at wave 0, tick 3 hand\.step\(\) changed 'action', which it had sent at the tick "
                                        r"before, in place, but other nodes read it\. Fix: clone\(\) the message"):
        live(hand=ModuleSpec(Reusing))


def test_accepts_outputs_with_gradients_or_not_contiguous() -> None:
    class Odd(Hand):
        def build(self, dims: Dims) -> None:
            self.answer = torch.nn.Parameter(torch.ones(2, 2))

        def step(self, plan: Tensor) -> dict[str, Tensor]:
            return {"action": self.answer.T}

    live(hand=ModuleSpec(Odd))


def test_valid_modules_run() -> None:
    live(hand=ModuleSpec(Hand), head=ModuleSpec(Head))


def test_a_sibling_package_with_amis_prefix_is_user_code() -> None:
    own = str(Path(faults.__file__).parents[1].with_name("ami_worlds") / "maze.py")
    names: dict[str, Any] = {"require": require}  # the engine's: the error names its caller's line
    exec(compile("def step():\n    require(False, 'no way')\n", own, "exec"), names)
    with pytest.raises(SettingError) as error:
        names["step"]()
    assert faults.place_of(error.value) == f" ({own}, line 2, in step)"

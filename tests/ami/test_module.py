"""Module: resets by row, snapshots, and calls to declared methods alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ami.errors import CallError
from ami.module import Callee, Calls, Module, callable_method, module_behind
from ami.rng import RowRNG
from modules.cost.weighted_sum import WeightedSum
from modules.memory.episodic import Episodic
from modules.planner.cem import CEM
from modules.world_model.simulator import Simulator
from tests.ami.toys import Book, Eye, Head
from tests.support.episodes import numbered

MASKS = st.integers(1, 4).flatmap(lambda batch: st.lists(st.booleans(), min_size=batch, max_size=batch))


class Diary(Module):
    """Keeps its draws in the carry: a number, a picture and a count per row."""

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"sum": torch.zeros(batch), "picture": torch.full((batch, 2, 3), -1.0),
                "ticks": torch.zeros(batch, 1, dtype=torch.int64)}

    def step(self) -> dict[str, Tensor]:
        drawn = self.random.normal(2, 3)
        self.carry = {"sum": self.carry["sum"] + drawn.sum((1, 2)), "picture": drawn, "ticks": self.carry["ticks"] + 1}
        return dict(self.carry)


def diary(batch: int, first: int = 0) -> Diary:
    made = Diary()
    made.random = RowRNG(0, "diary")
    made.begin(torch.ones(batch, dtype=torch.bool), numbered(range(first, first + batch)))
    return made


def same(one: dict[str, Tensor], other: dict[str, Tensor], rows: Tensor | slice = slice(None)) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name][rows], other[name][rows]) for name in one)


# Resets ---------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(mask=MASKS, before=st.integers(0, 3))
def test_reset_clears_the_masked_rows_alone(mask: list[bool], before: int) -> None:
    rows, module, fresh = torch.tensor(mask), diary(len(mask)), diary(len(mask)).carry
    for _ in range(before):
        module.step()
    kept = {name: value.clone() for name, value in module.carry.items()}
    module.reset(rows)
    assert same(module.carry, fresh, rows) and same(module.carry, kept, ~rows)
    assert {name: value.dtype for name, value in module.carry.items()} == {
        name: value.dtype for name, value in fresh.items()}


@settings(deadline=None, max_examples=40)
@given(mask=MASKS, before=st.integers(0, 3), after=st.integers(1, 3))
def test_a_restarted_row_equals_a_fresh_one(mask: list[bool], before: int, after: int) -> None:
    rows, batch = torch.tensor(mask), len(mask)
    module, undisturbed, fresh = diary(batch), diary(batch), diary(batch, first=100)
    for _ in range(before):
        module.step(), undisturbed.step()
    module.begin(rows, numbered(range(100, 100 + batch)))
    for _ in range(after):
        sent, old, new = module.step(), undisturbed.step(), fresh.step()
        assert same(sent, new, rows) and same(sent, old, ~rows)


def test_reset_does_not_change_sent_messages() -> None:
    module = diary(2)
    sent = module.step()
    copies = {name: value.clone() for name, value in sent.items()}
    module.begin(torch.tensor([True, False]), numbered([8, 9]))
    assert same(sent, copies)


def test_a_new_number_of_worlds_starts_from_the_initial_carry() -> None:
    module = diary(2)
    module.step()
    module.begin(torch.ones(3, dtype=torch.bool), numbered([0, 1, 2]))
    assert module.batch == 3 and same(module.carry, diary(3).carry)


# Snapshots ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(batch=st.integers(1, 4), before=st.integers(0, 3), between=st.integers(0, 2), mask=st.integers(0, 15))
def test_a_module_resumes_from_a_snapshot(batch: int, before: int, between: int, mask: int) -> None:
    module, rows = diary(batch), torch.tensor([bool(mask >> row & 1) for row in range(batch)])
    for _ in range(before):
        module.step()
    module.begin(rows, numbered(range(50, 50 + batch)))  # rows may have begun at different ticks
    saved = module.snapshot()
    expected = [module.step() for _ in range(3)]
    other = Diary()
    other.random = RowRNG(0, "diary")
    for _ in range(between):
        module.step()
    for resumed in (module, other):
        resumed.restore(saved)
        assert resumed.batch == batch
        assert all(same(resumed.step(), tick) for tick in expected)


def test_a_snapshot_holds_tensors_and_does_not_change_later() -> None:
    module = diary(2)
    module.step()
    saved = module.snapshot()
    assert set(saved) == {"carry.sum", "carry.picture", "carry.ticks", "random.episodes", "random.row.0", "random.row.1"}
    before = copy.deepcopy(saved)
    module.carry["sum"].add_(1)
    module.step()
    assert same(saved, before)
    module.restore(saved)
    module.carry["sum"].add_(1)
    assert same(saved, before)


# Calls ----------------------------------------------------------------------------------------------------------------


class Novel(Book):
    """Overrides a callable method without the decorator."""

    def look_up(self, state: Tensor) -> Tensor:
        return state.amax(-1)

    def burn(self) -> None:
        """Not for callers."""


class Library(Novel):
    @callable_method
    def shelves(self) -> int:
        return 3


def test_callable_methods_are_the_decorated_ones() -> None:
    assert Module.callable_methods() == Eye.callable_methods() == ()
    assert Book.callable_methods() == ("look_up",)
    assert Library.callable_methods() == ("look_up", "shelves")


def test_overriding_a_callable_method_keeps_it_callable() -> None:
    assert Novel.callable_methods() == ("look_up",)
    assert Callee("book", Novel()).look_up(torch.tensor([[1.0, 5.0]])).tolist() == [5.0]


@pytest.mark.parametrize(("cls", "names"), [
    (Simulator, ("approach", "centre", "context", "decode_action", "distance", "encode_action", "goal_of", "imagine",
                 "imagine_last", "observe", "rebase_goal", "renew")),
    (WeightedSum, ("energy", "intrinsic_energy")), (CEM, ()),
    (Episodic, ())])
def test_the_role_determines_the_callable_methods(cls: type[Module], names: tuple[str, ...]) -> None:
    assert cls.callable_methods() == names


def refusal(ask: Callable[[], Any]) -> str:
    with pytest.raises(CallError) as refused:
        ask()
    return str(refused.value)


def test_an_unbound_call_is_refused_with_its_wiring() -> None:
    assert refusal(lambda: Calls("head", {"pen": Callee("pen", Book())}).book) == (
        "head calls 'book', which is not bound. Fix: wire it in the graph, `head: {calls: {book: <node>}}`")
    assert refusal(lambda: Head().calls.book.look_up) == (
        "module calls 'book', which is not bound. Fix: wire it in the graph, `module: {calls: {book: <node>}}`")


def test_a_method_that_is_not_declared_callable_is_refused() -> None:
    callee = Callee("book", Library())
    assert refusal(lambda: callee.look_upp) == (
        "book.look_upp is not declared callable: did you mean 'look_up'? "
        "Fix: mark the method with @callable_method in Library")
    assert refusal(lambda: callee.burn) == (
        "book.burn is not declared callable: expected one of look_up, shelves. "
        "Fix: mark the method with @callable_method in Library")
    assert refusal(lambda: Callee("eye", Eye()).step) == (
        "eye.step is not declared callable: there is none. Fix: mark the method with @callable_method in Eye")


def test_calls_contain_the_bound_names() -> None:
    calls = Calls("head", {"book": Callee("book", Book())})
    assert "book" in calls and "friend" not in calls


def test_calls_have_no_dunder_attributes_and_can_be_copied() -> None:
    calls = Calls("head", {"book": Callee("book", Book())})
    for bound in (calls, calls.book):
        assert not hasattr(bound, "__array__")
        copy.copy(bound)


def test_module_behind_a_call() -> None:
    book = Book()
    assert module_behind(Callee("book", book)) is book


def test_a_callee_is_not_a_submodule_of_the_caller() -> None:
    head = Head()
    head.calls = Calls("head", {"book": Callee("book", Book())})
    assert list(head.children()) == [] and list(head.parameters()) == []


def test_a_module_without_a_step_raises() -> None:
    with pytest.raises(NotImplementedError, match=r"Module has no step\(\)"):
        Module().step()

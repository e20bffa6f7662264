"""Ports: validation of messages, error texts, and samples that fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.blueprint import ROLES
from ami.errors import PortError
from ami.ports import KINDS, Port, Size

DTYPES = [None, torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool]
DIMS: dict[str, Size] = {"S": (3, 5), "O": (4, 4, 3), "A": 2, "H": 6, "X": 0, "E": ()}
SHAPES = [(), ("A",), ("*S",), ("H", "*S"), ("*O", "A"), (7,), ("H", 4), ("X",), ("*E",), ("A", "*S", "H")]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def refusal(port: Port, value: object, dims: dict[str, Size] | None = None) -> str:
    with pytest.raises(PortError) as refused:
        port.validate("planner.plan", value, DIMS if dims is None else dims, batch=2)
    return str(refused.value)


def test_a_message_that_is_not_a_tensor_is_refused() -> None:
    plan = Port("plan", ("H", "A"))
    assert refusal(plan, None) == "planner.plan gave a NoneType: expected a tensor, plan float32 (B, H, A)"
    assert refusal(plan, [[0.0]]) == "planner.plan gave a list: expected a tensor, plan float32 (B, H, A)"


def test_a_message_of_another_shape_is_refused() -> None:
    assert refusal(Port("plan", ("H", "A")), torch.zeros(2, 6, 3)) == (
        "planner.plan gave the shape (2, 6, 3): expected (2, 6, 2), plan float32 (B, H, A)")
    assert refusal(Port("imagined", ("H", "*S"), None), torch.zeros(2, 6, 15)) == (
        "planner.plan gave the shape (2, 6, 15): expected (2, 6, 3, 5), imagined any dtype (B, H, *S)")


def test_a_message_of_another_batch_is_refused() -> None:
    assert refusal(Port("energy"), torch.zeros(3)) == "planner.plan gave the shape (3,): expected (2,), energy float32 (B)"


def test_a_message_of_another_dtype_is_refused() -> None:
    assert refusal(Port("energy"), torch.zeros(2, dtype=torch.float64)) == (
        "planner.plan gave the dtype torch.float64: expected torch.float32. Fix: cast it in step()")


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_a_port_of_any_dtype_accepts_every_dtype(dtype: torch.dtype) -> None:
    Port("observation", ("A",), None).validate("world.observation", torch.zeros(2, 2, dtype=dtype), DIMS, batch=2)


@pytest.mark.parametrize(("dims", "sizes"), [
    ((), ()), (("A",), (2,)), (("*S",), (3, 5)), (("H", "*S"), (6, 3, 5)), (("*S", "H"), (3, 5, 6)), ((7, "A"), (7, 2)),
    (("*E",), ()), (("H", "*E"), (6,)),
])
def test_a_variadic_symbol_stands_for_any_number_of_sizes(dims: tuple[str | int, ...], sizes: tuple[int, ...]) -> None:
    assert Port("state", dims).shape(DIMS) == sizes


def test_a_symbol_without_a_size_raises_key_error() -> None:
    with pytest.raises(KeyError, match="W"):
        Port("weights", ("W",)).shape(DIMS)


def test_two_variadic_symbols_are_refused() -> None:
    with pytest.raises(PortError) as refused:
        Port("imagined", ("*H", "*S"))
    assert str(refused.value) == "a port has the dims ('*H', '*S'): expected at most one variadic symbol such as '*S'"


def test_an_unknown_kind_is_refused_with_all_kinds() -> None:
    with pytest.raises(PortError) as refused:
        Port("stat", ("*S",))
    assert str(refused.value) == f"a port has the kind 'stat': expected one of {', '.join(KINDS)}"


def test_another_dtype_makes_another_port() -> None:
    port = Port("observation", ("*O",), None, optional=True)
    assert port.with_dtype(torch.uint8) == Port("observation", ("*O",), torch.uint8, optional=True)
    assert port.dtype is None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mode"])
def test_a_sample_fits_its_port(kind: str, dtype: torch.dtype | None) -> None:
    for dims in SHAPES:
        port = Port(kind, dims, dtype)
        for batch in (1, 4):
            port.validate("sample", port.sample(DIMS, batch, generator()), DIMS, batch)


def test_a_sample_fits_every_port_of_the_blueprint() -> None:
    dims: dict[str, Size] = {**DIMS, "P": (7,), "Q": (6,), "U": 2, "G": (3,), "W": 4}
    for role in ROLES.values():
        for name, port in {**role.inputs, **role.outputs}.items():
            port.validate(f"{role.role}.{name}", port.sample(dims, 3, generator()), dims, 3)


def test_samples_are_in_the_range_of_their_kind() -> None:
    actions = Port("action", ("A",)).sample(DIMS, 500, generator())
    assert actions.abs().max() <= 1 and actions.min() < -0.9 and actions.max() > 0.9
    assert Port("mode", (), torch.int64).sample(DIMS, 3, generator()).tolist() == [2, 2, 2]
    assert Port("weights", ("A",)).sample(DIMS, 3, generator()).tolist() == [[1, 1]] * 3
    assert set(Port("flag", (), torch.bool).sample(DIMS, 50, generator()).tolist()) == {False, True}


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), kind=st.sampled_from(["state", "action", "flag", "count"]))
def test_the_same_generator_gives_the_same_sample(seed: int, kind: str) -> None:
    dtypes: dict[str, Any] = {"flag": torch.bool, "count": torch.int64}
    port = Port(kind, ("*S",), dtypes.get(kind, torch.float32))
    assert torch.equal(port.sample(DIMS, 3, generator(seed)), port.sample(DIMS, 3, generator(seed)))


def test_a_plane_needs_a_vector() -> None:
    with pytest.raises(PortError, match=r"kind 'surprise' has the plane \(0, 1\) and no dims: expected a vector"):
        Port("surprise", plane=(0, 1))


@pytest.mark.parametrize("plane, entries", [((0, 1), (0, 1)), ((-2, -1), (3, 4)), ((4, -5), (4, 0))])
def test_entries_of_a_plane_count_from_either_end(plane: tuple[int, int], entries: tuple[int, int]) -> None:
    assert Port("state", ("*S",), plane=plane).plane_of({"S": (5,)}) == entries
    assert Port("state", ("*S",)).plane_of({"S": (5,)}) is None


@pytest.mark.parametrize("plane", [(0, 5), (-6, 0)])
def test_entries_of_a_plane_beyond_the_size_are_refused(plane: tuple[int, int]) -> None:
    with pytest.raises(PortError, match="but its last dimension has 5 entries: expected two of -5 to 4"):
        Port("state", ("*S",), plane=plane).plane_of({"S": (5,)})

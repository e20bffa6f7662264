"""Devices: what is copied where, decided by the wires; replicas, carry and random draws on their module's device.

"cpu:0" is another device than "cpu" and computes on the CPU, so that these tests need no accelerator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ami.config.compose import compose, to_graph
from ami.errors import GraphError, SettingError
from ami.graph.devices import CPU, absent, resolve
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.ports import Port
from ami.runtime.build import build_module
from ami.runtime.held_modules import devices_of
from ami.runtime.worker import Worker
from tests.ami.runtime.test_worker import begin, begun, live
from tests.ami.toys import Eye, Hand, graph

FAR = torch.device("cpu", 0)


class Counter(Hand):
    """A hand that also receives a count."""

    inputs = {**Hand.inputs, "count": Port("count", (), torch.int64)}

    def step(self, plan: Tensor, count: Tensor) -> dict[str, Tensor]:
        return super().step(plan)


class Wanderer(Eye):
    """An eye with a carry and random numbers."""

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"place": torch.zeros(batch)}

    def step(self, action: Tensor) -> dict[str, Tensor]:
        self.carry = {"place": self.carry["place"] + self.random.normal()}
        return {**super().step(action), "reward": self.carry["place"]}


def far(*nodes: str, modules: Any = None, **changes: Any) -> Graph:
    """Return the toy graph with some nodes on the far device."""
    of = graph(modules, **changes)
    of.devices.update(dict.fromkeys(nodes, FAR))
    return of


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Return the shapes of the tensors that are moved to the far device."""
    shapes: list[tuple[int, ...]] = []
    to = Tensor.to

    def counted(self: Tensor, *args: Any, **named: Any) -> Tensor:
        if args and args[0] is FAR:
            shapes.append(tuple(self.shape))
        return to(self, *args, **named)

    monkeypatch.setattr(Tensor, "to", counted)
    yield shapes


def test_a_message_is_moved_only_where_sender_and_receiver_differ(moved: list[tuple[int, ...]]) -> None:
    worker = begun(far("head"), batch=5)
    moved.clear()
    worker.fire(("book", "eye"), 0)
    assert moved == [(5, 3)], "the eye's state goes to the head; no other output is read there"


def test_nothing_is_moved_in_a_graph_on_one_device(moved: list[tuple[int, ...]]) -> None:
    live(begun(graph(), batch=2), range(3))
    assert moved == []


def test_control_ports_stay_on_the_cpu(moved: list[tuple[int, ...]]) -> None:
    wired = far("hand", modules={"hand": ModuleSpec(Counter)}, hand={"plan": "head.plan", "count": "head.count"})
    worker = begun(wired, batch=5)
    moved.clear()
    worker.fire(("book", "eye", "head"), 0)
    assert moved == [(5, 2, 2)], "the plan, not the count"


def test_a_repeated_message_is_moved_once(moved: list[tuple[int, ...]]) -> None:
    slow = far("hand", head={"state": "eye.state", "calls": {"book": "book"}, "every": 3})
    worker = begun(slow)
    live(worker, range(1))
    moved.clear()
    live(worker, range(1, 3))
    assert [shape for shape in moved if len(shape) == 3] == []


@pytest.mark.parametrize("nodes", [("head",), ("eye", "hand"), ("book", "eye", "head", "hand")])
@pytest.mark.parametrize("changes", [{}, {"eye": {"action": "hand.action@-2"}},
                                     {"head": {"state": "eye.state", "calls": {"book": "book"}, "every": 2}}])
def test_messages_do_not_depend_on_devices(nodes: tuple[str, ...], changes: dict[str, Any]) -> None:
    def played(of: Graph) -> list[Tensor]:
        worker = begun(of, batch=2)
        fired = live(worker, range(3))
        begin(worker, [True, False])
        fired += live(worker, range(3, 7))
        return [value for tick in fired for outputs in tick.values() for value in outputs.values()]

    assert all(map(torch.equal, played(graph(**changes)), played(far(*nodes, **changes))))


def test_a_callee_is_held_on_its_own_device_and_on_its_callers() -> None:
    worker = Worker(far("head"), graph().order, 0)
    assert worker.modules["book"].device == CPU
    assert worker.modules["head"].calls.book._module.device == FAR
    assert devices_of(far("head"), graph().order, graph().calls)["book"] == [CPU, FAR]
    assert devices_of(far("head"), ["head"], graph().calls) == {"head": [FAR], "book": [FAR]}
    same = Worker(graph(), graph().order, 0).modules
    assert same["head"].calls.book._module is same["book"]


def test_carry_and_random_draws_follow_the_module(moved: list[tuple[int, ...]]) -> None:
    worker = begun(far("eye", modules={"eye": ModuleSpec(Wanderer)}), batch=4)
    assert moved.count((4,)) == 1, "the carry"
    moved.clear()
    worker.fire(("book", "eye"), 0)
    assert moved.count((4,)) == 2, "the draw, and the reward that is kept there"
    snapshot = worker.modules["eye"].snapshot()
    moved.clear()
    worker.modules["eye"].restore(snapshot)
    assert moved == [(4,)]


def test_a_restored_worker_goes_on_alike() -> None:
    worker = begun(far("head", "hand"), batch=2)
    live(worker, range(3))
    other = Worker(far("eye"), worker.nodes, 0)
    other.restore(worker.snapshot())
    for one, two in zip(live(worker, range(3, 5)), live(other, range(3, 5)), strict=True):
        assert torch.equal(one["hand"]["action"], two["hand"]["action"])


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def on(device: str) -> Graph:
    return graph(hand={"plan": "head.plan", "device": device})


def test_the_default_and_auto_without_cuda_leave_the_hash(no_device: None) -> None:
    assert on("auto").hash() == on("cpu").hash() == graph().hash()
    assert "devices" not in graph().describe()


def test_names_are_resolved_with_cuda(two_devices: None) -> None:
    assert [str(resolve(name)) for name in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda:0", "cpu", "cuda:0", "cuda:1"]
    assert on("cuda").describe()["devices"] == {"hand": "cuda:0"}
    assert len({graph().hash(), on("auto").hash(), on("cuda:1").hash()}) == 3
    assert on("cuda").on_cpu().hash() == graph().hash()


def test_cuda_without_cuda_is_refused(no_device: None) -> None:
    with pytest.raises(GraphError) as error:
        on("cuda")
    assert str(error.value).endswith("hand.device is 'cuda', but PyTorch sees no CUDA device here. Fix: graph.hand.device="
                                     "auto, which takes CUDA where there is a device and the CPU elsewhere")


def test_a_device_that_is_not_there_is_refused(two_devices: None) -> None:
    found = "hand.device is 'cuda:2', but PyTorch sees 2 CUDA devices here, numbered from 0. Fix: graph.hand.device=auto"
    with pytest.raises(GraphError, match=found):
        on("cuda:2")
    assert absent(torch.device("cuda", 1)) == ""


def test_a_process_without_the_device_is_refused(two_devices: None, monkeypatch: pytest.MonkeyPatch) -> None:
    there = on("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingError) as error:
        build_module(there, "hand", 0, there.devices["hand"])
    assert str(error.value) == ("hand runs on cuda:0, but PyTorch sees no CUDA device here. Fix: graph.hand.device=auto, or "
                                "a machine that has it")


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_a_world_stays_on_the_cpu(two_devices: None, name: str) -> None:
    with pytest.raises(GraphError) as error:
        to_graph(compose([f"+graph.world.device={name}"]))
    assert str(error.value).endswith(f"world.device is '{name}': a World always runs on the CPU. Fix: ~graph.world.device")
    assert to_graph(compose(["+graph.world.device=cpu"])).hash() == to_graph(compose()).hash()

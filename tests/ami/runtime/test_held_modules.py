"""The modules of a process: replicas of callees, bound calls, and weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ami
from ami.config.compose import to_graph
from ami.errors import CallError, CheckpointError
from ami.graph.spec import ModuleSpec
from ami.module import module_behind
from ami.runtime.build import build_module, load_weights
from ami.runtime.worker import Worker
from tests.ami.runtime.test_worker import begin, begun, live
from tests.ami.toys import Head, Wise, graph

# Call edges and replicas ------------------------------------------------------------------------------------------------


def test_a_worker_without_the_callees_node_has_a_replica_of_it() -> None:
    worker = Worker(graph(), ["head"], 0)
    assert worker.nodes == ("head",) and set(worker.modules) == {"book", "head"}
    begin(worker, [True])
    fired = worker.fire(("head",), 0, [(0, {"eye": {"state": torch.full((1, 3), 4.0)}})])
    assert fired["head"]["plan"].unique().tolist() == [4]


def test_a_worker_without_the_caller_holds_no_replica() -> None:
    assert set(Worker(graph(), ["eye", "hand"], 0).modules) == {"eye", "hand"}


def test_in_one_process_the_callee_is_the_module_itself() -> None:
    worker = Worker(graph(), graph().order, 0)
    assert module_behind(worker.modules["head"].calls.book) is worker.modules["book"]


def test_a_planner_plans_with_a_replica_of_the_world_model() -> None:
    shipped = to_graph(ami.compose())
    whole, part = begun(shipped, batch=2), Worker(shipped, ["planner"], 0)
    begin(part, [True, True])
    assert part.nodes == ("planner",) and set(part.modules) == {"planner", "world_model", "cost"}
    fired = live(whole, range(2))
    for tick, outputs in enumerate(fired):
        own = part.fire(("planner",), tick, [(tick, outputs)])["planner"]
        assert all(torch.equal(own[port], value) for port, value in outputs["planner"].items())


@pytest.mark.parametrize("target", ["states", "pixels"])
def test_calls_for_learning_are_bound_for_learning_alone(target: str) -> None:
    alone = ["world_model.anti_collapse=none"] if target == "pixels" else []
    shipped = to_graph(ami.compose([f"world_model.target={target}", *alone]))
    holders = [node for node in shipped.order if "perception" in Worker(shipped, [node], 0).modules]
    assert sorted(holders) == ["goal", "perception"]
    assert shipped.callees("world_model") == () and shipped.callees("world_model", learning=True) == ("perception",)
    assert "perception" not in Worker(shipped, shipped.order, 0).modules["world_model"].calls
    learner = Worker(shipped, ["world_model"], 0, learning=True)
    assert module_behind(learner.modules["world_model"].calls.perception) is learner.modules["perception"]


def test_an_unbound_call_is_refused_when_it_is_made() -> None:
    class Lonely(Head):
        def step(self, state: Tensor, hint: Tensor | None = None) -> dict[str, Tensor]:
            return self.calls.friend.ask(state)

    worker = begun(graph({"head": ModuleSpec(Lonely)}))
    with pytest.raises(CallError, match="head calls 'friend', which is not bound"):
        worker.fire(worker.nodes, 0)


# Weights --------------------------------------------------------------------------------------------------------------


def read(worker: Worker, node: str = "book") -> Tensor:
    return worker.modules[node].state_dict()["reads.weight"]


WISE = graph({"book": ModuleSpec(Wise)})


def test_the_same_seed_gives_the_same_weights_in_every_worker() -> None:
    torch.manual_seed(1)
    whole = Worker(WISE, WISE.order, 5)
    torch.manual_seed(2)
    assert torch.equal(read(whole), read(Worker(WISE, ["head"], 5)))
    assert torch.equal(read(whole), read(Worker(WISE, ["book"], 5)))
    assert torch.equal(read(whole), build_module(WISE, "book", 5).state_dict()["reads.weight"])


def test_another_seed_or_node_gives_other_weights() -> None:
    shelf = graph({"book": ModuleSpec(Wise), "shelf": ModuleSpec(Wise)}, shelf={})
    assert not torch.equal(read(Worker(WISE, WISE.order, 5)), read(Worker(WISE, WISE.order, 6)))
    assert not torch.equal(read(Worker(shelf, shelf.order, 5)), read(Worker(shelf, shelf.order, 5), "shelf"))
    assert torch.equal(read(Worker(WISE, WISE.order, 5)), read(Worker(shelf, shelf.order, 5)))


def test_the_shipped_agents_weights_do_not_depend_on_the_worker() -> None:
    shipped = to_graph(ami.compose())
    whole = Worker(shipped, shipped.order, 3)
    for nodes in (["planner"], ["perception", "goal"], ["world_model"]):
        for node, module in Worker(shipped, nodes, 3).modules.items():
            for name, value in module.state_dict().items():
                assert torch.equal(value, whole.modules[node].state_dict()[name]), f"{node}.{name}"


def test_building_modules_does_not_change_torchs_global_stream() -> None:
    before = torch.get_rng_state()
    Worker(WISE, WISE.order, 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_trained_weights_reach_the_node_and_its_replicas_and_no_other() -> None:
    trained = {"book": {"reads.weight": torch.full((5, 3), 7.0), "reads.bias": torch.zeros(5)}}
    for nodes in (["book"], ["head"]):
        assert read(Worker(WISE, nodes, 0, trained)).unique().tolist() == [7]
    assert set(Worker(WISE, ["eye"], 0, trained).modules) == {"eye"}
    assert torch.equal(read(Worker(WISE, ["book"], 0, {"eye": {}})), read(Worker(WISE, ["book"], 0)))


@pytest.mark.parametrize(("weights", "which"), [
    ({"reads.weight": (5, 4), "reads.bias": (5,)}, "reads.weight"),
    ({"reads.weight": (5, 3)}, "reads.bias"),
    ({"reads.weight": (5, 3), "reads.bias": (5,), "writes.weight": (1,)}, "writes.weight"),
    ({"a": (1,), "b": (1,)}, "reads.weight, reads.bias, a and more"),
])
def test_weights_of_another_shape_or_name_are_refused(weights: dict[str, tuple[int, ...]], which: str) -> None:
    trained = {"book": {name: torch.zeros(shape) for name, shape in weights.items()}}
    with pytest.raises(CheckpointError) as refused:
        Worker(WISE, ["head"], 0, trained)
    assert str(refused.value) == (
        f"the checkpoint does not fit book (Wise): {which} differ in name or shape. "
        "Fix: retrain this agent, or load it with the settings it was trained with")


def test_refused_weights_change_nothing() -> None:
    module = build_module(WISE, "book", 0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_weights("book", module, {"reads.weight": torch.zeros(5, 3), "reads.bias": torch.zeros(4)})
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())

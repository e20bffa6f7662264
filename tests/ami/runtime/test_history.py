"""World history: a gymnasium world is brought back by doing its actions again; a worker restored in mid-episode goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import ami
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.errors import SettingError, WorldFault
from ami.graph.graph import Graph
from ami.runtime.history import HELD, Step, WorldHistory, WorldSnapshot, pack, unpack
from ami.runtime.worker import Worker

ROOM = {"start": [4.0, 20.0], "goal": [28.0, 28.0], "door": 10.0}


@pytest.fixture(scope="module")
def of() -> Graph:
    return to_graph(ami.compose(["agent=random"]))


def begun(of: Graph, batch: int) -> Worker:
    worker = Worker(of, of.order, 0, history=True)
    worker.begin(torch.ones(batch, dtype=torch.bool), episodes(range(batch)), 0)
    return worker


def episodes(numbers: Any) -> list[Episode]:
    return [Episode(number, number, {**ROOM, "start": [4.0, 8.0 + number]}) for number in numbers]


def begin(worker: Worker, row: int, number: int, batch: int) -> None:
    mask = torch.zeros(batch, dtype=torch.bool)
    mask[row] = True
    worker.begin(mask, episodes([number] * batch), 0)


def test_a_worker_with_a_gymnasium_world_goes_on_where_its_snapshot_was_taken(of: Graph) -> None:
    worker = begun(of, 3)
    for tick in range(8):
        if tick == 3:
            begin(worker, 1, 7, 3)
        if tick == 5:
            begin(worker, 1, 8, 3)
        worker.fire(worker.nodes, tick)
    begin(worker, 2, 9, 3)  # begins at the next tick
    taken = worker.snapshot()
    other = Worker(of, of.order, 0, history=True)
    other.restore(taken)
    for tick in range(8, 14):
        ours, theirs = worker.fire(worker.nodes, tick), other.fire(other.nodes, tick)
        assert all(torch.equal(value, theirs[node][port]) for node, sent in ours.items() for port, value in sent.items())
    again = other.snapshot()
    assert len(again.worlds["world"].steps) == len(worker.snapshot().worlds["world"].steps)


def test_the_history_forgets_ticks_that_no_running_episode_needs(of: Graph) -> None:
    worker = begun(of, 2)
    for tick in range(9):
        if tick == 3:
            begin(worker, 0, 5, 2)
        if tick == 6:
            begin(worker, 1, 6, 2)
        worker.fire(worker.nodes, tick)
    snapshot = worker.snapshot().worlds["world"]
    assert len(snapshot.steps) == 6, "from tick 3, at which the older of the two episodes began"
    assert all(set(step.outputs) <= set(HELD) for step in snapshot.steps[:-1]), "small outputs alone"
    assert set(snapshot.steps[-1].outputs) == set(of.outputs["world"])


def test_a_world_that_does_something_else_is_named(of: Graph) -> None:
    worker = begun(of, 2)
    for tick in range(4):
        worker.fire(worker.nodes, tick)
    taken = worker.snapshot()
    snapshot = taken.worlds["world"]
    changed = dict(snapshot.steps[-1].outputs)
    changed["truth"] = changed["truth"] + torch.tensor([[0.0], [1.0]])
    forged = snapshot._replace(steps=(*snapshot.steps[:-1], snapshot.steps[-1]._replace(outputs=changed)))
    with pytest.raises(WorldFault) as refused:
        Worker(of, of.order, 0).restore(taken._replace(worlds={"world": forged}))
    assert str(refused.value) == ("the world's truth differs from the recorded one at re-executed tick 3 of 4: "
                                  "expected the same episode for the same seed and actions. Fix: draw from self.np_random, "
                                  "after super().reset(seed=seed)")
    Worker(of, of.order, 0).restore(taken._replace(worlds={"world": forged.without_outputs()}))


def test_a_snapshot_without_the_history_of_a_world_is_refused(of: Graph) -> None:
    worker = Worker(of, of.order, 0)
    worker.begin(torch.ones(1, dtype=torch.bool), episodes([0]), 0)
    with pytest.raises(SettingError) as refused:
        worker.snapshot()
    assert str(refused.value) == "a snapshot needs the history of world, which was not kept. Fix: Worker(…, history=True)"


def test_an_empty_history_has_an_empty_snapshot() -> None:
    assert WorldHistory().snapshot() == WorldSnapshot((), None, ())


def test_packed_ticks_are_unpacked_as_they_were() -> None:
    mask, episodes = torch.tensor([True, False]), (Episode(0, seed=1), Episode(1, seed=2))
    steps = [Step(mask if tick == 0 else None, episodes, {"action": torch.full((2, 1), float(tick)), "mode": None},
                  {"reward": torch.full((2,), float(tick))} | ({"observation": torch.ones(2, 3)} if tick == 4 else {}))
             for tick in range(5)]
    packed = pack(steps)
    assert len(packed) == 2
    for found, step in zip(unpack(packed), steps, strict=True):
        assert found.begun is step.begun and found.episodes == step.episodes and found.inputs["mode"] is None
        assert torch.equal(found.inputs["action"], step.inputs["action"])
        assert found.outputs.keys() == step.outputs.keys()
        assert all(torch.equal(found.outputs[port], value) for port, value in step.outputs.items())

"""Baselines: wires and nodes that do not fit the preset's modules are removed, the others are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import compose, compose_baseline, to_graph
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime

OWN = '''
from ami.module import Module
from ami.ports import Port
from modules.actor.plan_follower import PlanFollower
from modules.planner.cem import CEM


class Hinted(PlanFollower):
    """An actor with an input of its own, which leaves no input unread."""

    inputs = {**PlanFollower.inputs, "hint": Port("energy")}
    outputs = {**PlanFollower.outputs, "doubt": Port("energy")}

    def step(self, hint, **inputs):
        return {**super().step(**inputs), "doubt": hint}


class Telling(CEM):
    """A planner with an output of its own."""

    outputs = {**CEM.outputs, "spread": Port("energy")}

    def step(self, **inputs):
        sent = super().step(**inputs)
        return {**sent, "spread": sent["energy"]}


class Reflex(Module):
    """An actor that reads only the state."""

    inputs = {"state": PlanFollower.inputs["state"]}
    outputs = PlanFollower.outputs

    def step(self, state):
        return {"action": state.new_zeros(len(state), self.dims["A"])}


class Reader(Module):
    """A node that needs an output of another node."""

    inputs = {"value": Port("energy")}
    outputs = {"value": Port("energy")}

    def step(self, value):
        return {"value": value + 1}
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return ["own_parts."]


def baseline(name: str, overrides: list[str], allow: list[str]) -> Graph:
    config = compose(overrides, allow=allow)
    to_graph(config)  # the user's own graph is valid
    return to_graph(compose_baseline(config, name))


def wires(graph: Graph) -> set[str]:
    return {str(wire) for wire in graph.wires}


@pytest.mark.parametrize("name", ["random", "explorer", "straight_line", "oracle", "teacher"])
def test_a_wire_to_a_users_actor_breaks_no_baseline(name: str, package: list[str]) -> None:
    graph = baseline(name, ["actor._target_=own_parts.Hinted", "+graph.actor.hint=cost.energy"], package)
    keeps = graph.specs["actor"].name == "own_parts.Hinted"
    assert keeps == (name in ("oracle", "teacher"))
    assert ("cost.energy → actor.hint" in wires(graph)) == keeps


def test_a_users_node_is_removed_with_the_output_that_it_needs(package: list[str]) -> None:
    own = ["planner._target_=own_parts.Telling", "+reader._target_=own_parts.Reader",
           "+graph.reader={value: planner.spread}", "+after._target_=own_parts.Reader", "+graph.after={value: reader.value}",
           "+aside._target_=own_parts.Reader", "+graph.aside={value: cost.energy}"]
    assert {"reader", "after", "aside"} <= set(baseline("oracle", own, package).order)  # the oracle keeps the planner
    random = baseline("random", own, package)
    assert not {"reader", "after"} & set(random.order) and "aside" in random.order
    with Agent(LocalRuntime(random, 0)) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), [Episode(0, seed=1)])
        agent.cycle()


def test_an_optional_wire_from_a_missing_output_is_removed(package: list[str]) -> None:
    own = ["actor._target_=own_parts.Hinted", "+graph.actor.hint=cost.energy", "goal=image",
           "+aside._target_=own_parts.Reader", "+graph.aside={value: actor.doubt}",
           "graph.memory.surprise=null", "graph.configurator.energy=aside.value@-1"]
    assert "aside.value@-1 → configurator.energy" in wires(baseline("teacher", own, package))
    random = baseline("random", own, package)
    assert "aside" not in random.order and "configurator.energy" not in {f"{w.to_node}.{w.to_port}" for w in random.wires}


def test_a_dropped_wire_is_restored_if_the_baseline_needs_it(package: list[str]) -> None:
    own = ["actor._target_=own_parts.Reflex", "~graph.actor.goal", "~graph.actor.plan", "~graph.actor.mode"]
    graph = baseline("random", own, package)
    # the size of an action is inferred over the last wire
    assert {"goal.goal → actor.goal", "configurator.mode → actor.mode", "planner.plan → actor.plan"} <= wires(graph)


def test_fitting_wires_of_replaced_nodes_stay_as_configured() -> None:
    late = compose_baseline(compose(["graph.perception.observation=world.observation@-1"]), "oracle")
    assert "world.observation@-1 → perception.observation" in wires(to_graph(late))


def test_baselines_compose_without_a_removed_node() -> None:
    for name in ("random", "oracle", "straight_line"):
        graph = baseline(name, ["~graph.memory", "~graph.world_model.recall"], [])
        assert "memory.recall@-1 → world_model.recall" not in wires(graph)


@pytest.mark.parametrize("override", ["world_model=recurrent_place", "configurator.rule=errand", "level2.hold=3",
                                      "graph.planner.goal=wish.goal"])
def test_overrides_of_parts_that_the_users_preset_alone_chose_are_dropped(override: str) -> None:
    plain, changed = (compose_baseline(compose(["agent=house", *more]), "wanderer") for more in ([], [override]))
    assert to_graph(changed).describe() == to_graph(plain).describe()


def test_overrides_of_other_parts_are_kept() -> None:
    found = compose_baseline(compose(["agent=house", "world.rooms=4"]), "wanderer")
    assert found.settings.world.rooms == 4

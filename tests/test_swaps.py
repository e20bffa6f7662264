"""Every default module swapped for each of its alternatives: it runs ten ticks, or is refused with a reason.

The list is generated from `configs/`. A new option is expected to run; REFUSED has the reasons of those that cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from tiny_weights import tiny_weights

from ami.agent import Agent
from ami.blueprint import Episode
from ami.cli.listing import SECTIONS, options_of
from ami.config.compose import compose, to_graph
from ami.errors import AmiError
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime

TICKS, WORLDS = 10, 2
OPTIONS = [f"{group}={name}" for section in ("modules", "worlds") for group in SECTIONS[section]
           for name, _ in options_of(group) if (group, name) != ("world", "data")]  # it only describes a file
SEEN = ["world.observe=state", "perception=identity", "goal=vector"]
GYM = ["world=gym", "perception=vector", "goal=none"]
TOKENS = ["perception=vit", "perception.pool=tokens", "cost=goal_distance"]
REFUSED = {
    "perception=patches": ("JEPA receives percepts of shape (16, 192): expected vectors", [
        "world_model=ac", "cost=goal_distance"]),
    "perception=keypoints": ("JEPA receives percepts of shape (8, 8): expected vectors", [
        "world_model=ac", "cost=goal_distance"]),
    "world_model=vjepa": ("VJEPA receives percepts of shape (64,): expected tokens (L, D)", [
        "perception=patches", "cost=goal_distance"]),
    "world_model=ac": ("AC receives percepts of shape (64,): expected tokens (N, D)", TOKENS),
    "perception=identity": ("JEPA receives percepts of shape (32, 32, 3): expected vectors", ["world.observe=state"]),
    "perception=hf": ("perception.path is not set: expected a folder", ["perception.path=WEIGHTS"]),
    "world_model=simulator": ("expected the true state as percept. Fix: perception=identity", SEEN),
    "goal=recall": ("Fix: graph.goal.recall=memory.nearest", ["experiment=novelty"]),
    "cost=novelty": ("wrong shape along goal.goal → cost.goal", ["experiment=novelty"]),
    "goal=vector": ("wrong shape along the call cost ⇄ world_model: cost has Q = (32, 32, 3), not (64,)",
                    ["world_model=simulator", *SEEN]),
    "cost=curiosity": ("Fix: world_model=ensemble", ["world_model=ensemble"]),
    "cost=reward": ("Fix: world_model.rewards=true", ["world_model.rewards=true"]),
    "actor=plan_decoder": ("Fix: graph.actor.calls.world_model=<node>", ["+graph.actor.calls.world_model=world_model"]),
    "planner=categorical": ("plans choices, but here an action is 2 numbers in [-1, 1]", GYM),
    "planner=tree": ("plans choices, but here an action is 2 numbers in [-1, 1]", GYM),
    "world_model=place": ("world_model calls perception.encode_static", ["perception=two_streams"]),
    "world_model=recurrent_place": ("world_model calls perception.encode_static", ["perception=two_streams"]),
    "memory=cognitive_map": ("Fix: graph.memory.percept=perception.percept", ["agent=house"]),
    "actor=scripted": ("actor.map is not wired and actor needs it", ["agent=house_oracle", "world=house"]),
    "actor=state_script": ("actor.truth is not wired and actor needs it", ["agent=tabletop_expert"]),
    "memory=recurrent": ("Fix: graph.memory.percept=perception.percept", ["experiment=memory_s7"]),
    "actor=scripted_choice": ("actor.map is not wired and actor needs it", [
        "experiment=memory_s7", "+graph.actor.map=world.map"]),
    "actor=action_values": ("values every combination of choices, and here an action is 2 numbers in [-1, 1]", GYM),
    "actor=model_policy": ("Fix: graph.actor.calls.world_model=<node>", [
        "+graph.actor.calls.world_model=world_model", "+graph.actor.calls.cost=cost"]),
    "configurator=drives": ("configurator.ways is not wired and configurator needs it", ["agent=house"]),
    "configurator=meta_controller": ("configurator.ways is not wired and configurator needs it", ["agent=house"]),
    "cost=drives": ("cost.body is not wired and cost needs it", ["agent=house"]),
    "configurator=surprise_gate": ("an actor that reacts", ["actor=policy"]),
}
"""The reason why an option is refused on its own, and the further overrides that it needs."""
MEMORIES = [name for name, _ in options_of("memory") if name != "recurrent"]  # its states are percepts and recalls


def ticks(overrides: Sequence[str]) -> int:
    """Return the number of ticks that the agent runs with initial weights."""
    with Agent(LocalRuntime(to_graph(compose(overrides)))) as agent:
        return sum(1 for _ in islice(rollout(agent, [Episode(number, seed=number) for number in range(WORLDS)]), TICKS))


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in REFUSED])
def test_swap_runs(option: str) -> None:
    assert ticks([option]) == TICKS


@pytest.mark.parametrize("option", REFUSED)
def test_refused_swap_has_a_reason(option: str) -> None:
    with pytest.raises(AmiError) as error:
        ticks([option])
    assert REFUSED[option][0] in str(error.value)


@pytest.mark.parametrize("option", REFUSED)
def test_refused_swap_runs_with_its_further_overrides(option: str, tmp_path: Path) -> None:
    further = REFUSED[option][1]
    if any("WEIGHTS" in override for override in further):
        further = [override.replace("WEIGHTS", str(tiny_weights(tmp_path))) for override in further]
    assert ticks([option, *further]) > 0


@pytest.mark.parametrize("name", MEMORIES)
def test_every_memory_fits_the_house(name: str) -> None:
    assert ticks(["agent=house", f"memory={name}"]) == TICKS


def test_refused_options_exist() -> None:
    assert set(REFUSED) <= set(OPTIONS)

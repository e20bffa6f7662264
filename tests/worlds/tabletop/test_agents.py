"""The table in a graph: two ports, the manifest, experts that see pictures, the oracle on the true dynamics."""

import pytest
import torch

from ami.agent import Agent
from ami.config.compose import compose, to_graph
from ami.errors import GraphError
from ami.evaluation.manifest import Manifest
from ami.learning.collect import collect, collector
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime


def solved(agent, pairs, *overrides):
    """Return the number of solved episodes, by kind."""
    graph = to_graph(compose([f"agent={agent}", *overrides]))
    manifest = Manifest.make(graph.drafts["world"], 5, pairs)
    episodes, done = manifest.episodes(), {}
    with Agent(LocalRuntime(graph, 0, watch=("world.success", "world.episode"))) as running:
        for step in rollout(running, episodes):
            for number, success in zip(step.outputs["world.episode"].tolist(), step.outputs["world.success"].tolist(),
                                       strict=True):
                if number >= 0:
                    done[number] = success
    kinds = {}
    for number, pair in enumerate(manifest.pairs):
        kinds[pair["kind"]] = kinds.get(pair["kind"], 0) + bool(done[number])
    return kinds


def test_ports_are_sent_only_if_read():
    plain, wired = (to_graph(compose(["world=tabletop", "learning=none", "agent=random", *more]))
                    for more in ([], ["actor=state_script", "+graph.actor.truth=world.state"]))
    assert set(wired.outputs["world"]) - set(plain.outputs["world"]) == {"state"}


def test_a_manifest_is_sealed_and_depends_on_the_unseen_factors():
    def made(*more):
        return Manifest.make(to_graph(compose(["world=tabletop", "agent=random", *more])).drafts["world"], 3, 2)

    assert made().hash == made().hash != made("world.unseen=texture").hash
    assert {pair["kind"] for pair in made().pairs} == {"reach", "grasp", "reach_with_object", "pick_and_place"}
    assert {"places", "gripper", "goal", "lighting", "camera"} <= set(made().episodes()[0].options)


def test_the_oracle_solves_every_task_and_random_actions_do_not():
    assert sum(solved("tabletop_oracle", 1).values()) == 4
    assert sum(solved("random", 3, "world=tabletop").values()) <= 4


def test_the_straight_line_reaches_and_does_not_grasp():
    found = solved("tabletop_straight_line", 6)
    assert found["reach"] >= 5 and found["grasp"] + found["pick_and_place"] <= 1


def test_experience_of_the_expert_holds_pictures():
    graph = to_graph(compose(["agent=tabletop_expert", "world.kind=mixed"]))
    with collector(graph, 0) as running:
        found = collect(running, 8, 60, 8, 0)
    episode = found.episode(0)
    assert episode["observation"].shape[1:] == (48, 48, 3) and episode["observation"].dtype == torch.uint8
    ends = torch.stack([found.episode(number)["truth"][-1] for number in range(8)])
    assert ends.shape == (8, 27)


def test_a_misspelt_setting_has_a_suggestion():
    with pytest.raises(GraphError, match="TableTop-v0 has no setting 'unsen': did you mean 'unseen'"):
        to_graph(compose(["world=tabletop", "agent=random", "world.unsen=all"]))

"""The house in a graph: ports on demand, the price of thinking, collected walks, scripted agents."""

import torch

from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import compose, to_graph
from ami.evaluation.manifest import Manifest
from ami.learning.collect import collect, collector
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime

REACTIVE = ["world=house", "planner=none", "graph.planner.calls=null", "learning=none"]


def run(overrides, watch, episodes, ticks):
    graph = to_graph(compose(overrides))
    with Agent(LocalRuntime(graph, 0, watch=watch)) as agent:
        return [step.outputs for step, _ in zip(rollout(agent, episodes), range(ticks), strict=False)]


def test_ports_are_sent_only_if_read():
    plain, wired = (to_graph(compose([*REACTIVE, *more])) for more in ([], ["+graph.actor.body=world.body", "actor=wander"]))
    assert set(wired.outputs["world"]) - set(plain.outputs["world"]) == {"body"}
    assert wired.drafts["world"].outputs["body"].kind == "observation"


def test_planning_costs_battery_only_where_it_is_set():
    left = {}
    for cost, mode in ((0.0, 2), (1.0, 1), (1.0, 2)):
        overrides = [*REACTIVE, "actor=wander", "graph.actor.body=world.body", "world.kind=life", "world.tour=false",
                     f"world.thinking_cost={cost}", f"configurator.mode={mode}", "world.battery=1000"]
        sent = run(overrides, ("world.body",), [Episode(0, 4)], 12)
        left[cost, mode] = sent[-1]["world.body"][0, 0].item()
    assert left[1.0, 2] < left[1.0, 1] == left[0.0, 2]


def test_a_manifest_holds_every_map_and_starts_every_episode():
    graph = to_graph(compose(["world=house", "agent=house_oracle"]))
    manifest = Manifest.make(graph.drafts["world"], 3, 2)
    assert [pair["kind"] for pair in manifest.pairs] == ["far", "far", "life", "life"]
    again = Manifest.make(to_graph(compose(["world=house", "agent=house_oracle"])).drafts["world"], 3, 2)
    assert again.hash == manifest.hash
    assert {"doors", "look", "home", "charger", "tour", "goals"} <= set(manifest.episodes()[0].options)


def test_wandering_crosses_rooms_more_often_than_random_actions():
    rooms = {}
    for agent in ("wanderer", "random"):
        graph = to_graph(compose(["world=house", f"agent={agent}"]))
        with collector(graph, 0) as running:
            found = collect(running, 20, 100, 20, 0)
        places = torch.stack([found.episode(number)["truth"] for number in range(20)]) // 16
        rooms[agent] = (places[:, 1:] != places[:, :-1]).any(-1).double().sum(1).mean().item()
    assert rooms["wanderer"] > 1.5 and rooms["wanderer"] > rooms["random"]

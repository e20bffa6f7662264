from ami.blueprint import Planner, World, WorldModel
from ami.config.compose import compose, to_graph
from ami.trace.roles import Roles


def test_the_nodes_of_two_levels_are_found_by_role() -> None:
    graph = to_graph(compose(["agent=two_levels"]))
    header = {"graph": graph.describe(), "roles": {node: graph.drafts[node].role for node in graph.order}}
    for roles in (Roles(header), Roles({"graph": header["graph"]})):  # the latter: by the modules' folders
        for role in (World, WorldModel, Planner):
            assert roles.nodes_of(role) == graph.nodes_of(role)
        assert roles.world == "world" and roles.actions == ("actor.action",)
        assert roles.planners == ("planner", "upper_planner"), "the actor's first"
        assert roles.model_of("upper_planner") == "upper_model" and roles.model_of("planner") == "world_model"
        assert roles.role("nothing") == "module"


def test_a_node_of_an_older_trace_has_the_role_that_it_is_named_after() -> None:
    graph = {"order": ["world", "memory", "mine"], "wires": ["memory.out@-1 → world.action", "world.a → world.b"],
             "nodes": {"world": {"_target_": "mypkg.Room"}, "memory": {}, "mine": {"_target_": "mypkg.parts.Mine"}}}
    roles = Roles({"graph": graph})
    assert [roles.role(node) for node in graph["order"]] == ["world", "memory", "module"]
    assert roles.actions == ("memory.out",) and roles.model_of("mine") == "" and roles.planners == ()

from pathlib import Path

from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import compose, to_graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.tracking.planner_figures import planner_figures
from ami.views.tables import Tables


def test_each_planner_counts_its_own_plans(tmp_path: Path) -> None:
    graph = to_graph(compose(["agent=two_levels", "configurator=fixed"]))
    write_header(tmp_path, graph, seed=3)
    episodes = [Episode(0, 1, {"start": [6.0, 10.0], "goal": [13.0, 10.0], "door": 10.0}),
                Episode(1, 2, {"start": [6.0, 10.0], "goal": [12.0, 20.0], "door": 10.0}),
                Episode(2, 3, {"start": [6.0, 10.0], "goal": [7.0, 22.0], "door": 10.0})]
    ages = {"planner": 0, "upper_planner": 0}
    with Agent(LocalRuntime(graph, 3, recorder=TraceLog(tmp_path / "trace" / "agent-0"))) as agent:
        for step in rollout(agent, episodes, 2, refill=True):
            ages["planner"] += int(step.alive.sum())
            ages["upper_planner"] += int((step.alive & (step.age % 4 == 0)).sum())
    found = planner_figures(Tables.load(tmp_path))
    assert {planner: figures["plans"] for planner, figures in found.items()} == ages
    assert found["upper_planner"]["model_steps"] == 3 * found["planner"]["model_steps"], "12 steps ahead, and 4"

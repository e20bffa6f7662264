"""ExpertPlans: the agents that plan, the plans that are kept, and the resumption of a killed stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ami
from ami.agent import Agent
from ami.config.compose import Config, compose_baseline, to_graph
from ami.errors import SettingError
from ami.learning import checkpoint
from ami.learning.sources.expert_plans import planned_ports, run
from ami.runtime.local import LocalRuntime
from ami.saved.agent_file import Trained, open_trained
from ami.session.learn import learn
from tests.support.stages import interrupted_at

SMALL = ["experiment=mode1", "learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=10",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=10", "learning.stages.critic.batch=8",
         "learning.stages.policy.steps=20", "learning.stages.policy.batch=8", "learning.stages.policy.source.episodes=3",
         "world.max_episode_steps=6", "learning.save_every=4", "runtime=local"]


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder}", *overrides])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training without interruption."""
    return learn(config(tmp_path_factory.mktemp("whole")))


def weights_of(file: Path | None) -> dict[str, torch.Tensor]:
    assert file is not None
    return {name: value for name, value in checkpoint.load(file)[0].items() if not name.startswith("readout/")}


def test_plans_after_the_end_of_an_episode_are_not_kept(tmp_path: Path) -> None:
    graph = to_graph(compose_baseline(config(tmp_path), "teacher"))
    reported: list[int] = []
    with Agent(LocalRuntime(graph, 0, watch=tuple(planned_ports(graph).values()))) as agent:
        plans = run(agent, range(60, 120), 5, reported.append)
    assert reported == [50, 60]
    horizon, width = graph.dims["planner"]["H"], graph.dims["planner"]["U"]
    assert plans.plan.shape[1:] == (horizon, width) and len(plans.state) == len(plans.goal) == len(plans.plan)
    assert 60 < len(plans.plan) <= 60 * 6
    assert bool(plans.plan.flatten(1).any(1).all()), "a row without a plan was kept"
    batch = plans.draw(7)
    assert {name: len(value) for name, value in batch.items()} == {"state": 7, "goal": 7, "plan": 7}


def test_the_experts_of_a_reactive_agent_are_a_planning_one_and_an_apprentice(tmp_path: Path) -> None:
    composed = config(tmp_path)
    graphs = {name: to_graph(compose_baseline(composed, name)) for name in ("teacher", "apprentice")}
    modes = {name: (graph.specs["configurator"].make(), graph.specs["actor"].name) for name, graph in graphs.items()}
    assert to_graph(composed).specs["configurator"].make().mode == 1
    assert modes["teacher"][0].mode == 2 and modes["apprentice"][0].share == 0.5
    assert "configurator.acting → actor.mode" in [str(wire) for wire in graphs["apprentice"].wires]


def test_all_agents_plan_and_only_the_policy_learns(tmp_path: Path, whole: Trained) -> None:
    calls: list[tuple[str, int]] = []

    from ami.learning.sources import expert_plans

    run_of = expert_plans.run

    def watched(agent: Agent, numbers: range, *rest: object) -> object:
        calls.append((agent.graph.specs["configurator"].name.rsplit(".")[-1], numbers.start))
        return run_of(agent, numbers, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert_plans, "run", watched)
        trained = learn(config(tmp_path, "learning.stages.policy.source.agents=[teacher,apprentice,apprentice]"))
    assert calls == [("FixedConfigurator", 0), ("Practice", 3), ("Practice", 6)]
    differ = {node for node, state in whole.weights.items() for name, value in state.items()
              if not torch.equal(value, trained.weights[node][name])}
    assert differ == {"actor"}
    assert trained.file is not None and [file.name for file in trained.file.parent.iterdir()] == ["agent.safetensors"]


def test_a_stage_interrupted_during_the_apprentice_ends_with_the_same_weights(tmp_path: Path, whole: Trained) -> None:
    with interrupted_at("policy", 13):
        learn(config(tmp_path / "cut"))
    after = learn(config(tmp_path / "cut"))
    one, two = weights_of(whole.file), weights_of(after.file)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_key_depends_on_the_experts_and_not_on_the_running_configurator(tmp_path: Path, whole: Trained) -> None:
    assert whole.file is not None
    store = whole.file.parents[2]
    assert learn(config(store, "configurator.mode=2")).cached
    assert learn(config(tmp_path, "planner.horizon=3")).key != whole.key
    open_trained(whole.file, to_graph(config(store, "planner=random_shooting")))


@pytest.mark.parametrize(("overrides", "words"), [
    (["learning.stages.policy.source.agents=[]"], "ExpertPlans.agents is []: expected one or more names"),
    (["learning.stages.policy.source.agents=[random]"], "random, which never planned in 3 episodes. Fix: an agent in"),
    (["learning.stages.policy.source={_target_: ami.learning.sources.frames.Frames}"],
     "the loss of actor needs 'state'. Fix: another source"),
])
def test_a_stage_that_cannot_learn_from_plans_is_refused(overrides: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        learn(ami.compose([*(text for text in SMALL if "source=" not in overrides[0] or ".source." not in text), *overrides,
                           f"store={tmp_path}"]))
    assert words in str(refusal.value)

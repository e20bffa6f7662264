"""A policy learns from what agents in Mode-2 planned: who lives, what is kept, and how a killed stage goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ami
from ami.agent import Agent
from ami.config.compose import Config, compose_baseline, to_graph
from ami.errors import SettingError
from ami.learning import checkpoint
from ami.learning.expert_plans import WATCH, live
from ami.learning.stage import Stage
from ami.runtime.local import LocalRuntime
from ami.saved.agent_file import Trained, open_trained
from ami.session.train import train

SMALL = ["experiment=mode1", "learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=10",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=10", "learning.stages.critic.batch=8",
         "learning.stages.policy.steps=20", "learning.stages.policy.batch=8", "learning.stages.policy.episodes=3",
         "world.max_episode_steps=6", "learning.save_every=4", "runtime=local"]


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder}", *overrides])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training that nothing interrupted."""
    return train(config(tmp_path_factory.mktemp("whole")))


def weights_of(file: Path | None) -> dict[str, torch.Tensor]:
    assert file is not None
    return {name: value for name, value in checkpoint.load(file)[0].items() if not name.startswith("readout/")}


def test_what_is_kept_is_what_was_planned_in_worlds_that_were_not_over(tmp_path: Path) -> None:
    graph = to_graph(compose_baseline(config(tmp_path), "teacher"))
    told: list[int] = []
    with Agent(LocalRuntime(graph, 0, watch=WATCH)) as agent:
        plans = live(agent, range(60, 120), 5, told.append)
    assert told == [50, 60]
    horizon, width = graph.dims["planner"]["H"], graph.dims["planner"]["A"]
    assert plans.plan.shape[1:] == (horizon, width) and len(plans.state) == len(plans.goal) == len(plans.plan)
    assert 60 < len(plans.plan) <= 60 * 6
    assert bool(plans.plan.flatten(1).any(1).all()), "a row that did not plan was kept"
    batch = plans.draw(7)
    assert {name: len(value) for name, value in batch.items()} == {"state": 7, "goal": 7, "plan": 7}


def test_a_mind_that_reacts_is_taught_by_one_that_plans_and_by_an_apprentice(tmp_path: Path) -> None:
    asked = config(tmp_path)
    graphs = {name: to_graph(compose_baseline(asked, name)) for name in ("teacher", "apprentice")}
    modes = {name: (graph.specs["configurator"].make(), graph.specs["actor"].name) for name, graph in graphs.items()}
    assert to_graph(asked).specs["configurator"].make().mode == 1
    assert modes["teacher"][0].mode == 2 and modes["apprentice"][0].share == 0.5
    assert "configurator.acting → actor.mode" in [str(wire) for wire in graphs["apprentice"].wires]


def test_all_agents_bring_plans_and_only_the_policy_learns_from_them(tmp_path: Path, whole: Trained) -> None:
    lived: list[tuple[str, int]] = []

    from ami.learning import plans

    live_of = plans.live

    def watched(agent: Agent, numbers: range, *rest: object) -> object:
        lived.append((agent.graph.specs["configurator"].name.rsplit(".")[-1], numbers.start))
        return live_of(agent, numbers, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "live", watched)
        trained = train(config(tmp_path, "learning.stages.policy.agents=[teacher,apprentice,apprentice]"))
    assert lived == [("FixedConfigurator", 0), ("Practice", 3), ("Practice", 6)]
    differ = {node for node, state in whole.weights.items() for name, value in state.items()
              if not torch.equal(value, trained.weights[node][name])}
    assert differ == {"actor"}
    assert trained.file is not None and [file.name for file in trained.file.parent.iterdir()] == ["agent.safetensors"]


def test_a_stage_interrupted_while_the_apprentice_taught_ends_with_the_same_weights(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Trained) -> None:
    from ami.learning import trainer

    step_of = trainer.Trainer._step

    def stop(self: trainer.Trainer, stage: Stage, step: int, *rest: object) -> object:
        if stage.name == "policy" and step == 13:
            raise KeyboardInterrupt
        return step_of(self, stage, step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer.Trainer, "_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "cut"))
    monkeypatch.undo()
    after = train(config(tmp_path / "cut"))
    one, two = weights_of(whole.file), weights_of(after.file)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_who_taught_makes_another_agent_and_the_configurator_that_runs_does_not(tmp_path: Path, whole: Trained) -> None:
    assert whole.file is not None
    store = whole.file.parents[2]
    assert train(config(store, "configurator.mode=2")).cached
    assert train(config(tmp_path, "planner.horizon=3")).key != whole.key
    open_trained(whole.file, to_graph(config(store, "planner=random_shooting")))


@pytest.mark.parametrize(("overrides", "words"), [
    (["learning.stages.policy.agents=[]"], "learning.stages.policy.agents is []: expected one or more names"),
    (["learning.stages.policy.agents=[random]"], "random, which never planned in 3 episodes. Fix: an agent in Mode-2"),
    (["learning.stages.policy.data=memory"], "needs 'plan'. Fix: data=plans, or another loss"),
])
def test_a_stage_that_cannot_learn_from_plans_says_why(overrides: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        train(config(tmp_path, *overrides))
    assert words in str(refusal.value)

"""Negative controls: the same agent, training and planner, with one necessary part broken.

A short training (a third of the main job's) already reaches the goals; the broken agents stay near chance.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import ami
from ami.agent import Agent
from ami.config.compose import to_graph
from ami.evaluation.evaluate import evaluate
from ami.evaluation.manifest import Manifest
from ami.runtime.build import build_module
from ami.runtime.local import LocalRuntime
from ami.saved.agent_file import Trained
from ami.session.learn import learn

SHORT = ["learning.collect.episodes=400", "learning.stages.model.steps=450", "learning.stages.critic.steps=800",
         "runtime=local"]
ALLOW = ("broken_agents.",)


def success(folder: Path, *overrides: str, trained: bool = True) -> float:
    """Return the success rate over all pairs."""
    config = ami.compose([*SHORT, f"store={folder}", *overrides], allow=ALLOW)
    graph = to_graph(config)
    weights = learn(config).weights if trained else Trained().weights
    manifest = Manifest.make(build_module(graph, "world", 0), 11, 25)
    with Agent(LocalRuntime(graph, 0, weights)) as agent:
        outcomes = evaluate([agent], manifest, 50).successes()
    return sum(outcomes) / len(outcomes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


def test_short_training_reaches_the_goals(store: Path) -> None:
    assert success(store) >= 0.9


def test_untrained_agent_fails(store: Path) -> None:
    assert success(store, trained=False) <= 0.4


def test_blind_agent_fails(store: Path) -> None:
    assert success(store, "perception._target_=broken_agents.BlindConv") <= 0.4


def test_agent_trained_on_shuffled_actions_fails(store: Path) -> None:
    assert success(store, "world_model._target_=broken_agents.ShuffledJEPA") <= 0.4


def test_states_collapse_without_anti_collapse(store: Path) -> None:
    none = learn(ami.compose([*SHORT, f"store={store}", "world_model.anti_collapse=none"]))
    kept = learn(ami.compose([*SHORT, f"store={store}"]))
    assert none.probes["trained"]["std"] < 0.01 < 0.5 < kept.probes["trained"]["std"]
    assert kept.probes["trained"]["r2"] > kept.probes["untrained"]["r2"] + 0.1
    assert kept.probes["trained"]["r2"] > 0.9

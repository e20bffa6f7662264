"""Recorded runs to replay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ami

TINY = ["runtime=local", "evaluation.pairs=2", "evaluation.batch=2", "evaluation.baselines=[]", "evaluation.video=0",
        "planner.horizon=3", "planner.num_candidates=8", "planner.num_elites=2", "planner.num_iterations=1"]
RUNS = {
    "two rooms": ["learning=none", *TINY],
    "gate": ["learning=none", "configurator=surprise_gate", "actor=policy", "memory=short_term", *TINY],
    "slow": ["learning=none", "graph.configurator.every=2", "graph.actor.every=3", *TINY],
    "cartpole": ["world=gym", "world.id=CartPole-v1", "perception=vector", "memory=none", "goal=none", "cost=reward",
                 "world_model.anti_collapse=none", "world_model.rewards=true", "planner=categorical",
                 "learning=none", "runtime=local", "evaluation.pairs=3", "evaluation.batch=2", "evaluation.baselines=[]",
                 "evaluation.video=0"],
}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs with recorded messages between agent and world, each made once."""
    made: dict[str, Path] = {}

    def run(name: str, level: str = "boundary") -> Path:
        if name + level not in made:
            folder = tmp_path_factory.mktemp("recorded")
            config = ami.compose([*RUNS[name], f"trace.level={level}", f"store={folder}"])
            made[name + level] = ami.run(config, folder / "run").folder
        return made[name + level]

    return run


@pytest.fixture
def drifted(recorded, tmp_path: Path) -> Path:
    """A recording that composes to another agent, as if a default had changed since."""
    folder = tmp_path / "drifted"
    shutil.copytree(recorded("two rooms"), folder, ignore=shutil.ignore_patterns("replays"))
    content = json.loads((folder / "header.json").read_text())
    content["details"]["overrides"].append("planner.num_elites=5")
    (folder / "header.json").write_text(json.dumps(content))
    return folder

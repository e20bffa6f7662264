"""A short CartPole training in rounds beats the random and the untrained baseline."""

from __future__ import annotations

import json
from pathlib import Path

import ami


def test_reward_world_is_learnt_and_evaluated_by_return(tmp_path: Path) -> None:
    config = ami.compose(["experiment=cartpole", "runtime=local", f"store={tmp_path}", "evaluation.pairs=30",
                          "learning.rounds=2", "learning.collect.episodes=15", "learning.collect.steps=60",
                          "world.max_episode_steps=60", "learning.stages.model.steps=300",
                          "learning.stages.critic.steps=600", "evaluation.batch=30"])
    run = ami.run(config, tmp_path / "run")
    agent, random, untrained = (run.summary[name]["episode"] for name in ("agent", "random", "untrained"))
    assert agent["success"] is None and agent["return"] > 1.5 * random["return"] > 0 and untrained["return"] < 15
    assert run.summary["details"]["random"]["paired_with_agent"]["episode"]["return"]["p"] < 0.05
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["reports_success"] is False
    assert (tmp_path / "run" / "results.png").exists()

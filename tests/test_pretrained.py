"""Pre-train once, freeze, plan: an encoder learns from frames or clips alone, then serves other agents unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ami

SMALL = ["runtime=local", "evaluation.pairs=2", "evaluation.baselines=[]", "evaluation.video=0", "trace.record=false",
         "perception.embedding=16", "perception.depth=1", "world_model.hidden=32", "learning.collect.episodes=12",
         "learning.collect.steps=12", "learning.collect.batch=12", "learning.stages.critic.steps=10",
         "learning.stages.model.steps=10", "planner.num_candidates=8", "planner.num_iterations=1"]
PRETRAIN = ["learning.stages.pretrain.steps=20", "learning.stages.pretrain.batch=8"]


@pytest.mark.parametrize("name", ["ijepa", "vjepa2"])
def test_pretrain_once_freeze_plan(name: str, tmp_path: Path) -> None:
    shared = [f"experiment={name}", *SMALL, f"store={tmp_path}"]
    first = ami.train(ami.compose([*shared, *PRETRAIN]), tmp_path / "first")
    learnt = first.weights["perception"]
    losses = [float(row["loss"]) for row in first.rows if row["stage"] == "pretrain"]
    assert losses[-1] < losses[0]
    assert not [key for key in learnt if "learning_state" in key]

    # another agent, with other experience and another world model, on the same encoder
    second = ami.compose([*shared, "seed=1", "~learning.stages.pretrain", "world_model.hidden=16",
                          "perception.weights=first", "perception.frozen=true"])
    kept = ami.train(second, tmp_path / "second").weights["perception"]
    assert learnt.keys() == kept.keys() and all(torch.equal(value, kept[key]) for key, value in learnt.items())
    figures = ami.run(second, tmp_path / "planned").summary["agent"]
    assert figures["same_room"]["n"] == 2 and figures["across"]["n"] == 2

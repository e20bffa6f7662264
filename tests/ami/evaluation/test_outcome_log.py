"""Outcomes finished before an error are in the run's folder, and the error names the file."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

import ami
from ami.errors import WorldFault
from ami.evaluation.manifest import Manifest
from ami.evaluation.outcome_log import NAME, OutcomeLog, read_results
from ami.evaluation.outcomes import Outcome, Result
from ami.session.evaluation import judged_graph, seal

MORTAL = '''
import gymnasium
import numpy as np


DEADLY = []


class Mortal(gymnasium.Env):
    """Episodes of two steps with reward 1 each; raises for some seeds."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.seed = 0, seed
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.seed in DEADLY:
            raise RuntimeError("the cable broke")
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), 1.0, self.steps == 2, False, {}
'''


def test_failing_world_loses_no_finished_episode(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mortal_world.py").write_text(MORTAL)
    monkeypatch.syspath_prepend(tmp_path)
    given = ["world=gym", "world.id=null", "world.entry_point=mortal_world:Mortal", "world.max_episode_steps=5",
             "agent=random", "learning=none", "runtime=local", "trace.record=false", "evaluation.pairs=4",
             "evaluation.batch=1", "evaluation.baselines=[]", "evaluation.video=0", f"store={tmp_path}"]
    config = ami.compose(given, allow=["mortal_world"])
    module = importlib.import_module("mortal_world")
    module.DEADLY.append(seal(config, judged_graph(config)).pairs[2]["seed"])
    with pytest.raises(WorldFault, match="the cable broke") as refused:
        ami.run(config, tmp_path / "run")
    file = tmp_path / "run" / NAME
    assert str(refused.value).endswith(f". The outcomes of 2 finished episodes are in '{file}'; "
                                       f"`ami run --resume {tmp_path / 'run'}` continues")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    seconds = [row.pop("seconds") for row in rows]
    assert min(seconds) > 0
    assert rows == [{"agent": "agent", "pair": pair, "kind": "episode", "success": None, "steps": 2, "return": 2.0,
                     "metrics": {}, "plans": 0, "model_steps": 0} for pair in range(2)]
    lasting = ami.run(ami.compose([*given, "+world.on_failure=fail"], allow=["mortal_world"]), tmp_path / "lasting")
    outcomes = lasting.evaluations["agent"].outcomes
    assert [outcome.steps for outcome in outcomes] == [2, 2, 1, 2]
    assert [outcome.failure[:40] for outcome in outcomes] == ["", "", "step() raised RuntimeError: the cable br", ""]
    assert lasting.summary["agent"]["episode"]["failed"] == 1
    assert lasting.table().columns[-1] == "failed\nworlds" and lasting.table().rows[0][1][-1] == "1"
    assert read_results(lasting.folder, Manifest.load(lasting.folder / "manifest.json"))["agent"][2].outcome == outcomes[2]


def test_unwritable_log_warns_once(tmp_path: Path) -> None:
    warnings: list[str] = []
    with OutcomeLog(tmp_path / "gone", warnings.append) as log:
        for number in range(3):
            log.of("agent")(number, Result(Outcome("near", True, 1), 0, 0, 0.1))
    assert warnings == [f"{tmp_path / 'gone' / NAME} is no longer written: No such file or directory. "
                    "The figures are not affected"]


def test_error_before_the_first_outcome_is_unchanged(tmp_path: Path) -> None:
    with pytest.raises(WorldFault) as refused, OutcomeLog(tmp_path, lambda text: None):
        raise WorldFault("it died")
    assert str(refused.value) == "it died" and not (tmp_path / NAME).exists()

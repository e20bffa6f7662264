"""A recorded run is data: its episodes are those that the agent acted in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ami
from ami.cli.main import main
from ami.errors import TraceError
from ami.trace.episodes import RunData
from ami.trace.reader import Trace

SMALL = ["agent=random", "runtime=local", "evaluation.pairs=2", "evaluation.batch=3", "evaluation.video=0",
         "world.max_episode_steps=6"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    ami.run(ami.compose([*SMALL, "trace.level=boundary", f"store={folder}"]), folder / "run")
    return folder / "run"


def test_the_episodes_are_those_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, trace = RunData.of(run), Trace.open(run)
    episodes = list(data.episodes())
    assert RunData.fits(run) and len(episodes) == 4 and data.key == RunData.of(run).key
    first = [trace.message("world", "observation", 0, tick)[0] for tick in range(len(episodes[0]["observation"]))]
    assert torch.equal(episodes[0]["observation"], torch.stack(first)) and episodes[0]["observation"].dtype == torch.uint8
    assert torch.equal(episodes[0]["action"][0], trace.message("actor", "action", 0, 0)[0])
    assert all(not bool(one["action"][-1].any()) and 1 <= len(one["action"]) - 1 <= 6 for one in episodes)
    assert data.load(1e9, run / "rows").num_episodes == 4
    assert main(["data", "show", str(run)]) == 0
    assert "(trace, " in capsys.readouterr().out


def test_statistics_alone_are_no_data(tmp_path: Path) -> None:
    ami.run(ami.compose([*SMALL, f"store={tmp_path}"]), tmp_path / "run")
    with pytest.raises(TraceError, match="holds hashes and statistics"):
        next(RunData.of(tmp_path / "run").episodes())

"""From the command line to the files on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ami.cli.main import main
from ami.replay.recording import Recording
from ami.trace.reader import Trace
from ami.views.viewer_data import pages


def test_the_story_from_command_line_to_files(recorded, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded("two rooms")
    assert main(["replay", str(run)]) == 0
    assert capsys.readouterr().out.startswith("identical: ")
    assert main(["replay", str(run), "--swap", "planner.num_candidates=9"]) == 0
    assert "re-executed" in capsys.readouterr().out
    assert main(["replay", str(run), "--fork", "3", "planner.num_candidates=9"]) == 0
    assert "episodes in progress" in " ".join(capsys.readouterr().out.split())
    assert {path.name for path in (run / "replays").iterdir()} >= {
        "replay", "swap-planner.num_candidates=9", "fork-0-3-planner.num_candidates=9"}
    assert main(["trace", "diff", str(run), str(run / "replays" / "replay")]) == 0


def test_a_run_with_earlier_names_of_settings_is_opened_replayed_and_forked(
        recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(recorded("two rooms"), run, ignore=shutil.ignore_patterns("replays"))
    content = json.loads((run / "header.json").read_text())
    overrides = [text.replace("evaluation.baselines", "evaluation.beside").replace("evaluation.video", "evaluation.film")
                 for text in content["details"]["overrides"]]
    assert {"evaluation.beside=[]", "evaluation.film=0"} <= set(overrides)
    content["details"]["overrides"] = overrides
    evaluation = content["config"]["evaluation"]
    for old, new in (("beside", "baselines"), ("film", "video"), ("film_formats", "video_formats")):
        evaluation[old] = evaluation.pop(new)
    (run / "header.json").write_text(json.dumps(content))
    assert main(["replay", str(run)]) == 0
    assert capsys.readouterr().out.startswith("identical: ")
    assert main(["replay", str(run), "--fork", "3", "planner.num_candidates=9"]) == 0
    assert main(["view", str(run), "--reference", str(run / "replays" / "fork-0-3-planner.num_candidates=9")]) == 0
    assert main(["trace", "diff", str(run), str(recorded("two rooms"))]) == 0
    assert "evaluation" not in capsys.readouterr().out


@pytest.mark.parametrize(("words", "message"), [
    (["planner=mppi"], "planner=mppi would change the agent: expected `--swap`"),
    (["--swap"], "--swap names nothing to swap: expected an override, --swap planner=mppi"),
    (["--swap", "--fork", "3"], "--swap and --fork exclude each other: expected one of them"),
    (["--wave", "1"], "--wave 1 has no effect without --fork TICK: every wave is executed. Fix: leave it out"),
    (["--swp", "planner=mppi"], "unknown flag '--swp': did you mean '--swap'?"),
    (["--fork", "x"], "--fork is 'x': expected a whole number"),
    (["--swap", "planner.horizn=3"], "planner has no setting 'horizn': did you mean 'horizon'?"),
    (["--swap", "planner=tree"],
     "was run with settings that the substituted module does not have. Fix: remove them, planner=tree "
     "~planner.num_candidates ~planner.num_elites ~planner.num_iterations"),
    (["--swap", "planner=tree", "~planner.num_candidates", "~planner.num_elites", "~planner.num_iterations"],
     "planner: TreeSearch plans choices, but here an action is 2 numbers in [-1, 1]"),
    (["--swap", "graph.planner.state=world.observation"],
     "planner.state expects the kind 'state'. Fix: wire it from world_model.state"),
    (["--fork", "3", "world=gym", "world.id=CartPole-v1", "perception=conv"],
     "carries torch.float32: perception.observation expects torch.uint8"),
])
def test_invalid_arguments_are_refused(recorded, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["replay", str(recorded("two rooms")), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_replay_that_is_refused_leaves_no_folder(recorded, tmp_path: Path) -> None:
    assert main(["replay", str(recorded("two rooms")), "--fork", "999", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_replay_is_no_recording_but_can_be_viewed(recorded, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded("two rooms")
    assert main(["replay", str(run), "--fork", "4", "--out", str(run / "replays" / "later")]) == 0
    assert f"the fork alone: ami view {run / 'replays' / 'later'}" in capsys.readouterr().out
    assert main(["replay", str(run / "replays" / "later")]) == 2
    assert capsys.readouterr().err == (f"ami: {run / 'replays' / 'later'} is a replay of run, not a recording: expected a "
                                       "folder that `ami run` left. Fix: the folder of run\n")
    assert main(["trace", "show", str(run / "replays" / "later"), "--tick", "3"]) == 2
    assert "holds no tick 3 in wave 0: expected 4 to " in capsys.readouterr().err
    assert main(["trace", "show", str(run / "replays" / "later"), "--row", "0"]) == 0
    assert " ticks from 4 on" in capsys.readouterr().out
    names = [one["name"] for wave in pages(Trace.open(run / "replays" / "later")).run["waves"] for one in wave["episodes"]]
    assert names == ["pair 0, same room", "pair 1, same room"], "a fork has the pairs of its run"


def test_an_interrupted_replay_leaves_nothing(recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(recording: Recording, folder: Path) -> None:
        (folder / "header.json").write_text("half a tra")
        raise KeyboardInterrupt

    monkeypatch.setattr("ami.replay.report.reexecute", stopped)
    assert main(["replay", str(recorded("two rooms")), "--out", str(tmp_path / "new" / "out")]) == 130
    assert capsys.readouterr().err.startswith("ami: stopped by Ctrl-C") and not (tmp_path / "new").exists()


def test_a_replay_that_cannot_be_written_is_refused_before_it_starts(recorded, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    run, out = str(recorded("two rooms")), tmp_path / "file" / "out"
    for words in ([], ["--swap", "planner.num_candidates=9"], ["--fork", "3"]):
        assert main(["replay", run, "--out", str(out), *words]) == 2
        assert capsys.readouterr().err == (f"ami: the replay goes to '{out}': expected a folder that can be created "
                                           "(Not a directory). Fix: --out FOLDER, another one\n")
    assert main(["replay", run, "--out", str(tmp_path)]) == 2
    assert f"--out is '{tmp_path}', which already exists. Fix: another folder" in capsys.readouterr().err

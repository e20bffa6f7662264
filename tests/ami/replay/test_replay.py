"""Replay: a recorded mind says the same again, another says what it would have done, a life may go on differently."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ami
from ami.cli import main
from ami.errors import SettingError, TraceError
from ami.learning import checkpoint
from ami.replay.again import again
from ami.replay.fork import fork
from ami.replay.recording import Recording
from ami.replay.swap import swap
from ami.tracing.reader import Trace
from ami.tracing.viewer_data import pages

TINY = ["runtime=local", "evaluation.pairs=2", "evaluation.batch=2", "evaluation.beside=[]", "evaluation.film=0",
        "planner.horizon=3", "planner.num_candidates=8", "planner.num_elites=2", "planner.num_iterations=1"]
RUNS = {
    "two rooms": ["learning=none", *TINY],
    "gate": ["learning=none", "configurator=surprise_gate", "actor=policy", "memory=short_term", *TINY],
    "cartpole": ["world=gym", "world.id=CartPole-v1", "perception=vector", "memory=none", "goal=none", "cost=reward",
                 "world_model.anti_collapse=none", "world_model.rewards=true", "planner=categorical", "learning=none",
                 "runtime=local", "evaluation.pairs=3", "evaluation.batch=2", "evaluation.beside=[]", "evaluation.film=0"],
}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs that kept what crosses the border of their minds, each made once."""
    made: dict[str, Path] = {}

    def run(name: str, level: str = "boundary") -> Path:
        if name + level not in made:
            folder = tmp_path_factory.mktemp("recorded")
            config = ami.compose([*RUNS[name], f"trace.level={level}", f"store={folder}"])
            made[name + level] = ami.run(config, folder / "run").folder
        return made[name + level]

    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_recording_says_the_same_again(recorded, tmp_path: Path, name: str) -> None:
    recording = Recording.open(recorded(name))
    done = again(recording, tmp_path / "again")
    assert done.first is None and done.cause() == "identical" and done.ticks == sum(recording.ticks.values()) > 5
    assert Trace.open(done.folder).digest() == recording.trace.digest()


def test_a_full_recording_holds_chosen_messages_besides(tmp_path: Path) -> None:
    config = ami.compose([*RUNS["two rooms"], "trace.level=full", "trace.ports=[planner.plan]", f"store={tmp_path}"])
    trace = ami.run(config, tmp_path / "run").trace()
    assert trace.message("planner", "plan", 0, 3).shape == (2, 3, 2)
    assert trace.message("world", "observation", 0, 3).dtype == torch.uint8
    with pytest.raises(TraceError, match=r"Cure: run again with trace\.level=full 'trace\.ports=\[planner\.imagined\]'$"):
        trace.message("planner", "imagined", 0, 3)


def test_levels_and_ports_that_cannot_be_are_refused() -> None:
    with pytest.raises(SettingError, match=r"trace\.level is 'all': expected one of stats, boundary, full"):
        ami.compose(["trace.level=all"])
    with pytest.raises(SettingError, match=r"^trace\.ports is \['planner\.plan'\], but trace\.level is stats: expected"):
        ami.run(ami.compose(["trace.ports=[planner.plan]", "runtime=local"]))
    with pytest.raises(ami.AmiError, match=r"planner\.plam.*did you mean 'planner\.plan'"):
        ami.run(ami.compose(["trace.level=full", "trace.ports=[planner.plam]", "runtime=local"]))


def test_statistics_alone_cannot_be_executed(recorded) -> None:
    with pytest.raises(TraceError, match=r"Cure: run again with trace\.level=boundary$"):
        Recording.open(recorded("two rooms", "stats"))


def test_a_changed_weight_is_named(tmp_path: Path) -> None:
    learns = ["learning.collect.episodes=4", "learning.collect.batch=4", "learning.collect.steps=10",
              "learning.stages.model.steps=2", "learning.stages.critic.steps=2"]
    config = ami.compose([*TINY, *learns, "trace.level=boundary", f"store={tmp_path}"])
    run = ami.run(config, tmp_path / "run").folder
    tensors, notes = checkpoint.load(run / "weights.safetensors")
    name = "world_model/predictor.last.bias"
    tensors[name] = tensors[name] + 0.5
    checkpoint.save(run / "weights.safetensors", tensors, notes)
    done = again(Recording.open(run), tmp_path / "again")
    assert done.first is not None and (done.first.tick, done.first.node) <= (1, "world_model")
    assert done.cause().startswith("weights.world_model was ")


def test_a_changed_setting_code_and_version_are_named(recorded, tmp_path: Path) -> None:
    """The record is made to say that it was made otherwise, with another horizon, other code and another torch."""
    header = recorded("two rooms") / "header.json"
    before = header.read_text()
    content = json.loads(before)
    content["graph"]["nodes"]["planner"]["horizon"] = 4
    content["details"]["origin"]["code"]["planner"] = "0"
    content["details"]["origin"]["threads"] = 7
    content["versions"]["torch"] = "1.0"
    try:
        header.write_text(json.dumps(content))
        named = Recording.open(header.parent).changes()
    finally:
        header.write_text(before)
    assert [text.split(" was ")[0] for text in named] == ["settings.planner.horizon", "code.planner", "threads",
                                                          "versions.torch"]
    assert named[0] == "settings.planner.horizon was 4 and is 3"


def test_another_planner_is_given_what_was_recorded(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("two rooms"))
    found = swap(recording, ["planner=random_shooting", "planner.num_candidates=8", "~planner.num_elites",
                             "~planner.num_iterations"], tmp_path / "swap")
    assert found.nodes == ("planner", "actor"), "what differs, and all that follows from it"
    assert -1 <= found.agreement < 1 and found.apart > 0 and len(found.gaps) == 4
    other = Trace.open(found.folder)
    for node in set(recording.trace.tables) - {"planner", "actor"}:
        for port in recording.trace.ports[node]:
            assert other.tables[node][f"{port}.hash"].equals(recording.trace.tables[node][f"{port}.hash"]), (node, port)


def test_what_is_the_same_decides_the_same(recorded, tmp_path: Path) -> None:
    """The control: a swap that changes nothing but a name in the graph's settings agrees in every decision."""
    found = swap(Recording.open(recorded("cartpole")), ["planner.trust=0.500001"], tmp_path / "swap")
    assert found.choices and found.agreement == 1 and all(gap == 0 for gap in found.gaps)


def test_a_choice_either_agrees_or_not(recorded, tmp_path: Path) -> None:
    """Held against the actions in both traces: a mind that acts at random agrees in some decisions and not in others."""
    recording = Recording.open(recorded("cartpole"))
    found = swap(recording, ["actor=random"], tmp_path / "swap")
    chosen = [[trace.message("actor", "action", one.wave, one.tick)[one.row].argmax().item() for one in found.moments]
              for trace in (recording.trace, Trace.open(found.folder))]
    differ = [float(one != two) for one, two in zip(*chosen, strict=True)]
    assert found.choices and [moment.apart for moment in found.moments] == differ
    assert {0.0, 1.0} == set(differ) and found.agreement == pytest.approx(1 - sum(differ) / len(differ))


def test_another_perception_changes_all_that_hears_of_it(recorded, tmp_path: Path) -> None:
    found = swap(Recording.open(recorded("two rooms")), ["perception.width=16"], tmp_path / "swap")
    assert {"perception", "world_model", "cost", "planner", "actor"} <= set(found.nodes) and "world" not in found.nodes
    assert found.gaps == [], "two costs cannot be compared"


@pytest.mark.parametrize(("overrides", "words"), [
    (["world.noise=tv"], r"^world\.noise=tv changes the world: .* Cure: --fork TICK"),
    (["planner=cem"], r"^planner=cem changes nothing in this mind\."),
])
def test_a_swap_of_nothing_or_of_the_world_is_refused(recorded, tmp_path: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        swap(Recording.open(recorded("two rooms")), overrides, tmp_path / "swap")


@pytest.mark.parametrize(("name", "tick"), [("two rooms", 0), ("two rooms", 9), ("gate", 9), ("cartpole", 5)])
def test_a_fork_without_a_difference_lives_the_same_life(recorded, tmp_path: Path, name: str, tick: int) -> None:
    """The control of every fork: the modules stand where they stood."""
    recording = Recording.open(recorded(name))
    done = fork(recording, 0, tick, [], tmp_path / "fork")
    assert done.recorded == done.forked and done.fresh == () and done.ticks == recording.ticks[0]
    forked = Trace.open(done.folder)
    for node, table in forked.tables.items():
        for port in forked.ports[node]:
            was = recording.trace.tables[node][f"{port}.hash"].to_pylist()[tick:recording.ticks[0]]
            assert table[f"{port}.hash"].to_pylist() == was, (node, port)


def test_a_fork_with_a_difference_shares_the_past_alone(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("two rooms"))
    done = fork(recording, 0, 9, ["planner.num_candidates=9"], tmp_path / "fork")
    forked = Trace.open(done.folder)
    assert done.fresh == ("planner",) and forked.tables["actor"]["tick"].to_pylist()[0] == 9
    was = recording.trace.tables["world"]["observation.hash"].to_pylist()
    assert forked.tables["world"]["observation.hash"].to_pylist()[0] == was[9], "what is seen at the fork was done before it"
    assert forked.tables["world"]["observation.hash"].to_pylist()[2] != was[11]


@pytest.mark.parametrize(("wave", "tick", "words"), [
    (7, 0, r"cannot be forked at tick 0 of wave 7: it holds waves 0, 1\. Cure: --wave 1$"),
    (0, 999, r"cannot be forked at tick 999 of wave 0: it holds ticks 0 to (\d+) of wave 0\. Cure: --fork \1, or an earl"),
    (0, -1, r"cannot be forked at tick -1 of wave 0: it holds ticks 0 to (\d+) of wave 0\. Cure: --fork \1, or an earl"),
])
def test_a_fork_where_nothing_was_recorded_is_refused(recorded, tmp_path: Path, wave: int, tick: int, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        fork(Recording.open(recorded("two rooms")), wave, tick, [], tmp_path / "fork")


def test_the_story_from_command_line_to_files(recorded, capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded("two rooms")
    assert main(["replay", str(run)]) == 0
    assert capsys.readouterr().out.startswith("identical: ")
    assert main(["replay", str(run), "--swap", "planner.num_candidates=9"]) == 0
    assert "executed a second time" in capsys.readouterr().out
    assert main(["replay", str(run), "--fork", "3", "planner.num_candidates=9"]) == 0
    assert "worlds that were not over" in " ".join(capsys.readouterr().out.split())
    assert {path.name for path in (run / "replays").iterdir()} >= {
        "again", "swap-planner.num_candidates=9", "fork-0-3-planner.num_candidates=9"}
    assert main(["trace", "diff", str(run), str(run / "replays" / "again")]) == 0


@pytest.mark.parametrize(("words", "told"), [
    (["planner=mppi"], "planner=mppi would make it another mind: expected `--swap`"),
    (["--swap"], "--swap names nothing to swap: expected an override, --swap planner=mppi"),
    (["--swap", "--fork", "3"], "--swap and --fork are two ways to differ: expected one of them"),
    (["--wave", "1"], "--wave 1 has no effect without --fork TICK: every wave is executed. Cure: leave it out"),
    (["--swp", "planner=mppi"], "unknown flag '--swp': did you mean '--swap'?"),
    (["--fork", "x"], "argument --fork: invalid int value: 'x'"),
    (["--swap", "planner.horizn=3"], "planner has no setting 'horizn': did you mean 'horizon'?"),
    (["--swap", "planner=tree"],
     "was run with these settings of the module that is swapped. Cure: take them back, planner=tree ~planner.num_candidates "
     "~planner.num_elites ~planner.num_iterations"),
    (["--swap", "planner=tree", "~planner.num_candidates", "~planner.num_elites", "~planner.num_iterations"],
     "planner: TreeSearch plans choices, but here an action is 2 continuous numbers"),
    (["--swap", "graph.planner.state=world.observation"],
     "planner.state expects the kind 'state'. Cure: wire it from world_model.state"),
    (["--fork", "3", "world=gym", "world.id=CartPole-v1"], "Conv sees observations of shape (0,): expected pictures"),
])
def test_slips_are_told(recorded, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(["replay", str(recorded("two rooms")), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_replay_that_is_refused_leaves_no_folder(recorded, tmp_path: Path) -> None:
    assert main(["replay", str(recorded("two rooms")), "--fork", "999", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_replay_is_no_recording_but_can_be_looked_at(recorded, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    run = recorded("two rooms")
    assert main(["replay", str(run), "--fork", "4", "--out", str(run / "replays" / "later")]) == 0
    assert f"to its own end: ami view {run / 'replays' / 'later'}" in capsys.readouterr().out
    assert main(["replay", str(run / "replays" / "later")]) == 2
    assert capsys.readouterr().err == (f"ami: {run / 'replays' / 'later'} is a replay of run, not a recording: expected a "
                                       "folder that `ami run` left. Cure: the folder of run\n")
    assert main(["trace", "show", str(run / "replays" / "later"), "--tick", "3"]) == 2
    assert "holds no tick 3 in wave 0: expected 4 to " in capsys.readouterr().err
    assert main(["trace", "show", str(run / "replays" / "later"), "--row", "0"]) == 0
    assert " ticks from 4 on" in capsys.readouterr().out
    names = [one["name"] for wave in pages(Trace.open(run / "replays" / "later")).run["waves"] for one in wave["episodes"]]
    assert names == ["pair 0, same room", "pair 1, same room"], "a fork knows the pairs of the run that it lies in"


def test_a_replay_that_is_stopped_leaves_nothing(recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(recording: Recording, folder: Path) -> None:
        (folder / "header.json").write_text("half a tra")
        raise KeyboardInterrupt

    monkeypatch.setattr("ami.replay.report.again", stopped)
    assert main(["replay", str(recorded("two rooms")), "--out", str(tmp_path / "new" / "out")]) == 130
    assert capsys.readouterr().err.startswith("ami: stopped by Ctrl-C") and not (tmp_path / "new").exists()


def test_a_replay_that_cannot_be_written_is_refused_before_it_begins(recorded, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    run, out = str(recorded("two rooms")), tmp_path / "file" / "out"
    for words in ([], ["--swap", "planner.num_candidates=9"], ["--fork", "3"]):
        assert main(["replay", run, "--out", str(out), *words]) == 2
        assert capsys.readouterr().err == (f"ami: the replay goes to '{out}': expected a folder that can be made "
                                           "(Not a directory). Cure: --out FOLDER, another one\n")
    assert main(["replay", run, "--out", str(tmp_path)]) == 2
    assert f"--out is '{tmp_path}', which is there already. Cure: another folder" in capsys.readouterr().err


def test_the_same_mind_learnt_otherwise_can_be_swapped_in(tmp_path: Path) -> None:
    learns = ["learning.collect.episodes=4", "learning.collect.batch=4", "learning.collect.steps=10",
              "learning.stages.model.steps=2", "learning.stages.critic.steps=2"]
    config = ami.compose([*TINY, *learns, "trace.level=boundary", f"store={tmp_path}"])
    recording = Recording.open(ami.run(config, tmp_path / "run").folder)
    found = swap(recording, ["seed=1"], tmp_path / "swap")
    assert found.nodes[:2] == ("perception", "world_model") and found.apart > 0 and found.gaps == []
    assert swap(recording, ["planner.num_candidates=9"], tmp_path / "planner").nodes == ("planner", "actor")
    with pytest.raises(SettingError, match=r"^evaluation\.pairs=3 changes nothing in this mind\."):
        swap(recording, ["evaluation.pairs=3"], tmp_path / "nothing")

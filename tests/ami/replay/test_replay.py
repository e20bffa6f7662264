"""Replay: a recorded mind says the same again, another says what it would have done, a life may go on differently."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor

import ami
from ami.cli import main
from ami.errors import SettingError, TraceError
from ami.learning import checkpoint
from ami.replay.again import again
from ami.replay.fork import fork
from ami.replay.recording import Recording
from ami.replay.swap import swap
from ami.tracing.reader import Trace, read_batches
from ami.tracing.viewer_data import pages
from ami.worker import Worker

TINY = ["runtime=local", "evaluation.pairs=2", "evaluation.batch=2", "evaluation.beside=[]", "evaluation.film=0",
        "planner.horizon=3", "planner.num_candidates=8", "planner.num_elites=2", "planner.num_iterations=1"]
RUNS = {
    "two rooms": ["learning=none", *TINY],
    "gate": ["learning=none", "configurator=surprise_gate", "actor=policy", "memory=short_term", *TINY],
    "slow": ["learning=none", "graph.configurator.every=2", "graph.actor.every=3", *TINY],
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
    was, ticks = ami.tracing.load(recording.folder).ticks.to_pandas(), ami.tracing.load(done.folder).ticks.to_pandas()
    assert len(ticks) == len(was) and ticks["us"].between(1, 1e6).all(), "what is played back takes no time"


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
    assert len(found.planned) == len(found.moments) and found.drift() is None
    other = Trace.open(found.folder)
    assert ami.tracing.load(found.folder).ticks.to_pandas()["us"].between(1, 1e6).all()
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
    assert found.gaps == [] and found.promises_more is None, "two costs cannot be compared"
    assert found.incomparable == ("another world_model, goal, cost: energies of other costs, in other states or to other "
                                  "goals have no common unit")
    assert Trace.open(found.folder).header["details"]["incomparable"] == found.incomparable, "for who looks at it later"


@pytest.mark.parametrize(("overrides", "why"), [
    (["planner.horizon=4"], "its plans look 4 steps ahead, the recorded ones 3, and an energy is a sum over these steps"),
    (["~graph.planner.weights"], "the planner is wired to another cost, model, state or goal"),
    (["configurator.weights=[1,2]"],
     "configurator.weights is not the recorded one at wave 0, tick 0, so the plans are not judged alike"),
])
def test_energies_that_are_not_sums_of_the_same_are_not_compared(recorded, tmp_path: Path, overrides: list[str],
                                                                 why: str) -> None:
    found = swap(Recording.open(recorded("two rooms")), overrides, tmp_path / "swap")
    assert found.incomparable == why and found.gaps == [] and found.promises_more is None and found.planned


def test_a_configurator_that_says_the_same_changes_no_energy(recorded, tmp_path: Path) -> None:
    found = swap(Recording.open(recorded("two rooms")), ["configurator.weights=[1,1]"], tmp_path / "swap")
    assert found.incomparable is None and found.nodes[0] == "configurator" and set(found.gaps) == {0.0}


def test_energies_are_judged_where_both_planned(recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gate lets the mind react in some ticks: nobody plans there, and an energy of 0 says nothing."""
    recording = Recording.open(recorded("gate"))
    found = swap(recording, ["planner.num_candidates=9"], tmp_path / "swap")
    modes = {(wave, tick, row): mode for wave, tick, row, mode in ami.tracing.load(recording.folder).ticks.select(
        ["wave", "tick", "row", "configurator.mode"]).to_pandas().itertuples(index=False)}
    for one in found.moments:
        assert one.planned == (modes[one.wave, one.tick, one.row] == 2) == (one.gap is not None)
    assert 0 < len(found.planned) < len(found.moments)
    assert found.promises_more == sum(one.gap < 0 for one in found.planned) / len(found.planned)
    assert main(["replay", str(recording.folder), "--swap", "planner.num_candidates=9"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{len(found.moments):,} in all" in told and f"both planned in {len(found.planned):,} of the decisions" in told
    assert "mean cosine of the actions, in those" in told


def test_the_other_mind_remembers_its_own_thoughts_and_the_recorded_deeds(recorded, tmp_path: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """What a late wire brings to it: its own energy, which is in its own unit, and the action that was really done."""
    heard: list[tuple[str, Tensor | None]] = []

    class Spied(Worker):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            for node, port in (("configurator", "energy"), ("world_model", "action")):
                self.modules[node].step = self._spy(node, port, self.modules[node].step)

        def _spy(self, node: str, port: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def step(**given: Tensor) -> Any:
                heard.append((node, given[port]))
                return real(**given)

            return step

    monkeypatch.setattr("ami.replay.swap.Worker", Spied)
    recording = Recording.open(recorded("gate"))
    found = swap(recording, ["world_model=generative", "actor=random"], tmp_path / "swap")
    other = Trace.open(found.folder)
    energies, actions = ([value for name, value in heard if name == node] for node in ("configurator", "world_model"))
    ticks = [(wave, tick) for wave, count in recording.ticks.items() for tick in range(count)]
    assert len(energies) == len(actions) == len(ticks)
    for place, (wave, tick) in enumerate(ticks):
        if tick:
            assert torch.equal(energies[place], other.message("cost", "energy", wave, tick - 1))
            assert torch.equal(actions[place], recording.done(wave, tick - 1)["action"])


def test_a_slow_node_rests_in_a_swap_as_it_did(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("slow"))
    found = swap(recording, ["planner=random_shooting", "planner.num_candidates=8", "~planner.num_elites",
                             "~planner.num_iterations"], tmp_path / "swap")
    other = Trace.open(found.folder)
    assert {node: len(table) for node, table in other.tables.items()} == {
        node: len(table) for node, table in recording.trace.tables.items()}
    for one in found.moments:  # an actor that rests goes on with what it chose itself
        was, new = (trace.message("actor", "action", one.wave, one.tick - one.tick % 3)[one.row]
                    for trace in (recording.trace, other))
        assert one.apart == pytest.approx(float(torch.linalg.vector_norm(new - was)))


def test_another_pace_is_another_mind(recorded, tmp_path: Path) -> None:
    found = swap(Recording.open(recorded("two rooms")), ["graph.planner.every=2"], tmp_path / "swap")
    assert found.nodes == ("planner", "actor") and {one.tick % 2 for one in found.planned} == {0}


@pytest.fixture
def drifted(recorded, tmp_path: Path) -> Path:
    """A recording that composes to another mind, as if a default had changed since."""
    folder = tmp_path / "drifted"
    shutil.copytree(recorded("two rooms"), folder, ignore=shutil.ignore_patterns("replays"))
    content = json.loads((folder / "header.json").read_text())
    content["details"]["overrides"].append("planner.num_elites=5")
    (folder / "header.json").write_text(json.dumps(content))
    return folder


def test_a_mind_that_has_changed_is_not_taken_for_the_record(recorded, drifted: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    """Held against the record, as an honest swap is, and told: its inputs are what today's code makes of the record."""
    honest = swap(Recording.open(recorded("two rooms")), ["planner.num_candidates=9", "planner.num_elites=5"],
                  tmp_path / "honest")
    found = swap(Recording.open(drifted), ["planner.num_candidates=9"], tmp_path / "swap")
    assert found.moments == honest.moments and honest.drift() is None
    assert found.first is not None and 0 < found.otherwise <= len(found.moments)
    assert found.drift() == (
        f"the recorded mind, executed anew, says something else than was recorded at wave 0, tick 0, planner.plan, and acts "
        f"otherwise in {found.otherwise} of {len(found.moments)} decisions. The recorded actions and energies are those of "
        "the record, but what the other mind is given is what this code makes of the recorded world. Because: "
        "settings.planner.num_elites was 2 and is 5")
    assert main(["replay", str(drifted), "--swap", "planner.num_candidates=9"]) == 0
    assert "\nwarning: the recorded mind, executed anew, says something else" in capsys.readouterr().out


def test_energies_of_a_cost_that_has_changed_since_are_not_compared(recorded, drifted: Path, tmp_path: Path) -> None:
    content = json.loads((drifted / "header.json").read_text())
    content["details"]["overrides"][-1] = "cost.gamma=0.5"  # a plan's energy, not that of what is lived, hangs on it
    (drifted / "header.json").write_text(json.dumps(content))
    found = swap(Recording.open(drifted), ["planner.num_candidates=9"], tmp_path / "swap")
    assert found.first is not None and found.first.node == "planner" and found.planned and found.gaps == []
    assert found.incomparable == "cost: not what the recorded energies were made with, see below"


def test_a_fork_from_where_the_modules_did_not_stand_is_refused(drifted: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError) as error:
        fork(Recording.open(drifted), 0, 4, [], tmp_path / "fork")
    assert str(error.value) == (
        f"{drifted} cannot be forked at tick 4: its mind, executed anew, says something else than was recorded at wave 0, "
        "tick 0, planner.plan, so its modules do not stand where they stood. Because: settings.planner.num_elites was 2 and "
        "is 5. Cure: fork it with what it was run with")


def test_a_world_that_does_something_else_is_told_from_a_mind_that_does(recorded, tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording.open(recorded("two rooms"))
    with monkeypatch.context() as patched, pytest.raises(TraceError, match=r"^the world showed another \w+ at tick 1 than"):
        patched.setattr(Recording, "deed", lambda self, wave, tick, said=None: [(tick, {"actor": {
            "action": -self.done(wave, tick)["action"]}})] if tick >= 0 and said is None else [])
        fork(recording, 0, 4, [], tmp_path / "fork")


def keep(folder: Path, is_kept: Callable[[str, int, int], bool], change: Callable[[str, pa.Table], pa.Table]) -> None:
    """Write a run's files anew with some of their rows: of a node, wave and tick."""
    for path in (folder / "trace").glob("**/*.arrow"):
        table = pa.Table.from_batches(read_batches(path)[0])
        node = path.name.split(".")[0]
        keys = zip(table["wave"].to_pylist(), table["tick"].to_pylist(), strict=True)
        table = change(node, table.filter(pa.array([is_kept(node, *key) for key in keys])))
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)


def test_a_slow_node_that_a_kill_left_behind_is_no_difference(recorded, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(recorded("slow"), folder, ignore=shutil.ignore_patterns("replays"))
    keep(folder, lambda node, wave, tick: node != "configurator" or (wave, tick) < (1, 6), lambda node, table: table)
    recording = Recording.open(folder)
    assert recording.ticks[1] == 6 and again(recording, tmp_path / "again").first is None


def test_a_real_difference_behind_a_ragged_end_is_found(recorded, tmp_path: Path) -> None:
    """As two agents leave it that were killed: each wave ends where its own agent was."""
    folder = tmp_path / "ragged"
    shutil.copytree(recorded("two rooms"), folder, ignore=shutil.ignore_patterns("replays"))

    def changed(node: str, table: pa.Table) -> pa.Table:
        if node != "planner":
            return table
        place, hashes = table.column_names.index("energy.hash"), table["energy.hash"].to_pylist()
        hashes[table["wave"].to_pylist().index(1) + 3] = b"12345678"
        return table.set_column(place, table.schema.field(place), pa.array(hashes, pa.binary(8)))

    keep(folder, lambda node, wave, tick: wave == 1 or tick < (5 if node == "actor" else 6), changed)
    recording = Recording.open(folder)
    assert recording.ticks[0] == 5
    assert str(again(recording, tmp_path / "again").first) == "wave 1, tick 3, planner.energy"


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
    episodes = ami.tracing.load(done.folder).episodes.to_pylist()
    assert [one["steps"] for one in episodes] == [life.steps for life in done.forked], "the steps before the fork count"


def test_a_fork_holds_no_episode_that_was_over(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("cartpole"))
    over = {row: tick for row in range(2) for tick in reversed(range(recording.ticks[0]))
            if recording.shown(0, tick)["terminated"][row]}
    first, last = sorted(over, key=over.__getitem__)
    assert over[first] < over[last]
    done = fork(recording, 0, over[first] + 1, [], tmp_path / "fork")
    one, = ami.tracing.load(done.folder).episodes.to_pylist()
    assert done.rows == (last,) and (one["row"], one["steps"]) == (last, done.forked[0].steps)
    assert one["return"] == done.forked[0].ret - over[first], "it begins at the fork: one for every step before is missing"
    names = [each["name"] for each in pages(Trace.open(done.folder)).run["waves"][0]["episodes"]]
    assert names[first].endswith(", over before the fork") and not names[last].endswith("fork")


@pytest.mark.parametrize(("other", "why"), [
    ("planner.num_candidates=9", None), ("planner.horizon=5", "its plans look 5 steps ahead, the recorded ones"),
    ("cost=effort", "another cost: energies of other costs")])
def test_a_fork_says_whether_its_energies_compare(recorded, tmp_path: Path, other: str, why: str | None) -> None:
    said = Trace.open(fork(Recording.open(recorded("two rooms")), 0, 9, [other], tmp_path / "fork").folder).header["details"]
    assert said["incomparable"] is None if why is None else said["incomparable"].startswith(why)


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

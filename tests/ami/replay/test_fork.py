"""Forks of a recorded run."""

from __future__ import annotations

from pathlib import Path

import pytest

import ami
from ami.errors import TraceError
from ami.replay.fork import fork
from ami.replay.recording import Recording
from ami.runtime.history import WorldHistory
from ami.trace.reader import Trace
from ami.views.viewer_data import pages


def test_a_fork_without_the_recorded_module_states_is_refused(drifted: Path, tmp_path: Path) -> None:
    with pytest.raises(TraceError) as error:
        fork(Recording.open(drifted), 0, 4, [], tmp_path / "fork")
    assert str(error.value) == (
        f"{drifted} cannot be forked at tick 4: its re-executed agent differs from the trace at wave 0, tick 0, "
        "planner.plan, so the state of its modules cannot be restored. Because: settings.planner.num_elites was 2 and is 5. "
        "Fix: fork with the code, settings and versions of the run")


def test_a_fork_of_a_world_that_is_not_reproducible_is_refused(
        recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world receives other actions than the recorded ones."""
    recording = Recording.open(recorded("two rooms"))
    real = WorldHistory.add
    with monkeypatch.context() as patched, pytest.raises(TraceError) as refused:
        patched.setattr(WorldHistory, "add", lambda self, inputs, outputs: real(
            self, {name: -value for name, value in inputs.items()}, outputs))
        fork(recording, 0, 4, [], tmp_path / "fork")
    assert str(refused.value) == (
        f"{recording.folder} cannot be forked at tick 4: the world's observation differs from the recorded one "
        "at re-executed tick 1 of 4: expected the same episode for the same seed and actions. Fix: draw from "
        "self.np_random, after super().reset(seed=seed)")


@pytest.mark.parametrize(("name", "tick"), [("two rooms", 0), ("two rooms", 9), ("gate", 9), ("cartpole", 5)])
def test_a_fork_without_changes_repeats_the_run(recorded, tmp_path: Path, name: str, tick: int) -> None:
    """The control of every fork: all module states are restored."""
    recording = Recording.open(recorded(name))
    done = fork(recording, 0, tick, [], tmp_path / "fork")
    assert done.recorded == done.forked and done.fresh == () and done.ticks == recording.ticks[0]
    forked = Trace.open(done.folder)
    for node, table in forked.tables.items():
        for port in forked.ports[node]:
            was = recording.trace.tables[node][f"{port}.hash"].to_pylist()[tick:recording.ticks[0]]
            assert table[f"{port}.hash"].to_pylist() == was, (node, port)


def test_a_fork_with_a_change_shares_only_the_past(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("two rooms"))
    done = fork(recording, 0, 9, ["planner.num_candidates=9"], tmp_path / "fork")
    forked = Trace.open(done.folder)
    assert done.fresh == ("planner",) and forked.tables["actor"]["tick"].to_pylist()[0] == 9
    was = recording.trace.tables["world"]["observation.hash"].to_pylist()
    assert forked.tables["world"]["observation.hash"].to_pylist()[0] == was[9], "it results from an earlier action"
    assert forked.tables["world"]["observation.hash"].to_pylist()[2] != was[11]
    episodes = ami.load_trace(done.folder).episodes.to_pylist()
    assert [one["steps"] for one in episodes] == [one.steps for one in done.forked], "the steps before the fork count"


def test_a_fork_holds_no_ended_episode(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("cartpole"))
    over = {row: tick for row in range(2) for tick in reversed(range(recording.ticks[0]))
            if recording.shown(0, tick)["world"]["terminated"][row]}
    first, last = sorted(over, key=over.__getitem__)
    assert over[first] < over[last]
    done = fork(recording, 0, over[first] + 1, [], tmp_path / "fork")
    one, = ami.load_trace(done.folder).episodes.to_pylist()
    assert done.rows == (last,) and (one["row"], one["steps"]) == (last, done.forked[0].steps)
    assert one["return"] == done.forked[0].ret - over[first], "rewards before the fork are missing"
    names = [each["name"] for each in pages(Trace.open(done.folder)).run["waves"][0]["episodes"]]
    assert names[first].endswith(", ended before the fork") and not names[last].endswith("fork")


@pytest.mark.parametrize(("other", "why"), [
    ("planner.num_candidates=9", None), ("planner.horizon=5", "its plans look 5 steps ahead, the recorded ones"),
    ("cost=effort", "another cost: energies of other costs")])
def test_a_fork_records_whether_its_energies_are_comparable(recorded, tmp_path: Path, other: str, why: str | None) -> None:
    done = fork(Recording.open(recorded("two rooms")), 0, 9, [other], tmp_path / "fork")
    details = Trace.open(done.folder).header["details"]
    assert details["incomparable"] is None if why is None else details["incomparable"].startswith(why)


@pytest.mark.parametrize(("wave", "tick", "words"), [
    (7, 0, r"cannot be forked at tick 0 of wave 7: it holds waves 0, 1\. Fix: --wave 1$"),
    (0, 999, r"cannot be forked at tick 999 of wave 0: it holds ticks 0 to (\d+) of wave 0\. Fix: --fork \1, or an earl"),
    (0, -1, r"cannot be forked at tick -1 of wave 0: it holds ticks 0 to (\d+) of wave 0\. Fix: --fork \1, or an earl"),
])
def test_a_fork_at_an_unrecorded_tick_is_refused(recorded, tmp_path: Path, wave: int, tick: int, words: str) -> None:
    with pytest.raises(TraceError, match=words):
        fork(Recording.open(recorded("two rooms")), wave, tick, [], tmp_path / "fork")

"""A re-execution is identical, or the first difference and its cause are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import ami
from ami.errors import SettingError, TraceError
from ami.learning import checkpoint
from ami.replay.recording import Recording
from ami.replay.reexecute import reexecute
from ami.trace.reader import Trace, read_batches
from tests.ami.replay.conftest import RUNS, TINY


@pytest.mark.parametrize("name", RUNS)
def test_a_reexecution_is_identical(recorded, tmp_path: Path, name: str) -> None:
    recording = Recording.open(recorded(name))
    done = reexecute(recording, tmp_path / "replay")
    assert done.first is None and done.cause() == "identical" and done.ticks == sum(recording.ticks.values()) > 5
    assert Trace.open(done.folder).digest() == recording.trace.digest()
    was, ticks = ami.load_trace(recording.folder).ticks.to_pandas(), ami.load_trace(done.folder).ticks.to_pandas()
    assert len(ticks) == len(was) and ticks["us"].between(1, 1e6).all(), "playback takes no time"


def test_a_full_recording_also_holds_chosen_messages(tmp_path: Path) -> None:
    config = ami.compose([*RUNS["two rooms"], "trace.level=full", "trace.ports=[planner.plan]", f"store={tmp_path}"])
    trace = ami.run(config, tmp_path / "run").trace()
    assert trace.message("planner", "plan", 0, 3).shape == (2, 3, 2)
    assert trace.message("world", "observation", 0, 3).dtype == torch.uint8
    with pytest.raises(TraceError, match=r"Fix: run again with trace\.level=full 'trace\.ports=\[planner\.imagined\]'$"):
        trace.message("planner", "imagined", 0, 3)


def test_invalid_levels_and_ports_are_refused() -> None:
    with pytest.raises(SettingError, match=r"trace\.level is 'all': expected one of stats, boundary, full"):
        ami.compose(["trace.level=all"])
    with pytest.raises(SettingError, match=r"^trace\.ports is \['planner\.plan'\], but trace\.level is stats: expected"):
        ami.run(ami.compose(["trace.ports=[planner.plan]", "runtime=local"]))
    with pytest.raises(ami.AmiError, match=r"planner\.plam.*did you mean 'planner\.plan'"):
        ami.run(ami.compose(["trace.level=full", "trace.ports=[planner.plam]", "runtime=local"]))


def test_statistics_alone_cannot_be_reexecuted(recorded) -> None:
    with pytest.raises(TraceError, match=r"Fix: run again with trace\.level=boundary$"):
        Recording.open(recorded("two rooms", "stats"))


def test_a_changed_weight_is_named(tmp_path: Path) -> None:
    learns = ["learning.collect.episodes=4", "learning.collect.batch=4", "learning.collect.steps=10",
              "learning.stages.model.steps=2", "learning.stages.critic.steps=2"]
    config = ami.compose([*TINY, *learns, "trace.level=boundary", f"store={tmp_path}"])
    run = ami.run(config, tmp_path / "run").folder
    tensors, notes = checkpoint.load(run / "agent.safetensors")
    name = "world_model/predictor.last.bias"
    tensors[name] = tensors[name] + 0.5
    checkpoint.save(run / "agent.safetensors", tensors, notes)
    done = reexecute(Recording.open(run), tmp_path / "replay")
    assert done.first is not None and (done.first.tick, done.first.node) <= (1, "world_model")
    assert done.cause().startswith("weights.world_model was ")


def test_a_changed_setting_code_and_version_are_named(recorded, tmp_path: Path) -> None:
    """The header is edited to another horizon, other code and another torch."""
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


def keep(folder: Path, is_kept: Callable[[str, int, int], bool], change: Callable[[str, pa.Table], pa.Table]) -> None:
    """Rewrite a run's files with a selection of rows by node, wave and tick."""
    for path in (folder / "trace").glob("**/*.arrow"):
        table = pa.Table.from_batches(read_batches(path)[0])
        node = path.name.split(".")[0]
        keys = zip(table["wave"].to_pylist(), table["tick"].to_pylist(), strict=True)
        table = change(node, table.filter(pa.array([is_kept(node, *key) for key in keys])))
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)


def test_missing_records_of_a_killed_slow_node_are_no_difference(recorded, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(recorded("slow"), folder, ignore=shutil.ignore_patterns("replays"))
    keep(folder, lambda node, wave, tick: node != "configurator" or (wave, tick) < (1, 6), lambda node, table: table)
    recording = Recording.open(folder)
    assert recording.ticks[1] == 6 and reexecute(recording, tmp_path / "replay").first is None


def test_a_difference_after_a_ragged_end_is_found(recorded, tmp_path: Path) -> None:
    """As after a kill of two agents: each wave ends where its own agent was."""
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
    assert str(reexecute(recording, tmp_path / "replay").first) == "wave 1, tick 3, planner.energy"

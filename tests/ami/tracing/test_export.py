import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ami.agent import Agent
from ami.cli import main
from ami.errors import SettingError, UnknownName
from ami.evaluation.manifest import Manifest
from ami.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.tracing.export import export, perfetto_events, processes
from ami.tracing.header import write_header
from ami.tracing.log import TraceLog
from ami.tracing.spans import Forest, Sample
from ami.tracing.tables import NAMES, Tables


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run-7"


@pytest.fixture
def run(tiny_mind: Callable[..., Graph], lived: Path) -> Path:
    """The tiny mind's first wave of two pairs in one room, lived once for all of these tests."""
    if not lived.exists():
        graph = tiny_mind(observe="state")
        write_header(lived, graph, seed=3)
        with Agent(LocalRuntime(graph, 3, recorder=TraceLog(lived / "trace" / "agent-0"))) as agent:
            for _ in agent.live(Manifest.make(graph.drafts["world"], 5, 2).episodes()[:2], 0):
                pass
    return lived


def events(run: Path, **settings: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    tables = Tables.load(run)
    tables.trace.header["config"] = settings or None
    for event in perfetto_events(tables):
        found.setdefault(event["ph"], []).append(event)
    return found


def test_every_invocation_is_a_slice_on_the_track_of_its_module(run: Path) -> None:
    tables, found = Tables.load(run), events(run)
    names = {(one["pid"], one["tid"]): one["args"]["name"] for one in found["M"] if one["name"] == "thread_name"}
    assert sorted(names.values()) == sorted(tables.trace.tables)
    assert len(found["X"]) == tables.invocations.num_rows
    assert all(names[one["pid"], one["tid"]] == one["name"] for one in found["X"])
    assert [one["dur"] for one in found["X"]] == tables.invocations["us"].to_pylist()
    assert min(one["ts"] for one in found["X"]) == 0


def test_a_flow_runs_along_every_wire_that_brought_something(run: Path) -> None:
    tables, found = Tables.load(run), events(run)
    slices = [(one["pid"], one["tid"], one["ts"], one["ts"] + one["dur"]) for one in found["X"]]

    def lies_in_a_slice(one: dict[str, Any]) -> bool:
        return any((pid, tid) == (one["pid"], one["tid"]) and begin <= one["ts"] <= end for pid, tid, begin, end in slices)

    brought = tables.inputs.num_rows - tables.inputs["message"].null_count
    assert len(found["s"]) == len(found["f"]) == brought
    begun = {one["id"]: one for one in found["s"]}
    assert len(begun) == brought
    for one in found["f"]:
        assert begun[one["id"]]["name"] == one["name"] and begun[one["id"]]["ts"] <= one["ts"]
        assert lies_in_a_slice(one) and lies_in_a_slice(begun[one["id"]])


def test_surprise_and_energies_are_counters_over_the_living(run: Path) -> None:
    found = events(run)["C"]
    ticks = Tables.load(run).ticks.to_pandas().query("live")
    energy = ticks.groupby("tick")["planner.energy"].mean()
    told = [one["args"]["energy"] for one in found if one["name"] == "planner"]
    assert told == pytest.approx(energy.tolist())
    assert {(one["name"], *one["args"]) for one in found} == {("world_model", "surprise"), ("planner", "energy")}


@pytest.mark.parametrize("settings, groups", [
    ({}, 1), ({"runtime": "local", "placement": "module"}, 1), ({"runtime": "ray", "placement": "module"}, 7),
    ({"runtime": "ray", "placement": {"body": ["world", "actor"], "mind": [
        "perception", "world_model", "configurator", "goal", "planner"]}}, 2)])
def test_a_process_per_group_of_modules(run: Path, settings: dict[str, Any], groups: int) -> None:
    found = events(run, **settings)
    assert len({one["pid"] for one in found["X"]}) == groups
    names = {one["args"]["name"] for one in found["M"] if one["name"] == "process_name"}
    assert len(names) == groups and all(name.startswith("agent-0") for name in names)
    assert set(processes({"config": settings, "graph": Tables.load(run).trace.header["graph"]})) == set(
        Tables.load(run).trace.tables)


def test_the_file_is_json_and_is_packed_on_request(run: Path, tmp_path: Path) -> None:
    export(run, "perfetto", tmp_path / "trace.json")
    export(run, "perfetto", tmp_path / "trace.json.gz")
    content = json.loads((tmp_path / "trace.json").read_text())
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes())) == content
    assert content["otherData"]["run"] == "run-7" and len(content["traceEvents"]) > 50


def test_opentelemetry_reads_its_spans(run: Path, tmp_path: Path) -> None:
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    export(run, "otlp", tmp_path / "trace.json")
    content = json.loads((tmp_path / "trace.json").read_text())
    trees = list(Forest(Tables.load(run)).trees(Sample(every=1)))
    spans = content["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(spans) == sum(len(tree.spans) for tree in trees)
    for span in spans:  # protobuf's JSON has bytes in base64, OpenTelemetry's in hexadecimal
        for one in (span, *span["links"]):
            one.update({key: base64.b64encode(bytes.fromhex(one[key])).decode()
                        for key in ("traceId", "spanId", "parentSpanId") if key in one})
    read = ParseDict(content, TracesData()).resource_spans[0].scope_spans[0].spans
    world = next(span for span in read if span.name == "world" and span.links)
    tree, own = next((tree, span) for tree in trees for span in tree.spans if span.id == world.span_id.hex())
    assert world.trace_id.hex() == tree.id and world.parent_span_id.hex() == tree.root.id
    assert (world.start_time_unix_nano, world.end_time_unix_nano) == (own.start, own.end)
    assert world.links[0].span_id.hex() == own.links[0].span
    assert {one.key: one.value for one in world.attributes}["input.action"].string_value == own.inputs["action"]


def test_parquet_holds_the_tables(run: Path, tmp_path: Path) -> None:
    export(run, "parquet", tmp_path / "tables")
    for name in NAMES:
        assert pq.read_table(tmp_path / "tables" / f"{name}.parquet").equals(getattr(Tables.load(run), name))


def test_what_cannot_be_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown format 'perfeto': did you mean 'perfetto'"):
        export(run, "perfeto", tmp_path / "out")
    with pytest.raises(SettingError, match="expected a file that can be written"):
        export(run, "otlp", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="expected a folder that can be written"):
        export(run, "parquet", tmp_path / "file")


def test_the_command_says_where_it_is(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace.json"
    assert main(["trace", "export", str(run), "--format", "perfetto", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}: open it in https://ui.perfetto.dev")
    assert main(["trace", "export", str(run), "--format", "perfeto", "--out", str(out)]) == 2
    assert capsys.readouterr().err == "ami: unknown format 'perfeto': did you mean 'perfetto'?\n"
    assert main(["trace", "export", str(run), "--format", "parquet", "--out", str(out), "--every", "3"]) == 2
    assert capsys.readouterr().err.startswith("ami: --every has no effect on parquet: it holds every tick. Cure: ")

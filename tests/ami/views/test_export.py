import base64
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from perfetto_reader import ask, missing

from ami.agent import Agent
from ami.cli.main import main
from ami.config.compose import compose, to_graph
from ami.errors import AmiError, SettingError, UnknownName
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.views import export as export_module
from ami.views.export import export, perfetto_events, processes
from ami.views.query import EXPECTED, Condition
from ami.views.spans import Forest, Sample
from ami.views.tables import NAMES, Tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run-7"


@pytest.fixture
def run(tiny_agent: Callable[..., Graph], folder: Path) -> Path:
    """The tiny agent's first wave of two pairs in one room, run once for all of these tests."""
    if not folder.exists():
        graph = tiny_agent(observe="state")
        write_header(folder, graph, seed=3)
        with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / "agent-0"))) as agent:
            for _ in rollout(agent, Manifest.make(graph.drafts["world"], 5, 2).episodes()[:2], wave=0):
                pass
    return folder


@pytest.fixture
def agents(tiny_agent: Callable[..., Graph], folder: Path) -> Path:
    """Two agents with one wave of two pairs each."""
    folder = folder.with_name("run-8")
    if not folder.exists():
        graph = tiny_agent(observe="state")
        write_header(folder, graph, seed=3)
        episodes = Manifest.make(graph.drafts["world"], 5, 2).episodes()
        for wave in (0, 1):
            with Agent(LocalRuntime(graph, 3, recorder=TraceLog(folder / "trace" / f"agent-{wave}"))) as agent:
                for _ in rollout(agent, episodes[2 * wave:2 * wave + 2], wave=wave):
                    pass
    return folder


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


def test_every_received_message_is_a_flow(run: Path) -> None:
    tables, found = Tables.load(run), events(run)
    slices = [(one["pid"], one["tid"], one["ts"], one["ts"] + one["dur"]) for one in found["X"]]

    def lies_in_a_slice(one: dict[str, Any]) -> bool:
        return any((pid, tid) == (one["pid"], one["tid"]) and begin <= one["ts"] <= end for pid, tid, begin, end in slices)

    received = tables.inputs.num_rows - tables.inputs["message"].null_count
    assert len(found["s"]) == len(found["f"]) == received
    begun = {one["id"]: one for one in found["s"]}
    assert len(begun) == received
    for one in found["f"]:
        assert begun[one["id"]]["name"] == one["name"] and begun[one["id"]]["ts"] <= one["ts"]
        assert lies_in_a_slice(one) and lies_in_a_slice(begun[one["id"]])


def test_surprise_and_energies_are_counters_over_running_episodes(run: Path) -> None:
    found = events(run)["C"]
    ticks = Tables.load(run).ticks.to_pandas().query("live")
    energy = ticks.groupby("tick")["planner.energy"].mean()
    counted = [one["args"]["energy"] for one in found if one["name"] == "planner"]
    assert counted == pytest.approx(energy.tolist())
    assert {(one["name"], *one["args"]) for one in found} == {("world_model", "surprise"), ("planner", "energy")}


def test_the_events_are_independent_of_the_window(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(found: dict[str, list[dict[str, Any]]]) -> list[str]:
        return sorted(str({key: value for key, value in one.items() if key != "id"})
                      for each in found.values() for one in each)

    whole = events(run)
    monkeypatch.setattr(export_module, "WINDOW", 2)
    parts = events(run)
    assert plain(parts) == plain(whole)
    assert len({one["id"] for one in parts["s"]}) == len(parts["s"]) == len(whole["s"]) > 0


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


@pytest.mark.skipif(bool(missing()), reason=f"{missing()}: Perfetto itself is not used")
@pytest.mark.parametrize("settings", [
    {}, {"runtime": "ray", "placement": "module"},
    {"runtime": "ray", "placement": {"body": ["world", "actor"], "mind": [
        "perception", "world_model", "configurator", "goal", "planner"]}}], ids=["agent", "module", "groups"])
def test_perfetto_itself_reads_slices_tracks_flows_and_counters(
        agents: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    run = tmp_path / "run"
    shutil.copytree(agents, run)
    header = json.loads((run / "header.json").read_text())
    (run / "header.json").write_text(json.dumps(header | {"config": settings}))
    export(run, "perfetto", tmp_path / "trace.json.gz")
    faults, tracks, flows, counters, gone = ask(
        tmp_path / "trace.json.gz",
        "select name, value from stats where severity in ('error', 'data_loss') and value > 0",
        """select process.name as process, thread.name as thread, is_main_thread, count(*) as slices, sum(dur) as ns
           from slice join thread_track on track_id = thread_track.id join thread using (utid) join process using (upid)
           group by utid""",
        """select a.name as sender, b.name as receiver, count(*) as flows from flow
           join slice a on slice_out = a.id join slice b on slice_in = b.id where a.ts <= b.ts group by 1, 2""",
        """select t.name as name, count(*) as number, avg(value) as mean from counter c join process_counter_track t
           on c.track_id = t.id group by t.name""",
        "select count(*) as flows from flow")
    tables = Tables.load(run)
    group = processes(tables.trace.header)
    fired = tables.invocations.to_pandas().groupby(["agent", "node"])["us"].agg(["count", "sum"])
    assert faults == [] and not any(track["is_main_thread"] for track in tracks)
    assert {(track["process"], track["thread"]): track["slices"] for track in tracks} == {
        (f"{agent} {group[node]}".strip(), node): int(row["count"]) for (agent, node), row in fired.iterrows()}
    assert sum(track["ns"] for track in tracks) == pytest.approx(1000 * fired["sum"].sum(), abs=len(tables.invocations))
    sent = tables.inputs.to_pandas().dropna(subset="message").groupby(["from_node", "node"]).size()
    assert {(flow["sender"], flow["receiver"]): flow["flows"] for flow in flows} == sent.to_dict()
    assert gone == [{"flows": int(sent.sum())}]
    mean = tables.ticks.to_pandas().query("live").groupby(["wave", "tick"]).mean(numeric_only=True)
    assert {counter["name"]: (counter["number"], counter["mean"]) for counter in counters} == {
        f"{node} {port}": (len(mean), pytest.approx(mean[f"{node}.{port}"].mean()))
        for node, port in (("world_model", "surprise"), ("planner", "energy"))}


def test_the_file_is_json_and_is_compressed_on_request(run: Path, tmp_path: Path) -> None:
    export(run, "perfetto", tmp_path / "trace.json")
    export(run, "perfetto", tmp_path / "trace.json.gz")
    content = json.loads((tmp_path / "trace.json").read_text())
    packed = (tmp_path / "trace.json.gz").read_bytes()
    export(run, "perfetto", tmp_path / "trace.json.gz")
    assert (tmp_path / "trace.json.gz").read_bytes() == packed, "equal traces give equal files"
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes())) == content
    assert content["otherData"]["run"] == "run-7" and len(content["traceEvents"]) > 50


def test_opentelemetry_reads_its_spans(run: Path, tmp_path: Path) -> None:
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    export(run, "otlp", tmp_path / "trace.json")
    content = json.loads((tmp_path / "trace.json").read_text())
    tables = Tables.load(run)
    trees = list(Forest(tables).trees(Sample(every=1)))
    spans = content["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(spans) == sum(len(tree.spans) for tree in trees)
    for span in spans:  # protobuf's JSON has bytes in base64, OpenTelemetry's in hexadecimal
        for one in (span, *span["links"]):
            one.update({key: base64.b64encode(bytes.fromhex(one[key])).decode()
                        for key in ("traceId", "spanId", "parentSpanId") if key in one})
    (resource,) = ParseDict(content, TracesData()).resource_spans
    assert {one.key: one.value.string_value for one in resource.resource.attributes}["service.instance.id"] == "run-7"
    read = {span.span_id.hex(): span for span in resource.scope_spans[0].spans}
    owns = {span.id: (tree, span) for tree in trees for span in tree.spans}
    assert set(read) == set(owns) and any(span.links for span in read.values())
    for id, span in read.items():
        tree, own = owns[id]
        assert (len(span.trace_id), len(span.span_id), len(span.parent_span_id)) == (16, 8, 8 if own.parent else 0)
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (tree.id, own.parent or "")
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (own.start, own.end)
        assert [(link.trace_id.hex(), link.span_id.hex()) for link in span.links] == [
            (link.tree, link.span) for link in own.links]
        for link in span.links:
            assert owns[link.span_id.hex()][0].id == link.trace_id.hex()
    delayed = tables.inputs.filter(pc.greater(tables.inputs["age"], 0)).num_rows
    values = {wire.value.string_value for span in read.values() for link in span.links for wire in link.attributes}
    assert sum(len(span.links) for tree in trees if tree.kind == "tick" for span in tree.spans) == delayed
    assert {"actor.action → world.action", "actor.action@0"} <= values
    world = next(span for span in read.values() if span.name == "world" and span.links)
    assert {one.key: one.value for one in world.attributes}["input.action"].string_value.startswith("actor.action@")


def test_parquet_holds_the_tables(run: Path, tmp_path: Path) -> None:
    export(run, "parquet", tmp_path / "tables")
    for name in NAMES:
        assert pq.read_table(tmp_path / "tables" / f"{name}.parquet").equals(getattr(Tables.load(run), name))


def read(path: Path, form: str) -> Any:
    if form == "parquet":
        return {name: pq.read_table(path / f"{name}.parquet") for name in NAMES}
    content = json.loads(path.read_text())
    return content["traceEvents"] if form == "perfetto" else content["resourceSpans"][0]["scopeSpans"][0]["spans"]


@pytest.mark.parametrize("which", [{"wave": 1}, {"agent": "agent-1"}, {"wave": 1, "agent": "agent-1"}], ids=str)
def test_one_wave_or_one_agent_equals_its_part_of_the_whole(agents: Path, tmp_path: Path, which: dict[str, Any]) -> None:
    for form in ("perfetto", "otlp", "parquet"):
        export(agents, form, tmp_path / f"{form}-whole")
        export(agents, form, tmp_path / form, **which)
    whole, part = read(tmp_path / "otlp-whole", "otlp"), read(tmp_path / "otlp", "otlp")
    ids = {tree.id for tree in Forest(Tables.load(agents)).trees(Sample(every=1)) if tree.wave == 1}
    assert part == [span for span in whole if span["traceId"] in ids] and 0 < len(part) < len(whole)
    whole, part = read(tmp_path / "parquet-whole", "parquet"), read(tmp_path / "parquet", "parquet")
    assert all(part[name].equals(whole[name].filter(pc.equal(whole[name]["wave"], 1)).combine_chunks()) for name in NAMES)
    whole, part = read(tmp_path / "perfetto-whole", "perfetto"), read(tmp_path / "perfetto", "perfetto")
    slices = [one["args"] for one in whole if one["ph"] == "X" and one["args"]["wave"] == 1]
    assert [one["args"] for one in part if one["ph"] == "X"] == slices
    assert [one["args"]["name"] for one in part if one["name"] == "process_name"] == ["agent-1"]


def test_only_ticks_in_which_a_condition_holds(agents: Path, tmp_path: Path) -> None:
    ticks = Tables.load(agents).ticks.to_pandas().query("live")
    high = float(ticks["planner.energy"].quantile(0.8))
    found = ticks[ticks["planner.energy"] > high]
    wanted = set(zip(found["wave"], found["tick"], strict=True))
    sample = Sample(every=1, episodes=0, where=Condition(f"planner.energy > {high!r}"))
    export(agents, "perfetto", tmp_path / "timeline", sample)
    export(agents, "otlp", tmp_path / "spans", sample)
    timeline = read(tmp_path / "timeline", "perfetto")
    assert {(one["args"]["wave"], one["args"]["tick"]) for one in timeline if one["ph"] == "X"} == wanted
    assert len([one for one in timeline if one["ph"] == "C"]) == 2 * len(wanted) < 2 * len(ticks)
    forest = Forest(Tables.load(agents))
    assert {span["traceId"] for span in read(tmp_path / "spans", "otlp")} == {forest.tick_id(*one) for one in wanted}


def test_with_a_condition_episodes_are_exported_on_request(agents: Path, tmp_path: Path) -> None:
    tables = Tables.load(agents)
    high = float(tables.ticks.filter(tables.ticks["live"])["planner.energy"].to_numpy().max())
    arguments = ["trace", "export", str(agents), "--format", "otlp", "--out", str(tmp_path / "out"),
             "--where", f"planner.energy >= {high!r}"]

    def kinds() -> list[str]:
        roots = [span for span in read(tmp_path / "out", "otlp") if "parentSpanId" not in span]
        return [attribute["value"]["stringValue"] for span in roots for attribute in span["attributes"]
                if attribute["key"] == "ami.kind"]

    assert main(arguments) == 0 and kinds() == ["TICK"]
    assert main([*arguments, "--episodes", "1"]) == 0 and kinds() == ["TICK", "EPISODE"], "three episodes held no such tick"
    assert main(arguments[:-2]) == 0 and kinds().count("EPISODE") == 4


@pytest.mark.parametrize("which, words", [
    ({"agent": "agent-2"}, "unknown agent 'agent-2': did you mean 'agent-1'?"),
    ({"wave": 2}, "RUN holds no wave 2: expected 0 to 1. Fix: --wave 1"),
    ({"agent": "agent-0", "wave": 1}, "RUN holds no wave 1 of agent-0: expected 0. Fix: --wave 0"),
    ({"sample": Sample(where=Condition("surprise > 1e9"))},
     "RUN holds no tick of a running episode in which surprise > 1e9: nothing is exported"),
    ({"sample": Sample(where=Condition("surprize > 1"))}, "unknown figure 'surprize': did you mean 'surprise'?")])
def test_an_unrecorded_part_is_refused(agents: Path, tmp_path: Path, which: dict[str, Any], words: str) -> None:
    with pytest.raises(AmiError) as refused:
        export(agents, "otlp", tmp_path / "out", **which)
    assert str(refused.value) == words.replace("RUN", str(agents)) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["perfetto", "otlp", "parquet"])
@pytest.mark.parametrize("name", ["out", "out.gz"])
def test_an_interrupted_export_keeps_the_existing_files(
        run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, name: str) -> None:
    if form == "parquet" and name == "out.gz":
        return
    export(run, form, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    calls = 0

    def stops(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return does(*given, **named)

    owner, function = (pq, "write_table") if form == "parquet" else (json, "dumps")
    does = getattr(owner, function)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(owner, function, stops)
        export(run, form, tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_invalid_arguments_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown format 'perfeto': did you mean 'perfetto'"):
        export(run, "perfeto", tmp_path / "out")
    with pytest.raises(SettingError, match="expected a file that can be written"):
        export(run, "otlp", tmp_path)
    with pytest.raises(SettingError, match=r"parquet is a folder of 5 files\. Fix: --out .*/tables$"):
        export(run, "parquet", tmp_path / "tables.parquet")
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="expected a folder that can be written"):
        export(run, "parquet", tmp_path / "file")


def test_the_command_prints_the_path_of_the_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "trace.json"
    assert main(["trace", "export", str(run), "--format", "perfetto", "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}: open it in https://ui.perfetto.dev")
    assert main(["trace", "export", str(run), "--format", "perfeto", "--out", str(out)]) == 2
    assert capsys.readouterr().err == "ami: unknown format 'perfeto': did you mean 'perfetto'?\n"
    for words, message in (
            (["parquet", "--every", "3"], "--every has no effect on parquet: it holds every tick. "
                                          "Fix: leave it out, or --format otlp"),
            (["parquet", "--where", "tick < 3"], "--where has no effect on parquet: it holds every tick. "
                                                 "Fix: leave it out, or --format otlp"),
            (["perfetto", "--every=3"], "--every has no effect on perfetto: it holds every tick, or those of --where. "
                                        "Fix: leave it out, or --format otlp"),
            (["perfetto", "--where", "tick <"], f"--where is 'tick <': {EXPECTED}")):
        assert main(["trace", "export", str(run), "--out", str(tmp_path / "no"), "--format", *words]) == 2
        assert capsys.readouterr().err == f"ami: {message}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]
    assert main(["trace", "export", str(run), "--out", str(out), "--format", "otlp", "--wav=1"]) == 2
    assert capsys.readouterr().err == ("ami: unknown flag '--wav': did you mean '--wave'? "
                                       "`ami trace export --help` explains them.\n")
    which = ["--agent", "agent-0", "--wave", "0", "--where", "tick < 2", "--episodes", "0"]
    assert main(["trace", "export", str(run), "--format", "otlp", "--out", str(out), *which]) == 0
    assert {span["name"] for span in read(out, "otlp") if "parentSpanId" not in span} == {"tick 0", "tick 1"}


def test_slices_and_counters_show_both_levels_of_planning(tmp_path: Path) -> None:
    graph = to_graph(compose(["agent=two_levels"]))
    write_header(tmp_path, graph, seed=3)
    with Agent(LocalRuntime(graph, 3, recorder=TraceLog(tmp_path / "trace" / "agent-0"))) as agent:
        for _ in rollout(agent, Manifest.make(graph.drafts["world"], 5, 1).episodes()[:1], longest=6):
            pass
    found = events(tmp_path)
    slices = {node: [one["args"] for one in found["X"] if one["name"] == node] for node in ("upper_planner", "planner")}
    assert [one["tick"] for one in slices["upper_planner"]] == [0, 4] and slices["upper_planner"][0]["every"] == 4
    assert [one["tick"] for one in slices["planner"]] == list(range(7)) and "every" not in slices["planner"][0]
    assert {"world_model", "upper_model", "cost", "planner", "upper_planner"} == {one["name"] for one in found["C"]}

"""Export of a trace: Perfetto's timeline, OpenTelemetry's spans, Parquet tables.

* `perfetto`: JSON trace events for https://ui.perfetto.dev. A process per agent and group of modules, in it a track per
  module, a flow per message from the sending to the receiving invocation, and counters for surprise and energies (means
  over running episodes). The tests read it with Perfetto.
* `otlp`: OpenTelemetry's JSON, one trace per tick and per episode, as `ami.views.spans` makes them.
* `parquet`: the tidy tables (docs/traces.md), one file each in a folder.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ami.blueprint import Cost, Planner, WorldModel
from ami.errors import SettingError, TraceError, require, unknown_name
from ami.graph.partition import named_group
from ami.storage.files import whole_file, write_atomically
from ami.trace.arrivals import arrivals
from ami.trace.invocation import check, implementation
from ami.trace.reader import Trace
from ami.trace.roles import Roles
from ami.views.spans import Forest, Link, Sample, Span, Tree
from ami.views.tables import NAMES, Tables

COUNTED = (WorldModel, Cost, Planner)  # every scalar number of nodes of these roles is a counter, except search steps
NOT_COUNTED = "model_steps"
Slices = Mapping[tuple[str, int, int], tuple[int, int, float, float]]
"""By node, wave and tick: process, thread, start, length."""
SPAN_KIND_INTERNAL, STATUS_OK, STATUS_ERROR = 1, 1, 2
ALL = Sample(every=1)
GZIP_LEVEL = 6
WINDOW = 1024  # ticks whose events are made at a time


def export(run: Path, form: str, out: Path, sample: Sample = ALL, wave: int | None = None,
           agent: str | None = None) -> None:
    """Write the trace of a run for another program.

    Args:
        run: the run's folder.
        form: "perfetto", "otlp" or "parquet".
        out: the file, compressed if its name ends in .gz; for parquet the folder.
        sample: which ticks and episodes, for otlp; which ticks, for perfetto.
        wave: only this batch of episodes.
        agent: only this agent, "agent-0".

    Raises:
        TraceError: the folder holds no run, no trace, not this wave, or no tick of the sample.
        UnknownName: there is no such format, agent, or figure in the sample's condition.
        SettingError: `out` cannot be written.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    out = Path(out)
    if form == "parquet":
        require(out.suffix not in (".parquet", ".gz"), f"--out is '{out}': parquet is a folder of {len(NAMES)} files. "
                                                       f"Fix: --out {out.with_suffix('')}")
    forest = Forest(Tables(_chosen(Trace.open(Path(run)), wave, agent)))
    if sample.where is not None and not forest.ticks(sample):
        raise TraceError(f"{run} holds no tick of a running episode in which {sample.where.text}: nothing is exported")
    try:
        FORMATS[form](forest, out, sample)
    except OSError as error:
        what = "a folder" if form == "parquet" else "a file"
        raise SettingError(f"--out is '{out}': expected {what} that can be written ({error.strerror})") from None


def _chosen(trace: Trace, wave: int | None, agent: str | None) -> Trace:
    """Return the trace of one agent, one wave, or both. No wire connects two waves, so each is complete in itself."""
    if agent is not None:
        agents = sorted({name for table in trace.tables.values() for name in pc.unique(table["agent"]).to_pylist()})
        if agent not in agents:
            raise unknown_name("agent", agent, agents)
        trace = trace.part(lambda table: pc.equal(table["agent"], agent))
    if wave is not None:
        if agent is not None and wave not in trace.waves:
            waves = ", ".join(map(str, trace.waves))
            raise TraceError(f"{trace.folder} holds no wave {wave} of {agent}: expected {waves}. "
                             f"Fix: --wave {next(iter(trace.waves))}")
        check(trace, wave)
        trace = trace.part(lambda table: pc.equal(table["wave"], wave))
    return trace


# Perfetto ---------------------------------------------------------------------------------------------------------------


def perfetto_events(tables: Tables, ticks: Collection[tuple[int, int]] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the trace, or these (wave, tick) of it, as JSON trace events; times are microseconds since the first.

    The events of `WINDOW` ticks are made at a time: those of a long run would not fit into memory.
    """
    trace = tables.trace
    keys = {node: _keys(table) for node, table in trace.tables.items()}
    chosen = np.unique(np.concatenate(list(keys.values()))) if keys else np.zeros(0, np.int64)
    if ticks is not None:
        chosen = chosen[np.isin(chosen, [wave << 32 | tick for wave, tick in ticks])]
    is_chosen = {node: np.isin(key, chosen) for node, key in keys.items()}
    if not len(chosen):
        return
    zero = min(int(trace.tables[node]["start"].to_numpy()[held].min()) for node, held in is_chosen.items() if held.any())
    group_of = processes(trace.header)
    pairs = sorted((agent, node) for node, held in is_chosen.items()
                   for agent in pc.unique(trace.tables[node]["agent"].filter(pa.array(held))).to_pylist())
    tid = {node: number for number, node in enumerate(trace.tables, 1)}
    places = list(dict.fromkeys((agent, group_of.get(node, "")) for agent, node in sorted(
        pairs, key=lambda one: (one[0], tid[one[1]]))))
    pid = {place: number for number, place in enumerate(places, len(tid) + 1)}  # equal numbers mean "main thread"
    for (agent, group), number in pid.items():
        yield _meta("process_name", number, 0, f"{agent} {group}".strip())
        yield {"ph": "M", "name": "process_sort_index", "pid": number, "tid": 0, "args": {"sort_index": number}}
    for agent, node in pairs:
        where = {"pid": pid[agent, group_of.get(node, "")], "tid": tid[node]}
        yield _meta("thread_name", where["pid"], where["tid"], node)
        yield {"ph": "M", "name": "thread_sort_index", **where, "args": {"sort_index": tid[node]}}
    counters, numbers, every = _Counters(tables), count(), trace.header["graph"].get("every", {})
    before: dict[tuple[str, int, int], tuple[int, int, float, float]] = {}
    for begin in range(0, len(chosen), WINDOW):
        window = chosen[begin:begin + WINDOW]
        rows_of, where_of = dict[str, pa.Table](), dict[tuple[str, int, int], tuple[int, int, float, float]]()
        slices: list[tuple[int, int, dict[str, Any]]] = []
        for node, table in trace.tables.items():
            first, last = np.searchsorted(keys[node], window[0]), np.searchsorted(keys[node], window[-1], side="right")
            rows = rows_of[node] = table.slice(first, last - first).filter(pa.array(is_chosen[node][first:last]))
            about = {"module": implementation(trace, node), **({"every": every[node]} if node in every else {})}
            columns = (rows[name].to_pylist() for name in ("agent", "wave", "tick", "start", "end", "batch"))
            for agent, wave, tick, start, end, worlds in zip(*columns, strict=True):
                process, thread = pid[agent, group_of.get(node, "")], tid[node]
                at, length = (start - zero) / 1000, (end - start) / 1000
                where_of[node, wave, tick] = process, thread, at, length
                slices.append((wave << 32 | tick, thread, {
                    "ph": "X", "name": node, "cat": "module", "pid": process, "tid": thread, "ts": at, "dur": length,
                    "args": {"wave": wave, "tick": tick, **about, "worlds": worlds}}))
        yield from (event for *_, event in sorted(slices, key=lambda one: one[:2]))
        recent = before | where_of  # a message may come from the window before
        for node, rows in rows_of.items():
            yield from _flows(trace, node, rows, recent, numbers)
        yield from counters.events(window, where_of)
        before = where_of


def processes(header: Mapping[str, Any]) -> dict[str, str]:
    """Return the group of modules of each node; a single process is one group."""
    config, order = header["config"] or {}, header["graph"]["order"]
    placement = config.get("placement", "agent") if config.get("runtime") == "ray" else "agent"
    if isinstance(placement, Mapping):
        return {node: group for group, members in placement.items() for node in members}
    roles = Roles(header)
    return {node: "" if placement == "agent" else named_group(placement, node, roles.role(node)) for node in order}


def _meta(name: str, pid: int, tid: int, value: str) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": {"name": value}}


def _flows(trace: Trace, node: str, rows: pa.Table, where_of: Slices, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    """Yield flows from the sender's slice to the receiver's; Perfetto draws a flow only if both ends are in slices."""
    for wire, sent_at in arrivals(trace, node, rows):
        name = f"{wire.node}.{wire.port} → {node}.{wire.to_port}"
        for wave, tick, sent in zip(rows["wave"].to_pylist(), rows["tick"].to_pylist(), sent_at.tolist(), strict=True):
            begin, end = where_of.get((wire.node, wave, sent)), where_of.get((node, wave, tick))
            if begin is None or end is None:
                continue
            number = next(numbers)
            yield {"ph": "s", "id": number, "name": name, "cat": "wire", "pid": begin[0], "tid": begin[1],
                   "ts": begin[2] + begin[3] / 2}
            yield {"ph": "f", "bp": "e", "id": number, "name": name, "cat": "wire", "pid": end[0], "tid": end[1],
                   "ts": end[2]}


class _Counters:
    """Means of the counted figures over running episodes, by tick."""

    def __init__(self, tables: Tables) -> None:
        ticks = tables.ticks
        self._found, of = np.unique(_keys(ticks), return_inverse=True)
        live = ticks["live"].to_numpy(zero_copy_only=False)
        counted = {node for role in COUNTED for node in tables.roles.nodes_of(role)}
        self._means: dict[str, dict[str, np.ndarray]] = {}  # by node and port, (ticks,); NaN without a value
        for name in ticks.column_names:
            node, _, port = name.partition(".")
            if node not in counted or port == NOT_COUNTED or not pa.types.is_floating(ticks.schema.field(name).type):
                continue
            values = ticks[name].to_numpy(zero_copy_only=False).astype(float)
            known = live & np.isfinite(values)
            total, number = (np.bincount(of[known], weights, len(self._found)) for weights in (values[known], None))
            with np.errstate(invalid="ignore"):
                self._means.setdefault(node, {})[port] = total / number

    def events(self, window: np.ndarray, where_of: Slices) -> Iterator[dict[str, Any]]:
        """Yield counters at the end of each module's slice, one event per module: Perfetto appends the port to its name."""
        places = np.searchsorted(self._found, window)
        for node, means in self._means.items():
            for key, place in zip(window.tolist(), places.tolist(), strict=True):
                where = where_of.get((node, key >> 32, key & 0xFFFFFFFF))
                known = {port: float(mean[place]) for port, mean in means.items() if not np.isnan(mean[place])}
                if where is not None and known:
                    process, _, start, length = where
                    yield {"ph": "C", "name": node, "pid": process, "tid": 0, "ts": start + length, "args": known}


def _keys(table: pa.Table) -> np.ndarray:
    keys: np.ndarray = table["wave"].to_numpy().astype(np.int64) << 32 | table["tick"].to_numpy()
    return keys


def _perfetto(forest: Forest, out: Path, sample: Sample) -> None:
    began = forest.tables.ticks["start"]
    other = {"run": forest.header["run_id"], "first": str(began[0].as_py()) if len(began) else "",
             "ami": forest.header["versions"].get("ami", "")}
    ticks = None if sample.where is None else forest.ticks(sample)
    _write(out, (json.dumps(event) for event in perfetto_events(forest.tables, ticks)),
           '{"displayTimeUnit": "ns", "otherData": ' + json.dumps(other) + ', "traceEvents": [', "\n]}\n")


# OpenTelemetry ----------------------------------------------------------------------------------------------------------


def otlp_span(tree: Tree, span: Span) -> dict[str, Any]:
    """Return one span in OpenTelemetry's JSON: ids in hexadecimal, 64-bit numbers as strings."""
    attributes = {"ami.kind": span.kind, **span.attributes,
                  **{f"input.{port}": message for port, message in span.inputs.items()},
                  **{f"output.{port}": message for port, message in span.outputs.items()}}
    if span.parent is None:
        attributes |= {f"ami.{name}": value for name, value in tree.figures.items()}
    status = {"code": STATUS_ERROR, "message": span.fault} if span.fault else {"code": STATUS_OK}
    return {"traceId": tree.id, "spanId": span.id, **({"parentSpanId": span.parent} if span.parent else {}),
            "name": span.name, "kind": SPAN_KIND_INTERNAL, "startTimeUnixNano": str(span.start),
            "endTimeUnixNano": str(span.end), "attributes": _attributes(attributes),
            "links": [_link(link) for link in span.links], "status": status}


def _link(link: Link) -> dict[str, Any]:
    return {"traceId": link.tree, "spanId": link.span,
            "attributes": _attributes({"wire": link.wire, "message": link.message})}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in values.items() if value is not None]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"arrayValue": {"values": [_any_value(one) for one in value if one is not None]}}
    return {"stringValue": str(value)}


def _otlp(forest: Forest, out: Path, sample: Sample) -> None:
    header = forest.header
    resource = {"attributes": _attributes({"service.name": "ami", "service.instance.id": header["run_id"],
                                           "ami.seed": header["seed"], "ami.graph.graph": header["graph_hash"]})}
    scope = {"name": "ami", "version": header["versions"].get("ami", "")}
    spans = (json.dumps(otlp_span(tree, span)) for tree in forest.trees(sample) for span in tree.spans)
    _write(out, spans, '{"resourceSpans": [{"resource": ' + json.dumps(resource) + ', "scopeSpans": [{"scope": '
           + json.dumps(scope) + ', "spans": [', "\n]}]}]}\n")


# Files ------------------------------------------------------------------------------------------------------------------


def _parquet(forest: Forest, out: Path, _: Sample) -> None:
    contents = {name: io.BytesIO() for name in NAMES}
    for name, content in contents.items():
        pq.write_table(getattr(forest.tables, name), content)
    for name, content in contents.items():  # all files or none: whatever may fail or be interrupted is done
        write_atomically(out / f"{name}.parquet", content.getvalue())


def _write(out: Path, items: Iterable[str], before: str, after: str) -> None:
    """Write item by item: the file of a long run may be larger than memory."""
    with whole_file(out) as whole, _packed(whole) if out.suffix == ".gz" else nullcontext(whole) as file:
        file.write(before.encode())
        for number, item in enumerate(items):
            file.write(f"{',' if number else ''}\n{item}".encode())
        file.write(after.encode())


def _packed(file: BinaryIO) -> AbstractContextManager[Any]:
    return gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0)  # no timestamp: equal traces give equal files


FORMATS: dict[str, Callable[[Forest, Path, Sample], None]] = {"perfetto": _perfetto, "otlp": _otlp, "parquet": _parquet}

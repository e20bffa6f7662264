"""Diff of two traces: the first difference, then which messages differ, from which tick on and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ami.dtypes import values_in
from ami.terminal.text import escaped, terminal
from ami.trace.invocation import version_of
from ami.trace.reader import KEY, Trace

COLUMNS = ("by, at most: median and maximum over the differing messages of the largest distance between two values; "
           "size: root mean square of A's values\n")
FEW = 12  # differing settings to print
BOUNDS = ("mean", "min", "max")  # their distances are lower bounds of the largest distance between two values
VALUES, LEAST, RESHAPED, UNTOLD = "values", "at least", "shape", "content"


@dataclass(frozen=True)
class Divergence:
    """The messages of one port, compared between two traces.

    Attributes:
        node, port: the sender.
        messages: number of messages sent in both traces at the same wave and tick.
        differ: number of those that differ.
        first: (wave, tick) of the first difference; None if there is none.
        measure: basis of the distances: "values" if recorded; "at least" if only statistics were recorded, which give
            lower bounds; "shape" or "content" if only that is known to differ.
        typical, largest: median and maximum over the differing messages of the largest distance between two values.
        size: root mean square of the values of these messages in the first trace, as a scale for the distances. It follows
            from mean and standard deviation, so it is the same at every trace level, unlike a mean absolute value.
    """

    node: str
    port: str
    messages: int
    differ: int = 0
    first: tuple[int, int] | None = None
    measure: str = ""
    typical: float | None = None
    largest: float | None = None
    size: float | None = None


def divergences(one: Trace, two: Trace) -> list[Divergence]:
    """Compare every port that both traces hold, in firing order."""
    return [_divergence(one, two, node, port)
            for node in one.tables if node in two.tables for port in one.ports[node] if port in two.ports[node]]


def missing(one: Trace, two: Trace) -> Iterator[str]:
    """Yield what only one trace holds, a sentence each: nodes, ports, waves and ticks."""
    for name, here, there in (("the first", one, two), ("the second", two, one)):
        for node in here.tables:
            if node not in there.tables:
                yield f"only {name} holds {node}"
                continue
            for port in here.ports[node]:
                if port not in there.ports[node]:
                    yield f"only {name} holds {node}.{port}"
        waves = [wave for wave in here.waves if wave not in there.waves]
        if waves:
            yield f"only {name} holds wave{'s' * (len(waves) > 1)} {', '.join(map(str, waves))}"
        longer = [wave for wave, ticks in here.waves.items() if ticks > there.waves.get(wave, ticks)]
        if longer:
            lengths = ", ".join(f"wave {wave}: {here.waves[wave]} ticks, not {there.waves[wave]}" for wave in longer[:3])
            yield f"{name} is longer in {len(longer)} wave{'s' * (len(longer) > 1)} ({lengths})"


def settings_apart(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the settings, wires, seed and versions that differ between two run headers: (name, first, second).

    The location of the runs is ignored.
    """
    flat = [_entries(header) for header in (one, two)]
    names = [*flat[0], *(name for name in flat[1] if name not in flat[0])]
    return [(name, flat[0].get(name), flat[1].get(name)) for name in names
            if flat[0].get(name) != flat[1].get(name) and name != "store"]


def _entries(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header's entries, flat. The graph also has the defaults, the configuration only what was set."""
    graph, config = header["graph"], {**(header["config"] or {})}
    config.pop("graph", None)
    wiring = {"wires": dict.fromkeys(graph["wires"], "wired"), "calls": graph["calls"], "every": graph["every"],
              "devices": graph.get("devices", {})}
    return dict(_flat({"seed": header["seed"], **config, "graph": wiring, "versions": header["versions"]})) | dict(
        _flat(graph["nodes"]))


def diff(first: Path, second: Path, console: Console | None = None) -> bool:
    """Print the differences between two runs; a fork holds one wave from a tick on, and is compared from there.

    Args:
        first, second: the runs' folders.
        console: where to print; by default the terminal.

    Returns:
        Whether all messages are equal.

    Raises:
        TraceError: one of the folders holds no run, or no trace.
    """
    one, two = Trace.open(first), Trace.open(second)
    console = console or terminal()
    for letter, trace in (("A", one), ("B", two)):
        console.print(_headline(letter, trace))
    begin = forked_at(one, two)
    if begin is not None:
        wave, tick = begin
        one, two = (trace.part(lambda table: pc.and_(pc.equal(table["wave"], wave), pc.greater_equal(table["tick"], tick)))
                    for trace in (one, two))
        console.print(f"\ncompared from wave {wave}, tick {tick} on, in this wave only: the extent of the fork")
    apart = one.compare(two)
    if apart is None:
        digest = f", trace digest {one.digest()}" if begin is None else ""
        console.print(f"\nthe same: {sum(table.num_rows for table in one.tables.values()):,} invocations{digest}",
                      soft_wrap=True)
        return True
    console.print(_settings(settings_apart(one.header, two.header)))
    console.print(Text.assemble(("first difference at ", ""), (str(apart), "bold"), "\n"))
    versions = [version_of(trace, apart.node, apart.wave, apart.tick) for trace in (one, two)]
    if versions[0] != versions[1]:
        console.print(f"versions of the published weights there: {versions[0]} | {versions[1]}\n")
    for sentence in missing(one, two):
        console.print(sentence.replace("the first", "A", 1).replace("the second", "B", 1))
    console.print(_table(divergences(one, two)))
    console.print(COLUMNS, style="dim")
    console.print(f"one tick of each: ami trace show {first} --wave {apart.wave} --tick {apart.tick} --node {apart.node}",
                  style="dim", soft_wrap=True)
    return False


def forked_at(one: Trace, two: Trace) -> tuple[int, int] | None:
    """Return the first wave and tick to compare if one or both traces are forks; None compares them whole."""
    begins = [tuple(trace.header["details"]["forked_at"]) for trace in (one, two)
              if "forked_at" in trace.header["details"]]
    if not begins or begins[0][0] != begins[-1][0]:
        return None
    return max(begins)


# One port ---------------------------------------------------------------------------------------------------------------


def _divergence(one: Trace, two: Trace, node: str, port: str) -> Divergence:
    tables = one.tables[node], two.tables[node]
    keys = [table[KEY[0]].to_numpy().astype(np.int64) << 32 | table[KEY[1]].to_numpy() for table in tables]
    shared, *rows = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    hashes = [np.array(table[f"{port}.hash"].to_pylist(), "S8")[found] for table, found in zip(tables, rows, strict=True)]
    # numpy strips trailing zeros of a bytes string, which are padding here
    differs = np.flatnonzero(hashes[0] != hashes[1])
    if not len(differs):
        return Divergence(node, port, len(shared))
    first = int(shared[differs[0]])
    taken = [table.take(pa.array(found[differs])).combine_chunks() for table, found in zip(tables, rows, strict=True)]
    measure, gaps, size = _gaps(taken[0], taken[1], port, [trace.ports[node][port] for trace in (one, two)])
    typical, largest = (None, None) if not len(gaps) else (float(np.median(gaps)), float(gaps.max()))
    return Divergence(node, port, len(shared), len(differs), (first >> 32, first & 0xFFFFFFFF), measure, typical, largest,
                      size)


def _gaps(one: pa.Table, two: pa.Table, port: str,
          kinds: list[tuple[str, tuple[int, ...]]]) -> tuple[str, np.ndarray, float | None]:
    """Return the basis of the distances, the largest distance within each pair of messages, and the size of the first's."""
    nothing = np.zeros(0)
    alike = one["batch"].to_numpy() == two["batch"].to_numpy()
    if kinds[0] != kinds[1] or not alike.any():
        return RESHAPED, nothing, None
    one, two = one.filter(pa.array(alike)), two.filter(pa.array(alike))
    names = set(one.column_names) & set(two.column_names)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    if f"{port}.data" in names:
        pairs = [(_values(a, kinds[0][0]), _values(b, kinds[0][0]))
                 for a, b in zip(one[f"{port}.data"].to_pylist(), two[f"{port}.data"].to_pylist(), strict=True)
                 if a is not None and b is not None]  # some ticks may have no payload
    elif f"{port}.rows" in names:
        pairs = [(np.array(a, float), np.array(b, float))
                 for a, b in zip(one[f"{port}.rows"].to_pylist(), two[f"{port}.rows"].to_pylist(), strict=True)]
    if pairs:
        finite = np.concatenate([a[np.isfinite(a)] for a, _ in pairs])
        size = float(np.sqrt(np.square(finite).mean())) if len(finite) else 0.0
        return VALUES, np.array([_distance(a, b).max(initial=0.0) for a, b in pairs]), size
    if f"{port}.mean" in names and one[f"{port}.mean"].null_count == 0:
        bounds = [_distance(one[f"{port}.{name}"].to_numpy().astype(float), two[f"{port}.{name}"].to_numpy().astype(float))
                  for name in BOUNDS]
        return LEAST, np.max(bounds, axis=0), _root_mean_square(one, port)
    return UNTOLD, nothing, None


def _root_mean_square(table: pa.Table, port: str) -> float:
    """Return that of the messages' values, from means, standard deviations and batch sizes; finite messages only."""
    mean, std = (table[f"{port}.{name}"].to_numpy().astype(float) for name in ("mean", "std"))
    squares, weights = mean**2 + std**2, table["batch"].to_numpy().astype(float)
    finite = np.isfinite(squares)
    return float(np.sqrt(np.average(squares[finite], weights=weights[finite]))) if finite.any() else 0.0


def _values(content: bytes, dtype: str) -> np.ndarray:
    return values_in(content, dtype, np.float64)


def _distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return |a - b|, infinite where exactly one of them is NaN."""
    with np.errstate(invalid="ignore"):
        apart: np.ndarray = np.abs(one - two)
    apart[np.isnan(apart)] = np.inf
    apart[(np.isnan(one) & np.isnan(two)) | (one == two)] = 0.0
    return apart


# Terminal output --------------------------------------------------------------------------------------------------------


def _headline(letter: str, trace: Trace) -> Text:
    ticks = sum(trace.waves.values())
    text = Text.assemble((f"{letter}  {trace.header['run_id']}", "bold"),
                         f"   seed {trace.header['seed']}   graph {trace.header['graph_hash']}   "
                         f"{ticks:,} ticks in {len(trace.waves)} wave{'s' * (len(trace.waves) != 1)}")
    if trace.unfinished or trace.faults:
        text.append("   incomplete", "yellow")
    return text


def _settings(found: list[tuple[str, Any, Any]]) -> Text:
    text = Text("\ndifferent settings, wires, seed or versions\n" if found else
                "\nno setting, wire, seed or version differs\n")
    for name, a, b in found[:FEW]:
        text.append(f"  {name}  ", "cyan")
        text.append(f"{_short(a)} | {_short(b)}\n")
    if len(found) > FEW:
        text.append(f"  and {len(found) - FEW} more\n", "dim")
    return text


def _short(value: Any) -> str:
    text = "—" if value is None else escaped(str(value), keep="")
    return text if len(text) <= 40 else f"{text[:39]}…"


def _table(found: list[Divergence]) -> Table:
    """Return a row per differing port, and one for all equal ports."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("node.port", no_wrap=True)
    for name in ("sent", "differ", "from", "by", "at most", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        if not one.differ or one.first is None:
            continue
        if one.typical is None or one.largest is None:
            distances = [one.measure, "", ""]
        else:
            least = "≥ " if one.measure == LEAST else ""
            distances = [f"{least}{one.typical:.3g}", f"{least}{one.largest:.3g}", f"{one.size:.3g}"]
        table.add_row(f"{one.node}.{one.port}", f"{one.messages:,}", f"{one.differ:,}",
                      f"w{one.first[0]} t{one.first[1]}", *distances)
    alike = [one for one in found if not one.differ]
    if alike:
        table.add_row(f"{len(alike)} more", f"{sum(one.messages for one in alike):,}", "0", style="dim")
    return table


def _flat(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, Mapping):
        for key, inner in content.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, content

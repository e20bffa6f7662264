"""The trace in the terminal: an overview, a node or an episode over time, a tick as a tree, or ticks by a condition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ami.errors import TraceError, require
from ami.terminal.text import terminal
from ami.trace.invocation import (
    NOTHING_YET,
    Invocation,
    check,
    history,
    implementation,
    invocations,
    number,
    open_tick,
    ticks_of,
)
from ami.trace.reader import Trace
from ami.views.query import Condition

if TYPE_CHECKING:
    from ami.views.tables import Tables  # brings PyTorch, which only two of the views need

SHORT_HASH = 8
MOST_FOUND = 40  # printed ticks at most
BARS = "▁▂▃▄▅▆▇█"
FLAGS = {False: "·", True: "█"}


def show(folder: Path, tick: int | None = None, wave: int | None = None, node: str | None = None,
         row: int | None = None, where: str | None = None, console: Console | None = None) -> None:
    """Print a trace: an overview, one node's ticks, one episode as a strip, one tick as a tree, or ticks by a condition.

    Args:
        folder: the run's folder.
        tick: this tick of the wave, as a tree.
        wave: the batch of episodes; None takes the first, and with `where` all.
        node: only this node.
        row: each episode of this world of the wave, as a strip; a refilled row has several.
        where: the ticks that fulfil this condition, see `ami.views.query`.
        console: where to print; by default the terminal.

    Raises:
        TraceError: there is no run or trace in the folder, or no such wave, tick or world in the trace.
        UnknownName: the trace holds no such node or figure.
        SettingError: the condition cannot be parsed, or two options exclude each other.
    """
    options = {"--tick": tick, "--row": row, "--where": where}
    given = [flag for flag, value in options.items() if value is not None]
    require(len(given) < 2, f"{' and '.join(given)} are given: expected one of them")
    require(node is None or where is None, f"--node {node} has no effect with --where: a condition names its figures, "
                                           "--where 'planner.energy > 3'. Fix: leave it out")
    trace = Trace.open(folder) if tick is None else open_tick(folder, wave, tick)
    console = console or terminal()
    if where is not None:
        _print_found(console, trace, Condition(where), wave)
        return
    wave = next(iter(trace.waves)) if wave is None else wave
    check(trace, wave, tick)
    if node is not None:
        trace.table(node)
    if row is not None:
        _print_row(console, trace, wave, row, node)
    elif tick is not None:
        fired = invocations(trace, wave, tick)
        total = sum(one.us for one in fired)
        title = f"wave {wave}, tick {tick}: {len(fired)} of {len(trace.tables)} nodes fired, {total:,.0f} µs"
        every = trace.header["graph"].get("every", {})
        console.print(_tick(title, [one for one in fired if node in (None, one.node)], tick, every))
    elif node is not None:
        console.print(_node(trace, node, wave))
    else:
        console.print(_header(trace))
        console.print(_nodes(trace))
        console.print(_waves(trace))


def _header(trace: Trace) -> Text:
    header = trace.header
    text = Text()
    text.append(f"run {header['run_id']}", "bold")
    text.append(f"   seed {header['seed']}   graph {header['graph_hash']}")
    if header["intrinsic_cost_hash"]:
        text.append(f"   intrinsic cost {header['intrinsic_cost_hash']}")
    text.append("\n" + "  ".join(f"{name} {version}" for name, version in header["versions"].items()), "dim")
    return text


def _nodes(trace: Trace) -> Table:
    """Return the time spent per node."""
    spent = {node: (table["end"].to_numpy() - table["start"].to_numpy()) / 1000 for node, table in trace.tables.items()}
    total = sum(float(us.sum()) for us in spent.values()) or 1.0
    table = Table("node", "module", box=box.SIMPLE_HEAD, pad_edge=False)
    every = trace.header["graph"].get("every", {})
    for name in (*(["every"] if every else []), "invocations", "mean µs", "p95 µs", "share"):
        table.add_column(name, justify="right")
    for node, us in spent.items():
        p95 = sorted(us.tolist())[int(0.95 * (len(us) - 1))]
        name = implementation(trace, node).rsplit(".", 1)[-1]
        rate = [f"{every.get(node, 1)} tick{'s' * (every.get(node, 1) > 1)}"] if every else []
        table.add_row(Text(node), Text(name, "cyan"), *rate, f"{len(us):,}", f"{us.mean():,.0f}", f"{p95:,.0f}",
                      f"{100 * us.sum() / total:.0f} %")
    return table


def _waves(trace: Trace) -> Text:
    text = Text()
    ticks = list(trace.waves.values())
    shown = ", ".join(map(str, ticks[:16])) + (", …" if len(ticks) > 16 else "")
    text.append(f"{len(ticks)} {'wave' if len(ticks) == 1 else 'waves'} of {shown} ticks\n")
    if trace.truncated:
        files = "file was" if trace.truncated == 1 else "files were"
        text.append(f"{trace.truncated} {files} cut off in the middle of a record, as after a kill: "
                    "all whole records were read\n", "yellow")
    for fault in trace.faults:
        text.append(f"{fault}\n", "yellow")
    unfinished = trace.unfinished
    if unfinished:
        more = f" and {len(unfinished) - 1} more" if len(unfinished) > 1 else ""
        text.append(f"unfinished trace: {unfinished[0]}{more}: its process was killed or is still writing, or its disk was "
                    "full\n", "yellow")
    if unfinished or trace.faults:
        text.append("no trace digest: the trace is incomplete\n", "yellow")
    else:
        text.append(f"trace digest {trace.digest()}\n")
    wave = next(iter(trace.waves))
    text.append(f"one tick: ami trace show {trace.folder} --tick {ticks_of(trace, wave)[0]} [--wave {wave}] "
                f"[--node {[*trace.tables][-1]}]", "dim")
    return text


def _node(trace: Trace, node: str, wave: int) -> Table:
    """Return one node's ticks, with a column per output that has content as text, and the version of published weights."""
    fired = history(trace, wave, node)
    if not fired:
        raise TraceError(f"{trace.folder} holds no invocation of {node} in wave {wave}: a killed process may have "
                         "left it out. Fix: another --wave or --node")
    ports = [message.port for message in fired[0].outputs if message.content]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left",
                  title=Text(f"{node} ({implementation(trace, node)}), wave {wave}"))
    is_published = any(one.version for one in fired)
    for name in ("tick", "µs", *["weights"] * is_published, *ports):
        table.add_column(Text(name), justify="right")
    for one in fired:
        contents = {message.port: message.content if f"{node}.{message.port}" in trace.texts else
                    message.content.split(" [")[0] for message in one.outputs}
        table.add_row(str(one.tick), f"{one.us:,.0f}", *[str(one.version)] * is_published,
                      *(Text(contents[port]) for port in ports))
    return table


def _tick(title: str, fired: list[Invocation], tick: int, every: Mapping[str, int]) -> Tree:
    """Return every node's inputs and outputs: a branch per node, a leaf per message."""
    tree = Tree(title, guide_style="dim")
    names = max((len(name) for one in fired for name in (*one.inputs, *(sent.port for sent in one.outputs))), default=0)
    shapes = max((len(text) for one in fired
                  for text in (*one.inputs.values(), *(sent.shape for sent in one.outputs))), default=0)
    for one in fired:
        branch = tree.add(Text.assemble((one.node, "bold"), "  ", (one.implementation.rsplit(".", 1)[-1], "cyan"),
                                        (f"  {one.us:,.0f} µs", "dim"),
                                        (f"  every {every[one.node]} ticks" if one.node in every else "", "dim"),
                                        (f"  weights version {one.version}" if one.version else "", "dim")))
        for port, message in one.inputs.items():
            is_old = message != NOTHING_YET and not message.endswith(f"@{tick}")
            old = "from an earlier tick" if is_old else ""
            branch.add(Text(f"← {port:{names}}  {message:{shapes}}  {old}".rstrip(), "dim"))
        for sent in one.outputs:
            branch.add(Text.assemble(f"→ {sent.port:{names}}  {sent.shape:{shapes}}  {sent.content}  ",
                                     (sent.hash[:SHORT_HASH], "dim")))
    return tree


def _print_row(console: Console, trace: Trace, wave: int, row: int, only: str | None) -> None:
    """Print the episodes of one world, each as a strip: a refilled row plays several."""
    from ami.views.tables import Tables

    tables = Tables(trace)
    ticks = tables.ticks
    of_wave, rows = ticks["wave"].to_numpy() == wave, ticks["row"].to_numpy()
    ours = of_wave & (rows == row) & tables.played.live
    if not ours.any():
        most = int(rows[of_wave].max())
        raise TraceError(f"{trace.folder} holds no world {row} in wave {wave}: expected 0 to {most}. Fix: --row {most}")
    begins = np.unique(tables.played.began[ours])
    for place, began in enumerate(begins):
        if place:
            console.print()
        episode = ticks.filter(pa.array(ours & (tables.played.began == began))).sort_by("tick")
        _print_strip(console, tables, episode, only, is_alone=len(begins) == 1)


def _print_strip(console: Console, tables: Tables, ours: pa.Table, only: str | None, is_alone: bool) -> None:
    """Print one episode: a line per figure and module, or of one module only; a character per tick, or per few ticks."""
    wave, row, number, kind, first = (ours[name][0].as_py() for name in ("wave", "row", "episode", "kind", "tick"))
    each = -(-len(ours) // max(console.width - 52, 10))  # ticks per character
    figures = [name for name in ours.column_names if "." in name and name not in tables.over
               and only in (None, name.split(".")[0])]
    lines = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        lines.add_column(no_wrap=True)
    for name in figures:
        lines.add_row(Text(name), *_strip(ours[name].to_pylist(), each))
    mine = ours["tick"].to_pylist()
    for node, table in tables.trace.tables.items():
        if only not in (None, node):
            continue
        of_wave = table["wave"].to_numpy() == wave
        spent = (table["end"].to_numpy() - table["start"].to_numpy())[of_wave] / 1000
        by_tick = dict(zip(table["tick"].to_numpy()[of_wave].tolist(), spent.tolist(), strict=True))
        lines.add_row(Text(f"{node}, µs", "cyan"), *_strip([by_tick.get(tick) for tick in mine], each))
    names = [f"wave {wave}", f"world {row}"] + ([] if is_alone or number is None else [f"episode {number}"])
    console.print(Text(f"{', '.join([*names, kind] if kind else names)}: {len(ours)} ticks"
                       f"{f' from {first} on' if first else ''}{f', {each} per character' if each > 1 else ''}\n"))
    console.print(lines)


def _strip(values: list[float | bool | None], each: int) -> tuple[Text, Text]:
    """Return values as a row of bars, and their range; a character of several ticks shows the highest."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    if not known:
        return Text("nothing", "dim"), Text()
    if all(isinstance(value, bool) for value in known):
        shown = [any(filter(None, values[at:at + each])) for at in range(0, len(values), each)]
        return Text("".join(FLAGS[yes] for yes in shown)), Text(f"{sum(known)} of {len(known)} yes", "dim")
    low, high = min(known), max(known)
    if low == high:
        parts = [values[at:at + each] for at in range(0, len(values), each)]
        line = "".join("─" if any(value is not None for value in part) else " " for part in parts)
        return Text(line, "dim"), Text(number(low), "dim")
    bars = ""
    for at in range(0, len(values), each):
        some = [value for value in values[at:at + each] if value is not None and np.isfinite(value)]
        bars += BARS[int((len(BARS) - 1) * (max(some) - low) / (high - low) + 0.5)] if some else " "
    return Text(bars), Text(f"{number(low)} to {number(high)}", "dim")


def _print_found(console: Console, trace: Trace, condition: Condition, wave: int | None) -> None:
    """Print the ticks of running episodes that fulfil a condition."""
    if wave is not None:
        check(trace, wave)
    from ami.views.tables import Tables

    tables = Tables(trace)
    chosen = tables.played.live & (np.True_ if wave is None else tables.ticks["wave"].to_numpy() == wave)
    ticks = tables.ticks.filter(pa.array(chosen))
    names, holds = condition.columns(ticks), condition.holds(ticks)
    found = ticks.filter(pa.array(holds)).sort_by([(name, "ascending") for name in ("wave", "row", "tick")])
    of_episodes = np.stack([ticks["wave"].to_numpy(), ticks["row"].to_numpy(), tables.played.began[chosen]])[:, holds]
    episodes = np.unique(of_episodes, axis=1).shape[1]
    console.print(Text(f"{condition.text}: {len(found):,} of {len(ticks):,} ticks, in {episodes:,} episodes\n"))
    if not len(found):
        for name in names:
            console.print(Text(f"{name}: {_range(ticks[name].to_pylist())}", "dim"))
        return
    shown = ["wave", "row", "tick", "kind", *(name for name in names if name not in ("wave", "row", "tick", "kind"))]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in shown:
        table.add_column(Text(name), justify="right")
    for line in found.slice(0, MOST_FOUND).select(shown).to_pylist():
        table.add_row(*(Text(_cell(line[name])) for name in shown))
    console.print(table)
    first = found.slice(0, 1).to_pylist()[0]
    more = f"{len(found) - MOST_FOUND:,} more; " if len(found) > MOST_FOUND else ""
    command = f"ami trace show {trace.folder} --wave {first['wave']} --tick {first['tick']}"
    console.print(Text(f"{more}one of them: {command}", "dim"))


def _range(values: list[object]) -> str:
    """Return a figure's values: texts and flags as a list, numbers as a range."""
    known = {value for value in values if value is not None}
    numbers = [value for value in known if isinstance(value, int | float) and not isinstance(value, bool)]
    if numbers:
        return f"{number(min(numbers))} to {number(max(numbers))}"
    return ", ".join(sorted(map(_cell, known))) or "unknown"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else number(value) if isinstance(value, float) else str(value)

"""The trace in the terminal: a run at a glance, one node over time, or one tick of the mind."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ami.errors import TraceError
from ami.tracing.invocation import NOTHING_YET, Invocation, check, implementation, invocations
from ami.tracing.reader import Trace

SHORT_HASH = 8


def show(folder: Path, tick: int | None = None, wave: int = 0, node: str | None = None,
         console: Console | None = None) -> None:
    """Print a trace: without a tick the run at a glance, or one node's ticks; with a tick what happened in it.

    Args:
        folder: the run's folder.
        tick: which tick of the wave.
        wave: which batch of episodes.
        node: this node alone.
        console: where to print; by default the terminal.

    Raises:
        TraceError: there is no run or trace in the folder, or no such wave or tick in the trace.
        UnknownName: the trace holds no such node.
    """
    trace = Trace.open(folder)
    console = console or Console(highlight=False)
    check(trace, wave, tick)
    if node is not None:
        trace.table(node)
    if tick is not None:
        fired = invocations(trace, wave, tick)
        total = sum(one.us for one in fired)
        console.print(f"wave {wave}, tick {tick}: {len(fired)} of {len(trace.tables)} nodes fired, {total:,.0f} µs\n")
        console.print(_tick([one for one in fired if node in (None, one.node)], tick))
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
    """Where the time goes."""
    spent = {node: (table["end"].to_numpy() - table["start"].to_numpy()) / 1000 for node, table in trace.tables.items()}
    total = sum(float(us.sum()) for us in spent.values()) or 1.0
    table = Table("node", "module", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("invocations", "mean µs", "p95 µs", "share"):
        table.add_column(name, justify="right")
    for node, us in spent.items():
        p95 = sorted(us.tolist())[int(0.95 * (len(us) - 1))]
        name = implementation(trace, node).rsplit(".", 1)[-1]
        table.add_row(node, Text(name, "cyan"), f"{len(us):,}", f"{us.mean():,.0f}", f"{p95:,.0f}",
                      f"{100 * us.sum() / total:.0f} %")
    return table


def _waves(trace: Trace) -> Text:
    text = Text()
    ticks = list(trace.waves.values())
    shown = ", ".join(map(str, ticks[:16])) + (", …" if len(ticks) > 16 else "")
    text.append(f"{len(ticks)} {'wave' if len(ticks) == 1 else 'waves'} of {shown} ticks\n")
    if trace.truncated:
        files = "file was" if trace.truncated == 1 else "files were"
        text.append(f"{trace.truncated} {files} cut off in the middle of a record, as a killed process leaves them: "
                    "what is whole was read\n", "yellow")
    for fault in trace.faults:
        text.append(f"{fault}\n", "yellow")
    text.append(f"trace digest {trace.digest()}\n")
    text.append(f"one tick: ami trace show {trace.folder} --tick 0 [--wave 0] [--node {[*trace.tables][-1]}]", "dim")
    return text


def _node(trace: Trace, node: str, wave: int) -> Table:
    """One node's ticks, a column per output that is told in words."""
    fired = [one for tick in range(trace.waves[wave]) for one in invocations(trace, wave, tick, only=node)]
    if not fired:
        raise TraceError(f"{trace.folder} holds no invocation of {node} in wave {wave}: a killed process may have "
                         "left it out. Cure: another --wave or --node")
    told = [message.port for message in fired[0].outputs if message.content]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left",
                  title=f"{node} ({implementation(trace, node)}), wave {wave}")
    for name in ("tick", "µs", *told):
        table.add_column(name, justify="right")
    for one in fired:
        contents = {message.port: message.content.split(" [")[0] for message in one.outputs}
        table.add_row(str(one.tick), f"{one.us:,.0f}", *(contents[port] for port in told))
    return table


def _tick(fired: list[Invocation], tick: int) -> Table:
    """What every node was given and said."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in ("port", "shape or source", "content"):
        table.add_column(overflow="fold")
    table.add_column("hash", no_wrap=True)
    for one in fired:
        table.add_row(Text(one.node, "bold"), Text(one.implementation.rsplit(".", 1)[-1], "cyan"),
                      Text(f"{one.us:,.0f} µs", "dim"), "")
        for port, message in one.inputs.items():
            is_old = message != NOTHING_YET and not message.endswith(f"@{tick}")
            table.add_row(f"  ← {port}", message, "from an earlier tick" if is_old else "", style="dim")
        for sent in one.outputs:
            table.add_row(f"  → {sent.port}", sent.shape, sent.content, Text(sent.hash[:SHORT_HASH], "dim"))
    return table

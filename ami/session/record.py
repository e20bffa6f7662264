"""Record of a run: its header and its agent, written before the evaluation, and the digest of its trace after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ami.config.compose import Config
from ami.errors import TraceError
from ami.graph.graph import Graph
from ami.saved.agent_file import AGENT_FILE, Trained, save
from ami.terminal.console import Console
from ami.trace.header import write_header
from ami.trace.provenance import origin, run_code
from ami.trace.reader import Trace


def describe(config: Config, graph: Graph, trained: Trained, folder: Path) -> None:
    """Write the run's agent, then its header: a run with a header can be resumed."""
    save(folder / AGENT_FILE, trained, graph, config)
    details = {"overrides": list(config.overrides), "origin": provenance(config, graph, trained),
               "checkpoint": None if trained.file is None else str(trained.file), "learning_was_cached": trained.cached}
    write_header(folder, graph, config.plain(), seed=config.settings.seed, details=details)


def provenance(config: Config, graph: Graph, trained: Trained) -> dict[str, Any]:
    """Return what the run's episodes depend on besides seed and settings."""
    threads = 1 if config.settings.runtime == "ray" else None  # a Ray actor has one thread
    return origin(trained.weights, run_code(graph), threads)


def digest_of(folder: Path, console: Console) -> str | None:
    """Return the digest of the trace; None, with a warning, if the trace is incomplete (the figures do not need it)."""
    try:
        trace = Trace.open(folder)
    except TraceError as error:
        console.note(f"warning: {error}")
        return None
    for fault in trace.faults:
        console.note(f"warning: {fault}; the figures are not affected")
    if trace.unfinished and not trace.faults:
        console.note(f"warning: {', '.join(trace.unfinished)} of the trace ended before the run did; the figures are not "
                     "affected")
    return None if trace.faults or trace.unfinished else trace.digest()

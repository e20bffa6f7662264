"""Kills (-9) at random moments: of a run, whose trace stays a contiguous prefix, and of `ami trace sync`, which resumes.

    python benchmarks/trace_kills.py            # about three minutes; writes benchmarks/results/trace_kills.json

1. A run (the oracle, one world, hundreds of short episodes) is killed at random moments until 50 kills have left a trace; a
   run killed before its first block leaves none. Each trace is compared with that of the same run without a kill: for every
   module a prefix of the ticks, without a gap, with the same content hashes. The largest difference between the modules'
   prefixes is recorded. In every second run blocks are a hundred times as frequent.
2. `sync` of a recorded run, every tick and episode, is killed 20 times at a random moment while traces are missing, the
   first times while it makes the store; a complete store is followed by a new one. Then each store is synced once without
   a kill: every trace is there once, with all its spans, and the run is there once.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.agent import Agent
from ami.config.compose import to_graph
from ami.errors import TraceError
from ami.evaluation.evaluate import evaluate
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.trace import log
from ami.trace.header import write_header
from ami.trace.reader import Trace
from ami.views.spans import Forest, Sample
from ami.views.tables import Tables

torch.set_num_threads(1)
RUN_KILLS, SYNC_KILLS, PAIRS, LONGEST = 50, 20, 150, 2.5
ALL = Sample(every=1, episodes=1)


def live(graph: Graph, manifest: Manifest, folder: Path, block_seconds: float) -> None:
    log.BLOCK_SECONDS = block_seconds
    write_header(folder, graph, seed=0)
    with Agent(LocalRuntime(graph, 0, recorder=log.TraceLog(folder / "trace" / "agent-0"))) as agent:
        evaluate([agent], manifest, 1)


def killed_after(seconds: float, does: Callable[[], Any]) -> bool:
    """Run `does` in a child process and kill it after some seconds; return whether it was still at work."""
    child = os.fork()
    if child == 0:
        try:
            does()
        finally:
            os._exit(0)
    time.sleep(seconds)
    is_at_work = os.waitpid(child, os.WNOHANG) == (0, 0)
    if is_at_work:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return is_at_work


def rows_of(trace: Trace, node: str) -> list[tuple[Any, ...]]:
    """Return a module's messages: (wave, tick, hashes)."""
    table = trace.tables[node]
    hashes = [table[f"{port}.hash"].to_pylist() for port in trace.ports[node]]
    return list(zip(table["wave"].to_pylist(), table["tick"].to_pylist(), *hashes, strict=True))


def kill_runs(folder: Path, draw: random.Random) -> dict[str, Any]:
    graph = to_graph(ami.compose(["agent=oracle"]))
    manifest = Manifest.make(graph.drafts["world"], 5, PAIRS)
    live(graph, manifest, folder / "whole", log.BLOCK_SECONDS)
    whole = {node: rows_of(Trace.open(folder / "whole"), node) for node in graph.order}
    counts: Counter[str] = Counter()
    kept: list[int] = []
    apart = number = 0
    while counts["left a trace"] < RUN_KILLS:
        number += 1
        run, block_seconds = folder / f"run-{number}", 0.01 if number % 2 else 1.0
        counts["killed at work"] += killed_after(draw.uniform(0.2, LONGEST),
                                                 partial(live, graph, manifest, run, block_seconds))
        header = run / "header.json"
        lived = time.time() - header.stat().st_mtime if header.exists() else 0.0
        try:
            trace = Trace.open(run)
        except TraceError:
            counts["killed before the first block"] += 1
            counts["of these, when one was long due"] += lived > block_seconds + 1.0
            continue
        counts["left a trace"] += 1
        counts["cut in the middle of a record"] += trace.truncated > 0
        said = {node: rows_of(trace, node) if node in trace.tables else [] for node in graph.order}
        counts["a contiguous prefix of the whole"] += all(rows == whole[node][:len(rows)] for node, rows in said.items())
        lengths = [len(rows) for rows in said.values()]
        apart = max(apart, max(lengths) - min(lengths))
        kept.append(min(lengths))
    print("runs:", dict(counts))
    return {**counts, "ticks kept, least": min(kept), "ticks kept, most": max(kept),
            "modules apart at most, ticks": apart, "ticks of the whole": len(whole["world"])}


def kill_syncs(folder: Path, draw: random.Random) -> dict[str, Any]:
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401  (imported before the timed kills)

    from ami.tracking.mlflow_runs import sync

    graph = to_graph(ami.compose(["agent=oracle"]))
    manifest = Manifest.make(graph.drafts["world"], 5, 20)
    run = folder / "synced"
    live(graph, manifest, run, log.BLOCK_SECONDS)
    expected = {f"tr-{tree.id}": len(tree.spans) for tree in Forest(Tables.load(run)).trees(ALL)}
    found: Counter[str] = Counter()
    stored_before: list[int] = []
    stores = 0
    while len(stored_before) < SYNC_KILLS:
        store = folder / f"store-{stores}"
        stores += 1
        while len(stored_before) < SYNC_KILLS and stored(store) < len(expected):
            # making a new store takes seconds; a sync of an existing one reaches its traces after tenths of a second
            is_made = (store / "mlflow.db").exists()
            if killed_after(draw.uniform(0.1, 1.5 if is_made else 6.0), lambda store=store: sync(run, store, ALL)):
                stored_before.append(stored(store))
        found["left for a last sync"] += sync(run, store, ALL).written
        found["written by one more"] += sync(run, store, ALL).written
        found.update(held(store, expected))
    figures = {"kills": SYNC_KILLS, "stores": stores, "traces of each": len(expected),
               "spans of each": sum(expected.values()), "stored when it was killed": stored_before, **found}
    print("sync:", figures)
    return figures


def stored(store: Path) -> int:
    """Return the number of traces in a store."""
    if not (store / "mlflow.db").exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store / 'mlflow.db'}?mode=ro", uri=True) as database:
            return int(database.execute("select count(*) from trace_info").fetchone()[0])
    except sqlite3.OperationalError:  # its tables do not exist yet
        return 0


def held(store: Path, expected: dict[str, int]) -> dict[str, int]:
    """Compare the contents of a store with the expected traces."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    experiments = [one.experiment_id for one in client.search_experiments()]
    found, token, short = Counter[str](), None, 0
    while True:
        page = client.search_traces(locations=experiments, max_results=200, page_token=token)
        for trace in page:
            found[trace.info.trace_id] += 1
            ids = [span.span_id for span in trace.data.spans]
            short += len(set(ids)) != expected.get(trace.info.trace_id) or len(ids) != len(set(ids))
            short += len({one.name for one in trace.info.assessments}) != len(trace.info.assessments)
        token = page.token
        if not token:
            break
    return {"lost": len(set(expected) - set(found)), "double": sum(count - 1 for count in found.values()),
            "not expected": len(set(found) - set(expected)), "with missing or double spans": short,
            "MLflow runs": len(client.search_runs(experiments))}


def main() -> int:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as text:
        runs = kill_runs(Path(text), draw)
        syncs = kill_syncs(Path(text), draw)
    met = {"every killed run is a contiguous prefix":
           runs["a contiguous prefix of the whole"] == RUN_KILLS and not runs["of these, when one was long due"],
           "nothing lost": syncs["lost"] == syncs["with missing or double spans"] == 0,
           "nothing double": syncs["double"] == syncs["not expected"] == 0 and syncs["MLflow runs"] == syncs["stores"]}
    for name, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {name}")
    record("trace_kills", {"figures": {"runs": runs, "sync": syncs}, "met": met})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Kills (-9) at random moments: of a run, whose trace stays a contiguous prefix, and of `ami trace sync`, which goes on.

    python benchmarks/trace_kills.py            # about three minutes; writes benchmarks/results/trace_kills.json

1. A mind (the oracle, one world, hundreds of short episodes) is killed 50 times at a random moment. What is left is held
   against the trace of the same mind left alone: for every module a prefix of the ticks, without a gap, of the same content
   hashes; how far the modules' prefixes are apart is told. In every second life blocks are a hundred times as frequent as
   in a run, so that more kills fall into a write.
2. `sync` of a recorded run, every tick and episode, is killed 20 times at a random moment, the first ones while it makes the
   store. Then it is left alone once: every trace is there once, with all its spans, and the run is there once.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import signal
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
from ami.config import to_graph
from ami.errors import TraceError
from ami.evaluation.evaluate import evaluate
from ami.evaluation.manifest import Manifest
from ami.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.tracing import log
from ami.tracing.header import write_header
from ami.tracing.reader import Trace
from ami.tracing.spans import Forest, Sample
from ami.tracing.tables import Tables

torch.set_num_threads(1)
RUN_KILLS, SYNC_KILLS, PAIRS, LONGEST = 50, 20, 150, 2.5
ALL = Sample(every=1, episodes=1)


def live(graph: Graph, manifest: Manifest, folder: Path, block_seconds: float) -> None:
    log.BLOCK_SECONDS = block_seconds
    write_header(folder, graph, seed=0)
    with Agent(LocalRuntime(graph, 0, recorder=log.TraceLog(folder / "trace" / "agent-0"))) as agent:
        evaluate([agent], manifest, 1)


def killed_after(seconds: float, does: Callable[[], Any]) -> bool:
    """Run it in a process of its own and kill that; whether it was still at work."""
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
    """What a module said: (wave, tick, hashes)."""
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
    apart = 0
    for number in range(RUN_KILLS):
        run = folder / f"run-{number}"
        counts["at work"] += killed_after(draw.uniform(0.2, LONGEST),
                                          partial(live, graph, manifest, run, 0.01 if number % 2 else 1.0))
        try:
            trace = Trace.open(run)
        except TraceError:
            counts["before the first block"] += 1
            continue
        counts["cut in the middle of a record"] += trace.truncated > 0
        said = {node: rows_of(trace, node) if node in trace.tables else [] for node in graph.order}
        counts["a contiguous prefix of the whole"] += all(rows == whole[node][:len(rows)] for node, rows in said.items())
        lengths = [len(rows) for rows in said.values()]
        apart = max(apart, max(lengths) - min(lengths))
        kept.append(min(lengths))
    print("runs:", dict(counts))
    return {"kills": RUN_KILLS, **counts, "ticks kept, least": min(kept), "ticks kept, most": max(kept),
            "modules apart at most, ticks": apart, "ticks of the whole": len(whole["world"])}


def kill_syncs(folder: Path, draw: random.Random) -> dict[str, Any]:
    import mlflow
    from mlflow.store.tracking import sqlalchemy_store  # noqa: F401  (its import is no moment of the sync)

    from ami.tracing.mlflow_store import sync

    graph = to_graph(ami.compose(["agent=oracle"]))
    manifest = Manifest.make(graph.drafts["world"], 5, 20)
    run, store = folder / "synced", folder / "store"
    live(graph, manifest, run, log.BLOCK_SECONDS)
    forest = Forest(Tables.load(run))
    expected = {f"tr-{tree.id}": len(tree.spans) for tree in forest.trees(ALL)}
    at_work, tries = 0, 0
    while at_work < SYNC_KILLS:
        is_made = (store / "mlflow.db").exists()
        # once the store is there, a sync is at its traces after some tenths of a second and needs about 20 s for all
        at_work += killed_after(draw.uniform(0.1, 1.5 if is_made else 6.0), lambda: sync(run, store, ALL))
        tries += 1
    begun = time.perf_counter()
    done = sync(run, store, ALL)
    seconds = time.perf_counter() - begun
    again = sync(run, store, ALL)
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    found, token = Counter[str](), None
    short = 0
    while True:
        page = client.search_traces(locations=[done.experiment_id], max_results=200, page_token=token)
        for trace in page:
            found[trace.info.trace_id] += 1
            ids = [span.span_id for span in trace.data.spans]
            short += len(set(ids)) != expected.get(trace.info.trace_id) or len(ids) != len(set(ids))
            short += len({one.name for one in trace.info.assessments}) != len(trace.info.assessments)
        token = page.token
        if not token:
            break
    figures = {"kills": SYNC_KILLS, "syncs": tries, "traces": len(expected), "spans": sum(expected.values()),
               "left for the last sync": done.written, "seconds of the last sync": seconds,
               "written by one more": again.written, "lost": len(set(expected) - set(found)),
               "double": sum(count - 1 for count in found.values()), "not expected": len(set(found) - set(expected)),
               "with missing or double spans": short,
               "MLflow runs": len(client.search_runs([done.experiment_id]))}
    print("sync:", figures)
    return figures


def main() -> int:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as text:
        runs = kill_runs(Path(text), draw)
        syncs = kill_syncs(Path(text), draw)
    met = {"every killed run is a contiguous prefix":
           runs["a contiguous prefix of the whole"] + runs.get("before the first block", 0) == RUN_KILLS,
           "nothing lost": syncs["lost"] == syncs["with missing or double spans"] == 0,
           "nothing double": syncs["double"] == syncs["not expected"] == 0 and syncs["MLflow runs"] == 1}
    for name, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {name}")
    record("trace_kills", {"figures": {"runs": runs, "sync": syncs}, "met": met})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

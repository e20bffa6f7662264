"""The cost of a trace: tracing on against off for the same agent, in bytes per tick, and against `@mlflow.trace`.

    python benchmarks/tracing.py            # about three minutes; writes benchmarks/results/tracing.json

1. The default agent (untrained, Mode-2), B = 1 and B = 50: the same agent alternates between turns of a few ticks with the
   trace on and off. Measured is the processor time of the ticks' thread: the cost at every tick is the median of the turns'
   differences, and the time to hand over blocks is added in full. The time of the writer's thread, which runs in parallel,
   is reported separately, and so is the wall time, which other programs disturb.
2. Bytes per tick on the disk, by recording level.
3. The same agent with every module's `step` decorated by `@mlflow.trace` and a span around each tick, exported at once and
   through MLflow's queue, into a sqlite store; and the time of `ami trace sync` for the same spans afterwards.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.runtime.recorder import NoTrace, Recorder
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.writer import Block, Writer

torch.set_num_threads(1)
TURNS = {1: (800, 10), 50: (150, 4)}  # (turns, ticks per turn), by batch
MLFLOW_TURNS, MLFLOW_TICKS = 6, 10
TARGETS = {"share of a tick": 0.03, "us per invocation": 10.0}


def graph_of() -> Graph:
    return to_graph(ami.compose(["world.max_episode_steps=1000000"]))


def episodes(batch: int) -> list[Episode]:
    """Episodes with unreachable goals, so that none ends early."""
    return [Episode(i, i, {"start": [4.0, 20.0 + 0.01 * i], "goal": [28.0, 28.0], "door": 10.0}) for i in range(batch)]


def begun_agent(graph: Graph, batch: int, recorder: Recorder, change: Callable[[str, Any], None] | None = None) -> Agent:
    agent = Agent(LocalRuntime(graph, 0, recorder=recorder))
    for node, module in agent.runtime.worker.modules.items():
        if change is not None:
            change(node, module)
    agent.reset(torch.ones(batch, dtype=torch.bool), episodes(batch))
    return agent


class TimedWriter(Writer):
    """A writer that measures the processor time of its thread."""

    spent = 0.0

    def _write(self, block: Block) -> None:
        begun = time.thread_time()
        super()._write(block)
        self.spent += time.thread_time() - begun


class TimedLog(TraceLog):
    """A trace log that measures the processor time of handing over and writing blocks."""

    spent = 0.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.writer = self._writer = TimedWriter(folder)

    def _hand_over(self) -> None:
        begun = time.thread_time()
        super()._hand_over()
        self.spent += time.thread_time() - begun


def turn(agent: Agent, ticks: int, after: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.thread_time,
         ) -> float:
    """Return the seconds per tick, of this thread by default."""
    begun = clock()
    for _ in range(ticks):
        agent.cycle()["world.success"]
    after()
    return (clock() - begun) / ticks


def on_against_off(graph: Graph, batch: int) -> dict[str, float]:
    turns, ticks = TURNS[batch]
    with tempfile.TemporaryDirectory() as folder:
        log, nothing = TimedLog(Path(folder)), NoTrace()
        agent = begun_agent(graph, batch, log)
        turn(agent, 20)
        log.flush()
        log.spent = log.writer.spent = 0.0

        def with_trace() -> tuple[float, float]:
            before, begun = log.spent, time.perf_counter()
            agent.runtime.worker.recorder = log
            seconds = turn(agent, ticks) - (log.spent - before) / ticks
            return seconds, (time.perf_counter() - begun) / ticks

        def without() -> tuple[float, float]:
            begun = time.perf_counter()
            agent.runtime.worker.recorder = nothing
            seconds = turn(agent, ticks)
            return seconds, (time.perf_counter() - begun) / ticks

        on, off = [], []
        for number in range(turns):  # the order alternates
            if number % 2:
                on.append(with_trace())
                off.append(without())
            else:
                off.append(without())
                on.append(with_trace())
        log.flush()
        agent.close()
    pairs = list(zip(on, off, strict=True))
    every = median(a[0] - b[0] for a, b in pairs)
    blocks, writer = log.spent / (turns * ticks), log.writer.spent / (turns * ticks)
    tick, wall = median(b[0] for b in off), median(b[1] for b in off)
    return {"tick_us": 1e6 * tick, "every tick_us": 1e6 * every, "handing over_us": 1e6 * blocks, "writer_us": 1e6 * writer,
            "share of a tick": (every + blocks) / tick, "with the writer's": (every + blocks + writer) / tick,
            "of the wall, median": median(a[1] - b[1] for a, b in pairs) / wall,
            "of the wall, mean": fmean(a[1] - b[1] for a, b in pairs) / fmean(b[1] for b in off),
            "us per invocation": 1e6 * (every + blocks) / len(graph.order)}


def bytes_per_tick(graph: Graph, batch: int, payload: bool, ticks: int = 200) -> float:
    with tempfile.TemporaryDirectory() as folder:
        agent = begun_agent(graph, batch, TraceLog(Path(folder), payload))
        turn(agent, ticks, agent.close)
        return sum(path.stat().st_size for path in Path(folder).iterdir()) / ticks


def mlflow_on_against_off(graph: Graph, waits: bool) -> dict[str, float]:
    """Measure the decorator on every step; with `waits` every trace is stored before the next tick begins."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("tracing")
        mlflow.config.enable_async_logging(False)
        os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = str(not waits).lower()

        def decorate(node: str, module: Any) -> None:
            module.step = mlflow.trace(module.step, name=node, span_type=node.upper())

        on, off = begun_agent(graph, 1, NoTrace(), decorate), begun_agent(graph, 1, NoTrace())

        def traced_turn() -> float:
            begun = time.perf_counter()
            for _ in range(MLFLOW_TICKS):
                with mlflow.start_span("tick"):
                    on.cycle()["world.success"]
            return (time.perf_counter() - begun) / MLFLOW_TICKS

        def wall(agent: Agent) -> float:
            begun = time.perf_counter()
            turn(agent, MLFLOW_TICKS)
            return (time.perf_counter() - begun) / MLFLOW_TICKS

        traced_turn(), wall(off)
        pairs = [(traced_turn(), wall(off)) for _ in range(MLFLOW_TURNS)]
        begun = time.perf_counter()
        if not waits:
            mlflow.flush_trace_async_logging()
        left = time.perf_counter() - begun
        ticks = (1 + MLFLOW_TURNS) * MLFLOW_TICKS
        stored = len(mlflow.search_traces(return_type="list", include_spans=False, max_results=10 * ticks))
        size = (Path(folder) / "mlflow.db").stat().st_size
    extra = median(a - b for a, b in pairs)
    return {"trace_us": 1e6 * extra, "share of a tick": extra / median(b for _, b in pairs),
            "us per invocation": 1e6 * extra / len(graph.order), "ticks": ticks, "stored": stored,
            "seconds to empty the queue": left, "bytes of the store per tick": size / ticks}


def sync_afterwards(graph: Graph) -> dict[str, float]:
    """Measure the sync of every tick as MLflow spans, from the log, after the run."""
    from ami.tracking.mlflow_runs import store, sync
    from ami.views.spans import Sample

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_header(run, graph, seed=0)
        ticks = (1 + MLFLOW_TURNS) * MLFLOW_TICKS
        agent = begun_agent(graph, 1, TraceLog(run / "trace" / "agent-0"))
        turn(agent, ticks, agent.close)
        store(run, Path(folder), sample=None)
        begun = time.perf_counter()
        done = sync(run, Path(folder), Sample(every=1, episodes=0))
        return {"sync_us per tick": 1e6 * (time.perf_counter() - begun) / ticks, "ticks": ticks, "stored": done.stored}


def main() -> int:
    graph = graph_of()
    figures: dict[str, Any] = {
        "on against off, B = 1": on_against_off(graph, 1),
        "on against off, B = 50": on_against_off(graph, 50),
        "bytes per tick": {f"{name}, B = {batch}": bytes_per_tick(graph, batch, payload)
                           for name, payload in (("statistics", False), ("every payload", True)) for batch in (1, 50)},
        "@mlflow.trace, each trace at once": mlflow_on_against_off(graph, waits=True),
        "@mlflow.trace, by its queue": mlflow_on_against_off(graph, waits=False),
        "ami trace sync, afterwards": sync_afterwards(graph),
    }
    ours = figures["on against off, B = 1"]
    met = {name: ours[name] <= limit for name, limit in TARGETS.items()}
    for name, row in figures.items():
        print(f"{name:36} " + "  ".join(f"{key} {value:,.4g}" for key, value in row.items()))
    for name, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {name} {ours[name]:.4f} (target: <= {TARGETS[name]})")
    record("tracing", {"figures": figures, "targets": {name: f"<= {limit}" for name, limit in TARGETS.items()}, "met": met})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Placements under Ray beside the local runtime, in one process: time to the first tick, and processor time per tick.

    python benchmarks/placements.py      # one to three minutes; writes benchmarks/results/placements.json

The agent is the default one in Mode-2 with one world (B = 1) and initial weights. Processor time is that of this process and
all processes of Ray.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from pathlib import Path
from statistics import median

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parent))
from loop import episodes, graph_of
from record import record

from ami.agent import Agent, Runtime
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.runtime.ray_actors import TICKS_PER_CALL, RayRuntime
from ami.runtime.ray_cluster import cluster

torch.set_num_threads(1)
TICKS, ROUNDS = 96, 5
AHEAD = {"auto": 1, "agent": TICKS_PER_CALL, "module": 1, "local": 1}
"""The number of ticks that the driver asks for at once, as an evaluation does."""
TARGETS = {"auto": {"first_tick_s": 8.0, "cpu_over_local": 3.0}, "agent": {"cpu_over_local": 1.25}}


def begun(runtime: Runtime) -> Agent:
    agent = Agent(runtime)
    agent.reset(torch.ones(1, dtype=torch.bool), episodes(1))
    agent.cycle()["world.success"]
    return agent


def spent() -> float:
    """Return the processor seconds of this process and its descendants so far."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def per_tick(agent: Agent, most: int) -> tuple[float, float]:
    """Return processor and wall milliseconds per tick."""
    cpu, wall = spent(), time.perf_counter()
    for tick in range(TICKS):
        agent.cycle(most - tick % most)["world.success"]
    return 1e3 * (spent() - cpu) / TICKS, 1e3 * (time.perf_counter() - wall) / TICKS


def measured(graph: Graph) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    agents: dict[str, Agent] = {}
    with cluster():
        for placement in AHEAD:
            cpu, wall = spent(), time.perf_counter()
            runtime: Runtime = LocalRuntime(graph, 0) if placement == "local" else RayRuntime(graph, 0, placement=placement)
            agents[placement] = begun(runtime)
            figures[placement] = {"first_tick_s": time.perf_counter() - wall, "first_tick_cpu_s": spent() - cpu}
        rounds = [{placement: per_tick(agent, AHEAD[placement]) for placement, agent in agents.items()}
                  for _ in range(ROUNDS)]
        for placement, agent in agents.items():
            figures[placement] |= {
                "cpu_ms_per_tick": median(row[placement][0] for row in rounds),
                "wall_ms_per_tick": median(row[placement][1] for row in rounds),
                "cpu_over_local": median(row[placement][0] / row["local"][0] for row in rounds)}
            agent.close()
    return figures


def main() -> int:
    figures = measured(graph_of())
    met = {f"{placement}: {name} <= {limit}": figures[placement][name] <= limit
           for placement, limits in TARGETS.items() for name, limit in limits.items()}
    for placement, row in figures.items():
        print(f"{placement:8} " + "  ".join(f"{name} {value:.2f}" for name, value in row.items()))
    for target, yes in met.items():
        print(f"{'met   ' if yes else 'MISSED'} {target}")
    record("placements", {"figures": figures, "met": met})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

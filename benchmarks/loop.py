"""The overhead of the engine: paired in one process, against hand-written loops over the same modules.

    python benchmarks/loop.py            # about two minutes; writes benchmarks/results/loop.json

1. local runtime with tracing on, against a loop that calls the same modules' `step` in the same order (B = 1):
   microseconds of overhead per tick, for an agent without planning and in default Mode-2.
2. Ray by module, against the same hand-written remote calls.
3. CEM's step, against its bare model calls (imagine and energy).

The two sides alternate in short rounds; medians of the rounds and their ratios are reported.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.graph.graph import Graph
from ami.runtime.local import LocalRuntime
from ami.runtime.worker import Worker
from ami.trace.log import TraceLog

torch.set_num_threads(1)
ROUNDS, TICKS = 30, 50
REACTIVE = ("planner=none", "actor=random", "graph.planner.calls=null")


def episodes(batch: int) -> list[Episode]:
    """Episodes with unreachable goals, so that the loop does not end early."""
    return [Episode(i, i, {"start": [4.0, 20.0 + 0.01 * i], "goal": [28.0, 28.0], "door": 10.0}) for i in range(batch)]


def graph_of(*overrides: str) -> Graph:
    return to_graph(ami.compose(["world.max_episode_steps=1000000", *overrides]))


def interleave(first: Callable[[], float], second: Callable[[], float], rounds: int = ROUNDS) -> tuple[float, float, float]:
    """Medians of both and the median of the rounds' ratios first / second."""
    pairs = [(first(), second()) for _ in range(rounds)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def by_hand(graph: Graph) -> Callable[[], None]:
    """Return the simplest loop: the same modules and wires, nothing else."""
    modules = Worker(graph, graph.order, 0).modules
    every = torch.ones(1, dtype=torch.bool)
    for module in modules.values():
        module.begin(every, episodes(1))
    w, p, m, g, c = (modules[n] for n in ("world", "perception", "world_model", "goal", "configurator"))
    cost, memory, planner, actor = (modules[n] for n in ("cost", "memory", "planner", "actor"))
    state_shape = graph.dims["world_model"]["S"]
    last: dict[str, Any] = {"action": torch.zeros(1, 2), "energy": torch.zeros(1), "recall": torch.zeros(1, *state_shape)}
    plans = "plan" in {wire.to_port for wire in graph.inputs["actor"]}

    def tick() -> None:
        with torch.no_grad():
            seen = w.step(action=last["action"])
            percept = p.step(observation=seen["observation"])["percept"]
            observed = m.step(percept=percept, action=last["action"], recall=last["recall"])
            how = c.step(energy=last["energy"], surprise=observed["surprise"])
            goal = g.step(observation=seen["goal"], mode=how["mode"])["goal"]
            felt = cost.step(state=observed["state"], goal=goal, weights=how["weights"])
            kept = memory.step(state=observed["state"], energy=felt["energy"], surprise=observed["surprise"])
            last["recall"] = kept["recall"]
            last["energy"] = felt["energy"]
            plan = planner.step(state=observed["state"], goal=goal, mode=how["mode"], weights=how["weights"])["plan"]
            done = actor.step(state=observed["state"], goal=goal, mode=how["mode"], plan=plan if plans else None)
            last["action"] = done["action"]

    return tick


def timed(tick: Callable[[], Any], ticks: int = TICKS) -> Callable[[], float]:
    def run() -> float:
        begun = time.perf_counter()
        for _ in range(ticks):
            tick()
        return (time.perf_counter() - begun) / ticks

    return run


def local_overhead(*overrides: str) -> dict[str, float]:
    graph = graph_of(*overrides)
    hand = by_hand(graph)
    with tempfile.TemporaryDirectory() as folder, Agent(LocalRuntime(graph, 0, recorder=TraceLog(Path(folder)))) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), episodes(1))

        def engine() -> None:
            agent.cycle()["world.success"]

        for _ in range(TICKS):
            hand(), engine()
        ours, theirs, ratio = interleave(timed(engine), timed(hand))
    return {"engine_us": 1e6 * ours, "by_hand_us": 1e6 * theirs, "overhead_us": 1e6 * (ours - theirs), "ratio": ratio}


class ByHandActor:
    """One module in a minimal Ray actor: dicts of arrays in, a dict of arrays out."""

    def __init__(self, graph: Graph, node: str) -> None:
        torch.set_num_threads(1)
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        self.module = Worker(graph, [node], 0).modules[node]
        self.sources = [(wire.to_port, wire.port) for wire in graph.inputs[node]]
        self.missing = {port: None for port in self.module.inputs if port not in dict(self.sources)}
        every = torch.ones(1, dtype=torch.bool)
        self.module.begin(every, episodes(1))

    def step(self, *boxes: dict[str, Any]) -> dict[str, Any]:
        inputs = {to_port: torch.from_numpy(box[port]) for (to_port, port), box in zip(self.sources, boxes, strict=True)}
        with torch.no_grad():
            return {port: value.numpy() for port, value in self.module.step(**inputs, **self.missing).items()}


def ray_overhead() -> dict[str, float]:
    from ami.runtime.ray_actors import RayRuntime
    from ami.runtime.ray_cluster import cluster

    graph = graph_of()
    with cluster():
        import ray

        agent = Agent(RayRuntime(graph, 0))
        agent.reset(torch.ones(1, dtype=torch.bool), episodes(1))
        actors = {node: ray.remote(num_cpus=0)(ByHandActor).remote(graph, node) for node in graph.order}
        sizes = graph.dims["world_model"]["S"]
        boxes: dict[str, Any] = {"actor": {"action": np.zeros((1, 2), np.float32)},
                                 "cost": {"energy": np.zeros(1, np.float32)},
                                 "memory": {"recall": np.zeros((1, *sizes), np.float32)}}

        def by_hand_tick() -> None:
            for node in graph.order:
                boxes[node] = actors[node].step.remote(*(boxes[wire.node] for wire in graph.inputs[node]))
            ray.get(boxes["world"])

        def engine() -> None:
            agent.cycle()["world.success"]

        for _ in range(20):
            by_hand_tick(), engine()
        ours, theirs, ratio = interleave(timed(engine, 20), timed(by_hand_tick, 20), 15)
        agent.close()
    return {"engine_ms": 1e3 * ours, "by_hand_ms": 1e3 * theirs, "ratio": ratio}


def cem_overhead(batch: int) -> dict[str, float]:
    graph = graph_of()
    modules = Worker(graph, graph.order, 0).modules
    planner = modules["planner"]
    every = torch.ones(batch, dtype=torch.bool)
    planner.begin(every, episodes(batch))
    state, goal = torch.randn(batch, 64), torch.randn(batch, 64)
    mode, weights = torch.full((batch,), 2), torch.ones(batch, graph.dims["planner"]["W"])
    actions = torch.rand(batch, planner.num_candidates, planner.horizon, 2) * 2 - 1

    def step() -> None:
        with torch.no_grad():
            planner.step(state=state, goal=goal, mode=mode, weights=weights)

    def bare() -> None:
        with torch.no_grad():
            for _ in range(planner.num_iterations):
                imagined = planner.calls.world_model.imagine(state, actions)
                planner.calls.cost.energy(imagined, actions, goal, weights)

    for _ in range(20):
        step(), bare()
    ours, theirs, ratio = interleave(timed(step, 20), timed(bare, 20))
    return {"cem_ms": 1e3 * ours, "bare_ms": 1e3 * theirs, "ratio": ratio}


TARGETS = {
    "local, reactive, tracing on": ("overhead_us", 60.0),
    "local, default Mode-2, tracing on": ("ratio", 1.03),
    "CEM, B = 1": ("ratio", 1.08),
    "CEM, B = 50": ("ratio", 1.08),
    "ray by module, Mode-2": ("ratio", 1.15),
}


def main() -> int:
    figures = {
        "local, reactive, tracing on": local_overhead(*REACTIVE),
        "local, default Mode-2, tracing on": local_overhead(),
        "CEM, B = 1": cem_overhead(1),
        "CEM, B = 50": cem_overhead(50),
        "ray by module, Mode-2": ray_overhead(),
    }
    met = {name: figures[name][figure] <= limit for name, (figure, limit) in TARGETS.items()}
    for name, row in figures.items():
        figure, limit = TARGETS[name]
        print(f"{'met   ' if met[name] else 'MISSED'} {name:34} " + "  ".join(f"{k} {v:.3f}" for k, v in row.items())
              + f"   (target: {figure} <= {limit})")
    record("loop", {"figures": figures, "targets": {n: f"{f} <= {v}" for n, (f, v) in TARGETS.items()}, "met": met})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

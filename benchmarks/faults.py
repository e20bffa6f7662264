"""Kills (-9) of every module's actor in each phase of a tick: the time until the agent goes on, and the digest of its trace.

    python benchmarks/faults.py                # 81 kills, about ten minutes; writes benchmarks/results/faults.json
    python benchmarks/faults.py --times 1      # 27 kills

The agent is the default one in Mode-2 in two worlds, with a small planner, initial weights and a process per module. It runs
three waves of nine ticks without a kill, then one per kill. An actor kills itself in one tick of the wave:

    before    its module fires in this tick
    during    after the module's step, before its message is stored or recorded
    after     the message is stored and recorded, before it is sent

Recovery is the time of a wave with a kill beyond that of one without. The targets: the digest of the whole trace is that of
the local runtime without any kill; no process but the killed one steps a world twice; every recovery takes at most 10 s.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.agent import Agent, Runtime
from ami.blueprint import World
from ami.config.compose import to_graph
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.rollout import rollout
from ami.runtime.build import build_module
from ami.runtime.local import LocalRuntime
from ami.runtime.ray_actors import RayRuntime
from ami.runtime.ray_calls import Recovery
from ami.runtime.ray_cluster import cluster
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace

# isort: split
import ray

torch.set_num_threads(1)
PHASES, LONGEST, EVERY, UNDISTURBED, MOST_SECONDS = ("before", "during", "after"), 8, 3, 3, 10.0
FEW = ["planner.num_candidates=16", "planner.num_elites=4", "planner.num_iterations=1"]


class Kill(NamedTuple):
    """A kill: the node whose actor dies, the phase, and the tick of the wave."""

    node: str
    phase: str
    tick: int


def armed(actor: Any, node: str, phase: str, tick: int) -> None:
    """Have a `WorkerActor` kill its own process; run in the actor."""
    worker, module = actor.worker, actor.worker.modules[node]
    fire, step = worker.fire, module.step
    now = -1

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watched_step(**inputs: Any) -> Any:
        outputs = step(**inputs)
        if now == tick:
            die()
        return outputs

    def watched_fire(nodes: Sequence[str], at: int, parcels: Sequence[Any] = ()) -> Any:
        nonlocal now
        now = at
        if phase == "before" and at == tick and node in nodes:
            die()
        sent = fire(nodes, at, parcels)
        if phase == "after" and at == tick and node in nodes:
            die()
        return sent

    worker.fire = watched_fire
    if phase == "during":
        worker._plans[node] = worker._plans[node]._replace(step=watched_step)


def counted(actor: Any, node: str) -> None:
    """Have a `WorkerActor` count the steps of its world; run in the actor."""
    plan, actor.steps = actor.worker._plans[node], 0

    def step(**inputs: Any) -> Any:
        actor.steps += 1
        return plan.step(**inputs)

    actor.worker._plans[node] = plan._replace(step=step)


def steps_of(actor: Any) -> int:
    return int(actor.steps)


def told(runtime: RayRuntime, node: str, does: Any, *given: Any) -> Any:
    """Call a function in the actor of a node, between two ticks."""
    return ray.get(runtime.actors[node].__ray_call__.remote(does, *given))


def run(folder: Path, graph: Graph, runtime: Runtime, kills: Sequence[Kill | None]) -> tuple[str, list[float], int]:
    """Run one wave per kill, or without one; return the digest, the seconds of each wave, and the world's surplus steps."""
    write_header(folder, graph, seed=0)
    world = graph.the(World)
    episodes = Manifest.make(build_module(graph, world, 0), 3, 2).episodes()[:2]
    seconds, surplus = [], 0
    with Agent(runtime) as agent:
        for wave, kill in enumerate(kills):
            begun = 0.0
            for tick, _ in enumerate(rollout(agent, episodes, wave=wave, longest=LONGEST)):
                if tick == 0:
                    if kill is not None and isinstance(runtime, RayRuntime):
                        told(runtime, kill.node, armed, kill.node, kill.phase, kill.tick)
                        if kill.node != world:
                            told(runtime, world, counted, world)
                    begun = time.perf_counter()
            runtime.settle()
            seconds.append(time.perf_counter() - begun)
            if kill is not None and isinstance(runtime, RayRuntime):
                surplus += 0 if kill.node == world else told(runtime, world, steps_of) - tick
                print(f"{kill.node:13} {kill.phase:7} tick {kill.tick}: {seconds[-1]:5.1f} s", flush=True)
    trace = Trace.open(folder)
    assert not trace.unfinished, trace.unfinished
    return trace.digest(), seconds, surplus


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=3, help="kills of each module in each phase")
    times = parser.parse_args().times
    graph = to_graph(ami.compose(FEW))
    places = [(node, phase) for node in graph.order for phase in PHASES for _ in range(times)]
    kills = [Kill(node, phase, 1 + number % LONGEST) for number, (node, phase) in enumerate(places)]
    waves = [*[None] * UNDISTURBED, *kills]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        expected, _, _ = run(folder / "local", graph, LocalRuntime(graph, 0, recorder=TraceLog(folder / "local" / "trace")),
                             waves)
        with cluster():
            runtime = RayRuntime(graph, 0, placement="module", trace=folder / "ray" / "trace",
                                 recovery=Recovery(restarts=2, seconds=1.0, every=EVERY))
            found, seconds, surplus = run(folder / "ray", graph, runtime, waves)
    without = median(seconds[:UNDISTURBED])
    recovery = [one - without for one in seconds[UNDISTURBED:]]
    by_phase = {phase: median(one for one, kill in zip(recovery, kills, strict=True) if kill.phase == phase)
                for phase in PHASES}
    met = {"the digest is that of a local run without kills": found == expected,
           "no world steps twice": surplus == 0,
           f"every recovery takes at most {MOST_SECONDS:.0f} s": max(recovery) <= MOST_SECONDS}
    for name, is_met in met.items():
        print(f"{'met   ' if is_met else 'MISSED'} {name}")
    record("faults", {"figures": {"kills": len(kills), "modules": len(graph.order), "surplus world steps": surplus,
                                  "seconds of a wave without a kill": without,
                                  "median seconds of recovery": median(recovery),
                                  "median seconds of recovery by phase": by_phase,
                                  "longest seconds of recovery": max(recovery)}, "met": met})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

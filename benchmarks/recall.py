"""The cost of recall: a cognitive map of 1,000 slots beside the agent of two rooms, and its growth over 100,000 ticks.

    python benchmarks/recall.py          # about five CPU-minutes; writes benchmarks/results/recall.json

1. Milliseconds of a tick of the map, write and read, at 1,000 filled slots and 50 worlds, as a share of a tick of the
   default two-rooms agent at 50 worlds, without a trace. Both alternate in short rounds; processor time, medians. Outputs:
   those of a memory that is only read (`read`), also relief (`answers`), also all slots and links (`map`).
2. One world, 100,000 ticks of a walk through a house of more places than slots: slots, bytes of the carry, and microseconds
   per tick in each tenth.

The walk is simulated: the map receives states of a house of 6 x 6 rooms, whose contexts are random vectors with noise.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.module import Callee, Calls
from ami.runtime.local import LocalRuntime
from modules.memory.cognitive_map import CognitiveMap
from modules.world_model.place import Place

torch.set_num_threads(1)
SLOTS, WORLDS, ROUNDS, TICKS, LONG = 1000, 50, 11, 5, 100_000
ROOMS, SIDE, STATIC, MOVING = 6, 8.0, 24, 16
READ = ("recall", "score", "wanted", "wanted_score")
OUTPUTS = {"read": READ, "answers": (*READ, "relief", "relief_score"), "map": tuple(CognitiveMap.outputs)}
TARGETS = {"share of a tick": 0.05, "growth of a tick": 1.1}


class Walk:
    """States (B, S) of a walk that turns at random in a house of `ROOMS` x `ROOMS` rooms, one unit a tick."""

    def __init__(self, batch: int) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.looks = torch.randn(ROOMS**2, STATIC, generator=self.generator)
        self.place = torch.rand(batch, 2, generator=self.generator) * ROOMS * SIDE
        self.heading = torch.rand(batch, generator=self.generator) * 6.3

    def __call__(self) -> Tensor:
        noise = torch.randn(len(self.place), 1 + STATIC + MOVING, generator=self.generator)
        self.heading = self.heading + 0.3 * noise[:, 0]
        moved = self.place + torch.stack([self.heading.cos(), self.heading.sin()], dim=1)
        self.heading = torch.where((moved != moved.clamp(0, ROOMS * SIDE)).any(1), self.heading + 2, self.heading)
        self.place = moved.clamp(0, ROOMS * SIDE - 1e-3)
        column, row = (self.place / SIDE).long().unbind(1)
        look = self.looks[row * ROOMS + column] + 0.02 * noise[:, 1:1 + STATIC]
        return torch.cat([look, noise[:, 1 + STATIC:], self.place], dim=1)


def memory(batch: int, outputs: Sequence[str]) -> CognitiveMap:
    """Return an empty map that sends these outputs and calls an untrained world model."""
    percept, state = STATIC + MOVING, STATIC + MOVING + 2
    model, made = Place(static=STATIC), CognitiveMap(num_slots=SLOTS)
    model.set_up({"P": (percept,), "S": (state,), "Q": (state,), "A": 2, "U": 2})
    made.set_up({"P": (percept,), "S": (state,), "Q": (state,), "N": SLOTS, "L": made.num_links})
    made.calls = Calls("memory", {"world_model": Callee("world_model", model)})
    made.outputs = {name: port for name, port in made.outputs.items() if name in outputs}
    made.begin(torch.ones(batch, dtype=torch.bool), [Episode(number, seed=number) for number in range(batch)])
    return made


def walking(made: CognitiveMap) -> Callable[[], None]:
    """Return a function that sends the map one state of a walk, with a goal. Relief is felt in nearly every slot, the
    worst case."""
    walk, goals = Walk(made.batch), Walk(made.batch)
    goal, last = goals(), walk()

    def tick() -> None:
        nonlocal last
        now = walk()
        energy = torch.where((last[:, -2:] < SIDE).all(1), 0.1, 0.1 + torch.rand(len(now), generator=walk.generator))
        with torch.no_grad():
            made.step(state=last, energy=energy, percept=now[:, :-2], goal=goal)
        last = now

    return tick


def timed(tick: Callable[[], object], ticks: int) -> float:
    """Return the processor time of a tick in milliseconds."""
    begun = time.process_time()
    for _ in range(ticks):
        tick()
    return 1e3 * (time.process_time() - begun) / ticks


def shares() -> dict[str, float]:
    """Return milliseconds of the agent's tick, and of the map's with each set of outputs, and the shares."""
    graph = to_graph(ami.compose(["world.max_episode_steps=1000000"]))
    walk = timed(Walk(WORLDS), 200)
    filled = memory(WORLDS, READ)
    fill = walking(filled)
    while int((filled.carry["visited"] >= 0).sum()) < SLOTS * WORLDS:
        timed(fill, 100)
    made = {name: memory(WORLDS, outputs) for name, outputs in OUTPUTS.items()}
    for one in made.values():
        one.restore(filled.snapshot())
    maps = {name: walking(one) for name, one in made.items()}
    for tick in maps.values():
        timed(tick, TICKS)
    with Agent(LocalRuntime(graph, 0)) as agent:
        episodes = [Episode(i, i, {"start": [4.0, 20.0 + 0.01 * i], "goal": [28.0, 28.0], "door": 10.0})
                    for i in range(WORLDS)]
        agent.reset(torch.ones(WORLDS, dtype=torch.bool), episodes)

        def cycle() -> None:
            agent.cycle()["world.success"]

        timed(cycle, TICKS)
        rounds = [(timed(cycle, TICKS), {name: timed(tick, TICKS) - walk for name, tick in maps.items()})
                  for _ in range(ROUNDS)]
    found = {"agent_ms": median(agent for agent, _ in rounds)}
    for name in OUTPUTS:
        found |= {f"{name}_ms": median(of[name] for _, of in rounds),
                  f"{name}_share": median(of[name] / agent for agent, of in rounds)}
    return found


def growth() -> dict[str, list[float]]:
    """Return slots, bytes of the carry and microseconds per tick at the end of each tenth of `LONG` ticks."""
    made = memory(1, OUTPUTS["map"])
    tick, found = walking(made), {"slots": [], "bytes": [], "us": []}
    for _ in range(10):
        found["us"].append(1e3 * median(timed(tick, LONG // 100) for _ in range(10)))
        found["slots"].append(int((made.carry["visited"] >= 0).sum()))
        found["bytes"].append(sum(value.nbytes for value in made.carry.values()))
    return found


def main() -> int:
    share, grown = shares(), growth()
    full = grown["us"][grown["slots"].index(SLOTS):]  # from when all slots are filled
    figures = {"share of a tick": share["read_share"], "growth of a tick": full[-1] / full[0]}
    met = {name: figures[name] <= limit for name, limit in TARGETS.items()}
    for name, limit in TARGETS.items():
        print(f"{'met   ' if met[name] else 'MISSED'} {name}: {figures[name]:.3f} (target: <= {limit})")
    print(share, grown, sep="\n")
    record("recall", {"slots": SLOTS, "worlds": WORLDS, "share": share, "growth": grown, "figures": figures,
                      "targets": TARGETS, "met": met})
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""CPU time per plan beside stable-worldmodel's solvers and a minimal CEM: same world model, cost, candidates and iterations.

    python benchmarks/planner_speed.py [--venv FOLDER]     # about a CPU-minute; writes benchmarks/results/planner_speed.json

Runs in the virtual environment of `benchmarks/stable_worldmodel.py`, which is made on the first call. At each budget all
planners take turns in short rounds; the figures are medians of the rounds, and of the rounds' ratios. Two floors: `minimal`
is a CEM in 15 lines that calls our world model and cost; `by hand` is the same search with the networks and the energies
written out in plain torch, as a script for this one agent would be. The networks have initial weights.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from stable_worldmodel import PACKAGES, in_its_own_environment

HORIZON, ITERATIONS, STD = 4, 2, 0.8
BUDGETS = {  # worlds, candidates, elites, rounds, plans per round
    "32 candidates, 1 world": (1, 32, 5, 40, 15),
    "32 candidates, 50 worlds": (50, 32, 5, 10, 1),
    "300 candidates, 1 world": (1, 300, 30, 25, 4),
    "300 candidates, 50 worlds": (50, 300, 30, 5, 1),
}
PEERS = {"cem": "CEMSolver", "icem": "ICEMSolver", "mppi": "MPPISolver"}
FLOORS = ("minimal", "by hand")
LIMITS = {"32 candidates, 1 world": 1.25, "300 candidates, 1 world": 1.05, "300 candidates, 50 worlds": 1.05}
"""At most this ratio of our CEM to each floor; to every peer at most 1."""


def minimal_cem(energy: Callable[..., Any], worlds: int, candidates: int, elites: int) -> Callable[[], Any]:
    """Return a CEM without clipping of means, carry, outputs or streams per row."""
    import torch

    rows, generator = torch.arange(worlds)[:, None], torch.Generator().manual_seed(0)

    @torch.inference_mode()
    def plan() -> Any:
        mean, std = torch.zeros(worlds, 1, HORIZON, 2), torch.full((), STD)
        for _ in range(ITERATIONS):
            noise = torch.randn(worlds, candidates, HORIZON, 2, generator=generator)
            actions = torch.addcmul(mean, std, noise).clamp_(-1, 1)
            best = energy(actions).topk(elites, largest=False).indices
            std, mean = torch.std_mean(actions[rows, best], 1, keepdim=True)
        return mean

    return plan


def by_hand(modules: Any, state: Any, goal: Any) -> Callable[[Any], Any]:
    """Return the default agent's energies of plans, written out in plain torch."""
    import torch

    predictor, cost = modules["world_model"].predictor, modules["cost"]
    phi, unit = torch.nn.Sequential(*cost.critics["critic"].phi), cost.intrinsic["goal_distance"].unit
    first, second, last = predictor.first, predictor.second, predictor.last

    def energy(actions: Any) -> Any:
        at, total = state[:, None].expand(-1, actions.shape[1], -1), 0.0
        for action in actions.unbind(2):
            hidden = torch.relu(first(torch.cat([at, action], -1)))
            at = at + last(torch.relu(second(hidden)))
            total = total + ((at - goal[:, None]).norm(dim=-1) / unit).clamp(max=1)
        return total + (phi(at) - phi(goal)[:, None]).norm(dim=-1)

    return energy


def solver(name: str, energy: Callable[..., Any], worlds: int, candidates: int, elites: int) -> Callable[[], Any]:
    """Return a plan of stable-worldmodel's unchanged solver, whose model is `energy` of clipped actions."""
    import numpy as np
    import stable_worldmodel_planner as peer
    import torch
    from gymnasium.spaces import Box

    found = peer.solvers()[name](SimpleNamespace(get_cost=lambda info, actions: energy(actions.clamp(-1.0, 1.0))),
                                 batch_size=worlds, num_samples=candidates, n_steps=ITERATIONS, var_scale=STD,
                                 topk=candidates if name == "MPPISolver" else elites)
    found.configure(action_space=Box(-1.0, 1.0, (worlds, 2), np.float32), n_envs=worlds,
                    config=SimpleNamespace(horizon=HORIZON, action_block=1))
    info, start, silence = {"state": torch.zeros(worlds, 1)}, torch.zeros(worlds, HORIZON, 2), peer.Silence()

    def plan() -> Any:
        with redirect_stdout(silence):
            return found.solve(info, init_action=start)["actions"]

    return plan


def planners(worlds: int, candidates: int, elites: int) -> dict[str, Callable[[], Any]]:
    """Return a plan of every planner, by name."""
    import torch

    import ami
    from ami.blueprint import Episode
    from ami.config.compose import to_graph
    from ami.runtime.worker import Worker

    plans: dict[str, Callable[[], Any]] = {}
    episodes = [Episode(row, row) for row in range(worlds)]
    torch.manual_seed(0)
    state, goal, mode = torch.randn(worlds, 64), torch.randn(worlds, 64), torch.full((worlds,), 2)

    def stepping(planner: Any, weights: Any) -> Callable[[], Any]:
        def plan() -> Any:
            with torch.no_grad():
                return planner.step(state=state, goal=goal, mode=mode, weights=weights)["plan"]
        return plan

    for name in PEERS:
        settings = [f"planner={name}", f"planner.horizon={HORIZON}", f"planner.num_candidates={candidates}",
                    f"planner.num_iterations={ITERATIONS}"]
        settings += [] if name == "mppi" else [f"planner.num_elites={elites}", f"planner.init_std={STD}"]
        graph = to_graph(ami.compose([*settings, *(["planner.decay=1"] if name == "icem" else [])]))
        modules = Worker(graph, graph.order, 0).modules
        modules["planner"].begin(torch.ones(worlds, dtype=torch.bool), episodes)
        weights = torch.ones(worlds, graph.dims["planner"]["W"])
        plans[name] = stepping(modules["planner"], weights)

    def energy(actions: Any) -> Any:
        calls = modules["planner"].calls
        return calls.cost.energy(calls.world_model.imagine(state, actions), actions, goal, weights)

    for name, peer in PEERS.items():
        plans[f"stable-worldmodel {name}"] = solver(peer, energy, worlds, candidates, elites)
    plans["minimal"] = minimal_cem(energy, worlds, candidates, elites)
    plans["by hand"] = minimal_cem(by_hand(modules, state, goal), worlds, candidates, elites)
    with torch.no_grad():  # the two floors evaluate the same energies
        actions = torch.rand(worlds, 8, HORIZON, 2) * 2 - 1
        torch.testing.assert_close(by_hand(modules, state, goal)(actions), energy(actions), rtol=1e-4, atol=1e-4)
    return plans


def timed(plans: dict[str, Callable[[], Any]], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return CPU-milliseconds per plan of each round, the planners taking turns."""
    times: dict[str, list[float]] = {name: [] for name in plans}
    for number in range(rounds + 1):
        for name, plan in plans.items():
            begun = time.process_time()
            for _ in range(repeats):
                plan()
            if number:  # the first round warms up
                times[name].append(1000 * (time.process_time() - begun) / repeats)
    return times


def inside() -> int:
    import torch
    from record import record

    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    verdicts: dict[str, Any] = {}
    for budget, (worlds, candidates, elites, rounds, repeats) in BUDGETS.items():
        times = timed(planners(worlds, candidates, elites), rounds, repeats)
        pairs = [(name, f"stable-worldmodel {name}") for name in PEERS] + [("cem", floor) for floor in FLOORS]
        pairs += [("stable-worldmodel cem", floor) for floor in FLOORS]
        ratios = {f"{one} / {other}": median(a / b for a, b in zip(times[one], times[other], strict=True))
                  for one, other in pairs}
        figures[budget] = {"cpu_ms_per_plan": {name: median(each) for name, each in times.items()}, "ratios": ratios}
        for name, ratio in ratios.items():
            limit = None if name.startswith("stable") else 1.0 if "stable" in name else LIMITS.get(budget)
            if limit is not None:
                verdicts[f"{budget}: {name}"] = {"value": ratio, "threshold": limit, "met": ratio <= limit}
            word = "" if limit is None else f"(at most {limit}) {'met' if ratio <= limit else 'MISSED'}"
            print(f"{budget:26} {name:32} {ratio:.3f}  {word}", flush=True)
    record("planner_speed", {"packages": PACKAGES, "horizon": HORIZON, "iterations": ITERATIONS, "budgets": figures,
                             "verdicts": verdicts})
    return 0 if all(verdict["met"] for verdict in verdicts.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time per plan beside stable-worldmodel's solvers and a minimal CEM")
    parser.add_argument("--venv", type=Path, default=Path("runs/stable-worldmodel"), help="its virtual environment")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.argv = [argument for argument in sys.argv if argument != "--inside"]
    return inside() if given.inside else in_its_own_environment(given.venv)


if __name__ == "__main__":
    sys.exit(main())

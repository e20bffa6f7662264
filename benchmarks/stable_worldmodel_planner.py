"""stable-worldmodel's CEM as a planner of ami: its unchanged solver plans with our world model by its own protocol.

Shapes: R the rows that plan, K candidates, H horizon, A action width.
"""

from __future__ import annotations

import sys
import sysconfig
from contextlib import redirect_stdout
from importlib.machinery import PathFinder
from io import TextIOBase
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from modules.planner.sampling import SamplingPlanner, SearchResult


def _only_the_solvers() -> None:
    """Make `stable_worldmodel.solver` importable without the package's other imports: data, vision, worlds."""
    name = "stable_worldmodel"
    found = PathFinder.find_spec(name, [sysconfig.get_paths()["purelib"]])
    if found is None or found.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed here. Fix: python benchmarks/stable_worldmodel.py, which makes a "
                          "virtual environment for it")
    package = ModuleType(name)
    package.__path__ = list(found.submodule_search_locations)
    sys.modules[name] = package


_only_the_solvers()
from stable_worldmodel.solver.cem import CEMSolver  # noqa: E402


def solvers() -> dict[str, Any]:
    """Return stable-worldmodel's solvers that have a counterpart here, by name."""
    from stable_worldmodel.solver.icem import ICEMSolver
    from stable_worldmodel.solver.mppi import MPPISolver

    return {solver.__name__: solver for solver in (CEMSolver, ICEMSolver, MPPISolver)}


class Silence(TextIOBase):
    """Discard the line that the solver prints at every plan."""

    def write(self, text: str) -> int:
        return len(text)


class OurModel:
    """Our world model and cost with the interface of stable-worldmodel's `Costable`."""

    def __init__(self, planner: SamplingPlanner) -> None:
        self.planner = planner
        self.last: tuple[Tensor, Tensor, Tensor] | None = None

    def get_cost(self, info: dict[str, Any], candidates: Tensor) -> Tensor:
        """The energies (R, K) of candidates (R, K, H, A); the solver repeats its `info` K times, (R, K, …)."""
        plans = candidates.clamp(-1.0, 1.0)  # as our world clips actions, also in the training data
        weights = info["weights"][:, 0] if "weights" in info else None
        states, energy = self.planner.imagine(info["state"][:, 0], info["goal"][:, 0], weights, plans)
        self.last = plans, states, energy
        return energy

    criterion = get_cost


class SolverPlanner(SamplingPlanner):
    """stable-worldmodel's `CEMSolver`: no clipping before selection, the mean is a candidate, no minimum standard deviation.

    It has its own random numbers: an episode's outcome depends on its batch.
    """

    def __init__(self, horizon: int = 4, num_candidates: int = 32, num_iterations: int = 2, num_elites: int = 5,
                 init_std: float = 0.8, seed: int = 0) -> None:
        super().__init__(horizon)
        self.steps = num_iterations * num_candidates * horizon
        self.model = OurModel(self)
        self.solver = CEMSolver(self.model, num_samples=num_candidates, n_steps=num_iterations, topk=num_elites,
                                var_scale=init_std, seed=seed)

    def draw(self) -> Tensor:
        return torch.zeros(0)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        rows = len(state)
        if self.solver.batch_size != rows or not hasattr(self.solver, "_config"):
            self.solver.batch_size = rows
            space = Box(-1.0, 1.0, (rows, self.width), np.float32)
            self.solver.configure(action_space=space, n_envs=rows,
                                  config=SimpleNamespace(horizon=self.horizon, action_block=1))
        info = {"state": state, "goal": goal} | ({} if weights is None else {"weights": weights})
        with redirect_stdout(Silence()):
            plan = self.solver.solve(info, init_action=start)["actions"]
        assert self.model.last is not None
        best = self.best_of(*self.model.last)
        return SearchResult(plan.clamp(-1.0, 1.0), best.imagined.clone(), best.energy.clone(), self.steps)

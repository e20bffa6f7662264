"""Diagnose an agent behind unseen doors: perception, imagination or critic?

True positions, motion and path lengths of the two rooms are compared with the outputs of a frozen agent. All test doors are
outside the training bands.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from ami.graph.graph import Graph
from ami.runtime.held_modules import Weights
from ami.runtime.worker import Worker
from modules.nets import mlp
from worlds.two_rooms_drawing import Drawing
from worlds.two_rooms_pairs import LEARNING_BANDS, TEST_BANDS, sample_door, sample_position
from worlds.two_rooms_physics import HIGH, LOW, WALL_LEFT, WALL_RIGHT, WALL_X, Dynamics, is_blocked, is_success

Array = NDArray[np.float32]
DYNAMICS = Dynamics()
FITTED, TESTED = 6000, 2000  # positions
AHEAD, DIRECTIONS, STEPS = 2, 24, 60
OPEN, CLOSED = 2.0, 4.0  # px from the door's centre: certainly in the door, certainly outside it


class FrozenAgent:
    """A frozen agent, queried at given positions.

    Args:
        graph: the agent; it needs a perception, a world model and a cost.
        weights: its trained weights.
    """

    def __init__(self, graph: Graph, weights: Weights) -> None:
        modules: dict[str, Any] = Worker(graph, ("perception", "world_model", "cost"), 0).modules
        for node, state in weights.items():
            if node in modules:
                modules[node].load_state_dict(state)
        self.perception, self.world_model = modules["perception"].eval(), modules["world_model"].eval()
        self.critic: Any = next(iter(modules["cost"].critics.values()))
        self.static = getattr(self.world_model, "static", 0)
        self.drawing = Drawing(32)

    @torch.no_grad()
    def states(self, places: Array) -> Tensor:
        """Positions (N, 3) to states (N, D)."""
        parts = [torch.from_numpy(self.drawing.draw(part)) for part in np.array_split(places, -(-len(places) // 1024))]
        return torch.cat([self.world_model.state_of(self.perception.encode(part)) for part in parts])

    @torch.no_grad()
    def value(self, states: Tensor, goal: Tensor) -> NDArray[np.float32]:
        """The critic's energy from states (…, D) to goals (…, D)."""
        found: NDArray[np.float32] = self.critic.energy(states, goal).numpy()
        return found


def places(count: int, bands: NDArray[np.float64], seed: int) -> Array:
    """Draw free positions with a door each, (count, 3)."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        door = sample_door(rng, "random", bands)
        drawn.append([*sample_position(rng, door), door])
    return np.array(drawn, np.float32)


def diagnose(agent: FrozenAgent) -> dict[str, float]:
    """Return all figures of one agent; see the functions."""
    return {**probes(agent), **imagined(agent), **valued(agent), "solved with true motion": with_true_motion(agent)}


def probes(agent: FrozenAgent) -> dict[str, float]:
    """R² of a small network that reads the dot's and the door's position from states, and from each part of a state."""
    fit, test = places(FITTED, LEARNING_BANDS, 1), places(TESTED, TEST_BANDS, 2)
    states, tested = agent.states(fit), agent.states(test)
    parts = {"": slice(None)}
    if agent.static:
        parts |= {"static ": slice(0, agent.static), "moving ": slice(agent.static, None)}
    found = {}
    for name, part in parts.items():
        read = readout(states[:, part], fit)(tested[:, part]).numpy()
        r2 = 1 - np.square(read - test).mean(0) / test.var(0)
        found |= {f"{name}dot R²": float(r2[:2].min()), f"{name}door R²": float(r2[2])}
    return found


def readout(states: Tensor, truth: Array, steps: int = 600) -> Any:
    """Fit a network (N, D) to (N, 3) px to the true positions."""
    wanted = torch.from_numpy(truth)
    spread, offset = states.std(0) + 1e-6, states.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = mlp(states.shape[1], 128, 3)
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(steps):
            rows = torch.randint(len(states), (512,))
            loss = (net((states[rows] - offset) / spread) * 8 + WALL_X - wanted[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def read(of: Tensor) -> Tensor:
        seen: Tensor = net((of - offset) / spread) * 8 + WALL_X
        return seen

    return read


def imagined(agent: FrozenAgent, steps: int = 4) -> dict[str, float]:
    """Share of straight rollouts at the wall that end beyond it: at the door, and clearly outside it."""
    fit = places(FITTED, LEARNING_BANDS, 1)
    read = readout(agent.states(fit), fit)
    rng = np.random.default_rng(3)
    start = places(TESTED, TEST_BANDS, 4)
    left = rng.random(TESTED) < 0.5
    reach = rng.uniform(0.1, 3.0, TESTED)
    start[:, 0] = np.where(left, WALL_LEFT - reach, WALL_RIGHT + reach)
    start[:, 1] = rng.uniform(LOW, HIGH, TESTED)
    actions = np.zeros((TESTED, 1, steps, 2), np.float32)
    actions[..., 0] = np.where(left, 1, -1)[:, None, None]
    with torch.no_grad():
        end = agent.world_model.imagine(agent.states(start), torch.from_numpy(actions)).states[:, 0, -1]
    beyond = (read(end)[:, 0].numpy() > WALL_X) == left
    away = np.abs(start[:, 1] - start[:, 2])
    return {"walks through the door": float(beyond[away <= OPEN].mean()),
            "walks through the wall": float(beyond[away >= CLOSED].mean())}


def valued(agent: FrozenAgent) -> dict[str, float]:
    """Rank correlation of the critic with the true path length: all pairs, and pairs across the wall."""
    start, goal = places(TESTED, TEST_BANDS, 5), places(TESTED, TEST_BANDS, 5)
    rng = np.random.default_rng(6)
    for row in goal:
        row[:2] = sample_position(rng, float(row[2]))
    way = DYNAMICS.distance(start.astype(np.float64), goal.astype(np.float64))
    value = agent.value(agent.states(start), agent.states(goal))
    across = DYNAMICS.room(start) * DYNAMICS.room(goal) == -1
    return {"rank correlation": float(spearmanr(value, way)[0]),
            "rank correlation across": float(spearmanr(value[across], way[across])[0])}


def with_true_motion(agent: FrozenAgent, pairs: int = 100) -> float:
    """Share solved across the wall if the critic chooses among the true outcomes of two equal steps."""
    at, goal = (places(10 * pairs, TEST_BANDS, seed) for seed in (7, 8))
    goal[:, 2] = at[:, 2]
    fine = (DYNAMICS.room(at) * DYNAMICS.room(goal) == -1) & ~is_blocked(goal[:, 0], goal[:, 1], goal[:, 2])
    at, goal = at[fine][:pairs], goal[fine][:pairs]
    wanted, solved = agent.states(goal), np.zeros(len(at), bool)
    angle = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    actions = np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
    for _ in range(STEPS):
        after = at[:, None].repeat(DIRECTIONS, 1)
        for _ in range(AHEAD):
            after = DYNAMICS.step(after, actions)
        states = agent.states(after.reshape(-1, 3)).view(len(at), DIRECTIONS, -1)
        best = agent.value(states, wanted[:, None]).argmin(1)
        at = np.where(solved[:, None], at, DYNAMICS.step(at, actions[best]))
        solved |= is_success(at, goal)
    return float(solved.mean())


def critic_map(agent: FrozenAgent, door: float, goal: tuple[float, float], side: int = 48) -> NDArray[np.float32]:
    """The critic's energy from a grid of positions to one goal, (side, side), rows are y; NaN in the wall."""
    line = np.linspace(LOW, HIGH, side, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    grid = np.stack([x.ravel(), y.ravel(), np.full(side * side, door, np.float32)], -1)
    value = agent.value(agent.states(grid), agent.states(np.array([[*goal, door]], np.float32)))
    return np.where(is_blocked(grid[:, 0], grid[:, 1], grid[:, 2]), np.nan, value).reshape(side, side)

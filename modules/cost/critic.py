"""A goal-conditioned critic: the discounted future energy from a state to a goal.

Shapes: N states and N goals of a batch from memory, M successors, G goals per state, S the size of a state, Q of a goal, E
of the embedding.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from ami.blueprint import CriticTerm, RowErrors
from ami.errors import require
from ami.module import Batch
from ami.ports import Dims, shape_of
from modules.nets import follow, mlp, target_of


class Critic(CriticTerm):
    """TC(s, g) = ‖φ(s) - φ(g)‖, the discounted intrinsic energy on the best path from s to g (LeCun 2022, section 3.3).

    Learnt by temporal differences on all pairs of a batch: target(s, g) = IC(s, g) + γ min over successors s′ of
    ‖φ̄(s′) - φ̄(g)‖, φ̄ a slow copy of φ. The minimum is over the perceived successor and imagined ones, and an expectile
    loss favours short paths (Kostrikov and others, *Offline RL with implicit Q-learning*, 2022). A distance between
    embeddings obeys the triangle inequality, as costs to go do (Wang and others, *Quasimetric RL*, ICML 2023).

    Goals of another shape than states have an embedding of their own, TC(s, g) = ‖φ(s) - ψ(g)‖. A state that fulfils its
    goal has no cost to go: with one embedding by construction, with two by a further term of the loss, which pulls ψ of the
    percept after each state, as a goal, towards φ of the state perceived there.

    Args:
        hidden: width of φ, an MLP of three layers, and of ψ.
        embedding: E.
        gamma: γ, the discount.
        expectile: the weight of a target below the prediction; a target above has 1 - expectile.
        hindsight: the share of the loss on each state's own later state; the rest goes to the other pairs.
        polyak: update rate of φ̄ per optimiser step. About 1 / polyak of them extend the learnt paths by one tick, so
            polyak × optimiser steps must exceed the longest path, in ticks.
        num_goals: G, number of the batch's other goals paired with a state if goals are rebased to each state; otherwise
            a state is paired with all goals, at no extra cost.

    Raises:
        SettingError: a setting is out of its range.
    """

    def __init__(self, hidden: int = 128, embedding: int = 32, gamma: float = 0.98, expectile: float = 0.95,
                 hindsight: float = 0.6, polyak: float = 0.05, num_goals: int = 16) -> None:
        super().__init__()
        require(hidden >= 1, f"Critic.hidden is {hidden}: expected 1 or more")
        require(embedding >= 1, f"Critic.embedding is {embedding}: expected 1 or more")
        require(0 <= gamma <= 1, f"Critic.gamma is {gamma}: expected 0 to 1")
        require(0 < expectile < 1, f"Critic.expectile is {expectile}: expected more than 0 and less than 1")
        require(0 <= hindsight <= 1, f"Critic.hindsight is {hindsight}: expected 0 to 1")
        require(0 < polyak <= 1, f"Critic.polyak is {polyak}: expected more than 0, at most 1")
        require(num_goals >= 1, f"Critic.num_goals is {num_goals}: expected 1 or more")
        self.hidden, self.embedding = hidden, embedding
        self.gamma, self.expectile, self.hindsight, self.polyak = gamma, expectile, hindsight, polyak
        self.num_goals = num_goals
        self._state_dims = self._goal_dims = 1
        self.psi: nn.Module | None = None

    def build(self, dims: Dims) -> None:
        shape = shape_of(dims, "S")
        goal = shape_of(dims, "Q") if "Q" in dims else shape
        self._state_dims, self._goal_dims = len(shape), len(goal)
        self.phi = mlp(prod(shape), self.hidden, self.hidden, self.embedding)
        if goal != shape:
            self.psi = mlp(prod(goal), self.hidden, self.hidden, self.embedding)

    def energy(self, states: Tensor, goal: Tensor) -> Tensor:
        psi = self.phi if self.psi is None else self.psi
        apart = self.phi(_flat(states, self._state_dims)) - psi(_flat(goal, self._goal_dims))
        distance: Tensor = torch.linalg.vector_norm(apart, dim=-1)
        return distance

    def begin_learning(self) -> None:
        """Create φ̄ and ψ̄, which only training needs; called before a checkpoint is loaded."""
        self.learning_state = target_of(self._nets)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        state, successors, goals, energy = (batch[name] for name in ("state", "successors", "goals", "pairs"))
        num = len(state)
        require(num >= 2, f"the critic received {num} state to learn from: expected 2 or more, it learns from pairs")
        own = torch.eye(num, device=state.device)
        if len(goals) > 1:
            chosen = self._choose(num, state.device)
            goals, energy, own = (part[torch.arange(num)[:, None], chosen] for part in (goals, energy, own))
        with torch.no_grad():
            ahead, there = self._embedded(self.learning_state, successors, goals)
            target = energy + self.gamma * _apart(ahead, there).amin(1)
            share = self.hindsight * own / num + (1 - self.hindsight) * (1 - own) / (num * (own.shape[1] - 1))
        here, there = self._embedded(self._nets, state[:, None], goals)
        predicted = _apart(here, there)[:, 0]
        error = target - predicted
        lean = torch.where(error < 0, self.expectile, 1 - self.expectile)
        rows = RowErrors(batch)
        loss = rows.sum(share * lean * error.square())
        seen = predicted.detach()
        figures = {"td": loss.detach(), "to_go_mean": seen.mean(), "to_go_max": seen.amax()}
        if self.psi is not None:
            fulfilled = rows.mean(self.energy(successors[:, 0], batch["next"]).square())
            loss, figures = loss + fulfilled, {**figures, "fulfilled": fulfilled.detach()}
        return loss, {**figures, **rows.figures()}

    def after_step(self, step: int, total: int) -> None:
        follow(self.learning_state, self._nets, self.polyak)

    @property
    def _nets(self) -> nn.Module:
        """φ, which embeds states and goals; or φ and ψ."""
        return self.phi if self.psi is None else nn.ModuleList([self.phi, self.psi])

    def _embedded(self, nets: nn.Module, states: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Embed states (…, *S) and goals (…, *Q) by these networks, (…, E) each."""
        phi, psi = nets if isinstance(nets, nn.ModuleList) else (nets, nets)
        return phi(_flat(states, self._state_dims)), psi(_flat(goals, self._goal_dims))

    def _choose(self, num: int, device: torch.device) -> Tensor:
        """Return, for each of `num` states, its own goal and G others of the batch, (num, 1 + G)."""
        others = torch.randint(1, num, (num, min(self.num_goals, num - 1)), device=device)
        own = torch.arange(num, device=device)[:, None]
        return torch.cat([own, (own + others) % num], dim=1)


def _flat(values: Tensor, dims: int) -> Tensor:
    return values if dims == 1 else values.flatten(-dims)


def _apart(ahead: Tensor, goals: Tensor) -> Tensor:
    """Return distances (N, M, G) of embeddings (N, M, E) to goals (1 or N, G, E)."""
    if len(goals) > 1:
        return torch.cdist(ahead, goals)
    apart: Tensor = torch.cdist(ahead.flatten(0, 1), goals[0])  # one matrix product
    return apart.view(*ahead.shape[:2], -1)

"""A goal-independent critic: the optimal discounted future energy of a state.

Shapes: N states of a batch from memory, M successors, S the size of a state.
"""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import CriticTerm, RowErrors
from ami.errors import require
from ami.module import Batch
from ami.ports import Dims
from modules.nets import follow, mlp, target_of


class Value(CriticTerm):
    """TC(s), the discounted intrinsic energy expected from s on (LeCun 2022, section 3.3); the goal is ignored.

    Learnt by value iteration over perceived and imagined successors: TC(s) → min over successors s′ of IC(s′) + γ ·
    cont(s′) · TC̄(s′), where TC̄ is a slow copy and cont the probability that the episode continues (Ernst and others,
    *Tree-based batch mode reinforcement learning*, 2005; Mnih and others, *Human-level control*, 2015). TC is normalised by
    a unit, measured once: the larger of the mean energy of a step divided by 1 - γ, and the largest energy of a step.

    A minimum over imagined states exploits the critic's errors. TC is therefore the most pessimistic of several networks
    (Fujimoto and others, *Addressing function approximation error*, 2018), and is bounded by the return of the best
    perceived step repeated for ever.

    Args:
        hidden: width of the two hidden layers of each network.
        num_networks: number of networks.
        gamma: γ, the discount.
        polyak: update rate of the slow copy per step.
        perceived: whether the perceived successor is one of the candidates of the minimum. If the imagined successors cover
            every choice it is redundant; in a stochastic world the minimum over samples would be biased towards luck.
        mean_backup: weight of the mean over successors in the backup; the minimum has 1 - mean_backup. Without it a state
            next to a precipice has the same value as a safe one, as long as the best action is known.
        expected: whether the value of an imagined successor also learns that of the perceived one nearest to it. In a world
            seen in part an imagined state may be the mean of several, which is never perceived itself.

    Raises:
        SettingError: a setting is out of its range.
    """

    needs = ("energy",)
    unit: Tensor
    best: Tensor

    def __init__(self, hidden: int = 128, num_networks: int = 2, gamma: float = 0.97, polyak: float = 0.1,
                 perceived: bool = True, mean_backup: float = 0.0, expected: bool = False) -> None:
        super().__init__()
        require(hidden >= 1, f"Value.hidden is {hidden}: expected 1 or more")
        require(num_networks >= 1, f"Value.num_networks is {num_networks}: expected 1 or more")
        require(0 <= gamma < 1, f"Value.gamma is {gamma}: expected 0 or more and less than 1")
        require(0 < polyak <= 1, f"Value.polyak is {polyak}: expected more than 0, at most 1")
        require(0 <= mean_backup <= 1, f"Value.mean_backup is {mean_backup}: expected 0 to 1")
        self.hidden, self.num_networks, self.mean_backup = hidden, num_networks, mean_backup
        self.gamma, self.polyak, self.perceived, self.expected = gamma, polyak, perceived, expected
        self.register_buffer("unit", torch.zeros(()))  # 0 until it is measured
        self.register_buffer("best", torch.full((), float("inf")))
        self._state_dims = 1

    def build(self, dims: Dims) -> None:
        size = dims["S"]
        shape = size if isinstance(size, tuple) else (size,)
        self._state_dims = len(shape)
        self.nets = nn.ModuleList(mlp(prod(shape), self.hidden, self.hidden, 1) for _ in range(self.num_networks))

    def energy(self, states: Tensor, goal: Tensor) -> Tensor:
        return self._judged(self.nets, states).amax(0) * self._scale()

    def begin_learning(self) -> None:
        """Create the slow copy, which only training needs; called before a checkpoint is loaded."""
        self.learning_state = target_of(self.nets)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        energy, cont, successors = batch["energy"], batch["cont"], batch["successors"]
        first = 0 if self.perceived or energy.shape[1] == 1 else 1
        with torch.no_grad():
            if not bool(self.unit) and bool(energy.any()):
                self.unit.copy_(torch.maximum(energy.abs().mean() / (1 - self.gamma), energy.abs().amax()))
            self.best.copy_(torch.minimum(self.best, energy[:, 0].amin()))
            ahead = self._judged(self.learning_state, successors).amax(0)
            to_go = energy / self._scale() + self.gamma * cont * ahead
            least = self.best.clamp(max=0.0) / (1 - self.gamma) / self._scale()
            possible = to_go[:, first:].clamp(min=least)
            target = torch.lerp(possible.amin(1), possible.mean(1), self.mean_backup)
        predicted = self._judged(self.nets, batch["state"])
        rows = RowErrors(batch, dim=1)
        loss = rows.of(F.smooth_l1_loss, predicted, target.expand_as(predicted))
        if self.expected:
            apart = (successors[:, 1:] - successors[:, :1]).flatten(2).square().sum(-1)
            nearest = successors[torch.arange(len(successors)), 1 + apart.argmin(1)]
            imagined = self._judged(self.nets, nearest)
            loss = loss + rows.of(F.smooth_l1_loss, imagined, ahead[:, 0].expand_as(imagined))
        seen = predicted.detach() * self._scale()
        return loss, {"td": loss.detach(), "value_mean": seen.mean(), "value_std": seen.std(), **rows.figures()}

    def after_step(self, step: int, total: int) -> None:
        follow(self.learning_state, self.nets, self.polyak)

    def _judged(self, nets: nn.Module, states: Tensor) -> Tensor:
        """Return each network's value, in units: states (…, *S) to (networks, …)."""
        flat = states if self._state_dims == 1 else states.flatten(-self._state_dims)
        return torch.stack([net(flat)[..., 0] for net in cast(nn.ModuleList, nets)])

    def _scale(self) -> Tensor:
        return torch.where(self.unit > 0, self.unit, 1.0)

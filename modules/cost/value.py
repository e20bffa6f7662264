"""A critic that learns how much discomfort lies ahead when one acts as well as one can, whatever the goal.

Shapes: N states of a batch from memory, M successors, S the size of a state.
"""

from __future__ import annotations

import copy
from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import CriticTerm
from ami.errors import require
from ami.module import Batch
from ami.ports import Dims
from modules.nets import mlp


class Value(CriticTerm):
    """TC(s), the discounted intrinsic energy expected from s on (LeCun 2022, section 3.3); the goal is not looked at.

    Learnt by value iteration over what followed and what is imagined: TC(s) → min over successors s′ of IC(s′) + γ ·
    cont(s′) · TC̄(s′), where TC̄ is a slow copy and cont the probability that the episode goes on (Ernst and others,
    *Tree-based batch mode reinforcement learning*, 2005; Mnih and others, *Human-level control*, 2015). Energies may be of
    any size, so TC is learnt in a unit of its own, measured once: the mean energy of a step if it went on for ever, or the
    largest one of a step where that is more.

    A minimum over imagined states finds those that the critic errs about in its own favour. So TC is the most pessimistic of
    several networks (Fujimoto and others, *Addressing function approximation error*, 2018), and never promises more than the
    best step ever met, if it went on for ever.

    Args:
        hidden: width of the two hidden layers of each network.
        num_networks: how many there are.
        gamma: γ, the discount.
        polyak: how far the slow copy moves per step.
        perceived: whether the successor that was really perceived counts among the possible ones. Where the imagined ones
            hold every choice it only repeats one of them; where luck moves the world, the best of many draws would be
            mistaken for what one can bring about.
        slip: the share of steps that are expected to go any way, the mean of the possible ones, and not the best. Without
            it a state is worth as much at the edge of a precipice as far from it, as long as the right action is known.

    Raises:
        SettingError: a setting is out of its range.
    """

    needs = ("energy",)
    unit: Tensor
    best: Tensor

    def __init__(self, hidden: int = 128, num_networks: int = 2, gamma: float = 0.97, polyak: float = 0.1,
                 perceived: bool = True, slip: float = 0.0) -> None:
        super().__init__()
        require(hidden >= 1, f"Value.hidden is {hidden}: expected 1 or more")
        require(num_networks >= 1, f"Value.num_networks is {num_networks}: expected 1 or more")
        require(0 <= gamma < 1, f"Value.gamma is {gamma}: expected 0 or more and less than 1")
        require(0 < polyak <= 1, f"Value.polyak is {polyak}: expected more than 0, at most 1")
        require(0 <= slip <= 1, f"Value.slip is {slip}: expected 0 to 1")
        self.hidden, self.num_networks, self.slip = hidden, num_networks, slip
        self.gamma, self.polyak, self.perceived = gamma, polyak, perceived
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
        """Make the slow copy, which only learning needs: called before a checkpoint is loaded."""
        self.learning_state = copy.deepcopy(self.nets).requires_grad_(False)

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
            target = torch.lerp(possible.amin(1), possible.mean(1), self.slip)
        predicted = self._judged(self.nets, batch["state"])
        loss = F.smooth_l1_loss(predicted, target.expand_as(predicted))
        seen = predicted.detach() * self._scale()
        return loss, {"td": loss.detach(), "value_mean": seen.mean(), "value_std": seen.std()}

    def after_step(self, step: int, total: int) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.learning_state.parameters(), self.nets.parameters(), strict=True):
                slow.lerp_(fast, self.polyak)

    def _judged(self, nets: nn.Module, states: Tensor) -> Tensor:
        """What each network says, in units: states (…, *S) to (networks, …)."""
        flat = states if self._state_dims == 1 else states.flatten(-self._state_dims)
        return torch.stack([net(flat)[..., 0] for net in cast(nn.ModuleList, nets)])

    def _scale(self) -> Tensor:
        return torch.where(self.unit > 0, self.unit, 1.0)

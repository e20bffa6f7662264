"""Meta-controller: a configurator that learns which goal to wish for from the energy that is felt afterwards.

Shapes: B parallel worlds, G goals, W terms of the cost, F felt numbers, N windows of a batch, T steps of a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ami.errors import require
from ami.module import Batch
from ami.ports import Dims, Port, Size
from modules.configurator._wishing import Felt, Wishing
from modules.nets import follow, mlp, target_of

TOURING = 3
"""The entry of `felt` that is 1 while the agent is carried."""
EMPTY = 5e-3
"""The level below which nothing is left."""
CHANGED = 1e-3
"""The difference above which two goals are different ones; below it is rounding."""
BODY = 4
"""The number of entries of `felt` that are no goal's."""
MOST = 8.0
"""The largest time and way in `felt`, in units of `scale`: no way at all is that far."""


class MetaController(Wishing):
    """Wishes for the goal g with the least Q(felt, g): the discounted energy expected if g is wished for T ticks, the length
    of the windows it learns from, and then the best goal.

    It is the meta-controller of *Hierarchical deep reinforcement learning* (h-DQN; Kulkarni and others, 2016), a deep
    Q-network over goals that lower levels pursue. A wish of T ticks is an option; it is interrupted where another goal is
    expected to cost less (Sutton and others, *Between MDPs and semi-MDPs*, 1999, section 4). T should be several times
    `period`: over a few ticks two wishes hardly differ, less than Q errs.

    Nothing but what is felt is learnt from: the energy of the drive at each tick, less `errand` when an errand is done. The
    agent sees that by its goal: it changes. An episode that ends with an empty level is felt for ever, at the energy of its
    last tick; one that ends otherwise has done the last errand.

    `felt` (B, F) is what it decides on: level, energy, ticks that the level lasts, whether it is carried; and per goal the
    way to it and whether it is wished for. Ticks and ways are in units of `scale`.

    It explores, if `explore` is above 0, by temporally extended ε-greedy: a random goal is wished for during 1 to `longest`
    periods (Dabney and others, *Temporally-extended ε-greedy exploration*, 2021).

    Args:
        period: ticks between two decisions.
        errand: what an errand that is done saves, as much as this energy in 1 / (1 - gamma) ticks.
        gamma: discount per tick.
        hidden: width of the MLP's two hidden layers.
        scale: ticks, and units of a way, see above.
        polyak: share of the network that its target takes over per optimiser step.
        explore: probability of a random goal, per decision.
        longest: periods, see above.
        patience, hold, mode: of the mode, see `Wishing`.

    Raises:
        SettingError: a setting is out of its range.
    """

    outputs = {**Wishing.outputs, "felt": Port("felt", ("F",))}

    def __init__(self, period: int = 5, errand: float = 3.0, gamma: float = 0.99, hidden: int = 64, scale: float = 20.0,
                 polyak: float = 0.02, explore: float = 0.0, longest: int = 12, patience: int = 3, hold: int = 5,
                 mode: str | int = "gate") -> None:
        super().__init__(patience, hold, mode)
        require(period >= 1, f"MetaController.period is {period}: expected 1 or more ticks")
        require(errand >= 0, f"MetaController.errand is {errand}: expected 0 or more")
        require(0 <= gamma < 1, f"MetaController.gamma is {gamma}: expected 0 or more, less than 1")
        require(hidden >= 1, f"MetaController.hidden is {hidden}: expected 1 or more")
        require(scale > 0, f"MetaController.scale is {scale}: expected more than 0")
        require(0 < polyak <= 1, f"MetaController.polyak is {polyak}: expected more than 0, at most 1")
        require(0 <= explore <= 1, f"MetaController.explore is {explore}: expected 0 to 1")
        require(longest >= 1, f"MetaController.longest is {longest}: expected 1 or more periods")
        self.period, self.errand, self.gamma, self.hidden, self.scale = period, errand, gamma, hidden, scale
        self.polyak, self.explore, self.longest = polyak, explore, longest

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"F": BODY + 2 * cast(int, known["G"])} if "G" in known else {}

    def build(self, dims: Dims) -> None:
        self.net = mlp(cast(int, dims["F"]), self.hidden, self.hidden, cast(int, dims["G"]))

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {**super().initial(batch), "wait": torch.zeros(batch, dtype=torch.int64)}  # ticks until the next decision

    def choose(self, felt: Felt) -> dict[str, Tensor]:
        last, wait = self.carry["wish"], torch.where(felt.touring, 0, self.carry["wait"])
        seen = self._seen(felt, last)
        due = wait == 0
        wish = torch.where(due, self._expected(seen).argmin(1), last)
        ticks = torch.full_like(wait, self.period)
        if self.explore:
            whether, which, long = self.random.uniform(0.0, 1.0, 3).unbind(1)
            explores = due & (whether < self.explore)
            wish = torch.where(explores, (which * felt.ways.shape[1]).long(), wish)
            ticks = torch.where(explores, self.period * (1 + (long * self.longest).long()), ticks)
        self.carry["wait"] = torch.where(due, ticks, wait) - 1
        return {"wish": wish, "felt": seen}

    def _seen(self, felt: Felt, wish: Tensor) -> Tensor:
        """Return `felt` (B, F)."""
        lasts = torch.where(felt.use > 0, felt.level / felt.use.clamp(min=1e-6), torch.inf)
        body = torch.stack([felt.level, felt.energy, (lasts / self.scale).clamp(max=MOST), felt.touring.to(felt.level)], 1)
        wished = torch.arange(felt.ways.shape[1], device=wish.device) == wish[:, None]
        return torch.cat([body, (felt.ways / self.scale).clamp(max=MOST), wished.to(felt.level)], dim=1)

    @torch.no_grad()
    def _expected(self, seen: Tensor) -> Tensor:
        """Return Q (B, G). A row is summed apart from the others, so that it does not depend on its batch, bit for bit."""
        *before, last = [layer for layer in self.net if isinstance(layer, nn.Linear)]
        for layer in before:
            seen = _apart(layer, seen).relu()
        return _apart(last, seen)

    # Learning --------------------------------------------------------------------------------------------------------

    def begin_learning(self) -> None:
        """Create the target network."""
        self.learning_state = target_of(self.net)

    def after_step(self, step: int, total: int) -> None:
        follow(self.learning_state, self.net, self.polyak)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error of Q, (1 - γ) times the discounted energy, over windows in which one goal was wished
        for; double Q-learning (van Hasselt and others, 2016).

        Args:
            batch: "felt" (N, T + 1, F), "wish" (N, T + 1), "energy" (N, T + 1), of the drive, "goal" (N, T + 1, *Q), of the
                errand, and "cont" (N, T), whether the episode went on after each step; after its end the last messages are
                repeated.
        """
        felt, wish, energy, cont = (batch[name] for name in ("felt", "wish", "energy", "cont"))
        steps = cont.shape[1]
        alive = torch.cat([torch.ones_like(cont[:, :1]), cont.cumprod(1)], dim=1)  # (N, T + 1), before each step
        one = (wish[:, :-1] == wish[:, :1]) | (alive[:, :-1] == 0)
        used = (one.all(1) & (felt[:, 0, TOURING] == 0)).to(felt)
        with torch.no_grad():
            best = self.net(felt[:, -1]).argmin(1, keepdim=True)
            after = self.learning_state(felt[:, -1]).gather(1, best)[:, 0]
            discount = self.gamma ** torch.arange(steps + 1, dtype=felt.dtype, device=felt.device)
            # once the episode is over, an empty battery stays empty and the errand undone; else nothing is left to do
            empty = torch.exp(-energy[:, 1:]) < EMPTY
            each = energy[:, 1:] * ((alive[:, 1:] > 0) | empty)
            done = changes(batch["goal"]) | ((alive[:, :-1] > alive[:, 1:]) & ~empty)
            target = (((1 - self.gamma) * each - self.errand * done) * discount[:-1]).sum(1)
            target += discount[-1] * torch.where(alive[:, -1] > 0, after, each[:, -1])
        expected = self.net(felt[:, 0]).gather(1, wish[:, :1])[:, 0]
        loss = ((target - expected).square() * used).sum() / used.sum().clamp(min=1)
        return loss, {"td": loss.detach(), "expected": (expected.detach() * used).sum() / used.sum().clamp(min=1),
                      "used": used.mean()}


def changes(goal: Tensor) -> Tensor:
    """Return at which steps goals (N, T + 1, *Q) become different ones, (N, T)."""
    apart: Tensor = (goal[:, 1:] - goal[:, :-1]).abs().flatten(2).amax(-1)
    return apart > CHANGED


def _apart(layer: nn.Linear, rows: Tensor) -> Tensor:
    """Return a linear layer's outputs (B, O) of rows (B, I), by one sum per row and output."""
    return (rows[:, None] * layer.weight).sum(-1) + layer.bias

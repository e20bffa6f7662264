"""Action values: Mode-1 learnt by deep Q-learning on the actions that were taken.

Shapes: B parallel worlds, A action width, J the number of actions: every combination of choices; S the size of a state, N
rows of a batch.
"""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ami.blueprint import ACTION_MASK, Actor, RowErrors
from ami.errors import SettingError, require
from ami.module import Batch
from ami.ports import ActionSpace, Dims
from modules.nets import follow, mlp, target_of

MOST_ACTIONS = 256
"""Maximal number of combinations of choices to value."""


class ActionValues(Actor):
    """Takes the action a with the largest Q(s, a), the discounted reward expected from then on; plans are not read.

    Double deep Q-learning (van Hasselt and others, *Deep reinforcement learning with double Q-learning*, 2016) from recorded
    experience: Q(s, a) → reward + γ · cont · Q̄(s′, argmax Q(s′, ·)), s′ the state perceived after a and Q̄ a slow copy. No
    imagined state is valued: where a part of the world is hidden, an imagined state is the mean of several, and its value is
    not the mean of theirs. The value of looking is learnt from the episodes that looked.

    Actions that are rare after a state have no experience that would correct too large a value, and the maximum finds them:
    the loss also lowers all values of a state against that of the action taken (conservative Q-learning; Kumar and others,
    2020, equation 4).

    In units of the largest reward that was seen. Goal and mode change no action. An action that the world's mask forbids is
    never taken.

    Args:
        hidden: width of the two hidden layers.
        gamma: γ, the discount per tick.
        polyak: update rate of the slow copy per optimiser step.
        conservative: α, the weight of log Σ exp Q(s, ·) - Q(s, a) in the loss; 0 leaves it out.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, actions are continuous or too many.
    """

    inputs = {**Actor.inputs, "action_mask": ACTION_MASK}
    ignores = ("goal", "mode", "plan")
    unit: Tensor
    each: Tensor

    def __init__(self, hidden: int = 256, gamma: float = 0.98, polyak: float = 0.01, conservative: float = 1.0) -> None:
        super().__init__()
        require(hidden >= 1, f"ActionValues.hidden is {hidden}: expected 1 or more")
        require(0 <= gamma < 1, f"ActionValues.gamma is {gamma}: expected 0 or more, less than 1")
        require(0 < polyak <= 1, f"ActionValues.polyak is {polyak}: expected more than 0, at most 1")
        require(conservative >= 0, f"ActionValues.conservative is {conservative}: expected 0 or more")
        self.hidden, self.gamma, self.polyak, self.conservative = hidden, gamma, polyak, conservative
        self._state_dims = 1
        self.register_buffer("unit", torch.zeros(()))  # 0 until a reward is seen

    def build(self, dims: Dims) -> None:
        space = self.actions
        if space is None or not space.is_discrete or space.num_joint > MOST_ACTIONS:
            raise SettingError(f"ActionValues values every combination of choices, and here an action is {space}: expected "
                               f"at most {MOST_ACTIONS} combinations. Fix: actor=policy, or a world with discrete actions")
        size = self.inputs["state"].shape(dims)
        self._state_dims = len(size)
        self.register_buffer("each", space.joint(), persistent=False)  # (J, A)
        self.net = mlp(prod(size), self.hidden, self.hidden, len(self.each))

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, plan: Tensor | None = None,
             action_mask: Tensor | None = None) -> dict[str, Tensor]:
        value = self._values(state)
        if action_mask is not None:
            cast(ActionSpace, self.actions).check_mask(action_mask, "ActionValues")
            value = value.masked_fill((~action_mask).to(self.each) @ self.each.T > 0, -torch.inf)
        return {"action": self.each[value.argmax(-1)]}

    def _values(self, state: Tensor) -> Tensor:
        """Return Q (…, J) of states (…, *S), in units."""
        value: Tensor = self.net(state if self._state_dims == 1 else state.flatten(-self._state_dims))
        return value

    # Learning --------------------------------------------------------------------------------------------------------

    def begin_learning(self) -> None:
        """Create the slow copy, which only training needs; called before a checkpoint is loaded."""
        self.learning_state = target_of(self.net)

    def after_step(self, step: int, total: int) -> None:
        follow(self.learning_state, self.net, self.polyak)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of the values of the actions taken, and their excess over others.

        Args:
            batch: "state" (N, *S), "action" (N, A), and of the perceived successor, the first, "successors" (N, 1 + M, *S),
                "reward" and "cont" (N, 1 + M).

        Returns:
            The loss; `td`, the smooth L1 error; `excess`, how much all values exceed those of the actions taken; `value`,
            their mean.
        """
        require("reward" in batch and "cont" in batch, "ActionValues learns from recorded rewards and endings, which the "
                                                       "experience lacks. Fix: a world with rewards")
        reward, cont, after = batch["reward"][:, 0], batch["cont"][:, 0], batch["successors"][:, 0]
        after = after if self._state_dims == 1 else after.flatten(1)
        with torch.no_grad():
            self.unit.copy_(torch.maximum(self.unit, reward.abs().amax()))
            best = self.net(after).argmax(-1, keepdim=True)
            ahead = self.learning_state(after).gather(1, best)[:, 0]
            target = reward / torch.where(self.unit > 0, self.unit, 1.0) + self.gamma * cont * ahead
        taken = (batch["action"] @ self.each.T).argmax(-1, keepdim=True)
        values = self._values(batch["state"])
        value, rows = values.gather(1, taken)[:, 0], RowErrors(batch)
        td = rows.of(F.smooth_l1_loss, value, target)
        excess = rows.mean(values.logsumexp(1) - value)
        figures = {"td": td.detach(), "excess": excess.detach(), "value": value.detach().mean()}
        return td + self.conservative * excess, {**figures, **rows.figures()}

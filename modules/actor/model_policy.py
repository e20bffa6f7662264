"""A policy learnt through the world model.

Shapes: B parallel worlds, H steps, A action width, S the size of a state, N rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.blueprint import Prediction
from ami.errors import require
from ami.module import Batch, Call
from modules.actor.policy import Policy


class ModelPolicy(Policy):
    """π(s, g) → action, trained to lower the energy of the states that the world model imagines under it.

    The gradient goes through cost, model and policy, as in the optimisation of a policy that the paper proposes for Mode-1
    (LeCun 2022, section 3.1.3; *SVG*, Heess and others, 2015, equation 6), without plans of an expert. State and goal are
    centred by the world model.

    Args:
        hidden: width of the MLP's two hidden layers.
        horizon: H, number of imagined steps in the loss.

    Raises:
        SettingError: a setting is out of its range.
    """

    requires: Mapping[str, Call] = {
        "world_model": Call(("centre", "imagine"), {"S": "S", "Q": "Q", "A": "A", "U": "A"}),
        "cost": Call(("energy",), {"S": "S", "Q": "Q", "U": "A"}, learning=True),
    }

    def __init__(self, hidden: int = 128, horizon: int = 4) -> None:
        super().__init__(hidden)
        require(horizon >= 1, f"ModelPolicy.horizon is {horizon}: expected 1 or more steps")
        self.horizon = horizon

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean energy of H imagined steps.

        Args:
            batch: "state" (N, *S) and "goal" (N, *Q).
        """
        state, goal = batch["state"], batch["goal"]
        states, actions = [], []
        for _ in range(self.horizon):
            action = self.propose(state, goal)
            state = self.calls.world_model.imagine(state, action[:, None, None]).states[:, 0, 0]
            states.append(state)
            actions.append(action)
        path = Prediction(torch.stack(states, dim=1)[:, None])
        energy = self.calls.cost.energy(path, torch.stack(actions, dim=1)[:, None], goal).mean()
        return energy, {"energy": energy.detach()}

    def _score(self, state: Tensor, goal: Tensor) -> Tensor:
        return super()._score(*self.calls.world_model.centre(state, goal))

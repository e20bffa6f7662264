"""MemoryJEPA: a JEPA whose state holds the percept and what memory recalls, for worlds that are seen in part.

Shapes: B parallel worlds, K candidates, H horizon, A action width, D the width of a percept, R that of the recalled part,
S = D + R; N windows of T actions and T + 1 percepts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ami.blueprint import Carry, WorldModel, preceding
from ami.errors import require
from ami.module import Batch, Call, callable_method
from ami.ports import Port, Size
from modules.world_model.jepa import JEPA

VALID = "valid"


class MemoryJEPA(JEPA):
    """A state is a percept (D,) and the last R numbers of a recall, which the memory sends before the model observes.

    In an agent the recall comes by a wire, and until then the state keeps the last one. In learning, where memory does not
    fire, it comes by the call `memory.recall_of`, through which a memory with weights learns: it keeps what predicts
    rewards and endings. Percepts must be fixed. The predictor learns from given states, so it does not change the memory.
    Reward and ending are learnt from the imagined next state, as planners read them.

    Args:
        recalled: R.
        hidden: width of a predictor's two hidden layers.
        rewards: see `JEPA`.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, a percept is not a vector.
    """

    inputs = {**WorldModel.inputs, "score": Port("score", optional=True)}
    ignores = ("score",)

    def __init__(self, recalled: int = 32, hidden: int = 256, rewards: bool = False) -> None:
        super().__init__(hidden=hidden, anti_collapse="none", rewards=rewards)
        require(recalled >= 1, f"MemoryJEPA.recalled is {recalled}: expected 1 or more")
        self.recalled = recalled
        self.requires = {**self.requires,
                         "memory": Call(("recall_of",), {"P": "P", "S": "S"}, optional=True, learning=True)}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {name: (size[0] + self.recalled,) for name, size in super().infer_dims(known).items()
                if isinstance(size, tuple)}

    def initial_carry(self, batch: int) -> Carry:
        size = self.outputs["state"].shape(self.dims)
        return {"recall": torch.zeros(batch, *size)}

    @callable_method
    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        before = percepts.new_zeros(len(percepts), percepts.shape[-1] + self.recalled) if carry is None else carry["recall"]
        if "memory" in self.calls:
            recalls: Tensor = self.calls.memory.recall_of(percepts, before)
        else:
            recalls = before[:, None].expand(-1, percepts.shape[1], -1)
        return torch.cat([percepts, recalls[..., -self.recalled:]], dim=-1), {"recall": recalls[:, -1]}

    def correct(self, state: Tensor, carry: Carry, recall: Tensor, score: Tensor) -> tuple[Tensor, Carry]:
        """Replace the recalled part of states by the recall's."""
        return torch.cat([state[:, :-self.recalled], recall[:, -self.recalled:]], dim=-1), {"recall": recall}

    @callable_method
    def goal_of(self, percept: Tensor) -> Tensor:
        """Return the percept with nothing recalled: a goal has no history."""
        return torch.cat([percept, percept.new_zeros(*percept.shape[:-1], self.recalled)], dim=-1)

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance of percepts: (…, S), (…, S) to (…)."""
        norm: Tensor = torch.linalg.vector_norm((states - goal)[..., :-self.recalled], dim=-1)
        return norm

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of one imagined step from each state of a window, summed over its steps.

        Args:
            batch: "observation" (N, T + 1, *O) or "percept" (N, T + 1, D), "action" (N, T, A); from padded windows "valid"
                (N, T), 0 at padded steps; for `rewards` also "reward" and "cont" (N, T).

        Returns:
            The loss; `prediction`, squared error of the percept, `recall`, that of the recall; `reward` and `cont`, smooth
            L1 and cross-entropy; each summed over the steps of a window, `cont` divided by T.
        """
        action = batch["action"]
        valid = batch[VALID] if VALID in batch else torch.ones_like(action[..., 0])
        states, _ = self.observe(self.percepts_in(batch), preceding(action))
        before, after = states[:, :-1], states[:, 1:].detach()
        predicted = self._imagined(before.detach().flatten(0, 1), action.flatten(0, 1)[:, None, None], half=False).states
        ahead = predicted[:, 0, 0].view_as(after)
        error = (ahead - after).square()

        def over(each: Tensor) -> Tensor:
            return (each * valid).sum(1).mean()

        figures = {"prediction": over(error[..., :-self.recalled].mean(-1)),
                   "recall": over(error[..., -self.recalled:].mean(-1))}
        if self.rewards:
            reward, logit = self._outcome(before, action, ahead.detach())
            figures["reward"] = over(F.smooth_l1_loss(reward, batch["reward"] / self.reward_scale, reduction="none"))
            cont = over(F.binary_cross_entropy_with_logits(logit, batch["cont"], reduction="none"))
            figures["cont"] = cont / action.shape[1]  # its sum would outweigh the rare reward in the optimiser's moments
        return torch.stack([*figures.values()]).sum(), {name: value.detach() for name, value in figures.items()}

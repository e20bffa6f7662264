"""Recurrent place: the place is read from a learnt recurrent belief instead of a built-in gate.

Shapes: as in `modules.world_model.place`; F features of the belief, K its projection.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Carry, preceding
from ami.errors import SettingError, require, suggestion
from ami.module import Batch, callable_method, objective
from ami.ports import Dims, shape_of
from modules.nets import mlp, target_of
from modules.world_model._recurrence import CELLS, GRU, RSSM, Belief
from modules.world_model.anti_collapse import EMA, AntiCollapse, anti_collapse_of
from modules.world_model.place import Place, long_inverse_dynamics

FORESEEN = 2
"""Steps of a prediction of the belief."""
READOUTS = ("linear", "sum")


class RecurrentBelief(nn.Module):
    """A recurrent belief, what is read from it, and the networks of its losses.

    Args:
        inputs: I, the width of its inputs.
        percept: D.
        actions: A.
        cell: the recurrence.
        width, latent: W and Z of the recurrence.
        projected: K.
        readout: as in `RecurrentPlace`.
    """

    def __init__(self, inputs: int, percept: int, actions: int, cell: str, width: int, latent: int, projected: int,
                 readout: str) -> None:
        super().__init__()
        self.cell: GRU | RSSM = GRU(inputs, width) if cell == "gru" else RSSM(inputs, width, latent, actions)
        features = self.cell.features
        self.held = nn.Linear(features, 2) if readout == "linear" else mlp(2 * features + inputs, 64, 4)
        self.project = nn.Linear(features, projected)
        self.foresee = mlp(projected + actions, 128, projected)
        self.inverse = mlp(2 * projected, 128, actions)
        if cell == "rssm":
            self.reconstruct = nn.Linear(features, percept)


class RecurrentPlace(Place):
    """A `Place` without the built-in gate: g = off(m) + held, with `held` (2,) read from a recurrent belief.

    The belief is a GRU or an RSSM over the percept and its change since the tick before. It is trained by long inverse
    dynamics and as a JEPA: from its projection and the actions, the projection `FORESEEN` steps later is predicted; an
    anti-collapse method keeps projections apart. The RSSM also has its own loss, reconstruction of the percept and the
    divergence from the prior. The stage `place` trains the belief as the part `jump`. Everything else is `Place`'s; its gate
    only chooses the rollouts of the dynamics' loss.

    Args:
        static, hidden, change, starts, crossings, std, covariance, invariance, pull, trust: as in `Place`.
        cell: "gru" or "rssm".
        readout: "linear": `held` is a linear function of the belief. "sum": it is a running sum of learnt steps, each
            times a learnt gate, as in a memory cell without forgetting (Hochreiter and Schmidhuber, *Long short-term
            memory*, 1997).
        width: W, the width of the recurrence.
        latent: Z, the size of the RSSM's latent.
        projected: K, the size of the projection.
        anti_collapse: "ema", "vicreg", "sigreg", "none", or a method, for the projection.
        foresight: weight of the prediction with its anti-collapse terms; 0 trains without.
        divergence: weight of the RSSM's divergence.
        sees_action: whether the last action is an input of the belief. It then may add up actions instead of looking.

    Raises:
        SettingError: a setting is out of its range, or as in `Place`.
        UnknownName: there is no such cell or read-out.
    """

    def __init__(self, static: int = 24, hidden: int = 256, change: float = 0.13, starts: int = 384, crossings: float = 0.4,
                 std: float = 16.0, covariance: float = 46.0, invariance: float = 12.0, pull: float = 0.5,
                 trust: float = 0.7, cell: str = "gru", readout: str = "sum", width: int = 128, latent: int = 32,
                 projected: int = 32, anti_collapse: str | AntiCollapse = "vicreg", foresight: float = 0.1,
                 divergence: float = 0.02, sees_action: bool = False) -> None:
        super().__init__(static, hidden, change, starts, crossings, std, covariance, invariance, pull, trust)
        for name, value, known in (("cell", cell, tuple(CELLS)), ("readout", readout, READOUTS)):
            if value not in known:
                raise SettingError(f"RecurrentPlace.{name} is '{value}'{suggestion(value, known)}")
        for name, count in (("width", width), ("latent", latent), ("projected", projected)):
            require(count >= 1, f"RecurrentPlace.{name} is {count}: expected 1 or more")
        for name, weight in (("foresight", foresight), ("divergence", divergence)):
            require(weight >= 0, f"RecurrentPlace.{name} is {weight}: expected 0 or more")
        self.cell, self.readout, self.width, self.latent, self.projected = cell, readout, width, latent, projected
        self.method = anti_collapse_of(anti_collapse, "RecurrentPlace")
        self.foresight, self.divergence, self.sees_action = foresight, divergence, sees_action

    def build(self, dims: Dims) -> None:
        super().build(dims)
        (percept,), actions = shape_of(dims, "P"), cast(int, dims["A"])
        inputs = 2 * percept + (actions if self.sees_action else 0)
        self.jump = RecurrentBelief(inputs, percept, actions, self.cell, self.width, self.latent, self.projected,
                                    self.readout)

    @property
    def _net(self) -> RecurrentBelief:
        return cast(RecurrentBelief, self.jump)

    # The belief ------------------------------------------------------------------------------------------------------

    def initial_carry(self, batch: int) -> Carry:
        return {**super().initial_carry(batch), "belief": torch.zeros(batch, self._net.cell.features),
                "held": torch.zeros(batch, 2)}

    @callable_method
    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        carry = self.initial_carry(len(percepts)) if carry is None else carry
        carry = {name: value.to(percepts.device) for name, value in carry.items()}
        belief, held = self._believe(self._net, percepts, actions, carry)
        states = torch.cat([percepts, self.off(percepts[..., self.static:]) + held], dim=-1)
        kept = carry["held"] if self.readout == "linear" else held[:, -1]
        return states, {"believed": states[:, -1], "any": torch.ones_like(carry["any"]), "belief": belief.last, "held": kept}

    def correct(self, state: Tensor, carry: Carry, recall: Tensor, score: Tensor) -> tuple[Tensor, Carry]:
        corrected, carry = super().correct(state, carry, recall, score)
        return corrected, {**carry, "held": carry["held"] + corrected[:, -2:] - state[:, -2:]}

    def _believe(self, net: RecurrentBelief, percepts: Tensor, actions: Tensor, carry: Carry,
                 sampled: bool = False) -> tuple[Belief, Tensor]:
        """Return the belief along percepts (N, T, D), and `held` (N, T, 2)."""
        known = carry["any"][:, None]
        first = torch.where(known, carry["believed"][:, :-2], percepts[:, 0])
        change = percepts - torch.cat([first[:, None], percepts[:, :-1]], dim=1)
        inputs = torch.cat([percepts, change, *([actions] if self.sees_action else [])], dim=-1)
        belief = net.cell(inputs, carry["belief"], sampled)
        if self.readout == "linear":
            return belief, carry["held"][:, None] + net.held(belief.features)
        before = torch.cat([carry["belief"][:, None], belief.features[:, :-1]], dim=1)
        gate, step = net.held(torch.cat([before, belief.features, inputs], dim=-1)).chunk(2, dim=-1)
        steps = gate.sigmoid() * step
        steps = torch.cat([torch.where(known[..., None], steps[:, :1], 0.0), steps[:, 1:]], dim=1)
        return belief, carry["held"][:, None] + steps.cumsum(1)

    # Learning --------------------------------------------------------------------------------------------------------

    def begin_learning(self) -> None:
        """Create the slow copy of the belief that `ema` needs."""
        if isinstance(self.method, EMA) and self.foresight:
            self.learning_state = nn.ModuleDict({"jump": target_of(self.jump)})

    def after_step(self, step: int, total: int) -> None:
        """Update the slow copy after optimiser step `step`, counted from 0, of `total`."""
        if isinstance(self.method, EMA) and hasattr(self, "learning_state"):
            self.method.follow(self.learning_state["jump"], self.jump, step / total)

    @objective
    def place(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of long inverse dynamics, plus those of the belief.

        Args:
            batch: "percept" (N, T + 1, D) of a frozen perception; "action" (N, T, A).

        Returns:
            The loss; `drift` as in `Place.place`; unweighted `prediction`, each anti-collapse term, `idm`, and, for an RSSM,
            `reconstruction` and `divergence`.
        """
        percepts, action = self.percepts_in(batch), batch["action"]
        before, carry = preceding(action), self.initial_carry(len(percepts))
        belief, held = self._believe(self._net, percepts, before, carry, sampled=True)
        loss, figures = long_inverse_dynamics(self.off(percepts[..., self.static:]) + held, action)
        terms = self._foresight(belief, percepts, before, carry) if self.foresight else {}
        if isinstance(self._net.cell, RSSM):
            terms["reconstruction"] = 1.0, F.mse_loss(self._net.reconstruct(belief.features), percepts)
            terms["divergence"] = self.divergence, self._net.cell.divergence(belief, action)
        for name, (weight, value) in terms.items():
            loss = loss + weight * value
            figures[name] = value.detach()
        return loss, figures

    def _foresight(self, belief: Belief, percepts: Tensor, before: Tensor, carry: Carry) -> dict[str, tuple[float, Tensor]]:
        """Return the terms of the belief as a JEPA, by name: weight and value."""
        projected, action = self._scaled(self._net.project(belief.features)), before[:, 1:]
        targets = projected
        if isinstance(self.method, EMA):
            with torch.no_grad():
                slow = cast(RecurrentBelief, self.learning_state["jump"])
                targets = self._scaled(slow.project(self._believe(slow, percepts, before, carry)[0].features))
        count, at = projected.shape[1] - FORESEEN, projected[:, :projected.shape[1] - FORESEEN]
        errors = []
        for ahead in range(FORESEEN):
            at = self._scaled(at + self._net.foresee(torch.cat([at, action[:, ahead:ahead + count]], dim=-1)))
            errors.append(F.mse_loss(at, targets[:, ahead + 1:ahead + 1 + count]))
        terms = {"prediction": (1.0, torch.stack(errors).mean()), **self.method.penalties(projected)}
        if self.method.idm:
            read = self._net.inverse(torch.cat([projected[:, :-1], projected[:, 1:]], dim=-1))
            terms["idm"] = self.method.idm, F.mse_loss(read, action)
        return {name: (self.foresight * weight, value) for name, (weight, value) in terms.items()}

    def _scaled(self, projected: Tensor) -> Tensor:
        return F.layer_norm(projected, projected.shape[-1:]) if self.method.normalises else projected

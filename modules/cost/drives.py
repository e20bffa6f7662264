"""Drives: intrinsic energies of what an agent feels of its body."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction
from ami.errors import SettingError, require

EMPTY = 1e-3
"""The lowest level of a battery: keeps its energy finite."""


class _Felt(IntrinsicTerm):
    """A term of one entry of `body`. Imagined states have none: 0.

    Args:
        index: the entry, from 0.

    Raises:
        SettingError: the index is negative; or, in a step, `body` has no such entry.
    """

    needs = ("body",)

    def __init__(self, index: int) -> None:
        super().__init__()
        require(index >= 0, f"{type(self).__name__}.index is {index}: expected 0 or more")
        self.index = index

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        if prediction.body is None:
            return prediction.states.new_zeros(prediction.states.shape[:1] if actions is None else actions.shape[:-1])
        if self.index >= prediction.body.shape[-1]:
            raise SettingError(f"{type(self).__name__}.index is {self.index}, but body has {prediction.body.shape[-1]} "
                               "numbers. Fix: a smaller index, or wire another port to graph.cost.body")
        return self.of(prediction.body[..., self.index])

    def of(self, felt: Tensor) -> Tensor:
        """Return the energy (…) of felt values (…)."""
        raise NotImplementedError


class Battery(_Felt):
    """A barrier, IC = -log(level): nothing at a full battery, without bound towards an empty one.

    The level is recovered as exp(-IC). Barriers keep a constraint by their growth (LeCun 2022, section 3.2: intrinsic
    costs; Boyd and Vandenberghe, *Convex Optimization*, 2004, section 11.2).
    """

    is_drive = True

    def __init__(self, index: int = 0) -> None:
        super().__init__(index)

    def of(self, felt: Tensor) -> Tensor:
        return -felt.clamp(EMPTY, 1.0).log()


class Bump(_Felt):
    """IC = the felt bump: 1 in a tick in which a wall stopped the agent."""

    def __init__(self, index: int = 2) -> None:
        super().__init__(index)

    def of(self, felt: Tensor) -> Tensor:
        return felt

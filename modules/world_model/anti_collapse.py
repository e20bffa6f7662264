"""Anti-collapse methods: they keep a JEPA's states from becoming equal, which would make prediction trivial.

The paper, section 4.5, lists them. Shapes: N windows of T + 1 states of width D.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.errors import SettingError, require, suggestion
from modules.nets import follow

Penalties = dict[str, tuple[float, Tensor]]
"""Terms of a loss by name: weight and value."""


class AntiCollapse:
    """The base class of methods. This one does nothing, so states collapse: the negative control.

    Attributes:
        idm: weight of inverse dynamics: the action is predicted from two successive states.
        normalises: whether states are layer-normed percepts.
    """

    idm: float = 0.0
    normalises: ClassVar[bool] = False

    def penalties(self, states: Tensor) -> Penalties:
        """Return the additional terms of the loss, by name, for perceived states (N, T + 1, D)."""
        return {}


@dataclass
class VICReg(AntiCollapse):
    """Variance, invariance, covariance (Bardes, Ponce, LeCun, ICLR 2022, equations 1 to 4), with slow features.

    Statistics are over windows and time. `smoothness` is the squared difference of successive states: with a weak
    covariance term it makes the Euclidean distance grow along the paths that the world allows.

    Args:
        std: weight of the hinge that keeps each dimension's standard deviation at 1 or more.
        covariance: weight of the mean squared covariance of two different dimensions.
        smoothness: weight of the mean squared step.
        idm: weight of inverse dynamics.
    """

    std: float = 16.0
    covariance: float = 1.0
    smoothness: float = 12.0
    idm: float = 2.0

    def __post_init__(self) -> None:
        _require_weights(self, "std", "covariance", "smoothness", "idm")

    def penalties(self, states: Tensor) -> Penalties:
        rows = states.flatten(0, 1)
        centred = rows - rows.mean(0)
        return {"variance": (self.std, variance_hinge(centred)), "covariance": (self.covariance, covariance(centred)),
                "smoothness": (self.smoothness, smoothness(states))}


@dataclass
class SIGReg(AntiCollapse):
    """Regularises states towards a standard normal in every direction (Balestriero, LeCun, *LeJEPA*, 2025, section 4).

    The Epps-Pulley statistic of random projections: the squared distance between their empirical characteristic
    function and that of a standard normal, weighted by a Gaussian. New directions are drawn at each step from torch's
    global generator, which the trainer seeds and saves.

    Args:
        weight: weight of the statistic, which is multiplied by the number of states as in the paper.
        num_projections: number of directions per step.
        num_knots: number of points of the trapezoidal rule on [0, 3].
        smoothness: weight of the mean squared step from state to state.
        idm: weight of inverse dynamics.
    """

    weight: float = 0.02
    num_projections: int = 256
    num_knots: int = 17
    smoothness: float = 12.0
    idm: float = 2.0

    def __post_init__(self) -> None:
        _require_weights(self, "weight", "smoothness", "idm")
        for name, least in (("num_projections", 1), ("num_knots", 2)):
            value = getattr(self, name)
            require(value >= least, f"SIGReg.{name} is {value}: expected {least} or more")

    def penalties(self, states: Tensor) -> Penalties:
        rows = states.flatten(0, 1)
        directions = torch.randn(rows.shape[1], self.num_projections, device=rows.device)
        directions = directions / directions.norm(dim=0)
        spacing = 3 / (self.num_knots - 1)
        angle = spacing * (rows @ directions)
        cos, sin = one_cos, one_sin = angle.cos(), angle.sin()
        statistic = rows.new_zeros(())
        for knot in range(1, self.num_knots):  # at 0 the functions agree
            if knot > 1:  # angle addition: half the time of computing cos and sin per knot
                cos, sin = cos * one_cos - sin * one_sin, sin * one_cos + cos * one_sin
            normal = math.exp(-((knot * spacing) ** 2) / 2)
            gap = (cos.mean(0) - normal).square() + sin.mean(0).square()
            # the functions are symmetric: twice the positive half; the last knot has half the weight
            share = spacing if knot == self.num_knots - 1 else 2 * spacing
            statistic = statistic + share * normal * gap.mean()
        return {"sigreg": (self.weight, statistic * len(rows)), "smoothness": (self.smoothness, smoothness(states))}


@dataclass
class EMA(AntiCollapse):
    """Targets come from an EMA copy of the perception, without gradient (BYOL: Grill and others, 2020, section 3).

    States are layer-normed, so that perceived, imagined and target states have one scale. Without inverse dynamics this
    only delays collapse.

    Args:
        momentum: initial momentum of the copy per step; it rises to `final_momentum` along a cosine.
        final_momentum: momentum at the end of training.
        idm: weight of inverse dynamics.
    """

    momentum: float = 0.9
    final_momentum: float = 0.99
    idm: float = 2.0
    normalises: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _require_weights(self, "idm")
        require(0 <= self.momentum <= self.final_momentum <= 1,
                f"EMA.momentum is {self.momentum} and EMA.final_momentum {self.final_momentum}: expected "
                "0 <= momentum <= final_momentum <= 1")

    def follow(self, copy: nn.Module, module: nn.Module, progress: float) -> None:
        """Move the copy towards the module, with rising momentum as progress goes from 0 to 1."""
        reach = self.final_momentum - self.momentum
        momentum = self.final_momentum - reach * (1 + math.cos(math.pi * progress)) / 2
        follow(copy, module, 1 - momentum)


METHODS: Mapping[str, type[AntiCollapse]] = {"ema": EMA, "none": AntiCollapse, "sigreg": SIGReg, "vicreg": VICReg}


def anti_collapse_of(setting: str | AntiCollapse, owner: str = "JEPA") -> AntiCollapse:
    """Return the method that a setting names, with its defaults; an instance is returned unchanged.

    Args:
        setting: the name or the method.
        owner: the class that an error names.

    Raises:
        SettingError: there is no method of that name.
    """
    if isinstance(setting, AntiCollapse):
        return setting
    if setting not in METHODS:
        raise SettingError(f"{owner}.anti_collapse is '{setting}'{suggestion(str(setting), METHODS)}")
    return METHODS[setting]()


def variance_hinge(centred: Tensor) -> Tensor:
    """Return the mean shortfall of the dimensions' standard deviations below 1: (rows, D) to a scalar."""
    return F.relu(1 - (centred.var(0) + 1e-4).sqrt()).mean()


def covariance(centred: Tensor) -> Tensor:
    """Return the mean squared covariance of two different dimensions: (rows, D) to a scalar."""
    count, width = centred.shape
    matrix = centred.T @ centred / (count - 1)
    off_diagonal = matrix.square().sum() - matrix.diagonal().square().sum()
    return off_diagonal / max(width * (width - 1), 1)


def smoothness(states: Tensor) -> Tensor:
    """Return the mean squared difference of successive states: (N, T + 1, D) to a scalar."""
    return (states[:, 1:] - states[:, :-1]).square().mean()


def _require_weights(method: AntiCollapse, *names: str) -> None:
    for name in names:
        value = getattr(method, name)
        require(value >= 0, f"{type(method).__name__}.{name} is {value}: expected 0 or more")

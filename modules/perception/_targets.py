"""Targets of masked prediction: the tokens of an EMA copy of the encoder, those of the encoder itself, or pixels.

Shapes: N images or clips of T patches with F numbers each; X numbers per target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.errors import SettingError, require, suggestion
from modules.nets import follow, target_of

NORMALISATIONS = ("token", "deviation")
SMALLEST_STD = 1e-4


class Target:
    """The tokens of the encoder itself, with a gradient through both sides. They collapse: the negative control."""

    def outputs(self, features: int, embedding: int) -> int:
        """Return X, for patches of F = `features` numbers and tokens of width `embedding`."""
        return embedding

    def learning_state(self, encoder: nn.Module) -> nn.ModuleDict | None:
        """Return the state that only training needs; None without any."""
        return None

    def after_step(self, state: nn.ModuleDict, encoder: nn.Module, step: int, total: int) -> None:
        """Update that state after optimiser step `step`, counted from 0, of `total`."""

    def of(self, patches: Tensor, encoder: nn.Module, state: nn.ModuleDict | None) -> Tensor:
        """Return the targets (N, T, X) of patches (N, T, F)."""
        return _normed(encoder(patches))

    def scaled(self, targets: Tensor) -> Tensor:
        """Return the targets (N, T, X) as the loss compares them; by default unchanged."""
        return targets

    def std(self, targets: Tensor) -> Tensor | None:
        """Return the mean standard deviation over the batch of each number at each place, before `scaled`, which is near 0
        after a collapse; None for targets that cannot collapse."""
        return targets.detach().std(0).mean()


@dataclass
class SlowTokens(Target):
    """The layer-normed tokens that an EMA copy of the encoder gives the whole image or clip, without gradient.

    When a stage ends, the encoder takes the copy's weights: the papers evaluate the copy (I-JEPA, appendix A.2).

    Args:
        momentum: the copy's initial momentum per step; it rises linearly.
        final_momentum: its momentum at the end of the stage.
        normalise: `token`, as published; or `deviation`: what a token has beyond the mean of its clip and the mean of its
            place over the batch, each number with variance 1, so that what does not move has no share in the loss (after
            the instance-normalised targets of Baevski and others, *data2vec*, ICML 2022, section 3.3).

    Raises:
        SettingError: a momentum is out of its range, `normalise` is unknown, or a batch for `deviation` has a single row.
    """

    momentum: float = 0.996
    final_momentum: float = 1.0
    normalise: str = "token"

    def __post_init__(self) -> None:
        require(0 <= self.momentum <= self.final_momentum <= 1,
                f"SlowTokens.momentum is {self.momentum} and SlowTokens.final_momentum {self.final_momentum}: expected "
                "0 <= momentum <= final_momentum <= 1")
        if self.normalise not in NORMALISATIONS:
            raise SettingError(f"SlowTokens.normalise is '{self.normalise}'"
                               f"{suggestion(str(self.normalise), NORMALISATIONS)}")

    def learning_state(self, encoder: nn.Module) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": target_of(encoder)})

    def after_step(self, state: nn.ModuleDict, encoder: nn.Module, step: int, total: int) -> None:
        momentum = self.momentum + (self.final_momentum - self.momentum) * step / total
        follow(state["encoder"], encoder, 1 - momentum)
        if step + 1 == total:
            follow(encoder, state["encoder"], 1.0)

    @torch.no_grad()
    def of(self, patches: Tensor, encoder: nn.Module, state: nn.ModuleDict | None) -> Tensor:
        require(state is not None, "a loss with SlowTokens as target needs their EMA copy. Fix: call begin_learning() first")
        return _normed(state["encoder"](patches)) if state is not None else patches

    def scaled(self, targets: Tensor) -> Tensor:
        if self.normalise == "token":
            return targets
        require(len(targets) > 1, "SlowTokens.normalise is 'deviation', and a batch has 1 row: expected 2 or more. Fix: a "
                                  "larger batch of the stage")
        moving = targets - targets.mean(1, keepdim=True)
        moving = moving - moving.mean(0)
        return moving / (moving.std((0, 1)) + SMALLEST_STD)


class PatchPixels(Target):
    """The pixels of each patch, with mean 0 and variance 1 in the patch (MAE, section 4.1)."""

    def outputs(self, features: int, embedding: int) -> int:
        return features

    def of(self, patches: Tensor, encoder: nn.Module, state: nn.ModuleDict | None) -> Tensor:
        return F.layer_norm(patches, patches.shape[-1:], eps=1e-6)

    def std(self, targets: Tensor) -> Tensor | None:
        return None


def _normed(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:])

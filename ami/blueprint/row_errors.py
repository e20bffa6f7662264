"""RowErrors: means over the rows of a batch that obey its importance weights, and the error of each row."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ami.module import Batch

WEIGHT, ERRORS = "weight", "errors"
"""The names, in a batch and in the figures of a loss, of its rows' importance weights (N,) and of their errors (N,)."""


class RowErrors:
    """Reduces the errors of a loss to scalars and keeps their mean per row, summed over all of them.

    A prioritised source draws rows in proportion to their last error. Its batch holds importance weights, "weight" (N,), and
    the loss reports "errors" (N,) among its figures. Without weights every reduction is torch's own, bit for bit, and no
    errors are reported.

    Args:
        batch: the batch of the loss.
        dim: the dimension of the rows in what is reduced.
    """

    def __init__(self, batch: Batch, dim: int = 0) -> None:
        self._weight, self._dim = batch.get(WEIGHT), dim
        self._errors: Tensor | None = None

    def of(self, loss: Callable[..., Tensor], predicted: Tensor, target: Tensor) -> Tensor:
        """Return the mean of a loss of `torch.nn.functional`, such as `F.mse_loss`, a scalar.

        Args:
            loss: takes both tensors and `reduction`.
            predicted, target: (N, …) and of equal shape.
        """
        if self._weight is None:
            return loss(predicted, target)
        return self.mean(loss(predicted, target, reduction="none"))

    def mean(self, values: Tensor, divisor: float = 1) -> Tensor:
        """Return the mean of errors (N, …), a scalar, divided by `divisor`."""
        if self._weight is None:
            return values.mean() if divisor == 1 else values.mean() / divisor
        rows = values.movedim(self._dim, 0).reshape(len(self._weight), -1)
        return self._weighted(rows.mean(1) / divisor, self._weight)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of errors (N, …), each already divided by N, a scalar."""
        if self._weight is None:
            return values.sum()
        rows = values.movedim(self._dim, 0).reshape(len(self._weight), -1)
        return self._weighted(rows.sum(1) * len(self._weight), self._weight)

    def figures(self) -> dict[str, Tensor]:
        """Return "errors" (N,) if the batch has weights; else nothing."""
        return {} if self._errors is None else {ERRORS: self._errors}

    def _weighted(self, each: Tensor, weight: Tensor) -> Tensor:
        self._errors = each.detach() if self._errors is None else self._errors + each.detach()
        return (weight * each).mean()

"""Random streams: one per node, world row and episode.

An episode's random numbers are derived from (seed, node, episode) alone. So its outcome depends neither on its batch, nor
on the runtime, nor on the placement of modules in processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed, the hash of any printable parts."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class RowRNG:
    """The random streams of one node, one per parallel world (row).

    A row's generator is made at its first draw, so it costs nothing in a module that never draws.

    Args:
        seed: the run's seed.
        node: the node's name in the graph.

    Attributes:
        device: the device of the draws. They are made on the CPU, so that a node draws the same numbers on every device.
    """

    def __init__(self, seed: int, node: str) -> None:
        self.seed, self.node = seed, node
        self.device = torch.device("cpu")
        self._episodes: list[int] = []
        self._rows: list[torch.Generator | None] = []
        self._drawing: Sequence[int] | None = None

    def begin(self, mask: Tensor, episodes: Sequence[int]) -> None:
        """Start the streams of new episodes in the masked rows (B,)."""
        if len(self._rows) != len(mask):
            self._rows = [None] * len(mask)
            self._episodes = [0] * len(mask)
        for row in mask.nonzero()[:, 0].tolist():
            self._rows[row] = None
            self._episodes[row] = episodes[row]

    @contextmanager
    def only(self, rows: Sequence[int]) -> Iterator[None]:
        """Restrict draws in the block to these R of the drawing rows, (R, *shape): other rows' streams do not advance."""
        before, drawing = self._drawing, self._drawn()
        self._drawing = [drawing[row] for row in rows]
        try:
            yield
        finally:
            self._drawing = before

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal draws, (B, *shape)."""
        rows = self._drawn()
        out = torch.empty(len(rows), *shape)
        if len(rows) == 1:  # the view of a row takes as long as a small draw
            return out.normal_(generator=self._generator(rows[0])).to(self.device)
        for row, own in zip(rows, out.unbind(0), strict=True):
            own.normal_(generator=self._generator(row))
        return out.to(self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return uniform draws in [low, high), (B, *shape)."""
        rows = self._drawn()
        out = torch.empty(len(rows), *shape)
        for row, own in zip(rows, out.unbind(0), strict=True):
            own.uniform_(low, high, generator=self._generator(row))
        return out.to(self.device)

    def snapshot(self) -> dict[str, Tensor]:
        """Return the state of each stream, as tensors."""
        out = {"episodes": torch.tensor(self._episodes, dtype=torch.int64)}
        for row, generator in enumerate(self._rows):
            if generator is not None:
                out[f"row.{row}"] = generator.get_state()
        return out

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Restore the stream states that `snapshot()` returned."""
        self._episodes = snapshot["episodes"].tolist()
        self._rows = [None] * len(self._episodes)
        for row in range(len(self._rows)):
            if f"row.{row}" in snapshot:
                self._generator(row).set_state(snapshot[f"row.{row}"])

    def _drawn(self) -> Sequence[int]:
        return range(len(self._rows)) if self._drawing is None else self._drawing

    def _generator(self, row: int) -> torch.Generator:
        generator = self._rows[row]
        if generator is None:
            generator = torch.Generator()
            generator.manual_seed(derive_seed(self.seed, self.node, self._episodes[row]))
            self._rows[row] = generator
        return generator

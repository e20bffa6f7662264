"""MaskPredictor: predicts the targets of masked tokens from the encoded context and their positions.

Shapes: N rows; M kept tokens of width E; G groups of L wanted tokens with X numbers each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.perception._positions import Grid, Rotary, sincos
from modules.perception._transformer import Block


class MaskPredictor(nn.Module):
    """A narrow transformer over the context and one mask token per wanted position (I-JEPA, section 3; MAE's decoder).

    The groups of a row are predicted independently of each other.

    Args:
        outputs: X, the numbers predicted for a token.
        grid: the tokens.
        embedding: E, the width of the context.
        width, depth, heads: of the transformer.
        rotates: whether positions are rotations; otherwise they are sinusoids that are added.
    """

    pos_embed: Tensor

    def __init__(self, outputs: int, grid: Grid, embedding: int, width: int, depth: int, heads: int,
                 rotates: bool) -> None:
        super().__init__()
        self.narrow = nn.Linear(embedding, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.register_buffer("pos_embed", torch.zeros(grid.size, width) if rotates else sincos(grid, width),
                             persistent=False)
        self.rotary = Rotary(grid, width // heads) if rotates else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, context: Tensor, keep: Tensor, want: Tensor) -> Tensor:
        """Predict (N, G, L, X) at the token numbers `want` (N, G, L), from the context (N, M, E) at `keep` (N, M)."""
        groups, length = want.shape[1:]
        seen = (self.narrow(context) + F.embedding(keep, self.pos_embed)).repeat_interleave(groups, 0)
        asked = self.mask_token + F.embedding(want.flatten(0, 1), self.pos_embed)
        tokens = torch.cat([seen, asked], dim=1)
        turn = None
        if self.rotary is not None:
            turn = self.rotary.of(torch.cat([keep.repeat_interleave(groups, 0), want.flatten(0, 1)], dim=1))
        for block in self.blocks:
            tokens = block(tokens, turn)
        predicted: Tensor = self.head(self.last_norm(tokens[:, -length:]))
        return predicted.view(len(keep), groups, length, -1)

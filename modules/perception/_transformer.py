"""A pre-norm transformer over some of the tokens of an image or a clip.

Shapes: N rows of T tokens with F features each, M of them kept, of width E inside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.nets import mlp
from modules.perception._positions import Grid, Rotary, rotated, sincos


class Block(nn.Module):
    """A pre-norm transformer layer: self-attention, then an MLP of each token; (N, T, E) to (N, T, E).

    Args:
        width: E.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = mlp(width, 4 * width, width)

    def forward(self, tokens: Tensor, turn: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Transform tokens; `turn` rotates queries and keys, see `Rotary.of`."""
        # (N, T, 3 E) to three of (N, T, heads, E / heads)
        query, key, value = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        if turn is not None:
            query, key = rotated(query, turn), rotated(key, turn)
        attended = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (query, key, value)))
        tokens = tokens + self.proj(attended.transpose(1, 2).flatten(2))
        moved: Tensor = tokens + self.mlp(self.norm2(tokens))
        return moved


class Encoder(nn.Module):
    """Encodes patches (N, T, F) as tokens (N, T, E); given `keep`, only those tokens enter it.

    Args:
        features: F, the numbers of a patch.
        grid: the tokens of the longest clip; a shorter clip has the first of them.
        width: E.
        depth, heads: number of layers, and of heads per layer.
        positions: `learnt` or `sincos` embeddings, or `rope`.
        has_cls: whether a class token comes before the others.
    """

    def __init__(self, features: int, grid: Grid, width: int, depth: int, heads: int, positions: str, has_cls: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.pos_embed: Tensor | None = None
        self.rotary: Rotary | None = None
        if positions == "learnt":
            self.pos_embed = nn.Parameter(0.02 * torch.randn(grid.size, width))
        elif positions == "sincos":
            del self.pos_embed
            self.register_buffer("pos_embed", sincos(grid, width), persistent=False)
        else:
            self.rotary = Rotary(grid, width // heads)
        self.cls = nn.Parameter(0.02 * torch.randn(1, width)) if has_cls else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width)

    def forward(self, patches: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode patches (N, T, F) as (N, T, E), or those of the token numbers `keep` (N, M) as (N, M, E).

        With a class token there is one token more, the first.
        """
        index = keep if keep is not None else torch.arange(patches.shape[1], device=patches.device)
        tokens = self.embed(patches if keep is None else take(patches, keep))
        if self.pos_embed is not None:
            tokens = tokens + (self.pos_embed[:len(index)] if keep is None else F.embedding(keep, self.pos_embed))
        turn = self.rotary.of(index) if self.rotary is not None else None
        if self.cls is not None:
            tokens = torch.cat([self.cls.expand(len(tokens), 1, -1), tokens], dim=1)
            if turn is not None:  # the class token has no position: it is not rotated
                turn = F.pad(turn[0], (0, 0, 0, 0, 1, 0), value=1.0), F.pad(turn[1], (0, 0, 0, 0, 1, 0))
        for block in self.blocks:
            tokens = block(tokens, turn)
        encoded: Tensor = self.last_norm(tokens)
        return encoded


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the tokens (N, M, F) with the numbers (N, M), of tokens (N, T, F)."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))

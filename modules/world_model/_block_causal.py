"""A transformer over the steps of a sequence whose attention is block-causal with a limited reach, and its K/V cache.

Shapes: B sequences, R = B · K continuations, K of each; T steps of M tokens of width E; C earlier steps that a step attends
to; h heads of width E / h; L layers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modules.nets import mlp


class Past(NamedTuple):
    """The keys and values of C earlier steps in one layer, (B, C, h, M, E / h), the earliest first."""

    keys: Tensor
    values: Tensor


class Cache(NamedTuple):
    """What a further step needs of the C steps before it.

    Attributes:
        layers: the keys and values of every layer.
        valid: (B, C), whether there was such a step.
    """

    layers: list[Past]
    valid: Tensor


class Layer(nn.Module):
    """A pre-norm layer: a token attends to all tokens of its own step and of the C steps before, then an MLP of each token.

    A key of an earlier step is shifted by a learnt vector of its age. Only ages enter, no times: the keys and values of a
    step remain valid as later steps follow.

    Args:
        width: E.
        heads: h.
        reach: C.
    """

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.age = nn.Parameter(0.02 * torch.randn(reach, heads, 1, width // heads))
        self.mlp = mlp(width, 4 * width, width)

    def forward(self, tokens: Tensor, valid: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Map the tokens (R, T, M, E) of T steps, given the C steps before them; rows of `past` may serve R / B rows each.

        Args:
            tokens: (R, T, M, E).
            valid: (R, C + T), which steps exist, those of `past` first.
            past: of the C steps before.

        Returns:
            The tokens (R, T, M, E), and the keys and values of the last C steps, (R, C, …).
        """
        parts = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, key, value = parts.unbind()  # (R, T, h, M, E / h)
        steps, share = tokens.shape[1], len(tokens) // len(past.keys)
        keys, values = (torch.cat([before.repeat_interleave(share, 0) if share > 1 else before, own], dim=1)
                        for before, own in zip(past, (key, value), strict=True))
        # of every step its own keys, then those of each age 1 … C
        ages = [slice(self.reach - age, self.reach - age + steps) for age in range(self.reach + 1)]
        seen = torch.cat([keys[:, at] + self.age[age - 1] if age else keys[:, at] for age, at in enumerate(ages)], dim=3)
        mask = torch.stack([valid[:, at] for at in ages], dim=-1).index_fill(-1, valid.new_zeros(1, dtype=torch.int64), True)
        found = F.scaled_dot_product_attention(
            query.flatten(0, 1), seen.flatten(0, 1), torch.cat([values[:, at] for at in ages], dim=3).flatten(0, 1),
            mask.repeat_interleave(query.shape[3], -1).flatten(0, 1)[:, None, None])
        tokens = tokens + self.proj(found.transpose(1, 2).flatten(2).view_as(tokens))
        moved: Tensor = tokens + self.mlp(self.norm2(tokens))
        return moved, Past(keys[:, steps:], values[:, steps:])


class BlockCausal(nn.Module):
    """L layers of block-causal attention over steps, after the predictor of V-JEPA 2-AC, with a limited reach.

    There a step attends to all earlier ones. Here it attends to C of them, and through L layers depends on L · C: the
    tokens of so many steps before and its own are all that a prediction needs, and a further step costs the same at any
    length.

    Args:
        width: E.
        depth: L.
        heads: h.
        reach: C.
    """

    def __init__(self, width: int, depth: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.layers = nn.ModuleList(Layer(width, heads, reach) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, valid: Tensor | None = None, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Map the tokens (R, T, M, E) of T steps; return them, and the cache of the last C steps.

        Args:
            tokens: (R, T, M, E).
            valid: (R, T), whether there is such a step; None if there are all.
            cache: of the C steps before, (B, C, …); row b serves the rows b · K to b · K + K - 1. None if there are none.
        """
        rows, steps, count, width = tokens.shape
        valid = torch.ones(rows, steps, dtype=torch.bool, device=tokens.device) if valid is None else valid
        if cache is None:
            nothing = tokens.new_zeros(rows, self.reach, self.heads, count, width // self.heads)
            cache = Cache([Past(nothing, nothing)] * len(self.layers), valid.new_zeros(rows, self.reach))
        before = cache.valid.repeat_interleave(rows // len(cache.valid), 0)
        known, pasts = torch.cat([before, valid], dim=1), []
        for layer, past in zip(self.layers, cache.layers, strict=True):
            tokens, past = layer(tokens, known, past)
            pasts.append(past)
        return self.last_norm(tokens), Cache(pasts, known[:, steps:])

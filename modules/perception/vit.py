"""ViT: a small vision transformer (Dosovitskiy and others, *An image is worth 16x16 words*, ICLR 2021, section 3.1).

Shapes: … any leading dimensions, H and W the image's sides, C its channels, D the percept's width; N images in all, of T
tokens of width E each.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Perception
from ami.errors import SettingError, require, suggestion
from ami.module import Batch, callable_method
from ami.ports import Dims, Size
from modules.nets import mlp
from modules.perception.pictures import Colours, picture_shape

POOLS = ("mean", "cls", "tokens")


class Block(nn.Module):
    """A pre-norm transformer layer: self-attention, then an MLP of each token; (N, T, E) to (N, T, E).

    Args:
        width: E.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.answer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = mlp(width, 4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        # (N, T, 3 E) to three of (N, heads, T, E / heads)
        asked = self.ask(self.before_attention(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*asked.unbind()).transpose(1, 2).flatten(2)
        tokens = tokens + self.answer(seen)
        moved: Tensor = tokens + self.mlp(self.before_mlp(tokens))
        return moved


class ViT(Perception):
    """Encodes images (…, H, W, C) or (…, H, W) of any dtype by self-attention over patches.

    Channels are standardised by the statistics of the experience; position embeddings are learnt.

    Args:
        width: D, the size of a percept, or of each of its tokens.
        patch: side of a patch in pixels; it divides the image's sides.
        pool: `mean` over all tokens or `cls`, the class token, give a vector (D,); `tokens` gives one vector per patch,
            (T, D), row by row.
        embedding: E, the width of a token inside.
        depth: number of layers.
        heads: number of heads per layer; it divides `embedding`.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, the observation is no image, or its sides
            are no multiples of `patch`.
    """

    def __init__(self, width: int = 64, patch: int = 8, pool: str = "mean", embedding: int = 64, depth: int = 2,
                 heads: int = 4) -> None:
        super().__init__()
        for name, value in (
                ("width", width), ("patch", patch), ("embedding", embedding), ("depth", depth), ("heads", heads)):
            require(value >= 1, f"ViT.{name} is {value}: expected 1 or more")
        if pool not in POOLS:
            raise SettingError(f"ViT.pool is '{pool}'{suggestion(pool, POOLS)}")
        require(embedding % heads == 0, f"ViT.embedding is {embedding}: expected a multiple of ViT.heads, {heads}")
        self.width, self.patch, self.pool = width, patch, pool
        self.embedding, self.depth, self.heads = embedding, depth, heads

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "O" in known:
            tokens = self._count(known["O"])
            return {"P": (tokens, self.width) if self.pool == "tokens" else (self.width,)}
        return {} if self.pool == "tokens" else {"P": (self.width,)}

    def build(self, dims: Dims) -> None:
        self.colours = Colours(dims["O"], "ViT")
        tokens = self._count(dims["O"])
        self.embed = nn.Linear(self.patch**2 * self.colours.shape[-1], self.embedding)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, self.embedding))
        if self.pool == "cls":
            self.cls = nn.Parameter(0.02 * torch.randn(1, self.embedding))
        self.blocks = nn.Sequential(*(Block(self.embedding, self.heads) for _ in range(self.depth)))
        self.last_norm = nn.LayerNorm(self.embedding)
        self.head = nn.Linear(self.embedding, self.width)

    def fit_statistics(self, batch: Batch) -> None:
        """Set the statistics of the channels, before each round of learning."""
        self.colours.fit_statistics(batch)

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode images (…, *O) as percepts (…, D), or (…, T, D) for `tokens`, float32."""
        patches = F.pixel_unshuffle(self.colours(observation), self.patch)  # (N, C · patch², rows, columns)
        tokens = self.embed(patches.flatten(2).transpose(1, 2)) + self.place
        if self.pool == "cls":
            tokens = torch.cat([self.cls.expand(len(tokens), 1, -1), tokens], dim=1)
        tokens = self.last_norm(self.blocks(tokens))
        pooled = {"mean": lambda: tokens.mean(1), "cls": lambda: tokens[:, 0], "tokens": lambda: tokens}[self.pool]()
        percept: Tensor = self.head(pooled)
        return percept.view(*self.colours.leading(observation), *percept.shape[1:])

    def _count(self, shape: Size) -> int:
        """Return T, the number of patches."""
        height, width, _ = picture_shape(shape, "ViT")
        fits = [side for side in range(1, min(height, width) + 1) if height % side == width % side == 0]
        nearest = min(fits, key=lambda side: abs(side - self.patch))
        require(self.patch in fits, f"ViT.patch is {self.patch}, which does not divide the sides of images of shape "
                                    f"{shape}. Fix: perception.patch={nearest}")
        return height * width // self.patch**2

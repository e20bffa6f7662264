"""ViT: a small vision transformer (Dosovitskiy and others, *An image is worth 16x16 words*, ICLR 2021, section 3.1) for
images and clips, with masked objectives of its own.

Shapes: … any leading dimensions, H and W the image's sides, C its channels, D the percept's width; N images or clips in all,
of T tokens of width E, M of them kept; a clip has f frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Perception, RowErrors
from ami.errors import SettingError, require, suggestion
from ami.module import LEARNING_STATE, Batch, callable_method
from ami.ports import Dims, Size, shape_of
from modules.perception._positions import POSITIONS, Grid
from modules.perception._transformer import Encoder, take
from modules.perception.masked import LOSSES, MaskedPrediction, objective_of
from modules.perception.pictures import Colours, picture_shape

POOLS = ("mean", "cls", "tokens")


class ViT(Perception):
    """Encodes images (…, H, W, C) or (…, H, W) of any dtype by self-attention over patches.

    Channels are standardised by the statistics of the experience. A model of clips, `frames` above 1, has a token per patch
    of `tubelet` successive frames; it encodes a single image, as an agent sees it, as one tubelet of equal frames (Assran
    and others, *V-JEPA 2*, 2025, section 3.1). Observations that are stacks of frames, (f, H, W, C), are clips.

    Args:
        width: D, the size of a percept, or of each of its tokens; 0: that of a token inside, without a linear layer.
        patch: side of a patch in pixels; it divides the image's sides.
        pool: `mean` over all tokens or `cls`, the class token, give a vector (D,); `tokens` gives one vector per patch,
            (T, D), row by row.
        embedding: E, the width of a token inside.
        depth: number of layers.
        heads: number of heads per layer; it divides `embedding`.
        positions: of tokens: `learnt`; `sincos`, fixed sines and cosines; or `rope`, rotations of queries and keys.
        frames: f, the number of frames of a clip; 1 for images, and for stacks of frames, which state it.
        tubelet: successive frames per token of a clip; it divides `frames`.
        objective: of the stage that trains this module alone, `loss: perception`, from images or clips: `ijepa`, `mae`,
            `vjepa`, `vjepa2` or `videomae`; `none`; or one of `modules.perception.masked` with other parts. It trains all
            but the linear layer of `width`.

    Raises:
        SettingError: a setting is out of its range or unknown; an objective would not train the class token that `pool`
            takes; or, when the graph is built, the observation is neither an image nor a stack of images, or its sides or
            frames are no multiples of `patch` and `tubelet`.
    """

    def __init__(self, width: int = 64, patch: int = 8, pool: str = "mean", embedding: int = 64, depth: int = 2,
                 heads: int = 4, positions: str = "learnt", frames: int = 1, tubelet: int = 2,
                 objective: str | MaskedPrediction = "none") -> None:
        super().__init__()
        require(width >= 0, f"ViT.width is {width}: expected 0, for that of a token, or more")
        for name, value in (("patch", patch), ("embedding", embedding), ("depth", depth), ("heads", heads),
                            ("frames", frames), ("tubelet", tubelet)):
            require(value >= 1, f"ViT.{name} is {value}: expected 1 or more")
        for name, text, known in (("pool", pool, POOLS), ("positions", positions, POSITIONS)):
            if text not in known:
                raise SettingError(f"ViT.{name} is '{text}'{suggestion(text, known)}")
        require(embedding % heads == 0, f"ViT.embedding is {embedding}: expected a multiple of ViT.heads, {heads}")
        require(frames == 1 or frames % tubelet == 0,
                f"ViT.frames is {frames}: expected 1, or a multiple of ViT.tubelet, {tubelet}")
        self.width, self.patch, self.pool = width or embedding, patch, pool
        self.embedding, self.depth, self.heads = embedding, depth, heads
        self.positions, self.frames, self.tubelet = positions, frames, tubelet
        self.is_projected = bool(width)
        self.objective = objective_of(objective)
        require(self.objective is None or pool != "cls",
                "ViT.pool is 'cls', whose class token no objective trains: expected mean or tokens. "
                "Fix: perception.pool=mean")

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "O" in known:
            tokens = self._seen(known["O"]).size
            return {"P": (tokens, self.width) if self.pool == "tokens" else (self.width,)}
        return {} if self.pool == "tokens" else {"P": (self.width,)}

    def build(self, dims: Dims) -> None:
        shape = shape_of(dims, "O")
        self.shape, self.is_stack = shape, len(shape) == 4
        self.colours = Colours(shape[1:] if self.is_stack else shape, "ViT")
        seen = self._seen(shape)
        frames = shape[0] if self.is_stack else self.frames
        self.is_clip = frames > 1
        self.span = self.tubelet if self.is_clip else 1  # frames per token
        self.grid = seen._replace(times=frames // self.span)
        features = self.patch**2 * self.colours.shape[-1] * self.span
        self.encoder = Encoder(features, self.grid, self.embedding, self.depth, self.heads, self.positions,
                               has_cls=self.pool == "cls")
        self.head = nn.Linear(self.embedding, self.width) if self.is_projected else nn.Identity()
        if self.objective is not None:
            self.predictor = self.objective.predictor(features, self.grid, self.embedding, self.positions == "rope")

    def fit_statistics(self, batch: Batch) -> None:
        """Set the statistics of the channels, before each round of learning."""
        self.colours.fit_statistics(batch)

    @callable_method
    def encode(self, observation: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode observations (…, *O) as percepts (…, D), or (…, T, D) for `tokens`, float32.

        Args:
            observation: (…, *O).
            keep: numbers of tokens (…, M): only these enter the transformer, and T is M.
        """
        leading = observation.shape[: observation.ndim - len(self.shape)]
        return self._pooled(self._observed(observation), keep, leading)

    @callable_method
    def encode_clip(self, clips: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode clips (…, f, H, W, C) or (…, f, H, W), of up to `frames` frames, as percepts (…, D), or (…, T, D) for
        `tokens`, float32; `keep` as in `encode`.

        Raises:
            SettingError: this is a model of images, or the clips are too long or no multiple of `tubelet`.
        """
        leading = clips.shape[: clips.ndim - self.colours.sizes - 1]
        return self._pooled(self._clipped(clips), keep, leading)

    def context(self, observation: Tensor, keep: Tensor) -> Tensor:
        """Return the tokens (N, M, E) of the patches `keep` (N, M) alone, of images (N, *O) or clips (N, f, H, W, C)."""
        tokens: Tensor = self.encoder(self._examples(observation), keep)
        return tokens

    @callable_method
    def predict_masked(self, context: Tensor, keep: Tensor, want: Tensor) -> Tensor:
        """Predict the targets (N, L, X) of the tokens `want` (N, L), from the context (N, M, E) of the tokens `keep` (N, M).

        Raises:
            SettingError: there is no objective.
        """
        self._required_objective()
        predicted: Tensor = self.predictor(context, keep, want[:, None])[:, 0]
        return predicted

    # Learning --------------------------------------------------------------------------------------------------------

    def begin_learning(self) -> None:
        """Create the EMA copy of the encoder that some objectives need."""
        if self.objective is not None:
            state = self.objective.target.learning_state(self.encoder)
            if state is not None:
                self.learning_state = state

    def after_step(self, step: int, total: int) -> None:
        """Update that copy after optimiser step `step`, counted from 0, of `total`."""
        state = self._modules.get(LEARNING_STATE)
        if self.objective is not None and state is not None:
            self.objective.target.after_step(cast(nn.ModuleDict, state), self.encoder, step, total)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of the objective's predictions. Call `begin_learning()` first.

        Args:
            batch: "observation", images (N, *O) or, for a model of clips, (N, f, H, W, C).

        Returns:
            The loss, and `std`: the mean standard deviation over the batch of each number of each target token, near 0 if
            the tokens have collapsed; there is none for pixels.

        Raises:
            SettingError: there is no objective, or the grid is too small for its masks.
        """
        objective = self._required_objective()
        patches = self._examples(batch["observation"])
        state = cast("nn.ModuleDict | None", self._modules.get(LEARNING_STATE))
        tokens = objective.target.of(patches, self.encoder, state)
        targets = objective.target.scaled(tokens)
        families = objective.masks.sample(self.grid, len(patches))
        rows = RowErrors(batch)
        total = patches.new_zeros(())
        for keep, want in families:
            predicted = self.predictor(self.encoder(patches, keep), keep, want)
            wanted = take(targets, want.flatten(1)).view_as(predicted)
            total = total + rows.of(LOSSES[objective.loss], predicted, wanted) / len(families)
        std = objective.target.std(tokens)
        return total, {**({"std": std} if std is not None else {}), **rows.figures()}

    def _required_objective(self) -> MaskedPrediction:
        if self.objective is None:
            raise SettingError("ViT.objective is none: expected an objective to learn alone by. Fix: "
                               "perception.objective=ijepa, or another one")
        return self.objective

    # Patches ---------------------------------------------------------------------------------------------------------

    def _pooled(self, patches: Tensor, keep: Tensor | None, leading: torch.Size) -> Tensor:
        tokens = self.encoder(patches, None if keep is None else keep.reshape(len(patches), -1))
        pooled = {"mean": lambda: tokens.mean(1), "cls": lambda: tokens[:, 0], "tokens": lambda: tokens}[self.pool]()
        percept: Tensor = self.head(pooled)
        return percept.view(*leading, *percept.shape[1:])

    def _examples(self, seen: Tensor) -> Tensor:
        """Return the patches (N, T, F) of a batch to learn from, images or clips."""
        picture = self.shape[1:] if self.is_stack else self.shape
        count = self.grid.times * self.span
        expected = (count, *picture) if self.is_clip else picture
        fix = f"source: {{name: clips, length: {count - 1}}}" if self.is_clip and not self.is_stack else "source: frames"
        require(tuple(seen.shape[1:]) == expected,
                f"ViT learns from observations of shape {tuple(seen.shape)}: expected (N, {', '.join(map(str, expected))}). "
                f"Fix: {fix}")
        return self._patches(seen, count if self.is_clip else 1)

    def _observed(self, observation: Tensor) -> Tensor:
        """Return the patches (N, T, F) of observations: a stack is a clip, an image is repeated over a tubelet."""
        if self.is_stack:
            return self._clipped(observation)
        if self.is_clip:
            one = observation.reshape(-1, 1, *self.shape)
            return self._patches(one.expand(-1, self.span, *self.shape), self.span)
        return self._patches(observation, 1)

    def _clipped(self, clips: Tensor) -> Tensor:
        count = clips.shape[clips.ndim - self.colours.sizes - 1]
        most = self.grid.times * self.span
        require(self.is_clip, "ViT.encode_clip needs a model of clips, and ViT.frames is 1. Fix: perception.frames=8")
        require(0 < count <= most and count % self.span == 0,
                f"ViT.encode_clip receives clips of {count} frames: expected at most {most}, and a multiple of {self.span}")
        return self._patches(clips, count)

    def _patches(self, frames: Tensor, count: int) -> Tensor:
        """Return the patches (N, T, F) of frames (…, count, H, W, C), or (…, H, W, C) if `count` is 1."""
        pixels = F.pixel_unshuffle(self.colours(frames), self.patch)  # (frames, C · patch², rows, columns)
        if not self.is_clip:
            return pixels.flatten(2).transpose(1, 2)
        tubelets = pixels.unflatten(0, (-1, count // self.span, self.span)).permute(0, 1, 4, 5, 2, 3)
        # (N, times · rows · columns, tubelet · C · patch²)
        patches: Tensor = tubelets.flatten(4).flatten(1, 3)
        return patches

    def _seen(self, shape: Size) -> Grid:
        """Return the tokens of an observation."""
        is_stack = isinstance(shape, tuple) and len(shape) == 4
        if is_stack:
            count = cast("tuple[int, ...]", shape)[0]
            require(self.frames in (1, count) and count % self.tubelet == 0,
                    f"ViT.frames is {self.frames} and ViT.tubelet {self.tubelet}, but observations are stacks of {count} "
                    "frames: expected a tubelet that divides them. Fix: perception.frames=1 perception.tubelet=1")
        height, width, _ = picture_shape(shape[1:] if is_stack and isinstance(shape, tuple) else shape, "ViT")
        fits = [side for side in range(1, min(height, width) + 1) if height % side == width % side == 0]
        nearest = min(fits, key=lambda side: abs(side - self.patch))
        require(self.patch in fits, f"ViT.patch is {self.patch}, which does not divide the sides of images of shape "
                                    f"{shape}. Fix: perception.patch={nearest}")
        return Grid(count // self.tubelet if is_stack else 1, height // self.patch, width // self.patch)

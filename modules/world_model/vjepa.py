"""VJEPA: predicts the masked future of a clip in latent space from its past alone, after V-JEPA (Bardes and others, 2024).

The mask is the future, as in the measure of surprise by Garrido and others, *Intuitive physics understanding emerges
from self-supervised pretraining on natural videos* (2025). A perception with `objective=vjepa` masks blocks of clips.

Shapes: B parallel worlds, K candidates, H horizon; C frames of a state, M frames predicted at once, L tokens of a frame,
each of width D in a percept and E in a state; N windows of T actions and T + 1 percepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Carry, Prediction, RowErrors, WorldModel
from ami.errors import require
from ami.module import Batch, callable_method, module_behind
from ami.ports import Dims, Size
from modules.nets import target_of
from modules.world_model.anti_collapse import EMA

FRAMES, KNOWN = "frames", "known"
SPREAD = 0.7
"""Of the initial positions, as of sines and cosines: attention finds places late from small ones."""


class VJEPA(WorldModel):
    """A world model of clips without actions: a transformer encodes each frame, another predicts M masked ones from C.

    A percept is the tokens (L, D) of one frame, of a fixed perception. A state (C, L, E) is the layer-normed tokens of the
    last C frames; before an episode's first frame stands that frame itself. The predictor gets the state and, for each frame
    ahead, one mask token per place; those of one frame attend to the state and to each other, so that no prediction depends
    on later frames. Further than M frames ahead it continues from its own predictions.

    V-JEPA's encoder attends over the whole clip, so that the tokens of a masked frame may encode the past that they are
    predicted from. Here frames are encoded alone, and only the predictor relates them.

    Surprise is the mean absolute difference of the present frame's tokens to their prediction from the past alone: the
    masked frame never enters the network that predicts it. Distance and goal compare one frame's tokens likewise.

    Actions are not used: every plan has the same future.

    Args:
        frames: C.
        ahead: M.
        width: E.
        depth, heads: layers of the frame encoder, and attention heads; `heads` divides both widths.
        predictor: width of the predictor, narrower than the encoder.
        predictor_depth: its layers.
        momentum, final_momentum: of the EMA encoder that gives the targets, as in `EMA`. V-JEPA's grows to 1; a state is
            compared with predictions of that encoder's tokens, so that it has to follow within a short training.

    Raises:
        SettingError: a setting is out of its range; percepts are not tokens; or the perception is trained at the same time,
            since its tokens are part of the target and could collapse.
    """

    causal = False  # M frames are predicted at once: from the middle of them a rollout continues differently
    ignores = ("recall", "action")
    equal_dims = {"U": "A"}

    def __init__(self, frames: int = 4, ahead: int = 2, width: int = 64, depth: int = 2, heads: int = 4, predictor: int = 32,
                 predictor_depth: int = 2, momentum: float = 0.97, final_momentum: float = 0.99) -> None:
        super().__init__()
        for name, value in (("frames", frames), ("ahead", ahead), ("width", width), ("depth", depth), ("heads", heads),
                            ("predictor", predictor), ("predictor_depth", predictor_depth)):
            require(value >= 1, f"VJEPA.{name} is {value}: expected 1 or more")
        for name, value in (("width", width), ("predictor", predictor)):
            require(value % heads == 0, f"VJEPA.{name} is {value}: expected a multiple of VJEPA.heads, {heads}")
        self.frames, self.ahead, self.width, self.depth, self.heads = frames, ahead, width, depth, heads
        self.narrow, self.predictor_depth, self.target = predictor, predictor_depth, EMA(momentum, final_momentum)

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "P" not in known:
            return {}
        percept = known["P"]
        require(isinstance(percept, tuple) and len(percept) == 2,
                f"VJEPA receives percepts of shape {percept}: expected tokens (L, D). Fix: perception=patches, or "
                "perception=vit perception.pool=tokens perception.frozen=true")
        places = cast("tuple[int, int]", percept)[0]
        return {"S": (self.frames, places, self.width), "Q": (places, self.width)}

    def build(self, dims: Dims) -> None:
        self.places, width = cast("tuple[int, int]", dims["P"])
        self.encoder = FrameEncoder(self.places, width, self.width, self.depth, self.heads)
        self.predictor = FuturePredictor(self.frames, self.ahead, self.places, self.width, self.narrow,
                                         self.predictor_depth, self.heads)

    def initial_carry(self, batch: int) -> Carry:
        return {FRAMES: torch.zeros(batch, self.frames - 1, self.places, self.width),
                KNOWN: torch.zeros(batch, dtype=torch.bool)}

    @callable_method
    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        tokens = self._encoded(self.encoder, percepts)
        before = tokens[:, :1].expand(-1, self.frames - 1, -1, -1)
        if carry is not None:
            known = carry[KNOWN].to(tokens.device)[:, None, None, None]
            before = torch.where(known, carry[FRAMES].to(tokens.device), before)
        every = torch.cat([before, tokens], dim=1)
        known = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        return self._windows(every), {FRAMES: every[:, every.shape[1] - self.frames + 1:], KNOWN: known}

    def _encoded(self, encoder: nn.Module, percepts: Tensor) -> Tensor:
        """Encode percepts (…, L, D) as tokens (…, L, E)."""
        tokens: Tensor = encoder(percepts.float().reshape(-1, *percepts.shape[-2:]))
        return tokens.view(*percepts.shape[:-2], *tokens.shape[1:])

    def _windows(self, frames: Tensor) -> Tensor:
        """Return the states (N, X - C + 1, C, L, E) along the tokens (N, X, L, E) of X frames."""
        return frames.unfold(1, self.frames, 1).movedim(-1, 2)

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, C, L, E) from states (B, C, L, E); the actions (B, K, H, U) give K and H alone."""
        candidates, horizon = actions.shape[1:3]
        frames = state
        while frames.shape[1] < self.frames + horizon:
            frames = torch.cat([frames, self.predictor(frames[:, -self.frames:])], dim=1)
        states = self._windows(frames[:, 1:self.frames + horizon])
        return Prediction(states[:, None].expand(-1, candidates, -1, -1, -1, -1))

    @callable_method
    def goal_of(self, percept: Tensor) -> Tensor:
        """Encode percepts (…, L, D) as goals (…, L, E)."""
        return self._encoded(self.encoder, percept)

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the mean absolute difference of the last frame's tokens: (…, C, L, E), (…, L, E) to (…)."""
        return (states[..., -1, :, :] - goal).abs().mean((-2, -1))

    def surprise_of(self, predicted: Tensor, state: Tensor) -> Tensor:
        return self.distance(predicted, state[..., -1, :, :])

    # Learning --------------------------------------------------------------------------------------------------------

    def begin_learning(self) -> None:
        """Create the EMA encoder; called before the optimiser is created or a checkpoint loaded."""
        if "perception" in self.calls:
            perception = module_behind(self.calls.perception)
            require(not any(one.requires_grad for one in perception.parameters()),
                    f"VJEPA predicts what {type(perception).__name__} encodes, which is trained at the same time: expected "
                    "a fixed perception. Fix: perception=patches, or perception.frozen=true")
        self.learning_state = nn.ModuleDict({"encoder": target_of(self.encoder)})

    def after_step(self, step: int, total: int) -> None:
        """Update the EMA encoder after optimiser step `step`, counted from 0, of `total`."""
        self.target.follow(self.learning_state["encoder"], self.encoder, step / total)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean absolute error of the next M frames' tokens, predicted from every clip of the windows.

        Call `begin_learning()` first.

        Args:
            batch: "percept" (N, T + 1, L, D) of a frozen perception, or "observation" (N, T + 1, *O).

        Returns:
            The loss `prediction`; `still`, the error of predicting the present frame's tokens; and `std`, the mean standard
            deviation of a place's numbers over the batch: tokens have collapsed if it is near 0.
        """
        with torch.no_grad():
            percepts = self.percepts_in(batch)
            targets = self._encoded(self.learning_state["encoder"], percepts)
        ahead = min(self.ahead, percepts.shape[1] - 1)
        known = self.observe(percepts[:, :-ahead], batch["action"])[0]
        predicted = self.predictor(known.flatten(0, 1))[:, :ahead]  # (N · anchors, ahead, L, E)
        wanted = targets[:, 1:].unfold(1, ahead, 1).movedim(-1, 2)  # (N, anchors, ahead, L, E)
        rows = RowErrors(batch)
        prediction = rows.of(F.l1_loss, predicted.unflatten(0, wanted.shape[:2]), wanted)
        now = known[:, :, -1]
        figures = {"prediction": prediction, "still": F.l1_loss(now[:, :, None].expand_as(wanted), wanted),
                   "std": now.flatten(0, 1).std(0).mean()}
        return prediction, {**{name: value.detach() for name, value in figures.items()}, **rows.figures()}


class FrameEncoder(nn.Module):
    """Encodes frames (N, L, D) by self-attention over their tokens, layer-normed: (N, L, E).

    Args:
        places, tokens, width: L, D, E.
        depth, heads: number of layers, and of heads per layer.
    """

    def __init__(self, places: int, tokens: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(tokens, width)
        self.place = nn.Parameter(SPREAD * torch.randn(places, width))
        self.layers = transformer(width, depth, heads)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames."""
        tokens: Tensor = self.layers(self.embed(frames) + self.place)
        return F.layer_norm(tokens, tokens.shape[-1:])


class FuturePredictor(nn.Module):
    """Predicts the tokens of the M frames after a state, (N, C, L, E) to (N, M, L, E), layer-normed.

    Args:
        frames, ahead, places, width: C, M, L, E.
        narrow: width of its own tokens.
        depth, heads: number of layers, and of heads per layer.
    """

    allowed: Tensor

    def __init__(self, frames: int, ahead: int, places: int, width: int, narrow: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(width, narrow), nn.Linear(narrow, width)
        self.mask = nn.Parameter(torch.zeros(narrow))
        self.time = nn.Parameter(SPREAD * torch.randn(frames + ahead, 1, narrow))
        self.place = nn.Parameter(SPREAD * torch.randn(places, narrow))
        self.layers = transformer(narrow, depth, heads)
        self.ahead = ahead
        frame = torch.arange(frames + ahead).clamp(min=frames - 1).repeat_interleave(places)  # the state's frames are one
        self.register_buffer("blocked", ~((frame[None] == frames - 1) | (frame[None] == frame[:, None])), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """Predict from states."""
        known = self.embed(state)
        masked = self.mask.expand(len(known), self.ahead, *known.shape[2:])
        inputs = torch.cat([known, masked], dim=1) + self.time + self.place
        outputs = self.layers(inputs.flatten(1, 2), mask=self.blocked).view(inputs.shape)
        tokens: Tensor = self.head(outputs[:, -self.ahead:])
        return F.layer_norm(tokens, tokens.shape[-1:])


def transformer(width: int, depth: int, heads: int) -> nn.TransformerEncoder:
    """Return pre-norm transformer layers with a last norm, without dropout: (N, tokens, width) to the same."""
    def layer() -> nn.TransformerEncoderLayer:
        return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
                                          norm_first=True)

    whole = nn.TransformerEncoder(layer(), depth, nn.LayerNorm(width), enable_nested_tensor=False)
    whole.layers = nn.ModuleList(layer() for _ in range(depth))  # it copies one layer, with its initial weights
    return whole

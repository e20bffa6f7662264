"""AC: predicts the tokens of the next frame from actions, on a frozen encoder, after V-JEPA 2-AC (Assran and others, 2025).

Shapes: B parallel worlds, K candidates, H horizon, A action width, N tokens of a percept, each of width D; F frames of a
state; N' windows of T actions and T + 1 percepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Carry, Prediction, RowErrors, WorldModel
from ami.errors import require
from ami.module import Batch, callable_method, objective
from ami.ports import Dims, Size
from modules.world_model._augment import augmented
from modules.world_model._block_causal import BlockCausal, Cache
from modules.world_model.place import long_inverse_dynamics

ROWS_AT_ONCE = 256
"""The most candidates, of all rows together, whose step is computed at once: their tokens stay in a core's cache."""
FRAMES = "frames"


class AC(WorldModel):
    """The action-conditioned predictor of V-JEPA 2-AC (arXiv 2506.09985, section 3), small.

    A percept is the tokens (N, D) of one frame, encoded alone by a frozen perception, and layer-normed here. Each step is
    the tokens [action, patches]; attention is block-causal (`BlockCausal`), and the outputs at the patches, layer-normed,
    are the tokens of the next frame. The paper predicts them directly; here the outputs are added to the frame's own tokens
    first, so that an untrained predictor predicts no change. The paper's token of proprioception is left out.

    A state (F, N + 1, D) is the last F = depth · reach + 1 frames, all that a prediction depends on. The row after a frame's
    tokens holds whether the frame exists, and the action taken after it. A goal (N, D) is the tokens of one frame, and the
    distance, the paper's energy, the mean absolute difference of a state's last tokens to it.

    `imagine` computes the keys and values of a state's earlier frames once for all of its candidates.

    Args:
        width: of a token inside the predictor.
        depth: number of layers.
        heads: number of heads per layer; it divides `width`.
        reach: number of earlier frames that a frame attends to in each layer; 0: a state is one frame.
        rollout: number of steps imagined from the predictor's own predictions in learning.
        normalise: whether tokens are layer-normed.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, percepts are not tokens, or too narrow
            for an action.
    """

    equal_dims = {"U": "A"}

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4, reach: int = 1, rollout: int = 2,
                 normalise: bool = True) -> None:
        super().__init__()
        for name, value in (("width", width), ("depth", depth), ("heads", heads), ("rollout", rollout)):
            require(value >= 1, f"AC.{name} is {value}: expected 1 or more")
        require(reach >= 0, f"AC.reach is {reach}: expected 0 or more earlier frames")
        require(width % heads == 0, f"AC.width is {width}: expected a multiple of AC.heads, {heads}")
        self.width, self.depth, self.heads, self.reach = width, depth, heads, reach
        self.rollout, self.normalise = rollout, normalise
        self.frames = depth * reach + 1

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "P" not in known or "A" not in known:
            return {}
        percept, actions = known["P"], cast(int, known["A"])
        require(isinstance(percept, tuple) and len(percept) == 2,
                f"AC receives percepts of shape {percept}: expected tokens (N, D). "
                "Fix: perception=vit perception.pool=tokens")
        count, width = cast("tuple[int, int]", percept)
        require(width > actions, f"AC receives tokens of width {width}: expected more than the {actions} numbers of an "
                                 f"action. Fix: a wider token, such as perception.width={actions + 1}")
        return {"S": (self.frames, count + 1, width), "Q": percept}

    def build(self, dims: Dims) -> None:
        self.count, width = cast("tuple[int, int]", dims["P"])
        self.of_action, self.of_patch = nn.Linear(cast(int, dims["A"]), self.width), nn.Linear(width, self.width)
        self.place = nn.Parameter(0.02 * torch.randn(self.count + 1, self.width))
        self.blocks = BlockCausal(self.width, self.depth, self.heads, self.reach)
        self.head = nn.Linear(self.width, width)
        nn.init.zeros_(self.head.weight)  # predicts no change at first
        nn.init.zeros_(self.head.bias)
        self.inverse = nn.Linear(width, cast(int, dims["A"]), bias=False)

    # The state: frames, each with a row of whether it exists and the action after it ---------------------------------

    def initial_carry(self, batch: int) -> Carry:
        return {FRAMES: torch.zeros(batch, self.frames, self.count + 1, cast("tuple[int, int]", self.dims["P"])[1])}

    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        states = self._states(self._scaled(percepts.float()), actions, self.initial_carry(len(percepts)) | (carry or {}))
        return states, {FRAMES: states[:, -1]}

    def _states(self, tokens: Tensor, actions: Tensor, carry: Carry) -> Tensor:
        """Return the states (B, T, F, N + 1, D) at frames (B, T, N, D), given the action before each."""
        frames = torch.cat([carry[FRAMES].to(tokens.device), self._framed(tokens)], dim=1)
        led, steps = self._acted(frames[:, self.frames - 1:-1], actions), actions.shape[1]
        frames = torch.cat([frames[:, :self.frames - 1], led, frames[:, -1:]], dim=1)
        return self._windows(frames, steps)

    def goal_of(self, percept: Tensor) -> Tensor:
        """Return the layer-normed tokens (…, N, D) of percepts."""
        return self._scaled(percept.float())

    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the mean absolute difference of tokens: (…, F, N + 1, D), (…, N, D) to (…)."""
        mean: Tensor = (states[..., -1, :self.count, :] - goal).abs().mean((-2, -1))
        return mean

    def _scaled(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:]) if self.normalise else tokens

    def _framed(self, tokens: Tensor) -> Tensor:
        """Add the row of an existing frame without an action to tokens: (…, N, D) to (…, N + 1, D)."""
        row = tokens.new_zeros(*tokens.shape[:-2], 1, tokens.shape[-1])
        row[..., 0] = 1
        return torch.cat([tokens, row], dim=-2)

    def _acted(self, frames: Tensor, actions: Tensor) -> Tensor:
        """Write the action (…, A) taken after frames (…, N + 1, D) into their rows, unless there is no such frame."""
        row = frames[..., -1, :]
        taken = torch.cat([row[..., :1], actions * row[..., :1], row[..., actions.shape[-1] + 1:]], dim=-1)
        return torch.cat([frames[..., :-1, :], taken[..., None, :]], dim=-2)

    def _windows(self, frames: Tensor, steps: int) -> Tensor:
        """Return the last `steps` states (B, steps, F, N + 1, D) along frames (B, ≥ F - 1 + steps, N + 1, D)."""
        states = frames.unfold(1, self.frames, 1)[:, -steps:].movedim(-1, 2).clone()
        states[:, :, -1, -1, 1:] = 0  # the action after a state's last frame is not taken yet
        return states

    # Prediction ------------------------------------------------------------------------------------------------------

    def _embedded(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """Return the predictor's inputs (…, 1 + N, width) for tokens (…, N, D) and the action after them (…, A)."""
        return torch.cat([self.of_action(actions)[..., None, :], self.of_patch(tokens)], dim=-2) + self.place

    def _next(self, tokens: Tensor, actions: Tensor, valid: Tensor | None = None,
              cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Predict the tokens after each of T frames (R, T, N, D) from the action after each, (R, T, A)."""
        outputs, cache = self.blocks(self._embedded(tokens, actions), valid, cache)
        predicted: Tensor = self._scaled(tokens + self.head(outputs[..., 1:, :]))
        return predicted, cache

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, F, N + 1, D) from states (B, F, N + 1, D) and actions (B, K, H, A)."""
        return Prediction(self._imagined(state, actions, actions.shape[2]))

    @callable_method
    def imagine_last(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        return Prediction(self._imagined(state, actions, 1))

    def _imagined(self, state: Tensor, actions: Tensor, kept: int) -> Tensor:
        """Return the last `kept` states along each plan; at most `ROWS_AT_ONCE` candidates are computed at once."""
        width, (rows, candidates) = actions.shape[-1], actions.shape[:2]
        past = state[:, :-1]
        valid = past[..., -1, 0] > 0.5
        _, cache = self._next(past[..., :-1, :], past[..., -1, 1:1 + width], valid)
        found = []
        at_once = max(1, ROWS_AT_ONCE // candidates)
        for first in range(0, rows, at_once):
            part = slice(first, first + at_once)
            own = Cache([type(layer)(*(each[part] for each in layer)) for layer in cache.layers], cache.valid[part])
            found.append(torch.cat([self._rolled(state[part], chunk, kept, own)
                                    for chunk in actions[part].split(ROWS_AT_ONCE, 1)], dim=1))
        return torch.cat(found)

    def _rolled(self, state: Tensor, actions: Tensor, kept: int, cache: Cache) -> Tensor:
        """Return the last `kept` states (B, K, kept, F, N + 1, D) along plans (B, K, H, A), given the cache of the states'
        earlier frames."""
        share, along = actions.shape[1], actions.flatten(0, 1)
        frames = [state[:, frame].repeat_interleave(share, 0) for frame in range(self.frames)]
        frames[-1] = torch.cat([frames[-1][:, :-1], self._framed(frames[-1][:, :-1])[:, -1:]], dim=1)
        for action in along.unbind(1):
            predicted, cache = self._next(frames[-1][:, None, :-1], action[:, None], None, cache)
            frames[-1] = self._acted(frames[-1], action)
            frames.append(self._framed(predicted[:, 0]))
        whole = torch.stack(frames[-(self.frames - 1 + kept):], dim=1)
        states: Tensor = self._windows(whole, kept).unflatten(0, actions.shape[:2])
        return states

    # Learning --------------------------------------------------------------------------------------------------------

    @objective
    def eyes(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a perception that learns from actions: long inverse dynamics of every token.

        The sum of the actions between two frames is read linearly from the difference of any token. Each token therefore
        tells where all lies that an action moves, and distances of tokens grow with distances in the world: patches that
        know themselves alone are equally far from every picture in which they look different.

        Args:
            batch: "observation" (N', T + 1, *O); "action" (N', T, A).

        Returns:
            The loss; `drift`, the mean error of the actions' sum at the end of a window.
        """
        tokens, action = self._scaled(self.percepts_in(batch)), batch["action"]
        read = self.inverse(tokens).transpose(1, 2).flatten(0, 1)
        return long_inverse_dynamics(read, action.repeat_interleave(self.count, 0))

    @objective
    def eyes_elsewhere(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of `eyes` with another camera, light and table for each window of byte pictures, so that tokens
        generalise to places never seen. It is for a second stage: alone, it had not begun to fall after 600 steps on the
        table top, where `eyes` falls from 300."""
        return self.eyes({**batch, "observation": augmented(batch["observation"])})

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the L1 error of the next tokens from true tokens, over all steps, plus that of a short rollout.

        The rollout begins at a random step of the windows. The perception gets no gradient.

        Args:
            batch: "percept" (N', T + 1, N, D) of a frozen perception, or "observation" (N', T + 1, *O); "action" (N', T, A).

        Returns:
            The loss, and its parts: `prediction`, over the T steps, `rollout`, of the last tokens imagined; beside them
            `still`, the error of predicting no change. The rows' importance weights apply to the first two.
        """
        action = batch["action"]
        with torch.no_grad():
            tokens = self._scaled(self.percepts_in(batch).float())
        rows, steps = RowErrors(batch), action.shape[1]
        predicted, _ = self._next(tokens[:, :-1], action)
        prediction = rows.of(F.l1_loss, predicted, tokens[:, 1:])
        ahead = min(self.rollout, steps)
        start = int(torch.randint(steps - ahead + 1, ()))
        first = max(0, start + 1 - self.frames)
        led = F.pad(action[:, first:start], (0, 0, 1, 0))
        states = self._states(tokens[:, first:start + 1], led, self.initial_carry(len(tokens)))
        last = self._imagined(states[:, -1], action[:, None, start:start + ahead], 1)[:, 0, 0, -1, :-1]
        rollout = rows.of(F.l1_loss, last, tokens[:, start + ahead])
        figures = {"prediction": prediction, "rollout": rollout, "still": F.l1_loss(tokens[:, :-1], tokens[:, 1:])}
        return prediction + rollout, {**{name: value.detach() for name, value in figures.items()}, **rows.figures()}

    @objective
    def loss_elsewhere(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return `loss` on byte pictures with another camera, light and table for each window: a predictor that has seen
        tokens of known places alone predicts too short a motion in others."""
        return self.loss({**batch, "observation": augmented(batch["observation"])})

"""The role of the world model: percepts to states, and states with actions to predictions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar, final

import torch
from torch import Tensor

from ami.blueprint.prediction import Prediction
from ami.module import Batch, Call, Module, callable_method
from ami.ports import ActionSpace, Port, shape_of

Carry = dict[str, Tensor]
"""The state of `observe` between two calls: batch-first tensors by name."""
STATE, BEGUN = "state", "begun"
"""Entries of a world model's carry besides those of `observe`: the last state (B, *S), and whether there is one (B,)."""


class WorldModel(Module):
    """Estimates what perception misses and predicts future states from actions (paper, sections 3 and 4).

    The state is the belief after history and the last action: `imagine` needs nothing else to start. The distance belongs
    to the model, because only it knows its own space; reward and value belong to the cost.

    Symbols of its callable methods: P a percept, S a state, Q a goal, A an action of the world, U an action of a plan, Z
    the noise of one step. By default Q = S and U = A (`equal_dims`). A model with other goals or latent actions overrides
    `equal_dims` and returns Q or U from `infer_dims`. A stochastic model returns Z from `infer_dims`; the others have no
    noise.

    Attributes:
        causal: whether each imagined state depends only on the actions before it. A search may then continue a plan from
            any of its states. A model that predicts all steps at once may set False.
    """

    causal: ClassVar[bool] = True
    ignores: Collection[str] = ("recall",)

    role: ClassVar[str] = "world_model"
    inputs = {
        "percept": Port("percept", ("*P",)),
        "action": Port("action", ("A",)),
        "recall": Port("recall", ("*S",), optional=True),
    }
    outputs = {"state": Port("state", ("*S",)), "surprise": Port("surprise")}
    requires = {"perception": Call(("encode",), {"P": "P"}, optional=True, learning=True)}
    equal_dims = {"Q": "S", "U": "A"}

    @property
    def plan_space(self) -> ActionSpace:
        """The space of a plan's actions: the world's if U = A, else numbers in [-1, 1]."""
        width = self.dims["U"]
        assert isinstance(width, int)
        return self.actions if self.actions is not None and self.equal_dims.get("U") == "A" else ActionSpace(width)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape *Z of the noise of one step; () without noise."""
        return shape_of(self.dims, "Z")

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry of `observe` at the start of `batch` episodes; empty without history."""
        return {}

    @callable_method
    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        """Estimate the states of a sequence of percepts.

        Args:
            percepts: (N, T, *P).
            actions: (N, T, A), the action before each percept; zeros before an episode's first.
            carry: the carry returned for the preceding percepts; None at the start of an episode.
            noise: (N, T, *Z), standard normal; None for the mean.

        Returns:
            The states (N, T, *S), and the carry for the next percepts.
        """
        raise NotImplementedError

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine K plans from each state.

        Args:
            state: (B, *S).
            actions: (B, K, H, U).
            noise: (B, K, H, *Z), standard normal; None for the mean.

        Returns:
            The prediction, states (B, K, H, *S).
        """
        raise NotImplementedError

    @callable_method
    def imagine_last(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Return only the last state that `imagine` predicts, (B, K, 1, *S).

        The default imagines all states; a model may override it to save their memory.
        """
        prediction = self.imagine(state, actions, noise)
        others = (None if field is None else field[:, :, -1:] for field in prediction[1:])
        return Prediction(prediction.states[:, :, -1:], *others)

    @callable_method
    def goal_of(self, percept: Tensor) -> Tensor:
        """Encode target percepts (…, *P), which have no history, as goals (…, *Q)."""
        raise NotImplementedError

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the distance of states to goals: (…, *S), (…, *Q) to (…), leading sizes broadcast; 0 if reached."""
        raise NotImplementedError

    @callable_method
    def approach(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return how near to goals (…, *Q) imagined straight ways from states (…, *S) end, (…), in units of the distance;
        infinity if the way does not leave surroundings that are not the goal's. The default imagines nothing and returns
        the distance itself."""
        return self.distance(states, goal)

    @callable_method
    def rebase_goal(self, goal: Tensor, state: Tensor) -> Tensor:
        """Move goals into the context of other states: (…, *Q), (…, *S) to (…, *Q), leading sizes broadcast.

        A model with static and moving parts of a state keeps the goal's moving part and takes the state's static part. The
        default returns the goal unchanged.
        """
        return goal

    @callable_method
    def context(self, states: Tensor) -> Tensor:
        """Return the features (…, C) of states or goals that stay constant in one surroundings, by which a memory finds
        states of the same surroundings. The default has none, C = 0: all states share one context."""
        return states.flatten(states.ndim - len(shape_of(self.dims, "S")))[..., :0]

    @callable_method
    def renew(self, states: Tensor, seen: Tensor) -> Tensor:
        """Give states (…, *S) the context of others (…, *S), leading sizes broadcast: their surroundings have changed. The
        default, without contexts, returns them unchanged."""
        return states

    @callable_method
    def centre(self, state: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Move the origin of the state space to a state, (…, *S), (…, *Q), leading sizes broadcast.

        For networks that take a state and its goal, in a space whose dynamics do not depend on its origin. The default
        returns both unchanged.
        """
        return state, goal

    def correct(self, state: Tensor, carry: Carry, recall: Tensor, score: Tensor) -> tuple[Tensor, Carry]:
        """Correct an observed state by what memory recalls; called in each tick, never in learning.

        Args:
            state: (B, *S), as `observe` returned it.
            carry: likewise.
            recall: (B, *S), memory's answer to the present percept.
            score: (B,), how well it matched.

        Returns:
            The corrected state and carry; by default both unchanged.
        """
        return state, carry

    def surprise_of(self, predicted: Tensor, state: Tensor) -> Tensor:
        """Return how far states (B, *S) are from their prediction (B, *S), (B,), ≥ 0: by default the Euclidean distance. A
        model whose state holds earlier percepts compares only what the last one added."""
        norm: Tensor = torch.linalg.vector_norm((predicted - state).flatten(1), dim=1)
        return norm

    @callable_method
    def encode_action(self, state: Tensor, action: Tensor) -> Tensor:
        """Encode actions (…, A) in states (…, *S) as actions of a plan (…, U); the default returns them unchanged."""
        return action

    @callable_method
    def decode_action(self, state: Tensor, action: Tensor) -> Tensor:
        """Decode a plan's actions (…, U) in states (…, *S) to actions (…, A); the default returns them unchanged."""
        return action

    def initial(self, batch: int) -> Carry:
        size = self.outputs["state"].shape(self.dims)
        return {STATE: torch.zeros(batch, *size), BEGUN: torch.zeros(batch, dtype=torch.bool), **self.initial_carry(batch)}

    @final
    def step(self, percept: Tensor, action: Tensor, recall: Tensor | None = None,
             score: Tensor | None = None) -> dict[str, Tensor]:
        """Compute state (B, *S) and surprise (B,) from percept (B, *P) and the action that led to it (B, A).

        Surprise is `surprise_of` the predicted and the current state; 0 at an episode's first tick. A stochastic model gets
        its noise from this node's random streams; for others nothing is drawn. The state is corrected by `recall` after
        surprise was measured.
        """
        noise = self.random.normal(*self.noise_shape)[:, None] if self.noise_shape else None
        before, begun = self.carry[STATE], self.carry[BEGUN]
        carry = {name: value for name, value in self.carry.items() if name not in (STATE, BEGUN)}
        states, carry = self.observe(percept[:, None], action[:, None], carry or None, noise)
        state = states[:, 0]
        predicted = self.imagine(before, self.encode_action(before, action)[:, None, None]).states[:, 0, 0]
        surprise = self.surprise_of(predicted, state)
        if recall is not None and score is not None:
            state, carry = self.correct(state, carry, recall, score)
        self.carry = {STATE: state, BEGUN: torch.ones_like(begun), **carry}
        return {"state": state, "surprise": torch.where(begun, surprise, 0.0)}

    def percepts_in(self, batch: Batch, frames: Sequence[int] | slice = slice(None)) -> Tensor:
        """Return the percepts (N, L, *P) of some frames of windows: their "percept", or their "observation" encoded."""
        if "percept" in batch:
            return batch["percept"][:, frames]
        percepts: Tensor = self.calls.perception.encode(batch["observation"][:, frames])
        return percepts


def preceding(actions: Tensor) -> Tensor:
    """Return the action before each of T + 1 percepts, given those between them: (N, T, A) to (N, T + 1, A), zeros first."""
    return torch.cat([torch.zeros_like(actions[:, :1]), actions], dim=1)

"""ε-greedy exploration around any actor.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ami.blueprint import Actor
from ami.errors import SettingError, require
from ami.ports import Dims, Size


class EpsilonGreedy(Actor):
    """Sends another actor's action, or with probability `epsilon` a uniformly random one, drawn per world and tick.

    Discrete choices are drawn from the alternatives that the world's mask allows, if the actor has the input `action_mask`.
    Ports, calls, callable methods, loss, carry, random streams and weights are the wrapped actor's. The weights keep their
    names, so an agent's file can be loaded with and without exploration.

    Args:
        actor: the actor to explore with.
        epsilon: the probability of a random action, 0 to 1; 0 draws no random numbers.

    Raises:
        SettingError: epsilon is out of its range, or `actor` is no actor.
    """

    def __init__(self, actor: Actor, epsilon: float = 0.1) -> None:
        super().__init__()
        require(0 <= epsilon <= 1, f"EpsilonGreedy.epsilon is {epsilon}: expected 0 to 1")
        if not isinstance(actor, Actor):
            raise SettingError(f"EpsilonGreedy.actor is a {type(actor).__name__}: expected an ami.blueprint.Actor, such as "
                               "actor.actor._target_=modules.actor.policy.Policy")
        self.actor, self.epsilon = actor, epsilon
        self.inputs, self.outputs, self.requires = actor.inputs, actor.outputs, actor.requires
        self.equal_dims = actor.equal_dims
        self.callable_methods = actor.callable_methods  # type: ignore[method-assign]
        for name in (*actor.callable_methods(), "loss", "begin_learning", "after_step", "fit_statistics"):
            setattr(self, name, partial(self._forward, name))
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        self.actor.actions = self.actions
        return self.actor.infer_dims(known)

    def build(self, dims: Dims) -> None:
        self._share()
        self.actor.set_up(dims, self.actions)

    def reset(self, mask: Tensor) -> None:
        self._share()
        self.actor.reset(mask)
        self.carry = self.actor.carry

    def step(self, **inputs: Tensor | None) -> dict[str, Tensor]:
        self._share()
        outputs = self.actor.step(**inputs)
        self.carry = self.actor.carry
        if not self.epsilon:
            return outputs
        return {**outputs, "action": self._explored(outputs["action"], inputs.get("action_mask"))}

    @property
    def can_learn(self) -> bool:
        return self.actor.can_learn

    def _forward(self, name: str, *args: Any, **named: Any) -> Any:
        self._share()
        return getattr(self.actor, name)(*args, **named)

    def _share(self) -> None:
        """Copy what the engine set on this module to the actor: one node has one carry and one random stream per row."""
        inner = self.actor
        inner.calls, inner.random, inner.every, inner.arrivals = self.calls, self.random, self.every, self.arrivals
        inner.carry, inner.batch, inner.notes, inner.device = self.carry, self.batch, self.notes, self.device

    def _explored(self, action: Tensor, allowed: Tensor | None) -> Tensor:
        """Replace actions (B, A) by random ones with probability epsilon."""
        width = action.shape[1]
        drawn = self.random.uniform(0.0, 1.0, 1 + width)
        whether, noise = drawn[:, :1], drawn[:, 1:]
        random = 2 * noise - 1
        if self.actions is not None and self.actions.choices:  # the argmax of i.i.d. draws is uniform
            random = self.actions.nearest(random, allowed).to(action)
        return torch.where(whether < self.epsilon, random, action)


def _without_prefix(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Remove the prefix "actor." from the names of the weights."""
    for name in [name for name in state if name.startswith(f"{prefix}actor.")]:
        state[prefix + name.removeprefix(f"{prefix}actor.")] = state.pop(name)


def _with_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Undo `_without_prefix`."""
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}actor.{name.removeprefix(prefix)}"] = state.pop(name)

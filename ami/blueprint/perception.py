"""The role of the perception: observations to percepts."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ami.module import Module, callable_method
from ami.ports import Port


class Perception(Module):
    """Estimates the current state of the world from the senses (paper, section 3). A percept holds no history."""

    role: ClassVar[str] = "perception"
    inputs = {"observation": Port("observation", ("*O",), None)}
    outputs = {"percept": Port("percept", ("*P",))}

    def step(self, observation: Tensor) -> dict[str, Tensor]:
        return {"percept": self.encode(observation)}

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode observations (…, *O) as percepts (…, *P)."""
        raise NotImplementedError

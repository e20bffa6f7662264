"""Identity: the observation is the percept. For worlds whose observation is the state vector, and for oracles."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ami.blueprint import Perception
from ami.module import callable_method
from ami.ports import Size


class Identity(Perception):
    """Passes observations through as float32; P = O. No parameters."""

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"P": known["O"]} if "O" in known else {}

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Convert observations (…, *O) of any dtype to float32."""
        return observation.to(torch.float32)

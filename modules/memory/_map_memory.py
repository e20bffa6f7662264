"""The ports of a memory whose slots are read as a map."""

from __future__ import annotations

from collections.abc import Collection

import torch

from ami.blueprint import Memory
from ami.ports import Port

FAR = 1e30
"""The distance to an empty slot: large, so that it matches nothing, and finite, so that the softmax is defined."""


class MapMemory(Memory):
    """A memory that also answers where a goal and relief were, and sends its slots.

    Shapes: N slots, L links per slot, S the size of a state. On demand: `wanted`, for the goal, and `wanted_score`;
    `relief`, the state where it was felt, and `relief_score`; `places`, the states in the slots; `kept`, whether a slot is
    not empty, as those of the lowest numbers are; `links`, the slots that each is linked to, -1 for none.
    """

    outputs = {
        **Memory.outputs,
        "wanted": Port("recall", ("*S",)), "wanted_score": Port("score"),
        "relief": Port("recall", ("*S",)), "relief_score": Port("score"),
        "places": Port("places", ("N", "*S")), "kept": Port("flag", ("N",), torch.bool),
        "links": Port("links", ("N", "L"), torch.int64),
    }
    on_demand: Collection[str] = ("wanted", "wanted_score", "relief", "relief_score", "places", "kept", "links")

    def _sends(self, *names: str) -> bool:
        """Return whether a wire reads one of these outputs."""
        return any(name in self.outputs for name in names)

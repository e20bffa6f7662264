"""The role of the memory: past states and their recall."""

from __future__ import annotations

from typing import ClassVar

from ami.module import Module
from ami.ports import Port


class Memory(Module):
    """Stores past states with their energies and answers queries by soft matching (paper, sections 3 and 4.9)."""

    role: ClassVar[str] = "memory"
    inputs = {
        "state": Port("state", ("*S",)),
        "energy": Port("energy"),
        "surprise": Port("surprise", optional=True),
    }
    outputs = {"recall": Port("recall", ("*S",)), "score": Port("score")}

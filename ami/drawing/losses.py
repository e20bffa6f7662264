"""What a comparison with lesions found, for a drawing: the points of success lost without a wire or a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ami.drawing.description import Description, DrawnWire
from ami.errors import SettingError
from ami.storage.files import FileKind

SUMMARY = "summary.json"
INTACT, WITHOUT = "intact", "without "
SIGNIFICANT = 0.05
_FILE = FileKind("a comparison with lesions", SettingError,
                 "a folder that `ami compare --lesion` wrote, or its summary.json")


@dataclass(frozen=True)
class Losses:
    """Points of success lost, by the name of a wire, "actor.action@-1 → world.action", or of a node.

    A loss is the largest over the kinds of episodes, 0 if it is not significant in any of them (p < 0.05, corrected for the
    number of lesions).
    """

    points: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Losses:
        """Read the folder or the summary of a comparison.

        Raises:
            SettingError: there is no such file, or it holds no lesions.
        """
        file = path / SUMMARY if path.is_dir() else path
        try:
            content = _FILE.read_json(file)
        except FileNotFoundError:
            raise SettingError(f"there is no {file}. Fix: {_FILE.fix}") from None
        variants = content.get("variants") if isinstance(content, dict) else None
        if not isinstance(variants, dict) or INTACT not in variants:
            raise _FILE.refusal(file, f"it has no variant '{INTACT}'")
        found = {label.removeprefix(WITHOUT): _loss(row) for label, row in variants.items() if label.startswith(WITHOUT)}
        return cls({name: points for name, points in found.items() if points is not None})

    def of_wire(self, graph: Description, wire: DrawnWire) -> float | None:
        """Return the loss without a wire; None if it is not known. The lesion of a node's only wire has the node's name."""
        name = str(wire)
        if name not in self.points and sum(other.node == wire.node for other in graph.wires) == 1:
            return self.points.get(wire.node)
        return self.points.get(name)


def lost(points: float) -> str:
    """Return a loss as it is drawn: "−84"."""
    return f"−{points:.0f}" if points >= 0.5 else "±0" if points > -0.5 else f"+{-points:.0f}"


def _loss(row: Any) -> float | None:
    """Return the loss of a variant, in points; None if it was refused or its success was not tested."""
    try:
        tests = [figure["test"]["success"] for figure in row["kinds"].values()]
        return max((-100 * float(test["difference"]) for test in tests if test["p_holm"] < SIGNIFICANT), default=0.0)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None

"""Names of variants for readers: `learning.stages.model.optimiser=sgd` becomes `optimiser=sgd` if that is unambiguous."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def shown_names(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return each variant's name by its label: a line per swept key, or the label of a variant without any.

    Args:
        summary: as written by `ami compare`; "swept" maps a label to its swept keys and their values.
    """
    swept: Mapping[str, Mapping[str, str]] = summary.get("swept", {})
    short = shortened({key for one in swept.values() for key in one})
    return {label: "\n".join(f"{short[key]}={value}" for key, value in swept[label].items()) if label in swept else label
            for label in summary["variants"]}


def shortened(keys: Collection[str]) -> dict[str, str]:
    """Return the shortest end of each dotted key that no other key ends with; keys of one dot or none stay as they are."""
    found: dict[str, str] = {}
    for key in keys:
        words = key.split(".")
        ends = [".".join(words[-count:]) for count in range(1, len(words))] if len(words) > 2 else []
        others = [f".{other}" for other in keys if other != key]
        found[key] = next((end for end in ends if not any(other.endswith(f".{end}") for other in others)), key)
    return found

"""Settings that every node takes besides those of its module's constructor: `NODE.weights` and `NODE.frozen`.

    perception: {_target_: …, weights: runs/first, frozen: true}

A module may have its own setting `weights`, as a cost does, if its values are no texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ami.errors import shown
from ami.graph.spec import ModuleSpec

WEIGHTS, FROZEN = "weights", "frozen"


class NodeSettings(NamedTuple):
    """Settings of one node.

    Attributes:
        weights: the file or the run that its initial weights come from, FILE or RUN, or FILE:NODE; None for none.
        frozen: whether no stage trains it.
    """

    weights: str | None = None
    frozen: bool = False


def node_settings(config: Mapping[str, Any]) -> dict[str, NodeSettings]:
    """Return the settings of those nodes of a configuration, plain values, that have any."""
    found: dict[str, NodeSettings] = {}
    for node, values in config.items():
        if isinstance(values, Mapping) and "_target_" in values:
            weights = values.get(WEIGHTS)
            one = NodeSettings(weights if isinstance(weights, str) else None, values.get(FROZEN) is True)
            if one != NodeSettings():
                found[node] = one
    return found


def without_node_settings(spec: ModuleSpec) -> ModuleSpec:
    """Return a node's spec with the settings of its constructor alone."""
    reserved = {FROZEN} if FROZEN in spec.settings else set()
    weights = spec.settings.get(WEIGHTS)
    if isinstance(weights, str) or (weights is None and not spec.takes(WEIGHTS)):
        reserved.add(WEIGHTS)
    return ModuleSpec(spec.target, {key: value for key, value in spec.settings.items() if key not in reserved})


def check_node_settings(node: str, values: Mapping[str, Any], spec: ModuleSpec) -> list[str]:
    """Return a sentence per mistake."""
    mistakes = []
    if not isinstance(values.get(FROZEN, False), bool):
        mistakes.append(f"{node}.{FROZEN} is {shown(values[FROZEN])}: expected true or false")
    if spec.takes(FROZEN):
        mistakes.append(f"{spec.name} takes '{FROZEN}', which is a setting of every node. Fix: rename that argument")
    weights = values.get(WEIGHTS)
    if weights == "" or not (weights is None or isinstance(weights, str) or spec.takes(WEIGHTS)):
        mistakes.append(f"{node}.{WEIGHTS} is {shown(weights)}: expected a file, or a run's folder or name, whose node "
                        f"{node}, or NODE in RUN:NODE, has the weights")
    return mistakes

"""What is compared: every variant is composed and held against its modules before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ami.config.compose import Config, compose
from ami.errors import AmiError, require
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.session import train as training
from ami.session.run import judged_graph, metrics_of, seal, try_out
from ami.terminal.console import Console


@dataclass(frozen=True)
class Variant:
    """One of those that are compared.

    Attributes:
        label: names it in the table.
        overrides: of the agent that lives.
        learner: of the agent that learns, whose weights the other one lives with; None when both are the same.
        unlearnt: the nodes that live with their initial weights in spite of what was learnt.
        swept: the values of the keys that differ between the variants.
    """

    label: str
    overrides: tuple[str, ...]
    learner: tuple[str, ...] | None = None
    unlearnt: tuple[str, ...] = ()
    swept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sound:
    """A variant that may begin: it composes, its graph is sound, and it lived two ticks."""

    variant: Variant
    config: Config
    learner: Config
    graph: Graph
    manifest: Manifest


def check(variants: Sequence[Variant], seed: int, allow: Sequence[str],
           console: Console) -> tuple[list[Sound], dict[str, str]]:
    """Those that may begin, and why the others may not."""
    sound: list[Sound] = []
    refused: dict[str, str] = {}
    with console.counting("check", len(variants), "variants") as bar:
        for variant in variants:
            bar(0, variant.label)
            try:
                sound.append(_sound_one(variant, seed, allow))
            except AmiError as error:
                refused[variant.label] = str(error)
            bar(1, "variants")
    return sound, refused


def _sound_one(variant: Variant, seed: int, allow: Sequence[str]) -> Sound:
    for text in variant.overrides:
        require(not text.lstrip("+").startswith("seed="),
                f"'{text}': every variant learns from the same seeds. Fix: --seeds 0,1,2")
    config = compose(variant.overrides, allow=allow).seeded(seed)
    learner = config if variant.learner is None else compose(variant.learner, allow=allow).seeded(seed)
    graph = judged_graph(config)
    training.check(learner)
    manifest = seal(config, graph)
    try_out(graph, seed, manifest, metrics_of(config, graph))
    return Sound(variant, config, learner, graph, manifest)

"""The variants of a comparison, all composed and checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ami.config.compose import Config, compose
from ami.errors import AmiError, require
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.session import learn as learning
from ami.session.evaluation import judged_graph, metrics_of, seal, try_out
from ami.session.threads import with_threads
from ami.terminal.console import Console


@dataclass(frozen=True)
class Variant:
    """One variant of a comparison.

    Attributes:
        label: its name in the table.
        overrides: overrides of the evaluated agent.
        learner: overrides of the trained agent, whose weights the evaluated one uses; None if both are the same.
        untrained: the nodes evaluated with their initial weights.
        swept: the values of the keys that differ between the variants.
    """

    label: str
    overrides: tuple[str, ...]
    learner: tuple[str, ...] | None = None
    untrained: tuple[str, ...] = ()
    swept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sound:
    """A checked variant: it composes, its graph is valid, and two ticks ran without error."""

    variant: Variant
    config: Config
    learner: Config
    graph: Graph
    manifest: Manifest


def check(variants: Sequence[Variant], seed: int, allow: Sequence[str],
           console: Console) -> tuple[list[Sound], dict[str, str]]:
    """Return the valid variants, and the reasons of refusal of the others."""
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
                f"'{text}': every variant is trained with the same seeds. Fix: --seeds 0,1,2")
    config = compose(variant.overrides, allow=allow).seeded(seed)
    learner = config if variant.learner is None else compose(variant.learner, allow=allow).seeded(seed)
    quiet = Console(quiet=True)
    config, learner = with_threads(config, quiet), with_threads(learner, quiet)
    graph = judged_graph(config)
    learning.check(learner)
    manifest = seal(config, graph)
    try_out(graph, seed, manifest, metrics_of(config, graph))
    return Sound(variant, config, learner, graph, manifest)

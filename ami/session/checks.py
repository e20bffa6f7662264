"""Checks of a run before any work: refusals, and notes for the user."""

from __future__ import annotations

from collections.abc import Iterator

from ami.config.compose import Config
from ami.config.node_settings import node_settings
from ami.errors import require, suggestion
from ami.evaluation.evaluate import evaluation_ports
from ami.evaluation.metrics import watched
from ami.graph.graph import Graph
from ami.graph.partition import groups_of
from ami.graph.prune import needed
from ami.saved.initial_weights import initial_weights
from ami.session.data import data_of
from ami.session.evaluation import judged_graph, metrics_of, ports_recorded_by
from ami.session.plan import check_collection, frozen_remarks, stages_of
from ami.session.presentation import video_formats

RUNTIMES = ("local", "ray")


def checked_graph(config: Config) -> Graph:
    """Return the graph of a config that can be run.

    Raises:
        GraphError, SettingError, UnknownName: the config is invalid.
        CheckpointError: the initial weights of a node do not fit it.
    """
    settings = config.settings
    require(settings.runtime in RUNTIMES, f"runtime is '{settings.runtime}'{suggestion(str(settings.runtime), RUNTIMES)}")
    require(settings.agents >= 1, f"agents is {settings.agents}: expected 1 or more")
    graph = judged_graph(config)
    groups_of(graph, config.plain()["placement"])
    if settings.runtime == "ray":
        from ami.runtime.ray_cluster import check_start

        check_start(settings.address)
    ports_recorded_by(config, graph)
    video_formats(config)
    if settings.checkpoint is None:
        check_collection(config, stages_of(config), data_of(config, graph))
        initial_weights(config, graph)
    return graph


def notes(config: Config, graph: Graph) -> Iterator[str]:
    """Yield the lines about a config that the user reads before any work."""
    for warning in [*graph.warnings, *without_effect(config)]:
        yield f"warning: {warning}"
    yield from graph.remarks
    yield from config.remarks()
    yield from learning_remarks(config, graph)
    yield from without_reader(config, graph)


def learning_remarks(config: Config, graph: Graph) -> list[str]:
    """Return lines about frozen nodes, and about weights that are not read."""
    if config.settings.checkpoint is None:
        return [*frozen_remarks(config), *initial_weights(config, graph).remarks()]
    return [f"{node}.weights is read only if the checkpoint holds no weights of {node}"
            for node, one in node_settings(config.plain()).items() if one.weights is not None]


def without_effect(config: Config) -> list[str]:
    """Return a warning for each given setting that has no effect."""
    warnings = []
    if not config.settings.trace.record:
        asked = [text for text in config.overrides if text.lstrip("+").startswith(("trace.level", "trace.ports"))]
        warnings += [f"{text} has no effect with trace.record=false: nothing is recorded" for text in asked]
    if config.settings.runtime != "ray":
        asked = [text for text in config.overrides if text.lstrip("+").startswith(("placement", "address", "recovery"))]
        warnings += [f"{text} has no effect with runtime=local: all modules run in this process" for text in asked]
    return warnings


def without_reader(config: Config, graph: Graph) -> list[str]:
    """Return a line about the nodes that no action depends on, if the run records a trace."""
    kept = needed(graph, (*evaluation_ports(graph), *watched(metrics_of(config, graph))))
    unread = [node for node in graph.order if node not in kept]
    if not unread or not config.settings.trace.record:
        return []
    what = "do not fire (prune=true)" if config.settings.prune else "fire for the trace alone; prune=true leaves them out"
    return [f"no action depends on {' and '.join(unread)}: they {what}"]

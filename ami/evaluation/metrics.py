"""User-defined metrics, `evaluation.metrics`: a scalar port averaged over an episode, or a function of an episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from ami.config.trust import allow_list, trusted_function
from ami.errors import SettingError, require, suggestion
from ami.graph.graph import Graph

SETTING = "evaluation.metrics"


class EpisodeRecord(NamedTuple):
    """One finished episode, for a metric.

    Attributes:
        pair: the manifest's, {"kind", "seed", …}.
        success: whether it was solved; None if the world does not report it.
        steps: number of actions.
        ret: its return, the undiscounted sum of rewards.
        ports: (T, …) by "node.port": the metric's ports at each of the T = steps + 1 ticks.
    """

    pair: Mapping[str, Any]
    success: bool | None
    steps: int
    ret: float
    ports: Mapping[str, Tensor]


@dataclass(frozen=True)
class Metric:
    """A figure of an episode.

    Attributes:
        name: its name in the setting.
        ports: the ports to watch.
        function: computes it from an episode; None takes the mean of its one port over the episode's ticks.
    """

    name: str
    ports: tuple[str, ...]
    function: Callable[[EpisodeRecord], float] | None = None

    def of(self, episode: EpisodeRecord) -> float:
        """Return the figure of an episode.

        Raises:
            SettingError: the function fails, or its result is no finite number.
        """
        if self.function is None:
            value: Any = episode.ports[self.ports[0]].double().mean()
        else:
            try:
                value = self.function(episode)
            except Exception as error:
                raise SettingError(f"{SETTING}: {self.name} failed on the pair {dict(episode.pair)}: "
                                   f"{type(error).__name__}: {error}. Fix: correct the function, or leave it out") from error
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        require(math.isfinite(number), f"{SETTING}: {self.name} is {value!r} on the pair {dict(episode.pair)}: expected a "
                                       "finite number")
        return number


def read_metrics(names: Sequence[str], graph: Graph, allow: Sequence[str] = ()) -> tuple[Metric, ...]:
    """Return the metrics named by a setting.

    Args:
        names: `node.port` of a scalar port, or `package.file.function`. A function takes an `EpisodeRecord` and returns a
            number; the ports it reads are in its attribute `ports`, such as `effort.ports = ("actor.action",)`.
        graph: the agent's graph.
        allow: more prefixes for the allow-list.

    Raises:
        SettingError, UnknownName, TrustError: a name is not a metric.
    """
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    require(not twice, f"{SETTING} names {', '.join(twice)} twice. Fix: name each metric once")
    return tuple(_metric(name, graph, allow) for name in names)


def fitting(metrics: Sequence[Metric], graph: Graph) -> tuple[Metric, ...]:
    """Return the metrics whose ports a baseline's graph has too."""
    return tuple(metric for metric in metrics if all(_has(graph, port) for port in metric.ports))


def watched(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Return the ports to watch for the metrics."""
    return tuple(dict.fromkeys(port for metric in metrics for port in metric.ports))


def _metric(name: str, graph: Graph, allow: Sequence[str]) -> Metric:
    node, _, port = name.partition(".")
    if node in graph.order:
        require(_has(graph, name), f"{SETTING} names '{name}', but {node} has no output '{port}'"
                                   f"{suggestion(port, graph.outputs[node])}")
        found = graph.drafts[node].outputs[port]
        require(found.shape(graph.dims[node]) == (), f"{SETTING} names '{name}', which is no scalar: {found.describe()}. "
                                                     "Fix: a function of an episode, `package.file.function`")
        return Metric(name, (name,))
    if name.count(".") == 1 and not any(name.startswith(prefix) for prefix in allow_list(allow)):
        raise SettingError(f"{SETTING} names '{name}', which is no output of a node{suggestion(node, graph.order)} "
                           "Fix: `node.port`, or a function of an episode, `package.file.function`, with --allow package.")
    function = trusted_function(name, SETTING, allow_list(allow))
    ports = getattr(function, "ports", ())
    require(isinstance(ports, (tuple, list)), f"{SETTING}: {name}.ports is {ports!r}: expected a tuple of `node.port`")
    known = [f"{node}.{port}" for node in graph.order for port in graph.outputs[node]]
    for one in ports:
        require(one in known, f"{SETTING}: {name}.ports names '{one}', which is no output{suggestion(str(one), known)}")
    return Metric(name, tuple(map(str, ports)), function)


def _has(graph: Graph, name: str) -> bool:
    node, _, port = name.partition(".")
    return node in graph.outputs and port in graph.outputs[node]

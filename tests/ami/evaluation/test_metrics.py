"""User-defined metrics: ports, functions, and refusals with their messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ami.errors import SettingError, TrustError, UnknownName
from ami.evaluation.metrics import EpisodeRecord, Metric, fitting, read_metrics, watched
from ami.graph.graph import Graph

OWN = """
NUMBER = 3

def effort(episode):
    return episode.ports["actor.action"].abs().mean()

effort.ports = ("actor.action",)

def misses(episode):
    return 0

misses.ports = ("actor.acton",)

def length(episode):
    return episode.steps
"""


@pytest.fixture
def graph(tiny_agent: Callable[..., Graph]) -> Graph:
    return tiny_agent(observe="state")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def episode(**ports: torch.Tensor) -> EpisodeRecord:
    return EpisodeRecord({"kind": "near", "seed": 1}, True, 2, 1.0, {name.replace("_", "."): p for name, p in ports.items()})


def test_port_mean_and_function_of_ports(graph: Graph, own: None) -> None:
    energy, effort = read_metrics(["planner.energy", "own_metrics.effort"], graph, ["own_metrics."])
    assert energy.of(episode(planner_energy=torch.tensor([1.0, 2.0, 6.0]))) == 3
    assert effort.of(episode(actor_action=torch.tensor([[-1.0], [3.0]]))) == 2
    assert watched([energy, effort]) == ("planner.energy", "actor.action")


@pytest.mark.parametrize(("name", "error", "words"), [
    ("planner.enrgy", SettingError, r"names 'planner.enrgy', but planner has no output 'enrgy': did you mean 'energy'\?"),
    ("planner.plan", SettingError, r"'planner.plan', which is no scalar: plan float32 \(B, H, U\). Fix: a function"),
    ("plannr.energy", SettingError, r"'plannr.energy', which is no output of a node: did you mean 'planner'\?"),
    ("os.path.join", TrustError, r"evaluation.metrics is 'os.path.join': expected .* `--allow os.`"),
    ("own_metrics.NUMBER", TrustError, "which is a int: expected a function"),
    ("own_metrics.lngth", UnknownName, "evaluation.metrics is 'own_metrics.lngth', but own_metrics has no 'lngth'"),
    ("own_metrics.misses", SettingError, r"misses.ports names 'actor.acton', which is no output: did you mean 'actor.a"),
])
def test_other_than_metrics_are_refused(graph: Graph, own: None, name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read_metrics([name], graph, ["own_metrics."])


def test_a_metric_named_twice_is_refused(graph: Graph) -> None:
    with pytest.raises(SettingError, match=r"evaluation.metrics names planner.energy twice"):
        read_metrics(["planner.energy", "planner.energy"], graph)


@pytest.mark.parametrize(("value", "words"), [("text", "is 'text' on"), (float("nan"), "is nan"), (None, "is None")])
def test_function_without_a_number_is_named_with_the_pair(value: object, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Metric("mine", (), lambda _: value).of(episode())  # type: ignore[arg-type,return-value]


def test_failing_function_is_named_with_the_pair() -> None:
    with pytest.raises(SettingError, match=r"evaluation.metrics: mine failed on the pair \{'kind': 'near', 'seed': 1\}: "
                                           "KeyError: 'nothing'. Fix: correct the function"):
        Metric("mine", (), lambda record: record.ports["nothing"]).of(episode())  # type: ignore[arg-type,return-value]


def test_baseline_without_the_port_lacks_the_metric(graph: Graph) -> None:
    there, absent = Metric("planner.energy", ("planner.energy",)), Metric("mine", ("own.port",))
    assert fitting([there, absent], graph) == (there,)

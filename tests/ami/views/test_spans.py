from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ami.graph.graph import Graph
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.views.spans import Forest, Sample
from ami.views.tables import Tables

PORTS = {"perception": "percept", "configurator": "mode", "goal": "goal", "planner": "plan", "actor": "action"}


@pytest.fixture
def forest(tiny_agent: Callable[..., Graph], tmp_path: Path) -> Forest:
    """Two worlds, six ticks; the second world's episode is over at tick 2. The planner is missing at tick 5."""
    graph = tiny_agent()
    write_header(tmp_path, graph, seed=0)
    log = TraceLog(tmp_path / "trace" / "agent-0")
    for tick in range(6):
        for place, node in enumerate(graph.order):
            outputs = {PORTS.get(node, "out"): torch.zeros(2, 3)}
            if node == "world":
                outputs = {"terminated": torch.tensor([tick == 5, tick >= 2]), "reward": torch.ones(2)}
            if node == "world_model":
                outputs = {"surprise": torch.tensor([0.5 * tick, 9.0 if tick > 2 else 1.0])}
            if (node, tick) != ("planner", 5):
                log.add(node, 0, tick, 1000 * tick + 10 * place, 1000 * tick + 10 * place + 7, outputs)
    log.close()
    return Forest(Tables.load(tmp_path))


@pytest.mark.parametrize("sample, ticks", [
    (Sample(every=2), [0, 2, 4, 5]), (Sample(every=100), [0, 5]), (Sample(every=100, surprise=1.4), [0, 3, 4, 5]),
    (Sample(every=100, surprise=5), [0, 5])])  # the surprise of 9 in world 1 follows its episode's end and does not count
def test_ticks_are_selected_by_number_by_surprise_and_if_unfinished(
        forest: Forest, sample: Sample, ticks: list[int]) -> None:
    assert forest.ticks(sample) == [(0, tick) for tick in ticks]


def test_a_tree_encloses_its_spans_in_time(forest: Forest) -> None:
    tree = forest.tick(0, 3)
    assert [span.name for span in tree.spans] == ["tick 3", *forest.header["graph"]["order"]]
    assert {span.parent for span in tree.spans[1:]} == {tree.root.id} and tree.root.parent is None
    assert all(tree.root.start <= span.start <= span.end <= tree.root.end for span in tree.spans)
    assert tree.figures == {"surprise": 1.5} and tree.root.attributes["live"] == 1
    assert [span.kind for span in tree.spans[1:]] == [node.upper() for node in forest.header["graph"]["order"]]


def test_only_messages_of_earlier_ticks_are_links(forest: Forest) -> None:
    links = {span.name: [link.message for link in span.links] for span in forest.tick(0, 3).spans if span.links}
    assert links == {"world": ["actor.action@2"], "world_model": ["actor.action@2"]}
    sender = next(span for span in forest.tick(0, 2).spans if span.name == "actor")
    assert next(span for span in forest.tick(0, 3).spans if span.name == "world").links[0].span == sender.id
    assert not any(span.links for span in forest.tick(0, 0).spans)


def test_an_episode_is_a_span_per_tick_until_it_is_over(forest: Forest) -> None:
    short = forest.episode(0, 1, {(0, 2)})
    assert [span.name for span in short.spans] == ["wave 0, row 1", "tick 0", "tick 1", "tick 2"]
    assert short.figures == {"steps": 2, "return": 3.0, "surprise": 1.0} and not short.root.fault
    assert [link.tree for span in short.spans for link in span.links] == [forest.tick_id(0, 2)]


def test_ids_are_unique_and_deterministic(forest: Forest) -> None:
    def ids(of: Forest) -> list[str]:
        return [span.id for tree in of.trees(Sample(every=1)) for span in tree.spans]

    assert len(set(ids(forest))) == len(ids(forest)) and ids(forest) == ids(Forest(forest.tables))


def test_trees_that_are_known_whole_are_skipped(forest: Forest) -> None:
    trees = list(forest.trees(Sample(every=1)))
    known = {tree.id: len(tree.spans) for tree in trees}
    assert len(trees) == 8 and list(forest.trees(Sample(every=1), known)) == []
    known[trees[3].id] -= 1
    assert [tree.name for tree in forest.trees(Sample(every=1), known)] == ["wave 0, tick 3"]


def test_a_missing_record_of_an_earlier_tick_is_no_error(tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    graph = tiny_agent()
    write_header(tmp_path, graph, seed=0)
    log = TraceLog(tmp_path / "trace" / "agent-0")
    for tick in range(6):
        for node in graph.order if tick < 3 else graph.order[:2]:
            log.add(node, 0, tick, 10 * tick, 10 * tick + 1, {"out": torch.zeros(1)})
    log.close()
    assert Forest(Tables.load(tmp_path)).ticks(Sample(every=100)) == [(0, 0), (0, 5)]


def test_a_refilled_row_has_a_tree_per_episode_and_nodes_are_due_by_age(
        tiny_agent: Callable[..., Graph], tmp_path: Path) -> None:
    """Row 1 begins its second episode at tick 3: a node that fires every second tick is due at ticks 0, 2, 3, 4 and 5."""
    graph = tiny_agent()
    graph.every["planner"] = 2
    write_header(tmp_path, graph, seed=0)
    log = TraceLog(tmp_path / "trace" / "agent-0")
    for tick in range(6):
        for place, node in enumerate(graph.order):
            outputs = {"out": torch.zeros(2, 3)}
            if node == "world":
                outputs = {"terminated": torch.tensor([False, tick == 2]), "episode": torch.tensor([7, 8 + (tick > 2)])}
            if node != "planner" or tick in (0, 2, 3, 4):
                log.add(node, 0, tick, 1000 * tick + place, 1000 * tick + place + 1, outputs)
    log.close()
    forest = Forest(Tables.load(tmp_path))
    assert forest.episodes(Sample()) == [(0, 0, 0), (0, 1, 0), (0, 1, 3)]
    trees = [forest.episode(0, 1), forest.episode(0, 1, first=3)]
    assert [tree.name for tree in trees] == ["episode 8", "episode 9"] and trees[0].id != trees[1].id
    assert [span.name for span in trees[1].spans[1:]] == ["tick 3", "tick 4", "tick 5"]
    assert forest.tick(0, 5).root.fault == "did not finish: planner", "row 1 is two ticks old, row 0 five"
    fired = next(span for span in forest.tick(0, 4).spans if span.name == "planner")
    assert fired.kind == "PLANNER" and fired.attributes["every"] == 2

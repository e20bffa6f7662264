"""The viewer's map: believed and true places, goals, plans and remembered places in the world model's plane."""

from __future__ import annotations

import base64
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import compose, to_graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.trace.reader import Trace
from ami.views.payloads import Recorded
from ami.views.viewer import view
from ami.views.viewer_data import pages
from worlds.house.episodes import sample_episode
from worlds.house.world import HouseVectorEnv

STEPS = 24


def record(folder: Path, *overrides: str) -> Trace:
    """Record two walks of an untrained agent in the house, with all messages."""
    graph = to_graph(compose(["agent=house", "evaluation.batch=2", *overrides]))
    rng, rules = np.random.default_rng(0), HouseVectorEnv(1).rules
    walks = [Episode(number, number, {**sample_episode(rng, "walk", rules), "steps": STEPS}) for number in range(2)]
    write_header(folder, graph, {"evaluation": {"batch": 2}}, seed=0)
    with Agent(LocalRuntime(graph, 0, recorder=TraceLog(folder / "trace" / "agent-0", True))) as agent:
        for _ in rollout(agent, walks):
            pass
    return Trace.open(folder)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return record(tmp_path_factory.mktemp("house"), "memory.spacing=0")


def numbers(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, *shape)


def drawn(trace: Trace, row: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = pages(trace).parts[f"episode-0-{row}"]["map"]
    return found


def test_a_header_names_the_entries_of_a_state_that_are_a_place(trace: Trace) -> None:
    (size,) = trace.ports["world_model"]["state"][1]
    assert trace.header["planes"] == {"world_model.state": [size - 2, size - 1]}


def test_believed_places_are_the_recorded_ones_and_true_places_lie_in_their_coordinates(trace: Trace) -> None:
    found = drawn(trace, row=1)
    believed, true = numbers(found["believed"], 2), numbers(found["true"], 2)
    states = Recorded(trace).at("world_model.state", 0)
    assert np.array_equal(believed, np.stack([states[tick][1, -2:] for tick in range(len(believed))]))
    truth = np.stack([values[1] for _, values in sorted(Recorded(trace).at("world.truth", 0).items())])
    inputs = np.concatenate([truth, np.ones((len(truth), 1))], axis=1)
    again, *_ = np.linalg.lstsq(inputs, true)
    assert np.allclose(inputs @ again, true, atol=1e-3), "an affine map of the truth"
    assert np.square(true - believed).sum() < np.square(believed - believed.mean(0)).sum()


def test_slots_and_links_are_changes_up_to_what_memory_held_last(trace: Trace) -> None:
    found, recorded = drawn(trace), Recorded(trace)
    slots = {int(slot): (x, y) for _, slot, x, y in numbers(found["slots"], 4).tolist()}
    last = max(recorded.at("memory.kept", 0))
    kept = recorded.at("memory.kept", 0)[last][0]
    assert sorted(slots) == kept.nonzero()[0].tolist() and len(slots) > 1
    places = recorded.at("memory.places", 0)[last][0][:, -2:]
    assert all(np.array_equal(places[slot], np.float32(place)) for slot, place in slots.items())
    changes = numbers(found["links"], 4).tolist()
    assert all(one[0] <= other[0] for one, other in pairwise(changes))
    links = {(int(one), int(other)) for _, one, other, is_link in changes if is_link}
    held = [(slot, other) for slot, row in enumerate(recorded.at("memory.links", 0)[last][0].tolist()) for other in row]
    assert links == {(min(slot, other), max(slot, other)) for slot, other in held if other >= 0}


def test_goals_and_plans_are_drawn_in_the_same_plane(trace: Trace) -> None:
    found = drawn(trace)
    assert set(found["marks"]) >= {"wish.goal", "level2.subgoal", "memory.wanted"}
    assert found["horizons"] == {"planner": 5}
    assert numbers(found["plans"]["planner"], 5, 2).shape == (*numbers(found["believed"], 2).shape[:1], 5, 2)


def test_the_page_draws_the_map(trace: Trace) -> None:
    text = view(trace.folder).read_text()
    assert 'id="map"' in text and "function drawMap()" in text and "/* map */" not in text
    assert "  drawMap();" in text, "at every tick"


def test_without_memory_the_map_has_paths_alone(tmp_path: Path) -> None:
    found = drawn(record(tmp_path, "memory=none"))
    assert len(numbers(found["believed"], 2)) and not len(numbers(found["slots"], 4)) and not len(numbers(found["links"], 4))


@pytest.mark.parametrize("planes", [{}, {"world_model.state": [40, 4000]}, {"world_model.surprise": [0, 1]}])
def test_a_trace_without_a_plane_has_no_map(planes: dict[str, list[int]], trace: Trace) -> None:
    changed = replace(trace, header={**trace.header, "planes": planes})
    assert all("map" not in part for part in pages(changed).parts.values())

"""Decisions of another agent on recorded inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ami
from ami.cli.main import main
from ami.errors import SettingError
from ami.replay.recording import Recording
from ami.replay.substitute import swap
from ami.runtime.worker import Worker
from ami.trace.reader import Trace
from tests.ami.replay.conftest import TINY


def test_another_planner_gets_the_recorded_inputs(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("two rooms"))
    found = swap(recording, ["planner=random_shooting", "planner.num_candidates=8", "~planner.num_elites",
                             "~planner.num_iterations"], tmp_path / "swap")
    assert found.nodes == ("planner", "actor"), "the changed node and its dependents"
    assert -1 <= found.agreement < 1 and found.apart > 0 and len(found.gaps) == 4
    assert len(found.planned) == len(found.moments) and found.drift() is None
    other = Trace.open(found.folder)
    assert ami.load_trace(found.folder).ticks.to_pandas()["us"].between(1, 1e6).all()
    for node in set(recording.trace.tables) - {"planner", "actor"}:
        for port in recording.trace.ports[node]:
            assert other.tables[node][f"{port}.hash"].equals(recording.trace.tables[node][f"{port}.hash"]), (node, port)


def test_an_equal_agent_makes_equal_decisions(recorded, tmp_path: Path) -> None:
    """The control: a substitution without effect agrees in every decision."""
    found = swap(Recording.open(recorded("cartpole")), ["planner.warm_start_prob=0.500001"], tmp_path / "swap")
    assert found.choices and found.agreement == 1 and all(gap == 0 for gap in found.gaps)


def test_a_discrete_action_agrees_or_not(recorded, tmp_path: Path) -> None:
    """Checked against the actions in both traces: a random actor agrees in some decisions and not in others."""
    recording = Recording.open(recorded("cartpole"))
    found = swap(recording, ["actor=random"], tmp_path / "swap")
    chosen = [[trace.message("actor", "action", one.wave, one.tick)[one.row].argmax().item() for one in found.moments]
              for trace in (recording.trace, Trace.open(found.folder))]
    differ = [float(one != two) for one, two in zip(*chosen, strict=True)]
    assert found.choices and [moment.apart for moment in found.moments] == differ
    assert {0.0, 1.0} == set(differ) and found.agreement == pytest.approx(1 - sum(differ) / len(differ))


def test_another_perception_changes_all_its_dependents(recorded, tmp_path: Path) -> None:
    found = swap(Recording.open(recorded("two rooms")), ["perception.width=16"], tmp_path / "swap")
    assert {"perception", "world_model", "cost", "planner", "actor"} <= set(found.nodes) and "world" not in found.nodes
    assert found.gaps == [] and found.promises_more is None, "two costs cannot be compared"
    assert found.incomparable == ("another world_model, goal, cost: energies of other costs, in other states or to other "
                                  "goals have no common unit")
    assert Trace.open(found.folder).header["details"]["incomparable"] == found.incomparable, "for later viewers"


@pytest.mark.parametrize(("overrides", "why"), [
    (["planner.horizon=4"], "its plans look 4 steps ahead, the recorded ones 3, and an energy is a sum over these steps"),
    (["~graph.planner.weights"], "the planner is wired to another cost, model, state or goal"),
    (["configurator.weights=[1,2]"],
     "configurator.weights differs from the trace at wave 0, tick 0, so the plans are scored differently"),
])
def test_energies_of_different_terms_are_not_compared(recorded, tmp_path: Path, overrides: list[str], why: str) -> None:
    found = swap(Recording.open(recorded("two rooms")), overrides, tmp_path / "swap")
    assert found.incomparable == why and found.gaps == [] and found.promises_more is None and found.planned


def test_a_configurator_with_equal_outputs_changes_no_energy(recorded, tmp_path: Path) -> None:
    found = swap(Recording.open(recorded("two rooms")), ["configurator.weights=[1,1]"], tmp_path / "swap")
    assert found.incomparable is None and found.nodes[0] == "configurator" and set(found.gaps) == {0.0}


def test_energies_are_compared_where_both_planned(recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a gate the agent reacts in some ticks: there is no plan, and an energy of 0 has no meaning."""
    recording = Recording.open(recorded("gate"))
    found = swap(recording, ["planner.num_candidates=9"], tmp_path / "swap")
    modes = {(wave, tick, row): mode for wave, tick, row, mode in ami.load_trace(recording.folder).ticks.select(
        ["wave", "tick", "row", "configurator.mode"]).to_pandas().itertuples(index=False)}
    for one in found.moments:
        assert one.planned == (modes[one.wave, one.tick, one.row] == 2) == (one.gap is not None)
    assert 0 < len(found.planned) < len(found.moments)
    assert found.promises_more == sum(one.gap < 0 for one in found.planned) / len(found.planned)
    assert main(["replay", str(recording.folder), "--swap", "planner.num_candidates=9"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{len(found.moments):,} in all" in printed
    assert f"both planned in {len(found.planned):,} of the decisions" in printed
    assert "mean cosine of the actions, in those" in printed


def test_delayed_wires_deliver_the_other_agents_energy_and_the_recorded_action(
        recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own energy has its own unit; the action is the one that was executed in the world."""
    received: list[tuple[str, Tensor | None]] = []

    class Spied(Worker):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            for node, port in (("configurator", "energy"), ("world_model", "action")):
                self.modules[node].step = self._spy(node, port, self.modules[node].step)

        def _spy(self, node: str, port: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def step(**given: Tensor) -> Any:
                received.append((node, given[port]))
                return real(**given)

            return step

    monkeypatch.setattr("ami.replay.substitute.Worker", Spied)
    recording = Recording.open(recorded("gate"))
    found = swap(recording, ["world_model=generative", "actor=random"], tmp_path / "swap")
    other = Trace.open(found.folder)
    energies, actions = ([value for name, value in received if name == node] for node in ("configurator", "world_model"))
    ticks = [(wave, tick) for wave, count in recording.ticks.items() for tick in range(count)]
    assert len(energies) == len(actions) == len(ticks)
    for place, (wave, tick) in enumerate(ticks):
        if tick:
            assert torch.equal(energies[place], other.message("cost", "energy", wave, tick - 1))
            assert torch.equal(actions[place], recording.actions(wave, tick - 1)["actor"]["action"])


def test_a_slow_node_rests_in_a_swap_as_it_did(recorded, tmp_path: Path) -> None:
    recording = Recording.open(recorded("slow"))
    found = swap(recording, ["planner=random_shooting", "planner.num_candidates=8", "~planner.num_elites",
                             "~planner.num_iterations"], tmp_path / "swap")
    other = Trace.open(found.folder)
    assert {node: len(table) for node, table in other.tables.items()} == {
        node: len(table) for node, table in recording.trace.tables.items()}
    for one in found.moments:  # a resting actor repeats its own last action
        was, new = (trace.message("actor", "action", one.wave, one.tick - one.tick % 3)[one.row]
                    for trace in (recording.trace, other))
        assert one.apart == pytest.approx(float(torch.linalg.vector_norm(new - was)))


def test_another_firing_period_is_a_change(recorded, tmp_path: Path) -> None:
    found = swap(Recording.open(recorded("two rooms")), ["graph.planner.every=2"], tmp_path / "swap")
    assert found.nodes == ("planner", "actor") and {one.tick % 2 for one in found.planned} == {0}


def test_a_changed_recorded_agent_is_reported(recorded, drifted: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    """Decisions equal those of an unchanged recording, and a warning states that the inputs come from a re-execution."""
    honest = swap(Recording.open(recorded("two rooms")), ["planner.num_candidates=9", "planner.num_elites=5"],
                  tmp_path / "honest")
    found = swap(Recording.open(drifted), ["planner.num_candidates=9"], tmp_path / "swap")
    assert found.moments == honest.moments and honest.drift() is None
    assert found.first is not None and 0 < found.otherwise <= len(found.moments)
    assert found.drift() == (
        f"the recorded agent, re-executed, differs from the trace at wave 0, tick 0, planner.plan, and its action differs "
        f"in {found.otherwise} of {len(found.moments)} decisions. The recorded actions and energies are those of the "
        "trace, but the inputs of the other agent come from the re-execution. Because: "
        "settings.planner.num_elites was 2 and is 5")
    assert main(["replay", str(drifted), "--swap", "planner.num_candidates=9"]) == 0
    assert "\nwarning: the recorded agent, re-executed, differs from the trace" in capsys.readouterr().out


def test_energies_of_a_cost_that_has_changed_since_are_not_compared(recorded, drifted: Path, tmp_path: Path) -> None:
    content = json.loads((drifted / "header.json").read_text())
    content["details"]["overrides"][-1] = "cost.gamma=0.5"  # affects a plan's energy, not that of visited states
    (drifted / "header.json").write_text(json.dumps(content))
    found = swap(Recording.open(drifted), ["planner.num_candidates=9"], tmp_path / "swap")
    assert found.first is not None and found.first.node == "planner" and found.planned and found.gaps == []
    assert found.incomparable == "cost: changed since the energies were recorded, see below"


@pytest.mark.parametrize(("overrides", "words"), [
    (["world.noise=tv"], r"^world\.noise=tv changes the world: .* Fix: --fork TICK"),
    (["planner=cem"], r"^planner=cem changes nothing in this agent\."),
])
def test_a_swap_of_nothing_or_of_the_world_is_refused(recorded, tmp_path: Path, overrides: list[str], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        swap(Recording.open(recorded("two rooms")), overrides, tmp_path / "swap")


def test_an_agent_with_other_learnt_weights_can_be_substituted(tmp_path: Path) -> None:
    learns = ["learning.collect.episodes=4", "learning.collect.batch=4", "learning.collect.steps=10",
              "learning.stages.model.steps=2", "learning.stages.critic.steps=2"]
    config = ami.compose([*TINY, *learns, "trace.level=boundary", f"store={tmp_path}"])
    recording = Recording.open(ami.run(config, tmp_path / "run").folder)
    found = swap(recording, ["seed=1"], tmp_path / "swap")
    assert found.nodes[:2] == ("perception", "world_model") and found.apart > 0 and found.gaps == []
    assert swap(recording, ["planner.num_candidates=9"], tmp_path / "planner").nodes == ("planner", "actor")
    with pytest.raises(SettingError, match=r"^evaluation\.pairs=3 changes nothing in this agent\."):
        swap(recording, ["evaluation.pairs=3"], tmp_path / "nothing")

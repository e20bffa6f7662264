"""Lesions: each module and wire of an agent is removed once, after training, and the loss is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

import ami
from ami.cli.main import main
from ami.comparison.compare import compare_variants
from ami.comparison.lesion import INTACT, lesion, lesions
from ami.comparison.variants import Variant
from ami.config.compose import compose, to_graph

SEES = ["agent=straight_line", "evaluation.pairs=4", "evaluation.batch=8"]


def test_every_module_and_wire_has_one_lesion() -> None:
    config = compose()
    labels = [variant.label for variant in lesions(config)]
    assert labels[0] == INTACT and len(set(labels)) == len(labels)
    for node in set(to_graph(config).order) - {"world"}:
        assert f"without {node}" in labels
    alone = {"without memory.recall@-1 → world_model.recall", "without planner.plan → actor.plan"}
    for wire in to_graph(config).wires:
        assert (f"without {wire}" in labels) != (f"without {wire}" in alone), "a part with a single wire is that wire"
    assert {"without cost.critic", "perception untrained", "world_model untrained", "cost untrained"} <= set(labels)


def test_every_lesion_is_a_valid_graph() -> None:
    for variant in lesions(compose()):
        to_graph(compose(variant.overrides))


def test_a_term_with_a_floor_loses_both() -> None:
    found = {variant.label: variant.overrides for variant in lesions(compose())}
    assert found["without cost.goal_distance"] == ("cost.weights.goal_distance=0", "cost.floors.goal_distance=0")
    assert found["without cost.critic"] == ("cost.weights.critic=0",)


def test_lesions_use_the_weights_of_the_intact_agent() -> None:
    variants = lesions(compose(["seed=3"]))
    assert {variant.learner for variant in variants} == {("seed=3",)}
    assert [variant.untrained for variant in variants if variant.label == "cost untrained"] == [("cost",)]


def test_rows_are_sorted_by_loss(tmp_path: Path) -> None:
    chosen = ("intact", "without memory", "without actor", "without goal", "without cost")
    agent = compose([*SEES, f"store={tmp_path}"])
    variants = [variant for variant in lesions(agent) if variant.label in chosen]
    done = compare_variants(variants, seeds=[0], against=INTACT, parallel=0, folder=None, console=None, allow=(),
                            skip_refused=True, name="lesion", by_loss=True)
    rates = {label: row["kinds"]["same_room"]["success"] for label, row in done.rows.items()}
    assert next(iter(rates)) == INTACT and rates[INTACT] == 1
    assert set(list(rates)[1:3]) == {"without actor", "without goal"} and rates["without actor"] == 0
    assert rates["without cost"] == 1, "one that walks straight at its goal needs no cost"


def test_refused_lesion_is_a_row_with_its_reason(tmp_path: Path) -> None:
    intact = lesions(compose([*SEES, f"store={tmp_path}"]))[0]
    broken = Variant("without mode", (*intact.overrides, "configurator.mode=3"), intact.overrides)
    done = compare_variants([broken, intact], seeds=[0], against=INTACT, parallel=0, folder=tmp_path / "it", console=None,
                            allow=(), skip_refused=True, name="lesion", by_loss=True)
    assert list(done.rows) == [INTACT, "without mode"]
    assert "mode is 3" in done.rows["without mode"]["refused"]


@pytest.mark.parametrize(("words", "sentence"), [
    (["planner=cem,none"], "'planner=cem,none' asks for several runs"),
    (["--against", "intact"], "--against has no effect with --lesion: the intact agent is the reference"),
    (["graph.actor.plan=planer.plan"], "did you mean 'planner'?"),
])
def test_wrong_arguments(words: list[str], sentence: str, in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--lesion", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(in_folder.iterdir())


def test_lesion_in_python() -> None:
    assert ami.lesion is lesion

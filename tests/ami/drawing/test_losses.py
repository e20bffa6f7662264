"""Losses of lesions in a drawing: read from a comparison, shown at wires and nodes, and refused with the file's name."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from ami.cli.main import main
from ami.drawing.description import Description
from ami.drawing.losses import Losses
from ami.drawing.svg import PALE, svg
from ami.drawing.text import mermaid, text
from ami.errors import SettingError
from tests.ami.toys import graph

SVG = "{http://www.w3.org/2000/svg}"


def row(*kinds: tuple[float, float]) -> dict[str, Any]:
    """Return a variant's figures: (difference, corrected p) by kind."""
    return {"kinds": {str(number): {"test": {"success": {"difference": difference, "p_holm": p}}}
                      for number, (difference, p) in enumerate(kinds)}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    variants = {"intact": {"kinds": {"0": {"test": None}}}, "without eye": row((-0.9, 0.001)),
                "without hand.action@-1 → eye.action": row((-0.02, 0.6), (-0.4, 0.01)),
                "without head.plan → hand.plan": row((-0.3, 0.2)), "without book": {"refused": "no"},
                "head untrained": row((-1.0, 0.0))}
    (tmp_path / "summary.json").write_text(json.dumps({"variants": variants}))
    return tmp_path


def test_a_loss_is_the_largest_significant_one_of_all_kinds(folder: Path) -> None:
    assert Losses.read(folder) == Losses.read(folder / "summary.json")
    assert Losses.read(folder).points == {"eye": 90.0, "hand.action@-1 → eye.action": 40.0, "head.plan → hand.plan": 0.0}


def test_text_and_mermaid_give_the_points_of_nodes_and_wires(folder: Path) -> None:
    drawn, losses = Description.of(graph()), Losses.read(folder)
    lines = text(drawn, losses).splitlines()
    assert "0  eye: Eye  −90" in lines and "0  book: Book" in lines
    assert "     action ← hand.action, 1 tick late  (B, 2)  −40" in lines
    assert "     state ← eye.state  (B, 3)  −90" in lines, "the only wire of a node has the node's lesion"
    assert "     plan ← head.plan  (B, 2, 2)  ±0" in lines
    assert '  hand -->|"action @-1  −40"| eye' in mermaid(drawn, losses).splitlines()


def test_svg_draws_a_wire_without_loss_pale_and_others_as_thick_as_their_loss(folder: Path) -> None:
    root = ElementTree.fromstring(svg(Description.of(graph()), Losses.read(folder)))
    wires = {(path.get("class"), path.get("stroke"), path.get("style")) for path in root.iter(f"{SVG}path")
             if path.get("class") in ("message", "feedback")}
    assert ("message", PALE, "stroke-width:1.4") in wires
    assert {style for _, stroke, style in wires if stroke != PALE} >= {"stroke-width:4.3", "stroke-width:2.7"}
    assert "−90" in [element.text for element in root.iter(f"{SVG}text")]


def test_a_drawing_without_losses_has_no_widths() -> None:
    assert "stroke-width:" not in svg(Description.of(graph())).split("</style>")[1]


@pytest.mark.parametrize(("content", "fault"), [("{}", "it has no variant 'intact'"), ("[1]", "it has no variant 'intact'"),
                                                 ("{", "it is not JSON")])
def test_another_file_is_refused(content: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(SettingError, match=r"is not a comparison with lesions: .*ami compare --lesion") as refused:
        Losses.read(tmp_path)
    assert fault in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--lesions", str(tmp_path)]) == 2
    fault = f"there is no {tmp_path / 'summary.json'}. Fix: a folder that `ami compare --lesion` wrote"
    assert fault in capsys.readouterr().err


def test_another_agents_lesions_are_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--lesions", str(folder)]) == 0
    noted = capsys.readouterr().err
    assert f"wires have no lesion in {folder}, such as " in noted and "Fix: the overrides of the compared agent" in noted

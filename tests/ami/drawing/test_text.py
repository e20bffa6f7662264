"""The graph as text, Mermaid and SVG shows every node, wire and call, and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from ami.config.compose import compose, to_graph
from ami.drawing.description import Description
from ami.drawing.layout import Item, _spread, arrange
from ami.drawing.losses import Losses
from ami.drawing.svg import COLOURS, svg
from ami.drawing.text import FORMATS, mermaid, text
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from tests.ami.toys import graph

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def shipped() -> Graph:
    return to_graph(compose())


def drawn(parts: Mapping[str, ModuleSpec] | None = None, **changes: Any) -> Description:
    return Description.of(graph(parts, **changes))


def test_ranks_are_the_longest_paths() -> None:
    assert drawn().ranks == {"book": 0, "eye": 0, "head": 1, "hand": 2}


def test_text_lists_sources_shapes_calls_and_periods_by_rank() -> None:
    assert text(drawn(head={"state": "eye.state", "calls": {"book": "book"}, "every": 2})) == "\n".join([
        "firing order: book → eye → head → hand",
        "",
        "0  book: Book",
        "0  eye: Eye",
        "     action ← hand.action, 1 tick late  (B, 2)",
        "1  head: Head, every 2 ticks",
        "     state ← eye.state  (B, 3)",
        "     calls book.look_up",
        "2  hand: Hand",
        "     plan ← head.plan  (B, 2, 2)"])


def test_a_device_is_shown_where_it_is_not_the_cpu() -> None:
    placed = graph(head={"state": "eye.state", "calls": {"book": "book"}, "every": 2})
    placed.devices["head"] = torch.device("cuda", 0)
    away = Description.of(placed)
    assert "1  head: Head, every 2 ticks, on cuda:0" in text(away).splitlines()
    assert '  head["<b>head</b><br>Head<br>every 2 ticks<br>on cuda:0"]:::module' in mermaid(away).splitlines()
    assert "Head, every 2 ticks, on cuda:0" in svg(away)
    assert "on cpu" not in text(away)


def test_mermaid_draws_messages_solid_and_calls_dotted() -> None:
    assert mermaid(drawn()).splitlines() == [
        "flowchart LR",
        '  book["<b>book</b><br>Book"]:::module',
        '  eye["<b>eye</b><br>Eye"]:::module',
        '  head["<b>head</b><br>Head"]:::module',
        '  hand["<b>hand</b><br>Hand"]:::module',
        '  eye -->|"state"| head',
        '  hand -->|"action @-1"| eye',
        '  head -->|"plan"| hand',
        '  head -.->|"look_up"| book',
        "  classDef module fill:#334155,stroke:#334155,color:#fff"]


def test_a_cut_wire_is_marked() -> None:
    severed = drawn(hand={"plan": {"from": "head.plan", "cut": True}}, eye={"action": "hand.action@-1"})
    assert "     plan ← head.plan, cut: constant 0  (B, 2, 2)" in text(severed).splitlines()
    assert '  head --x|"plan"| hand' in mermaid(severed).splitlines()
    words = [element.text for element in ElementTree.fromstring(svg(severed)).iter(f"{SVG}text")]
    assert "plan ✂" in words and "plan" not in words


def test_mermaid_keywords_are_escaped() -> None:
    ended = mermaid(drawn({"end": graph().specs["book"]}, end={}, head={"state": "eye.state", "calls": {"book": "end"}}))
    assert '  end_["<b>end</b><br>Book"]' in ended and '-.->|"look_up"| end_' in ended


def test_svg_is_well_formed_and_names_every_node_port_and_call(shipped: Graph) -> None:
    root = ElementTree.fromstring(svg(Description.of(shipped)))
    words = [element.text for element in root.iter(f"{SVG}text")]
    for node in shipped.order:
        assert node in words
    for wire in shipped.wires:
        assert (f"{wire.to_port} @-1" if wire.delay else wire.to_port) in words and wire.port in words
    assert {"world_model.imagine()", "cost.energy()", "perception.encode()"} <= set(words)


def test_svg_draws_one_arrow_per_wire_and_call(shipped: Graph) -> None:
    root = ElementTree.fromstring(svg(Description.of(shipped)))
    arrows = [path for path in root.iter(f"{SVG}path") if path.get("d", "").endswith("l-7 -4v8z")]
    back = [path for path in root.iter(f"{SVG}path") if path.get("d", "").endswith("l7 -4v8z")]
    calls = sum(len(call.methods) for node in shipped.order for name, call in shipped.drafts[node].requires.items()
                if name in shipped.calls[node])
    assert len(arrows) + len(back) == len(shipped.wires) + calls


def test_svg_is_standalone(shipped: Graph) -> None:
    picture = svg(Description.of(shipped))
    assert "href" not in picture and "<script" not in picture and "url(" not in picture


@pytest.mark.parametrize(("name", "overrides"), [("lesion_two_rooms", []), ("lesion_house", ["agent=house"])])
def test_the_pictures_of_the_readme_are_up_to_date(name: str, overrides: list[str]) -> None:
    home = Path(__file__).parents[3]
    found = home / "benchmarks" / "results" / f"{name}.json"
    drawing = svg(Description.of(to_graph(compose(overrides))), Losses.read(found)) + "\n"
    fix = (f"ami graph {' '.join(overrides)} --format svg --lesions benchmarks/results/{name}.json "
           f"--out docs/studies/{name}.svg")
    assert (home / "docs" / "studies" / f"{name}.svg").read_text(encoding="utf-8") == drawing, fix


def test_svg_boxes_do_not_overlap_and_stay_in_the_picture(shipped: Graph) -> None:
    root = ElementTree.fromstring(svg(Description.of(shipped)))
    _, _, width, height = map(float, root.get("viewBox", "").split())
    rects = [tuple(float(rect.get(side, 0)) for side in ("x", "y", "width", "height"))
             for rect in root.iter(f"{SVG}rect") if rect.get("fill") == "#fff"]
    assert len(rects) == len(shipped.order)
    for i, (x, y, w, h) in enumerate(rects):
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        assert all(x + w <= a or a + c <= x or y + h <= b or b + d <= y for a, b, c, d in rects[i + 1:])


def test_every_role_has_a_colour_of_its_own(shipped: Graph) -> None:
    roles = {module.role for module in shipped.drafts.values()}
    assert roles == set(COLOURS) and len(set(COLOURS.values())) == len(COLOURS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_drawing_is_deterministic(name: str) -> None:
    assert FORMATS[name](drawn()) == FORMATS[name](drawn())


def test_a_wire_that_passes_a_column_gets_a_lane_there_and_wires_of_one_output_share_it() -> None:
    layout = arrange({"a": 40, "b": 40, "c": 40, "d": 40}, {"a": 0, "b": 1, "c": 2, "d": 2},
                     [("a", 10, "b", 10, "a.x"), ("a", 10, "c", 10, "a.x"), ("a", 10, "d", 10, "a.x")], lane=10, gap=20)
    assert sorted(item.name for item in layout.columns[1]) == ["a.x", "b"]
    assert len(layout.links) == 4


def test_wires_that_need_not_cross_do_not() -> None:
    layout = arrange({"a": 40, "b": 40, "c": 40, "d": 40}, {"a": 0, "b": 0, "c": 1, "d": 1},
                     [("a", 10, "d", 10, "a.x"), ("b", 10, "c", 10, "b.x")], lane=10, gap=20)
    first, second = ([item.name for item in column] for column in layout.columns)
    assert (first, second) in ((["a", "b"], ["d", "c"]), (["b", "a"], ["c", "d"]))


def test_items_keep_order_and_spacing_near_their_targets() -> None:
    column = [Item(name, 0, 10) for name in "abc"]
    _spread(column, [5, 0, 100], gap=4)
    assert [item.y for item in column] == [-4.5, 9.5, 100]

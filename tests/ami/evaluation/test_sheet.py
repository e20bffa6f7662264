"""A table fits its terminal: columns wrap into further tables, words are never broken."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ami.evaluation.sheet import Sheet, lines


def printed(sheet: Sheet, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(sheet)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_cell_is_cut_and_no_word_broken_at_any_width(width: int) -> None:
    sheet = Sheet("A title of some words", ["", *(f"column{place}" for place in range(6))], "A caption of some words.")
    sheet.add("planner=random_shooting", [f"{place}00.1 [1, {place}]" for place in range(6)])
    text = printed(sheet, width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines()) and "…" not in text
    assert all(f"column{place}" in text and f"{place}00.1 [1, {place}]" in text for place in range(6))
    tables = text.count("planner=")
    assert (tables == 1) == (width == 200) and text.count("A title") == 1


def test_long_name_is_broken_at_separators() -> None:
    assert lines("planner._target_=mypkg.planners.MyPlanner", 24).split("\n") == [
        "planner._target_=mypkg.", "planners.MyPlanner"]
    assert lines("short", 24) == "short"


def test_columns_are_set_closer_before_a_split() -> None:
    sheet = Sheet("A title", ["", "same room", "across", "mean\nsteps", "model\nsteps", "ms"])  # as of a run in two rooms
    sheet.add("straight line", ["5.0 % [10.0, 23.6]", "55.0 % [34.2, 74.2]", "28.9 / 32.0", "256", "10.2"])
    assert printed(sheet, 80).count("straight line") == 1 and printed(sheet, 70).count("straight line") == 2
    assert "% [10.0, 23.6]  55.0 %" in printed(sheet, 100) and "% [10.0, 23.6] 55.0 %" in printed(sheet, 80)

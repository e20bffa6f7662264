"""Console: a log file gets plain text, `quiet` writes nothing, bars fit the terminal."""

from __future__ import annotations

import io
import re

import pytest
import rich.console
from rich.table import Table

from ami.terminal.console import Console
from tests.support.stages import stage

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f]")
STAGES = [stage(steps=200), stage("critic", steps=50)]
LONG = "Everything is in /a/" + "very/" * 40 + "long/folder"


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that make rich use colours."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


def show_everything(console: Console) -> None:
    console.note("learnt in 3 s: runs/trained/a1b2/agent.safetensors")
    table = Table("agent", "success")
    table.add_row("jepa", "98 %")
    console.table(table)
    with console.counting("collect", 4, "episodes") as bar:
        bar(3, "")
        bar(1, "7 of them solved")
    with console.learning(STAGES) as on_step:
        on_step(STAGES[0], 100, {"stage": "model", "loss": 0.123456, "std": 0.5, "probe_r2": 0.987, "grad": 7.0})
        on_step(STAGES[0], 200, None)
        on_step(STAGES[1], 50, {"loss": 12.0})


def test_output_to_a_file_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    show_everything(Console())
    out, err = capsys.readouterr()
    assert not CONTROL.search(out) and err == ""


def test_output_to_a_file_has_everything_once(capsys: pytest.CaptureFixture[str]) -> None:
    show_everything(Console())
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.strip()]
    assert lines[0] == "learnt in 3 s: runs/trained/a1b2/agent.safetensors"
    assert "jepa" in out and "98 %" in out
    for words in (("collect", "4/4", "7 of them solved"), ("learn critic", "50/50", "loss 12"),
                  ("learn model", "200/200", "loss 0.123", "std 0.5", "probe r2 0.987")):
        assert [all(word in line for word in words) for line in lines].count(True) == 1, words
    assert "grad" not in out


@pytest.mark.parametrize("text", [
    LONG, "runs/[final] a/[/b] :smile: [bold]x", "Everything is in here\n  every figure  summary.json", "",
    "warning: memory.calls.[x] has no effect"])
def test_a_note_is_printed_unchanged(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console().note(text)
    assert capsys.readouterr().out == text + "\n"


def test_quiet_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show_everything(Console(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_a_bar_fits_the_terminal_and_shows_the_latest_figures() -> None:
    console, file = Console(), io.StringIO()
    console.rich = rich.console.Console(file=file, force_terminal=True, width=80, color_system=None)
    show_everything(console)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n")
    bars = [line for line in shown.splitlines() if line.startswith(("collect", "learn"))]
    assert bars and max(map(len, bars)) <= 80
    assert any("loss 0.123" in line for line in bars)


def test_figures_stay_until_updated(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().learning(STAGES[:1]) as on_step:
        on_step(STAGES[0], 1, {"loss": 2.0, "probe_r2": 0.25})
        on_step(STAGES[0], 200, {"loss": 1.0})
    out = capsys.readouterr().out
    assert "loss 1" in out and "probe r2 0.25" in out and "loss 2" not in out


def test_an_error_inside_a_bar_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Console().counting("collect", 4, "episodes") as bar:
        bar(1, "")
        raise KeyboardInterrupt
    assert "1/4" in capsys.readouterr().out
    Console().note("a later note")
    assert capsys.readouterr().out == "a later note\n"

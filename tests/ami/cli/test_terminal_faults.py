"""A terminal that is closed, full or not UTF-8: no traceback, the right exit code, and complete results."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ami.cli.main import main
from ami.terminal.text import PLAIN, finish_streams

HOME = Path(__file__).parents[3]

def ami(command: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell line in which `ami` is the command line of this checkout."""
    shell = f'ami() {{ "{sys.executable}" -m ami "$@"; }}\n{command}'
    environment = {**os.environ, "PYTHONPATH": str(HOME), **settings}
    return subprocess.run(["bash", "-o", "pipefail", "-c", shell], cwd=folder, env=environment, capture_output=True,
                          timeout=240, check=False)


def test_prints_ascii_in_a_posix_terminal(tmp_path: Path) -> None:
    done = ami("ami graph", tmp_path, LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"world" in done.stdout and b"\\u" not in done.stdout, "a sign of the drawing has no plain one"


@pytest.mark.parametrize("words", [["graph"], ["list"], ["check", "world=two_rooms"], ["--help"],
                                   ["run", "--help"], ["lst–"]])
def test_prints_to_an_ascii_stream(words: list[str], in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert main(words) == (2 if words == ["lst–"] else 0)
    printed = [stream.buffer.getvalue() for stream in streams]
    assert any(printed) and b"Traceback" not in printed[1]


def test_every_symbol_has_an_ascii_replacement() -> None:
    assert all(plain.isascii() and plain.isprintable() for plain in PLAIN.values())
    assert "a – b → ∂".encode("ascii", "ami.plain") == b"a - b > \\u2202"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = ami("ami list >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (2, b"ami: standard output cannot be written (No space left on device)\n")


@pytest.mark.parametrize(("command", "code"), [
    ("ami list >&-", 0), ("ami list | head -1", 0), ("ami lst 2>&-", 2), ("ami lst 2>/dev/full", 2), ("ami list <&-", 0)])
def test_a_closed_stream_changes_nothing(command: str, code: int, tmp_path: Path) -> None:
    done = ami(command, tmp_path)
    assert (done.returncode, done.stderr) == (code, b"")


def test_output_for_closed_streams_does_not_reach_a_file(tmp_path: Path) -> None:
    done = ami("ami graph --out drawing.txt >&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert "wrote" not in (tmp_path / "drawing.txt").read_text(encoding="utf-8")


def test_a_deleted_working_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    done = ami("mkdir gone; cd gone; rmdir ../gone; ami list", tmp_path)
    assert done.returncode == 2
    assert done.stderr == (b"ami: the current folder is gone: it was deleted, or renamed and deleted. "
                           b"Fix: cd to one that exists\n")


@pytest.mark.parametrize("words", [
    ["run", "store=/proc/x"], ["run", "hydra.run.dir=/dev/null/x"], ["train", f"store={'x' * 256}"],
    ["graph", "--out", "/proc/x/drawing.svg"], ["compare", "planner=cem,mppi", "--folder", "/proc/x"]])
def test_an_unwritable_folder_is_refused_before_any_work(words: list[str], in_folder: Path,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert "evaluate" not in out and err.startswith("ami: ") and err.count("\n") == 1, err
    assert "expected a" in err and not list(in_folder.iterdir())


def test_a_run_continues_without_its_terminal(monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    from ami.terminal.console import Console

    class Full:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdout", Full())
    console = Console()
    with console.counting("evaluate", 2, "pairs") as bar:
        bar(2, "")
    console.note("still here")
    assert capsys.readouterr().err == ("ami: standard output cannot be written (No space left on device); "
                                       "the work continues\n")


def test_finish_streams_reports_no_fault_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish_streams() == ""

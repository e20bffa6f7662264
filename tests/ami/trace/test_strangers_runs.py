"""Untrusted and damaged runs: after any single mutation, every reader succeeds or refuses the run in one line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import mutations
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ami.cli.main import main
from ami.errors import TraceError
from ami.trace.reader import Trace
from ami.views.diff import diff
from ami.views.show import show
from ami.views.viewer import _script, view

HOSTILE = "</script><script>alert(1)</script>\u202egnp.exe [bold]x[/bold]"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mutations.recorded(tmp_path_factory.mktemp("good"))


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    return mutations.fresh(good, tmp_path / "copy")


def test_every_reader_accepts_the_recorded_run(good: Path, run: Path) -> None:
    assert {name: mutations.fault_of(reader, run, good) for name, reader in mutations.QUICK.items()} == dict.fromkeys(
        mutations.QUICK)


@settings(max_examples=30, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), data=st.data())
def test_one_mutation_is_accepted_or_refused_in_one_line(good: Path, tmp_path: Path, seed: int, data: st.DataObject) -> None:
    broken = mutations.fresh(good, tmp_path / "broken")
    done = mutations.mutate(broken, random.Random(seed))
    name = data.draw(st.sampled_from(sorted(mutations.QUICK)))
    with mutations.little_memory():
        assert mutations.fault_of(mutations.QUICK[name], broken, good) is None, done


def change(run: Path, **entries: object) -> None:
    content = json.loads((run / "header.json").read_text())
    (run / "header.json").write_text(json.dumps({**content, **entries}))


def test_a_hostile_header_reaches_terminal_and_page_escaped(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(run, run_id=HOSTILE, versions={"ami\u2066": HOSTILE})
    show(run)
    diff(run, run)
    printed = capsys.readouterr().out
    assert r"</script>\u202egnp.exe [bold]x[/bold]" in printed and r"ami\u2066" in printed
    assert all(sign.isprintable() or sign == "\n" for sign in printed)
    html = view(run).read_text(encoding="utf-8")
    assert HOSTILE not in html and "</script><script>alert(1)" not in html
    assert r"\u003c/script>" in _script("run", HOSTILE) and _script("run", HOSTILE).count("</script>") == 1


@pytest.mark.parametrize(("entries", "words"), [
    ({"run_id": "a\x1b]0;owned\x07"}, r"run_id is 'a\\x1b\]0;owned\\x07': expected a text of one line"),
    ({"run_id": "a\nami: all is well"}, r"run_id is 'a\\nami: all is well': expected a text of one line"),
    ({"graph": None}, "graph is None: expected a mapping"),
    ({"details": []}, r"details is \[\]: expected a mapping"),
    ({"clock": {"monotonic": 0, "epoch": 1e300}}, r"clock\.epoch is 1e\+300: expected a whole number"),
])
def test_an_invalid_header_field_is_named(
        run: Path, capsys: pytest.CaptureFixture[str], entries: dict[str, object], words: str) -> None:
    change(run, **entries)
    with pytest.raises(TraceError, match=rf"header\.json is not a run header: {words}.*\. Fix: copy the run again"):
        Trace.open(run)
    assert main(["trace", "show", str(run)]) == 2
    assert all(sign.isprintable() or sign == "\n" for sign in capsys.readouterr().err)


def test_wires_and_names_follow_the_grammar_of_the_wiring(run: Path) -> None:
    graph = json.loads((run / "header.json").read_text())["graph"]
    for broken, words in [({"order": ["a.b"]}, r"graph\.order\[0\] is 'a\.b': expected a name of letters"),
                          ({"wires": ["a.b -> c.d"]}, r"graph\.wires\[0\] is 'a\.b -> c\.d': expected a wire, 'node\.port"),
                          ({"every": {"world": 0}}, r"graph\.every\.world is 0: expected a number from 1")]:
        change(run, graph={**graph, **broken})
        with pytest.raises(TraceError, match=words):
            Trace.open(run)


PLACES: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: folder / "none\nami: forged", r"holds no run: expected a folder with header\.json"),
    (lambda folder: Path("/proc/self"), r"/proc/self holds no run"),
    (lambda folder: Path("/dev/null"), r"/dev/null holds no run"),
    (lambda folder: folder / ("x" * 300), r"header\.json is not a run header: it cannot be opened \(File name too long\)"),
    (lambda folder: linked(folder), r"cannot be opened \(Too many levels of symbolic links\)"),
]


def linked(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


@pytest.mark.parametrize("command", [["trace", "show"], ["view"], ["replay"]])
@pytest.mark.parametrize(("place", "words"), PLACES)
def test_a_path_without_a_run_is_named(command: list[str], place: Callable[[Path], Path], words: str, tmp_path: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    import re

    assert main([*command, str(place(tmp_path))]) == 2
    printed = capsys.readouterr().err
    assert re.search(words, printed), printed
    assert not printed.startswith("Traceback") and "\nami: forged" not in printed


def test_a_header_without_permission_names_the_fix(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ami.storage.files.os.open", denied)
    with pytest.raises(TraceError, match=r"header\.json cannot be read \(Permission denied\): .* Fix: read it as that user"):
        Trace.open(run)

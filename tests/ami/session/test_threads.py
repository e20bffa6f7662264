"""learning.threads=auto: the faster number is recorded, reused by a resumed training, and part of its key."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import ami
from ami.config.compose import Config
from ami.errors import CheckpointError, SettingError
from ami.learning.stage_run import StageRun
from ami.session import threads
from ami.session.learn import check, key_of, learn
from ami.session.threads import with_threads
from ami.terminal.console import Console
from tests.ami.session.test_learn import SMALL
from tests.support.notes import Notes

AUTO, CORES = "learning.threads=auto", 2
learn_module = sys.modules[learn.__module__]
"""`ami.session.learn` names the function here."""


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder}", *overrides])


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of threads, as its only entry, with which a step takes 10 ms; with others it takes 20 ms.

    Learning itself keeps to one thread: on busy cores two take ten times as long.
    """
    chosen = [CORES]
    monkeypatch.setattr(threads, "cores", lambda: CORES)
    monkeypatch.setattr(learn_module, "torch_threads", lambda count: nullcontext())
    monkeypatch.setattr(threads, "step_seconds",
                        lambda plan, experts, steps: 0.01 if torch.get_num_threads() == chosen[0] else 0.02)
    return chosen


@pytest.mark.parametrize("faster", [1, CORES])
def test_the_faster_number_is_chosen_and_printed(faster: int, fast: list[int], tmp_path: Path) -> None:
    fast[0], notes = faster, Notes()
    chosen = with_threads(config(tmp_path, AUTO), notes)
    assert chosen.plain()["learning"]["threads"] == faster and chosen.overrides[-1] == f"learning.threads={faster}"
    times = ", ".join(f"{10 if count == faster else 20}.0 ms with {count}" for count in (1, CORES))
    assert notes.notes == [f"learning.threads=auto is {faster}: a step of the stage model takes {times} (measured now)"]


def test_a_recorded_number_is_reused_whatever_would_be_measured_now(fast: list[int], tmp_path: Path) -> None:
    first = learn(config(tmp_path, AUTO))
    fast[0], notes = 1, Notes()
    assert learn(config(tmp_path, AUTO), notes).cached and "(as measured before)" in notes.notes[0]
    assert first.key == key_of(config(tmp_path, AUTO)) == key_of(config(tmp_path, f"learning.threads={CORES}"))
    assert first.key != key_of(config(tmp_path, "learning.threads=1"))
    assert learn(config(tmp_path / "elsewhere", AUTO)).key == key_of(config(tmp_path, "learning.threads=1"))


def test_a_resumed_training_keeps_its_number(fast: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = StageRun.update

    def killed(run: StageRun) -> object:
        if run.stage.steps == 6 and run.step == 3:  # not in the dry run
            raise KeyboardInterrupt
        return update(run)

    monkeypatch.setattr(StageRun, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        learn(config(tmp_path, AUTO))
    monkeypatch.setattr(StageRun, "update", update)
    fast[0], notes = 1, Notes()
    after = learn(config(tmp_path, AUTO), notes)
    assert "learning resumed from the last save of a stopped training" in notes.notes
    assert after.key == key_of(config(tmp_path, f"learning.threads={CORES}"))


def test_real_steps_are_measured_and_the_callers_number_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: CORES)
    before = torch.get_num_threads()
    chosen = with_threads(config(tmp_path, AUTO), Console(quiet=True))
    (file,) = (tmp_path / "trained" / "threads").iterdir()
    record = threads.CHOICE_FILE.read_json(file)
    assert torch.get_num_threads() == before
    assert set(record["seconds"]) == {"1", str(CORES)} and all(0 < seconds < 10 for seconds in record["seconds"].values())
    assert record["threads"] == chosen.settings.learning.threads == int(min(record["seconds"], key=record["seconds"].get))


def test_nothing_is_measured_without_learning(fast: list[int], tmp_path: Path) -> None:
    fixed = config(tmp_path, "learning.threads=3")
    assert with_threads(fixed, Console(quiet=True)) is fixed
    nothing = with_threads(config(tmp_path, AUTO, "learning.stages={model: null, critic: null}"), Console(quiet=True))
    assert nothing.settings.learning.threads == 1 and not list(tmp_path.iterdir())


def test_a_damaged_record_is_refused(fast: list[int], tmp_path: Path) -> None:
    with_threads(config(tmp_path, AUTO), Console(quiet=True))
    (file,) = (tmp_path / "trained" / "threads").iterdir()
    file.write_text('{"threads": "many", "seconds": {}}')
    with pytest.raises(CheckpointError) as error:
        check(config(tmp_path, AUTO))
    assert str(error.value).startswith(f"{file} is not a recorded number of threads: ")
    assert str(error.value).endswith("Fix: delete it: the number is then measured again")


@pytest.mark.parametrize("given", ["all", "0", "1.5"])
def test_another_word_or_number_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as error:
        config(tmp_path, f"learning.threads={given}")
    assert f"learning.threads is {given!r}" .replace("'", "") in str(error.value).replace("'", "")
    assert "expected a whole number from 1 to 1024, or auto" in str(error.value)

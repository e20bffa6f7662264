"""Limits: a setting that needs more memory or time than available is refused by its name, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami.errors import SettingError
from ami.storage import limits
from ami.storage.limits import check_memory, check_time, in_bytes, in_time, memory


def test_data_larger_than_memory_are_refused_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory", lambda: 16e9)
    check_memory("evaluation.pairs", 10**6, 15e9, "fewer pairs")
    with pytest.raises(SettingError) as refusal:
        check_memory("evaluation.pairs", 10**11, 9.6e12, "fewer pairs")
    assert str(refusal.value) == ("evaluation.pairs is 100000000000: its data need 9.6 TB of memory or more, and 16 GB are "
                                  "available. Fix: fewer pairs")


def test_more_than_a_day_gives_a_warning_and_more_than_a_year_an_error() -> None:
    assert check_time("learning.stages.model.steps", 10, 86_400, "fewer steps") is None
    assert check_time("learning.stages.model.steps", 10**8, 864_000, "fewer steps") == (
        "learning.stages.model.steps is 100000000: that takes about 10 days on this machine")
    with pytest.raises(SettingError) as refusal:
        check_time("learning.stages.model.steps", 10**12, 1e10, "fewer steps")
    assert str(refusal.value) == ("learning.stages.model.steps is 1000000000000: that takes about 317 years on this "
                                  "machine. Fix: fewer steps")


@pytest.mark.parametrize(("text", "expected"), [("1000000\n", 1e6), ("max\n", None), (None, None)])
def test_memory_respects_the_control_group(text: str | None, expected: float | None, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory()
    monkeypatch.setattr(limits, "CGROUP", tmp_path / "memory.max")
    if text is not None:
        (tmp_path / "memory.max").write_text(text)
    assert memory() == expected if expected else memory() >= whole > 1e8


def test_sizes_and_durations_are_formatted() -> None:
    assert [in_bytes(count) for count in (12, 3.21e9, 4e21)] == ["12 B", "3.21 GB", "4e+03 EB"]
    assert [in_time(seconds) for seconds in (1, 90, 7200, 864_000, 3e12)] == [
        "1 seconds", "90 seconds", "2 hours", "10 days", "95,129 years"]

"""Cache: stored entries are found, the size stays within its limit, and failed writes only cause a warning."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from ami.learning import checkpoint
from ami.learning.cache import Cache

TEN_KB = {"x": torch.zeros(2500)}


def names(folder: Path) -> set[str]:
    return {file.name.partition(".")[0] for file in folder.iterdir()}


def test_a_stored_entry_is_found_and_others_are_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.find("a") is None
    cache.keep("a", TEN_KB, {"seconds": 3})
    found = cache.find("a")
    assert found is not None and torch.equal(found[0]["x"], TEN_KB["x"]) and found[1] == {"seconds": 3}
    cache.keep("a.progress", TEN_KB, {})
    cache.forget("a.")
    assert names(cache.folder) == {"a"} and cache.find("a") is not None


def test_the_least_recently_used_entry_is_deleted_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=35_000)
    for age, name in enumerate(("a", "b", "c")):
        cache.keep(name, TEN_KB, {})
        os.utime(cache.file(name), (age, age))
    assert cache.find("a") is not None, "a found entry counts as used"
    cache.keep("d", TEN_KB, {})
    assert names(tmp_path) == {"a", "c", "d"}


def test_an_entry_larger_than_the_cache_is_not_stored_and_warned_of(tmp_path: Path) -> None:
    messages: list[str] = []
    Cache(tmp_path, messages.append, limit=5000).keep("experience-1", TEN_KB, {})
    assert messages == ["experience-1 is not cached: it has 10 kB, the cache holds 5 kB"] and not list(tmp_path.iterdir())


def test_a_damaged_entry_is_deleted_and_warned_of(tmp_path: Path) -> None:
    messages: list[str] = []
    cache = Cache(tmp_path, messages.append)
    cache.keep("a", TEN_KB, {})
    cache.file("a").write_bytes(cache.file("a").read_bytes()[:-7])
    assert cache.find("a") is None and not cache.file("a").exists()
    assert len(messages) == 1 and messages[0].startswith("a in the cache is damaged and is recomputed: ")
    assert cache.find("a") is None and len(messages) == 1, "a missing entry causes no warning"


def test_a_full_disk_only_causes_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    messages: list[str] = []
    monkeypatch.setattr(checkpoint, "save", full)
    Cache(tmp_path, messages.append).keep("stage-1", TEN_KB, {})
    assert messages == [f"stage-1 is not cached in '{tmp_path}': No space left on device"]

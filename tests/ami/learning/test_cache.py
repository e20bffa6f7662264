"""The cache of learning finds what was kept, stays within its bound, and costs nobody's work where it cannot be written."""

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


def test_what_was_kept_is_found_and_what_was_not_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.find("a") is None
    cache.keep("a", TEN_KB, {"seconds": 3})
    found = cache.find("a")
    assert found is not None and torch.equal(found[0]["x"], TEN_KB["x"]) and found[1] == {"seconds": 3}
    cache.keep("a.progress", TEN_KB, {})
    cache.forget("a.")
    assert names(cache.folder) == {"a"} and cache.find("a") is not None


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=35_000)
    for age, name in enumerate(("a", "b", "c")):
        cache.keep(name, TEN_KB, {})
        os.utime(cache.file(name), (age, age))
    assert cache.find("a") is not None, "what is found is used"
    cache.keep("d", TEN_KB, {})
    assert names(tmp_path) == {"a", "c", "d"}


def test_what_is_larger_than_the_cache_is_not_kept_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    Cache(tmp_path, said.append, limit=5000).keep("experience-1", TEN_KB, {})
    assert said == ["experience-1 is not cached: it has 10 kB, the cache holds 5 kB"] and not list(tmp_path.iterdir())


def test_a_file_that_the_disk_spoilt_is_made_anew(tmp_path: Path) -> None:
    said: list[str] = []
    cache = Cache(tmp_path, said.append)
    cache.keep("a", TEN_KB, {})
    cache.file("a").write_bytes(cache.file("a").read_bytes()[:-7])
    assert cache.find("a") is None and not cache.file("a").exists()
    assert len(said) == 1 and said[0].startswith("a in the cache is damaged and is recomputed: ")
    assert cache.find("a") is None and len(said) == 1, "what is absent is no fault"


def test_a_full_disk_costs_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    said: list[str] = []
    monkeypatch.setattr(checkpoint, "save", full)
    Cache(tmp_path, said.append).keep("stage-1", TEN_KB, {})
    assert said == [f"stage-1 is not cached in '{tmp_path}': No space left on device"]

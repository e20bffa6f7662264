"""Cache: stored entries are found, the size stays within its limit, and failed writes only cause a warning."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from ami.data.replay_buffer import ReplayBuffer
from ami.learning import checkpoint
from ami.learning.cache import Cache

TEN_KB = {"x": torch.zeros(2500)}


def episodes(folder: Path | None = None) -> ReplayBuffer:
    """Return ten episodes of 1 kB."""
    buffer = ReplayBuffer(memory=0, folder=folder)
    for number in range(10):
        buffer.append({"observation": torch.full((10, 99), number, dtype=torch.uint8), "action": torch.zeros(10, 1,
                                                                                                       dtype=torch.uint8)})
    return buffer


def full(*given: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    messages: list[str] = []
    monkeypatch.setattr(checkpoint, "save", full)
    Cache(tmp_path, messages.append).keep("stage-1", TEN_KB, {})
    assert messages == [f"stage-1 is not cached in '{tmp_path}': No space left on device"]


@pytest.mark.parametrize("is_spilled", [False, True])
def test_stored_episodes_are_found_and_count_like_other_entries(tmp_path: Path, is_spilled: bool) -> None:
    cache = Cache(tmp_path, limit=25_000)
    assert cache.find_episodes("a") is None
    stored = cache.keep_episodes("a", episodes(cache.spill("a") if is_spilled else None), {"seconds": 3})
    found = cache.find_episodes("a")
    assert found is not None and found[1] == {"seconds": 3}
    for buffer in (stored, found[0]):
        assert buffer.column("observation")[:, 0].tolist() == [number for number in range(10) for _ in range(10)]
    os.utime(cache.folder_of("a"), (1, 1))
    cache.keep("b", TEN_KB, {})
    os.utime(cache.file("b"), (2, 2))
    cache.keep_episodes("c", episodes(), {})
    assert names(tmp_path) == {"b", "c"}
    assert stored.column("observation")[-1, 0] == 9, "rows that are mapped stay readable"


def test_episodes_that_cannot_be_stored_are_kept_and_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    cache = Cache(tmp_path, messages.append, limit=5000)
    assert cache.keep_episodes("a", episodes(), {}).num_episodes == 10 and not list(tmp_path.iterdir())
    cache.limit = 1e6
    for folder in (None, cache.spill("a")):
        given = episodes(folder)
        with monkeypatch.context() as patch:
            patch.setattr("ami.data.episode_folder.write_json", full)
            kept = cache.keep_episodes("a", given, {})
        assert kept.column("observation")[-1, 0] == 9
    assert messages == ["a is not cached: it has 10 kB, the cache holds 5 kB",
                        *2 * [f"a is not cached in '{tmp_path}': No space left on device"]]


def test_damaged_episodes_are_deleted_and_warned_of(tmp_path: Path) -> None:
    messages: list[str] = []
    cache = Cache(tmp_path, messages.append)
    cache.keep_episodes("a", episodes(), {})
    (cache.folder_of("a") / "episodes.jsonl").write_text("hello\n")
    assert cache.find_episodes("a") is None and not cache.folder_of("a").exists()
    assert len(messages) == 1 and messages[0].startswith("a in the cache is damaged and is recomputed: ")


def test_what_killed_processes_left_is_deleted(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("old", "new"):
        cache.spill(name).mkdir()
        (cache.spill(name) / "observation.00000.bin").touch()
    os.utime(cache.spill("old"), (1, 1))
    cache.keep("a", TEN_KB, {})
    assert not cache.spill("old").exists() and cache.spill("new").exists()

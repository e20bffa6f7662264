"""EpisodeFolder: grows by whole episodes, also after a kill; damage and foreign content are refused by name."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ami.data import column as columns
from ami.data.episode_folder import INDEX, EpisodeFolder
from ami.errors import DataError, SettingError

FIELDS = {"observation": (torch.uint8, (3,)), "action": (torch.float32, (2,)), "truth": (torch.float32, (0,)),
          "terminated": (torch.bool, ())}


def episode(number: int, steps: int) -> dict[str, Tensor]:
    return {name: torch.full((steps + 1, *shape), number % 2 if dtype == torch.bool else number, dtype=dtype)
            for name, (dtype, shape) in FIELDS.items()}


def written(folder: Path, lengths: list[int]) -> EpisodeFolder:
    files = EpisodeFolder(folder)
    files.begin(FIELDS)
    for number, steps in enumerate(lengths):
        files.append(episode(number, steps))
    return files


def content(files: EpisodeFolder) -> list[dict[str, object]]:
    return [{name: rows.tolist() for name, rows in one.items()} for one in files.episodes()]


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_BLOCK", 32)


def test_episodes_are_read_as_written_and_appended_later(tmp_path: Path) -> None:
    files = written(tmp_path, [4, 0, 7])
    files.flush()
    files.notes = {"world": "two rooms"}
    again = EpisodeFolder(tmp_path)
    assert again.steps == [4, 0, 7] and content(again) == content(files) and again.notes == {"world": "two rooms"}
    again.append(episode(3, 2))
    assert content(EpisodeFolder(tmp_path)) == content(written(tmp_path / "other", [4, 0, 7, 2]))
    assert len(list(tmp_path.glob("observation.*.bin"))) == 2, "10 rows fit in a file"


@pytest.mark.parametrize("kept", range(5))
@pytest.mark.parametrize("is_open", [True, False])
def test_the_last_episodes_are_deleted_and_others_follow(tmp_path: Path, kept: int, is_open: bool) -> None:
    lengths = [4, 0, 7, 9]
    files = written(tmp_path, lengths) if is_open else EpisodeFolder(written(tmp_path, lengths).path)
    files.keep(kept)
    assert files.steps == lengths[:kept] and content(files) == content(EpisodeFolder(tmp_path))
    files.append(episode(kept, 3))
    assert content(EpisodeFolder(tmp_path)) == content(written(tmp_path / "other", [*lengths[:kept], 3]))


@pytest.mark.parametrize("lost", range(1, 40, 3))
def test_what_a_kill_left_is_cut_off(tmp_path: Path, lost: int) -> None:
    """A torn line, or rows without a line."""
    files = written(tmp_path, [4, 3])
    whole = content(files)
    files.append(episode(2, 6))
    os.truncate(tmp_path / INDEX, (tmp_path / INDEX).stat().st_size - lost)
    torn = EpisodeFolder(tmp_path)
    assert torn.steps == [4, 3] and content(torn) == whole
    torn.append(episode(2, 6))
    assert content(EpisodeFolder(tmp_path)) == content(written(tmp_path / "whole", [4, 3, 6]))


def test_rows_that_never_reached_the_disk_end_the_data(tmp_path: Path) -> None:
    written(tmp_path, [4, 3, 6])
    last = max(tmp_path.glob("action.*.bin"))
    os.truncate(last, last.stat().st_size - 1)
    torn = EpisodeFolder(tmp_path)
    assert torn.steps == [4, 3] and len(content(torn)) == 2
    torn.append(episode(2, 1))
    assert EpisodeFolder(tmp_path).steps == [4, 3, 1] and len(content(EpisodeFolder(tmp_path))) == 3


def test_a_killed_writer_leaves_whole_episodes(tmp_path: Path) -> None:
    script = ("import sys; from pathlib import Path; from tests.ami.data.test_episode_folder import *\n"
              "files = written(Path(sys.argv[1]), [])\n"
              "for number in range(10**9): files.append(episode(number % 200, number % 9))")
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", script, str(folder)])
        while not (folder / INDEX).exists() or (folder / INDEX).stat().st_size < 2000:
            time.sleep(0.01)
        time.sleep(random.random() / 5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = EpisodeFolder(folder)
        assert found.num_episodes > 10
        for number, rows in enumerate(found.episodes()):
            assert torch.equal(rows["action"], episode(number % 200, number % 9)["action"])


def test_damaged_rows_are_refused_by_episode(tmp_path: Path) -> None:
    written(tmp_path, [4, 3, 6])
    file = tmp_path / "observation.00000.bin"
    damaged = bytearray(file.read_bytes())
    damaged[16] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"is damaged: the rows of episode 1 have the checksum \w{8}, expected \w{8}. Fix: "):
        content(EpisodeFolder(tmp_path))


def line(plain: object) -> bytes:
    text = json.dumps(plain).encode()
    return text + f"\t{zlib.crc32(text):08x}\n".encode()


HEADER = {"format": "ami episodes", "version": 1, "fields": {"observation": {
    "dtype": "uint8", "shape": [3], "rows_per_file": 10}}}


@pytest.mark.parametrize(("index", "words"), [
    (b"", "it has no whole line"),
    (b"hello\n", "line 1 does not have its checksum"),
    (line(HEADER) + b'{"steps": 3, "rows": 1}\t00000000\n', "line 2 does not have its checksum"),
    (line({**HEADER, "version": 2}), "line 1.version is 2: expected 1"),
    (line({**HEADER, "fields": {"../../etc": HEADER["fields"]["observation"]}}), "expected a name of letters"),
    (line({**HEADER, "fields": {"a": {"dtype": "object", "shape": [], "rows_per_file": 1}}}), "fields.a.dtype is 'object'"),
    (line({**HEADER, "fields": {"a": {"dtype": "uint8", "shape": [-1], "rows_per_file": 1}}}), "shape[0] is -1"),
    (line({**HEADER, "fields": {"a": {"dtype": "uint8", "shape": [1], "rows_per_file": 0}}}), "rows_per_file is 0"),
    (line(HEADER) + line({"steps": -1, "rows": 1}), "line 2.steps is -1"),
    (line(HEADER) + line({"steps": 2**40, "rows": 1}), "line 2.steps is"),
])
def test_a_foreign_index_is_refused(tmp_path: Path, index: bytes, words: str) -> None:
    (tmp_path / INDEX).write_bytes(index)
    with pytest.raises(DataError) as refused:
        EpisodeFolder(tmp_path)
    assert words in str(refused.value) and INDEX in str(refused.value)


def test_missing_rows_are_refused_and_claims_allocate_nothing(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(line(HEADER) + line({"steps": 2**31 - 1, "rows": 1}))
    with pytest.raises((DataError, FileNotFoundError)):
        EpisodeFolder(tmp_path)
    (tmp_path / "observation.00000.bin").write_bytes(b"abc")
    assert EpisodeFolder(tmp_path).steps == []


def test_other_rows_are_refused(tmp_path: Path) -> None:
    files = written(tmp_path, [1])
    with pytest.raises(SettingError, match="an episode has the fields and lengths"):
        files.append({"observation": torch.zeros(2, 3, dtype=torch.uint8)})
    with pytest.raises(SettingError, match=r"action of an episode is torch\.float64"):
        files.append({**episode(1, 2), "action": torch.zeros(3, 2, dtype=torch.float64)})
    assert len(content(EpisodeFolder(tmp_path))) == 1

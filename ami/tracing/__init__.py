"""The log of every invocation, and what can be made of it.

    tables = ami.tracing.load("runs/2026-01-31_12-00-00")
    tables.ticks.to_pandas()       # also episodes, invocations, inputs, messages: docs/traces.md is their schema
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ami.tracing.tables import Tables


def load(run: Path | str) -> Tables:
    """The trace of a run's folder as tidy Arrow tables, each made when it is first asked for.

    Raises:
        TraceError: there is no run in this folder, or it holds no trace.
    """
    from ami.tracing.tables import Tables

    return Tables.load(run)

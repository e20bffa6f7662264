"""Memory of learning from experience that is larger than memory: pictures of 64 px, 64 steps per episode.

    python benchmarks/data.py            # 10,000 episodes, 8 GB: about half an hour; writes benchmarks/results/data.json
    python benchmarks/data.py 500

Each case is one training in a process of its own, with few updates: collecting, statistics of all frames, windows for the
world model, then the states of all frames for the critic. A thread reads the process's memory every 50 ms:

    rss_mb         VmRSS, all that is resident: the process's own and what it has mapped of files
    anonymous_mb   RssAnon, the process's own alone

The last two cases have a twentieth of the episodes, in memory and in files: their weights must be the same.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from record import record

STEPS, SIDE, EVERY = 64, 64, 0.05
UPDATES = 100
SETTINGS = ["runtime=local", f"world.size={SIDE}", f"world.max_episode_steps={STEPS}", f"learning.collect.steps={STEPS}",
            "learning.collect.batch=100", f"learning.stages.model.steps={UPDATES}",
            f"learning.stages.critic.steps={UPDATES}"]


class Watch(threading.Thread):
    """Records the largest memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most: dict[str, float] = {}

    def run(self) -> None:
        while True:
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
            for name, key in (("rss_mb", "VmRSS"), ("anonymous_mb", "RssAnon"), ("of_files_mb", "RssFile")):
                self.most[name] = max(self.most.get(name, 0.0), int(status[key].split()[0]) / 1000)
            time.sleep(EVERY)


def one(episodes: int, overrides: list[str]) -> dict[str, Any]:
    """Train once and return the figures; runs in a process of its own."""
    import ami
    from ami.session.learn import learn

    watch = Watch()
    watch.start()
    begun, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=os.environ.get("AMI_STORE")) as store:
        trained = learn(ami.compose([*SETTINGS, f"learning.collect.episodes={episodes}", f"store={store}", *overrides]))
    time.sleep(2 * EVERY)
    digest = hashlib.sha256()
    for node, state in sorted(trained.weights.items()):
        for name, value in sorted(state.items()):
            digest.update(f"{node}.{name}".encode() + value.numpy().tobytes())
    return {"episodes": episodes, "experience_mb": episodes * (STEPS + 1) * SIDE * SIDE * 3 / 1e6, **watch.most,
            "seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu,
            "weights": digest.hexdigest()[:16]}


def separately(episodes: int, *overrides: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--one", str(episodes), *overrides], check=True, capture_output=True,
                          text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(figures, flush=True)
    return figures


def main(words: list[str]) -> int:
    if words[:1] == ["--one"]:
        print(json.dumps(one(int(words[1]), words[2:])))
        return 0
    episodes = int(words[0]) if words else 10_000
    figures = {"many": separately(episodes),
               "few, in memory": separately(episodes // 20, "learning.buffer.memory=1e12"),
               "few, in files": separately(episodes // 20, "learning.buffer.memory=1")}
    same = figures["few, in memory"]["weights"] == figures["few, in files"]["weights"]
    record("data", {**figures, "same_weights": same})
    return 0 if same and figures["many"]["rss_mb"] < 2000 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Re-executed recordings: identical for every graph and runtime, and changes are named.

    python benchmarks/replay.py [--store runs/studies]

A few minutes. Writes benchmarks/results/replay.json. Exits with 1 if one of the ten runs is not identical, message by
message, or if a change to a copy of a recording is not among the first that the replay names.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.learning import checkpoint
from ami.replay.recording import Recording
from ami.replay.reexecute import reexecute
from ami.trace.reader import Trace

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]
COMMON = ["trace.level=boundary", "evaluation.pairs=10", "evaluation.baselines=[]", "evaluation.video=0"]
GRAPHS = {
    "jepa": ["experiment=quick"],
    "oracle": ["agent=oracle"],
    "random": ["agent=random"],
    "gate": ["learning=none", "configurator=surprise_gate", "actor=policy", "memory=short_term"],
    "cartpole": ["world=gym", "world.id=CartPole-v1", "perception=vector", "memory=none", "goal=none", "cost=reward",
                 "world_model.anti_collapse=none", "world_model.rewards=true", "planner=categorical", "learning=none"],
}
RUNTIMES = ("local", "ray")


def other_weight(run: Path) -> None:
    tensors, notes = checkpoint.load(run / "agent.safetensors")
    tensors["world_model/predictor.last.bias"] = tensors["world_model/predictor.last.bias"] + 1e-3
    checkpoint.save(run / "agent.safetensors", tensors, notes)


def in_header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def done(run: Path) -> None:
        header = json.loads((run / "header.json").read_text())
        change(header)
        (run / "header.json").write_text(json.dumps(header))

    return done


def other_setting(header: dict[str, Any]) -> None:
    """Add an override, as if a default had changed since the recording."""
    header["details"]["overrides"].append("planner.temperature=0.4" if "mppi" in str(header) else "planner.num_elites=7")


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a weight of the world model": (other_weight, "weights.world_model"),
    "a setting of the planner": (in_header(other_setting), "settings.planner.num_elites"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("runs/studies"))
    store = parser.parse_args().store
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as place:
        for name, overrides in GRAPHS.items():
            for runtime in RUNTIMES:
                run = ami.run(ami.compose([*COMMON, *overrides, f"runtime={runtime}", f"store={store}"]),
                              Path(place) / f"{name}-{runtime}").folder
                begun = time.perf_counter()
                done = reexecute(Recording.open(run), Path(place) / f"{name}-{runtime}-replay")
                same = done.first is None and Trace.open(run).digest() == Trace.open(done.folder).digest()
                rows.append({"graph": name, "runtime": runtime, "identical": same, "ticks": done.ticks,
                             "messages": done.messages, "seconds": time.perf_counter() - begun, "cause": done.cause()})
                print(f"{name:10} {runtime:6} {'identical' if same else 'DIFFERENT'} {done.messages:6,} messages of "
                      f"{done.ticks:4} ticks in {rows[-1]['seconds']:.1f} s")
        named = [*(_named(Path(place), what) for what in CHANGES), _other_code(Path(place))]
    ok = all(row["identical"] for row in rows) and all(row["named"] for row in named)
    record("replay", {"runs": rows, "changes": named, "met": ok})
    return 0 if ok else 1


def _named(place: Path, what: str) -> dict[str, Any]:
    """Return the replay's report of one change to a copy of the JEPA's recording."""
    change, expected = CHANGES[what]
    run = place / f"changed-{expected}"
    shutil.copytree(place / "jepa-local", run)
    change(run)
    done = reexecute(Recording.open(run), place / f"changed-{expected}-replay")
    ok = done.first is not None and any(text.startswith(expected) for text in done.changes[:2])
    print(f"{what}: {'named' if ok else 'NOT NAMED'}: differs at {done.first}; {done.cause()}")
    return {"change": what, "named": ok, "first": str(done.first), "cause": done.cause()}


def _other_code(place: Path) -> dict[str, Any]:
    """Re-execute the JEPA's recording with a copy of the code in which one line of the planner is changed."""
    code = place / "code"
    for package in ("ami", "configs", "modules", "worlds"):
        shutil.copytree(ROOT / package, code / package)
    planner = code / "modules" / "planner" / "cem.py"
    before = planner.read_text()
    planner.write_text(before.replace("clamp_(-1.0, 1.0)", "clamp_(-0.9, 0.9)"))
    if planner.read_text() == before:
        raise SystemExit("modules/planner/cem.py no longer clamps plans to -1.0 … 1.0: change another line of the copy")
    done = subprocess.run([sys.executable, "-c", "import sys; from ami.cli.main import main; sys.exit(main())", "replay",
                           str(place / "jepa-local"), "--out", str(place / "code-replay")], capture_output=True, text=True,
                          cwd=code, env={**os.environ, "PYTHONPATH": str(code), "COLUMNS": "300"})
    ok = done.returncode == 1 and "code.planner was" in done.stdout
    said = " ".join(done.stdout.partition("by how much")[0].split())
    print(f"a line of the planner's code: {'named' if ok else 'NOT NAMED'}: {said}{done.stderr}")
    return {"change": "a line of the planner's code", "named": ok, "said": said}


if __name__ == "__main__":
    sys.exit(main())

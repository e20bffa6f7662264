"""Mutated run folders: no reader fails with a traceback, a hang or excessive memory.

    python benchmarks/mutations.py [COUNT] [SEED]       # 1,000 from 0; writes benchmarks/results/mutations.json

One file of a small recorded run is broken at random (`tests/support/mutations.py`: bytes, JSON, columns, kinds of file).
Three readers of eleven open it, in a child process with 2 GiB of extra memory. A reader has to succeed or to raise a
one-line error that names the run, within two seconds of CPU time. Other outcomes *escape*: they are printed with their seed
and recorded. The expected number is 0.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from record import record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
import mutations

SECONDS = 120  # for the readers of one mutation, on a busy machine
LONGEST = 540  # seconds: mutations not begun by then are skipped; the figures give the number tried
TOGETHER = 3
READERS = {**mutations.QUICK, **mutations.SLOW}


def outcomes(seed: int, good: Path, folder: Path) -> dict[str, object]:
    """Return the mutation, the readers that opened it, and the faults that escaped."""
    rng = random.Random(seed)
    run = mutations.fresh(good, folder)
    done = mutations.mutate(run, rng)
    chosen = rng.sample(sorted(READERS), 3)
    with mutations.little_memory():
        faults = {name: mutations.fault_of(READERS[name], run, good) for name in chosen}
    return {"done": done, "readers": chosen, "escaped": {name: fault for name, fault in faults.items() if fault}}


def begin(seed: int, good: Path, folder: Path) -> int:
    """Run `outcomes` in a child process, which may crash or hang; return its id."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        folder.with_suffix(".json").write_text(json.dumps(outcomes(seed, good, folder)))
        os._exit(0)
    return child


def main() -> None:
    count, first = (int(word) for word in [*sys.argv[1:], *("1000", "0")[len(sys.argv) - 1:]])
    torch.set_num_threads(1)
    begun, files, readers, found, tried = time.perf_counter(), Counter[str](), Counter[str](), [], 0
    with tempfile.TemporaryDirectory() as name:
        good = mutations.recorded(Path(name) / "good")
        for reader in READERS.values():  # checks this file, not a reader
            fault = mutations.fault_of(reader, mutations.fresh(good, Path(name) / "broken"), good)
            assert fault is None or fault.startswith("takes"), fault
        while tried < count and time.perf_counter() - begun < LONGEST:
            seeds = range(first + tried, first + min(count, tried + TOGETHER))
            children = [begin(seed, good, Path(name) / str(seed)) for seed in seeds]
            for seed, child in zip(seeds, children, strict=True):
                _, status = os.waitpid(child, 0)
                result = Path(name) / f"{seed}.json"
                outcome = json.loads(result.read_text()) if result.exists() else {
                    "done": "?", "readers": [], "escaped": {"process": f"ended with status {status}"}}
                files[outcome["done"].split(":")[0].rpartition("/")[2]] += 1
                readers.update(outcome["readers"])
                for reader, fault in outcome["escaped"].items():
                    print(f"seed {seed}: {outcome['done']}: {reader}: {fault}", flush=True)
                    found.append({"seed": seed, "done": outcome["done"], "reader": reader, "fault": fault})
                mutations.remove(Path(name) / str(seed))
            tried += len(seeds)
            if tried % 60 < TOGETHER:
                print(f"{tried} of {count} after {time.perf_counter() - begun:.0f} s", flush=True)
    record("mutations", {"mutations": tried, "first_seed": first, "by_file": dict(files), "by_reader": dict(readers),
                         "escaped": found, "seconds": round(time.perf_counter() - begun)})
    print(f"{len({one['seed'] for one in found})} of {tried} mutations escaped")


if __name__ == "__main__":
    main()

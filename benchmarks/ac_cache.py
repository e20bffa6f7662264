"""What the shared keys and values of `world_model=ac` save in `imagine`, against computing every frame for each candidate.

    python benchmarks/ac_cache.py           # half a minute; writes benchmarks/results/ac_cache.json

Both give equal states, which `tests/modules/world_model/test_ac.py` checks. CPU-seconds of one thread, best of five.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from record import record

from modules.world_model.ac import AC, ROWS_AT_ONCE

TOKENS, WIDTH, ACTIONS = 36, 64, 3
CANDIDATES, REPEATS = 400, 5
CASES = {"reach 1, H 2": (1, 2), "reach 1, H 5": (1, 5), "reach 2, H 2": (2, 2), "reach 2, H 5": (2, 5)}


def recomputed(model: AC, state: Tensor, actions: Tensor) -> Tensor:
    """Return the last tokens of plans (K, H, A) from one state (1, F, N + 1, D), without a cache."""
    found = []
    for plans in actions.split(ROWS_AT_ONCE):
        tokens = state[:, :, :-1].expand(len(plans), -1, -1, -1)
        taken = state[:, :-1, -1, 1:1 + ACTIONS].expand(len(plans), -1, -1)
        for step in range(plans.shape[1]):
            taken = torch.cat([taken, plans[:, step:step + 1]], dim=1)[:, -model.frames:]
            ahead, _ = model._next(tokens, taken)
            tokens = torch.cat([tokens, ahead[:, -1:]], dim=1)[:, -model.frames:]
        found.append(tokens[:, -1])
    return torch.cat(found)


def seconds(run: Callable[[], object]) -> float:
    """Return the least CPU-seconds of some runs."""
    times = []
    for _ in range(REPEATS):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    rows = {}
    for name, (reach, horizon) in CASES.items():
        torch.manual_seed(0)
        model, sizes = AC(reach=reach), {"P": (TOKENS, WIDTH), "A": ACTIONS}
        model.set_up({**sizes, "U": ACTIONS, **model.infer_dims(sizes)})
        model.head.reset_parameters()
        with torch.inference_mode():
            seen, taken = torch.randn(1, model.frames, TOKENS, WIDTH), torch.randn(1, model.frames, ACTIONS)
            state = model.observe(seen, taken)[0][:, -1]
            plans = torch.rand(CANDIDATES, horizon, ACTIONS) * 2 - 1
            last = model.imagine_last(state, plans[None]).states[0, :, 0, -1, :-1]
            apart = (last - recomputed(model, state, plans)).abs()
            cached = seconds(lambda model=model, state=state, plans=plans: model.imagine_last(state, plans[None]))
            whole = seconds(lambda model=model, state=state, plans=plans: recomputed(model, state, plans))
        rows[name] = {"cached": cached, "recomputed": whole, "times": whole / cached, "apart": float(apart.max())}
        print(f"{name:14} {1e3 * cached:7.0f} ms cached, {1e3 * whole:7.0f} ms recomputed: {whole / cached:.1f} x")
    record("ac_cache", {"tokens": TOKENS, "candidates": CANDIDATES, "rows": rows})


if __name__ == "__main__":
    main()

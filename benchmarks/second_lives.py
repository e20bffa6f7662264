"""Second lives in a house that was toured in the first: a map that is kept, and one that is forgotten.

    python benchmarks/second_lives.py FILE [--pairs 50]   # 3 CPU-minutes; FILE: agent.safetensors of a trained `agent=house`

The second life begins at the charger without a tour, with the goals of the first in reverse order. A kept map is that of the
same row (`memory.keep_if=[doors, look]`). Writes benchmarks/results/second_lives.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from record import record

import ami
from ami.agent import Agent
from ami.blueprint import Episode
from ami.config.compose import to_graph
from ami.evaluation.statistics import wilson
from ami.rollout import rollout
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime
from ami.saved.agent_file import read_weights
from worlds.house.episodes import sample_episode
from worlds.house.world import HouseVectorEnv

SEED = 20261231
KEEP = "memory.keep_if=[doors,look]"


def pairs_of_lives(number: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the options of first and second lives."""
    rng, rules = np.random.default_rng(SEED), HouseVectorEnv(1).rules
    first = [sample_episode(rng, "life", rules, for_evaluation=True) for _ in range(number)]
    second = [{**life, "goals": life["goals"][::-1], "tour": [life["charger"]] * len(life["tour"])} for life in first]
    return first, second


def solved(weights: Weights, overrides: Sequence[str], *lives: Sequence[Mapping[str, Any]]) -> list[list[bool]]:
    """Return which lives end in success, one list per wave of lives; the rows of a wave follow those of the one before."""
    torch.set_num_threads(1)
    config = ami.compose(["agent=house", *overrides])
    episodes = [Episode(number, number, options) for number, options in enumerate(life for wave in lives for life in wave)]
    done = [False] * len(episodes)
    with Agent(LocalRuntime(to_graph(config), config.settings.seed, weights)) as agent:
        for tick in rollout(agent, episodes, batch=len(lives[0])):
            for row in (tick.ended & tick.world["success"]).nonzero()[:, 0].tolist():
                done[tick.episodes[row].number] = True
    size = len(lives[0])
    return [done[start:start + size] for start in range(0, len(done), size)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pairs", type=int, default=50)
    given = parser.parse_args()
    weights = read_weights(given.file)
    first, second = pairs_of_lives(given.pairs)
    found = dict(zip(("first, toured", "second, kept"), solved(weights, [KEEP], first, second), strict=True))
    (found["second, forgotten"],) = solved(weights, [], second)
    figures = {name: {"success": sum(done), "of": len(done), "interval": list(wilson(sum(done), len(done)))}
               for name, done in found.items()}
    for name, row in figures.items():
        print(f"{name:20} {row}")
    record("second_lives", {"figures": figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())

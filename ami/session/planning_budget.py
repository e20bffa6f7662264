"""Planning budget: the memory and the time that an evaluation's plans ask for, judged before any work.

`planner.num_candidates=10000000` otherwise learns for minutes and then ends in an allocator.
"""

from __future__ import annotations

import math

from ami.blueprint import Planner
from ami.config.compose import Config
from ami.envs.vector import LIMIT
from ami.envs.world import GymWorld
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.storage.limits import check_memory, check_time

FLOAT = 4
CANDIDATES, HORIZON = "num_candidates", "horizon"


def check_plans(config: Config, graph: Graph) -> None:
    """Hold the candidates of one decision, (B, K, H) actions and imagined states, against memory.

    Raises:
        SettingError: they cannot fit; names the planner's setting.
    """
    how = config.settings.evaluation
    rows = min(how.batch, how.pairs)
    together = min(config.settings.agents, math.ceil(how.pairs / rows))
    for node in graph.order:
        candidates, dims = graph.specs[node].resolved().get(CANDIDATES), graph.dims[node]
        horizon, state, width = dims.get("H"), dims.get("S"), dims.get("A")
        if not (isinstance(graph.drafts[node], Planner) and isinstance(candidates, int) and isinstance(horizon, int)
                and isinstance(state, tuple) and isinstance(width, int)):
            continue  # a planner of one's own that counts in another way
        needed = float(rows * together * candidates * horizon * (math.prod(state) + width) * FLOAT)
        large = (HORIZON, horizon) if horizon > candidates else (CANDIDATES, candidates)
        check_memory(f"{node}.{large[0]}", large[1], needed,
                     f"a smaller {node}.{CANDIDATES}, {node}.{HORIZON} or evaluation.batch")


def check_duration(config: Config, graph: Graph, manifest: Manifest, tick: float) -> str | None:
    """Hold the whole evaluation against time.

    Args:
        config: of the run.
        graph: of its agent.
        manifest: the pairs.
        tick: the seconds that one tick takes with one episode.

    Returns:
        A warning where it takes more than a day; None else.

    Raises:
        SettingError: it takes more than a year.
    """
    settings, world = config.settings, graph.drafts["world"]
    longest = (world.limit if isinstance(world, GymWorld) else None) or LIMIT
    waves = math.ceil(len(manifest.pairs) / settings.evaluation.batch) / settings.agents
    return check_time("evaluation.pairs", settings.evaluation.pairs, waves * longest * tick,
                      "fewer pairs, shorter episodes (world.max_episode_steps), or a planner that tries less")

"""Planning budget: estimate the memory and time that an evaluation's plans need, before any work.

Otherwise `planner.num_candidates=10000000` would learn for minutes and then run out of memory.
"""

from __future__ import annotations

import math

from ami.blueprint import Planner, World
from ami.config.compose import Config
from ami.envs.vector import LIMIT
from ami.envs.world import GymWorld
from ami.evaluation.manifest import Manifest
from ami.graph.graph import Graph
from ami.storage.limits import check_memory, check_time

FLOAT = 4
CANDIDATES, HORIZON = "num_candidates", "horizon"


def check_plans(config: Config, graph: Graph) -> None:
    """Check the candidates of one decision, (B, K, H) actions and imagined states, against memory.

    Raises:
        SettingError: they do not fit; names the planner's setting.
    """
    how = config.settings.evaluation
    rows = min(how.batch, how.pairs)
    together = min(config.settings.agents, math.ceil(how.pairs / rows))
    for node in graph.order:
        candidates, dims = graph.specs[node].resolved().get(CANDIDATES), graph.dims[node]
        horizon, state, width = dims.get("H"), dims.get("S"), dims.get("U")
        if not (isinstance(graph.drafts[node], Planner) and isinstance(candidates, int) and isinstance(horizon, int)
                and isinstance(state, tuple) and isinstance(width, int)):
            continue  # a user's planner with other settings
        needed = float(rows * together * candidates * horizon * (math.prod(state) + width) * FLOAT)
        large = (HORIZON, horizon) if horizon > candidates else (CANDIDATES, candidates)
        check_memory(f"{node}.{large[0]}", large[1], needed,
                     f"a smaller {node}.{CANDIDATES}, {node}.{HORIZON} or evaluation.batch")


def check_duration(config: Config, graph: Graph, manifest: Manifest, tick: float) -> str | None:
    """Estimate the duration of the whole evaluation.

    Args:
        config: the run's config.
        graph: the agent's graph.
        manifest: the sealed pairs.
        tick: the seconds per tick with one episode.

    Returns:
        A warning if it takes more than a day, else None.

    Raises:
        SettingError: it takes more than a year.
    """
    settings, world = config.settings, graph.drafts[graph.the(World)]
    longest = (world.limit if isinstance(world, GymWorld) else None) or LIMIT
    waves = math.ceil(len(manifest.pairs) / settings.evaluation.batch) / settings.agents
    return check_time("evaluation.pairs", settings.evaluation.pairs, waves * longest * tick,
                      "fewer pairs, shorter episodes (world.max_episode_steps), or a planner with fewer candidates")

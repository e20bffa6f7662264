"""Validation: evaluate an agent during learning, on episodes that are in neither its training data nor its evaluation.

The run uses the last weights, so its figures do not depend on validation. The best weights are kept in its folder as a
separate agent: `checkpoint=RUN/best.safetensors`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import torch

from ami.agent import Agent
from ami.blueprint import World
from ami.config.compose import Config
from ami.evaluation.evaluate import evaluate
from ami.evaluation.manifest import Manifest, PairSampler
from ami.graph.graph import Graph
from ami.graph.prune import prune
from ami.learning.learning_log import Row
from ami.learning.stage import Stage
from ami.module import LEARNING_STATE, Module
from ami.rng import derive_seed
from ami.runtime.held_modules import Weights
from ami.runtime.local import LocalRuntime

BEST_FILE = "best.safetensors"
SEED_RANGE = 2**31


class Validation:
    """Small evaluations of an agent during learning.

    Args:
        config: the run's config.
        graph: the agent's graph.
        modules: the learning modules, by node. They are only read, and learning's random state is left as found.
    """

    def __init__(self, config: Config, graph: Graph, modules: Mapping[str, Module]) -> None:
        self.config, self.graph, self.modules = config, graph, modules
        self.best: tuple[float, str] | None = None
        self.is_last_best = False  # whether the weights validated last are the best so far
        how = config.settings.validation
        self._every, self._criterion = int(how.every), str(how.best_by)
        self._manifest = validation_pairs(config, graph) if self._every and how.pairs else None

    def is_due(self, stage: Stage, step: int) -> bool:
        """Return whether a validation is due: every `validation.every` steps of a stage, and at its end."""
        return bool(self._every) and (step % self._every == 0 or step == stage.steps)

    def run(self, stage: Stage, step: int) -> Row | None:
        """Return the agent's current success rate, or its mean return; None if its world offers no pairs."""
        if self._manifest is None:
            return None
        with torch.random.fork_rng(devices=[]), Agent(
                LocalRuntime(prune(self.graph, ()), self.config.settings.seed, self.weights())) as agent:
            done = evaluate([agent], self._manifest, len(self._manifest.pairs))
        name, found = ("success", done.successes()) if self._manifest.reports_success else ("return", done.returns())
        return {"stage": stage.name, "step": float(step), name: sum(found) / len(found)}

    def weights(self) -> Weights:
        """Return a copy of the current weights, without the state that only learning needs."""
        return {node: {name: value.detach().clone() for name, value in module.state_dict().items()
                       if LEARNING_STATE not in name.split(".")} for node, module in self.modules.items()}

    def is_best(self, row: Row) -> bool:
        """Return whether these figures are the best so far, by `validation.best_by`; of equal ones the later is better."""
        if not self._every:
            return False
        if self._criterion == "prediction":
            score = -float(row.get("error_vs_persistence", math.nan))
        else:
            score = float(row.get("success", row.get("return", math.nan)))
        if math.isnan(score):
            return False
        self.is_last_best = self.best is None or score >= self.best[0]
        if not self.is_last_best:
            return False
        self.best = score, f"{row['stage']}, step {float(row['step']):.0f}"
        return True


def validation_pairs(config: Config, graph: Graph) -> Manifest | None:
    """Sample a few pairs of each kind, none of them a sealed pair; None if the world offers no pairs."""
    world = graph.drafts[graph.the(World)]
    if not isinstance(world, PairSampler):
        return None
    settings = config.settings
    sealed = {json.dumps(dict(pair), sort_keys=True)
              for pair in world.sample_pairs(settings.evaluation.manifest_seed, settings.evaluation.pairs)}
    seed = derive_seed(settings.seed, "validation") % SEED_RANGE
    pairs = [pair for pair in world.sample_pairs(seed, settings.validation.pairs)
             if json.dumps(dict(pair), sort_keys=True) not in sealed]
    return Manifest(world.env_id, dict(world.settings), seed, tuple(pairs), getattr(world, "reports_success", True))

"""Experience: what an agent learns from, collected by an agent or read from a file, and what its probes are made of."""

from __future__ import annotations

import time
from itertools import islice

from ami.blueprint import World
from ami.data.read import OWN
from ami.data.replay_buffer import TRUTH, ReplayBuffer
from ami.graph.graph import Graph
from ami.learning.cache import Cache
from ami.learning.collect import collect, collector
from ami.learning.schedule import Phase
from ami.rng import derive_seed
from ami.runtime.held_modules import Weights
from ami.session.data import memory_of
from ami.session.plan import TrainingPlan
from ami.terminal.console import Console

PROBE_EPISODES = 200
PROBE_SHARE = 10
"""Of so many episodes in a file one is left out of learning for the probes, if the file holds the true state."""
PROBE_BATCH = 100


def experience_of(plan: TrainingPlan, phase: Phase, weights: Weights, cache: Cache,
                  console: Console) -> tuple[ReplayBuffer, float, bool]:
    """Return one round's experience, the seconds that it took, and whether it came from the cache.

    Raises:
        DataError: names the file, episode, step and field that cannot be learnt from.
    """
    name = f"experience-{phase.key}"
    kept = cache.find_episodes(name)
    if kept is not None:
        return _without_probes(plan, phase, kept[0]), kept[1]["seconds"], True
    begun, memory = time.perf_counter(), memory_of(plan.config)
    if plan.data is not None and phase.round == 0:
        console.note(f"reading {plan.data.path}")
        experience = plan.data.load(memory, cache.spill(name))
        if plan.data.kind == OWN:
            return _without_probes(plan, phase, experience), time.perf_counter() - begun, False
    else:
        settings = plan.config.settings
        how = settings.learning.collect
        seed = derive_seed(settings.seed, "round", phase.round) if phase.round else settings.seed
        experience = ReplayBuffer(memory=memory, folder=cache.spill(name))
        with (console.counting("collect", how.episodes, "episodes") as bar,
              collector(plan.collector(phase.round), derive_seed(seed, "collect"), weights) as agent):
            collect(agent, how.episodes, how.steps, how.batch, seed, lambda more: bar(more, ""), into=experience)
    seconds = time.perf_counter() - begun
    return _without_probes(plan, phase, cache.keep_episodes(name, experience, {"seconds": seconds})), seconds, False


def held_out_of(plan: TrainingPlan, cache: Cache, console: Console) -> ReplayBuffer | None:
    """Return held-out experience for probes; None if the true state is not known."""
    first = plan.schedule[0]
    if plan.data is not None:
        if TRUTH not in next(iter(plan.data.episodes()), {}):
            return None
        name = f"experience-{first.key}"
        kept = cache.find_episodes(name)
        if kept is None:
            begun = time.perf_counter()
            console.note(f"reading {plan.data.path}")
            loaded = plan.data.load(memory_of(plan.config), cache.spill(name))
            seconds = time.perf_counter() - begun
            kept = (loaded if plan.data.kind == OWN else cache.keep_episodes(name, loaded, {"seconds": seconds})), {}
        count = kept[0].num_episodes
        return kept[0].some(range(count - _probed(count), count)) if _probed(count) > 1 else None
    if plan.explorer.dims[plan.explorer.the(World)]["X"] == 0:
        return None
    settings, name = plan.config.settings, f"experience-{first.key}.held-out"
    kept = cache.find_episodes(name)
    if kept is not None:
        return kept[0]
    how, seed = settings.learning.collect, derive_seed(settings.seed, "probe")
    found = ReplayBuffer(memory=memory_of(plan.config), folder=cache.spill(name))
    with collector(plan.explorer, seed) as agent:
        collect(agent, PROBE_EPISODES, how.steps, max(how.batch, PROBE_BATCH), seed, into=found)
    return cache.keep_episodes(name, found, {"seconds": 0.0})


def little_experience(plan: TrainingPlan, episodes: int, ticks: int) -> tuple[ReplayBuffer, float]:
    """Return a few short episodes of the explorer, and the seconds per tick; 0 if they are read from a file."""
    if plan.data is not None:
        few = ReplayBuffer()
        for rows in islice(plan.data.episodes(), episodes):
            few.append({name: value[:ticks + 1] for name, value in rows.items()})
        return few, 0.0
    return little_acting(plan, plan.explorer, episodes, ticks)


def little_acting(plan: TrainingPlan, graph: Graph, episodes: int, ticks: int) -> tuple[ReplayBuffer, float]:
    """Return a few short episodes of one of the plan's agents, and the seconds per tick."""
    seed = derive_seed(plan.config.settings.seed, "dry run")
    ticks = min(plan.config.settings.learning.collect.steps, ticks)
    with collector(graph, seed) as agent:
        collect(agent, episodes, 1, episodes, seed)  # warm-up: initialisation is not timed
        begun = time.perf_counter()
        return collect(agent, episodes, ticks, episodes, seed), (time.perf_counter() - begun) / (ticks + 1)


def _probed(episodes: int) -> int:
    return min(PROBE_EPISODES, episodes // PROBE_SHARE)


def _without_probes(plan: TrainingPlan, phase: Phase, experience: ReplayBuffer) -> ReplayBuffer:
    """Leave out the episodes of a file that are held out for the probes."""
    if plan.data is None or phase.round or TRUTH not in experience.columns:
        return experience
    return experience.part(experience.num_episodes - _probed(experience.num_episodes))

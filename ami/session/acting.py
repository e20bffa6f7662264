"""Acting: the agents that act while they learn, in the runtime of the config, with their trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ami.blueprint import World
from ami.data.replay_buffer import ReplayBuffer
from ami.learning.acted import Acted, Pace
from ami.learning.cache import Cache
from ami.learning.collect import collected_ports
from ami.learning.online import Acting, TurnTaking
from ami.learning.online_agents import ActingAgents
from ami.learning.schedule import Phase
from ami.learning.stage_run import Row
from ami.learning.trainer import COLLECT, Begin
from ami.rng import derive_seed
from ami.runtime.held_modules import Weights
from ami.session.data import memory_of
from ami.session.evaluation import agents
from ami.session.plan import TrainingPlan
from ami.terminal.console import Console
from ami.trace.header import write_header

FOLDER = "acting"
"""The folder, in a run's folder, with the trace of the agent that acted while it learnt."""
SEED_RANGE = 2**63


def acting_of(plan: TrainingPlan, cache: Cache, console: Console, folder: Path | None) -> Begin | None:
    """Return the function that begins to act in a phase; None if nothing acts while it learns.

    Args:
        plan: the training plan.
        cache: stores the episodes.
        console: prints where the agent runs.
        folder: the run's folder, for the trace; None records nothing.
    """
    online, settings = plan.online, plan.config.settings
    if online is None:
        return None
    pace = Pace(online.replay_ratio, online.publish_every, online.batch, settings.learning.collect.steps, settings.seed)
    config = plan.config.seeded(derive_seed(settings.seed, "act") % SEED_RANGE)
    graph = plan.learner
    place = folder / FOLDER if folder is not None and settings.trace.record else None

    @contextmanager
    def begin(phase: Phase, start: ReplayBuffer, weights: Weights) -> Iterator[Acting]:
        name, own = f"experience-{phase.key}", {node: weights[node] for node in plan.acting_nodes & set(weights)}
        if place is not None:
            write_header(place, graph, config.plain(), seed=config.settings.seed)
        with agents(config, graph, own, place, collected_ports(graph)) as started:
            console.note(f"{len(started)} agent{'s act' if len(started) > 1 else ' acts'} "
                         f"{'in this process' if settings.runtime == 'local' else 'as Ray actors'} while learning, "
                         f"{online.replay_ratio:g} steps of learning per step of the world")
            buffer = ReplayBuffer(memory=memory_of(config), folder=cache.spill(name))
            acted = Acted(pace, start, cache.growing(name), buffer, plan.capacity,
                          getattr(graph.drafts[graph.the(World)], "reports_success", True))
            if not online.max_lag:
                yield TurnTaking(started[0], acted, plan.acting_nodes)
                return
            with closing(ActingAgents(started, acted, plan.acting_nodes, online.max_lag, online.queue)) as acting:
                yield acting

    return begin


def acting_figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the figures of the episodes that came in last while the agent learnt; none if it did not act then."""
    last = next((row for row in reversed(rows) if row.get("stage") == COLLECT and "lag" in row), {})
    return {name: float(value) for name, value in last.items() if name not in ("stage", "step")}


def acting_line(rows: Sequence[Row]) -> str:
    """Return a line about the episodes acted while learning; empty without."""
    last = acting_figures(rows)
    if not last:
        return ""
    judged = f"success {100 * last['success']:.0f} %" if "success" in last else f"return {last['return']:.4g}"
    return (f"acted {last['world_steps']:.0f} steps while learning, {last['replay_ratio']:.3g} steps of learning for each: "
            f"lag {last['lag']:.3g}, staleness {last['staleness']:.0f}, {last['buffer']:.0f} observations; {judged} in the "
            "last episodes")

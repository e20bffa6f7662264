"""Learning: collect experience, learn, save. A trained agent is cached under the hash of its training plan."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from ami.config.compose import Config, to_graph
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import CheckpointError
from ami.graph.graph import Graph
from ami.learning.cache import Cache
from ami.learning.callbacks.callback import Callbacks, observers_of
from ami.learning.probe import probe_modules
from ami.learning.schedule import Phase
from ami.learning.sources.source import weights_of
from ami.learning.stage import Stage
from ami.learning.stage_run import Row
from ami.learning.threads import torch_threads
from ami.learning.trainer import Trainer
from ami.runtime.worker import Worker
from ami.saved.agent_file import AGENT_FILE, Trained, open_trained, save
from ami.saved.initial_weights import initial_weights
from ami.session.acting import acting_of
from ami.session.data import memory_of
from ami.session.dry_run import dry_run
from ami.session.experience import experience_of, held_out_of
from ami.session.experts import experts_of
from ami.session.monitor import Monitor
from ami.session.plan import TrainingPlan
from ami.session.threads import with_threads
from ami.storage.files import check_folder
from ami.storage.store import CACHE, find
from ami.terminal.console import Console

QUICK_PROBE_EPISODES = 40


def learn(config: Config, console: Console | None = None, monitor: Monitor | None = None) -> Trained:
    """Train the agent of a config, or load it if it is already trained.

    Experience and finished stages are loaded from the store's cache. A killed training resumes from its last save and ends
    with the same weights, bit for bit. The caller's number of torch threads is restored afterwards.

    Args:
        config: the agent's config.
        console: prints progress; by default nothing is printed.
        monitor: logs and validates the run during learning; None does neither and is fastest.

    Raises:
        GraphError, SettingError, UnknownName: the config is invalid or cannot learn.
        CheckpointError: `checkpoint` names a file that is missing or belongs to another agent, or the store is no longer
            writable.
    """
    console = console or Console(quiet=True)
    config = with_threads(config, console)
    with torch_threads(config.settings.learning.threads):
        graph = to_graph(config)
        if config.settings.checkpoint is not None:
            return opened(config, graph)
        plan = TrainingPlan.of(config, graph)
        if plan is None:
            return Trained(initial_weights(config, graph).weights)
        file = _agent_file(plan)
        if file.exists():
            return open_trained(file, graph)
        return _learn_plan(plan, file, console, monitor)


def opened(config: Config, graph: Graph) -> Trained:
    """Open the config's checkpoint; nodes that it does not hold have their initial weights. Raises as `learn` does."""
    trained = open_trained(find(config.settings.checkpoint, config.settings.store), graph)
    more = initial_weights(config, graph, trained.weights).weights
    return replace(trained, weights={**trained.weights, **more}) if more else trained


def key_of(config: Config) -> str:
    """Return the key of a config's training: its hash, or its checkpoint; else that of its initial weights, empty without.

    Raises as `learn` does.
    """
    if config.settings.checkpoint is not None:
        return str(config.settings.checkpoint)
    config = with_threads(config, Console(quiet=True))
    graph = to_graph(config)
    plan = TrainingPlan.of(config, graph)
    return plan.key if plan is not None else " ".join(
        f"{node}:{content}" for node, content in initial_weights(config, graph).hashes.items())


def check(config: Config) -> None:
    """Check the checkpoint against the graph, or run every learning stage for a few steps; raises as `learn` does."""
    config = with_threads(config, Console(quiet=True))
    graph = to_graph(config)
    if config.settings.checkpoint is not None:
        opened(config, graph)
        return
    plan = TrainingPlan.of(config, graph)
    if plan is not None and not _agent_file(plan).exists():
        with torch_threads(config.settings.learning.threads):
            dry_run(plan, experts_of(plan))


def _agent_file(plan: TrainingPlan) -> Path:
    return Path(plan.config.settings.store) / "trained" / plan.key / AGENT_FILE


def _learn_plan(plan: TrainingPlan, file: Path, console: Console, monitor: Monitor | None) -> Trained:
    settings = plan.config.settings
    check_folder(file.parent, "store")
    experts = experts_of(plan)
    for warning in dry_run(plan, experts):
        console.note(f"warning: {warning}")
    held = Worker(plan.graph.on_cpu(), plan.kept, settings.seed, plan.initial.weights,
                  learning=True).modules
    modules, kept = ({node: held[node] for node in nodes} for nodes in (plan.nodes, plan.kept))
    cache = Cache(Path(settings.store) / CACHE, lambda text: console.note(f"warning: {text}"))
    trainer = Trainer(modules, plan.schedule, settings.seed, cache, settings.learning.save_every,
                      experts=experts, fresh=plan.fresh, graph=plan.graph, memory=memory_of(plan.config),
                      capacity=plan.capacity,
                      given={node for node in plan.initial.frozen if node in plan.initial.weights},
                      act=acting_of(plan, cache, console, None if monitor is None else monitor.folder))
    begun = time.perf_counter()
    held_out = held_out_of(plan, cache, console)
    untrained = probe_modules(modules, held_out)
    few = None if held_out is None else held_out.part(QUICK_PROBE_EPISODES)
    callbacks = Callbacks(plan.callbacks, observers_of(plan.graph, modules), few,
                          lambda text: console.note(f"warning: {text}"))
    probing = time.perf_counter() - begun

    def collected(phase: Phase) -> tuple[ReplayBuffer, float, bool]:
        weights = weights_of(kept) if phase.round else {
            node: plan.initial.weights[node] for node in plan.explorer.equal_nodes(plan.graph) & set(plan.initial.weights)}
        return experience_of(plan, phase, weights, cache, console)

    with console.learning(plan.stages) as bar_of:
        def on_step(stage: Stage, step: int, row: Row | None) -> None:
            if row is not None and "episodes" not in row:
                callbacks.add(row, stage)
            bar_of(stage, step, row)
            if monitor is not None:
                monitor.on_step(stage, step, row, bar_of)

        trainer.on_step = on_step
        if monitor is not None:
            monitor.begin(kept)
            trainer.on_known = monitor.log
        try:
            course = trainer.learn(collected)
        except OSError as error:
            raise _not_written(error, plan) from error
    trained = Trained({node: dict(module.state_dict()) for node, module in kept.items()}, file, plan.key, False,
                      probing + course.seconds, rows=course.rows, found=tuple(map(plan.label, course.found)),
                      learnt=tuple(plan.label(phase) for phase in plan.schedule if phase not in course.found),
                      found_seconds=course.found_seconds)
    after = probe_modules(modules, held_out)
    if untrained is not None and after is not None:
        trained.probes = {"trained": after[0].plain(), "untrained": untrained[0].plain()}
        trained.readout = after[1]
    try:
        save(file, trained, plan.graph, plan.config)
    except OSError as error:
        raise _not_written(error, plan) from error
    if course.resumed:
        console.note("learning resumed from the last save of a stopped training")
    return trained


def _not_written(error: OSError, plan: TrainingPlan) -> CheckpointError:
    """Return the error for a full disk or a store that was removed."""
    store = Path(plan.config.settings.store)
    return CheckpointError(f"learning stopped: '{error.filename or store}' cannot be written ({error.strerror}). Earlier "
                           f"saves are kept. Fix: make room ('{store / CACHE}' may be deleted, it is only a cache), "
                           "then the same command resumes")

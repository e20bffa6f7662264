"""`ami train`: collect experience, learn, save. A trained agent is found again by the hash of what it was trained with."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ami.agent import Agent
from ami.blueprint import Perception, WorldModel
from ami.config import Config, compose, compose_baseline, to_graph
from ami.console import Console
from ami.errors import CheckpointError, require
from ami.graph import Graph
from ami.learning import checkpoint
from ami.learning.experience import WATCH, Experience, collect
from ami.learning.plans import WATCH as PLANS_WATCH
from ami.learning.plans import Teacher
from ami.learning.probe import ProbeFigures, Readout, probe
from ami.learning.stage import Stage, parts_of
from ami.learning.trainer import Row, Trainer
from ami.module import Module
from ami.runtime.local import LocalRuntime
from ami.settings import COLLECT
from ami.store import find
from ami.streams import derive_seed
from ami.tracing.header import versions
from ami.worker import Weights, Worker

PROBE_EPISODES = 200
QUICK_PROBE_EPISODES = 40
PROBE_EVERY = 200
AGENT_FILE = "agent.safetensors"
PROGRESS_FILE = "progress.safetensors"


@dataclass
class Trained:
    """An agent that has learnt.

    Attributes:
        weights: by node; a node that learns nothing has no entry.
        file: its checkpoint; None when it learns nothing.
        key: the hash of what it was trained with.
        cached: whether it was found instead of trained.
        seconds: what collecting and learning took when it was trained.
        probes: figures of "trained" and "untrained" states (`ami.learning.probe.ProbeFigures`).
        readout: reads the true state from its states, for pictures; None without a perception and a world model.
        rows: the figures logged while it learnt.
    """

    weights: Weights = field(default_factory=dict)
    file: Path | None = None
    key: str = ""
    cached: bool = False
    seconds: float = 0.0
    probes: dict[str, dict[str, float]] = field(default_factory=dict)
    readout: Readout | None = None
    rows: list[Row] = field(default_factory=list)

    def line(self) -> str:
        """One line for the terminal."""
        if self.file is None:
            return "nothing to learn"
        if self.cached:
            return f"trained agent found, learning skipped (it took {self.seconds:.0f} s): {self.file}"
        return f"learnt in {self.seconds:.0f} s: {self.file}"


def train(config: Config, console: Console | None = None) -> Trained:
    """Train the agent a config describes, or find it trained already.

    A killed training goes on from its last save, to the same weights, bit for bit.

    Raises:
        GraphError, SettingError, UnknownName: the config is unsound.
        CheckpointError: `checkpoint` names a file that is missing or belongs to another agent.
    """
    console = console or Console(quiet=True)
    settings = config.settings
    torch.set_num_threads(settings.learning.threads)
    graph = to_graph(config)
    if settings.checkpoint is not None:
        return open_trained(find(settings.checkpoint, settings.store), graph)
    stages = _stages(config)
    if not stages:
        return Trained()
    explorer, learner, teachers, nodes, key = _plan(config, graph, stages)
    folder = Path(settings.store) / "trained" / key
    if (folder / AGENT_FILE).exists():
        return open_trained(folder / AGENT_FILE, graph)
    return _learn(config, graph, explorer, learner, teachers, stages, nodes, folder, console)


def key_of(config: Config) -> str:
    """What names the training that a config asks for: its hash, or its checkpoint; empty where nothing learns.

    Raises as `train` does.
    """
    if config.settings.checkpoint is not None:
        return str(config.settings.checkpoint)
    stages = _stages(config)
    return _plan(config, to_graph(config), stages)[-1] if stages else ""


def check(config: Config) -> None:
    """Hold the checkpoint, or the stages of learning, against the modules that they are for; raises as `train` does."""
    graph = to_graph(config)
    if config.settings.checkpoint is not None:
        open_trained(find(config.settings.checkpoint, config.settings.store), graph)
        return
    stages = _stages(config)
    modules = Worker(graph, learning_nodes(graph, stages), config.settings.seed).modules
    for stage in stages:
        parts_of(stage, modules)


def _stages(config: Config) -> list[Stage]:
    """The stages of learning, held against how much experience there will be."""
    settings = config.settings
    described = settings.learning.stages
    stages = [Stage.read(str(name), dict(stage), described) for name, stage in described.items() if stage]
    absent = [name for name in COLLECT if name not in settings.learning.get("collect", {})]
    require(not stages or not absent,
            f"learning.collect.{{{','.join(absent)}}} is missing. Fix: leave out the `~…` that removes it")
    for stage in stages:
        require(stage.data != "experience" or stage.window <= settings.learning.collect.steps,
                f"learning.stages.{stage.name}.window is {stage.window}: expected at most learning.collect.steps, "
                f"{settings.learning.collect.steps}")
    return stages


def _plan(config: Config, graph: Graph,
          stages: Sequence[Stage]) -> tuple[Graph, Graph, dict[str, Graph], tuple[str, ...], str]:
    """Who collects the experience of the first round and of later ones, who makes plans to learn from, which nodes learn,
    and the hash of all that their weights depend on."""
    explorer = to_graph(compose_baseline(config, config.settings.learning.collect.agent))
    later = config.settings.learning.get("rounds", 1) > 1
    learner = to_graph(_exploring(config)) if later else explorer
    teachers = {str(name): to_graph(compose_baseline(config, str(name)))
                for stage in stages if stage.data == "plans" for name in stage.agents}
    nodes = learning_nodes(graph, stages)
    who_lives = {"explorer": explorer, **({"learner": learner} if later else {}), **teachers}
    return explorer, learner, teachers, nodes, training_key(config, graph, who_lives, nodes)


def _exploring(config: Config) -> Config:
    """The agent itself as it lives in later rounds: for a share of the time its actor explores."""
    share = config.settings.learning.get("explore", 0.0)
    return compose([*config.overrides, *([f"actor.explore={share}"] if share else [])], allow=config.allow)


def _learn(config: Config, graph: Graph, explorer: Graph, learner: Graph, teachers: Mapping[str, Graph],
           stages: Sequence[Stage], nodes: Sequence[str], folder: Path, console: Console) -> Trained:
    settings = config.settings
    modules = Worker(graph, nodes, settings.seed).modules
    trainer = Trainer(modules, stages, settings.seed, folder / PROGRESS_FILE, settings.learning.save_every, folder.name,
                      teachers={name: _teacher(teacher, graph, settings.seed) for name, teacher in teachers.items()},
                      rounds=settings.learning.get("rounds", 1))
    begun = time.perf_counter()
    how = settings.learning.collect
    experience = _lived(explorer, {}, settings.seed, config, console)
    held_out = experience.part(0)
    if experience.truth.shape[-1]:
        held_out_seed = derive_seed(settings.seed, "probe")
        with Agent(LocalRuntime(explorer, held_out_seed, watch=WATCH)) as agent:
            held_out = collect(agent, PROBE_EPISODES, how.steps, how.batch, held_out_seed)
    untrained = _probe(modules, held_out)
    few = held_out.part(QUICK_PROBE_EPISODES)

    def lived_in(number: int) -> Experience:
        """Later rounds are lived with what the earlier ones taught, and kept: a killed training cannot live them again."""
        if number == 0:
            return experience
        file = _round_file(folder, number)
        if not file.exists():
            weights = {node: dict(module.state_dict()) for node, module in modules.items()}
            lived = _lived(learner, weights, derive_seed(settings.seed, "round", number), config, console)
            checkpoint.save(file, {name: value for name, value in vars(lived).items() if value is not None}, {})
        return Experience(**checkpoint.load(file)[0])

    collecting = time.perf_counter() - begun
    with console.learning(stages) as bar_of:
        def on_step(stage: Stage, step: int, row: Row | None) -> None:
            if row is not None and float(row["step"]) % PROBE_EVERY == 0 and stage.data == "experience":
                quick = _probe(modules, few)
                if quick is not None:
                    row["probe_r2"] = quick[0].r2
            bar_of(stage, step, row)

        trainer.on_step = on_step
        course = trainer.learn(lived_in)
    trained = Trained({node: dict(modules[node].state_dict()) for node in nodes}, folder / AGENT_FILE, folder.name, False,
                      collecting + course.seconds, rows=course.rows)
    after = _probe(modules, held_out)
    if untrained is not None and after is not None:
        trained.probes = {"trained": after[0].plain(), "untrained": untrained[0].plain()}
        trained.readout = after[1]
    save(folder / AGENT_FILE, trained, graph, config)
    trainer.tidy()
    for number in range(1, trainer.rounds):
        _round_file(folder, number).unlink(missing_ok=True)
    if course.resumed:
        console.note("learning went on from where an earlier one had stopped")
    return trained


def _lived(graph: Graph, weights: Weights, seed: int, config: Config, console: Console) -> Experience:
    """One round's experience of an agent."""
    how = config.settings.learning.collect
    with console.counting("collect", how.episodes, "episodes") as bar, Agent(
            LocalRuntime(graph, derive_seed(seed, "collect"), weights, watch=WATCH)) as agent:
        return collect(agent, how.episodes, how.steps, how.batch, seed, lambda more: bar(more, ""))


def _round_file(folder: Path, number: int) -> Path:
    """Where the experience of a later round is kept until learning is done."""
    return folder / f"round-{number}.safetensors"


def _teacher(graph: Graph, learner: Graph, seed: int) -> Teacher:
    """Where it has the learner's modules, it lives with the learner's weights."""
    shared = {node for node in graph.order if graph.parts[node] == learner.parts.get(node)}
    return lambda weights: Agent(LocalRuntime(graph, derive_seed(seed, "plans"),
                                              {node: weights[node] for node in shared & set(weights)}, watch=PLANS_WATCH))


def learning_nodes(graph: Graph, stages: Sequence[Stage]) -> tuple[str, ...]:
    """The nodes that learn, those whose loss is minimised, and all that those call."""
    named = {stage.loss for stage in stages} | {path.split(".")[0] for stage in stages for path in stage.train}
    called = {callee for node in named if node in graph.order for callee in graph.callees(node)}
    return tuple(node for node in graph.order if node in named | called)


def training_key(config: Config, graph: Graph, who_lives: Mapping[str, Graph], nodes: Sequence[str]) -> str:
    """16 hex digits over everything that weights depend on: settings, sizes, seed, stages, world, who lived what they learn
    from, code and versions."""
    parts = {
        "seed": config.settings.seed,
        "learning": {k: v for k, v in config.plain()["learning"].items() if k not in ("save_every",)},
        "nodes": {node: (graph.parts[node].resolved(), graph.dims[node], graph.calls[node]) for node in nodes},
        "lived": {name: other.describe() for name, other in who_lives.items()},
        "code": (sources(graph, nodes), *(sources(other, other.order) for other in who_lives.values())),
        "versions": versions(("ami", "torch")),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def open_trained(file: Path, graph: Graph) -> Trained:
    """Open a checkpoint, a file or the folder it is in, and hold it against the graph that is to run it.

    Raises:
        CheckpointError: the file is missing or broken, or was trained with other modules, settings or sizes.
    """
    file = Path(file) / AGENT_FILE if Path(file).is_dir() else Path(file)
    tensors, notes = checkpoint.load(file)
    if "nodes" not in notes:
        raise CheckpointError(f"'{file}' holds a training that is not finished. Fix: finish it with `ami train`, "
                              f"which leaves {AGENT_FILE} beside it")
    if not notes["nodes"]:
        raise CheckpointError(f"'{file}' holds an agent that learnt nothing: expected one with weights. "
                              "Fix: checkpoint=null")
    own = _description(graph, [node for node in notes["nodes"] if node in graph.order])
    wrong = [f"{node} is not in this graph" for node in notes["nodes"] if node not in graph.order]
    for node, now in own.items():
        then = notes["nodes"][node]
        wrong += [f"{node}.{key} was {then.get(key)!r} and is now {now.get(key)!r}"
                  for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if wrong:
        raise CheckpointError(f"'{file}' was trained with another graph: {'; '.join(wrong)}. "
                              "Fix: run with the settings it was trained with, or train anew with checkpoint=null")
    nodes = checkpoint.by_node(tensors)
    readout = Readout(**nodes.pop("readout")) if "readout" in nodes else None
    return Trained(nodes, file, notes["key"], True, notes["seconds"], notes["probes"], readout, notes["rows"])


def save(file: Path, trained: Trained, graph: Graph, config: Config) -> None:
    """Write an agent as one file: its weights, the configuration it was made by, and its figures of learning."""
    tensors = checkpoint.flat(trained.weights)
    if trained.readout is not None:
        tensors |= checkpoint.flat({"readout": vars(trained.readout)})
    checkpoint.save(file, tensors, {
        "nodes": _description(graph, list(trained.weights)), "key": trained.key, "seconds": trained.seconds,
        "probes": trained.probes, "rows": trained.rows, "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(("ami", "torch")), "config": config.plain(), "overrides": list(config.overrides)})


def read_weights(file: Path) -> Weights:
    """The weights in an agent's file, by node; raises as `ami.learning.checkpoint.load` does."""
    return {node: state for node, state in checkpoint.by_node(checkpoint.load(file)[0]).items() if node != "readout"}


def _description(graph: Graph, nodes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What must be equal for weights to fit: settings and sizes by node, as JSON would give them back."""
    found = {node: {**graph.parts[node].resolved(), "sizes": graph.dims[node]} for node in nodes}
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(found, default=str))
    return plain


def _probe(modules: Mapping[str, Module], experience: Experience) -> tuple[ProbeFigures, Readout] | None:
    perception = next((m for m in modules.values() if isinstance(m, Perception)), None)
    world_model = next((m for m in modules.values() if isinstance(m, WorldModel)), None)
    if perception is None or world_model is None or 0 in experience.truth.shape:
        return None
    return probe(experience, perception, world_model)


def sources(graph: Graph, nodes: Sequence[str]) -> str:
    """Changed code is another agent: the text of every file that these nodes, their inner parts and the world come from,
    with what those files take from their own packages, and of the engine's learning."""
    waiting = [name for node in nodes for name in graph.parts[node].files()]
    waiting += [name for name in sys.modules if name.startswith("ami.learning")]
    packages = {name.split(".")[0] for name in waiting} - {"ami"}
    texts: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name in texts or name not in sys.modules:
            continue
        with contextlib.suppress(OSError, TypeError):  # a class typed into a notebook has no file
            texts[name] = inspect.getsource(sys.modules[name])
        taken = {str(getattr(value, "__module__", "")) for value in vars(sys.modules[name]).values()}
        waiting += [other for other in taken if other.split(".")[0] in packages and other not in texts]
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]

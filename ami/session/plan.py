"""Training plan: the learning stages of a config, their data, and the cache key of each step.

A key is a hash of everything that a phase's result depends on: seed, settings, code and sizes of the nodes involved, the
data and the earlier phases. A changed critic keeps the cached world model; a changed world invalidates every phase.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ami.config.compose import Config, compose_baseline, to_graph
from ami.config.node_settings import node_settings
from ami.config.rules import types_of
from ami.config.settings import Collect, Online
from ami.data.read import Data
from ami.errors import require
from ami.graph.devices import CPU
from ami.graph.graph import Graph
from ami.graph.prune import needed
from ami.learning.callbacks.callback import Callback
from ami.learning.collect import collected_ports
from ami.learning.options import option
from ami.learning.schedule import Phase
from ami.learning.stage import Stage
from ami.saved.initial_weights import InitialWeights, initial_weights
from ami.session.data import data_of
from ami.session.exploring import acting_config, exploring, online_of, shared_nodes
from ami.storage.code_hash import code_hash
from ami.trace.header import versions
from ami.trace.provenance import NO_ENGINE, code_of, engine_code

CODE = ("ami.session.learn", "ami.session.plan", "ami.session.experience", "ami.learning.trainer")
"""The modules of ami that training depends on, besides those that run an agent."""
NO_TRAINING = ("ami.session.monitor",)
"""Modules that log and validate a training, with their imports; no weight depends on them."""
FORMATS = "ami.data.formats"
"""The readers of files, which count if experience is read from a file."""
ACTING = "ami.session.acting"
"""Acting in any runtime, which counts if an agent acts while it learns."""


@dataclass(frozen=True)
class TrainingPlan:
    """The stages of a training and the agents that collect its data.

    Attributes:
        config: the composed config.
        graph: the graph of the learning agent.
        stages: the learning stages in order.
        explorer: the graph of the agent that collects experience in the first round.
        learner: the graph of the agent that collects experience in later rounds, or acts while it learns.
        experts: the graphs of the agents whose plans a policy imitates, by name.
        nodes: the nodes that learn, and their callees.
        callbacks: the figures computed during learning. They change no weights, so no key depends on them.
        data: the file of the first round's experience; None if an agent collects it.
        initial: the weights that nodes begin with, and the frozen nodes.
    """

    config: Config
    graph: Graph
    stages: tuple[Stage, ...]
    explorer: Graph
    learner: Graph
    experts: Mapping[str, Graph]
    nodes: tuple[str, ...]
    callbacks: tuple[Callback, ...]
    initial: InitialWeights
    data: Data | None = None

    @classmethod
    def of(cls, config: Config, graph: Graph) -> TrainingPlan | None:
        """Return the plan of a config; None if nothing learns.

        Raises:
            GraphError, SettingError, UnknownName: a stage, or an agent that collects its data, is invalid.
            CheckpointError: the initial weights of a node do not fit it.
        """
        stages = stages_of(config)
        if not stages:
            return None
        data = data_of(config, graph)
        check_collection(config, stages, data)
        explorer = graph if data is not None else to_graph(compose_baseline(config, config.settings.learning.collect.agent))
        learner = exploring(config) if data is None and config.settings.learning.get("rounds", 1) > 1 else explorer
        if (online := online_of(config)) is not None:
            learner = exploring(acting_config(config, online))
        experts = {name: to_graph(compose_baseline(config, name)) for stage in stages for name in stage.data.agents}
        return cls(config, graph, stages, explorer, learner, experts, learning_nodes(graph, stages), callbacks_of(config),
                   initial_weights(config, graph), data)

    @property
    def kept(self) -> tuple[str, ...]:
        """The nodes whose weights the trained agent's file holds."""
        return tuple(node for node in self.graph.order if node in self.nodes or node in self.initial.weights)

    @property
    def rounds(self) -> int:
        """The number of passes over all stages; one if the experience is a file."""
        return 1 if self.data is not None else int(self.config.settings.learning.get("rounds", 1))

    def collector(self, number: int) -> Graph:
        """Return the graph of the agent that collects experience in a round."""
        return self.explorer if number == 0 else self.learner

    @property
    def online(self) -> Online | None:
        """The settings of learning while acting; None if all experience is collected before it is learnt from."""
        return online_of(self.config)

    @property
    def steps(self) -> int:
        """The number of learning steps of all stages together, in one round."""
        return sum(stage.steps for stage in self.stages)

    @property
    def acting_nodes(self) -> frozenset[str]:
        """The nodes of the agent that acts while it learns which have learnt weights."""
        return frozenset(self.kept) & shared_nodes(self.config, self.online) if self.online is not None else frozenset()

    @cached_property
    def schedule(self) -> tuple[Phase, ...]:
        """Every phase in order, each with its key."""
        phases: list[Phase] = []
        before = ""
        first = self._experience_key(self.explorer) if self.data is None else _hash(self._common, self.data.key)
        later = self._experience_key(self.learner) if self.rounds > 1 or self.online is not None else ""
        trained = [(stages, self._nodes_of(stages), [self._stage_key(stage) for stage in stages]) for stages in self.at_once]
        for number in range(self.rounds):
            before = _hash(before, number, later if number else first, *([] if self.capacity is None else [self.capacity]))
            phases.append(Phase(before, number))
            for stages, nodes, keys in trained:
                acting = [] if self.online is None else [asdict(self.online), later, sorted(self.acting_nodes),
                                                         self.config.settings.agents]
                before = _hash(before, number, keys, self.fresh, *acting)
                phases.append(Phase(before, number, stages, nodes, self.online is not None))
        return tuple(phases)

    @property
    def at_once(self) -> list[tuple[Stage, ...]]:
        """The stages of each phase of a round."""
        if self.online is not None or self.config.settings.learning.get("order") == "concurrent":
            return [self.stages]
        return [(stage,) for stage in self.stages]

    @property
    def fresh(self) -> bool:
        """Whether every round begins with fresh optimisers."""
        return bool(self.config.settings.learning.get("fresh", True))

    @property
    def capacity(self) -> int | None:
        """The largest number of observations to learn from; None for no limit."""
        found: int | None = (self.config.settings.learning.get("buffer") or {}).get("capacity")
        return found

    @property
    def key(self) -> str:
        """The key of the trained agent."""
        return _hash(self.schedule[-1].key, {node: self._described(self.graph, [node]) for node in self.kept})

    def label(self, phase: Phase) -> str:
        """Return a phase's display name: "experience", "model", or "model of round 2" if there are several rounds."""
        name = " and ".join(stage.name for stage in phase.stages) or "experience"
        return f"{name} of round {phase.round + 1}" if self.rounds > 1 else name

    @cached_property
    def _common(self) -> str:
        settings = self.config.settings
        unused = {FORMATS: self.data is None, ACTING: self.online is None}
        without = (*NO_TRAINING, *(module for module, is_unused in unused.items() if is_unused))
        return _hash(settings.seed, settings.learning.threads, engine_code(CODE, without), versions(("ami", "torch")))

    def _experience_key(self, graph: Graph) -> str:
        """Return the key of an agent's experience: a hash over the nodes that fire for the collected ports, and their
        callees."""
        how = self.config.settings.learning.collect
        fired = needed(graph, collected_ports(graph))
        nodes = {*fired, *(callee for node in fired for callee in graph.callees(node))}
        return _hash(self._common, self._described(graph, nodes), how.episodes, how.steps, how.batch)

    def _stage_key(self, stage: Stage) -> str:
        """Return the hash of everything that a stage's result depends on, except the earlier phases."""
        experts = {name: self._described(self.experts[name], self.experts[name].order) for name in stage.data.agents}
        roots = [root for option in stage.options.values() for root in option.code_roots()]
        code = code_hash(roots, without=NO_ENGINE)
        return _hash(self._common, stage.plain(), code, self._described(self.graph, self._nodes_of([stage])), experts)

    def _nodes_of(self, stages: Sequence[Stage]) -> tuple[str, ...]:
        """Return the nodes that stages depend on: those they train, those with a loss, their callees, and the nodes that
        compute their data."""
        named: set[str] = set()
        for stage in stages:
            named |= {stage.learner, *stage.unroll, *(path.split(".")[0] for path in stage.train)}
            named |= stage.data.nodes({node: self.graph.drafts[node] for node in self.nodes})
        return _with_callees(self.graph, named)

    def _described(self, graph: Graph, nodes: Iterable[str]) -> dict[str, Any]:
        """Return settings, sizes, wires, calls and code of some nodes of a graph."""
        chosen = set(nodes)
        code = code_of(graph, chosen)
        return {node: [graph.specs[node].resolved(), graph.dims[node], graph.calls[node], graph.every[node], code[node],
                       [[str(wire), wire.init, wire.cut] for wire in graph.inputs[node] if wire.node in chosen],
                       # only where they are given: cached agents keep their keys
                       *([str(graph.devices[node])] if graph.devices[node] != CPU else []), *self.initial.described(node)]
                for node in graph.order if node in chosen}


def learning_nodes(graph: Graph, stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return the nodes that learn, the nodes whose loss is minimised, and the callees of both."""
    return _with_callees(graph, {node for stage in stages for node in (
        stage.learner, *stage.unroll, *(path.split(".")[0] for path in stage.train))})


def _with_callees(graph: Graph, named: set[str]) -> tuple[str, ...]:
    called = {callee for node in named if node in graph.order for callee in graph.callees(node, learning=True)}
    return tuple(node for node in graph.order if node in named | called)


def stages_of(config: Config) -> tuple[Stage, ...]:
    """Return the stages of a config without the frozen nodes."""
    plain = config.plain()
    described = config.settings.learning.stages
    frozen = {node for node, one in node_settings(plain).items() if one.frozen}
    return tuple(Stage.read(str(name), _thawed(str(name), stage, frozen), described, config.allow)
                 for name, stage in plain["learning"]["stages"].items() if stage)


def check_collection(config: Config, stages: Sequence[Stage], data: Data | None) -> None:
    """Check the settings of collecting, unless experience is read from a file.

    Raises:
        SettingError: a setting is missing, a stage's windows are longer than the collected episodes, or the agent cannot act
            while it learns.
    """
    settings = config.settings
    if (online := online_of(config)) is not None:
        require(data is None, "learning.online is set together with learning.data: expected one of them. Fix: leave out "
                              "learning.data, or another option of learning")
        require(settings.agents == 1 or online.max_lag > 0,
                f"agents is {settings.agents} with learning.online.max_lag=0, in which one agent and learning take turns: "
                "expected 1. Fix: learning.online.max_lag=50")
        require(settings.learning.get("rounds", 1) == 1, f"learning.rounds is {settings.learning.get('rounds')} with "
                                                         "learning.online: expected 1. Fix: more steps of its stages")
    if data is not None:
        return
    absent = [name for name in types_of(Collect) if name not in settings.learning.get("collect", {})]
    require(not stages or not absent,
            f"learning.collect.{{{','.join(absent)}}} is missing, but there are stages that learn: "
            f"{', '.join(stage.name for stage in stages)}. Fix: choose learning=two_rooms or another with `collect`; or, to "
            f"learn nothing, {' '.join(f'~learning.stages.{stage.name}' for stage in stages)}")
    for stage in stages:
        require(stage.data.length <= settings.learning.collect.steps,
                f"learning.stages.{stage.name}.source.length is {stage.data.length}: expected at most "
                f"learning.collect.steps, {settings.learning.collect.steps}")


def callbacks_of(config: Config) -> tuple[Callback, ...]:
    """Return the callbacks of a config."""
    given = config.plain()["learning"].get("callbacks") or {}
    return tuple(option(chosen, f"learning.callbacks.{name}", "callback", Callback, (), config.allow).make()
                 for name, chosen in given.items() if chosen)


def _thawed(name: str, stage: Any, frozen: Collection[str]) -> Any:
    """Return a stage's settings without the frozen nodes in its `train`."""
    train = stage.get("train") if isinstance(stage, Mapping) else None
    if not isinstance(train, list):
        return stage
    kept = [path for path in train if str(path).split(".")[0] not in frozen]
    require(bool(kept) or not train, f"learning.stages.{name} trains {', '.join(map(str, train))} alone, which "
            f"{'is' if len(train) == 1 else 'are'} frozen: nothing is left to learn. Fix: drop the stage, "
            f"~learning.stages.{name}, or {str(train[0] if train else '').split('.')[0]}.frozen=false")
    return {**stage, "train": kept}


def frozen_remarks(config: Config) -> list[str]:
    """Return a line for each stage that would train a frozen node."""
    plain = config.plain()
    frozen = {node for node, one in node_settings(plain).items() if one.frozen}
    found = []
    for name, stage in plain["learning"]["stages"].items():
        left_out = [str(path) for path in (stage or {}).get("train", ()) if str(path).split(".")[0] in frozen]
        if left_out:
            found.append(f"the stage {name} does not train {' and '.join(left_out)}: frozen")
    return found


def _hash(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

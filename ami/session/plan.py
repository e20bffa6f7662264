"""Training plan: the learning stages of a config, their data, and the cache key of each step.

A key is a hash of everything that a step's result depends on: seed, settings, code and sizes of the nodes involved, the data
and the earlier steps. A changed critic keeps the cached world model; a changed world invalidates every step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ami.blueprint import Actor, Perception, WorldModel
from ami.config.compose import Config, compose_baseline, to_graph, to_specs
from ami.config.rules import types_of
from ami.config.settings import Collect
from ami.config.trust import allow_list, trusted_class
from ami.errors import require
from ami.graph.devices import CPU
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.learning.collect import collected_ports
from ami.learning.stage import Stage
from ami.learning.trainer import Step
from ami.trace.header import versions
from ami.trace.provenance import code_of, engine_code

CODE = ("ami.session.learn", "ami.session.plan", "ami.learning.trainer")
"""The modules of ami that training depends on, besides those that run an agent."""
EXPLORER = "modules.actor.epsilon_greedy.EpsilonGreedy"
"""The class that adds random actions to an actor, with the settings `actor` and `epsilon`."""


@dataclass(frozen=True)
class TrainingPlan:
    """The stages of a training and the agents that collect its data.

    Attributes:
        config: the composed config.
        graph: the graph of the learning agent.
        stages: the learning stages in order.
        explorer: the graph of the agent that collects experience in the first round.
        learner: the graph of the agent that collects experience in later rounds.
        teachers: the graphs of the experts whose plans a policy imitates, by name.
        nodes: the nodes that learn, and their callees.
    """

    config: Config
    graph: Graph
    stages: tuple[Stage, ...]
    explorer: Graph
    learner: Graph
    teachers: Mapping[str, Graph]
    nodes: tuple[str, ...]

    @classmethod
    def of(cls, config: Config, graph: Graph) -> TrainingPlan | None:
        """Return the plan of a config; None if nothing learns.

        Raises:
            GraphError, SettingError, UnknownName: a stage, or an agent that collects its data, is invalid.
        """
        stages = stages_of(config)
        if not stages:
            return None
        explorer = to_graph(compose_baseline(config, config.settings.learning.collect.agent))
        learner = _exploring(config) if config.settings.learning.get("rounds", 1) > 1 else explorer
        teachers = {str(name): to_graph(compose_baseline(config, str(name)))
                    for stage in stages if stage.data == "plans" for name in stage.agents}
        return cls(config, graph, stages, explorer, learner, teachers, learning_nodes(graph, stages))

    @property
    def rounds(self) -> int:
        return int(self.config.settings.learning.get("rounds", 1))

    def collector(self, number: int) -> Graph:
        """Return the graph of the agent that collects experience in a round."""
        return self.explorer if number == 0 else self.learner

    @cached_property
    def schedule(self) -> tuple[Step, ...]:
        """Every step in order, each with its key."""
        steps: list[Step] = []
        before = ""
        collected = [self._experience_key(graph) for graph in dict.fromkeys((self.explorer, self.learner))]
        trained = [(stage, self._nodes_of(stage), self._stage_key(stage)) for stage in self.stages]
        for number in range(self.rounds):
            before = _hash(before, number, collected[min(number, len(collected) - 1)])
            steps.append(Step(before, number))
            for stage, nodes, key in trained:
                before = _hash(before, number, key)
                steps.append(Step(before, number, stage, nodes))
        return tuple(steps)

    @property
    def key(self) -> str:
        """The key of the trained agent."""
        return _hash(self.schedule[-1].key, {node: self._described(self.graph, [node]) for node in self.nodes})

    def label(self, step: Step) -> str:
        """Return a step's display name: "experience", "model", or "model of round 2" if there are several rounds."""
        name = "experience" if step.stage is None else step.stage.name
        return f"{name} of round {step.round + 1}" if self.rounds > 1 else name

    @cached_property
    def _common(self) -> str:
        settings = self.config.settings
        return _hash(settings.seed, settings.learning.threads, engine_code(CODE), versions(("ami", "torch")))

    def _experience_key(self, graph: Graph) -> str:
        """Return the key of an agent's experience: a hash over all nodes upstream of the collected ports."""
        how = self.config.settings.learning.collect
        nodes = _upstream(graph, {port.split(".")[0] for port in collected_ports(graph)})
        return _hash(self._common, self._described(graph, nodes), how.episodes, how.steps, how.batch)

    def _stage_key(self, stage: Stage) -> str:
        """Return the hash of everything that a stage's result depends on, except the earlier steps."""
        teachers = {name: self._described(self.teachers[name], self.teachers[name].order)
                    for name in (stage.agents if stage.data == "plans" else ())}
        return _hash(self._common, asdict(stage), self._described(self.graph, self._nodes_of(stage)), teachers)

    def _nodes_of(self, stage: Stage) -> tuple[str, ...]:
        """Return the nodes that a stage depends on: those it trains, the node with the loss, their callees, and the nodes
        that compute its data."""
        named = {stage.loss, *(path.split(".")[0] for path in stage.train)}
        if stage.data == "memory":
            named |= {node for node in self.nodes if isinstance(self.graph.drafts[node], (Perception, WorldModel))}
        return _with_callees(self.graph, named)

    def _described(self, graph: Graph, nodes: Iterable[str]) -> dict[str, Any]:
        """Return settings, sizes, wires, calls and code of some nodes of a graph."""
        chosen = set(nodes)
        code = code_of(graph, chosen)
        return {node: [graph.specs[node].resolved(), graph.dims[node], graph.calls[node], graph.every[node], code[node],
                       [[str(wire), wire.init, wire.cut] for wire in graph.inputs[node] if wire.node in chosen],
                       *([str(graph.devices[node])] if graph.devices[node] != CPU else [])]  # cached agents keep their keys
                for node in graph.order if node in chosen}


def learning_nodes(graph: Graph, stages: Sequence[Stage]) -> tuple[str, ...]:
    """Return the nodes that learn, the nodes whose loss is minimised, and the callees of both."""
    return _with_callees(graph, {stage.loss for stage in stages} | {
        path.split(".")[0] for stage in stages for path in stage.train})


def _with_callees(graph: Graph, named: set[str]) -> tuple[str, ...]:
    called = {callee for node in named if node in graph.order for callee in graph.callees(node)}
    return tuple(node for node in graph.order if node in named | called)


def _upstream(graph: Graph, nodes: Iterable[str]) -> set[str]:
    """Return these nodes and all nodes upstream of them, over wires (delayed ones included) and calls."""
    found: set[str] = set()
    waiting = [node for node in nodes if node in graph.order]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [wire.node for wire in graph.inputs[node] if not wire.cut]
            waiting += graph.callees(node)
    return found


def stages_of(config: Config) -> tuple[Stage, ...]:
    """Return the stages of a config, checked against the length of the collected episodes."""
    settings = config.settings
    described = settings.learning.stages
    stages = tuple(Stage.read(str(name), dict(stage), described) for name, stage in described.items() if stage)
    absent = [name for name in types_of(Collect) if name not in settings.learning.get("collect", {})]
    require(not stages or not absent,
            f"learning.collect.{{{','.join(absent)}}} is missing, but there are stages that learn: "
            f"{', '.join(stage.name for stage in stages)}. Fix: choose learning=two_rooms or another with `collect`; or, to "
            f"learn nothing, {' '.join(f'~learning.stages.{stage.name}' for stage in stages)}")
    for stage in stages:
        require(stage.data != "experience" or stage.window <= settings.learning.collect.steps,
                f"learning.stages.{stage.name}.window is {stage.window}: expected at most learning.collect.steps, "
                f"{settings.learning.collect.steps}")
    return stages


def _exploring(config: Config) -> Graph:
    """Return the agent's graph for later rounds: each actor explores with probability `learning.explore`."""
    share, parts = config.settings.learning.get("explore", 0.0), to_specs(config)
    explorer = trusted_class(EXPLORER, "learning.explore", allow_list())
    for node, part in parts.items():
        if share and isinstance(part.target, type) and issubclass(part.target, Actor):
            settings = part.settings if issubclass(part.target, explorer) else {"actor": part}
            parts[node] = ModuleSpec(explorer, {**settings, "epsilon": share})
    return Graph(parts, config.plain()["graph"])


def _hash(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

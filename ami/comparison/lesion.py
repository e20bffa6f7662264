"""`ami compare --lesion`: an agent against itself without one of its modules, wires, cost terms or trained weights.

A lesion is made after training: every variant uses the weights of the intact agent, and nothing is retrained.

* *a wire*: an optional input is left unwired; a required one is cut, and always receives 0. A mode stays at 2, to plan,
  and the weights of a cost at 1, no modulation.
* *a module*: all wires that leave its node, and all optional calls to it. Required calls stay: a planner cannot work
  without a world model.
* *a term* of the cost: its weight, and its floor if it has one, are 0.
* *trained weights*: a node has its initial weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ami.blueprint import Cost, World
from ami.comparison.compare import SEEDS, Comparison, compare_variants
from ami.comparison.variants import Variant
from ami.config.compose import Config, compose
from ami.drawing.losses import INTACT, WITHOUT
from ami.graph.graph import Graph
from ami.graph.wiring import Wire
from ami.session.evaluation import judged_graph
from ami.terminal.console import Console

NEUTRAL = {"mode": 2, "weights": 1}
"""The constant input for a cut wire of these kinds: plan, and no modulation."""
TERMS = ("intrinsic", "critics")


def lesion(overrides: Sequence[str] = (), *, seeds: Sequence[int] = SEEDS, parallel: int = 0, folder: Path | None = None,
           console: Console | None = None, allow: Sequence[str] = ()) -> Comparison:
    """Compare an agent with each of its lesions, sorted by loss of performance.

    Args:
        overrides: overrides of the agent; the default agent if empty.
        seeds: its training seeds.
        parallel: number of variants to run in parallel as Ray tasks; 0 runs them one after another in this process.
        folder: folder of the comparison, also to resume it; by default one in the store.
        console: shows progress; silent by default.
        allow: prefixes of your own packages that `_target_` may name; see `ami.config.trust`.

    Raises:
        SettingError, GraphError, UnknownName: the intact agent is refused, or the folder holds another comparison.
    """
    config = compose(overrides, allow=allow)
    return compare_variants(lesions(config), seeds=seeds, against=INTACT, parallel=parallel, folder=folder, console=console,
                            allow=allow, skip_refused=True, name="lesion", by_loss=True)


def lesions(config: Config) -> list[Variant]:
    """Return the intact agent, then each of its lesions."""
    graph, intact = judged_graph(config), tuple(config.overrides)
    found = [Variant(INTACT, intact, intact)]
    done: dict[tuple[str, ...], str] = {}
    for label, changes in [*_parts(graph), *_terms(graph), *_wires(graph)]:
        if changes not in done:  # a module with a single wire equals the lesion of that wire
            done[changes] = label
            found.append(Variant(label, (*intact, *changes), intact))
    return [*found, *(Variant(f"{node} untrained", intact, intact, (node,)) for node in _learners(config, graph))]


def _parts(graph: Graph) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in graph.order:
        if node not in graph.nodes_of(World):
            wires = tuple(_without(graph, wire) for wire in graph.wires if wire.node == node and not wire.cut)
            calls = tuple(f"graph.{caller}.calls.{name}=null" for caller, names in graph.calls.items()
                          for name, callee in names.items() if callee == node and _is_optional(graph, caller, name))
            if wires or calls:
                yield f"{WITHOUT}{node}", (*wires, *calls)


def _terms(graph: Graph) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a lesion of each term of a cost with named, weighted terms."""
    for node in graph.nodes_of(Cost):
        settings = graph.specs[node].resolved()
        names = [name for setting in TERMS if isinstance(settings.get(setting), dict) for name in settings[setting]]
        if "weights" in settings and len(names) > 1:
            floors = settings.get("floors") or {}
            for name in names:
                floor = (f"{node}.floors.{name}=0",) if name in floors else ()
                yield f"{WITHOUT}{node}.{name}", (f"{node}.weights.{name}=0", *floor)


def _wires(graph: Graph) -> Iterator[tuple[str, tuple[str, ...]]]:
    return ((f"{WITHOUT}{wire}", (_without(graph, wire),)) for wire in graph.wires if not wire.cut)


def _learners(config: Config, graph: Graph) -> list[str]:
    """Return the nodes that a stage trains, wholly or partly."""
    stages = [stage for stage in config.settings.learning.stages.values() if stage]
    named = {str(path).split(".")[0] for stage in stages for path in stage.train}
    return [node for node in graph.order if node in named]


def _without(graph: Graph, wire: Wire) -> str:
    """Return the override that removes a wire."""
    where = f"graph.{wire.to_node}.{wire.to_port}"
    port = graph.drafts[wire.to_node].inputs[wire.to_port]
    if port.optional and port.kind not in NEUTRAL:
        return f"{where}=null"
    init = NEUTRAL.get(port.kind, 0)
    return f"{where}={{from: {wire.node}.{wire.port}, delay: {wire.delay}, init: {init}, cut: true}}"


def _is_optional(graph: Graph, caller: str, name: str) -> bool:
    call = graph.drafts[caller].requires.get(name)
    return call is not None and call.optional

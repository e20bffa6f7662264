"""The wiring file: the source of each node's inputs.

    planner: {state: world_model.state, goal: goal.goal, calls: {world_model: world_model, cost: cost}, every: 2}
    actor:   {plan: planner.plan, action: actor.action@-1, energy: {from: cost.energy, delay: 1, init: 0.5}}
    goal:    {observation: {from: world.goal, cut: true}}
    planner: {action_mask: {from: world.action_mask, optional: true}}   # only if both ends have the port
    perception: {observation: world.observation, device: cuda}          # auto, cpu, cuda or cuda:n; by default cpu
    memory:  {state: world_model.state, on_failure: hold_last}          # restart, hold_last or raise; by default restart

One key per input, so that a single wire can be overridden, added or removed from the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ami.errors import suggestion

RESERVED = ("calls", "every", "device", "on_failure")
ON_FAILURE = ("restart", "hold_last", "raise")
LONG_FORM = ("from", "delay", "init", "cut", "optional")
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_SOURCE = re.compile(r"^(?P<node>[A-Za-z_]\w*)\.(?P<port>[A-Za-z_]\w*)(@(?P<delay>-?\d+))?$")


@dataclass(frozen=True)
class Wire:
    """One message edge.

    Attributes:
        node, port: the output it comes from.
        to_node, to_port: the input it goes to.
        delay: the delay in ticks.
        init: the value of every element before the first message arrives.
        cut: the input receives `init` at every tick, and no message.
        optional: the wire is dropped if one of its ends lacks the port, which is otherwise a mistake.
    """

    node: str
    port: str
    to_node: str
    to_port: str
    delay: int = 0
    init: float = 0.0
    cut: bool = False
    optional: bool = False

    def __str__(self) -> str:
        late = f"@-{self.delay}" if self.delay else ""
        return f"{self.node}.{self.port}{late} → {self.to_node}.{self.to_port}"


@dataclass
class Wiring:
    """The parsed wiring file, not yet checked against the modules."""

    nodes: tuple[str, ...]
    wires: list[Wire] = field(default_factory=list)
    calls: dict[str, dict[str, str]] = field(default_factory=dict)
    every: dict[str, int] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    on_failure: dict[str, str] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def parse(file: Mapping[str, Any]) -> Wiring:
    """Parse the wiring; an entry that cannot be parsed is reported as a mistake and skipped."""
    wiring = Wiring(nodes=tuple(sorted(file)))
    for node in wiring.nodes:
        entries = file[node] or {}
        if not isinstance(entries, Mapping):
            wiring.mistakes.append(f"{node} is wired to {entries!r}: expected a mapping, `{node}: {{input: node.output}}`")
            continue
        for key, source in entries.items():
            if source is None:
                continue
            if key == "calls":
                _read_calls(wiring, node, source)
            elif key == "every":
                _read_every(wiring, node, source)
            elif key == "device":
                _read_device(wiring, node, source)
            elif key == "on_failure":
                _read_on_failure(wiring, node, source)
            else:
                _read_wire(wiring, node, str(key), source)
    return wiring


def _read_calls(wiring: Wiring, node: str, source: Any) -> None:
    if isinstance(source, Mapping):  # null removes a call, as it does a wire
        source = {name: callee for name, callee in source.items() if callee is not None}
    if not isinstance(source, Mapping) or not all(isinstance(callee, str) for callee in source.values()):
        wiring.mistakes.append(f"{node}.calls is {source!r}: expected a mapping, `calls: {{world_model: world_model}}`")
        return
    wiring.calls[node] = {str(name): callee for name, callee in source.items()}


def _read_every(wiring: Wiring, node: str, source: Any) -> None:
    if not isinstance(source, int) or isinstance(source, bool) or source < 1:
        wiring.mistakes.append(f"{node}.every is {source!r}: expected a whole number of ticks, 1 or more")
        return
    wiring.every[node] = source


def _read_device(wiring: Wiring, node: str, source: Any) -> None:
    if not isinstance(source, str) or _DEVICE.fullmatch(source) is None:
        wiring.mistakes.append(f"{node}.device is {source!r}: expected auto, cpu, cuda or cuda:n")
        return
    wiring.devices[node] = source


def _read_on_failure(wiring: Wiring, node: str, source: Any) -> None:
    if source not in ON_FAILURE:
        wiring.mistakes.append(f"{node}.on_failure is {source!r}{suggestion(str(source), ON_FAILURE)}")
        return
    wiring.on_failure[node] = source


def _read_wire(wiring: Wiring, node: str, port: str, source: Any) -> None:
    delay: Any = None
    init: Any = 0.0
    cut: Any = False
    optional: Any = False
    if isinstance(source, Mapping):
        for key in source:
            if key not in LONG_FORM:
                wiring.mistakes.append(f"{node}.{port} has the key '{key}'{suggestion(str(key), LONG_FORM)}")
                return
        delay, init, cut = source.get("delay"), source.get("init", 0.0), source.get("cut", False)
        optional = source.get("optional", False)
        source = source.get("from")
    match = _SOURCE.match(source) if isinstance(source, str) else None
    if match is None:
        near = suggestion(port, RESERVED)
        wiring.mistakes.append(f"{node}.{port} is wired from {source!r}: expected `node.output` or `node.output@-1`"
                               + (f". '{port}'{near}" if "did you mean" in near else ""))
        return
    if match["delay"] is not None:
        delay = -int(match["delay"])
    delay = 0 if delay is None else delay
    if not isinstance(delay, int) or isinstance(delay, bool) or delay < 0:
        wiring.mistakes.append(f"{node}.{port} has the delay {delay!r}: expected `@-1`, one tick late, or `@-n`")
        return
    if not isinstance(init, (int, float)):
        wiring.mistakes.append(f"{node}.{port} has the init {init!r}: expected a number")
        return
    for name, flag in (("cut", cut), ("optional", optional)):
        if not isinstance(flag, bool):
            wiring.mistakes.append(f"{node}.{port} has the {name} {flag!r}: expected true or false")
            return
    wiring.wires.append(Wire(match["node"], match["port"], node, port, delay, float(init), cut, optional))

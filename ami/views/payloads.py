"""Payloads: recorded contents of messages, and a linear readout of states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ami.evaluation.pictures import is_picture
from ami.learning.probe import Readout, fit_readout
from ami.ports import DTYPES
from ami.trace.reader import Trace, tensor_of
from ami.trace.roles import Roles
from ami.views.tables import Tables

FITTED_ON = 8_000  # states; more do not improve a linear readout
RIDGE = 1e-4
WIDEST_STATE = 4096  # numbers; a readout needs the square of it
WIDEST = 12  # numbers of the longest vector observation that is plotted

STATE, PLAN, IMAGINED = "state", "plan", "imagined"
"""Outputs of world models, and of planners."""


class Recorded:
    """The recorded payloads of a trace.

    Attributes:
        trace: it.
        roles: the roles of its nodes.
        world: the node of its first world.
        observation, truth, goal: the world's outputs, "node.port".
        action: the port that sends to the world; empty if there is none.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.roles = Roles(trace.header)
        self.world = self.roles.world
        self.observation, self.truth, self.goal = (f"{self.world}.{port}" for port in ("observation", "truth", "goal"))
        self.action = next(iter(self.roles.actions), "")
        self._every: Mapping[str, int] = trace.header["graph"].get("every", {})
        self._wave = -1
        self._held: dict[str, dict[int, np.ndarray]] = {}

    def has(self, port: str) -> bool:
        """Whether the content of `node.port` was recorded."""
        node, _, name = port.partition(".")
        return node in self.trace.tables and f"{name}.data" in self.trace.tables[node].column_names

    @property
    def any(self) -> bool:
        """Whether any content that the page shows per episode was recorded."""
        plans = (f"{node}.{port}" for node in self.roles.planners for port in (PLAN, IMAGINED))
        return any(self.has(port) for port in (self.observation, self.truth, *plans))

    def shape(self, port: str) -> tuple[str, tuple[int, ...]]:
        """Return the dtype, and the shape after the batch."""
        node, _, name = port.partition(".")
        return self.trace.ports[node][name]

    @cached_property
    def pictures(self) -> bool:
        """Whether the world's observations are pictures, and were recorded."""
        return self.has(self.observation) and self.are_pictures(self.observation)

    def are_pictures(self, port: str) -> bool:
        """Whether the messages of `node.port` are pictures."""
        dtype, shape = self.shape(port)
        return is_picture(DTYPES[dtype], shape)

    @cached_property
    def numbers(self) -> bool:
        """Whether the world's observations are a few numbers, and were recorded."""
        if not self.has(self.observation):
            return False
        dtype, shape = self.shape(self.observation)
        return dtype.startswith("float") and len(shape) == 1 and 0 < shape[0] <= WIDEST

    def at(self, port: str, wave: int) -> dict[int, np.ndarray]:
        """Return {tick: (B, …)} of one wave; ticks at which the node rested or the content was not recorded are missing.

        Rows in which a slow node was not due hold older numbers in the trace, and NaN here.
        """
        if wave != self._wave:  # memory holds one wave at a time
            self._wave, self._held = wave, {}
        if port not in self._held:
            self._held[port] = dict(self.read(port, wave))
        return self._held[port]

    def read(self, port: str, wave: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield what `at` returns, tick by tick."""
        if not self.has(port):
            return
        node, _, name = port.partition(".")
        dtype, shape = self.shape(port)
        table = self.trace.tables[node]
        rows = np.flatnonzero(table["wave"].to_numpy() == wave)
        some = table.take(pa.array(rows)) if len(rows) < len(table) else table
        columns = (some["tick"].to_pylist(), some["batch"].to_pylist(), some[f"{name}.data"].to_pylist())
        for tick, batch, data in zip(*columns, strict=True):
            if data is not None:
                value = _array(data, dtype, (batch, *shape))
                if value.dtype.kind == "f" and not (due := self.due(node, wave, tick)).all():
                    value[~due] = np.nan
                yield tick, value

    def due(self, node: str, wave: int, tick: int) -> np.ndarray:
        """Return whether a node was due, by row (B,); one value for all rows of a node that is due at every tick."""
        every = self._every.get(node, 1)
        due: np.ndarray = np.ones(1, bool) if every == 1 else (tick - self._began[wave, tick]) % every == 0
        return due

    @cached_property
    def _began(self) -> dict[tuple[int, int], np.ndarray]:
        """The ticks (B,) at which the rows' episodes began, by wave and tick."""
        tables = Tables(self.trace)
        wave, tick, row = (tables.ticks[name].to_numpy() for name in ("wave", "tick", "row"))
        firsts = np.flatnonzero(row == 0)
        parts = np.split(tables.played.began, firsts[1:])
        return dict(zip(zip(wave[firsts].tolist(), tick[firsts].tolist(), strict=True), parts, strict=True))

    @cached_property
    def target(self) -> str:
        """What imagined states are read out to: the observations if they are a few numbers, else the true state."""
        return self.observation if self.numbers else self.truth

    def states(self, planner: str) -> str:
        """Return the port that sends the states of the world model that a planner calls; empty if there is none."""
        model = self.roles.model_of(planner)
        return f"{model}.{STATE}" if model else ""

    def missing(self, is_drawn: bool) -> list[str]:
        """Return what the page cannot show, why, and how to get it."""
        texts = []
        fix = "Fix: run again with trace.level=full"
        if not self.has(self.observation):
            texts.append(f"No pictures of the world: the content of {self.observation} was not recorded. "
                         f"{fix}, or boundary.")
        elif not self.pictures and not is_drawn:
            texts.append("No pictures of the world: its observations are not pictures. Fix: ami view --render, which "
                         "renders the world while the recorded actions are repeated.")
        needed = [port for node in self.roles.planners if IMAGINED in self.trace.ports.get(node, ())
                  for port in (f"{node}.{IMAGINED}", self.states(node), self.target)]
        lacking = [port for port in dict.fromkeys(needed) if port and not self.has(port)]
        if lacking:
            texts.append(f"No imagined plans: the content of {', '.join(lacking)} was not recorded. {fix}.")
        return texts


def within(values: Mapping[int, np.ndarray], first: int, end: int) -> dict[int, np.ndarray]:
    """Return the values of the ticks from `first` to before `end`."""
    return {tick: value for tick, value in values.items() if first <= tick < end}


class Decoder:
    """Linear readout from a world model's states to what is drawn: a place in a picture, or the world's numbers.

    Args:
        recorded: the trace of the drawn world.
        port: the port that sends the states, "node.port".
        states: the trace of the states, if it is another.

    Attributes:
        fit: the readout's target, the number of states, and the explained variance `r2`; None without a readout.
    """

    def __init__(self, recorded: Recorded, port: str, states: Recorded | None = None) -> None:
        states = states or recorded
        self.fit: dict[str, Any] | None = None
        self._readout: Readout | None = None
        width = recorded.shape(recorded.target)[1] if recorded.has(recorded.target) else (0,)
        if width[0] and states.has(port) and prod(states.shape(port)[1]) <= WIDEST_STATE:
            self._fit(recorded, states, port)

    def _fit(self, recorded: Recorded, agent: Recorded, port: str) -> None:
        states, seen = [], []
        for wave in recorded.trace.waves:
            observed, shown = agent.at(port, wave), recorded.at(recorded.target, wave)
            for tick in sorted(observed.keys() & shown.keys()):
                due = np.broadcast_to(agent.due(port.partition(".")[0], wave, tick), len(shown[tick]))
                states.append(observed[tick][due])
                seen.append(shown[tick][due])
        if not states:
            return
        # every fourth tick, with all of its rows, is held out for the score
        held = np.repeat(np.arange(len(states)) % 4 == 3, [len(each) for each in states])
        state, true = (torch.from_numpy(np.concatenate(each)).double() for each in (states, seen))
        every = max(1, len(state) // FITTED_ON)
        state, true, held = state[::every], true[::every], held[::every]
        if held.sum() < 2 or not bool(state.isfinite().all()):
            return
        kept = torch.from_numpy(~held)
        partly = fit_readout(state[kept], true[kept], RIDGE)
        rest = true[~kept]
        error = (partly(state[~kept]).double() - rest).square().mean(0)
        varies = rest.var(0, correction=0) > 1e-9
        explained = 1 - error[varies] / rest.var(0, correction=0)[varies]
        self._readout = fit_readout(state, true, RIDGE)
        self.fit = {"of": recorded.target, "states": len(state),
                    "r2": float(explained.mean()) if bool(varies.any()) else None}

    def __call__(self, states: np.ndarray) -> np.ndarray | None:
        """Map states (…, *S) to (…, X); None without a fitted readout."""
        return None if self._readout is None else self._readout(torch.from_numpy(states).double()).numpy()


def _array(data: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if not data:
        return np.zeros(shape, np.float32)
    value = tensor_of(data, dtype, shape)
    return (value.float() if dtype == "bfloat16" else value).numpy()

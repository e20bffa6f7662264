"""Payloads: recorded contents of messages, and a linear readout of states."""

from __future__ import annotations

from collections.abc import Iterator
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

FITTED_ON = 8_000  # states; more do not improve a linear readout
RIDGE = 1e-4
WIDEST_STATE = 4096  # numbers; a readout needs the square of it
WIDEST = 12  # numbers of the longest vector observation that is plotted

WORLD, ACTION = "world", "actor.action"


class Recorded:
    """The recorded payloads of a trace."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._wave = -1
        self._held: dict[str, dict[int, np.ndarray]] = {}

    def has(self, port: str) -> bool:
        """Whether the content of `node.port` was recorded."""
        node, _, name = port.partition(".")
        return node in self.trace.tables and f"{name}.data" in self.trace.tables[node].column_names

    @property
    def any(self) -> bool:
        """Whether any content that the page shows per episode was recorded."""
        return any(self.has(port) for port in ("world.observation", "world.truth", "planner.plan", "planner.imagined"))

    def shape(self, port: str) -> tuple[str, tuple[int, ...]]:
        """Return the dtype, and the shape after the batch."""
        node, _, name = port.partition(".")
        return self.trace.ports[node][name]

    @cached_property
    def pictures(self) -> bool:
        """Whether the world's observations are pictures, and were recorded."""
        return self.has("world.observation") and self.are_pictures("world.observation")

    def are_pictures(self, port: str) -> bool:
        """Whether the messages of `node.port` are pictures."""
        dtype, shape = self.shape(port)
        return is_picture(DTYPES[dtype], shape)

    @cached_property
    def numbers(self) -> bool:
        """Whether the world's observations are a few numbers, and were recorded."""
        if not self.has("world.observation"):
            return False
        dtype, shape = self.shape("world.observation")
        return dtype.startswith("float") and len(shape) == 1 and 0 < shape[0] <= WIDEST

    def at(self, port: str, wave: int) -> dict[int, np.ndarray]:
        """Return {tick: (B, …)} of one wave; ticks at which the node rested or the content was not recorded are missing."""
        if wave != self._wave:  # memory holds one wave at a time
            self._wave, self._held = wave, {}
        if port not in self._held:
            self._held[port] = dict(self._read(port, wave)) if self.has(port) else {}
        return self._held[port]

    def _read(self, port: str, wave: int) -> Iterator[tuple[int, np.ndarray]]:
        node, _, name = port.partition(".")
        dtype, shape = self.shape(port)
        table = self.trace.tables[node]
        rows = np.flatnonzero(table["wave"].to_numpy() == wave)
        some = table.take(pa.array(rows)) if len(rows) < len(table) else table
        columns = (some["tick"].to_pylist(), some["batch"].to_pylist(), some[f"{name}.data"].to_pylist())
        for tick, batch, data in zip(*columns, strict=True):
            if data is not None:
                yield tick, _array(data, dtype, (batch, *shape))

    def missing(self, decoder: Decoder, is_drawn: bool) -> list[str]:
        """Return what the page cannot show, why, and how to get it."""
        texts = []
        fix = "Fix: run again with trace.level=full"
        if not self.has("world.observation"):
            texts.append("No pictures of the world: the content of world.observation was not recorded. "
                         f"{fix}, or boundary.")
        elif not self.pictures and not is_drawn:
            texts.append("No pictures of the world: its observations are not pictures. Fix: ami view --render, which "
                         "renders the world while the recorded actions are repeated.")
        if "planner" in self.trace.tables:
            lacking = [port for port in ("planner.imagined", "world_model.state", decoder.target) if not self.has(port)]
            if lacking:
                texts.append(f"No imagined plans: the content of {', '.join(lacking)} was not recorded. {fix}.")
        return texts


class Decoder:
    """Linear readout from states to what is drawn: a place in a picture, or the world's numbers.

    Args:
        recorded: the trace of the drawn world, and of the states.
        states: another trace of the states instead.
    """

    def __init__(self, recorded: Recorded, states: Recorded | None = None) -> None:
        states = states or recorded
        self.target = "world.observation" if recorded.numbers else "world.truth"
        self.fit: dict[str, Any] | None = None
        self._readout: Readout | None = None
        width = recorded.shape(self.target)[1] if recorded.has(self.target) else (0,)
        if width[0] and states.has("world_model.state") and prod(states.shape("world_model.state")[1]) <= WIDEST_STATE:
            self._fit(recorded, states)

    def _fit(self, recorded: Recorded, agent: Recorded) -> None:
        states, seen = [], []
        for wave in recorded.trace.waves:
            observed, shown = agent.at("world_model.state", wave), recorded.at(self.target, wave)
            for tick in sorted(observed.keys() & shown.keys()):
                states.append(observed[tick])
                seen.append(shown[tick])
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
        self.fit = {"of": self.target, "states": len(state), "r2": float(explained.mean()) if bool(varies.any()) else None}

    def __call__(self, states: np.ndarray) -> np.ndarray | None:
        """Map states (…, *S) to (…, X); None without a fitted readout."""
        return None if self._readout is None else self._readout(torch.from_numpy(states).double()).numpy()


def _array(data: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if not data:
        return np.zeros(shape, np.float32)
    value = tensor_of(data, dtype, shape)
    return (value.float() if dtype == "bfloat16" else value).numpy()

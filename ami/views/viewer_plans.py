"""Plans for the viewer: planned actions, imagined states, energies of candidates and cost terms, recalled states."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ami.errors import TraceError
from ami.trace.reader import Trace
from ami.views.payloads import Decoder, Recorded
from ami.views.viewer_figures import Wave
from ami.views.viewer_packing import Plain, dense, packed

MOST_ENERGIES = 50_000_000  # of one episode, 4 bytes each
TOGETHER = 256  # recalled states compared with all states at once


def plans(recorded: Recorded, decode: Decoder, wave: Wave, row: int, ticks: int) -> Plain:
    """Return the true states, plans, imagined states, energies and recalled ticks of an episode, as far as recorded.

    Args:
        recorded: the payloads.
        decode: the readout for imagined states.
        wave, row: the episode.
        ticks: number of its ticks to show.
    """
    number = wave.number
    found = _noted(recorded.trace, wave, row, ticks)
    for name, port in (("true", decode.target), ("plan", "planner.plan")):
        found |= dense(name, recorded.at(port, number), row, ticks)
    imagined = {tick: states[row] for tick, states in recorded.at("planner.imagined", number).items() if tick < ticks}
    read = decode(np.stack([*imagined.values()])) if imagined else None
    if read is not None:
        found |= dense("imagined", dict(zip(imagined, read[:, None], strict=True)), 0, ticks)
    recalled = _recalled(recorded.at("memory.recall", number), recorded.at("world_model.state", number), row, ticks)
    return found if recalled is None else {**found, "recalled": recalled}


def _noted(trace: Trace, wave: Wave, row: int, ticks: int) -> Plain:
    """Return the noted energies of candidates by iteration, and of the cost's terms by name."""
    found: Plain = {}
    for node in trace.tables:
        held = {tick: noted["candidates"].float().numpy() for tick, noted in wave.noted(trace, node).items()
                if "candidates" in noted and noted["candidates"].ndim == 3 and tick < ticks}
        most = np.max([energies.shape[1:] for energies in held.values()], axis=0) if held else np.zeros(2)
        if len(held) * float(np.prod(most)) > MOST_ENERGIES:
            raise TraceError(f"{trace.folder} holds notes of {node} with up to {most[0]:,} iterations of {most[1]:,} "
                             f"candidates at {len(held):,} ticks: expected at most {MOST_ENERGIES:,} energies in all. "
                             "Fix: copy the run again from where it was made")
        for tick, energies in held.items():
            gaps = [(0, 0), *((0, int(gap)) for gap in most - energies.shape[1:])]
            held[tick] = np.pad(energies, gaps, constant_values=np.nan)
        found |= dense("candidates", held, row, ticks)
    terms: Plain = {}
    for node in trace.tables:
        for tick, noted in wave.noted(trace, node).items():
            for name, energy in noted.items():
                if tick < ticks and energy.ndim == 1:
                    terms.setdefault(f"{node}: {name}", np.full(ticks, np.nan, np.float32))[tick] = float(energy[row])
    return {**found, "terms": {name: packed(values) for name, values in sorted(terms.items())}} if terms else found


def _recalled(recall: Mapping[int, np.ndarray], states: Mapping[int, np.ndarray], row: int, ticks: int) -> list[int] | None:
    """Return for each tick the past tick whose state is nearest to the recalled state; -1 if nothing was recalled."""
    if not recall or not states or next(iter(recall.values())).shape[1:] != next(iter(states.values())).shape[1:]:
        return None
    known = np.array([tick for tick in sorted(states) if tick < ticks and np.isfinite(states[tick][row]).all()], int)
    if not len(known):
        return [-1] * ticks
    past = np.stack([states[tick][row].ravel() for tick in known.tolist()]).astype(float)  # (K, D)
    sizes = np.square(past).sum(1)
    recalling = [tick for tick in range(int(known[0]) + 1, ticks)
             if tick in recall and recall[tick][row].any() and np.isfinite(recall[tick][row]).all()]
    found = [-1] * ticks
    for begin in range(0, len(recalling), TOGETHER):
        some = recalling[begin:begin + TOGETHER]
        answers = np.stack([recall[tick][row].ravel() for tick in some]).astype(float)
        apart = sizes - 2 * answers @ past.T  # (some, K) squared distances, up to a constant per row
        apart[known >= np.array(some)[:, None]] = np.inf
        for tick, nearest in zip(some, known[apart.argmin(1)].tolist(), strict=True):
            found[tick] = nearest
    return found

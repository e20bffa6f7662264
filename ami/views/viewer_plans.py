"""Plans for the viewer: planned actions, imagined states, energies of candidates and cost terms, recalled states."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ami.blueprint import Memory
from ami.errors import TraceError
from ami.trace.reader import Trace
from ami.views.payloads import IMAGINED, PLAN, Decoder, Recorded, within
from ami.views.viewer_figures import RowEpisode, Wave
from ami.views.viewer_packing import Plain, dense, packed

MOST_ENERGIES = 50_000_000  # of one episode, 4 bytes each
TOGETHER = 256  # recalled states compared with all states at once


def plans(recorded: Recorded, decoders: Mapping[str, Decoder], wave: Wave, one: RowEpisode, end: int) -> Plain:
    """Return the true states and recalled ticks of an episode, and each planner's plans, imagined states and energies of
    candidates, as far as recorded.

    Args:
        recorded: the payloads.
        decoders: by planner, the readout of its world model's states.
        wave, one: the episode.
        end: the tick before which to end.
    """
    def at(port: str) -> dict[int, np.ndarray]:
        return within(recorded.at(port, wave.number), one.first, end)

    found = _terms(recorded.trace, wave, one, end) | dense("true", at(recorded.target), one.row, end)
    planners: Plain = {}
    for planner, decode in decoders.items():
        own = _candidates(recorded.trace, planner, wave, one, end) | dense("plan", at(f"{planner}.{PLAN}"), one.row, end)
        imagined = {tick: states[one.row] for tick, states in at(f"{planner}.{IMAGINED}").items()}
        read = decode(np.stack([*imagined.values()])) if imagined else None
        if read is not None:
            own |= dense("imagined", dict(zip(imagined, read[:, None], strict=True)), 0, end)
        if own:
            planners[planner] = own
    if planners:
        found["planners"] = planners
    for memory in recorded.roles.nodes_of(Memory)[:1]:
        recalled = _recalled(at(f"{memory}.recall"), at(recorded.states(memory)), one.row, end)
        if recalled is not None:
            found["recalled"] = recalled
    return found


def _candidates(trace: Trace, planner: str, wave: Wave, one: RowEpisode, end: int) -> Plain:
    """Return the noted energies of a planner's candidates, by iteration."""
    if planner not in trace.tables:
        return {}
    held = {tick: noted["candidates"].float().numpy() for tick, noted in wave.noted(trace, planner).items()
            if "candidates" in noted and noted["candidates"].ndim == 3 and one.first <= tick < end}
    most = np.max([energies.shape[1:] for energies in held.values()], axis=0) if held else np.zeros(2)
    if len(held) * float(np.prod(most)) > MOST_ENERGIES:
        raise TraceError(f"{trace.folder} holds notes of {planner} with up to {most[0]:,} iterations of {most[1]:,} "
                         f"candidates at {len(held):,} ticks: expected at most {MOST_ENERGIES:,} energies in all. "
                         "Fix: copy the run again from where it was made")
    for tick, energies in held.items():
        gaps = [(0, 0), *((0, int(gap)) for gap in most - energies.shape[1:])]
        held[tick] = np.pad(energies, gaps, constant_values=np.nan)
    return dense("candidates", held, one.row, end)


def _terms(trace: Trace, wave: Wave, one: RowEpisode, end: int) -> Plain:
    """Return the noted energies of the costs' terms, by name."""
    terms: Plain = {}
    for node in trace.tables:
        for tick, noted in wave.noted(trace, node).items():
            for name, energy in noted.items():
                if one.first <= tick < end and energy.ndim == 1:
                    terms.setdefault(f"{node}: {name}", np.full(end, np.nan, np.float32))[tick] = float(energy[one.row])
    return {"terms": {name: packed(values) for name, values in sorted(terms.items())}} if terms else {}


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

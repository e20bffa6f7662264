"""What the viewer shows of a trace, as plain values: figures by wave, and pictures, paths and plans by episode.

Arrays travel as base64 of little-endian numbers, T ticks × B worlds. A wave's figures hold all of its worlds; what needs
payloads is kept per episode and only as long as it lasts, for at most `MOMENTS` ticks in all, so that a page stays small.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from torch import Tensor

from ami.errors import TraceError
from ami.evaluation.manifest import Manifest
from ami.tracing.header import wires_of
from ami.tracing.invocation import check, implementation
from ami.tracing.node_file import NOTES
from ami.tracing.payloads import Decoder, Recorded
from ami.tracing.reader import Trace
from ami.tracing.relived import Renderer

MOMENTS = 12_000
RENDERED = 2_500  # ticks that are drawn anew: each costs milliseconds and kilobytes
ACTION, MANIFEST = "actor.action", "manifest.json"
EXTENT = 32.0  # the side of the square that a picture of places shows, in units of the true state
STATISTICS = ("mean", "std", "min", "max")
FLAGS = ("terminated", "truncated", "success", "reward")
NO_CANDIDATES = "The candidates' energies were not recorded. Cure: run again with trace.level=full."

Plain = dict[str, Any]


@dataclass(frozen=True)
class Pages:
    """What a page is made of.

    Attributes:
        run: what is needed at once: the run, its graph, its waves and episodes, and what is missing.
        parts: by name, what is unpacked when it is looked at: "wave-W" and "episode-W-ROW"; of the mind beside it,
            "beside-W" and "other-W-ROW".
    """

    run: Plain
    parts: Mapping[str, Plain]


def pages(trace: Trace, wave: int | None = None, deadline: float | None = None, render: bool = False,
          beside: Trace | None = None) -> Pages:
    """Everything a page shows.

    Args:
        trace: of the run.
        wave: this batch of episodes alone; None takes all.
        deadline: milliseconds that a tick may take; None takes twice the median of its episode.
        render: make the world that the header names, and let it draw pictures while the recorded actions are done again.
        beside: another mind's trace of the same episodes, as `ami replay` leaves it.

    Raises:
        TraceError: the trace holds no such wave, or not what `render` needs.
        SettingError: the world cannot be made or drawn.
    """
    if wave is not None:
        check(trace, wave)
    chosen = list(trace.waves) if wave is None else [wave]
    recorded = Recorded(trace)
    readout = Decoder(recorded)
    pairs = _pairs(trace.folder)
    relive = _Reliving(recorded, pairs) if render else None
    other = None if beside is None else _Beside(recorded, readout, beside)
    parts: dict[str, Plain] = {}
    waves: list[Plain] = []
    left = MOMENTS
    for number in chosen:
        told = _wave(trace, number)
        parts[f"wave-{number}"] = told.figures
        if other is not None:
            parts |= other.wave(told)
        episodes = []
        for row in range(told.batch):
            episode = told.episode(row, _number(pairs, recorded, trace, number, row))
            is_shown = left > 0 and recorded.any
            if is_shown:
                parts[f"episode-{number}-{row}"] = _episode(recorded, readout, told, row, int(episode["ticks"]))
                left -= int(episode["ticks"])
                if relive is not None:
                    parts[f"episode-{number}-{row}"] |= relive(told, row, int(episode["ticks"]))
                if other is not None:
                    parts |= other.episode(told, row, int(episode["ticks"]))
            episodes.append({**episode, "shown": is_shown})
        waves.append({"wave": number, "agent": told.agent, "ticks": told.ticks, "batch": told.batch, "episodes": episodes})
    if relive is not None:
        relive.close()
    header = trace.header
    run = {"run": header["run_id"], "seed": header["seed"], "graph": header["graph_hash"], "versions": header["versions"],
           "nodes": [_node(trace, node) for node in trace.tables], "wires": list(_wires(header)),
           "calls": header["graph"].get("calls", {}), "waves": waves, "deadline": deadline, "extent": EXTENT,
           "readout": readout.told, "beside": None if beside is None else beside.header["run_id"],
           "tells_success": bool(pairs.get("tells_success", any(e["success"] for wave in waves for e in wave["episodes"]))),
           "no_candidates": _no_candidates(trace), "torn": trace.truncated,
           "missing": [*trace.faults, *recorded.missing(readout, render), *_left_out(left, waves),
                       *(relive.told if relive else [])]}
    return Pages(run, parts)


# One wave ---------------------------------------------------------------------------------------------------------------


@dataclass
class _Wave:
    """One wave's figures; `flags` are the world's, (T, B) each."""

    number: int
    ticks: int
    batch: int
    agent: str
    figures: Plain
    flags: dict[str, np.ndarray] = field(default_factory=dict)
    _notes: dict[str, dict[int, dict[str, Tensor]]] = field(default_factory=dict)

    def noted(self, trace: Trace, node: str) -> dict[int, dict[str, Tensor]]:
        """What a node noted in this wave, by tick; read once for all of its episodes."""
        if node not in self._notes:
            self._notes[node] = trace.notes(node, self.number)
        return self._notes[node]

    def episode(self, row: int, pair: Mapping[str, Any]) -> Plain:
        """How long a row lived, and how it ended; what happens there later does not count."""
        over = np.zeros(self.ticks, bool)
        for flag in ("terminated", "truncated"):
            if flag in self.flags:
                over |= self.flags[flag][:, row] > 0
        ended = np.flatnonzero(over)
        ticks = int(ended[0]) + 1 if len(ended) else self.ticks
        reward = self.flags.get("reward")
        success = self.flags.get("success")
        return {"name": pair.get("name", f"world {row}"), "ticks": ticks, "over": bool(len(ended)),
                "success": bool(success is not None and success[:ticks, row].any()), "goal": pair.get("goal"),
                "return": 0.0 if reward is None else float(np.nansum(reward[:ticks, row]))}


def _wave(trace: Trace, number: int) -> _Wave:
    ticks, batch, agent = trace.waves[number], 0, ""
    nodes: dict[str, Plain] = {}
    flags: dict[str, np.ndarray] = {}
    chosen = {node: table.take(pa.array(np.flatnonzero(table["wave"].to_numpy() == number)))
              for node, table in trace.tables.items()}
    began = _began(chosen, ticks)
    for node, table in chosen.items():
        if not len(table):
            continue
        at = table["tick"].to_numpy()
        batch = max(batch, int(table["batch"].to_numpy().max()))
        agent = str(table["agent"][0].as_py())
        start, end = table["start"].to_numpy(), table["end"].to_numpy()
        ports: dict[str, Plain] = {}
        for port in trace.ports[node]:
            ports[port] = _figures(table, port)
            if node == "world" and port in FLAGS and f"{port}.rows" in table.column_names:
                dense = np.zeros((ticks, int(table["batch"][0].as_py())), np.float32)
                dense[at] = np.asarray(table[f"{port}.rows"].to_pylist(), np.float32)
                flags[port] = dense
        nodes[node] = {"ticks": None if len(at) == ticks else at.tolist(), "ports": ports,
                       "at": _packed((start - began[at]) / 1000), "us": _packed((end - start) / 1000)}
    return _Wave(number, ticks, batch, agent, {"nodes": nodes}, flags)


def _began(tables: Mapping[str, pa.Table], ticks: int) -> np.ndarray:
    """When each tick began, (T,) nanoseconds: at the start of its first invocation."""
    began = np.full(ticks, np.iinfo(np.int64).max)
    for table in tables.values():
        np.minimum.at(began, table["tick"].to_numpy(), table["start"].to_numpy())
    return began


def _figures(table: pa.Table, port: str) -> Plain:
    """A port's hashes, and its values per world or its statistics."""
    told: Plain = {"hash": _base64(b"".join(table[f"{port}.hash"].to_pylist()))}
    if f"{port}.rows" in table.column_names:
        told["rows"] = _packed(table[f"{port}.rows"].combine_chunks().flatten().to_numpy(zero_copy_only=False))
    for name in STATISTICS:
        if f"{port}.{name}" in table.column_names:
            told[name] = _packed(table[f"{port}.{name}"].to_numpy())
    return told


# One episode ------------------------------------------------------------------------------------------------------------


def _episode(recorded: Recorded, decode: Decoder, wave: _Wave, row: int, ticks: int) -> Plain:
    """Pictures, what is true, what was imagined and planned, and which past tick was recalled."""
    told: Plain = {"target": decode.target, "places": recorded.pictures and decode.target == "world.truth"}
    seen = recorded.at("world.observation", wave.number) if recorded.pictures else {}
    if seen:
        told["pictures"] = [_png(seen[tick][row]) if tick in seen else None for tick in range(ticks)]
        goal = recorded.at("world.goal", wave.number)
        if goal and next(iter(goal.values())).dtype == np.uint8 and next(iter(goal.values())).ndim == 4:
            told["goal"] = _png(goal[min(goal)][row])
    told |= _noted(recorded.trace, wave, row, ticks)
    for name, port in (("true", decode.target), ("plan", "planner.plan")):
        told |= _dense(name, recorded.at(port, wave.number), row, ticks)
    imagined = {tick: states[row] for tick, states in recorded.at("planner.imagined", wave.number).items() if tick < ticks}
    read = decode(np.stack([*imagined.values()])) if imagined else None
    if read is not None:
        told |= _dense("imagined", dict(zip(imagined, read[:, None], strict=True)), 0, ticks)
    number = wave.number
    recalled = _recalled(recorded.at("memory.recall", number), recorded.at("world_model.state", number), row, ticks)
    return told if recalled is None else {**told, "recalled": recalled}


def _noted(trace: Trace, wave: _Wave, row: int, ticks: int) -> Plain:
    """Energies of the candidates by iteration, and of the cost's terms by name, where they were noted."""
    told: Plain = {}
    for node in trace.tables:
        held = {tick: noted["candidates"].float().numpy() for tick, noted in wave.noted(trace, node).items()
                if "candidates" in noted and tick < ticks}
        most = np.max([energies.shape[1:] for energies in held.values()], axis=0) if held else np.zeros(2)
        for tick, energies in held.items():
            gaps = [(0, 0), *((0, int(gap)) for gap in most - energies.shape[1:])]
            held[tick] = np.pad(energies, gaps, constant_values=np.nan)
        told |= _dense("candidates", held, row, ticks)
    terms: Plain = {}
    for node in trace.tables:
        for tick, noted in wave.noted(trace, node).items():
            for name, energy in noted.items():
                if tick < ticks and energy.ndim == 1:
                    terms.setdefault(f"{node}: {name}", np.full(ticks, np.nan, np.float32))[tick] = float(energy[row])
    return {**told, "terms": {name: _packed(values) for name, values in terms.items()}} if terms else told


def _dense(name: str, values: Mapping[int, np.ndarray], row: int, ticks: int) -> Plain:
    """{name: its numbers, (T, …)}, NaN where there are none, and their shape behind T."""
    if not values:
        return {}
    shape = next(iter(values.values())).shape[1:]
    if not all(shape):
        return {}
    whole = np.full((ticks, *shape), np.nan, np.float32)
    for tick, value in values.items():
        if tick < ticks:
            whole[tick] = value[row]
    return {name: _packed(whole), f"{name}_shape": list(shape)}


def _recalled(recall: Mapping[int, np.ndarray], states: Mapping[int, np.ndarray], row: int, ticks: int) -> list[int] | None:
    """For each tick the past tick whose state is nearest to what was recalled; -1 where nothing was."""
    if not recall or not states or next(iter(recall.values())).shape[1:] != next(iter(states.values())).shape[1:]:
        return None
    past: list[np.ndarray] = []
    unknown = np.full(next(iter(states.values()))[row].size, np.inf)
    found = []
    for tick in range(ticks):
        answer = recall.get(tick)
        is_empty = answer is None or not past or not answer[row].any()
        found.append(-1 if is_empty else
                     int(np.square(np.stack(past) - answer[row].ravel()).sum(1).argmin()))  # type: ignore[index]
        past.append(states[tick][row].ravel() if tick in states else unknown)
    return found


class _Beside:
    """Another mind on the same episodes: what it said otherwise, what it imagined and planned."""

    def __init__(self, recorded: Recorded, decode: Decoder, trace: Trace) -> None:
        self._recorded = Recorded(trace)
        own = recorded.trace.waves
        if not any(wave in own and _batch(trace, wave) == _batch(recorded.trace, wave) for wave in trace.waves):
            raise TraceError(f"--beside: {trace.folder} holds none of the episodes of {recorded.trace.folder}: expected a "
                             f"trace that `ami replay {recorded.trace.folder} --swap …` or `--fork …` left")
        # another world model has states of its own: they are read by what they say of the same world
        self._decode = Decoder(recorded, self._recorded) if self._recorded.has("world_model.state") else decode
        self._waves: dict[int, _Wave] = {}

    def wave(self, ours: _Wave) -> dict[str, Plain]:
        """The nodes that said something else in this wave."""
        trace, number = self._recorded.trace, ours.number
        if number not in trace.waves or _batch(trace, number) != ours.batch:
            return {}
        told = self._waves[number] = _wave(trace, number)
        same = ours.figures["nodes"]
        nodes = {node: figures for node, figures in told.figures["nodes"].items()
                 if any(figures["ports"][port]["hash"] != same.get(node, {}).get("ports", {}).get(port, {}).get("hash")
                        for port in figures["ports"])}
        return {f"beside-{number}": {"nodes": nodes}}

    def episode(self, ours: _Wave, row: int, ticks: int) -> dict[str, Plain]:
        told = self._waves.get(ours.number)
        if told is None:
            return {}
        found = _episode(self._recorded, self._decode, told, row, min(ticks, told.ticks))
        return {f"other-{ours.number}-{row}": {name: value for name, value in found.items()
                                               if name.split("_")[0] in ("true", "plan", "imagined", "candidates")}}


class _Reliving:
    """Pictures of a world that shows none to its mind, for the first episodes."""

    def __init__(self, recorded: Recorded, pairs: Plain) -> None:
        known = set(recorded.trace.tables)
        if not recorded.has(ACTION) or not pairs.get("pairs") or "world" not in known:
            raise TraceError(f"--render does the recorded actions again, but {recorded.trace.folder} holds no content of "
                             f"{ACTION}, or no {MANIFEST}. Cure: run again with trace.level=boundary")
        self.told: list[str] = []
        self._recorded, self._left = recorded, RENDERED
        self._episodes = dict(enumerate(Manifest.load(recorded.trace.folder / MANIFEST).episodes()))
        self._renderer = Renderer(recorded.trace.header["graph"]["nodes"]["world"])
        self.close = self._renderer.close

    def __call__(self, wave: _Wave, row: int, ticks: int) -> Plain:
        episode = self._episodes.get(_place(self._recorded.trace, wave.number, row))
        actions = self._recorded.at(ACTION, wave.number)
        if self._left <= 0 or episode is None or self._recorded.pictures or len(actions) < ticks:
            return {}
        self._left -= ticks
        sent = np.stack([actions[tick][row] for tick in range(ticks)])
        drawn = self._renderer.pictures(episode, sent, wave.flags["reward"][:ticks, row])
        if drawn is None:
            self.told.append(f"No pictures of pair {episode.number}: its world went another way when the recorded actions "
                             "were done again.")
            return {}
        return {"pictures": [_png(picture) for picture in drawn], "drawn": True}


# Small things ------------------------------------------------------------------------------------------------------------


def _node(trace: Trace, node: str) -> Plain:
    graph = trace.header["graph"]
    return {"name": node, "module": implementation(trace, node), "every": graph.get("every", {}).get(node, 1),
            "ports": {port: [dtype, list(shape)] for port, (dtype, shape) in trace.ports[node].items()}}


def _wires(header: Mapping[str, Any]) -> Iterator[Plain]:
    for is_cut in (False, True):
        for wire in wires_of(header, is_cut):
            yield {"node": wire.node, "port": wire.port, "delay": wire.delay, "to": wire.to_node, "to_port": wire.to_port,
                   "cut": is_cut}


def _pairs(folder: Path) -> Plain:
    """The run's sealed pairs; a run without an evaluation has none."""
    path = folder / MANIFEST
    return json.loads(path.read_text()) if path.exists() else {}


def _number(pairs: Mapping[str, Any], recorded: Recorded, trace: Trace, wave: int, row: int) -> Plain:
    """What to call an episode and where its goal is: waves are cut from the pairs in order."""
    known: Sequence[Plain] = pairs.get("pairs", ())
    number = _place(trace, wave, row)
    if not 0 <= number < len(known):
        return {"name": f"world {row}"}
    pair = known[number]
    kind = str(pair.get("kind", "")).replace("_", " ")
    goal = pair.get("goal")
    is_place = isinstance(goal, list) and len(goal) == 2 and recorded.pictures
    return {"name": f"pair {number}, {kind}", "goal": goal if is_place else None}


def _batch(trace: Trace, wave: int) -> int:
    """How many worlds a wave has."""
    table = next(iter(trace.tables.values()))
    return int(table["batch"].to_numpy()[table["wave"].to_numpy() == wave].max(initial=0))


def _place(trace: Trace, wave: int, row: int) -> int:
    """An episode's place in the manifest; -1 where the header does not say how it was cut into waves."""
    batch = ((trace.header.get("config") or {}).get("evaluation") or {}).get("batch")
    return wave * int(batch) + row if batch else -1


def _no_candidates(trace: Trace) -> str:
    """What is said where no energies of candidates are shown."""
    is_noted = any(NOTES in table.column_names for node, table in trace.tables.items() if "plan" in trace.ports[node])
    return "The planner judged no candidates." if is_noted else NO_CANDIDATES


def _left_out(left: int, waves: Sequence[Plain]) -> list[str]:
    dark = sum(not episode["shown"] for wave in waves for episode in wave["episodes"])
    if left > 0 or not dark:
        return []
    return [f"Pictures and plans of {dark} episodes were left out, so that the page stays small. "
            "Cure: one wave on a page of its own, --wave W."]


def _png(picture: np.ndarray | Image.Image) -> str:
    written = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(written, "PNG")
    return _base64(written.getvalue())


def _packed(values: np.ndarray) -> str:
    return _base64(np.ascontiguousarray(values, "<f4").tobytes())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")

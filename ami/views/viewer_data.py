"""Data of the viewer's page as plain values: figures by wave, and pictures, paths and plans by episode.

A wave's figures cover all of its worlds. Pictures, paths and plans cover `MAX_TICKS` ticks in total, so that the page stays
small; later ticks are left out. See `viewer_figures`, `viewer_pictures` and `viewer_plans` for the contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ami.envs.overlay import Overlay
from ami.errors import SettingError, TraceError
from ami.evaluation.manifest import Manifest
from ami.trace.header import NAME as HEADER
from ami.trace.header import wires_of
from ami.trace.invocation import check, implementation
from ami.trace.node_file import NOTES
from ami.trace.reader import Trace
from ami.trace.roles import Roles
from ami.views.payloads import PLAN, Decoder, Recorded, within
from ami.views.viewer_figures import RowEpisode, Wave, wave_figures
from ami.views.viewer_map import Maps
from ami.views.viewer_packing import Plain
from ami.views.viewer_pictures import MANIFEST, Rerenderer, pictures
from ami.views.viewer_plans import plans

MAX_TICKS = 12_000
NO_OVERLAY = ("No paths over the pictures: the world does not state where its state lies in them. Fix: "
              "metadata['overlay'], see docs/own_world.md.")
NO_CANDIDATES = "The candidates' energies were not recorded. Fix: run again with trace.level=full."


@dataclass(frozen=True)
class Pages:
    """Data of a page.

    Attributes:
        run: data needed at the start: the run, its graph, its waves and episodes, and what is missing.
        parts: data unpacked when first shown, by name: "wave-W" and "episode-W-ROW", and for the reference "reference-W" and
            "reference-W-ROW". An episode that began after tick 0 has its first tick appended, "episode-W-ROW-TICK".
    """

    run: Plain
    parts: Mapping[str, Plain]


def pages(trace: Trace, wave: int | None = None, deadline: float | None = None, render: bool = False,
          reference: Trace | None = None, allow: Sequence[str] = ()) -> Pages:
    """Return the data of a page.

    Args:
        trace: the run's trace.
        wave: only this batch of episodes; None takes all.
        deadline: time limit of a tick in milliseconds; None takes twice the median of its episode.
        render: create the world of the run's header, and render it while the recorded actions are repeated.
        reference: another agent's trace of the same episodes, as `ami replay` writes it.
        allow: prefixes of your own packages that the rendered world may import.

    Raises:
        TraceError: the trace lacks the wave, or the data for `render`.
        TrustError: the world imports a package that is not on the allow-list.
        SettingError: the world cannot be created or rendered.
    """
    if wave is not None:
        check(trace, wave)
    chosen = list(trace.waves) if wave is None else [wave]
    recorded = Recorded(trace)
    decoders = _decoders(recorded, recorded)
    maps = Maps(recorded)
    overlay = _overlay(trace)
    pairs = _pairs(trace)
    of_render = overlay is not None and overlay.is_of_render
    rerenderer = Rerenderer(recorded, pairs, allow, of_render) if render else None
    overlaid = None if reference is None else _Reference(recorded, decoders, reference)
    parts: dict[str, Plain] = {}
    waves: list[Plain] = []
    left = MAX_TICKS
    alive = trace.header["details"].get("alive")  # a fork: worlds whose episodes had not ended before
    for number in chosen:
        data = wave_figures(trace, number)
        parts[f"wave-{number}"] = data.figures
        if overlaid is not None:
            parts |= overlaid.wave(data)
        episodes = []
        for one in data.episodes():
            episode = _named(pairs, one) | data.outcome(one)
            episode["goal"] = _goal(overlay, episode["goal"], recorded, data, one)
            if alive is not None and one.first == 0 and one.row not in alive:
                episode["name"] += ", ended before the fork"
            shown = min(left, one.end - one.first) if recorded.any else 0
            if shown:
                key, end = _key(number, one), one.first + shown
                part = parts[f"episode-{key}"] = _episode(recorded, decoders, overlay, data, one, end) | maps(data, one, end)
                left -= shown
                if rerenderer is not None:
                    part |= rerenderer(data, one, end)
                part["places"] &= ("drawn" if of_render else "pictures") in part
                if overlaid is not None:
                    parts |= overlaid.episode(data, one, end)
            episodes.append({**episode, "shown": shown > 0, "shown_until": one.first + shown if shown else 0})
        waves.append({"wave": number, "agent": data.agent, "ticks": data.ticks, "batch": data.batch, "episodes": episodes})
    if rerenderer is not None:
        rerenderer.close()
    header = trace.header
    run = {"run": header["run_id"], "seed": header["seed"], "graph": header["graph_hash"], "versions": header["versions"],
           "nodes": [_node(recorded, node) for node in trace.tables], "wires": list(_wires(header)),
           "calls": header["graph"].get("calls", {}), "waves": waves, "deadline": deadline,
           "overlay": None if overlay is None else overlay.plain(),
           "planners": [{"node": node, "model": recorded.roles.model_of(node), "readout": decoder.fit}
                        for node, decoder in decoders.items() if node in trace.tables],
           "reference": None if reference is None else reference.header["run_id"],
           "reports_success": _reports_success(pairs, waves),
           "incomparable": overlaid is not None and overlaid.is_incomparable,
           "no_candidates": _no_candidates(trace), "torn": trace.truncated,
           "missing": [*trace.faults, *recorded.missing(render),
                       *([NO_OVERLAY] if overlay is None and recorded.pictures else []), *_left_out(left, waves),
                       *(rerenderer.failures if rerenderer else [])]}
    return Pages(run, parts)


def _episode(recorded: Recorded, decoders: Mapping[str, Decoder], overlay: Overlay | None, wave: Wave, one: RowEpisode,
             end: int) -> Plain:
    """Return an episode's data from payloads, before tick `end`."""
    return {"target": recorded.target, "places": overlay is not None and _lies_in(overlay, recorded),
            **pictures(recorded, wave, one, end), **plans(recorded, decoders, wave, one, end)}


def _decoders(recorded: Recorded, states: Recorded) -> dict[str, Decoder]:
    """Return a readout of world model states for each planner of `states`; planners with one world model share it."""
    found: dict[str, Decoder] = {}
    for planner in states.roles.planners:
        port = states.states(planner)
        if port not in found:
            found[port] = Decoder(recorded, port, states)
    return {planner: found[states.states(planner)] for planner in states.roles.planners}


def _key(wave: int, one: RowEpisode) -> str:
    return f"{wave}-{one.row}" + (f"-{one.first}" if one.first else "")


class _Reference:
    """Another agent on the same episodes: its differing outputs, imagined states and plans."""

    def __init__(self, recorded: Recorded, decoders: Mapping[str, Decoder], trace: Trace) -> None:
        self._recorded, self._ours = Recorded(trace), recorded.trace
        if not any(_is_same(recorded.trace, trace, wave) for wave in trace.waves):
            raise TraceError(f"--reference: {trace.folder} holds none of the episodes of {recorded.trace.folder}: expected "
                             f"a trace that `ami replay {recorded.trace.folder} --swap …` or `--fork …` left")
        # another world model has other states, which need a readout of their own, fitted to the same world
        self._decoders = {node: decoders.get(node, one) if one.fit is None else one
                          for node, one in _decoders(recorded, self._recorded).items()}
        self._waves: dict[int, Wave] = {}

    @property
    def is_incomparable(self) -> bool:
        """Whether the energies of its plans have another unit, as recorded by the swap."""
        return bool(self._recorded.trace.header["details"].get("incomparable"))

    def wave(self, ours: Wave) -> dict[str, Plain]:
        """Return the nodes whose outputs differ in this wave."""
        trace, number = self._recorded.trace, ours.number
        if not _is_same(self._ours, trace, number):
            return {}
        data = self._waves[number] = wave_figures(trace, number)
        same = ours.figures["nodes"]
        nodes = {node: figures for node, figures in data.figures["nodes"].items()
                 if any(figures["ports"][port]["hash"] != same.get(node, {}).get("ports", {}).get(port, {}).get("hash")
                        for port in figures["ports"])}
        return {f"reference-{number}": {"nodes": nodes}}

    def episode(self, ours: Wave, one: RowEpisode, end: int) -> dict[str, Plain]:
        data = self._waves.get(ours.number)
        if data is None:
            return {}
        found = plans(self._recorded, self._decoders, data, one, min(end, data.ticks))
        planners = {node: {name: value for name, value in own.items() if not name.startswith("candidates")}
                    for node, own in found.get("planners", {}).items()}
        return {f"reference-{_key(ours.number, one)}": {
            **{name: value for name, value in found.items() if name.split("_")[0] == "true"}, "planners": planners}}


# Helpers -----------------------------------------------------------------------------------------------------------------


def _node(recorded: Recorded, node: str) -> Plain:
    trace, graph = recorded.trace, recorded.trace.header["graph"]
    return {"name": node, "role": recorded.roles.role(node), "module": implementation(trace, node),
            "every": graph.get("every", {}).get(node, 1),
            "ports": {port: [dtype, list(shape)] for port, (dtype, shape) in trace.ports[node].items()}}


def _wires(header: Mapping[str, Any]) -> Iterator[Plain]:
    for is_cut in (False, True):
        for wire in wires_of(header, is_cut):
            yield {"node": wire.node, "port": wire.port, "delay": wire.delay, "to": wire.to_node, "to_port": wire.to_port,
                   "cut": is_cut}


def _pairs(trace: Trace) -> Plain:
    """Return the run's sealed pairs; a run without an evaluation has none, and a replay has those of its run."""
    home = trace.folder.resolve().parent.parent if _replayed(trace) else trace.folder
    if not (home / MANIFEST).exists():
        return {}
    sealed = Manifest.load(home / MANIFEST)
    return {"pairs": sealed.pairs, "reports_success": sealed.reports_success}


def _replayed(trace: Trace) -> set[str]:
    """Return the id of the run that a trace replays, if any."""
    return {trace.header["details"][kind] for kind in ("replay_of", "swap_of", "fork_of") if kind in trace.header["details"]}


def _overlay(trace: Trace) -> Overlay | None:
    """Return the position of the state in the world's pictures, from the header.

    Raises:
        TraceError: the header's overlay is invalid.
    """
    try:
        return Overlay.read(trace.header.get("overlay"), f"{trace.folder / HEADER}: overlay")
    except SettingError as error:
        raise TraceError(str(error)) from None


def _lies_in(overlay: Overlay, recorded: Recorded) -> bool:
    """Whether the overlay applies to the readout's target: the true state, or the observation if there is none."""
    width = recorded.shape(recorded.truth)[1] if recorded.has(recorded.truth) else (0,)
    of = recorded.truth if width[0] else recorded.observation
    return recorded.target == of and recorded.has(of) and overlay.fits(recorded.shape(of)[1][0])


def _goal(overlay: Overlay | None, option: Any, recorded: Recorded, wave: Wave, one: RowEpisode) -> list[float] | None:
    """Return the position of an episode's goal, x and y in the state's units."""
    if overlay is None:
        return None
    shown = within(recorded.at(recorded.goal, wave.number), one.first, one.end)
    place = overlay.goal(option, shown[min(shown)][one.row] if shown else None)
    return None if place is None else list(place)


def _named(pairs: Mapping[str, Any], one: RowEpisode) -> Plain:
    """Return an episode's name, and its option "goal"."""
    known: Sequence[Plain] = pairs.get("pairs", ())
    if one.number is None or one.number >= len(known):
        return {"name": f"world {one.row}" + (f" from tick {one.first}" if one.first else ""), "goal": None}
    pair = known[one.number]
    kind = str(pair.get("kind", "")).replace("_", " ")
    return {"name": f"pair {one.number}, {kind}", "goal": pair.get("goal")}


def _is_same(ours: Trace, other: Trace, wave: int) -> bool:
    """Whether both traces hold the same episodes in a wave: the other is a replay of ours (a fork may continue in another
    world), or its first world outputs are equal."""
    if wave not in ours.waves or _batch(ours, wave) != _batch(other, wave):
        return False
    if ours.header["run_id"] in _replayed(other):
        return True
    return _first_sent(ours, wave) == _first_sent(other, wave)


def _reports_success(pairs: Plain, waves: Sequence[Plain]) -> bool:
    """Whether an episode can fail; without a manifest, whether one has succeeded."""
    return bool(pairs.get("reports_success", bool(pairs) or any(e["success"] for wave in waves for e in wave["episodes"])))


def _batch(trace: Trace, wave: int) -> int:
    """Return the number of worlds of a wave."""
    table = next(iter(trace.tables.values()))
    return int(table["batch"].to_numpy()[table["wave"].to_numpy() == wave].max(initial=0))


def _first_sent(trace: Trace, wave: int) -> list[bytes]:
    """Return the hashes of a wave's first world outputs."""
    world = Roles(trace.header).world
    table = trace.table(world)
    first = table.slice(int(np.flatnonzero(table["wave"].to_numpy() == wave)[0]), 1)
    return [first[f"{port}.hash"][0].as_py() for port in trace.ports[world]]


def _no_candidates(trace: Trace) -> str:
    """Return the text shown if there are no energies of candidates."""
    is_noted = any(NOTES in table.column_names for node, table in trace.tables.items() if PLAN in trace.ports[node])
    return "The planner scored no candidates." if is_noted else NO_CANDIDATES


def _left_out(left: int, waves: Sequence[Plain]) -> list[str]:
    """Return a sentence for each episode whose pictures and plans were left out."""
    if left > 0:
        return []
    episodes = [episode for wave in waves for episode in wave["episodes"]]
    texts = [f"Pictures and plans of {one['name']} were left out from tick {one['shown_until']} on, so that the page stays "
             "small." for one in episodes if 0 < one["shown_until"] < one["ticks"]]
    dark = sum(not one["shown"] for one in episodes)
    if dark:
        texts.append(f"Pictures and plans of {dark} episode{'s' * (dark > 1)} were left out, so that the page stays small. "
                     "Fix: one wave per page, --wave W.")
    return texts

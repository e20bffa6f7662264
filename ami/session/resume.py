"""`ami run --resume FOLDER`: continue the evaluation of a stopped run, to the summary and the digest of an undisturbed one.

A wave is finished if every result of it is logged and, with a trace, every tick of it is recorded; the others run again as a
whole. Records of an interrupted wave stay in the trace; the later record of a tick counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ami.config.compose import Config, compose, to_graph
from ami.envs.pool import pooled_environments
from ami.errors import TraceError, require
from ami.evaluation.evaluate import evaluation_ports
from ami.evaluation.manifest import Manifest
from ami.evaluation.metrics import watched
from ami.evaluation.outcome_log import read_results
from ami.evaluation.outcomes import Result
from ami.graph.graph import Graph
from ami.learning.threads import torch_threads
from ami.saved.agent_file import AGENT_FILE, Trained, is_untrained, open_trained
from ami.session.baselines import baselines
from ami.session.evaluation import MANIFEST, firing_graph, metrics_of
from ami.session.record import provenance
from ami.session.run import Run, evaluated
from ami.storage.files import private_files
from ami.storage.lock import locked_folder
from ami.terminal.console import Console
from ami.trace.finish import finish_files, whole_waves
from ami.trace.header import NAME as HEADER
from ami.trace.header import read_header
from ami.trace.provenance import changes

AGAIN = "Fix: run again from the start, in another folder"


def resume(folder: Path, allow: Sequence[str] = (), console: Console | None = None) -> Run:
    """Continue a stopped run in its own folder.

    Args:
        folder: the run's folder. A finished run is not run again: its summary and its plots are rewritten.
        allow: prefixes of your own packages that its modules may come from.
        console: prints progress; by default nothing is printed.

    Raises:
        TraceError: the folder holds no run, or damaged files.
        SettingError: the run was stopped before its evaluation began, its settings, code or weights have changed since, or
            another process is at work on it.
        CheckpointError: its agent is missing.
    """
    folder, console = Path(folder), console or Console(quiet=True)
    if folder.is_dir() and not (folder / HEADER).exists():
        raise TraceError(f"'{folder}' holds no run whose evaluation had begun: expected {HEADER}. "
                         "Fix: the command that began it; training goes on where it stopped")
    header = read_header(folder)
    with ExitStack() as stack:
        stack.enter_context(pooled_environments())
        stack.enter_context(private_files())
        stack.enter_context(locked_folder(folder, "the run"))
        config = _config(folder, header, allow)
        stack.enter_context(torch_threads(config.settings.learning.threads))
        graph = to_graph(config)
        trained = _trained(folder, header, config, graph)
        manifest = Manifest.load(folder / MANIFEST)
        finish_files(folder)
        kept = read_results(folder, manifest)
        kept["agent"] = _in_whole_waves(kept.get("agent", {}), config, graph, manifest, folder)
        console.note(f"{len(kept['agent'])} of {len(manifest.pairs)} pairs are finished; the others continue")
        found = baselines(config, graph, manifest, console)
        return evaluated(config, graph, trained, manifest, found, folder, console, kept)


def _config(folder: Path, header: dict[str, Any], allow: Sequence[str]) -> Config:
    """Return the run's config; refuse it if it is another one now. The store may be elsewhere by default."""
    require("overrides" in header["details"], f"'{folder}' holds a training, not a run. Fix: ami run --from {folder}")
    config = compose(header["details"]["overrides"], allow=allow)
    config = config.stored_in(header["config"]["store"])
    _refuse(folder, changes(header["config"], config.plain()))
    return config


def _trained(folder: Path, header: dict[str, Any], config: Config, graph: Graph) -> Trained:
    details, file = header["details"], folder / AGENT_FILE
    trained = Trained() if is_untrained(file) else open_trained(file, graph)
    _refuse(folder, changes(details["origin"], provenance(config, graph, trained)))
    checkpoint = details["checkpoint"]
    return replace(trained, file=None if checkpoint is None else Path(checkpoint), cached=details["learning_was_cached"])


def _refuse(folder: Path, found: Any) -> None:
    changed = list(found)
    require(not changed, f"'{folder}' cannot be resumed, since its episodes would not be of one agent: "
                         f"{'; '.join(changed[:3])}{' and more' if len(changed) > 3 else ''}. {AGAIN}")


def _in_whole_waves(results: dict[int, Result], config: Config, graph: Graph, manifest: Manifest,
                    folder: Path) -> dict[int, Result]:
    """Return the agent's results of the waves that are finished."""
    waves = {wave: [episode.number for episode in episodes]
             for wave, episodes in manifest.waves(config.settings.evaluation.batch)}
    whole = {wave for wave, numbers in waves.items() if all(number in results for number in numbers)}
    if config.settings.trace.record:
        fired = firing_graph(config, graph, (*evaluation_ports(graph), *watched(metrics_of(config, graph)))).fired
        ticks = {wave: 1 + max(results[number].outcome.steps for number in waves[wave]) for wave in whole}
        whole = whole_waves(folder, ticks, {node: graph.every[node] for node in fired})
    return {number: results[number] for wave in sorted(whole) for number in waves[wave]}

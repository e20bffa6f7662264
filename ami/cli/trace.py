"""`ami view`, and the actions of `ami trace`: show, diff, sync, export."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ami.cli.arguments import parser, take_common
from ami.errors import SettingError, unknown_name
from ami.storage.files import check_file, check_folder

if TYPE_CHECKING:
    from ami.views.spans import Sample


def view(words: Sequence[str]) -> int:
    """Write a run's trace as one HTML page."""
    reader = parser("view")
    reader.add_argument("run", type=Path)
    reader.add_argument("--out", type=Path)
    reader.add_argument("--wave", type=int)
    reader.add_argument("--deadline", type=float)
    reader.add_argument("--render", action="store_true")
    reader.add_argument("--reference", type=Path)
    allow, searched, _, rest = take_common("view", words)
    given = reader.parse_args(rest)
    if searched:
        print("warning: --config-dir has no effect on `ami view`: a run's header names its world", file=sys.stderr)
    if given.out is not None:
        check_file(given.out, "--out")
    from ami.views.viewer import view

    print(f"wrote {view(given.run, given.out, given.wave, given.deadline, given.render, given.reference, allow)}")
    return 0


def trace(words: Sequence[str]) -> int:
    """Run one action of `ami trace`."""
    reader = parser("trace")
    reader.add_argument("action")
    reader.add_argument("run", nargs="+")
    reader.parse_known_args(words)
    action, *rest = words
    if action not in ACTIONS:
        raise unknown_name("action of `ami trace`", action, ACTIONS)
    return ACTIONS[action](rest)


def show(words: Sequence[str]) -> int:
    """Print one run in the terminal."""
    reader = parser("trace")
    reader.add_argument("run", type=Path)
    reader.add_argument("--tick", type=int)
    reader.add_argument("--wave", type=int)
    reader.add_argument("--node")
    reader.add_argument("--row", type=int)
    reader.add_argument("--where")
    given = reader.parse_args(words)
    from ami.views.show import show

    show(given.run, given.tick, given.wave, given.node, given.row, given.where)
    return 0


def diff(words: Sequence[str]) -> int:
    """Print the differences of two runs; returns 0 if all messages are equal, 1 otherwise."""
    reader = parser("trace")
    reader.add_argument("run", type=Path)
    reader.add_argument("other", type=Path)
    given = reader.parse_args(words)
    from ami.views.diff import diff

    return 0 if diff(given.run, given.other) else 1


def sync(words: Sequence[str]) -> int:
    """Write sampled ticks and episodes as MLflow traces."""
    reader = _sampling()
    reader.add_argument("--store", type=Path)
    given = reader.parse_args(words)
    from ami.trace.header import read_header

    sample = _sample(given, every=10)
    store = given.store or Path((read_header(given.run)["config"] or {}).get("store", given.run.parent))
    check_folder(store, "store")
    from ami.tracking.mlflow_runs import sync

    done = sync(given.run, store, sample)
    high = float(f"{done.surprise or 0:.2g}") if given.surprise is None else given.surprise
    found_by = "feedback.energy > 0" if done.surprise is None else f"feedback.surprise > {high:g}"
    print(f"wrote {done.written} traces; {store / 'mlflow.db'} holds {done.stored} of this run\n"
          f"  in a browser  ami ui --store {store}\n"
          f"  to find them  mlflow.search_traces(locations=['{done.experiment_id}'], filter_string='{found_by}')")
    return 0


def export(words: Sequence[str]) -> int:
    """Export a trace for other programs."""
    reader = _sampling()
    reader.add_argument("--format", required=True)
    reader.add_argument("--out", type=Path, required=True)
    reader.add_argument("--wave", type=int)
    reader.add_argument("--agent")
    reader.add_argument("--where")
    given = reader.parse_args(words)
    from ami.views.export import FORMATS, export

    if given.format not in FORMATS:
        raise unknown_name("format", given.format, FORMATS)
    for flag, why in IDLE.get(given.format, {}).items():
        if getattr(given, flag.removeprefix("--")) is not None:
            raise SettingError(f"{flag} has no effect on {given.format}: {why}. Fix: leave it out, or --format otlp")
    sample = _sample(given, every=1)
    (check_folder if given.format == "parquet" else check_file)(given.out, "--out")
    export(given.run, given.format, given.out, sample, given.wave, given.agent)
    print(f"wrote {given.out}{HINTS.get(given.format, '')}")
    return 0


def _sampling() -> ArgumentParser:
    reader = parser("trace")
    reader.add_argument("run", type=Path)
    reader.add_argument("--every", type=int)
    reader.add_argument("--episodes", type=int)
    reader.add_argument("--surprise", type=float)
    return reader


def _sample(given: Namespace, every: int) -> Sample:
    from ami.views.query import Condition
    from ami.views.spans import Sample

    where = getattr(given, "where", None)
    episodes = 1 if where is None else 0  # a whole episode would include ticks outside the condition
    return Sample(every if given.every is None else given.every, episodes if given.episodes is None else given.episodes,
                  given.surprise, None if where is None else Condition(where))


IDLE = {"perfetto": dict.fromkeys(("--every", "--episodes", "--surprise"), "it holds every tick, or those of --where"),
        "parquet": dict.fromkeys(("--every", "--episodes", "--surprise", "--where"), "it holds every tick")}
HINTS = {"perfetto": ": open it in https://ui.perfetto.dev, which keeps it in the browser"}
ACTIONS: dict[str, Callable[[Sequence[str]], int]] = {"show": show, "diff": diff, "sync": sync, "export": export}

"""`ami view`, and the commands of `ami trace`: show, diff, sync, export."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ami.errors import SettingError
from ami.storage.files import check_file, check_folder

if TYPE_CHECKING:
    from ami.views.spans import Sample


def view(given: Namespace) -> int:
    """Write a run's trace as one HTML page."""
    if given.out is not None:
        check_file(given.out, "--out")
    from ami.views.viewer import view

    file = view(given.run, given.out, given.wave, given.deadline, given.render, given.reference, given.allow)
    print(f"wrote {file}")
    return 0


def show(given: Namespace) -> int:
    """Print one run in the terminal."""
    from ami.views.show import show

    show(given.run, given.tick, given.wave, given.node, given.row, given.where)
    return 0


def diff(given: Namespace) -> int:
    """Print the differences of two runs; returns 0 if all messages are equal, 1 otherwise."""
    from ami.views.diff import diff

    return 0 if diff(given.run, given.other) else 1


def sync(given: Namespace) -> int:
    """Write sampled ticks and episodes as MLflow traces."""
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


def export(given: Namespace) -> int:
    """Export a trace for other programs."""
    from ami.views.export import export

    for flag, why in WITHOUT_EFFECT.get(given.format, {}).items():
        if getattr(given, flag.removeprefix("--")) is not None:
            raise SettingError(f"{flag} has no effect on {given.format}: {why}. Fix: leave it out, or --format otlp")
    sample = _sample(given, every=1)
    (check_folder if given.format == "parquet" else check_file)(given.out, "--out")
    export(given.run, given.format, given.out, sample, given.wave, given.agent)
    print(f"wrote {given.out}{HINTS.get(given.format, '')}")
    return 0


def _sample(given: Namespace, every: int) -> Sample:
    from ami.views.query import Condition
    from ami.views.spans import Sample

    where = getattr(given, "where", None)
    episodes = 1 if where is None else 0  # a whole episode would include ticks outside the condition
    return Sample(every if given.every is None else given.every, episodes if given.episodes is None else given.episodes,
                  given.surprise, None if where is None else Condition(where))


WITHOUT_EFFECT = {
    "perfetto": dict.fromkeys(("--every", "--episodes", "--surprise"), "it holds every tick, or those of --where"),
    "parquet": dict.fromkeys(("--every", "--episodes", "--surprise", "--where"), "it holds every tick")}
HINTS = {"perfetto": ": open it in https://ui.perfetto.dev, which keeps it in the browser"}
ACTIONS: Mapping[str, Callable[[Namespace], int]] = {"show": show, "diff": diff, "sync": sync, "export": export}

"""The commands without a Hydra job: `ami compare | check | export | graph | list | plot | replay | ui`.

`ami trace` and `ami view` are in `ami.cli.trace`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ami.cli.arguments import searching
from ami.errors import SettingError
from ami.storage.files import check_file
from ami.storage.store import default_store

if TYPE_CHECKING:
    from ami.config.compose import Config


def compare(given: Namespace) -> int:
    """Compare variants, or an agent with its lesions."""
    overrides = [*given.overrides, *searching(given.config_dir)]
    seeds, allow = _seeds(given.seeds), given.allow
    from ami.comparison import compare as comparing
    from ami.comparison.lesion import lesion
    from ami.config.overrides import refuse_two_values
    from ami.terminal.console import Console

    refuse_two_values(overrides)
    if given.lesion:
        if given.against is not None:
            raise SettingError("--against has no effect with --lesion: the intact agent is the reference")
        lesion(overrides, seeds=seeds, parallel=given.parallel, folder=given.folder, console=Console(), allow=allow)
        return 0
    comparing.compare(overrides, seeds=seeds, against=given.against, parallel=given.parallel, folder=given.folder,
                      console=Console(), allow=allow, skip_refused=given.skip_refused)
    return 0


def _seeds(text: str) -> list[int]:
    """Parse seeds: `0,1,2`; `2,` is the seed 2 alone; `2` is refused as ambiguous."""
    words = text.split(",")
    if len(words) > 1 and not words[-1].strip():
        del words[-1]
    try:
        seeds = [int(word) for word in words]
    except ValueError:
        raise SettingError(f"--seeds is '{text}': expected whole numbers, --seeds 0,1,2") from None
    if len(seeds) == 1 and "," not in text and seeds[0] > 0:
        several = ",".join(map(str, range(min(seeds[0], 3)))) + ",…" * (seeds[0] > 3)
        raise SettingError(f"--seeds {text} may mean the seed {text} or a number of seeds. "
                           f"Fix: `--seeds {text},` for that seed alone, `--seeds {several}` for so many")
    return seeds


def plot(given: Namespace) -> int:
    """Redraw the plots and the video of a finished run."""
    from ami.session.presentation import Presentation

    folder = given.run
    for name, make in Presentation.open(folder, given.allow, print).parts():
        make()
        if (folder / name).is_file():
            print(f"wrote {folder / name}")
    return 0


def check(given: Namespace) -> int:
    """Check every promise of a module or world; returns 0 if all are kept, 1 if one is broken."""
    if not given.target or given.target.startswith("hydra."):
        raise SettingError("nothing to check: expected `ami check planner=cem`, `ami check mypkg.MyPlanner --allow mypkg.` "
                           "or `ami check CartPole-v1`")
    from ami.config.overrides import refuse_two_values
    from ami.testing import checking

    refuse_two_values([given.target, *given.overrides])
    report = checking.check(given.target, given.overrides, given.allow, searching(given.config_dir))
    print(report)
    return 0 if report.is_kept else 1


def export(given: Namespace) -> int:
    """Write an agent into a folder that runs on another machine."""
    from ami.saved.export import SavedAgent
    from ami.saved.export import export as write

    folder = write(given.run, given.out)
    packages = SavedAgent.open(folder).packages()
    allow = "".join(f" --allow {package}." for package in packages)
    print(f"wrote {folder}\n  run it there    ami run --from {folder}{allow}\n"
          f"  in a program    ami.load({str(folder)!r}{f', allow={packages}' if packages else ''})")
    if packages:
        print(f"  it needs besides ami: {', '.join(packages)}")
    return 0


def graph(given: Namespace) -> int:
    """Draw the wiring, or list its mistakes."""
    from ami.drawing.cache import described
    from ami.drawing.losses import Losses
    from ami.drawing.text import FORMATS

    if given.out is not None:
        check_file(given.out, "--out")
    losses = None if given.lesions is None else Losses.read(given.lesions)

    def composed() -> Config:
        from ami.config.compose import compose
        from ami.config.overrides import refuse_two_values

        refuse_two_values(given.overrides)
        return compose([*given.overrides, *searching(given.config_dir)], allow=given.allow)

    graph = described(composed, given.overrides, given.config_dir, given.allow)
    for warning in graph.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for remark in graph.remarks:
        print(f"note: {remark}", file=sys.stderr)
    if losses is not None and (unknown := [wire for wire in graph.wires if losses.of_wire(graph, wire) is None]):
        print(f"note: {len(unknown)} of {len(graph.wires)} wires have no lesion in {given.lesions}, such as "
              f"{unknown[0]}. Fix: the overrides of the compared agent", file=sys.stderr)
    drawing = FORMATS[given.format](graph, losses)
    if given.out is None:
        print(drawing)
    else:
        from ami.storage.files import write_atomically

        write_atomically(given.out, drawing + "\n")
        print(f"wrote {given.out}")
    return 0


def list_choices(given: Namespace) -> int:
    """List every option, one line each."""
    from ami.cli.listing import listing, misnamed

    print(listing(given.section, given.config_dir))
    for sentence in misnamed(given.config_dir):
        print(f"warning: {sentence}", file=sys.stderr)
    return 0


def replay(given: Namespace) -> int:
    """Re-execute a recording, unchanged or modified; returns 1 if a message differs."""
    overrides, searched = given.overrides, searching(given.config_dir)
    if given.swap and given.fork is not None:
        raise SettingError("--swap and --fork exclude each other: expected one of them")
    if overrides and not given.swap and given.fork is None:
        raise SettingError(f"{' '.join(overrides)} would change the agent: expected `--swap`, which gives it the "
                           "recorded inputs, or `--fork TICK`, after which it acts in the world")
    if given.swap and not overrides:
        raise SettingError("--swap names nothing to swap: expected an override, --swap planner=mppi")
    if given.wave is not None and given.fork is None:
        raise SettingError(f"--wave {given.wave} has no effect without --fork TICK: every wave is executed. "
                           "Fix: leave it out")
    if searched and not given.swap and given.fork is None:
        raise SettingError("--config-dir has no effect on a replay without changes. Fix: leave it out, or "
                           "--swap or --fork")
    from ami.config.overrides import refuse_two_values
    from ami.replay.report import replay
    from ami.terminal.console import Console

    refuse_two_values(overrides)
    same = replay(given.run, overrides=[*overrides, *searched], swapping=given.swap, tick=given.fork, wave=given.wave or 0,
                  out=given.out, allow=given.allow, console=Console())
    return 0 if same else 1


def ui(given: Namespace) -> int:
    """Serve the runs in MLflow's user interface."""
    from ami.tracking.ui import serve

    return serve(given.store or Path(default_store()), given.port)

"""The commands without a Hydra job: `ami compare | check | export | graph | list | plot | replay | ui`.

`ami trace` and `ami view` are in `ami.cli.trace`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ami.cli.arguments import only_overrides, parser, take_common
from ami.errors import SettingError, unknown_name
from ami.storage.files import check_file
from ami.storage.store import default_store


def compare(words: Sequence[str]) -> int:
    """Compare variants, or an agent with its lesions."""
    allow, searched, _, rest = take_common("compare", words)
    reader = parser("compare")
    reader.add_argument("--seeds", default="0,1,2")
    reader.add_argument("--against")
    reader.add_argument("--parallel", type=int, default=0)
    reader.add_argument("--folder", type=Path)
    reader.add_argument("--skip-refused", action="store_true")
    reader.add_argument("--lesion", action="store_true")
    given, rest = reader.parse_known_args(rest)
    flags = [action.option_strings[0] for action in reader._actions]
    overrides = [*only_overrides("compare", rest, flags), *searched]
    seeds = _seeds(given.seeds)
    from ami.comparison import compare as comparing
    from ami.comparison.lesion import lesion
    from ami.config.compose import refuse_two_values
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


def plot(words: Sequence[str]) -> int:
    """Redraw the plots and the video of a finished run."""
    allow, _, _, rest = take_common("plot", words)
    reader = parser("plot")
    reader.add_argument("run", type=Path)
    folder = reader.parse_args(rest).run
    from ami.session.presentation import Presentation

    for name, make in Presentation.open(folder, allow, print).parts():
        make()
        if (folder / name).is_file():
            print(f"wrote {folder / name}")
    return 0


def check(words: Sequence[str]) -> int:
    """Check every promise of a module or world; returns 0 if all are kept, 1 if one is broken."""
    allow, searched, _, rest = take_common("check", words)
    target, *overrides = only_overrides("check", rest) or [""]
    if not target or target.startswith("hydra."):
        raise SettingError("nothing to check: expected `ami check planner=cem`, `ami check mypkg.MyPlanner --allow mypkg.` "
                           "or `ami check CartPole-v1`")
    from ami.config.compose import refuse_two_values
    from ami.testing import checking

    refuse_two_values([target, *overrides])
    report = checking.check(target, overrides, allow, searched)
    print(report)
    return 0 if report.is_kept else 1


def export(words: Sequence[str]) -> int:
    """Write an agent into a folder that runs on another machine."""
    reader = parser("export")
    reader.add_argument("run")
    reader.add_argument("out", type=Path)
    given = reader.parse_args(words)
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


def graph(words: Sequence[str]) -> int:
    """Draw the wiring, or list its mistakes."""
    from ami.config.compose import compose, refuse_two_values, to_graph
    from ami.drawing.text import FORMATS

    allow, searched, _, rest = take_common("graph", words)
    reader = parser("graph")
    reader.add_argument("overrides", nargs="*")
    reader.add_argument("--format", default="text")
    reader.add_argument("--out", type=Path)
    given = reader.parse_intermixed_args(rest)
    if given.format not in FORMATS:
        raise unknown_name("format", given.format, FORMATS)
    if given.out is not None:
        check_file(given.out, "--out")
    refuse_two_values(given.overrides)
    config = compose([*given.overrides, *searched], allow=allow)
    graph = to_graph(config)
    for warning in graph.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for remark in [*graph.remarks, *config.remarks()]:
        print(f"note: {remark}", file=sys.stderr)
    drawing = FORMATS[given.format](graph)
    if given.out is None:
        print(drawing)
    else:
        from ami.storage.files import write_atomically

        write_atomically(given.out, drawing + "\n")
        print(f"wrote {given.out}")
    return 0


def list_choices(words: Sequence[str]) -> int:
    """List every choice, one line each."""
    from ami.cli.listing import SECTIONS, listing, misnamed

    _, _, folders, rest = take_common("list", words)
    reader = parser("list")
    reader.add_argument("section", nargs="?")
    section = reader.parse_args(rest).section
    if section is not None and section not in SECTIONS:
        raise unknown_name("section", section, SECTIONS)
    print(listing(section, folders))
    for sentence in misnamed(folders):
        print(f"warning: {sentence}", file=sys.stderr)
    return 0


def replay(words: Sequence[str]) -> int:
    """Re-execute a recording, unchanged or modified; returns 1 if a message differs."""
    allow, searched, _, rest = take_common("replay", words)
    reader = parser("replay")
    reader.add_argument("run", type=Path)
    reader.add_argument("--swap", action="store_true")
    reader.add_argument("--fork", type=int)
    reader.add_argument("--wave", type=int)
    reader.add_argument("--out", type=Path)
    given, rest = reader.parse_known_args(rest)
    overrides = only_overrides("replay", rest, ("--swap", "--fork", "--wave", "--out"))
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
    from ami.config.compose import refuse_two_values
    from ami.replay.report import replay
    from ami.terminal.console import Console

    refuse_two_values(overrides)
    same = replay(given.run, overrides=[*overrides, *searched], swapping=given.swap, tick=given.fork, wave=given.wave or 0,
                  out=given.out, allow=allow, console=Console())
    return 0 if same else 1


def ui(words: Sequence[str]) -> int:
    """Serve the runs in MLflow's pages."""
    from ami.tracking.ui import serve

    reader = parser("ui")
    reader.add_argument("--port", type=int, default=5000)
    reader.add_argument("--store", type=Path, default=Path(default_store()))
    given = reader.parse_args(words)
    return serve(given.store, given.port)

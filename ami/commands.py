"""The commands that need no Hydra job: `ami compare | check | export | graph | list | plot | replay | ui`.

`ami trace` and `ami view` are in `ami.trace_commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ami.errors import SettingError, unknown_name
from ami.store import default_store
from ami.words import FOLDER_FLAGS, parser, split, take_allow


def compare(words: Sequence[str]) -> int:
    """Variants side by side, or a mind beside itself without its parts."""
    allow, rest = take_allow(words)
    reader = parser("compare")
    reader.add_argument("--seeds", default="0,1,2")
    reader.add_argument("--against")
    reader.add_argument("--parallel", type=int, default=0)
    reader.add_argument("--folder", type=Path)
    reader.add_argument("--skip-refused", action="store_true")
    reader.add_argument("--lesion", action="store_true")
    given, rest = reader.parse_known_args(rest)
    flags = [action.option_strings[0] for action in reader._actions]
    _, overrides = split(rest, (*FOLDER_FLAGS, *flags))
    try:
        seeds = [int(text) for text in given.seeds.split(",")]
    except ValueError:
        raise SettingError(f"--seeds is '{given.seeds}': expected whole numbers, --seeds 0,1,2") from None
    from ami.comparison import compare as comparing
    from ami.console import Console
    from ami.lesions import lesion

    if given.lesion:
        if given.against is not None:
            raise SettingError("--against has no effect with --lesion: every lesion is held against the intact mind")
        lesion(overrides, seeds=seeds, parallel=given.parallel, folder=given.folder, console=Console(), allow=allow)
        return 0
    comparing.compare(overrides, seeds=seeds, against=given.against, parallel=given.parallel, folder=given.folder,
                      console=Console(), allow=allow, skip_refused=given.skip_refused)
    return 0


def plot(words: Sequence[str]) -> int:
    """The plots and the film of a finished run, made again."""
    allow, rest = take_allow(words)
    reader = parser("plot")
    reader.add_argument("run", type=Path)
    folder = reader.parse_args(rest).run
    from ami.presentation import Presentation

    for name, make in Presentation.open(folder, allow, print).parts():
        make()
        if (folder / name).is_file():
            print(f"wrote {folder / name}")
    return 0


def check(words: Sequence[str]) -> int:
    """Every promise of a module or world; 0 when all are kept, 1 when one is broken."""
    allow, rest = take_allow(words)
    _, (target, *overrides) = split(rest or [""], FOLDER_FLAGS)
    if not target or target.startswith("hydra."):
        raise SettingError("nothing to check: expected `ami check planner=cem`, `ami check mypkg.MyPlanner --allow mypkg.` "
                           "or `ami check CartPole-v1`")
    from ami import checking

    report = checking.check(target, overrides, allow)
    print(report)
    return 0 if report.is_kept else 1


def export(words: Sequence[str]) -> int:
    """Write an agent into a folder that another machine can run."""
    reader = parser("export")
    reader.add_argument("run")
    reader.add_argument("out", type=Path)
    given = reader.parse_args(words)
    from ami.saved import SavedAgent
    from ami.saved import export as write

    folder = write(given.run, given.out)
    packages = SavedAgent.open(folder).packages()
    allow = "".join(f" --allow {package}." for package in packages)
    print(f"wrote {folder}\n  run it there    ami run --from {folder}{allow}\n"
          f"  in a program    ami.load({str(folder)!r}{f', allow={packages}' if packages else ''})")
    if packages:
        print(f"  it needs besides ami: {', '.join(packages)}")
    return 0


def graph(words: Sequence[str]) -> int:
    """Draw the wiring, or say what is wrong with it."""
    from ami.config import compose, to_graph
    from ami.drawing import FORMATS

    allow, rest = take_allow(words)
    reader = parser("graph")
    reader.add_argument("overrides", nargs="*")
    reader.add_argument("--format", default="text")
    reader.add_argument("--out", type=Path)
    given = reader.parse_intermixed_args(rest)
    if given.format not in FORMATS:
        raise unknown_name("format", given.format, FORMATS)
    graph = to_graph(compose(given.overrides, allow=allow))
    for warning in graph.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    drawing = FORMATS[given.format](graph)
    if given.out is None:
        print(drawing)
    else:
        from ami.files import write_atomically

        try:
            write_atomically(given.out, drawing + "\n")
        except OSError as error:
            raise SettingError(f"--out is '{given.out}': expected a file that can be written ({error.strerror})") from None
        print(f"wrote {given.out}")
    return 0


def list_choices(words: Sequence[str]) -> int:
    """Every choice, one line each."""
    from ami.menu import CHAPTERS, menu

    reader = parser("list")
    reader.add_argument("chapter", nargs="?")
    chapter = reader.parse_args(words).chapter
    if chapter is not None and chapter not in CHAPTERS:
        raise unknown_name("chapter", chapter, CHAPTERS)
    print(menu(chapter))
    return 0


def replay(words: Sequence[str]) -> int:
    """A recording executed anew, as it was or with a difference; 1 when it does not say the same."""
    allow, rest = take_allow(words)
    reader = parser("replay")
    reader.add_argument("run", type=Path)
    reader.add_argument("--swap", action="store_true")
    reader.add_argument("--fork", type=int)
    reader.add_argument("--wave", type=int)
    reader.add_argument("--out", type=Path)
    given, rest = reader.parse_known_args(rest)
    _, overrides = split(rest, (*FOLDER_FLAGS, "--swap", "--fork", "--wave", "--out"))
    if given.swap and given.fork is not None:
        raise SettingError("--swap and --fork are two ways to differ: expected one of them")
    if overrides and not given.swap and given.fork is None:
        raise SettingError(f"{' '.join(overrides)} would make it another mind: expected `--swap`, which gives it the "
                           "recorded inputs, or `--fork TICK`, from which on the world goes on with it")
    if given.swap and not overrides:
        raise SettingError("--swap names nothing to swap: expected an override, --swap planner=mppi")
    if given.wave is not None and given.fork is None:
        raise SettingError(f"--wave {given.wave} has no effect without --fork TICK: every wave is executed. "
                           "Fix: leave it out")
    from ami.console import Console
    from ami.replay.report import replay

    same = replay(given.run, overrides=overrides, swapping=given.swap, tick=given.fork, wave=given.wave or 0, out=given.out,
                  allow=allow, console=Console())
    return 0 if same else 1


def ui(words: Sequence[str]) -> int:
    """The runs in MLflow's pages."""
    from ami.ui import serve

    reader = parser("ui")
    reader.add_argument("--port", type=int, default=5000)
    reader.add_argument("--store", type=Path, default=Path(default_store()))
    given = reader.parse_args(words)
    return serve(given.store, given.port)

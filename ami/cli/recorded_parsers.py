"""The commands that read a finished run, `ami trace | view | plot | replay`: their arguments, flags and help."""

from __future__ import annotations

from pathlib import Path

from ami.cli.arguments import Parser, one_of, options_folder

EXPORTS = ("perfetto", "otlp", "parquet")
RUN = "a run's folder"
WAVE = "this wave (batch of episodes) alone; the first is 0"
OWN = "for your own modules, as when the run was recorded; may be repeated"


def add_trace(commands: Parser) -> None:
    """Declare `ami trace` with its actions."""
    trace = commands.command("trace", "Inspect a run's percepts, goals, imagined plans and actions.")
    _show(trace)
    _diff(trace)
    _sync(trace)
    _export(trace)
    trace.section("more", "`ami trace COMMAND --help` explains one.")
    trace.examples = ("ami trace show runs/2026-01-31_12-00-00", "ami trace show runs/2026-01-31_12-00-00 --tick 3",
                      "ami trace diff runs/2026-01-31_12-00-00 runs/2026-01-31_12-10-00")


def _show(trace: Parser) -> None:
    parser = trace.command("show", "Print one run: an overview, one tick, one episode, or the ticks of a condition.")
    parser.argument("RUN", RUN, of=Path)
    parser.flag("--tick", help="one tick as a tree: inputs and outputs of every node", value="T", of=int)
    parser.flag("--row", help="the episodes of world R of the wave, each as a strip: every figure over time", value="R",
                of=int)
    parser.flag("--where", help="the ticks where a condition holds: comparisons of figures, numbers and 'texts' with and, "
                                "or, not", value="CONDITION")
    parser.flag("--wave", help="the wave (batch of episodes); the first is 0, and --where searches all", value="W", of=int)
    parser.flag("--node", help="one node, tick by tick; with --tick or --row that node alone", value="N")
    parser.examples = ("ami trace show runs/2026-01-31_12-00-00", "ami trace show runs/2026-01-31_12-00-00 --wave 1 --row 4",
                       "ami trace show runs/2026-01-31_12-00-00 --where 'surprise > 3 and mode == 2'")


def _diff(trace: Parser) -> None:
    parser = trace.command("diff", "Print the differences of two runs.")
    parser.argument("RUN", RUN, of=Path)
    parser.argument("OTHER", "the folder of the other run", of=Path)
    parser.section("printed", "The first differing message, differing settings and wires, and per port the number of "
                   "differing messages, their first tick and their difference: between recorded values, or a lower bound "
                   "if only statistics were recorded. Columns: `by` is the median over the differing messages of the "
                   "largest distance between two values, `at most` the largest, `size` the mean absolute value in the "
                   "first run.\nA fork written by `ami replay --fork` is compared from its first tick on, in its wave "
                   "alone.")
    parser.section("exit codes", "0: all messages are equal. 1: they differ. 2: a run cannot be read.")
    parser.examples = ("ami trace diff runs/2026-01-31_12-00-00 runs/2026-01-31_12-10-00",)


def _sampling(parser: Parser, every: int) -> None:
    parser.flag("--every", help=f"every Nth tick of each wave; {every}", value="N", of=int)
    parser.flag("--episodes", help="every Nth episode, 0 for none; 1", value="N", of=int)
    parser.flag("--surprise", help="also every tick with surprise above X in a world whose episode is not over", value="X",
                of=float)


def _sync(trace: Parser) -> None:
    parser = trace.command("sync", "Write ticks and episodes as MLflow traces.")
    parser.argument("RUN", RUN, of=Path)
    _sampling(parser, 10)
    parser.flag("--store", help="the store; by default the run's own", value="DIR", of=Path)
    parser.section("written", "A span per fired module, with exact times, typed by its role; a delayed message is a link "
                   "to the span that sent it; an episode is a span per tick. Ticks with an unfinished module are always "
                   "included.\nThe command can be interrupted and repeated; nothing is written twice.\n"
                   "Search keys in MLflow: feedback.surprise > 3, feedback.energy, feedback.return; tags.`ami.kind` is tick "
                   "or episode.")
    parser.examples = ("ami trace sync runs/2026-01-31_12-00-00 --every 50 --surprise 3",)


def _export(trace: Parser) -> None:
    parser = trace.command("export", "Export a trace for other programs.")
    parser.argument("RUN", RUN, of=Path)
    parser.flag("--format", value="FORMAT", of=one_of("format", EXPORTS), required=True,
                help="perfetto: a timeline for https://ui.perfetto.dev, a track per module and process, flows along wires, "
                     "counters; otlp: OpenTelemetry's JSON, the same spans as `ami trace sync`; parquet: the tables of "
                     "docs/traces.md, one file each in the folder FILE")
    parser.flag("--out", help="the file to write; compressed if its name ends in .gz", value="FILE", of=Path, required=True)
    parser.flag("--wave", help=WAVE, value="W", of=int)
    parser.flag("--agent", help="the episodes of one agent alone: agent-0", value="NAME")
    parser.flag("--where", value="CONDITION", help="perfetto, otlp: only the ticks in which the condition holds for an "
                "episode that is not over, and no episodes; with --episodes N also every Nth whole episode in which it "
                "holds")
    _sampling(parser, 1)
    parser.section("--every, --episodes, --surprise", "for otlp alone; the other formats hold every tick")
    parser.examples = (
        "ami trace export runs/2026-01-31_12-00-00 --format perfetto --out trace.json.gz",
        "ami trace export runs/2026-01-31_12-00-00 --format otlp --out spans.json --wave 0 --where 'surprise > 3'")


def add_view(commands: Parser) -> None:
    """Declare `ami view`."""
    parser = commands.command("view", "Write a run as one HTML file that opens offline, with a slider over its ticks.")
    parser.argument("RUN", RUN, of=Path)
    parser.flag("--out", help="the file to write; by default RUN/view.html", value="FILE", of=Path)
    parser.flag("--wave", help=WAVE, value="W", of=int)
    parser.flag("--deadline", help="a tick that takes longer is an overrun; by default twice the median of its episode",
                value="MS", of=float)
    parser.flag("--render", help="render images for a world with numeric observations, by repeating the recorded actions; "
                                 "constructs the world that the run names")
    parser.flag("--reference", value="OTHER", of=Path,
                help="overlay the plans and figures of another run of the same episodes, in orange, and dotted in the "
                     "charts; OTHER is a folder written by `ami replay RUN --swap …` or `--fork …`")
    parser.flag("--allow", help="packages that --render may import besides gymnasium and its worlds, as when the run was "
                                "recorded; may be repeated", value="PACKAGE.", many=True)
    parser.section("the page", "The page shows the world with the imagined plans, energies, surprise, mode and recall over "
                   "time, a lane per module, and the graph: click a wire for its message's shape, statistics and age.\n"
                   "The world is shown if the run was recorded with trace.level=boundary; trace.level=full adds imagined "
                   "states and the energies of the candidates.")
    parser.section("keys", "  ← →, shift ← →    one tick, ten ticks    Home End   first, last    space   play\n"
                           "  s  o  f           highest surprise, an overrun, a failure; repeat for the next one\n"
                           "  ↑ ↓               previous episode, next episode")
    parser.examples = ("ami view runs/2026-01-31_12-00-00",
                       "ami view runs/2026-01-31_12-00-00 --wave 2 --out wave2.html --deadline 20")


def add_plot(commands: Parser) -> None:
    """Declare `ami plot`."""
    parser = commands.command("plot", "Redraw the plots and the video of a finished run.")
    parser.argument("RUN", RUN, of=Path)
    parser.flag("--allow", help=OWN, value="PACKAGE.", many=True)
    parser.section("when", "Use it after `ami run` could not write them, because a disk was full or a package was missing. "
                           "Nothing is trained or evaluated; the video's episodes are run with the trained agent.")
    parser.examples = ("ami plot runs/2026-01-31_12-00-00",)


def add_replay(commands: Parser) -> None:
    """Declare `ami replay`."""
    parser = commands.command("replay", "Re-execute a run recorded with trace.level=boundary: unchanged, with modules "
                                        "substituted, or forked at a tick.", True)
    parser.argument("RUN", RUN, of=Path)
    parser.flag("--swap", help="execute the agent changed by the overrides on the recorded inputs; its actions do not reach "
                               "the world")
    parser.flag("--fork", help="restore every module to its state at the tick, and continue the episodes from there with "
                               "the overrides", value="TICK", of=int)
    parser.flag("--wave", help="with --fork: the wave (batch of episodes); the first is 0", value="W", of=int)
    parser.flag("--out", help="folder of the new trace; by default a new folder in RUN/replays. `ami trace` and `ami view` "
                              "read it", value="FOLDER", of=Path)
    parser.flag("--allow", help=OWN, value="PACKAGE.", many=True)
    parser.flag("--config-dir", "-cd", help="a folder of your own options, for the overrides of --swap and --fork",
                value="DIR", of=options_folder, many=True)
    parser.section("unchanged", "Every module is executed on the recorded observations, and every message is compared with "
                   "its recorded hash. Prints that all are identical, or the first difference and its causes: changed "
                   "weights, settings, code, versions, threads, processor. Exit code 0: identical. 1: different.")
    parser.section("--swap", "Changed modules, and all that depend on them within a tick, are executed. Prints the "
                   "agreement of the actions, the energies of both plans and the first difference. Modules that need "
                   "other training are loaded from the store or trained: world_model=generative, seed=1, checkpoint=FILE.")
    parser.section("--fork", "Prints the outcome of each world, with the recorded one as the reference.")
    parser.examples = ("ami run trace.level=boundary evaluation.pairs=20 hydra.run.dir=runs/it", "ami replay runs/it",
                       "ami replay runs/it --swap planner=mppi",
                       "ami replay runs/it --fork 12 planner=mppi planner.num_candidates=256")

"""Every command of `ami` with its arguments, its flags, and its help; those of recorded runs are in `recorded_parsers`,
those of files of episodes in `data_parsers`.

Flags and settings are declared once: here, and in `ami.config.settings`. The help and the errors are made from both.
"""

from __future__ import annotations

from pathlib import Path

from ami.cli.arguments import Parser, one_of, options_folder
from ami.cli.data_parsers import add_collect, add_data
from ami.cli.help_texts import (
    COMPARISON_FOLDER,
    EXIT_CODES,
    PRECEDENCE,
    SWEEPS,
    VARIANTS,
    comparison_table,
    folder,
    overrides,
)
from ami.cli.listing import SECTIONS
from ami.cli.recorded_parsers import add_plot, add_replay, add_trace, add_view
from ami.cli.setting_help import setting_help

DRAWINGS = ("text", "mermaid", "svg")
ALLOW = "let `_target_` name classes of this package; also AMI_ALLOW=mypkg. in the environment; may be repeated"


def all_parsers() -> Parser:
    """Return the parser of `ami`, with one parser per command."""
    parser = Parser("ami", "Agents built after LeCun's blueprint, as message graphs of modules.")
    parser.flag("--version", help="print the version")
    _run(parser)
    _train(parser)
    _export(parser)
    _compare(parser)
    _check(parser)
    _graph(parser)
    _list(parser)
    add_trace(parser)
    add_view(parser)
    add_plot(parser)
    add_replay(parser)
    add_collect(parser, add_folders)
    add_data(parser)
    _ui(parser)
    parser.section("exit codes", EXIT_CODES)
    parser.section("more", "`ami COMMAND --help` explains a command. In Python: ami.compose, ami.build, ami.train, ami.run, "
                           "ami.compare.")
    parser.examples = (
        "ami run                                     # the default: two rooms, a JEPA, Mode-2 planning, baselines",
        "ami run planner=random_shooting             # swap one module",
        "ami run planner.horizon=6                   # change one setting of a module",
        "ami run runtime=local evaluation.pairs=20   # a quick run in this process",
        "ami compare planner=cem,random_shooting     # compare two planners")
    return parser


def add_folders(parser: Parser) -> None:
    """Declare the flags of every command that composes a configuration."""
    parser.flag("--allow", help=ALLOW, value="PACKAGE.", many=True)
    parser.flag("--config-dir", "-cd", value="DIR", of=options_folder, many=True,
                help="a folder of your own options, DIR/planner/mine.yaml; `ami list --config-dir DIR` lists them")


def _hydra(parser: Parser) -> None:
    """Declare the flags that `ami run` and `ami train` share, Hydra's included."""
    parser.flag("--from", help="run a saved agent: the folder of a run or an export, or a run's name; overrides take "
                               "precedence", value="AGENT", to="saved")
    parser.flag("--multirun", "-m", help="run one job per combination of comma-separated values, in folders 0, 1, 2 … of "
                                         "one folder")
    parser.flag("--cfg", value="WHAT", of=one_of("value of --cfg", ("job", "hydra", "all")), alone="job",
                help="print the composed configuration and stop: job, hydra or all")
    parser.flag("--resolve", help="with --cfg: resolve interpolations")
    parser.flag("--info", value="WHAT", alone="all", help="print what Hydra found and stop: all, config, defaults, "
                "defaults-tree, plugins or searchpath", of=one_of("value of --info", (
                    "all", "config", "defaults", "defaults-tree", "plugins", "searchpath")))
    parser.flag("--hydra-help", help="print Hydra's own help and stop")
    parser.section("--multirun", SWEEPS)


def _run(commands: Parser) -> None:
    parser = commands.command("run", "Train if necessary, evaluate, print one table and save everything.", True)
    parser.flag("--resume", help="continue a run that was stopped during its evaluation, in its own folder and with its own "
                                 "settings; finished waves are not run again", value="FOLDER", of=Path)
    add_folders(parser)
    _hydra(parser)
    parser.section("overrides", overrides)
    parser.section("precedence, from lowest to highest", PRECEDENCE)
    parser.section("settings, with their defaults", setting_help)
    parser.section("written to store/DATE_TIME, or to DIR with hydra.run.dir=DIR", folder)
    parser.examples = (
        "ami run", "ami run seed=1 evaluation.pairs=50", "ami run planner=random_shooting planner.horizon=6",
        "ami run experiment=no_anti_collapse", "ami run --multirun planner.horizon=2,4,6 runtime=local",
        "ami run 'experiment=[quick,ema]'", "ami run planner._target_=mypkg.MyPlanner --allow mypkg.")


def _train(commands: Parser) -> None:
    parser = commands.command("train", "Train only, and save the trained agent.", True)
    add_folders(parser)
    _hydra(parser)
    parser.section("resuming", "The same command resumes an interrupted training. A second training with the same settings "
                               "reuses the saved agent.")
    parser.section("overrides", overrides)
    parser.section("settings, with their defaults", setting_help)
    parser.examples = ("ami train", "ami train seed=1 learning.stages.model.steps=600",
                       "ami train world_model.anti_collapse=ema")


def _export(commands: Parser) -> None:
    parser = commands.command("export", "Write an agent into a folder that runs on another machine.")
    parser.argument("RUN", "a run's folder, its name in the store, or an agent.safetensors")
    parser.argument("OUT", "a new folder; its name is the agent's name", of=Path)
    parser.section("written to OUT", "weights and configuration (agent.safetensors), the configuration as text "
                   "(config.yaml), and your own options that the agent uses (config/)\nYour own classes are not copied: "
                   "install their package on the other machine and allow it, `--allow mypkg.`")
    parser.examples = ("ami export runs/first agents/alice", "ami run --from agents/alice evaluation.pairs=50",
                       "python -c \"import ami; agent = ami.load('agents/alice')\"")


def _compare(commands: Parser) -> None:
    parser = commands.command("compare", "Compare every combination of the values that overrides give, 'key=a,b,c', on the "
                              "same sealed pairs and with the same training seeds.", True)
    parser.flag("--seeds", help="training seeds; every variant is trained and evaluated once per seed. `--seeds 2,` is the "
                                "seed 2 alone", value="0,1,2", default="0,1,2")
    parser.flag("--against", help="the reference variant of the tests, 'planner=cem'; by default the first", value="LABEL")
    parser.flag("--parallel", help="number of parallel Ray tasks; the milliseconds are then those of a busy machine",
                value="N", of=int, default=0)
    parser.flag("--folder", help="folder of the comparison, also to resume it; by default in the store, named after the "
                                 "swept keys", value="DIR", of=Path)
    parser.flag("--skip-refused", help="list a refused variant as a row with its reason")
    parser.flag("--lesion", help="compare one agent with its lesions: without a module, without a wire, or with a module's "
                "initial weights. Nothing is retrained; sorted by loss of performance. A required input whose wire is cut "
                "always receives 0, an optional one is left out")
    add_folders(parser)
    parser.section("variants", VARIANTS)
    parser.section("the table", comparison_table)
    parser.section("written to the folder", COMPARISON_FOLDER)
    parser.section("overrides", overrides)
    parser.examples = (
        "ami compare planner=cem,random_shooting", "ami compare planner=cem,none planner.horizon=2,4,6 --skip-refused",
        "ami compare experiment=null,no_critic --against experiment=no_critic --seeds 0,1,2,3,4",
        "ami compare 'world_model.anti_collapse=vicreg,ema' evaluation.pairs=50 --parallel 2", "ami compare --lesion")


def _check(commands: Parser) -> None:
    parser = commands.command("check", "Check every promise of a module's or world's contract with the engine: kept or "
                              "broken, the evidence, and the usual fix.", True)
    parser.argument("TARGET", "a choice, group=name; a class by its full name, with its default settings; or the id of a "
                              "gymnasium world")
    add_folders(parser)
    parser.section("how", "A choice is checked with the sizes it has in its graph. Its calls are bound to small stubs, so "
                          "no training is needed. In your own tests: `from ami.testing import check_planner`, or `examine` "
                          "for a report.")
    parser.section("exit codes", "0: all promises are kept. 1: one is broken. 2: it is no module, or it cannot be "
                                 "constructed.")
    parser.section("overrides", overrides)
    parser.examples = ("ami check planner=cem planner.horizon=6", "ami check mypkg.MyPlanner --allow mypkg.",
                       "ami check world=two_rooms world.door=random", "ami check CartPole-v1")


def _graph(commands: Parser) -> None:
    parser = commands.command("graph", "Draw the wiring, or list its mistakes.", True)
    parser.flag("--format", help="text, mermaid or svg", value="FORMAT", of=one_of("format", DRAWINGS), default="text")
    parser.flag("--out", help="the file to write; by default the drawing is printed", value="FILE", of=Path)
    parser.flag("--lesions", help="also draw what is lost without each wire: a folder of `ami compare --lesion`, or its "
                                  "summary.json", value="FOLDER", of=Path)
    add_folders(parser)
    parser.section("exit codes", "0: the wiring is valid; warnings go to stderr. 2: it was refused; every mistake is on "
                                 "stderr, with its fix.")
    parser.section("overrides", overrides)
    parser.examples = ("ami graph", "ami graph agent=oracle --format mermaid", "ami graph --format svg --out loop.svg",
                       "ami graph --lesions runs/compare_lesion_1a2b3c",
                       "ami graph graph.world_model.percept=perception.percept@-1")


def _list(commands: Parser) -> None:
    parser = commands.command("list", "List every option, one line each. An option is chosen by group=name; a star marks "
                                      "the default.")
    parser.argument("SECTION", f"one of {', '.join(SECTIONS)}; by default all", of=one_of("section", SECTIONS),
                    optional=True)
    parser.flag("--config-dir", "-cd", help="also list the options of your own folder", value="DIR", of=options_folder,
                many=True)
    parser.examples = ("ami list", "ami list worlds")


def _ui(commands: Parser) -> None:
    parser = commands.command("ui", "Open the runs in MLflow's user interface, on this machine only.")
    parser.flag("--port", help="the port; 5000", value="PORT", of=int, default=5000)
    parser.flag("--store", help="the folder of runs; by default as for `ami run`", value="DIR", of=Path)
    parser.section("safety", "The server listens on 127.0.0.1 only and answers requests for this machine's own name only. "
                             "Running jobs, reading pickles and telemetry are off. Ctrl-C ends it.")
    parser.examples = ("ami ui", "ami ui --port 5001 --store runs")

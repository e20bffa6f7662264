"""What `ami --help` and `ami <command> --help` say."""

from __future__ import annotations

OVERVIEW = """\
ami: agents built after LeCun's blueprint, as message graphs of modules

  ami run      learn if need be, live the evaluation's episodes, print one table and keep everything
  ami train    learn only, and keep the trained agent
  ami export   write an agent into a folder that another machine can run
  ami compare  several variants on the same pairs and seeds: one table, one plot, honest statistics
  ami check    does a module or a world, ours or yours, keep what the engine relies on?
  ami graph    draw the wiring as text, Mermaid or SVG, or say what is wrong with it
  ami list     every module, world, agent and experiment, one line each
  ami trace    look into what a run perceived, wanted, imagined and did
  ami view     a run as one page in the browser: world, plans, energies, surprise, every message, tick by tick
  ami plot     make a run's plots and film again
  ami replay   execute a recorded mind anew, with another module in it, or let it go on differently
  ami ui       open the runs in MLflow's pages, on this machine only

first steps
  ami run                                  the main job: two rooms, a JEPA, Mode-2 planning, its baselines
  ami run planner=random_shooting          swap one module
  ami run planner.horizon=6                change one setting of a module
  ami run runtime=local evaluation.pairs=20   quickly, in this process
  ami compare planner=cem,random_shooting     which of two planners is better, and by how much

exit codes: 0 done, 1 a check found a broken promise, 2 refused or failed, 3 a fault in ami itself, 130 stopped by Ctrl-C
An error is one line. AMI_TRACEBACK=1 in the environment prints the whole traceback before it.

`ami <command> --help` explains each. In Python: ami.compose, ami.build, ami.train, ami.run,
ami.compare."""

_OVERRIDES = """\
overrides
  group=choice        swap a module, world, agent, experiment; `ami list` is the menu
  node.setting=value  a setting of a module: planner.horizon=6, world.door=random
  node._target_=pkg.Class   a class of your own, with --allow pkg.
  graph.node.input=node.output[@-1]   rewire one input, `@-1` for one tick late; graph.node.every=2 fires a node rarely
  graph.node.input='{from: node.output, cut: true}'   cut a wire: 0 arrives for ever
  ~graph.node.input   take one wire out; +graph.node={...} puts a node in"""

_KEYS = """\
keys
  seed=0              everything random derives from it
  runtime=ray         ray: modules in processes of their own; local: all in this one
  placement=module    module: a process per module; agent: one for the whole mind; {group: [nodes]}
  agents=1            spread the episodes over so many agents
  address=null        a running Ray cluster to join; null starts one on this machine, on loopback
  trace.record=true   write the cognitive-loop trace
  trace.level=stats   stats: hashes and statistics; boundary: also all that the world shows and the actions, for
                      `ami replay`; full: also every message, or those of trace.ports=[node.port, …]
  store=runs          where runs, trained agents and MLflow's database are kept; the default is the folder AMI_STORE, or
                      `runs` in the root of the project around the current folder (.git, pyproject.toml)
  checkpoint=null     a trained agent to use instead of learning: a run's folder or its name in the store, or a file
  learning.collect.{agent,episodes,steps,batch}
                      who gathers the experience, how much of it, how many worlds at once
  learning.{rounds,explore}
                      how often all stages are run; in later rounds the agent itself gathers as much again, and explores
                      for this share of the time
  learning.stages.NAME.{train,loss,data,steps,batch,window,ends,imagined,learning_rate,weight_decay,warm_up,final_rate,clip}
                      what learns together, whose loss, from experience, memory or plans, for how long and how fast
  learning.stages.NAME.{agents,episodes}
                      for plans: who lives and plans, one agent after another, and how many episodes each
  learning.{save_every,threads}
                      steps between two saves; how many threads learning uses
  validation.{every,pairs,best_by}
                      while it learns, every so many steps of a stage (0: never), so many pairs of each kind that are not
                      sealed; best.safetensors in the run's folder is the best by success or by prediction
  evaluation.{pairs,manifest_seed,manifest_hash}
                      sealed pairs of each kind, the seed they come from, the hash they must have
  evaluation.{batch,beside,film,film_formats}
                      worlds side by side; the baselines on the same pairs; how many episodes are filmed, and as what,
                      [gif, mp4]
  evaluation.metrics  more figures of each episode: [node.port] for a scalar output's mean over its ticks, or
                      [package.file.function] for a function of the episode, with --allow package."""

_FLAGS = """\
flags
  --allow mypkg.      let `_target_` name classes of this package; also AMI_ALLOW=mypkg. in the environment
  --config-dir DIR    a folder of your own options, DIR/planner/mine.yaml; `ami list --config-dir DIR` lists them
  --from AGENT        run a saved agent: the folder of a run or an export, or a run's name; overrides given here win
  --multirun          one job per combination of comma-separated values, in folders 0, 1, 2 … of one folder. A job that
                      fails does not stop the others; a table at the end names it, and the exit code is 2. The same command
                      with hydra.sweep.dir=THAT_FOLDER goes on there: a job is skipped if it finished with the same settings,
                      code of its modules and engine, and version of ami
  --cfg job           print the composed configuration and stop"""

_ORDER = """\
what wins
  The defaults in configs/, then agent=…, then experiment=…, then what else stands on the command line: a module chosen there
  replaces the one of an agent or experiment; settings that those give its node stay. A key has one value;
  experiment=[quick,ema] takes both, the later one wins."""

_FOLDER = """\
left on disk, in store/DATE_TIME or where hydra.run.dir=DIR says
  summary.json        every figure that was printed
  trace/              the record of every cycle; `ami trace show DIR`
  *.png, *.gif        plots and films
and in the store: the trained agents, found again by what they were trained with, and mlflow.db; `ami ui` shows them"""

COMMANDS = {
    "run": f"""\
ami run [overrides] [flags]
Learn if need be, live the evaluation's episodes, print one table and keep everything.

examples
  ami run
  ami run seed=1 evaluation.pairs=50
  ami run planner=random_shooting planner.horizon=6
  ami run experiment=no_anti_collapse
  ami run --multirun planner.horizon=2,4,6 runtime=local
  ami run 'experiment=[quick,ema]'
  ami run planner._target_=mypkg.MyPlanner --allow mypkg.

{_OVERRIDES}

{_ORDER}

{_KEYS}

{_FLAGS}

{_FOLDER}""",
    "train": f"""\
ami train [overrides] [flags]
Learn only, and keep the trained agent.

A training that was killed goes on where it stopped when the same command is given again. A second training with the same
settings finds the first one's agent and says so.

examples
  ami train
  ami train seed=1 learning.stages.model.steps=600
  ami train world_model.anti_collapse=ema

{_OVERRIDES}

{_KEYS}

{_FLAGS}""",
    "export": """\
ami export RUN OUT
Write an agent into a new folder that another machine, or another Python, can run: its weights and configuration
(agent.safetensors), the same to read (config.yaml), and the options of your own that it was composed from (config/).

RUN is a run's folder, its name in the store, or an agent.safetensors. The folder's name is the agent's name.

examples
  ami export runs/first agents/alice
  ami run --from agents/alice evaluation.pairs=50
  python -c "import ami; agent = ami.load('agents/alice')"

Classes of your own are not copied: install their package there, and allow it, `--allow mypkg.`""",
    "compare": f"""\
ami compare 'key=a,b,c' [more overrides] [flags]
ami compare --lesion [overrides] [flags]
Every combination of the values, on the same sealed pairs and from the same training seeds, side by side.

A key with several values is swept, one with a single value is the same for all: experiment=quick,ema compares two
experiments, 'experiment=[quick,ema]' takes both in every variant, 'experiment=quick,[quick,ema]' compares one with both.
Every variant is checked before any work is done; what learns alike learns once. The same command goes on where it was
stopped.

examples
  ami compare planner=cem,random_shooting
  ami compare planner=cem,none planner.horizon=2,4,6 --skip-refused
  ami compare experiment=null,no_critic --against experiment=no_critic --seeds 0,1,2,3,4
  ami compare 'world_model.anti_collapse=vicreg,ema' evaluation.pairs=50 --parallel 2
  ami compare --lesion

--lesion
  one mind, and the same mind without each of its parts, each of its wires and what each part learnt, in turn; nothing learns
  anew. Sorted by what was lost. A needed input whose wire is cut receives 0 for ever, an optional one is left out.

the table
  success, or mean return, by kind of pair over all seeds, with its 95 % interval; below it p against the reference, paired
  by pair and seed, corrected for the number of variants (Holm).
  several seeds       seeds and pairs are crossed random effects: a two-way analysis of variance, Student's t with
                      Satterthwaite's degrees of freedom; of a rate, Wilson's interval with the effective number of trials
  one seed            the table says that the seed is not varied. Success: Wilson's interval and the exact McNemar test.
                      Returns: Student's interval, or the BCa bootstrap where it leaves the observed range; Wilcoxon's test
  If a key changes the pairs, there is no test and the reason is printed. Then model steps per plan, wall milliseconds per
  decision, minutes of learning per seed.

flags
  --seeds 0,1,2       training seeds; every variant learns and lives once per seed. `--seeds 2,` is the seed 2 alone
  --against LABEL     the variant the others are tested against, 'planner=cem'; the first when nothing is said
  --parallel N        so many at a time, as Ray tasks; milliseconds are those of a busy machine then
  --folder DIR        where it goes, and goes on; by default in the store, named after what is compared
  --skip-refused      a variant that is refused becomes a row with its reason
  --allow mypkg.      let `_target_` name classes of this package
  --config-dir DIR    a folder of your own options

left on disk, in the folder
  summary.json, comparison.csv, comparison.png, records/ with every episode, and a parent run with its children in MLflow

{_OVERRIDES}""",
    "check": f"""\
ami check TARGET [overrides] [--allow mypkg.] [--config-dir DIR]
Every promise that a module or world makes to the engine: kept or broken, how, and what usually fixes it.

TARGET is a choice, group=name; a class by its full name, with its default settings; or the id of a gymnasium world. A choice
is checked with the sizes it has in its graph. Its calls are bound to small stubs, so nothing has to be learnt.

Exit code 0: all are kept. 1: one is broken. 2: it is no module, or it cannot be made.

examples
  ami check planner=cem planner.horizon=6
  ami check mypkg.MyPlanner --allow mypkg.
  ami check world=two_rooms world.door=random
  ami check CartPole-v1

In a test of your own: `from ami.testing import check_planner`, or `examine` for a report.

{_OVERRIDES}""",
    "graph": f"""\
ami graph [overrides] [--format text|mermaid|svg] [--out FILE] [--allow mypkg.] [--config-dir DIR]
Draw the wiring, or say what is wrong with it.

Exit code 0: the wiring is sound; warnings are on stderr. 2: it was refused; every mistake is on stderr, with its fix.

examples
  ami graph
  ami graph agent=oracle --format mermaid
  ami graph --format svg --out loop.svg
  ami graph graph.world_model.percept=perception.percept@-1

{_OVERRIDES}""",
    "list": """\
ami list [modules | worlds | agents | experiments | settings] [--config-dir DIR]
Every choice, one line each; with --config-dir those of your own folder too.

A choice is used as `group=name`: ami run planner=random_shooting. A star marks what is taken when nothing is said.""",
    "trace": """\
ami trace show RUN [--tick T | --row R | --where CONDITION] [--wave W] [--node N]
ami trace diff RUN OTHER
ami trace sync RUN [--every N] [--episodes N] [--surprise X] [--store DIR]
ami trace export RUN --format perfetto|otlp|parquet --out FILE [--wave W] [--agent NAME] [--where CONDITION]
What a run perceived, wanted, imagined and did.

  RUN        a run's folder
  --tick T   one tick as a tree: what every node was given and said
  --row R    one episode as a strip: every figure over time, for world R of the wave
  --where C  the ticks where a condition holds: comparisons of figures, numbers and 'texts' with and, or, not
  --wave W   which batch of episodes; the first is 0, and --where looks into all
  --node N   one node, tick by tick; with --tick or --row what belongs to it alone

diff
  The first message that differs, what was set or wired differently, and per port how many messages differ, from which tick
  on and by how much: between recorded values; or at least so much, where statistics alone were recorded. Columns: `by` is
  the median over the differing messages of the largest distance between two values, `at most` the largest, `size` the mean
  absolute value in the first run.
  A fork, as `ami replay --fork` leaves it, is compared from where it begins, in its wave alone.
  Exit code 0: both runs say the same at every tick. 1: they differ. 2: one of them cannot be read.

sync
  Ticks and episodes as MLflow traces: a span per module that fired, with exact times, of the type of its role; what a
  delayed wire brought is a link to the span that had sent it; an episode is a span per tick. Always taken: a tick in which
  a module did not finish. It may be killed at any moment; the same command goes on, nothing is there twice.
  --every N      every Nth tick of each wave; 10
  --episodes N   every Nth episode, 0 for none; 1
  --surprise X   also every tick in which a living world surprised the mind by more than X
  --store DIR    the store; by default the run's own
  MLflow finds them by number: feedback.surprise > 3, feedback.energy, feedback.return; tags.`ami.kind` is tick or episode.

export
  perfetto       a timeline for https://ui.perfetto.dev: a track per module and process, flows along wires, counters
  otlp           OpenTelemetry's JSON, the same spans as sync; takes --every (1), --episodes and --surprise too
  parquet        the tables of docs/traces.md, one file each in the folder FILE
  A FILE whose name ends in .gz is packed.
  --wave W       this batch of episodes alone
  --agent NAME   what one agent lived alone: agent-0
  --where C      perfetto, otlp: only the ticks in which the condition holds for a living world, and no episodes; with
                 --episodes N every Nth of those in whose life it holds, whole

examples
  ami trace show runs/2026-01-31_12-00-00
  ami trace show runs/2026-01-31_12-00-00 --tick 3
  ami trace show runs/2026-01-31_12-00-00 --wave 1 --row 4
  ami trace show runs/2026-01-31_12-00-00 --where 'surprise > 3 and mode == 2'
  ami trace diff runs/2026-01-31_12-00-00 runs/2026-01-31_12-10-00
  ami trace sync runs/2026-01-31_12-00-00 --every 50 --surprise 3
  ami trace export runs/2026-01-31_12-00-00 --format perfetto --out trace.json.gz
  ami trace export runs/2026-01-31_12-00-00 --format otlp --out spans.json --wave 0 --where 'surprise > 3'""",
    "view": """\
ami view RUN [--out FILE] [--wave W] [--deadline MS] [--render] [--beside OTHER] [--allow mypkg.]
A run as one HTML file that opens from the disk and needs no network: scrub through its ticks and see a mind think.

  RUN            a run's folder
  --out FILE     where it goes; RUN/view.html when nothing is said
  --wave W       this batch of episodes alone; the first is 0
  --deadline MS  a tick that takes longer is an overrun; twice the median of its episode when nothing is said
  --render       a world that shows numbers draws its pictures while the recorded actions are done again; this makes the
                 world that the run names
  --beside OTHER what another mind planned and said on the same episodes, in orange, and dotted in the charts; OTHER is a
                 folder that `ami replay RUN --swap …` or `--fork …` left
  --allow mypkg. what --render may import besides gymnasium and its worlds, as when it was recorded

It shows the world with the imagined plans over it, energies, surprise, mode and recall over time, a lane per module, and the
graph: click a wire for its message's shape, statistics and age.
The world is in it when the run was made with trace.level=boundary; with trace.level=full also what was imagined, and the
energies of the candidates.

keys
  ← →, shift ← →    one tick, ten ticks    Home End   first, last    space   play
  s  o  f           highest surprise, an overrun, a failure; again for the next one
  ↑ ↓               the episode before, the next

examples
  ami view runs/2026-01-31_12-00-00
  ami view runs/2026-01-31_12-00-00 --wave 2 --out wave2.html --deadline 20""",
    "replay": """\
ami replay RUN
ami replay RUN --swap overrides
ami replay RUN --fork TICK [--wave W] [overrides]
Execute anew what a run with trace.level=boundary recorded.

alone    Every module fires again on what the world showed, and every message is held against its recorded hash:
         identical, or the first difference and what has changed since that may be why: weights, settings, code,
         versions, threads, processor. Exit code 0: identical. 1: different.
--swap   The recorded inputs go through the other mind; the world never hears of it. What differs, and all that follows
         from it within a tick, is executed: how far the actions agree, whose plans have less energy, where they part.
         What is to be learnt otherwise is found trained, or is learnt: world_model=generative, seed=1, checkpoint=FILE.
--fork   Every module is brought to where it stood at the tick, and from there on the world is lived in differently:
         what became of each world, beside what was recorded.

  --wave W       which batch of episodes is forked; the first is 0
  --out FOLDER   where the new trace goes; by default a new folder in RUN/replays. It is a run's folder: ami trace, ami view
  --allow mypkg. for modules of your own, as when it was recorded
  --config-dir DIR   a folder of your own options, for the overrides of --swap and --fork

examples
  ami run trace.level=boundary evaluation.pairs=20 hydra.run.dir=runs/it
  ami replay runs/it
  ami replay runs/it --swap planner=mppi
  ami replay runs/it --fork 12 planner=mppi planner.num_candidates=256""",
    "plot": """\
ami plot RUN [--allow mypkg.]
Make the plots and the film of a finished run again, from its folder.

What `ami run` could not make, because a disk was full or a package was missing, is made later with this. Nothing learns, and
nothing is evaluated again; the film's episodes are run again with the trained agent.

  RUN            a run's folder
  --allow mypkg. for modules of your own, as when it was run

examples
  ami plot runs/2026-01-31_12-00-00""",
    "ui": """\
ami ui [--port 5000] [--store runs]
Open the runs in MLflow's pages.

Listens on 127.0.0.1 only and answers requests for this machine's own name only. Running jobs, reading pickles and
telemetry are off. Ctrl-C ends it.""",
}

"""The texts of `ami --help` and `ami <command> --help`."""

from __future__ import annotations

OVERVIEW = """\
ami: agents built after LeCun's blueprint, as message graphs of modules

  ami run      train if necessary, evaluate, print one table and save everything
  ami train    train only, and save the trained agent
  ami export   write an agent into a folder that runs on another machine
  ami compare  compare variants on the same pairs and seeds: one table, one plot, paired statistics
  ami check    check the contract of a module or world, shipped or your own
  ami graph    draw the wiring as text, Mermaid or SVG, or list its mistakes
  ami list     list every module, world, agent and experiment, one line each
  ami trace    inspect a run's percepts, goals, imagined plans and actions
  ami view     show a run as one HTML page: world, plans, energies, surprise, every message, tick by tick
  ami plot     redraw a run's plots and video
  ami replay   re-execute a recorded run: unchanged, with modules substituted, or forked at a tick
  ami ui       open the runs in MLflow's pages, on this machine only

first steps
  ami run                                  the main job: two rooms, a JEPA, Mode-2 planning, its baselines
  ami run planner=random_shooting          swap one module
  ami run planner.horizon=6                change one setting of a module
  ami run runtime=local evaluation.pairs=20   a quick run in this process
  ami compare planner=cem,random_shooting     compare two planners

exit codes: 0 done, 1 a check found a broken promise, 2 refused or failed, 3 a fault in ami itself, 130 stopped by Ctrl-C
An error is one line. AMI_TRACEBACK=1 in the environment prints the whole traceback before it.

`ami <command> --help` explains each command. In Python: ami.compose, ami.build, ami.train, ami.run,
ami.compare."""

_OVERRIDES = """\
overrides
  group=choice        swap a module, world, agent or experiment; `ami list` prints the choices
  node.setting=value  a setting of a module: planner.horizon=6, world.door=random
  node._target_=pkg.Class   a class of your own, with --allow pkg.
  graph.node.input=node.output[@-1]   rewire one input, `@-1` delays it by one tick; graph.node.every=2 fires every 2nd tick
  graph.node.input='{from: node.output, cut: true}'   cut a wire: the input always receives 0
  ~graph.node.input   remove one wire; +graph.node={...} adds a node"""

_KEYS = """\
keys
  seed=0              the seed of all random numbers
  runtime=ray         ray: modules in separate processes; local: all modules in this process
  placement=module    module: a process per module; agent: a process per agent; {group: [nodes]}
  agents=1            number of agents that share the episodes
  address=null        address of a running Ray cluster; null starts one on this machine, on loopback
  prune=false         true: nodes that no action depends on do not fire, which changes no outcome and takes them out of
                      the trace; without a trace they never fire
  trace.record=true   record the trace of every cycle
  trace.level=stats   stats: hashes and statistics; boundary: also every output of the world and the actions, for
                      `ami replay`; full: also every message, or those of trace.ports=[node.port, …]
  store=runs          folder of runs, trained agents and MLflow's database; the default is the folder AMI_STORE, or
                      `runs` in the root of the project around the current folder (.git, pyproject.toml)
  checkpoint=null     a trained agent to use instead of training: a run's folder or its name in the store, or a file
  learning.collect.{agent,episodes,steps,batch}
                      the agent that collects experience, number and length of episodes, parallel worlds
  learning.{rounds,explore}
                      number of passes over all stages; before each later round the current agent collects as many
                      episodes, with this share of random actions
  learning.stages.NAME.{train,loss,data,steps,batch,window,ends,imagined,learning_rate,weight_decay,warm_up,final_rate,clip}
                      trained modules, owner of the loss, data (experience, memory or plans), steps and optimiser
  learning.stages.NAME.{agents,episodes}
                      for plans: the agents that act and plan, one after another, and the episodes of each
  learning.{save_every,threads}
                      steps between two saves; number of threads for training
  validation.{every,pairs,best_by}
                      validation during training: interval in steps of a stage (0: never), unsealed pairs of each kind;
                      best.safetensors in the run's folder is the best by success or by prediction
  evaluation.{pairs,manifest_seed,manifest_hash}
                      sealed pairs of each kind, their seed, their expected hash
  evaluation.{batch,baselines,video,video_formats}
                      parallel worlds; baselines on the same pairs; number of episodes in the video, its formats,
                      [gif, mp4]
  evaluation.metrics  more metrics of each episode: [node.port] for a scalar output's mean over its ticks, or
                      [package.file.function] for a function of the episode, with --allow package."""

_FLAGS = """\
flags
  --allow mypkg.      let `_target_` name classes of this package; also AMI_ALLOW=mypkg. in the environment
  --config-dir DIR    a folder of your own options, DIR/planner/mine.yaml; `ami list --config-dir DIR` lists them
  --from AGENT        run a saved agent: the folder of a run or an export, or a run's name; overrides take precedence
  --multirun          one job per combination of comma-separated values, in folders 0, 1, 2 … of one folder. A failed job
                      does not stop the others; a table at the end names it, and the exit code is 2. The same command
                      with hydra.sweep.dir=THAT_FOLDER resumes: a job is skipped if it finished with the same settings,
                      code of its modules and engine, and version of ami
  --cfg job           print the composed configuration and stop"""

_ORDER = """\
precedence, from lowest to highest
  The defaults in configs/, agent=…, experiment=…, then the other overrides: a module chosen there replaces the one of an
  agent or experiment; their settings of that node stay. A key has one value; experiment=[quick,ema] applies both, and the
  later one wins."""

_FOLDER = """\
written to store/DATE_TIME, or to DIR with hydra.run.dir=DIR
  summary.json        every printed figure
  trace/              the record of every cycle; `ami trace show DIR`
  *.png, *.gif        plots and videos
and to the store: the trained agents, cached by the hash of their training settings, and mlflow.db; `ami ui` shows them"""

COMMANDS = {
    "run": f"""\
ami run [overrides] [flags]
Train if necessary, evaluate, print one table and save everything.

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
Train only, and save the trained agent.

The same command resumes an interrupted training. A second training with the same settings reuses the saved agent.

examples
  ami train
  ami train seed=1 learning.stages.model.steps=600
  ami train world_model.anti_collapse=ema

{_OVERRIDES}

{_KEYS}

{_FLAGS}""",
    "export": """\
ami export RUN OUT
Write an agent into a new folder that runs on another machine or in another Python: its weights and configuration
(agent.safetensors), the configuration as text (config.yaml), and your own options that it uses (config/).

RUN is a run's folder, its name in the store, or an agent.safetensors. The folder's name is the agent's name.

examples
  ami export runs/first agents/alice
  ami run --from agents/alice evaluation.pairs=50
  python -c "import ami; agent = ami.load('agents/alice')"

Your own classes are not copied: install their package on the other machine and allow it, `--allow mypkg.`""",
    "compare": f"""\
ami compare 'key=a,b,c' [more overrides] [flags]
ami compare --lesion [overrides] [flags]
Compare every combination of the values, on the same sealed pairs and with the same training seeds.

A key with several values is swept, a key with one value is the same for all variants: experiment=quick,ema compares two
experiments, 'experiment=[quick,ema]' applies both to every variant, 'experiment=quick,[quick,ema]' compares one with both.
Every variant is checked before the first one runs. Variants with the same training settings share one training. The same
command resumes an interrupted comparison.

examples
  ami compare planner=cem,random_shooting
  ami compare planner=cem,none planner.horizon=2,4,6 --skip-refused
  ami compare experiment=null,no_critic --against experiment=no_critic --seeds 0,1,2,3,4
  ami compare 'world_model.anti_collapse=vicreg,ema' evaluation.pairs=50 --parallel 2
  ami compare --lesion

--lesion
  one agent, intact and with one lesion at a time: without a module, without a wire, or with a module's initial weights.
  Nothing is retrained. Sorted by loss of performance. A required input whose wire is cut always receives 0, an optional
  one is left out.

the table
  success or mean return by kind of pair over all seeds, with its 95 % interval; below it p against the reference, paired
  by pair and seed, corrected for the number of variants (Holm).
  several seeds       seeds and pairs are crossed random effects: a two-way analysis of variance, Student's t with
                      Satterthwaite's degrees of freedom; of a rate, Wilson's interval with the effective number of trials
  one seed            the table notes that the seed is not varied. Success: Wilson's interval and the exact McNemar test.
                      Returns: Student's interval, or the BCa bootstrap if it leaves the observed range; Wilcoxon's test
  If a key changes the pairs, there is no test and the reason is printed. Further columns: model steps per plan, wall
  milliseconds per decision, minutes of training per seed.

flags
  --seeds 0,1,2       training seeds; every variant is trained and evaluated once per seed. `--seeds 2,` is the seed 2 alone
  --against LABEL     the reference variant of the tests, 'planner=cem'; by default the first
  --parallel N        number of parallel Ray tasks; the milliseconds are then those of a busy machine
  --folder DIR        folder of the comparison, also to resume it; by default in the store, named after the swept keys
  --skip-refused      list a refused variant as a row with its reason
  --allow mypkg.      let `_target_` name classes of this package
  --config-dir DIR    a folder of your own options

written to the folder
  summary.json, comparison.csv, comparison.png, records/ with every episode, and a parent run with its children in MLflow

{_OVERRIDES}""",
    "check": f"""\
ami check TARGET [overrides] [--allow mypkg.] [--config-dir DIR]
Check every promise of a module's or world's contract with the engine: kept or broken, the evidence, and the usual fix.

TARGET is a choice, group=name; a class by its full name, with its default settings; or the id of a gymnasium world. A choice
is checked with the sizes it has in its graph. Its calls are bound to small stubs, so no training is needed.

Exit code 0: all promises are kept. 1: one is broken. 2: it is no module, or it cannot be constructed.

examples
  ami check planner=cem planner.horizon=6
  ami check mypkg.MyPlanner --allow mypkg.
  ami check world=two_rooms world.door=random
  ami check CartPole-v1

In your own tests: `from ami.testing import check_planner`, or `examine` for a report.

{_OVERRIDES}""",
    "graph": f"""\
ami graph [overrides] [--format text|mermaid|svg] [--out FILE] [--allow mypkg.] [--config-dir DIR]
Draw the wiring, or list its mistakes.

Exit code 0: the wiring is valid; warnings go to stderr. 2: it was refused; every mistake is on stderr, with its fix.

examples
  ami graph
  ami graph agent=oracle --format mermaid
  ami graph --format svg --out loop.svg
  ami graph graph.world_model.percept=perception.percept@-1

{_OVERRIDES}""",
    "list": """\
ami list [modules | worlds | agents | experiments | settings] [--config-dir DIR]
List every choice, one line each; with --config-dir also those of your own folder.

A choice is used as `group=name`: ami run planner=random_shooting. A star marks the default.""",
    "trace": """\
ami trace show RUN [--tick T | --row R | --where CONDITION] [--wave W] [--node N]
ami trace diff RUN OTHER
ami trace sync RUN [--every N] [--episodes N] [--surprise X] [--store DIR]
ami trace export RUN --format perfetto|otlp|parquet --out FILE [--wave W] [--agent NAME] [--where CONDITION]
Inspect a run's percepts, goals, imagined plans and actions.

  RUN        a run's folder
  --tick T   one tick as a tree: inputs and outputs of every node
  --row R    one episode as a strip: every figure over time, for world R of the wave
  --where C  the ticks where a condition holds: comparisons of figures, numbers and 'texts' with and, or, not
  --wave W   the wave (batch of episodes); the first is 0, and --where searches all
  --node N   one node, tick by tick; with --tick or --row that node alone

diff
  The first differing message, differing settings and wires, and per port the number of differing messages, their first tick
  and their difference: between recorded values, or a lower bound if only statistics were recorded. Columns: `by` is
  the median over the differing messages of the largest distance between two values, `at most` the largest, `size` the mean
  absolute value in the first run.
  A fork written by `ami replay --fork` is compared from its first tick on, in its wave alone.
  Exit code 0: all messages are equal. 1: they differ. 2: a run cannot be read.

sync
  Write ticks and episodes as MLflow traces: a span per fired module, with exact times, typed by its role; a delayed message
  is a link to the span that sent it; an episode is a span per tick. Ticks with an unfinished module are always included.
  The command can be interrupted and repeated; nothing is written twice.
  --every N      every Nth tick of each wave; 10
  --episodes N   every Nth episode, 0 for none; 1
  --surprise X   also every tick with surprise above X in a world whose episode is not over
  --store DIR    the store; by default the run's own
  Search keys in MLflow: feedback.surprise > 3, feedback.energy, feedback.return; tags.`ami.kind` is tick or episode.

export
  perfetto       a timeline for https://ui.perfetto.dev: a track per module and process, flows along wires, counters
  otlp           OpenTelemetry's JSON, the same spans as sync; takes --every (1), --episodes and --surprise too
  parquet        the tables of docs/traces.md, one file each in the folder FILE
  A FILE whose name ends in .gz is compressed.
  --wave W       this wave (batch of episodes) alone
  --agent NAME   the episodes of one agent alone: agent-0
  --where C      perfetto, otlp: only the ticks in which the condition holds for an episode that is not over, and no
                 episodes; with --episodes N also every Nth whole episode in which it holds

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
ami view RUN [--out FILE] [--wave W] [--deadline MS] [--render] [--reference OTHER] [--allow mypkg.]
Write a run as one HTML file that opens offline, with a slider over its ticks.

  RUN            a run's folder
  --out FILE     the file to write; by default RUN/view.html
  --wave W       this wave (batch of episodes) alone; the first is 0
  --deadline MS  a tick that takes longer is an overrun; by default twice the median of its episode
  --render       render images for a world with numeric observations, by repeating the recorded actions; constructs the
                 world that the run names
  --reference OTHER overlay the plans and figures of another run of the same episodes, in orange, and dotted in the charts;
                 OTHER is a folder written by `ami replay RUN --swap …` or `--fork …`
  --allow mypkg. packages that --render may import besides gymnasium and its worlds, as when the run was recorded

The page shows the world with the imagined plans, energies, surprise, mode and recall over time, a lane per module, and the
graph: click a wire for its message's shape, statistics and age.
The world is shown if the run was recorded with trace.level=boundary; trace.level=full adds imagined states and the energies
of the candidates.

keys
  ← →, shift ← →    one tick, ten ticks    Home End   first, last    space   play
  s  o  f           highest surprise, an overrun, a failure; repeat for the next one
  ↑ ↓               previous episode, next episode

examples
  ami view runs/2026-01-31_12-00-00
  ami view runs/2026-01-31_12-00-00 --wave 2 --out wave2.html --deadline 20""",
    "replay": """\
ami replay RUN
ami replay RUN --swap overrides
ami replay RUN --fork TICK [--wave W] [overrides]
Re-execute a run recorded with trace.level=boundary.

alone    Every module fires on the recorded observations, and every message is compared with its recorded hash:
         identical, or the first difference and its possible causes: changed weights, settings, code,
         versions, threads, processor. Exit code 0: identical. 1: different.
--swap   The modified agent receives the recorded inputs; its actions do not reach the world. Changed modules, and all that
         depend on them within a tick, are executed: agreement of the actions, energies of both plans, first difference.
         Modules that need other training are loaded from the store or trained: world_model=generative, seed=1,
         checkpoint=FILE.
--fork   Every module is restored to its state at the tick; from there on the episode continues with the overrides:
         the outcome of each world, with the recorded one as the reference.

  --wave W       the wave (batch of episodes) to fork; the first is 0
  --out FOLDER   folder of the new trace; by default a new folder in RUN/replays. It is a run's folder: ami trace, ami view
  --allow mypkg. for your own modules, as when the run was recorded
  --config-dir DIR   a folder of your own options, for the overrides of --swap and --fork

examples
  ami run trace.level=boundary evaluation.pairs=20 hydra.run.dir=runs/it
  ami replay runs/it
  ami replay runs/it --swap planner=mppi
  ami replay runs/it --fork 12 planner=mppi planner.num_candidates=256""",
    "plot": """\
ami plot RUN [--allow mypkg.]
Redraw the plots and the video of a finished run, from its folder.

Use it after `ami run` could not write them, because a disk was full or a package was missing. Nothing is trained or
evaluated; the video's episodes are run with the trained agent.

  RUN            a run's folder
  --allow mypkg. for your own modules, as in the run

examples
  ami plot runs/2026-01-31_12-00-00""",
    "ui": """\
ami ui [--port 5000] [--store runs]
Open the runs in MLflow's pages.

The server listens on 127.0.0.1 only and answers requests for this machine's own name only. Running jobs, reading pickles
and telemetry are off. Ctrl-C ends it.""",
}

"""Messages of wrong commands: the nearest name or the expected value, exit code 2, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from ami.cli.main import main

READ = 'expected `key=value`, `+key=value` or `~key`. Fix for signs such as , : = in a value: quote it, `"key=\'a,b\'"`'
PLANNERS = "expected one of categorical, cem, gradient, icem, mppi, none, random_shooting, tree."
CEM = "(modules.planner.cem.CEM)"
REFUSED = "the graph was refused, 1 mistake:\n  - "
LONG = "x" * 3000
CUT = "x" * 31 + "…" + "x" * 19

WRONG: list[tuple[list[str], str]] = [
    # commands and flags
    (["rnu"], "unknown command 'rnu': did you mean 'run'? `ami --help` explains them."),
    (["Run"], "unknown command 'Run': did you mean 'run'? `ami --help` explains them."),
    (["run", "--hepl"], "unknown flag '--hepl': did you mean '--help'? `ami run --help` explains them."),
    (["run", "-x"], "unknown flag '-x': `ami run --help` lists them. Fix for a setting: no dashes, x=…"),
    (["run", "--seed=1"], "unknown flag '--seed': `ami run --help` lists them. Fix for a setting: no dashes, seed=…"),
    (["run", "--cfg", "jbo"], "unknown value of --cfg 'jbo': did you mean 'job'?"),
    (["run", "--multirun", "--cfg", "job"], "--multirun and --cfg exclude each other: expected one of them"),
    (["run", "--resolve"], "--resolve has no effect without --cfg. Fix: --cfg job --resolve"),
    (["run", "--multirun=2", "seed=1,2"], "--multirun takes no value: '2'. Fix: --multirun alone"),
    (["run", "--config-dir", "nowhere"],
     "--config-dir names 'nowhere': expected a folder that holds groups of options, nowhere/planner/mine.yaml"),
    (["compare", "planner=cem,mppi", "--paralel", "1"],
     "unknown flag '--paralel': did you mean '--parallel'? `ami compare --help` explains them."),
    (["graph", "--fromat", "svg"], "unknown flag '--fromat': did you mean '--format'? `ami graph --help` explains them."),
    (["trace", "show", "nowhere", "--tikc", "3"],
     "unknown flag '--tikc': did you mean '--tick'? `ami trace show --help` explains them."),
    # groups, choices and overrides
    (["run", "planer=cem"], "unknown setting or group 'planer': did you mean 'planner'?"),
    (["run", "planner=cme"], "unknown planner 'cme': did you mean 'cem'?"),
    (["run", "planner=CEM"], "unknown planner 'CEM': did you mean 'cem'?"),
    (["run", "planner="], f"unknown planner '': {PLANNERS}"),
    (["run", "planner=''"], f"unknown planner '': {PLANNERS}"),
    (["run", ""], f"cannot read the override '': {READ}"),
    (["run", "runs/first"], f"cannot read the override 'runs/first': {READ}"),
    (["run", "planner='cem"], f"cannot read the override \"planner='cem\": {READ}"),
    (["run", "planner.horizon=[1,2"], f"cannot read the override 'planner.horizon=[1,2': {READ}"),
    (["run", "plän=cem"], f"cannot read the override 'plän=cem': {READ}"),
    (["run", "planner=🙂"], f"cannot read the override 'planner=🙂': {READ}"),
    (["run", f"planner={LONG}"], f"the override 'planner={CUT}' (3010 characters) has too long a name: expected at most 200 "
                                 "characters"),
    (["run", "planner.horizon=" + "9" * 5000],
     "the overrides cannot be read: Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits; "
     "use sys.set_int_max_str_digits() to increase the limit"),
    (["run", "experiment=qiuck"], "unknown experiment 'qiuck': did you mean 'quick'?"),
    (["run", "experiment=[quick,eam]"], "unknown experiment 'eam': did you mean 'ema'?"),
    (["run", "planner=../cem"], "unknown planner '../cem': did you mean 'cem'?"),
    (["run", "planner=cem,mppi"],
     "'planner=cem,mppi' asks for several runs: expected one value. Fix: `--multirun`, or, in Python, one call per value"),
    (["run", "planner=cem", "planner=mppi"],
     "'planner=cem planner=mppi' gives planner two values: expected one. Fix: leave one out"),
    (["graph", "seed=1", "seed=2"], "'seed=1 seed=2' gives seed two values: expected one. Fix: leave one out"),
    (["run", "planner={a:1}"], "the configuration does not compose: there is no setting 'planner.a'. Fix: a setting that "
     "`ami list settings` or `ami list modules` prints, or +KEY=VALUE in front of one that your own module takes"),
    (["run", "experiment=mode1", "learning=none"], "learning.collect.{agent,episodes,steps,batch} is missing, but there are "
     "stages that learn: policy. Fix: choose learning=two_rooms or another with `collect`; or, to learn nothing, "
     "~learning.stages.policy"),
    (["run", "runtime=ray", "address=127.0.0.1:1"], "no process listens at address '127.0.0.1:1' ([Errno 111] Connection "
     "refused). Fix: address=HOST:PORT of a running cluster, address=null to start one here, or run in this process with "
     "runtime=local"),
    (["run", "hydra.foo=1"], "the configuration does not compose: Key 'foo' not in 'HydraConf'"),
    (["run", "~planner.horizon"],
     "the configuration does not compose: Could not delete from config. 'planner.horizon' does not exist."),
    # settings
    (["run", "planner.horizn=6"], f"planner has no setting 'horizn': did you mean 'horizon'? {CEM}"),
    (["run", "planner.horizon=six"], f"planner.horizon is 'six': expected a whole number {CEM}"),
    (["run", "planner.horizon=true"], f"planner.horizon is True: expected a whole number {CEM}"),
    (["run", "planner.horizon=0"], f"{REFUSED}planner: CEM.horizon is 0: expected 1 or more"),
    (["run", "planner.horizon=1e12"], f"planner.horizon is 1000000000000.0: expected a whole number {CEM}"),
    (["run", "planner.num_candidates=1000000000000"],
     f"planner.num_candidates is 1000000000000: expected a whole number within ±10000000 {CEM}"),
    (["run", "planner.init_std=nan"], f"planner.init_std is nan: expected a finite number {CEM}"),
    (["run", "planner.init_std=-.inf"], f"planner.init_std is '-.inf': expected a number {CEM}"),
    (["run", "world.max_episode_steps=100000000"],
     "world.max_episode_steps is 100000000: expected a whole number within ±10000000 (ami.envs.world.GymWorld)"),
    (["run", "evaluation.pairs=1e11"],
     "evaluation.pairs is 100000000000.0: expected a whole number from 1 to 1000000"),
    (["run", "evaluation.pairs=100000000000", "evaluation.batch=1000000000"],
     "evaluation.pairs is 100000000000: expected a whole number from 1 to 1000000\n"
     "evaluation.batch is 1000000000: expected a whole number from 1 to 100000"),
    (["run", "agents=100000"], "agents is 100000: expected a whole number from 1 to 1000"),
    (["run", "agents=two"], "agents is 'two': expected a whole number from 1 to 1000"),
    (["run", "seed=-1"], "seed is -1: expected a whole number from 0 to 9223372036854775807"),
    (["run", "seed=99999999999999999999"],
     "seed is 99999999999999999999: expected a whole number from 0 to 9223372036854775807"),
    (["run", "runtime=loacl"], "runtime is 'loacl': expected one of local, ray"),
    (["run", "trace.levl=full"], "unknown setting 'trace.levl': did you mean 'level'?"),
    (["run", "placement=modul"], "placement is 'modul': expected auto, module, agent, or a mapping {group: [nodes]}"),
    # nodes and wires
    (["run", "graph.actor.plan=planer.plan"],
     f"{REFUSED}actor.plan is wired from the unknown node 'planer': did you mean 'planner'?"),
    (["run", "graph.actor.pln=planner.plan"],
     f"{REFUSED}actor has no input 'pln': did you mean 'plan'? (modules.actor.plan_follower.PlanFollower)"),
    (["run", "graph.planner.every=0"], f"{REFUSED}planner.every is 0: expected a whole number of ticks, 1 or more"),
    # comparisons
    (["compare", "planner=cem,mppi", "--seeds", "2"],
     "--seeds 2 may mean the seed 2 or a number of seeds. Fix: `--seeds 2,` for that seed alone, `--seeds 0,1` for so many"),
    (["compare", "planner=cem,mppi", "--seeds", "a"], "--seeds is 'a': expected whole numbers, --seeds 0,1,2"),
    (["compare", "planner=cem,cem"], "'planner=cem' occurs twice. Fix: name each value once"),
    # files, folders and ports
    (["run", "hydra.run.dir="],
     "hydra.run.dir is '': expected a folder. Fix: leave it out, and a new one in the store is taken"),
    (["run", "++hydra.run.dir='/proc/x'"],
     "hydra.run.dir is '/proc/x', which cannot be written in (No such file or directory): expected a folder to write in"),
    (["run", "hydra.run.dir=[a,b]"],
     "hydra.run.dir is '[a,b]': expected a folder. Fix: leave it out, and a new one in the store is taken"),
    (["check", "planner=cem", "--allow", ""],
     "the allow-list was given '': expected the name of a package, such as `mypkg.`"),
    (["run", "store=/dev/null/x"], "store is '/dev/null/x', but '/dev/null' is a file: expected a folder to write in"),
    (["list", "planner"],
     "unknown section 'planner': expected one of agents, experiments, learning, modules, settings, worlds."),
    (["graph", "--format", "sgv"], "unknown format 'sgv': did you mean 'svg'?"),
    (["replay", "nowhere", "--swap"], "--swap names nothing to swap: expected an override, --swap planner=mppi"),
    (["ui", "--port", "abc"], "--port is 'abc': expected a whole number. Fix: --port 5000"),
    (["trace", "show", "somewhere", "--tick"],
     "--tick has no value: expected `--tick T`. `ami trace show --help` explains it."),
    (["trace", "export", "somewhere"],
     "`ami trace export` lacks --format and --out: expected `ami trace export RUN --format FORMAT --out FILE [flags]`. Fix: "
     "ami trace export runs/2026-01-31_12-00-00 --format perfetto --out trace.json.gz"),
    (["trace", "export", "somewhere", "--format", "prfetto"], "unknown format 'prfetto': did you mean 'perfetto'?"),
    (["list", "--confg-dir", "x"],
     "unknown flag '--confg-dir': did you mean '--config-dir'? `ami list --help` explains them."),
    (["trace", "sync", "somewhere", "--surprise", "-3", "--evry", "2"],
     "unknown flag '--evry': did you mean '--every'? `ami trace sync --help` explains them."),
    (["view"],
     "`ami view` lacks RUN, a run's folder: expected `ami view RUN [flags]`. Fix: ami view runs/2026-01-31_12-00-00"),
    (["view", "somewhere", "--beside", "other"], "--beside is --reference now. Fix: --reference"),
    (["view", "somewhere", "else"], "unexpected 'else': expected `ami view RUN [flags]`"),
    (["view", "somewhere", "--config-dir", "."], "unknown flag '--config-dir': `ami view --help` lists them."),
    (["export", "somewhere"],
     "`ami export` lacks OUT, a new folder: expected `ami export RUN OUT`. Fix: ami export runs/first agents/alice"),
    (["replay", "somewhere", "--fork", "x"], "--fork is 'x': expected a whole number"),
]


pytestmark = pytest.mark.usefixtures("keep_umask")


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[" ".join(words)[:50] for words, _ in WRONG])
def test_wrong_command_message(words: list[str], sentence: str, in_folder: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"ami: {sentence}\n")
    assert not any(in_folder.iterdir())


@pytest.mark.parametrize("words", [["compare", "experiment=[quick,ema]", "planner.horizon=2,3"],
                                   ["compare", "experiment=quick,[quick,ema]"]])
def test_brackets_combine_experiments_and_commas_compare_them(words: list[str]) -> None:
    from ami.config.compose import compose
    from ami.config.sweep import combinations

    composed = [compose(one.overrides).settings for one in combinations(words[1:])]
    assert [one.evaluation.pairs for one in composed] == [10, 10]
    assert [one.world_model.get("anti_collapse") for one in composed] in (["ema", "ema"], [None, "ema"])

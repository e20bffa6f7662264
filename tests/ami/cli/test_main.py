"""The command line: every command, every mistake with the nearest name and exit code 2, never a traceback."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ami.session.run
import ami.session.train
from ami.cli.main import main
from ami.cli.parsers import all_parsers
from ami.config.compose import Config, compose, to_graph
from ami.errors import SettingError, StartError
from ami.learning import checkpoint

COMMANDS = all_parsers().commands
pytestmark = pytest.mark.usefixtures("keep_umask")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, in_folder: Path) -> list[tuple[Config, Path]]:
    """Configurations and folders passed to `run`, which does nothing."""
    seen: list[tuple[Config, Path]] = []
    monkeypatch.setattr(ami.session.run, "run", lambda config, folder, console: seen.append((config, folder)))
    return seen


# Arguments and help ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"ami {command}")


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = ("from ami.cli.main import main; import sys; main(['run', '--help']); "
            "print([m for m in ('torch', 'ray', 'mlflow', 'hydra', 'rich') if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


@pytest.mark.parametrize(("words", "sentence"), [
    (["grph"], "ami: unknown command 'grph': did you mean 'graph'? `ami --help` explains them."),
    (["run", "--mutirun"], "ami: unknown flag '--mutirun': did you mean '--multirun'?"),
    (["run", "--seed", "1"], "ami: unknown flag '--seed': `ami run --help` lists them. "
                              "Fix for a setting: no dashes, seed=…"),
    (["run", "--config-dir", "nowhere_at_all"], "expected a folder that holds groups of options"),
    (["run", "--config-dir"], "ami: --config-dir has no value: expected `--config-dir DIR`. `ami run --help` explains it."),
    (["run", "--allow"], "ami: --allow has no value: expected `--allow PACKAGE.`. `ami run --help` explains it."),
    (["trace"], "ami: `ami trace` lacks an action: expected one of show, diff, sync, export. Fix: ami trace show RUN"),
    (["graph", "--format", "sgv"], "ami: unknown format 'sgv': did you mean 'svg'?"),
    (["list", "module"], "ami: unknown section 'module': did you mean 'modules'?"),
    (["trace", "shwo", "somewhere"], "ami: unknown action of `ami trace` 'shwo': did you mean 'show'?"),
    (["trace", "sync", "somewhere", "--every", "0"], "ami: --every is 0: expected 1 or more"),
    (["trace", "sync", "somewhere"], "ami: somewhere holds no run: expected a folder with header.json"),
    (["trace", "diff", "somewhere"], "ami: `ami trace diff` lacks OTHER, the folder of the other run: expected `ami trace "
                                     "diff RUN OTHER`. Fix: ami trace diff runs/2026-01-31_12-00-00 runs/2026-01-31_12-"),
    (["ui", "--port", "0"], "ami: --port is 0: expected 1 to 65535"),
    (["ui", "--store", "nowhere_at_all"], "ami: nowhere_at_all holds no runs yet. Fix: `ami run`, or --store <folder>"),
])
def test_wrong_arguments_are_refused(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_unwritable_drawing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"ami: --out is '{tmp_path}', which is a folder: expected a file to write\n"


def test_written_files_are_private(tmp_path: Path) -> None:
    assert main(["graph", "--format", "mermaid", "--out", str(tmp_path / "loop.mmd")]) == 0
    assert (tmp_path / "loop.mmd").stat().st_mode & 0o077 == 0


def test_a_shadowed_package_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "worlds").mkdir()
    (tmp_path / "worlds" / "__init__.py").touch()
    home = str(Path(ami.session.run.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", "import sys; from ami.cli.main import main; sys.exit(main(['list']))"],
                          cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{home}"},
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"ami: the package 'worlds' is found at {tmp_path / 'worlds'}: expected ")


# ami graph ------------------------------------------------------------------------------------------------------------


MISTAKES: list[tuple[str, list[str], str]] = [
    ("unknown node", ["graph.actor.plan=planer.plan"],
     "actor.plan is wired from the unknown node 'planer': did you mean 'planner'?"),
    ("unknown port", ["graph.actor.plan=planner.plam"],
     "actor.plan is wired from 'planner.plam', but planner has no output 'plam': did you mean 'plan'?"),
    ("unknown key", ["planner.horizn=6"],
     "planner has no setting 'horizn': did you mean 'horizon'? (modules.planner.cem.CEM)"),
    ("unknown module", ["planner=cme"], "unknown planner 'cme': did you mean 'cem'?"),
    ("wrong kind", ["graph.planner.goal=world_model.state"],
     "world_model.state → planner.goal carries the kind 'state': planner.goal expects the kind 'goal'. "
     "Fix: wire it from goal.goal"),
    ("wrong shape", ["goal=vector"], "wrong shape along the call cost ⇄ world_model: cost has Q = (32, 32, 3), not (64,). "
                                     "Fix: a setting that makes both ends agree, or another module or wire"),
    ("loop", ["graph.configurator.energy=cost.energy"],
     "configurator → cost → configurator wait for each other within one tick. Fix: put `@-1` on one of these wires: "
     "configurator.weights → cost.weights, cost.energy → configurator.energy"),
    ("unwired input", ["~graph.planner.state"],
     "planner.state is not wired and planner needs it (state float32 (B, *S)). Fix: graph.planner.state=world_model.state"),
    ("Mode-2 without calls", ["~graph.planner.calls"],
     "planner needs the call 'world_model' (imagine), which is not bound: Mode-2 cannot search without it. "
     "Fix: graph.planner.calls.world_model=<node>"),
    ("negative horizon", ["planner.horizon=-3"], "planner: CEM.horizon is -3: expected 1 or more"),
]


@pytest.mark.parametrize(("overrides", "sentence"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_a_mistake_in_the_wiring_is_refused_with_its_fix(overrides: list[str], sentence: str,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", *overrides]) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err and "Traceback" not in captured.err and captured.out == ""


def test_all_mistakes_are_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "graph.actor.plan=planer.plan", "graph.actor.pln=planner.plan", "planner.horizon=-3"]) == 2
    assert capsys.readouterr().err.startswith("ami: the graph was refused, 3 mistakes:\n")


def test_a_missing_checkpoint_is_refused(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "checkpoint=nowhere.safetensors"]) == 2
    err = capsys.readouterr().err
    assert "nowhere.safetensors" in err and "Traceback" not in err


def test_a_checkpoint_of_another_graph_is_refused(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = to_graph(compose())
    node = {**graph.specs["world_model"].resolved(), "sizes": graph.dims["world_model"], "hidden": 7}
    checkpoint.save(Path("other.safetensors"), {}, {"nodes": {"world_model": node}, "key": "", "seconds": 0.0, "probes": {},
                                                    "rows": []})
    assert main(["train", "checkpoint=other.safetensors"]) == 2
    assert "was trained with another graph: world_model.hidden was 7 and is now " in capsys.readouterr().err


def test_a_valid_wiring_is_drawn_on_stdout_and_warnings_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "+graph.planner.calls.memory=memory"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("firing order: world → perception → ")
    assert captured.err == ("warning: planner.calls.memory has no effect: modules.planner.cem.CEM calls world_model, cost, "
                            "policy\n")


def test_overrides_and_flags_may_be_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "planner=none", "--format", "svg", "~graph.planner.calls", "--out", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").read_text().startswith("<svg ")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'a.svg'}\n"


def test_a_users_class_needs_the_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own_planners.py").write_text("from modules.planner.cem import CEM\n\n\nclass Mine(CEM):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["graph", "planner._target_=own_planners.Mine"]) == 2
    assert "`--allow own_planners.`" in capsys.readouterr().err
    assert main(["graph", "planner._target_=own_planners.Mine", "--allow", "own_planners."]) == 0
    assert "planner: Mine" in capsys.readouterr().out


# ami run --------------------------------------------------------------------------------------------------------------


def test_run_hands_over_config_and_folder(jobs: list[tuple[Config, Path]]) -> None:
    assert main(["run", "planner.horizon=2", "seed=5", "hydra.run.dir=here"]) == 0
    ((config, folder),) = jobs
    assert (config.settings.seed, config.settings.planner.horizon) == (5, 2)
    assert folder == Path("here").resolve()


def test_run_makes_a_folder_in_the_store(jobs: list[tuple[Config, Path]]) -> None:
    assert main(["run", "store=mine"]) == 0
    assert jobs[0][1].parent == Path("mine").resolve()


@pytest.mark.parametrize("key", ["store", "hydra.run.dir"])
def test_a_file_is_no_folder(key: str, jobs: list[tuple[Config, Path]], capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").touch()
    assert main(["run", f"{key}=taken/x"]) == 2
    assert capsys.readouterr().err == (f"ami: {key} is 'taken/x', but '{Path('taken').resolve()}' is a file: "
                                       "expected a folder to write in\n")
    assert jobs == []


def test_multirun_runs_every_combination_in_its_own_folder(jobs: list[tuple[Config, Path]]) -> None:
    assert main(["run", "--multirun", "planner.horizon=2,3", "seed=0,1", "hydra.sweep.dir=sweep"]) == 0
    assert [(c.settings.planner.horizon, c.settings.seed, f.name) for c, f in jobs] == [
        (2, 0, "0"), (2, 1, "1"), (3, 0, "2"), (3, 1, "3")]


def test_multirun_refuses_a_mistake_before_the_first_job_starts(jobs: list[tuple[Config, Path]],
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--multirun", "planner.horizon=2,-3"]) == 2
    assert "CEM.horizon is -3: expected 1 or more" in capsys.readouterr().err
    assert jobs == [] and not Path("runs").exists()


def failing(jobs: list[tuple[Config, Path]], *horizons: int) -> Callable[..., None]:
    """Return a stand-in for `run` that writes a file in its folder and fails for these horizons."""
    def run(config: Config, folder: Path, console: object) -> None:
        jobs.append((config, folder))
        (folder / "header.json").touch()
        if config.settings.planner.horizon in horizons:
            raise SettingError("no such world") if config.settings.planner.horizon < 4 else RuntimeError("out of luck")

    return run


def test_multirun_goes_on_past_failed_jobs_and_resumes(jobs: list[tuple[Config, Path]], monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--multirun", "planner.horizon=2,3,4", "hydra.sweep.dir=sweep"]
    monkeypatch.setattr(ami.session.run, "run", failing(jobs, 3, 4))
    assert main(words) == 2
    out = capsys.readouterr().out
    assert [folder.name for _, folder in jobs] == ["0", "1", "2"]
    assert re.findall(r"^ *[012] +planner.horizon=\d +(\w+)", out, re.MULTILINE) == ["finished", "failed", "failed"]
    assert "job 1 failed: no such world\n" in out
    assert f"job 2 failed: RuntimeError: out of luck (see {Path('sweep').resolve()}/2/error.txt)\n" in out
    assert out.endswith("Finished jobs are kept. To run the others: "
                        "ami run --multirun planner.horizon=2,3,4 hydra.sweep.dir=sweep\n")
    assert "out of luck" in Path("sweep/2/error.txt").read_text()
    jobs.clear()
    monkeypatch.setattr(ami.session.run, "run", failing(jobs))
    assert main(words) == 0
    assert [folder.name for _, folder in jobs] == ["1", "2"]
    assert re.findall(r"^ *[012] +planner.horizon=\d +(\w+( earlier)?)", capsys.readouterr().out, re.MULTILINE) == [
        ("finished earlier", " earlier"), ("finished", ""), ("finished", "")]
    assert Path("sweep/1_unfinished_1/header.json").exists()


def test_a_stopped_multirun_reports_its_jobs(jobs: list[tuple[Config, Path]], monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    def stop(config: Config, folder: Path, console: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ami.session.train, "train", stop)
    assert main(["train", "--multirun", "seed=2,3", "hydra.sweep.dir=other"]) == 130
    captured = capsys.readouterr()
    assert re.findall(r"(seed=\d) +(\w+(?: \w+)?)", captured.out) == [("seed=2", "stopped"), ("seed=3", "not started")]
    assert captured.err.startswith("ami: stopped by Ctrl-C")


def test_a_sweep_folder_with_another_finished_job_is_refused(jobs: list[tuple[Config, Path]],
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--multirun", "seed=0,1", "hydra.sweep.dir=sweep"]) == 0
    assert main(["run", "--multirun", "seed=1,2", "hydra.sweep.dir=sweep"]) == 2
    assert capsys.readouterr().err == ("ami: 'sweep/0' holds the finished job 'seed=0' with other settings. "
                                       "Fix: another hydra.sweep.dir, or delete that folder\n")
    Path("sweep/0/job.json").write_text("[]")
    assert main(["run", "--multirun", "seed=0,1", "hydra.sweep.dir=sweep"]) == 2
    assert "sweep/0/job.json is not what a multirun writes: " in capsys.readouterr().err


def test_a_sweep_without_multirun_is_refused(capsys: pytest.CaptureFixture[str], in_folder: Path) -> None:
    assert main(["run", "planner.horizon=2,3"]) == 2
    assert "asks for several runs: expected one value. Fix: `--multirun`" in capsys.readouterr().err


def test_cfg_prints_the_configuration_and_runs_nothing(jobs: list[tuple[Config, Path]],
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--cfg", "job", "seed=7"]) == 0
    assert capsys.readouterr().out.startswith("seed: 7\n") and jobs == []


def test_a_users_options_are_found_by_run_and_by_its_baselines(jobs: list[tuple[Config, Path]]) -> None:
    Path("mine/planner").mkdir(parents=True)
    Path("mine/planner/short.yaml").write_text("# Short.\n_target_: modules.planner.cem.CEM\nhorizon: 2\n")
    assert main(["run", "--config-dir", "mine", "planner=short"]) == 0
    config = jobs[0][0]
    assert config.settings.planner.horizon == 2
    assert ami.config.compose.compose_baseline(config, "oracle").settings.planner.horizon == 2


def test_an_error_of_the_job_is_one_message_and_no_traceback(monkeypatch: pytest.MonkeyPatch, in_folder: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: Any) -> None:
        raise StartError("Ray did not start. Fix: runtime=local")

    monkeypatch.setattr(ami.session.run, "run", fail)
    assert main(["run"]) == 2
    assert capsys.readouterr().err == "ami: Ray did not start. Fix: runtime=local\n"
    assert not Path("runs").exists()


def test_ctrl_c_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, in_folder: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ami.session.run, "run", stop)
    assert main(["run"]) == 130
    assert capsys.readouterr().err == "ami: stopped by Ctrl-C; what was written until now is whole and stays\n"


def test_an_error_raised_while_handling_ctrl_c_is_ctrl_c(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def clean_up(*_: Any, **__: Any) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise SettingError("the configuration does not compose: local variable 'f' is not there")

    monkeypatch.setattr("ami.replay.report.replay", clean_up)
    assert main(["replay", "runs/it"]) == 130
    assert capsys.readouterr().err.startswith("ami: stopped by Ctrl-C")


def test_swallowed_ctrl_c_still_ends_the_command(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def half_imported(words: list[str]) -> int:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("module 'numpy' has no attribute 'matrix'")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("ami.cli.main._dispatch", half_imported)
    assert main(["list"]) == 130 and signal.getsignal(signal.SIGINT) is before
    assert capsys.readouterr().err == "ami: stopped by Ctrl-C; what was written until now is whole and stays\n"


def test_train_writes_the_agent_and_its_figures(monkeypatch: pytest.MonkeyPatch, in_folder: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(ami.session.train, "learn", lambda config, console, monitor: ami.session.train.Trained())
    assert main(["train"]) == 0
    assert capsys.readouterr().out.startswith("nothing to learn\n")
    (folder,) = (path for path in Path("runs").iterdir() if path.is_dir() and path.name != "mlartifacts")
    assert {path.name for path in folder.iterdir()} == {"header.json", "summary.json", "mlflow.json", "agent.safetensors"}


# ami list -------------------------------------------------------------------------------------------------------------


def test_list_has_a_line_for_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "  cem *                  Cross-entropy method" in out
    for line in out.splitlines():
        assert not line.startswith("  ") or len(line.split(maxsplit=1)[1]) > 10


def test_list_shows_one_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "worlds"]) == 0
    assert capsys.readouterr().out.startswith("world\n  data                   A file of episodes in place")

"""`ami run` and `ami train`: compose a configuration and let Hydra create the folder of each job."""

from __future__ import annotations

import contextlib
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ami.cli.arguments import searching
from ami.config.compose import Config, compose, to_graph
from ami.config.overrides import SEARCH_PATH, for_hydra, refuse_two_values
from ami.config.sweep import jobs
from ami.errors import require, shown
from ami.storage.files import check_folder
from ami.tracking.mlflow_database import check_database

SWEEP_DIR = "hydra.sweep.dir="
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir")


def launch(command: str, given: Namespace, words: Sequence[str]) -> int:
    """Run one job, or with `--multirun` one per combination, and return the exit code.

    Args:
        command: "run" or "train".
        given: its parsed arguments.
        words: its arguments as typed, for the command that resumes a multirun.

    Raises:
        AmiError: a job was refused before it started, or, without `--multirun`, failed.
    """
    from ami.envs.pool import pooled_environments  # brings gymnasium

    with pooled_environments():
        return _launch(command, given, words)


def resume(given: Namespace) -> int:
    """Continue a stopped run, `ami run --resume FOLDER`.

    Raises:
        SettingError: other arguments than --allow were given.
        AmiError: the run cannot be resumed, or failed.
    """
    others = {"--from": given.saved is not None, "--config-dir": bool(given.config_dir)}
    asked = [*_hydra_flags(given), *(name for name, is_given in others.items() if is_given), *given.overrides]
    require(not asked, f"--resume excludes {', '.join(asked)}: the run keeps its settings. Fix: leave it out")
    from ami.session.resume import resume
    from ami.terminal.console import Console

    resume(given.resume, given.allow, Console())
    return 0


def _launch(command: str, given: Namespace, words: Sequence[str]) -> int:
    flags, allow = _hydra_flags(given), given.allow
    refuse_two_values(given.overrides)
    overrides = [*given.overrides, *searching(given.config_dir)]
    if given.saved is not None:
        from ami.saved.export import SavedAgent

        overrides = SavedAgent.open(given.saved).run_overrides(overrides)
    if "--hydra-help" in flags or "--info" in flags:
        return _hydra(command, flags, overrides, lambda settings: None)
    several = "--multirun" in flags
    folders = list(_asked_folders(overrides))
    # refuse before the first job starts, and before Hydra creates its folder
    configs = [_asked(job, allow) for job in (jobs(overrides) if several else [overrides])]
    for config in configs:
        to_graph(config)
        check_folder(Path(config.settings.store), "store")
        check_database(Path(config.settings.store))
    if "--cfg" in flags:
        if flags["--cfg"] != "job":
            return _hydra(command, flags, overrides, lambda settings: None)
        print(OmegaConf.to_yaml(configs[0].settings, resolve="--resolve" in flags), end="")
        return 0
    for name, folder in folders:
        check_folder(folder, name)
    if several:
        again = [word for word in words if word not in ("--multirun", "-m")]
        return _many(command, overrides, configs, allow, again)
    failed: list[Exception] = []
    store = Path(configs[0].settings.store)
    is_new = not store.exists()

    def task(settings: DictConfig) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            _do(command, configs[0], folder)
        except Exception as error:  # Hydra would print a traceback of it
            failed.append(error)
            raise SystemExit(1) from error
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()  # Hydra created both; a refused job leaves them empty
                if is_new:
                    store.rmdir()

    code = _hydra(command, flags, overrides, task)
    if failed:
        raise failed[0]
    return code


def _hydra_flags(given: Namespace) -> dict[str, str]:
    """Return the given flags of Hydra with their values.

    Raises:
        SettingError: two flags exclude each other.
    """
    switches = {"--multirun": given.multirun, "--resolve": given.resolve, "--hydra-help": given.hydra_help}
    flags = {name: "" for name, is_given in switches.items() if is_given}
    flags |= {name: value for name, value in {"--cfg": given.cfg, "--info": given.info}.items() if value is not None}
    kinds = [name for name in flags if name != "--resolve"]
    require(len(kinds) < 2, f"{' and '.join(kinds)} exclude each other: expected one of them")
    require("--resolve" not in flags or "--cfg" in flags, "--resolve has no effect without --cfg. Fix: --cfg job --resolve")
    return flags


def _asked_folders(overrides: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield each folder requested by an override of Hydra, with its setting; Hydra's own defaults are not checked."""
    for text in overrides:
        name, _, given = text.lstrip("+").partition("=")
        if name in FOLDERS and "${" not in given:
            value = given.strip().strip("'\"")
            require(value not in ("", "null") and value[0] not in "[{",
                    f"{name} is {shown(given)}: expected a folder. Fix: leave it out, and a new one in the store is taken")
            yield name, Path(value)


def _asked(overrides: Sequence[str], allow: Sequence[str]) -> Config:
    """Compose a configuration without Hydra's own overrides: a run's folder does not identify the run."""
    config = compose(overrides, allow=allow)
    kept = tuple(text for text in config.overrides
                 if not text.startswith(("hydra.", "hydra/")) or text.startswith(SEARCH_PATH))
    return replace(config, overrides=kept)


def _many(command: str, overrides: Sequence[str], configs: Sequence[Config], allow: Sequence[str],
          words: Sequence[str]) -> int:
    """Run every job of a multirun, also after a failed one."""
    from ami.cli.multirun import Multirun

    folder = next((text.removeprefix(SWEEP_DIR) for text in overrides if text.startswith(SWEEP_DIR)), "")
    sweep = folder or str(Path(configs[0].settings.store) / f"sweep_{datetime.now():%Y-%m-%d_%H-%M-%S}")
    work = Multirun(command, Path(sweep))
    work.plan(configs, overrides)

    def task(settings: DictConfig) -> None:
        job = HydraConfig.get()
        asked = (*job.overrides.task, *(text for text in overrides if text.startswith(SEARCH_PATH)))
        config = compose(asked, allow=allow)
        work.one(int(job.job.num), config, Path(job.runtime.output_dir),
                 lambda folder: _do(command, config, folder))

    where = [] if folder else [f"{SWEEP_DIR}'{sweep}'"]
    try:
        _hydra(command, {"--multirun": ""}, [*overrides, *where], task)
    finally:
        work.report(shlex.join(["ami", command, "--multirun", *(word for word in words if not word.startswith(SWEEP_DIR))]))
    return 0 if work.is_finished else 2


def _hydra(command: str, flags: Mapping[str, str], overrides: Sequence[str], task: Callable[[DictConfig], None]) -> int:
    words = [word for flag, value in flags.items() for word in ([flag, value] if value else [flag])]
    with _argv([f"ami {command}", *words, *for_hydra(overrides)]):
        try:
            hydra.main(version_base="1.3", config_path="pkg://configs", config_name="ami")(task)()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 1
    return 0


def _do(command: str, config: Config, folder: Path) -> None:
    from ami.session import run, train
    from ami.terminal.console import Console

    (run.run if command == "run" else train.train)(config, folder, Console())


@contextlib.contextmanager
def _argv(words: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, words
    try:
        yield
    finally:
        sys.argv = before

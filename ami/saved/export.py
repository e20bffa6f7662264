"""Saved agents: open one by its run, folder, file or name, and export it for another machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ami.config.options import quoted
from ami.config.overrides import override_key, own_options
from ami.config.renamed import renamed_overrides, renamed_settings
from ami.config.trust import ALLOWED
from ami.errors import CheckpointError, SettingError
from ami.learning import checkpoint
from ami.runtime.held_modules import Weights
from ami.saved.agent_file import AGENT_FILE, Learnt, read_weights
from ami.storage.files import check_folder, write_atomically, write_json
from ami.storage.store import default_store, find

DESCRIPTION, CONFIG, OPTIONS = "agent.json", "config.yaml", "config"
FORMAT = 1
NOT_CARRIED = ("checkpoint", "store", "hydra")
"""Overrides that belong to the machine of the run, not to the agent: file locations."""


@dataclass(frozen=True)
class SavedAgent:
    """An agent in a file, with everything needed to run it.

    Attributes:
        file: `agent.safetensors`, of a run, an export or the trained agents.
        config: its resolved configuration, plain values.
        overrides: the overrides its configuration was composed from.
        versions: the versions of the packages that made it.
    """

    file: Path
    config: dict[str, Any]
    overrides: tuple[str, ...]
    versions: dict[str, str]

    @classmethod
    def open(cls, where: str | Path) -> SavedAgent:
        """Open an agent.

        Args:
            where: a run's folder, an exported folder, an agent's file, or the name of a run in the store.

        Raises:
            CheckpointError: it does not exist, its file is broken, or it was written without its configuration.
        """
        found = find(where, default_store())
        file = found / AGENT_FILE if found.is_dir() else found
        if not file.is_file():
            raise CheckpointError(f"no agent at '{where}': expected the folder of a run or an export, which holds "
                                  f"{AGENT_FILE}, that file, or the name of a run in the store. Fix: name another one, or "
                                  "make one with `ami run`")
        notes = checkpoint.load(file)[1]
        if not isinstance(notes.get("config"), dict):
            raise CheckpointError(f"'{file}' holds weights without the configuration of their agent: an older ami wrote it. "
                                  "Fix: run it once, `ami run checkpoint=FILE …`, whose folder holds both")
        checkpoint.FILE.check(file, notes, Learnt)
        overrides = renamed_overrides(notes.get("overrides", ()), notes["config"])
        return cls(file, renamed_settings(notes["config"]), tuple(overrides), dict(notes.get("versions", {})))

    @property
    def folder(self) -> Path:
        """The folder of its file."""
        return self.file.parent

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.resolve().name

    def weights(self) -> Weights:
        """Return state dicts by node; nodes without trained weights have none."""
        return read_weights(self.file)

    def packages(self) -> list[str]:
        """Return the packages of its classes that are not part of ami or its extras, such as the user's own."""
        targets = sorted(set(_targets(self.config)))
        return sorted({name.split(".")[0] for name in targets if not name.startswith(ALLOWED)})

    def run_overrides(self, more: Sequence[str] = ()) -> list[str]:
        """Return the overrides that compose this agent's run here: its own, its weights, and `more`, which win.

        Raises:
            SettingError: an override of `more` cannot be read.
        """
        given = {override_key(text) for text in more}
        own = [text for text in self.overrides
               if override_key(text).split(".")[0] not in NOT_CARRIED and override_key(text) not in given]
        if (self.folder / OPTIONS).is_dir():
            own.append(f"hydra.searchpath=[file://{(self.folder / OPTIONS).resolve()}]")
        elif searched := [text for text in self.overrides if override_key(text) == "hydra.searchpath"]:
            own += searched
        if any(self.weights()) and "checkpoint" not in given:
            own.append(f"checkpoint={quoted(str(self.file.resolve()))}")
        return [*own, *more]


def export(where: str | Path, out: Path) -> Path:
    """Write an agent to a folder that runs on another machine: weights, configuration, and the user's own options.

    Args:
        where: as for `SavedAgent.open`.
        out: a new folder; its name is the agent's name.

    Raises:
        CheckpointError: there is no such agent.
        SettingError: `out` exists, or cannot be written.
    """
    saved, out = SavedAgent.open(where), Path(out)
    if out.exists():
        raise SettingError(f"'{out}' exists already: expected a new folder. Fix: another name, or delete it")
    check_folder(out, "the export's folder")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        shutil.copyfile(saved.file, partial / AGENT_FILE)
        for name, text in own_options(saved.overrides).items():
            write_atomically(partial / OPTIONS / name, text)
        write_atomically(partial / CONFIG, yaml.safe_dump(saved.config, sort_keys=False))
        write_json(partial / DESCRIPTION, {"format": FORMAT, "name": out.resolve().name, "made_by": saved.versions,
                                           "overrides": list(saved.overrides), "packages": saved.packages()})
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _targets(value: Any) -> Iterator[str]:
    """Yield every class that a configuration names: targets, a world's entry point, wrappers and package of its id."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        if isinstance(value.get("entry_point"), str):
            yield value["entry_point"].replace(":", ".")
        if ":" in str(value.get("id")):
            yield str(value["id"]).replace(":", ".")
        yield from (wrapper for wrapper in value.get("wrappers") or () if isinstance(wrapper, str))
        for inner in value.values():
            yield from _targets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _targets(inner)

"""Configuration: from `configs/` and overrides to a graph.

The options in `configs/` name classes and leave out constructor defaults, so Hydra does not know the settings of a module.
An override of a setting may therefore add it (`planner.horizon=6` becomes `++planner.horizon=6`). The composed settings are
then checked against the constructors, and unknown settings are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from omegaconf.resolvers import oc
from yaml import YAMLError

from ami.config.instantiate import specs_of, validate
from ami.config.options import NAME, PACKAGE, as_overrides, groups, option_names, read_option, replacements
from ami.config.overrides import check_override, first_name, for_hydra, forced, option_folders, parse_overrides
from ami.config.settings import TOP_LEVEL
from ami.config.stage_options import insert_options, without_settings
from ami.config.trust import check_shadowing
from ami.errors import AmiError, SettingError, TrustError, unknown_name
from ami.graph.spec import ModuleSpec
from ami.storage.store import default_store

if TYPE_CHECKING:
    from ami.graph.graph import Graph

DEFAULT_GRAPH = "blueprint"
PRESETS = ("agent", "experiment")
_OF_THE_AGENT = (*PRESETS, "checkpoint")
OmegaConf.register_new_resolver("ami_store", default_store, replace=True)


@dataclass(frozen=True)
class Config:
    """A composed configuration and its overrides.

    Attributes:
        settings: all settings, read as `config.settings.evaluation.pairs`.
        overrides: the overrides it was composed from.
        allow: more prefixes that a `_target_` may begin with.
        fitted: the overrides added by `ami.config.fitting`.
    """

    settings: DictConfig
    overrides: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return plain nested values, interpolated."""
        try:
            with _no_environment():
                values: Any = OmegaConf.to_container(self.settings, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            where = f"{error.full_key}: " if error.full_key else ""
            raise SettingError(f"the configuration does not resolve: {where}{_first_line(error)}") from None
        return {str(key): value for key, value in values.items() if key != "hydra"}

    def seeded(self, seed: int) -> Config:
        """Return the same configuration with another seed."""
        settings = self.settings.copy()
        settings.seed = seed
        return Config(settings, (*self.overrides, f"seed={seed}"), self.allow, self.fitted)

    def with_threads(self, threads: int) -> Config:
        """Return the same configuration with another number of threads for training."""
        settings = self.settings.copy()
        settings.learning.threads = threads
        return Config(settings, (*self.overrides, f"learning.threads={threads}"), self.allow, self.fitted)

    def stored_in(self, store: str) -> Config:
        """Return the same configuration with another store."""
        settings = self.settings.copy()
        settings.store = store
        return Config(settings, self.overrides, self.allow, self.fitted)

    @cached_property
    def graph(self) -> Graph:
        """Its graph, made once; raises as `to_graph` does."""
        from ami.graph.graph import Graph

        return Graph(to_specs(self), self.plain()["graph"])

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the graph: its drafts hold an open world."""
        return {name: value for name, value in vars(self).items() if name not in ("graph", "baselines")}

    @cached_property
    def baselines(self) -> dict[str, Config]:
        """The baselines composed so far, by agent; see `compose_baseline`."""
        return {}

    def remarks(self) -> list[str]:
        """Return a line about the overrides added by `ami.config.fitting`, if any."""
        return [f"fitted to the world: {' '.join(self.fitted)}; your own overrides are kept"] if self.fitted else []

    def validate(self) -> None:
        """Check it against the modules it names; raises as `compose` does."""
        validate(self.plain(), groups(), self.allow)


@contextmanager
def _no_environment() -> Iterator[None]:
    """Refuse `${oc.env:…}`: settings are written to headers, MLflow and checkpoints, and a variable may be secret."""
    def refuse(name: str, default: object = None) -> None:
        raise SettingError(f"a setting is ${{oc.env:{name}}}: settings are saved with every run, and the environment may "
                           f'hold secrets. Fix: write the value, or let the shell insert it, "key=${name}"')

    OmegaConf.register_new_resolver("oc.env", refuse, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def compose(overrides: Sequence[str] = (), *, allow: Sequence[str] = ()) -> Config:
    """Compose the configuration and check it against the modules it names.

    If `overrides` choose a world, the groups that they leave open are fitted to it; see `ami.config.fitting`.

    Args:
        overrides: as on the command line: `["planner=cem", "planner.horizon=6", "~graph.memory"]`.
        allow: prefixes of your own packages that `_target_` may name; see `ami.config.trust`.

    Raises:
        UnknownName: a group, an option, a node or a class does not exist.
        SettingError: a setting is unknown or invalid; names all of them.
        TrustError: a `_target_` is not on the allow-list.
    """
    config = _compose(overrides, allow)
    parsed = parse_overrides(forced(overrides))
    if not any(override.key_or_group == "world" for override in parsed):
        return config
    from ami.config.fitting import fitting  # brings torch

    fitted = fitting(config.plain(), _chosen(config.overrides, parsed), {one.key_or_group for one in parsed}, config.allow)
    return replace(_compose([*overrides, *fitted], allow), fitted=tuple(fitted)) if fitted else config


def _chosen(overrides: Sequence[str], parsed: Sequence[Override]) -> set[str]:
    """Return the groups chosen by overrides, directly or through an agent or experiment."""
    chosen = {override.key_or_group for override in parsed}
    folders = option_folders(overrides)
    for override in parsed:
        value: Any = override.value()
        for name in value if isinstance(value, list) else [value]:
            if override.key_or_group in PRESETS and name:
                chosen |= {group for group, _ in replacements(read_option(folders, override.key_or_group, str(name)))}
    return chosen


def _compose(overrides: Sequence[str], allow: Sequence[str]) -> Config:
    check_shadowing()
    if isinstance(overrides, str):
        raise SettingError(f"compose was given the text {overrides!r}: expected a list of overrides, [{overrides!r}]")
    allow = [allow] if isinstance(allow, str) else allow  # one name, not its letters
    given, of_options = without_settings(for_hydra(overrides))
    for override in parse_overrides(given):
        check_override(override)
    try:
        settings = _composed(given)
        _check_hydra(settings, tuple(text for text in given if text.lstrip("+~").startswith("hydra")))
        _put_chosen_over_presets(settings, given, option_folders(overrides))
        insert_options(settings, option_folders(overrides), of_options)
    except MissingConfigException as error:
        group = next((name for name in (*groups(), "hydra") if str(error.missing_cfg_file).startswith(f"{name}/")), "")
        option = str(error.missing_cfg_file).removeprefix(f"{group}/")
        known = error.options or option_names(option_folders(overrides), group)  # Hydra lists none for several at once
        raise unknown_name(group or "configuration", option, known) from None
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise SettingError(f"the configuration does not compose: {_first_line(error)}") from None
    except AmiError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, AssertionError) as error:  # Hydra on odd `defaults`
        raise SettingError(f"the configuration does not compose: {_first_line(error)}. "
                           "Fix: look at the `defaults` and `@package` of your own options") from None
    except RecursionError:
        raise SettingError("the configuration does not compose: an option includes itself, or values are nested too deep. "
                           "Fix: look at the `defaults` of your own options") from None
    with open_dict(settings):
        del settings["hydra"]
    config = Config(settings, tuple(overrides), tuple(allow))
    config.validate()
    return config


def is_learner(agent: str) -> bool:
    """Return whether an agent is named by overrides of the agent that learns, "world.kind=life planner.horizon=3", and not
    by its name in `configs/agent`."""
    return "=" in agent


def compose_baseline(config: Config, agent: str) -> Config:
    """Compose the configuration of a baseline in the user's world; or, if `agent` is overrides, the user's with them.

    Overrides of the groups in the defaults list of the preset `agent` are dropped, and so are those of the groups and nodes
    that only the user's own preset chose, such as its world model: the baseline does not have them. Every other override
    stays, those of an experiment included. For example, the oracle keeps the user's planner, and every baseline keeps the
    user's world. Wires, calls and nodes that need a replaced module are removed; see `ami.config.baselines`.

    Raises:
        UnknownName: there is no such agent; further errors are those of `compose`.
    """
    if agent not in config.baselines:
        config.baselines[agent] = compose([*config.overrides, *agent.split()], allow=config.allow) if is_learner(
            agent) else _composed_baseline(config, agent)
    return config.baselines[agent]


def _composed_baseline(config: Config, agent: str) -> Config:
    folders = option_folders(config.overrides)
    replaced = {group for group, _ in replacements(read_option(folders, "agent", agent))}
    given: list[str] = []
    gone = {*replaced, *_OF_THE_AGENT}
    for text, override in zip(config.overrides, parse_overrides(forced(config.overrides)), strict=True):
        if override.key_or_group == "experiment":
            value: Any = override.value()
            names = value if isinstance(value, list) else [value] if value else []
            experiments = [read_option(folders, "experiment", str(name)) for name in names]
            # the user's own overrides come later and win over the experiments; among these the last one wins
            chosen = [f"{group}={choice}" for one in experiments for group, choice in replacements(one)]
            given = [*chosen, *(text for one in experiments for text in as_overrides(one)), *given]
        elif override.key_or_group == "agent" and override.value():
            own = read_option(folders, "agent", str(override.value()))
            given = [*(f"world={choice}" for group, choice in replacements(own) if group == "world"), *given]
            gone |= {*(group for group, _ in replacements(own)), *(set(own) - set(groups()))} - {"world"}
        else:
            given.append(text)
    kept = [text for text in given if first_name(text) not in gone]
    composed = compose([*kept, f"agent={agent}"], allow=config.allow)
    from ami.config.baselines import rewire  # brings torch

    default = read_option(folders, "graph", DEFAULT_GRAPH)
    composed.settings.graph = rewire(composed.plain()["graph"], default, to_specs(composed), replaced, groups())
    return composed


def to_specs(config: Config) -> dict[str, ModuleSpec]:
    """Return every node's class and settings; raises as `ami.config.instantiate.specs_of` does."""
    return specs_of(config.plain(), config.allow)


def to_graph(config: Config) -> Graph:
    """Return the graph of a configuration, made once.

    Raises:
        GraphError: the wiring is invalid; further errors are those of `to_specs`.
    """
    return config.graph


def _composed(overrides: Sequence[str]) -> DictConfig:
    """Compose with Hydra. Hydra has one global instance per process; an instance already in use is restored afterwards."""
    theirs, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with hydra.initialize_config_module(PACKAGE, version_base="1.3"):
            return hydra.compose(NAME, overrides=list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = theirs  # leaving the block above made a new instance


def _put_chosen_over_presets(settings: DictConfig, given: Sequence[str], folders: Sequence[Any]) -> None:
    """Let a module chosen on the command line win over one that an agent or experiment names by its `_target_`.

    In Hydra the choice wins over a preset's defaults list, but a preset's own `planner: {_target_: …}` would silently
    replace it.
    """
    parsed = parse_overrides(given)
    chosen = {o.key_or_group: o.value() for o in parsed if o.type is OverrideType.CHANGE and o.key_or_group in groups()}
    nodes = [group for group, option in chosen.items() if group not in (*PRESETS, *TOP_LEVEL, "graph")
             and OmegaConf.select(settings, f"{group}._target_") != read_option(folders, group, str(option)).get("_target_")]
    if not nodes or not any(preset in chosen for preset in PRESETS):
        return
    plain = _composed([text for text, o in zip(given, parsed, strict=True) if o.key_or_group not in PRESETS])
    with open_dict(settings):
        for node in nodes:
            if OmegaConf.select(settings, f"{node}._target_") != OmegaConf.select(plain, f"{node}._target_"):
                settings[node] = plain[node]


def _check_hydra(settings: DictConfig, given: tuple[str, ...]) -> None:
    """Refuse options that set Hydra's callbacks, launcher or logging: their code would bypass the allow-list."""
    found, own = _hydra_settings(settings), _own_hydra_settings(given)
    changed = sorted(key for key in {*found, *own} if found.get(key) != own.get(key))
    if changed:
        raise TrustError(f"an option sets hydra.{changed[0]}: only the command line may, `hydra.{changed[0]}=…`. "
                         "Fix: remove it from the option")


@lru_cache(maxsize=8)
def _own_hydra_settings(given: tuple[str, ...]) -> dict[str, Any]:
    """Return Hydra's settings with only `configs/ami.yaml` and the user's `hydra.…` overrides."""
    return _hydra_settings(_composed(given))


def _hydra_settings(config: DictConfig) -> dict[str, Any]:
    """Return Hydra's own settings, without its records of each composition."""
    plain: Any = OmegaConf.to_container(config.hydra, resolve=False)
    for key in ("override_dirname", "id", "num", "config_name"):
        plain["job"].pop(key, None)
    return {key: value for key, value in plain.items() if key not in ("runtime", "overrides")}


def _first_line(error: BaseException) -> str:
    """Return the first line of a Hydra, OmegaConf or YAML error, with file and line for broken YAML."""
    cause: Any = error.__cause__ or error
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and not str(cause.full_key).startswith("hydra"):
        return (f"there is no setting '{cause.full_key}'. Fix: a setting that `ami list settings` or `ami list modules` "
                "prints, or +KEY=VALUE in front of one that your own module takes")
    mark = getattr(cause, "problem_mark", None)
    if mark is not None:
        return f"{mark.name}, line {mark.line + 1}: {cause.problem}"
    return str(cause).strip().split("\n")[0]

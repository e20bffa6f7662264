"""Configuration: from `configs/` and overrides to a graph.

The options in `configs/` name classes and leave out constructor defaults, so Hydra does not know the settings of a module.
An override of a setting may therefore add it (`planner.horizon=6` becomes `++planner.horizon=6`). The composed settings are
then checked against the constructors, and unknown settings are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from omegaconf.resolvers import oc
from yaml import YAMLError

from ami.config import option_file
from ami.config.instantiate import specs_of, validate
from ami.config.settings import TOP_LEVEL
from ami.config.trust import check_shadowing
from ami.errors import AmiError, SettingError, TrustError, shown, unknown_name
from ami.graph.spec import ModuleSpec
from ami.storage.store import default_store

if TYPE_CHECKING:
    from ami.graph.graph import Graph

PACKAGE, NAME, DEFAULT_GRAPH = "configs", "ami", "blueprint"
PRESETS, SEARCH_PATH = ("agent", "experiment"), "hydra.searchpath"
_OF_THE_AGENT = (*PRESETS, "checkpoint")
OmegaConf.register_new_resolver("ami_store", default_store, replace=True)
MAX_NAME = 200
_DOTTED = re.compile(r"^(?!hydra\.)[A-Za-z_]\w*\.[^=]*=")


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
    parsed = _parse(forced(overrides))
    if not any(override.key_or_group == "world" for override in parsed):
        return config
    from ami.config.fitting import fitting  # brings torch

    fitted = fitting(config.plain(), _chosen(config.overrides, parsed), {one.key_or_group for one in parsed}, config.allow)
    return replace(_compose([*overrides, *fitted], allow), fitted=tuple(fitted)) if fitted else config


def _chosen(overrides: Sequence[str], parsed: Sequence[Override]) -> set[str]:
    """Return the groups chosen by overrides, directly or through an agent or experiment."""
    chosen = {override.key_or_group for override in parsed}
    folders = _folders(overrides)
    for override in parsed:
        value: Any = override.value()
        for name in value if isinstance(value, list) else [value]:
            if override.key_or_group in PRESETS and name:
                chosen |= {group for group, _ in _replacements(_option(folders, override.key_or_group, str(name)))}
    return chosen


def _compose(overrides: Sequence[str], allow: Sequence[str]) -> Config:
    check_shadowing()
    if isinstance(overrides, str):
        raise SettingError(f"compose was given the text {overrides!r}: expected a list of overrides, [{overrides!r}]")
    allow = [allow] if isinstance(allow, str) else allow  # one name, not its letters
    given = for_hydra(overrides)
    for override in _parse(given):
        _check_override(override)
    try:
        settings = _composed(given)
        _check_hydra(settings, tuple(text for text in given if text.lstrip("+~").startswith("hydra")))
        _put_chosen_over_presets(settings, given)
    except MissingConfigException as error:
        group = next((name for name in (*groups(), "hydra") if str(error.missing_cfg_file).startswith(f"{name}/")), "")
        option = str(error.missing_cfg_file).removeprefix(f"{group}/")
        known = error.options or _option_names(_folders(overrides), group)  # Hydra lists none for several at once
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


def compose_baseline(config: Config, agent: str) -> Config:
    """Compose the configuration of a baseline in the user's world.

    Overrides of the groups in the defaults list of the preset `agent` are dropped; every other override stays, those of an
    experiment included. For example, the oracle keeps the user's planner, and every baseline keeps the user's world. Wires,
    calls and nodes that need a replaced module are removed; see `ami.config.baselines`.

    Raises:
        UnknownName: there is no such agent; further errors are those of `compose`.
    """
    folders = _folders(config.overrides)
    replaced = {group for group, _ in _replacements(_option(folders, "agent", agent))}
    given: list[str] = []
    for text, override in zip(config.overrides, _parse(forced(config.overrides)), strict=True):
        if override.key_or_group == "experiment":
            value: Any = override.value()
            names = value if isinstance(value, list) else [value] if value else []
            experiments = [_option(folders, "experiment", str(name)) for name in names]
            # the user's own overrides come later and win over the experiments; among these the last one wins
            chosen = [f"{group}={choice}" for one in experiments for group, choice in _replacements(one)]
            given = [*chosen, *(text for one in experiments for text in _flat(one)), *given]
        else:
            given.append(text)
    kept = [text for text in given if _head(text) not in (*replaced, *_OF_THE_AGENT)]
    composed = compose([*kept, f"agent={agent}"], allow=config.allow)
    from ami.config.baselines import rewire  # brings torch

    composed.settings.graph = rewire(composed.plain()["graph"], _option(folders, "graph", DEFAULT_GRAPH), to_specs(composed),
                                     replaced, groups())
    return composed


def to_specs(config: Config) -> dict[str, ModuleSpec]:
    """Return every node's class and settings; raises as `ami.config.instantiate.specs_of` does."""
    return specs_of(config.plain(), config.allow)


def to_graph(config: Config) -> Graph:
    """Return the graph of a configuration.

    Raises:
        GraphError: the wiring is invalid; further errors are those of `to_specs`.
    """
    from ami.graph.graph import Graph

    return Graph(to_specs(config), config.plain()["graph"])


def forced(overrides: Sequence[str]) -> list[str]:
    """Let overrides of a setting add it, as options hold no defaults: `planner.horizon=6` → `++planner.horizon=6`."""
    return [f"++{text}" if _DOTTED.match(text) else text for text in overrides]


def for_hydra(overrides: Sequence[str]) -> list[str]:
    """Return the overrides for Hydra: forced, with option folders whose files are checked when they are read."""
    given = forced(overrides)
    folders = [str(place) for place in _search_path(overrides)]
    checked = [f"{option_file.SCHEME}://{place.removeprefix('file://')}" if "://" not in place or place.startswith("file://")
               else place for place in folders]
    rest = [text for text in given if not text.startswith(SEARCH_PATH)]
    return [*rest, f"{SEARCH_PATH}={quoted(checked)}"] if folders else rest


def refuse_two_values(overrides: Sequence[str]) -> None:
    """Refuse a key that is given twice on one command line; in Python the later of two counts.

    Raises:
        SettingError: names both.
    """
    given: dict[str, str] = {}
    for text in overrides:
        key, equals, _ = text.lstrip("+").partition("=")
        if equals and text.removeprefix("++") != given.get(key, text.removeprefix("++")):
            values = [one.partition("=")[2] for one in (given[key], text)]
            fix = f"experiment=[{','.join(values)}] for both" if key == "experiment" else "leave one out"
            raise SettingError(f"'{given[key]} {text}' gives {key} two values: expected one. Fix: {fix}")
        given[key] = text


@lru_cache(maxsize=1)
def groups() -> tuple[str, ...]:
    """Return the groups in `configs/ami.yaml`, in its order."""
    names = [next(iter(entry)) for entry in _load(resources.files(PACKAGE) / f"{NAME}.yaml")["defaults"]
             if isinstance(entry, Mapping)]
    return tuple(name for name in names if not name.startswith("override "))


def _composed(overrides: Sequence[str]) -> DictConfig:
    """Compose with Hydra. Hydra has one global instance per process; an instance already in use is restored afterwards."""
    theirs, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with hydra.initialize_config_module(PACKAGE, version_base="1.3"):
            return hydra.compose(NAME, overrides=list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = theirs  # leaving the block above made a new instance


def _put_chosen_over_presets(settings: DictConfig, given: Sequence[str]) -> None:
    """Let a module chosen on the command line win over one that an agent or experiment names by its `_target_`.

    In Hydra the choice wins over a preset's defaults list, but a preset's own `planner: {_target_: …}` would silently
    replace it.
    """
    parsed = _parse(given)
    chosen = [o.key_or_group for o in parsed if o.type is OverrideType.CHANGE and o.key_or_group in groups()]
    nodes = [group for group in chosen if group not in (*PRESETS, *TOP_LEVEL, "graph")]
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


def _parse(overrides: Sequence[str]) -> list[Override]:
    for text in overrides:
        key, _, value = text.partition("=")
        is_name = key in groups() and not value.startswith(("{", "["))
        if len(key) > MAX_NAME or (is_name and len(value) > MAX_NAME):  # a name becomes a file name
            raise SettingError(f"the override {shown(text.removeprefix('++'))} has too long a name: "
                               f"expected at most {MAX_NAME} characters")
    try:
        return list(OverridesParser.create().parse_overrides(list(overrides)))
    except ValueError as error:  # a number with thousands of digits
        raise SettingError(f"the overrides cannot be read: {_first_line(error)}") from None
    except RecursionError:
        raise SettingError("the overrides cannot be read: a value is nested too deep. Fix: fewer brackets") from None
    except OverrideParseException as error:
        raise SettingError(f"cannot read the override {shown(error.override.removeprefix('++'))}: expected `key=value`, "
                           "`+key=value` or `~key`. Fix for signs such as , : = in a value: quote it, `\"key='a,b'\"`"
                           ) from None


def _check_override(override: Override) -> None:
    """Refuse sweeps, unknown names and choices that are not names, with clearer messages than Hydra's."""
    key, given = override.key_or_group, str(override.input_line).removeprefix("++")
    if override.is_sweep_override():
        raise SettingError(f"{shown(given)} asks for several runs: expected one value. "
                           "Fix: `--multirun`, or, in Python, one call per value")
    if "." in key or key.startswith("hydra") or override.type is not OverrideType.CHANGE:
        return
    if key not in (*groups(), *TOP_LEVEL):
        raise unknown_name("setting or group", key, {*groups(), *TOP_LEVEL})
    if key in groups() and not isinstance(override.value(), (str, list) if key == "experiment" else (str, dict)):
        fix = f"Fix to take it out: `~{key}`"
        if key in ("graph", *TOP_LEVEL):
            fix = "Fix: leave it out" + " or, to learn nothing, learning=none" * (key == "learning")
        raise SettingError(f"{shown(given)} chooses no {key}: expected a name, see `ami list`. {fix}")


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


# Reading options without composing them -----------------------------------------------------------------------------


def _folders(overrides: Sequence[str]) -> list[Any]:
    """Return the folders that hold options: those of `hydra.searchpath`, then ami's own package."""
    return [*(Path(place.removeprefix("file://")) for place in _search_path(overrides)), resources.files(PACKAGE)]


def _search_path(overrides: Sequence[str]) -> list[str]:
    """Return the folders of the user's own options, in the given order."""
    given: list[Any] = [o.value() for o in _parse([text for text in overrides if text.startswith(SEARCH_PATH)])]
    return [str(place) for places in given for place in (places if isinstance(places, list) else [places])]


def own_options(overrides: Sequence[str]) -> dict[str, str]:
    """Return the user's own options: the text of each YAML file, by its path in its folder."""
    *folders, _ = _folders(overrides)  # the last one is ami's
    return {file.relative_to(folder).as_posix(): option_file.read(file)
            for folder in reversed(folders) for file in sorted(folder.rglob("*.yaml"))}


def _option(folders: Sequence[Any], group: str, name: str) -> dict[str, Any]:
    for folder in folders:
        if (folder / group / f"{name}.yaml").is_file():
            return _load(folder / group / f"{name}.yaml")
    raise unknown_name(group, name, _option_names(folders, group))


def _option_names(folders: Sequence[Any], group: str) -> list[str]:
    """Return the names of a group's options in some folders."""
    return [option.name.removesuffix(".yaml") for folder in folders if (folder / group).is_dir()
            for option in (folder / group).iterdir() if option.name.endswith(".yaml")]


def _load(file: Any) -> dict[str, Any]:
    text = option_file.read(file) if isinstance(file, Path) else file.read_text(encoding="utf-8")
    content: Any = OmegaConf.to_container(OmegaConf.create(text or "{}"))
    return dict(content or {})


def _replacements(option: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the groups a preset replaces, with its choices: `override /planner: none` → planner, none."""
    for entry in option.get("defaults", ()):
        for key, choice in entry.items() if isinstance(entry, Mapping) else ():
            yield str(key).removeprefix("override ").strip().removeprefix("/"), str(choice)


def _flat(option: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield an option's own settings as overrides."""
    for key, value in option.items():
        if key == "defaults" and not path:
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}={quoted(value)}"


def quoted(value: Any) -> str:
    """Return a value as it is written in an override."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {quoted(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(quoted, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def override_key(override: str) -> str:
    """Return the key that an override sets: `++planner.horizon=6` → planner.horizon."""
    return override.lstrip("+~").partition("=")[0]


def _head(override: str) -> str:
    return re.split(r"[=.]", override.lstrip("+~"), maxsplit=1)[0]

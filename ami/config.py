"""Configuration: from `configs/` and overrides to a graph of parts.

The leaves of `configs/` name classes and hold nothing that equals a constructor's default, so Hydra cannot know which
settings a module has. Overrides of a setting therefore always add (`planner.horizon=6` becomes `++planner.horizon=6`), and
the composed configuration is then held against the constructors themselves: what they do not know is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ami.errors import SettingError, UnknownName, suggestion, unknown_name
from ami.parts import Part
from ami.settings import SCHEMA, check
from ami.trust import allow_list, check_imports, trusted_class

if TYPE_CHECKING:
    from ami.graph import Graph

PACKAGE, NAME = "configs", "ami"
_DOTTED = re.compile(r"^(?!hydra\.)[A-Za-z_]\w*\.[^=]*=")
_OF_THE_AGENT = ("agent", "experiment", "checkpoint")


def compose(overrides: Sequence[str] = (), *, allow: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration and hold it against the modules it names.

    Args:
        overrides: what the command line would say: `["planner=cem", "planner.horizon=6", "~graph.memory"]`.
        allow: prefixes of your own packages that `_target_` may name; see `ami.trust`.

    Raises:
        UnknownName: a group, a choice, a node or a class is not on the menu.
        SettingError: a setting is unknown or cannot be; names all of them.
        TrustError: a `_target_` is not on the allow-list.
    """
    given = forced(overrides)
    for override in _parse(given):
        _check_override(override)
    try:
        with hydra.initialize_config_module(PACKAGE, version_base="1.3"):
            config = hydra.compose(NAME, overrides=given)
    except MissingConfigException as error:
        group, _, leaf = str(error.missing_cfg_file).rpartition("/")
        raise unknown_name(group or "configuration", leaf, error.options or ()) from None
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise SettingError(f"the configuration does not compose: {_first_line(error)}") from None
    validate(config, allow)
    return config


def compose_baseline(overrides: Sequence[str], agent: str, allow: Sequence[str] = ()) -> DictConfig:
    """The configuration of a baseline in the user's own world.

    What the preset `agent` replaces (its defaults list says what) is not the user's any more; every other override stays,
    those of an experiment included. So the oracle keeps the user's planner, and all keep the user's world.

    Raises:
        UnknownName: there is no such agent; further errors are those of `compose`.
    """
    folders = _folders(overrides)
    preset = _leaf(folders, "agent", agent)
    replaced = {group for group, _ in _replacements(preset)}
    kept: list[str] = []
    for text, override in zip(overrides, _parse(forced(overrides)), strict=True):
        key = override.key_or_group
        if key == "experiment" and isinstance(override.value(), str):
            experiment = _leaf(folders, "experiment", override.value())
            choices = [f"{group}={choice}" for group, choice in _replacements(experiment)]
            kept[:0] = [one for one in [*choices, *_flat(experiment)] if _head(one) not in replaced]
        elif _head(key) not in (*replaced, *_OF_THE_AGENT):
            kept.append(text)
    return compose([one for one in kept if _head(one) not in _OF_THE_AGENT] + [f"agent={agent}"], allow=allow)


def validate(config: DictConfig, allow: Sequence[str] = ()) -> None:
    """Hold a composed configuration against the modules it names; raises as `compose` does."""
    plain = _plain(config)
    wiring = plain.get("graph")
    if not isinstance(wiring, Mapping):
        raise SettingError("the configuration has no graph. Cure: graph=blueprint")
    menu = [*groups(), *SCHEMA]
    nodes = {*groups(), *wiring}
    unknown: list[str] = []
    wrong = check({key: value for key, value in plain.items() if key in SCHEMA})
    wrong += [f"devices names the unknown node '{node}'{suggestion(node, nodes)}"
              for node in plain.get("devices") or () if node not in nodes]
    for key, value in plain.items():
        if key in SCHEMA or key == "graph" or value is None:
            continue
        if isinstance(value, Mapping) and "_target_" in value and key in nodes:
            continue
        if key in groups():
            wrong.append(f"{key} names no class: it has no `_target_`. Cure: {key}=<choice>, see `ami list`")
        elif isinstance(value, Mapping) and "_target_" in value:
            unknown.append(f"unknown node '{key}'{suggestion(key, nodes)} Cure for a node of your own: wire it, "
                           f"`+graph.{key}={{…}}`")
        else:
            unknown.append(f"unknown setting or group '{key}'{suggestion(key, menu)}")
    if unknown and not wrong:
        raise UnknownName("\n".join(unknown))
    if not unknown:
        for node, part in to_parts(config, allow).items():
            wrong.extend(part.check(node))
    if unknown or wrong:
        raise SettingError("\n".join([*unknown, *wrong]))


def to_parts(config: DictConfig, allow: Sequence[str] = ()) -> dict[str, Part]:
    """Every node's class and settings; a `_target_` inside a setting becomes a part inside the part.

    Raises:
        TrustError: a `_target_` is not on the allow-list.
        UnknownName: a `_target_` does not exist.
    """
    prefixes = allow_list(allow)
    return {str(key): _part(value, str(key), prefixes) for key, value in _plain(config).items()
            if isinstance(value, Mapping) and "_target_" in value}


def to_graph(config: DictConfig, allow: Sequence[str] = ()) -> Graph:
    """The sound graph.

    Raises:
        GraphError: the wiring was refused; further errors are those of `to_parts`.
    """
    from ami.graph import Graph

    return Graph(to_parts(config, allow), _plain(config).get("graph") or {})


def forced(overrides: Sequence[str]) -> list[str]:
    """Overrides of a setting may add it, because leaves hold no defaults: `planner.horizon=6` → `++planner.horizon=6`."""
    return [f"++{text}" if _DOTTED.match(text) else text for text in overrides]


def groups() -> tuple[str, ...]:
    """The groups that `configs/ami.yaml` chooses from, in its order."""
    defaults = _load(resources.files(PACKAGE) / f"{NAME}.yaml")["defaults"]
    names = [next(iter(entry)) for entry in defaults if isinstance(entry, Mapping)]
    return tuple(name for name in names if not name.startswith("override "))


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        return list(OverridesParser.create().parse_overrides(list(overrides)))
    except OverrideParseException as error:
        given = error.override.removeprefix("++")
        raise SettingError(f"cannot read the override '{given}': expected `key=value`, `+key=value` or `~key`. "
                           f"Cure for signs such as , : = in a value: quotes, `\"key='a,b'\"`") from None


def _check_override(override: Override) -> None:
    """What Hydra would say less well: sweeps, unknown names, and choices that are no name."""
    key, given = override.key_or_group, str(override.input_line).removeprefix("++")
    if override.is_sweep_override():
        raise SettingError(f"'{given}' asks for several runs: expected one value. Cure: `--multirun`, or, in Python, one "
                           f"call per value")
    if "." in key or key.startswith("hydra"):
        return
    if key not in (*groups(), *SCHEMA) and override.type is OverrideType.CHANGE:
        raise unknown_name("setting or group", key, [*groups(), *SCHEMA])
    is_choice = key in groups() and override.type is OverrideType.CHANGE
    if is_choice and not isinstance(override.value(), (str, dict)):
        raise SettingError(f"'{given}' chooses no {key}: expected a name, see `ami list`. Cure to take it out: `~{key}`")


def _part(node: Mapping[str, Any], where: str, prefixes: Sequence[str]) -> Part:
    target = trusted_class(node["_target_"], where, prefixes)
    settings = {str(key): _value(value, f"{where}.{key}", prefixes) for key, value in node.items() if key != "_target_"}
    check_imports(settings, where, prefixes)
    return Part(target, settings)


def _value(value: Any, where: str, prefixes: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return _part(value, where, prefixes)
        return {key: _value(inner, f"{where}.{key}", prefixes) for key, inner in value.items()}
    if isinstance(value, list):
        return [_value(inner, f"{where}[{i}]", prefixes) for i, inner in enumerate(value)]
    return value


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise SettingError(f"the configuration does not resolve: {_first_line(error)}") from None
    plain.pop("hydra", None)
    return dict(plain)


def _first_line(error: BaseException) -> str:
    """A foreign error's own words, without the lists that follow them."""
    cause = error.__cause__ or error
    return str(cause).strip().split("\n")[0]


# Reading leaves without composing them ------------------------------------------------------------------------------


def _folders(overrides: Sequence[str]) -> list[Any]:
    """Where leaves are looked for: our package, and what `hydra.searchpath` adds."""
    found: list[Any] = []
    for override in _parse(forced(overrides)):
        if override.key_or_group == "hydra.searchpath":
            found += [Path(str(place).removeprefix("file://")) for place in override.value()]
    return [*found, resources.files(PACKAGE)]


def _leaf(folders: Sequence[Any], group: str, name: str) -> dict[str, Any]:
    for folder in folders:
        if (folder / group / f"{name}.yaml").is_file():
            return _load(folder / group / f"{name}.yaml")
    menu = [leaf.name.removesuffix(".yaml") for folder in folders if (folder / group).is_dir()
            for leaf in (folder / group).iterdir() if leaf.name.endswith(".yaml")]
    raise unknown_name(group, name, menu)


def _load(file: Any) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8") or "{}"))
    return dict(content or {})


def _replacements(leaf: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The groups a preset replaces, with its choices: `override /planner: none` → planner, none."""
    for entry in leaf.get("defaults", ()):
        for key, choice in entry.items() if isinstance(entry, Mapping) else ():
            yield str(key).removeprefix("override ").strip().removeprefix("/"), str(choice)


def _flat(leaf: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """A leaf's own settings as overrides."""
    for key, value in leaf.items():
        if key == "defaults" and not path:
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}={_written(value)}"


def _written(value: Any) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _head(override: str) -> str:
    return override.lstrip("+~").split("=")[0].split(".")[0]



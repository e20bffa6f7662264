"""From plain values to module specs: every mapping with a `_target_` is one; at the top level it is a node of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ami.config.node_settings import check_node_settings, without_node_settings
from ami.config.renamed import old_names, renamed_settings
from ami.config.settings import TOP_LEVEL, check
from ami.config.trust import allow_list, check_imports, trusted_class
from ami.errors import SettingError, UnknownName, suggestion
from ami.graph.spec import ModuleSpec

GRAPH = "graph"


def specs_of(config: Mapping[str, Any], allow: Sequence[str] = ()) -> dict[str, ModuleSpec]:
    """Return every node's class and settings; a `_target_` inside a setting becomes a nested spec.

    Settings that belong to every node are left out, see `ami.config.node_settings`.

    Args:
        config: plain values, interpolated.
        allow: more prefixes for the allow-list.

    Raises:
        TrustError: a `_target_` is not on the allow-list.
        UnknownName: a `_target_` does not exist.
    """
    prefixes = allow_list(allow)
    return {key: without_node_settings(_part(value, key, prefixes)) for key, value in config.items() if _is_part(value)}


def spec_of(given: Mapping[str, Any], where: str, allow: Sequence[str] = ()) -> ModuleSpec:
    """Return the spec of one mapping with a `_target_` that is no node, such as an optimiser; raises as `specs_of` does."""
    return _part(given, where, allow_list(allow))


def validate(config: Mapping[str, Any], groups: Sequence[str], allow: Sequence[str] = ()) -> None:
    """Check a configuration against the modules it names and the settings that ami knows.

    Args:
        config: plain values, interpolated.
        groups: the config groups.
        allow: more prefixes for the allow-list.

    Raises:
        UnknownName: a node, a group or a class does not exist.
        SettingError: a setting is unknown or invalid; names all of them.
        TrustError: a `_target_` is not on the allow-list.
    """
    if not isinstance(config.get(GRAPH), Mapping):
        raise SettingError(f"the configuration has no graph: {config.get(GRAPH)!r}. Fix: graph=blueprint")
    nodes = {name for name in (*groups, *config[GRAPH]) if name != GRAPH and name not in TOP_LEVEL}
    unknown = [_unknown(key, value, nodes, groups) for key, value in config.items()
               if key not in TOP_LEVEL and key != GRAPH and key not in nodes]
    if unknown:
        raise UnknownName("\n".join(unknown))
    wrong = check({key: value for key, value in config.items() if key in TOP_LEVEL})
    for node in sorted(nodes & set(config)):
        if config[node] is not None and not _is_part(config[node]):
            wrong.append(f"{node} names no class: it has no `_target_`. Fix: {node}=<choice>, see `ami list`")
    wrong.extend(old_names(config))
    for node, part in specs_of(renamed_settings(config), allow).items():
        wrong.extend([*check_node_settings(node, config[node], part), *part.check(node)])
    if wrong:
        raise SettingError("\n".join(wrong))


def _unknown(key: str, value: Any, nodes: set[str], groups: Sequence[str]) -> str:
    if _is_part(value):
        known = nodes - {"agent", "experiment"}
        return f"unknown node '{key}'{suggestion(key, known)} Fix for a node of your own: wire it, `+graph.{key}={{…}}`"
    return f"unknown setting or group '{key}'{suggestion(key, {*groups, *TOP_LEVEL})}"


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _part(node: Mapping[str, Any], where: str, prefixes: Sequence[str]) -> ModuleSpec:
    target = trusted_class(node["_target_"], where, prefixes)
    kept = ("wrappers",) if getattr(target, "role", "") == "world" else ()  # a wrapper's first argument comes later
    settings = {str(key): value if key in kept else _value(value, f"{where}.{key}", prefixes)
                for key, value in node.items() if key != "_target_"}
    check_imports(settings, where, prefixes)
    return ModuleSpec(target, settings)


def _value(value: Any, where: str, prefixes: Sequence[str]) -> Any:
    if _is_part(value):
        return _part(value, where, prefixes)
    if isinstance(value, Mapping):
        return {key: _value(inner, f"{where}.{key}", prefixes) for key, inner in value.items()}
    if isinstance(value, list):
        return [_value(inner, f"{where}[{i}]", prefixes) for i, inner in enumerate(value)]
    return value

"""Options of learning: the class and the settings of a source, an optimiser, a scheduler or a callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ami.config.instantiate import spec_of
from ami.errors import require
from ami.graph.spec import ModuleSpec


def option(given: Any, where: str, group: str, kind: type, engine: Sequence[str], allow: Sequence[str]) -> ModuleSpec:
    """Return an option's class and its settings.

    Args:
        given: the setting, `{_target_: …, …}` (see `ami.config.stage_options`).
        where: its full name, for messages.
        group: the group of `configs/` with options of this kind.
        kind: the class it must be.
        engine: the arguments that the engine gives it if its constructor takes them.
        allow: more prefixes for the allow-list.

    Raises:
        SettingError, UnknownName, TrustError: it names no such class, or a setting is unknown, missing or wrong.
    """
    require(isinstance(given, Mapping) and "_target_" in given,
            f"{where} is {given!r}: expected the name of an option of configs/{group}, or {{_target_: package.Class, …}}")
    spec = spec_of(given, where, allow)
    target: Any = spec.target
    require(isinstance(target, type) and issubclass(target, kind),
            f"{where} is {spec.name}: expected a subclass of {kind.__module__}.{kind.__name__}. "
            f"Fix: {where}=NAME, an option of configs/{group}")
    by_engine = [name for name in engine if spec.takes(name)]
    for name in by_engine:
        require(name not in spec.settings,
                f"{where}.{name} is set by the engine. Fix: leave it out" + "; learning_rate sets lr" * (name == "lr"))
    mistakes = ModuleSpec(spec.target, {**dict.fromkeys(by_engine, 1), **spec.settings}).check(where)
    require(not mistakes, "\n".join(mistakes))
    return spec

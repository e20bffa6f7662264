"""ModuleSpec: a class and its settings, as Gymnasium's EnvSpec; made into an object in the process that owns it.

The configuration becomes specs. The graph makes one draft of each to read its ports; a runtime makes the real modules in
their processes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ami.errors import SettingError, shown, suggestion

MOST = 10_000_000
"""The largest integer setting of a module: more is a typing error that would fill the memory or run for years."""
PLAIN: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "null",
                         Mapping: "a mapping", Sequence: "a list", list: "a list", dict: "a mapping"}


@dataclass(frozen=True)
class ModuleSpec:
    """A class (or function) and its settings, which may hold further specs.

    Args:
        target: the class or function to call.
        settings: keyword arguments: plain values, lists and mappings of them, or specs.
    """

    target: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The dotted path of the target, as in `_target_`."""
        return f"{self.target.__module__}.{self.target.__qualname__}"

    def check(self, where: str) -> list[str]:
        """Return every unknown, missing or wrong setting, one sentence each."""
        mistakes: list[str] = []
        parameters = inspect.signature(self.target).parameters
        accepts_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        for key in self.settings:
            if key not in names and not accepts_any:
                mistakes.append(f"{where} has no setting '{key}'{suggestion(key, names)} ({self.name})")
        for name in names:
            if parameters[name].default is inspect.Parameter.empty and name not in self.settings:
                mistakes.append(f"{where} needs the setting '{name}', which {self.name} has no default for. "
                                f"Fix: {where}.{name}=<value>")
        mistakes += self._wrong_types(where)
        mistakes += [f"{where}.{key} is {shown(value)}: expected a whole number within ±{MOST} ({self.name})"
                     for key, value in self.settings.items()
                     if isinstance(value, int) and abs(value) > MOST and "seed" not in key]
        mistakes += [f"{where}.{key} is {value}: expected a finite number ({self.name})"
                     for key, value in self.settings.items() if isinstance(value, float) and not isfinite(value)]
        for key, value in self.settings.items():
            mistakes.extend(_checked(value, f"{where}.{key}"))
        return mistakes

    def _wrong_types(self, where: str) -> list[str]:
        """Return settings whose value is not of the plain type in the constructor's annotation."""
        function = self.target.__init__ if inspect.isclass(self.target) else self.target
        try:
            hints = get_type_hints(function)
        except (NameError, TypeError):  # an annotation that only a type checker can read
            return []
        mistakes = []
        for key, value in self.settings.items():
            kinds = _plain_kinds(hints.get(key))
            if kinds and not any(_is_a(value, kind) for kind in kinds):
                names = " or ".join(PLAIN[kind] for kind in kinds)
                mistakes.append(f"{where}.{key} is {shown(value)}: expected {names} ({self.name})")
        return mistakes

    def takes(self, setting: str) -> bool:
        """Return whether the constructor has this setting."""
        return setting in inspect.signature(self.target).parameters

    def make(self) -> Any:
        """Call the target with its settings, inner specs first.

        Raises:
            SettingError: a setting is unknown, missing or wrong; errors of the target itself pass through.
        """
        mistakes = self.check(self.name.rsplit(".", 1)[-1])
        if mistakes:
            raise SettingError(" ".join(mistakes))
        return self.target(**{key: _made(value) for key, value in self.settings.items()})

    def files(self) -> list[str]:
        """Return the names of the Python modules that define the target and the targets of its inner specs."""
        return [part.target.__module__ for part in self._all()]

    def code_roots(self) -> list[Any]:
        """Return the code that this spec runs, for `ami.storage.code_hash`: the targets, and code that settings name."""
        return [root for part in self._all()
                for root in (part.target, *(part.target.code_roots(part.settings) if hasattr(part.target, "code_roots")
                                            else ()))]

    def _all(self) -> Iterator[ModuleSpec]:
        """Iterate over this spec and its inner ones, at any depth."""
        yield self
        for value in self.settings.values():
            yield from (part for inner in _inner(value) for part in inner._all())

    def resolved(self) -> dict[str, Any]:
        """Return plain values: the target's path, and every setting with the defaults filled in."""
        out: dict[str, Any] = {"_target_": self.name}
        for name, parameter in inspect.signature(self.target).parameters.items():
            if name in self.settings:
                out[name] = _plain(self.settings[name])
            elif parameter.default is not inspect.Parameter.empty:
                out[name] = _plain(parameter.default)
        # a target's **settings are as much a part of the agent as its named ones
        return out | {name: _plain(value) for name, value in self.settings.items() if name not in out}


def _checked(value: Any, where: str) -> list[str]:
    if isinstance(value, ModuleSpec):
        return value.check(where)
    if isinstance(value, Mapping):
        return [mistake for key, inner in value.items() for mistake in _checked(inner, f"{where}.{key}")]
    if isinstance(value, (list, tuple)):
        return [mistake for i, inner in enumerate(value) for mistake in _checked(inner, f"{where}[{i}]")]
    return []


def _inner(value: Any) -> Iterator[ModuleSpec]:
    """Iterate over the outermost specs in a setting."""
    if isinstance(value, ModuleSpec):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _inner(inner)


def _plain_kinds(hint: Any) -> tuple[type, ...]:
    """Return the kinds of plain value in a hint; empty, so that nothing is checked, if it has any other kind."""
    named = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = tuple(get_origin(one) or one for one in named)
    return kinds if all(kind in PLAIN for kind in kinds) else ()


def _is_a(value: Any, kind: type) -> bool:
    """Return whether a value is of a kind: an int is also a float, a bool is no number, and a str is no list."""
    if isinstance(value, (bool, str)):
        return kind is type(value)
    return isinstance(value, (int, float) if kind is float else kind)


def _made(value: Any) -> Any:
    if isinstance(value, ModuleSpec):
        return value.make()
    if isinstance(value, Mapping):
        return {key: _made(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_made(inner) for inner in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, ModuleSpec):
        return value.resolved()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value

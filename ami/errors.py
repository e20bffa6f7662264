"""Every error that ami raises on purpose.

    AmiError
    ├── SettingError     (ValueError)        a module's or a command's setting is unknown or out of range
    ├── UnknownName      (LookupError)       a name does not exist: node, port, module, world, experiment, command
    ├── GraphError       (ValueError)        the wiring was refused; holds every mistake, each with its fix
    ├── PortError        (ValueError)        a message does not fit its port
    ├── CallError        (RuntimeError)      a call edge is unbound, or its method is not declared callable
    ├── ModuleError      (RuntimeError)      a module's own code raised an error, or called sys.exit
    ├── CheckpointError  (RuntimeError)      a checkpoint is missing, broken, or belongs to another agent
    ├── DataError        (ValueError)        a file of episodes is missing, broken, or holds data that cannot be learnt from
    ├── TraceError       (RuntimeError)      a trace is missing or lacks the requested data
    ├── TrustError       (PermissionError)   a `_target_` is not on the allow-list, or a foreign package shadows ours
    ├── StartError       (RuntimeError)      a runtime did not start
    ├── WorldFault       (RuntimeError)      an environment failed, or broke gymnasium's API
    └── WorkerLost       (RuntimeError)      a process that held modules died

Each message states what was found, what was expected and the fix. Each class also derives from the built-in error that fits,
so `except ValueError` works.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

MOST_NAMES = 40
"""The number of names up to which an error lists all."""


class AmiError(Exception):
    """The root: `except AmiError` catches everything ami raises on purpose."""


class SettingError(AmiError, ValueError):
    """A setting is unknown, of the wrong type, or out of range."""


class UnknownName(AmiError, LookupError):
    """A name does not exist; `unknown_name` writes the message."""


class PortError(AmiError, ValueError):
    """A message does not fit its port: wrong kind, dtype or shape."""


class CallError(AmiError, RuntimeError):
    """A call edge is unbound, or its method is not declared callable."""


class ModuleError(AmiError, RuntimeError):
    """A module's own code raised an error: `__cause__` holds it, with its traceback."""


class CheckpointError(AmiError, RuntimeError):
    """A checkpoint is missing, broken, or belongs to another agent."""


class DataError(AmiError, ValueError):
    """A file of episodes is missing, broken, or holds data that cannot be learnt from."""


class TraceError(AmiError, RuntimeError):
    """A trace is missing or lacks the requested data."""


class TrustError(AmiError, PermissionError):
    """A `_target_` is not on the allow-list, or a foreign package shadows one of ours."""


class StartError(AmiError, RuntimeError):
    """A runtime did not start."""


class WorldFault(AmiError, RuntimeError):
    """An environment failed, or broke gymnasium's API; the message names the world, row and tick."""


class WorkerLost(AmiError, RuntimeError):
    """A process that held modules died in the middle of a run."""


class GraphError(AmiError, ValueError):
    """The wiring was refused before tick 0.

    Attributes:
        mistakes: every mistake found, one sentence each, with its fix.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(f"the graph was refused, {count}:\n" + "\n".join(f"  - {m}" for m in self.mistakes))

    def __reduce__(self) -> tuple[object, ...]:
        return GraphError, (self.mistakes,)


def unknown_name(what: str, name: str, existing: Iterable[str], fix: str = "") -> UnknownName:
    """Return the error for a name that does not exist.

    Args:
        what: the kind of thing, e.g. "planner".
        name: the name that was given.
        existing: the names that exist.
        fix: a further sentence, for when the nearest name does not help.
    """
    name = name if len(name) <= 80 else f"{name[:60]}…"
    return UnknownName(f"unknown {what} '{name}'{suggestion(name, existing)}" + (f" {fix}" if fix else ""))


def suggestion(name: str, existing: Iterable[str]) -> str:
    """Return the end of an error sentence: the nearest of the existing names, or all of them if none is near.

    Of more than `MOST_NAMES` names the most similar ones are listed.
    """
    names = sorted(existing)
    near = difflib.get_close_matches(name.lower(), sorted({text.lower() for text in names}), n=1, cutoff=0.6)
    if near:
        alike = [text for text in names if text.lower() == near[0]]
        same_case = [text for text in alike if text.islower() == name.islower()]
        return f": did you mean '{(same_case or alike)[0]}'?"
    if not names:
        return ": there is none."
    if len(names) == 1:
        return f": expected '{names[0]}'."
    if len(names) > MOST_NAMES:
        nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
        return f": expected one of {len(names):,} names; the nearest are {', '.join(nearest)}."
    return f": expected one of {', '.join(names)}."


def shown(value: object, limit: int = 80) -> str:
    """Return a value's repr for a message, cut in the middle if it is long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit // 2]}…{text[-limit // 4:]} ({len(text)} characters)"


def require(condition: bool, message: str) -> None:
    """Raise SettingError(message) unless the condition holds: one line per rule in a constructor."""
    if not condition:
        raise SettingError(message)


def first_reason(refused: str) -> str:
    """Return an error text in one line: the first of several mistakes, and the number of others."""
    head, *rest = refused.split("\n")
    mistakes = [line for line in rest if line.startswith("  - ")]
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return mistakes[0].removeprefix("  - ") + more if mistakes else head

"""Trust: the classes that a configuration may name, and the check that ami's own packages are not shadowed.

A `_target_` is code that will run, and a configuration may come from an untrusted source. A target must therefore begin with
a prefix on the allow-list, and the object must be a class defined under such a prefix: `torch.nn.modules.module.torch.load`
passes the first test only. The list is extended in Python, on the command line or in the environment, never by a
configuration.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ami.errors import AmiError, SettingError, TrustError, UnknownName, suggestion
from ami.graph.faults import FIX, raised

ALLOWED = ("modules.", "worlds.", "ami.", "torch.nn.", "torch.optim.", "gymnasium.", "minigrid.", "gymnasium_robotics.")
"""ami's own packages, torch's modules and optimisers, gymnasium, and the world packages that ami's extras install."""
OURS = ("modules", "worlds", "configs")
ENVIRONMENT = "AMI_ALLOW"


def allow_list(allow: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the prefixes a target may begin with: `ALLOWED`, `allow`, and those in the environment variable AMI_ALLOW.

    Args:
        allow: more prefixes; "mypkg" and "mypkg." both mean everything inside the package `mypkg`.

    Raises:
        TrustError: a prefix is empty or not a dotted name; an empty prefix would allow everything.
    """
    named = os.environ.get(ENVIRONMENT, "").split(",")
    prefixes = [text.strip() for text in [*allow, *(name for name in named if name.strip())]]
    for prefix in prefixes:
        if not all(word.isidentifier() for word in prefix.removesuffix(".").split(".")):
            raise TrustError(f"the allow-list was given {prefix!r}: expected the name of a package, such as `mypkg.`")
    return (*ALLOWED, *(prefix.removesuffix(".") + "." for prefix in prefixes))


def trusted_class(target: object, where: str, prefixes: Sequence[str]) -> type:
    """Return the class that `target` names.

    Args:
        target: the value of `_target_`, interpolated.
        where: the node that names it, for messages.
        prefixes: the allow-list.

    Raises:
        TrustError: it is not on the allow-list, by its given name or by its real one.
        UnknownName: there is no such class.
        SettingError: it is not a class, or its file cannot be imported.
    """
    if not isinstance(target, str) or not all(word.isidentifier() for word in target.split(".")) or "." not in target:
        raise SettingError(f"{where}._target_ is {target!r}: expected a class by its full name, `package.file.Class`")
    if not _is_allowed(target, prefixes) or any(word.startswith("_") for word in target.split(".")):
        raise TrustError(_refusal(f"{where}._target_ is '{target}'", target, prefixes))
    found = _find(target, where, f"{where}._target_")
    if not inspect.isclass(found):
        kind = "a package or file" if isinstance(found, ModuleType) else f"a {type(found).__name__}"
        raise TrustError(f"{where}._target_ is '{target}', which is {kind}: expected a class")
    real = f"{found.__module__}.{found.__qualname__}"
    if not _is_allowed(real, prefixes):
        raise TrustError(_refusal(f"{where}._target_ is '{target}', which is really '{real}'", real, prefixes))
    try:
        inspect.signature(found)
    except ValueError:
        raise SettingError(f"{where}._target_ is '{target}', which has no readable signature: "
                           "expected a class written in Python") from None
    return found


def trusted_function(target: str, where: str, prefixes: Sequence[str]) -> Callable[..., Any]:
    """Return the function that `target` names, checked against the allow-list as a class is.

    Args:
        target: `package.file.function`.
        where: the setting that names it, for messages.
        prefixes: the allow-list.

    Raises:
        TrustError, UnknownName, SettingError: as `trusted_class` does.
    """
    if "." not in target or not all(word.isidentifier() for word in target.split(".")):
        raise SettingError(f"{where} is '{target}': expected a function by its full name, `package.file.function`")
    if not _is_allowed(target, prefixes) or any(word.startswith("_") for word in target.split(".")):
        raise TrustError(_refusal(f"{where} is '{target}'", target, prefixes))
    found = _find(target, where, where)
    if not inspect.isfunction(found):
        raise TrustError(f"{where} is '{target}', which is a {type(found).__name__}: expected a function")
    real = f"{found.__module__}.{found.__qualname__}"
    if not _is_allowed(real, prefixes):
        raise TrustError(_refusal(f"{where} is '{target}', which is really '{real}'", real, prefixes))
    return found


def check_imports(settings: Mapping[str, Any], where: str, prefixes: Sequence[str]) -> None:
    """Check the imports of a gymnasium world against the allow-list: the package of an id "package:id", the entry point,
    and the wrappers, each by name or as {_target_: name, …}."""
    package, colon, _ = str(settings.get("id", "")).rpartition(":")
    if colon and not _is_allowed(package + ".", prefixes):
        raise TrustError(_refusal(f"{where}.id is '{settings['id']}', which imports '{package}'", package, prefixes))
    entry = str(settings.get("entry_point") or "")
    if entry and not _is_allowed(entry.replace(":", "."), prefixes):
        raise TrustError(_refusal(f"{where}.entry_point is '{entry}'", entry.replace(":", "."), prefixes))
    for wrapper in settings.get("wrappers") or ():
        if not isinstance(wrapper, (str, Mapping)):
            continue  # a spec, whose class was checked when it was made
        name = str(wrapper.get("_target_") if isinstance(wrapper, Mapping) else wrapper)
        if not _is_allowed(name, prefixes):
            raise TrustError(_refusal(f"{where}.wrappers names '{name}'", name, prefixes))


def check_shadowing() -> None:
    """Refuse to run if `modules`, `worlds` or `configs` is not the package installed with `ami`.

    Raises:
        TrustError: names the folder that shadows it and the fix.
    """
    home = Path(__file__).resolve().parents[2]
    for name in OURS:
        spec = importlib.util.find_spec(name)
        folders = [Path(folder).resolve() for folder in (spec.submodule_search_locations or ())] if spec else []
        if spec is None or folders != [home / name]:
            found = str(folders[0] if folders else spec.origin) if spec else "nothing"
            raise TrustError(
                f"the package '{name}' is found at {found}: expected {home / name}, the one that came with ami. "
                f"Fix: run from another folder, take {Path(found).parent} off PYTHONPATH, or rename that package"
                if spec else f"the package '{name}' is missing: expected {home / name}. Fix: reinstall ami")


def _is_allowed(name: str, prefixes: Sequence[str]) -> bool:
    return any(name.startswith(prefix) for prefix in prefixes)


def _refusal(given: str, name: str, prefixes: Sequence[str]) -> str:
    package = name.split(".")[0]
    return (f"{given}: expected a class from {', '.join(prefixes)} "
            f"Fix, if you trust that code: `--allow {package}.`, or allow=['{package}.'] in Python")


def _find(target: str, where: str, setting: str) -> object:
    """Import packages and files as far as possible, then look up the remaining names."""
    words = target.split(".")
    found: Any = None
    for count, word in enumerate(words, start=1):
        path = ".".join(words[:count])
        # a module that a file merely imported is looked up, never imported under its alias
        if found is None or (isinstance(found, ModuleType) and hasattr(found, "__path__")
                             and found.__name__ == ".".join(words[:count - 1])):
            inner = _import(path, where)
            if inner is not None:
                found = inner
                continue
        if found is None:
            here = next((file for file in (Path(f"{word}.py"), Path(word)) if file.exists()), None)
            fix = (f"'{here}' is in the current folder, where Python does not look for packages. Fix: PYTHONPATH=. ami …"
                   if here else "Fix: install it, or put its folder on PYTHONPATH")
            raise UnknownName(f"{setting} is '{target}', but there is no package '{word}'. {fix}")
        if not hasattr(found, word):
            outer = ".".join(words[:count - 1])
            raise UnknownName(f"{setting} is '{target}', but {outer} has no '{word}'"
                              f"{suggestion(word, _names_in(found))}")
        found = getattr(found, word)
    return found


def _import(path: str, where: str) -> ModuleType | None:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name == path:
            return None
        raise SettingError(f"{where} cannot import {path}: it needs '{error.name}', which is not installed") from error
    except (ImportError, SyntaxError) as error:
        raise SettingError(f"{where} cannot import {path}: {error}. {FIX}") from error
    except AmiError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError(f"{where} cannot import {path}: {raised(error)}. {FIX}") from error


def _names_in(found: Any) -> list[str]:
    """Return the candidates for a suggestion: the files of a package, the classes of a file."""
    if not isinstance(found, ModuleType):
        return []
    if hasattr(found, "__path__"):
        files = [item.name for item in pkgutil.iter_modules(found.__path__)]
        if files:
            return files
    return [name for name, value in vars(found).items() if inspect.isclass(value) and value.__module__ == found.__name__]

"""Making gymnasium environments, B of them side by side, or saying why not.

Their spaces are brought into a mind's form by `ami.envs.spaces`, and what they return is checked by `ami.envs.guard`.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RescaleAction
from gymnasium.wrappers.vector import RescaleAction as RescaleActions

from ami.envs.guard import Guard, raised
from ami.envs.spaces import fit_observation, rescaled
from ami.envs.vector import Rows, VectorRows
from ami.errors import AmiError, SettingError, require, suggestion

EXTRAS = {"minigrid": "worlds", "gymnasium_robotics": "mujoco", "mujoco": "mujoco"}
"""Which of ami's extras installs a package; what is not here comes with `worlds`."""
OF_MAKE = ("max_episode_steps", "disable_env_checker")
"""What `gymnasium.make` itself takes beside an environment's own settings."""


def make_rows(env_id: str, num_envs: int, settings: Mapping[str, Any], wrappers: Sequence[str] = ()) -> Rows | VectorRows:
    """B environments side by side, as `Rows` or `VectorRows`.

    One made as a vector (`vector_entry_point`) is taken as it is where its autoreset mode is DISABLED; any other is made B
    times.

    Args:
        env_id: a gymnasium id; "package:id" imports the package that registers it.
        num_envs: B.
        settings: keyword arguments of the environment.
        wrappers: gymnasium wrappers by their full name, the innermost first.

    Raises:
        SettingError: the id, a setting or a wrapper is unknown, a package is missing, or the spaces cannot be driven.
    """
    name, spec = _spec(env_id)
    try:
        with _foreign_code():
            if spec.vector_entry_point is not None and not wrappers:
                _check_settings(env_id, spec.vector_entry_point, settings, OF_MAKE[:1])
                rows = gymnasium.make_vec(name, num_envs, vectorization_mode="vector_entry_point", **settings)
                if rows.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
                    return VectorRows(rescaled(rows, env_id, rows.single_action_space, RescaleActions))
                rows.close()  # it would begin anew by itself
                require(spec.entry_point is not None, f"{env_id} begins episodes anew by itself: expected a vector "
                                                      "environment with autoreset_mode DISABLED, or a single one beside it")
            _check_settings(env_id, spec.entry_point, settings, OF_MAKE)
            wraps = [_wrapper(wrapper) for wrapper in wrappers]
            return Rows([_driven(name, env_id, settings, wraps) for _ in range(num_envs)])
    except AmiError:
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise SettingError(f"world '{env_id}' needs a package that is not installed: {error}. "
                           f"Fix: pip install 'ami[{_extra(str(error))}]'") from None
    except (Exception, SystemExit) as error:
        if isinstance(error, (TypeError, AssertionError)) and settings:
            raise SettingError(f"{env_id} refused the settings {dict(settings)}: {error}") from error
        raise SettingError(f"world '{env_id}' cannot be made: {raised(error, '__init__')}") from error


def _driven(name: str, env_id: str, settings: Mapping[str, Any], wrappers: Sequence[type[gymnasium.Wrapper]]) -> Any:
    # we drive and do not check; `gymnasium.utils.env_checker.check_env` is for authors
    env = gymnasium.make(name, **{"disable_env_checker": True, **settings})
    for wrapper in wrappers:
        env = wrapper(env)
    return fitted(env, env_id)


def fitted(env: gymnasium.Env, env_id: str) -> gymnasium.Env:
    """An environment that is checked, and whose spaces are those of a world node; raises SettingError if they cannot be."""
    fit: gymnasium.Env = rescaled(fit_observation(Guard(env), env_id), env_id, env.action_space, RescaleAction)
    return fit


def make_env(env_id: str, settings: Mapping[str, Any], wrappers: Sequence[str] = ()) -> gymnasium.Env:
    """One environment as gymnasium makes it, with its wrappers, its spaces unchanged.

    Raises:
        SettingError: as `make_rows`, or the world has a vector environment alone.
    """
    rows = make_rows(env_id, 1, settings, wrappers)
    if isinstance(rows, Rows):
        env = rows.envs[0]
        while not isinstance(env, Guard):
            env = env.env  # type: ignore[attr-defined]
        return env.env
    rows.close()
    name, spec = _spec(env_id)
    require(spec.entry_point is not None, f"{env_id} is registered as a vector environment alone: expected an entry_point "
                                          "beside it")
    return gymnasium.make(name, **{"disable_env_checker": True, **settings})


def _spec(env_id: str) -> tuple[str, Any]:
    package, _, name = env_id.rpartition(":")
    try:
        if package:
            with _foreign_code():
                importlib.import_module(package)
        return name, gymnasium.spec(name)
    except ImportError as error:
        fix = f" Fix: pip install 'ami[{EXTRAS[package]}]'" if package in EXTRAS else ""
        raise SettingError(f"world '{env_id}' needs the package '{package}': {error}.{fix}") from None
    except gymnasium.error.Error:
        near = suggestion(name, gymnasium.registry)
        raise SettingError(f"world '{env_id}' is not registered with gymnasium{near} "
                           "Fix: 'package:id' imports the package that registers it") from None


def _check_settings(env_id: str, entry_point: Any, settings: Mapping[str, Any], others: Sequence[str]) -> None:
    """Name the nearest setting where an environment would only say that it does not know one."""
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    known, open_ended = _parameters(creator)
    for name in settings:
        if not open_ended and name not in (*known, *others):
            raise SettingError(f"{env_id} has no setting '{name}'{suggestion(name, known)}")


def _parameters(creator: Any) -> tuple[list[str], bool]:
    """The names of an environment's settings, those it hands on to its base classes too, and whether there may be more."""
    chain = creator.__mro__ if inspect.isclass(creator) else (creator,)
    names: list[str] = []
    for one in chain:
        function = vars(one).get("__init__") if inspect.isclass(one) else one
        if function is None:
            continue
        parameters = list(inspect.signature(function).parameters.values())
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return [name for name in names if name != "num_envs"], False
    return names, True


def _wrapper(path: str) -> type[gymnasium.Wrapper]:
    package, _, name = path.rpartition(".")
    try:
        file = importlib.import_module(package)
    except ImportError as error:
        raise SettingError(f"world.wrappers names '{path}', whose package cannot be imported: {error}. "
                           f"Fix: pip install 'ami[{_extra(package.split('.')[0])}]', or put its folder on PYTHONPATH"
                           ) from None
    found = getattr(file, name, None)
    if not (inspect.isclass(found) and issubclass(found, gymnasium.Wrapper)):
        menu = [n for n, value in vars(file).items() if inspect.isclass(value) and issubclass(value, gymnasium.Wrapper)]
        raise SettingError(f"world.wrappers names '{path}', which is no gymnasium wrapper{suggestion(name, menu)}")
    return found


def _extra(text: str) -> str:
    return next((extra for package, extra in EXTRAS.items() if package in text.lower()), "worlds")


@contextmanager
def _foreign_code() -> Iterator[None]:
    """What other packages deprecate inside themselves is not ours to tell: where warnings are errors, Box2D's would end
    the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield

"""Make B gymnasium environments side by side; errors name what is wrong.

`ami.envs.spaces` converts their spaces for an agent, and `ami.envs.guard` checks their return values.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RescaleAction, TimeLimit
from gymnasium.wrappers.vector import RescaleAction as RescaleActions

from ami.envs.actions import ActionCodec, rescaled
from ami.envs.failures import LastingRows
from ami.envs.guard import Guard, raised
from ami.envs.spaces import Reading, fit_observation, reading_of
from ami.envs.vector import LIMIT, Rows, VectorRows, declared_limit
from ami.errors import AmiError, SettingError, require, suggestion
from ami.terminal.extras import how_to_install

EXAMPLE = "CartPole-v1"
"""The default world."""
EXTRAS = {"minigrid": "worlds", "gymnasium_robotics": "mujoco", "mujoco": "mujoco"}
"""The extra of ami that installs a package; packages not listed are in `worlds`."""
OF_MAKE = ("max_episode_steps", "disable_env_checker")
"""The arguments that `gymnasium.make` itself takes besides an environment's own settings."""


def make_rows(env_id: str, num_envs: int, settings: Mapping[str, Any], wrappers: Sequence[str | Mapping[str, Any]] = (),
              entry_point: str | None = None, observation: str | None = None,
              on_failure: str = "raise") -> Rows | VectorRows:
    """Make B environments side by side, as `Rows` or `VectorRows`.

    A vector environment (`vector_entry_point`) is used directly if its autoreset mode is DISABLED; any other environment is
    made B times. If an environment declares no limit, its episodes are truncated after `LIMIT` steps.

    Args:
        env_id: a gymnasium id; "package:id" imports the package that registers it.
        num_envs: B.
        settings: keyword arguments of the environment.
        wrappers: gymnasium wrappers, the innermost first, each by its full name or as {_target_: name, argument: value}.
        entry_point: the class to make, "module:Class", in place of a registered id.
        observation: the key of a Dict observation that is the port `observation`; None: see `ami.envs.spaces`.
        on_failure: see `ami.envs.failures`; unless it is "raise", single environments are made, since a vector environment
            fails as a whole.

    Raises:
        SettingError: the id, a setting or a wrapper is unknown, a package is missing, or the spaces are not supported.
    """
    spec = _spec(env_id) if entry_point is None else _unregistered(entry_point)
    try:
        with _foreign_code():
            if spec.vector_entry_point is not None and not wrappers and on_failure == "raise":
                _check_settings(env_id, spec.vector_entry_point, settings, OF_MAKE[:1])
                rows = gymnasium.make_vec(spec, num_envs, vectorization_mode="vector_entry_point", **settings)
                if rows.metadata.get("autoreset_mode") == AutoresetMode.DISABLED:
                    codec = ActionCodec(rows.single_action_space, env_id)
                    reading = reading_of(rows.single_observation_space, env_id, codec, observation)
                    return VectorRows(rescaled(rows, rows.single_action_space, RescaleActions), reading)
                rows.close()  # it resets finished rows by itself
                require(spec.entry_point is not None, f"{env_id} resets episodes by itself: expected a vector environment "
                                                      "with autoreset_mode DISABLED, or an entry_point as well")
            require(spec.entry_point is not None, f"world.on_failure={on_failure} needs single environments, and {env_id} "
                                                  "is a vector environment only. Fix: world.on_failure=raise")
            _check_settings(env_id, spec.entry_point, settings, OF_MAKE)
            wraps = [_wrapper(wrapper) for wrapper in wrappers]
            bare = [_bare(spec, settings, wraps) for _ in range(num_envs)]
            limit = declared_limit(bare[0])
            first, reading = fitted(bare[0], env_id, observation)

            def limited(env: Any) -> Any:
                return env if limit else TimeLimit(env, LIMIT)

            envs: list[Any] = [limited(env) for env in (first, *(_driven(env, reading) for env in bare[1:]))]
            if on_failure == "raise":
                return Rows(envs, reading, limit)
            return LastingRows(envs, reading, limit, lambda: limited(_driven(_bare(spec, settings, wraps), reading)),
                               on_failure == "retry")
    except AmiError:
        raise
    except gymnasium.error.DependencyNotInstalled as error:
        raise SettingError(f"world '{env_id}' needs a package that is not installed: {error}. "
                           f"Fix: {how_to_install(_extra(str(error)))}") from None
    except (Exception, SystemExit) as error:
        if isinstance(error, (TypeError, AssertionError)) and settings:
            raise SettingError(f"{env_id} refused the settings {dict(settings)}: {error}") from error
        raise SettingError(f"world '{env_id}' cannot be made: {raised(error, '__init__()')}") from error


def _bare(spec: EnvSpec, settings: Mapping[str, Any], wrappers: Sequence[Callable[..., Any]]) -> Any:
    # gymnasium's checker is for authors of environments; `Guard` checks here
    env: Any = gymnasium.make(spec, **{"disable_env_checker": True, **settings})
    for wrapper in wrappers:
        env = wrapper(env)
    return env


def fitted(env: gymnasium.Env, env_id: str, observation: str | None = None) -> tuple[gymnasium.Env, Reading]:
    """Return the environment, guarded and with the spaces of a world node, and the reading of its observations.

    Raises:
        SettingError: the spaces are not supported.
    """
    reading = reading_of(env.observation_space, env_id, ActionCodec(env.action_space, env_id), observation)
    return _driven(env, reading), reading


def _driven(env: Any, reading: Reading) -> Any:
    return rescaled(fit_observation(Guard(env), reading), env.action_space, RescaleAction)


def make_env(env_id: str, settings: Mapping[str, Any], wrappers: Sequence[str | Mapping[str, Any]] = (),
             entry_point: str | None = None, observation: str | None = None) -> gymnasium.Env:
    """Make one environment as gymnasium does, with its wrappers, its spaces unchanged.

    Raises:
        SettingError: as `make_rows`, or the world has only a vector environment.
    """
    rows = make_rows(env_id, 1, settings, wrappers, entry_point, observation)
    if isinstance(rows, Rows):
        env = rows.envs[0]
        while not isinstance(env, Guard):
            env = env.env  # type: ignore[attr-defined]
        return env.env
    rows.close()
    spec = _spec(env_id) if entry_point is None else _unregistered(entry_point)
    require(spec.entry_point is not None, f"{env_id} is registered as a vector environment only: expected an entry_point "
                                          "as well")
    return gymnasium.make(spec, **{"disable_env_checker": True, **settings})


def _spec(env_id: str) -> EnvSpec:
    package, _, name = env_id.rpartition(":")
    try:
        if package:
            with _foreign_code():
                importlib.import_module(package)
        return gymnasium.spec(name)
    except ImportError as error:
        fix = f" Fix: {how_to_install(EXTRAS[package])}" if package in EXTRAS else ""
        raise SettingError(f"world '{env_id}' needs the package '{package}': {error}.{fix}") from None
    except gymnasium.error.Error:
        near = suggestion(name, gymnasium.registry)
        raise SettingError(f"world '{env_id}' is not registered with gymnasium in this process{near} Fix: 'package:id' "
                           "imports the package that registers it, world.entry_point=module:Class needs no registration, "
                           "and gymnasium.pprint_registry() prints all ids") from None
    except Exception as error:
        raise SettingError(f"world '{env_id}': {raised(error, f'importing {package}')}") from error


def check_elsewhere(env_id: str) -> None:
    """Refuse an id that other processes do not know; they know gymnasium's, its plugins', and "package:id".

    Raises:
        SettingError: it is registered in this process only.
    """
    package, _, name = env_id.rpartition(":")
    spec: Any = gymnasium.spec(name)
    point = spec.entry_point or spec.vector_entry_point
    path = point if isinstance(point, str) else f"{point.__module__}:{getattr(point, '__qualname__', '')}"
    plugins = {entry.value.partition(":")[0].partition(".")[0] for entry in entry_points(group="gymnasium.envs")}
    if package or path.partition(":")[0].partition(".")[0] in {"gymnasium", *plugins}:
        return
    fix = ("put its class in a file of its own, world.entry_point=file:Class" if path.startswith("__main__")
           else f"world.entry_point={path}")
    raise SettingError(f"world '{env_id}' is registered in this process only, and Ray's actors run in others: expected an "
                       f"id that they can find. Fix: {fix}")


def _unregistered(entry_point: str) -> EnvSpec:
    """Return an `EnvSpec` for an unregistered class."""
    path, _, name = entry_point.partition(":")
    require(bool(path and name) and all(word.isidentifier() for word in [*path.split("."), name]),
            f"world.entry_point is '{entry_point}': expected module:Class")
    require(path != "__main__", f"world.entry_point is '{entry_point}': other processes cannot find a class of the "
                                "script. Fix: put it in a file of its own, world.entry_point=file:Class")
    try:
        with _foreign_code():
            file = importlib.import_module(path)
    except ImportError as error:
        raise SettingError(f"world.entry_point is '{entry_point}', and its module cannot be imported: {error}. Fix: put its "
                           "folder on PYTHONPATH") from None
    except Exception as error:
        raise SettingError(f"world.entry_point is '{entry_point}': {raised(error, 'importing it')}") from error
    found = getattr(file, name, None)
    if not (inspect.isclass(found) and issubclass(found, (gymnasium.Env, gymnasium.vector.VectorEnv))):
        known = [n for n, value in vars(file).items() if inspect.isclass(value) and issubclass(value, gymnasium.Env)]
        what = f", which is a {type(found).__name__}, not a gymnasium.Env" if found is not None else ""
        near = suggestion(name, known) if known else f": expected a subclass of gymnasium.Env, and {path} has none."
        raise SettingError(f"world.entry_point is '{entry_point}'{what}{near}")
    if issubclass(found, gymnasium.vector.VectorEnv):
        return EnvSpec(id=entry_point, vector_entry_point=entry_point)
    return EnvSpec(id=entry_point, entry_point=entry_point, disable_env_checker=True)


def _check_settings(env_id: str, entry_point: Any, settings: Mapping[str, Any], others: Sequence[str]) -> None:
    """Refuse unknown settings, with the nearest known name."""
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    known, open_ended = _parameters(creator)
    for name in settings:
        if not open_ended and name not in (*known, *others):
            raise SettingError(f"{env_id} has no setting '{name}'{suggestion(name, known)}")


def _parameters(creator: Any) -> tuple[list[str], bool]:
    """Return the names of an environment's settings, including those of its base classes, and whether there may be more."""
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


def _wrapper(given: str | Mapping[str, Any]) -> Callable[..., Any]:
    """Return a wrapper's class, with its arguments if given."""
    arguments = {} if isinstance(given, str) else {str(key): value for key, value in given.items() if key != "_target_"}
    path = given if isinstance(given, str) else str(given.get("_target_"))
    package, _, name = path.rpartition(".")
    require(bool(package), f"world.wrappers names '{path}': expected a wrapper by its full name, package.file.Class")
    try:
        file = importlib.import_module(package)
    except ImportError as error:
        raise SettingError(f"world.wrappers names '{path}', whose package cannot be imported: {error}. "
                           f"Fix: {how_to_install(_extra(package.split('.')[0]))}, or put its folder on PYTHONPATH"
                           ) from None
    found = getattr(file, name, None)
    if not (inspect.isclass(found) and issubclass(found, gymnasium.Wrapper)):
        known = [n for n, value in vars(file).items() if inspect.isclass(value) and issubclass(value, gymnasium.Wrapper)]
        raise SettingError(f"world.wrappers names '{path}', which is not a gymnasium wrapper{suggestion(name, known)}")
    _check_arguments(path, found, arguments)
    return functools.partial(found, **arguments)


def _check_arguments(path: str, wrapper: type, arguments: Mapping[str, Any]) -> None:
    """Check arguments against a wrapper's constructor, whose first parameter is the environment."""
    _, *parameters = inspect.signature(wrapper).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = [p.name for p in named]
    for key in arguments:
        if key not in names and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            raise SettingError(f"world.wrappers: {path} has no argument '{key}'{suggestion(key, names)}")
    needed = [p.name for p in named if p.default is p.empty and p.name not in arguments]
    require(not needed, f"world.wrappers: {path} needs {', '.join(needed)}. Fix: world.wrappers=[{{_target_: {path}, "
                        f"{', '.join(f'{name}: …' for name in needed)}}}]")


def _extra(text: str) -> str:
    return next((extra for package, extra in EXTRAS.items() if package in text.lower()), "worlds")


@contextmanager
def _foreign_code() -> Iterator[None]:
    """Silence the deprecation warnings of other packages; if warnings are errors, Box2D's would end the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield

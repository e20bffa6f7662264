"""`ami check`: the contract of any module or world, shipped or a user's, as a report of every promise.

The target is a choice, `planner=cem planner.horizon=6`; a class, `mypkg.MyPlanner`; or the id of a gymnasium world,
`CartPole-v1`.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Sequence
from typing import Any

from ami.blueprint import World
from ami.config.compose import compose, to_graph, to_specs
from ami.config.instantiate import GRAPH
from ami.config.options import groups
from ami.config.trust import allow_list, trusted_class
from ami.errors import AmiError, GraphError, SettingError, WorldFault, require, unknown_name
from ami.graph.faults import blamed
from ami.graph.spec import ModuleSpec
from ami.module import Module
from ami.testing.report import BROKEN, Report
from ami.testing.subject import Sizes
from ami.testing.suite import examine

CLASS = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
ENTRY_POINT = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
WORLD_ID = re.compile(r"^[\w.:-]*[\w/-]*-v\d+$")
NO_MODULES = ("agent", "experiment", GRAPH, "learning", "evaluation")


def check(target: str, overrides: Sequence[str] = (), allow: Sequence[str] = (), searched: Sequence[str] = ()) -> Report:
    """Check every promise of the target.

    Args:
        target: `group=choice`, a class by its full name, the id of a gymnasium world, or its class, `module:Class`.
        overrides: with a choice or an id, further overrides.
        allow: prefixes of your own packages that may be named; see `ami.config.trust`.
        searched: overrides of the search path, `hydra.searchpath=[…]`.

    Raises:
        SettingError: it is no module, or its settings are invalid.
        UnknownName: there is no such choice or class.
        TrustError: the class is not on the allow-list.
    """
    if "=" in target:
        group = target.partition("=")[0].lstrip("+").partition(".")[0]  # planner._target_=… is checked as planner is
        names = [name for name in groups() if name not in NO_MODULES]
        if group in NO_MODULES:
            raise SettingError(f"'{target}' is no module: expected one of {', '.join(names)}. Fix to check a whole wiring: "
                               f"`ami graph {target}`")
        if group not in names:
            raise unknown_name("group", group, names)
        return _check_choice(group, [target, *overrides, *searched], allow)
    if WORLD_ID.match(target):
        return _check_choice("world", ["world=gym", f"world.id={target}", *overrides, *searched], allow)
    if ENTRY_POINT.match(target):
        return _check_choice("world", ["world=gym", f"world.entry_point={target}", *overrides, *searched], allow)
    if CLASS.match(target):
        require(not overrides, f"'{' '.join(overrides)}' follows a class, which is checked with its defaults. Fix for other "
                               "settings: name it as a choice, `GROUP=CHOICE GROUP._target_=… GROUP.setting=…`")
        return _check_class(target, allow)
    raise SettingError(f"'{target}' names nothing to check: expected a choice such as planner=cem, a class such as "
                       "mypkg.MyPlanner, or the id of a world such as CartPole-v1")


def _check_choice(group: str, overrides: Sequence[str], allow: Sequence[str]) -> Report:
    """Check a choice with the sizes of its graph, or with the default sizes if that graph is refused."""
    config = compose(overrides, allow=allow)
    parts = to_specs(config)
    if group not in parts:
        raise SettingError(f"'{overrides[0]}' makes no node: expected a choice with a `_target_`")
    dims: Sizes = {}
    with contextlib.suppress(GraphError):
        graph = to_graph(config)
        dims = {**graph.dims.get(group, {}), **({"A": graph.actions[group]} if group in graph.actions else {})}
    return _examined(parts[group], f"{group}={overrides[0].partition('=')[2]}", dims)


def _check_class(name: str, allow: Sequence[str]) -> Report:
    try:
        target = trusted_class(name, "target", allow_list(allow))
    except AmiError as error:  # here the class is no `_target_` of an option
        raise type(error)(str(error).replace("target._target_ is ", "").removeprefix("target ")) from None
    if not issubclass(target, Module):
        bases = ", ".join(base.__name__ for base in target.__mro__[1:3])
        raise SettingError(f"{name} is no module: its bases are {bases}. Expected a role of ami.blueprint. A term "
                           "of a cost is checked with its cost: `ami check cost=weighted_sum cost.critics.mine._target_=…`")
    part = ModuleSpec(target)
    needed = [parameter.name for parameter in inspect.signature(target).parameters.values()
              if parameter.default is parameter.empty
              and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)]
    role = getattr(target, "role", "")
    require(not needed, f"{name} needs {', '.join(needed)}, which have no defaults. Fix: `ami check {role}=CHOICE "
                        f"{role}._target_={name} {role}.{needed[0] if needed else ''}=…`")
    return _examined(part, name, {})


def _examined(part: ModuleSpec, name: str, dims: Sizes) -> Report:
    try:
        with blamed(name, "making it"):
            report = examine(part.make, _given(part, dims))
    except AmiError as error:
        text = str(error)
        raise SettingError(text if text.startswith(f"{name}: ") else f"{name} cannot be made: {text}") from error
    report.name = f"{report.name} ({name})" if "=" in name else name
    world = part.make()
    if isinstance(world, World):
        try:
            report.facts = world.facts() | {f"warning {n}": text for n, text in enumerate(world.warnings(), start=1)}
        except AmiError as error:
            how, _, fix = str(error).partition(" Fix: ")
            report.unjudge(WorldFault.__name__)
            report.note("an episode of random actions runs to its end", BROKEN, how, fix)
    return report


def _given(part: ModuleSpec, dims: Sizes) -> dict[str, Any]:
    """Return the sizes of the module's own ports, without those that only its callees use."""
    draft = part.make()
    symbols = {str(symbol).lstrip("*") for port in (*draft.inputs.values(), *draft.outputs.values()) for symbol in port.dims}
    return {symbol: size for symbol, size in dims.items() if symbol in symbols}

"""The whole contract of a module of any role, as a report of every promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ami.blueprint import Actor, Configurator, Cost, Goal, Memory, Perception, Planner, World, WorldModel
from ami.module import Module
from ami.testing.cost import check_cost
from ami.testing.module import check_module
from ami.testing.planner import check_planner
from ami.testing.report import BROKEN, Broken, Report
from ami.testing.roles import check_actor, check_configurator, check_goal, check_memory
from ami.testing.subject import Make, Sizes
from ami.testing.world import check_world
from ami.testing.world_model import check_perception, check_world_model

CHECKS: dict[type[Module], Callable[..., Any]] = {
    World: check_world, Perception: check_perception, WorldModel: check_world_model, Memory: check_memory, Goal: check_goal,
    Cost: check_cost, Planner: check_planner, Actor: check_actor, Configurator: check_configurator}


def examine(make: Make, dims: Sizes | None = None) -> Report:
    """Check every promise of a module's role, also after a broken one.

    Args:
        make: factory of the module: a class whose settings have defaults, or a function without arguments.
        dims: sizes to use, by symbol; a world decides its own.

    Returns:
        A printable report of every promise: `print(examine(MyPlanner))`.

    Raises:
        AmiError: the module cannot be constructed with its settings, or built with these sizes.
    """
    draft = make()
    role = next((role for role in CHECKS if isinstance(draft, role)), None)
    report = Report(type(draft).__name__, role.role if role is not None else "module")
    report.remarks = list(getattr(draft, "remarks", ()))
    check = check_module if role is None else CHECKS[role]
    try:
        if role is World:
            check(make, report=report)
        else:
            check(make, dims=dims, report=report)
    except Broken as found:  # before the module could run
        report.note(found.promise, BROKEN, found.how, found.fix)
    return report

"""The whole contract of a module, whatever its role, as a report of every promise."""

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
    """Judge every promise of a module's role, the broken ones too.

    Args:
        make: makes the module: a class whose settings have defaults, or a function without arguments.
        dims: sizes to use, by symbol; a world decides its own.

    Returns:
        What became of every promise; `print(examine(MyPlanner))` reads well.

    Raises:
        AmiError: the module cannot be made with its settings, or built with these sizes.
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
    except Broken as found:  # before there was anything to live with
        report.note(found.promise, BROKEN, found.how, found.fix)
    return report

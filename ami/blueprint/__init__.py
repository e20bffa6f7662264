"""The blueprint: the roles of an autonomous agent, as abstract modules with ports and calls.

After Yann LeCun, *A Path Towards Autonomous Machine Intelligence* (version 0.9.2, 2022), called "the paper" in every
docstring. Shapes: B parallel worlds, K candidates, H horizon, A action width; O, P and S are the sizes of an observation,
a percept and a state, each a vector (D,) or tokens (N, D) or an image (H, W, C); W cost terms.
"""

from __future__ import annotations

from ami.blueprint.actor import ACTION_MASK, Actor
from ami.blueprint.configurator import Configurator
from ami.blueprint.cost import Cost, CriticTerm, Distance, IntrinsicTerm
from ami.blueprint.goal import Goal
from ami.blueprint.memory import Memory
from ami.blueprint.perception import Perception
from ami.blueprint.planner import PLAN_MASK, Planner
from ami.blueprint.prediction import Prediction
from ami.blueprint.row_errors import RowErrors
from ami.blueprint.world import World
from ami.blueprint.world_model import Carry, WorldModel, preceding
from ami.module import Episode, Module

__all__ = [
    "ACTION_MASK", "PLAN_MASK", "ROLES", "Actor", "Carry", "Configurator", "Cost", "CriticTerm", "Distance", "Episode",
    "Goal", "IntrinsicTerm", "Memory", "Perception", "Planner", "Prediction", "RowErrors", "World", "WorldModel",
    "preceding",
]

ROLES: dict[str, type[Module]] = {
    cls.role: cls for cls in (World, Perception, WorldModel, Memory, Goal, Cost, Planner, Actor, Configurator)
}

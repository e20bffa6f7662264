"""A tiny agent for tests of the engine: it observes the dot's position and plans straight steps through the door."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ami.blueprint import Actor, Configurator, Goal, Perception, Planner, WorldModel
from ami.envs.world import GymWorld
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec

DOOR = torch.tensor([16.0, 10.0])
WORLD_MODEL_STEPS = 12


def seen(observation: Tensor) -> Tensor:
    """Return the dot's position: from the state, or as the centre of the red pixels."""
    if observation.dtype != torch.uint8:
        return observation[..., :2]
    red = (observation[..., 0].float() - observation[..., 2].float() - 10).clamp(min=0)
    at = torch.arange(red.shape[-1]) + 0.5
    return torch.stack([(red.sum(-2) * at).sum(-1), (red.sum(-1) * at).sum(-1)], -1) / red.sum((-2, -1))[..., None]


class Eye(Perception):
    def infer_dims(self, known):
        return {"P": (2,)}

    def encode(self, observation):
        return seen(observation)


class Belief(WorldModel):
    def infer_dims(self, known):
        return {"S": (2,)}

    def step(self, percept, action, recall):
        return {"state": percept, "surprise": percept.new_zeros(len(percept))}


class GoalPosition(Goal):
    def infer_dims(self, known):
        return {"S": (2,)}

    def step(self, observation, mode):
        return {"goal": seen(observation)}


class Steps(Planner):
    requires = {}

    def infer_dims(self, known):
        return {"H": 3}

    def step(self, state, goal, mode, weights):
        other_room = ((state[:, 0] - 16) * (goal[:, 0] - 16) < 0) & ((state - DOOR).norm(dim=-1) > 1)
        way = torch.where(other_room[:, None], DOOR, goal) - state + 0.1 * self.random.normal(2)
        plan = (way / way.norm(dim=-1, keepdim=True).clamp(min=1))[:, None].repeat(1, 3, 1)
        return {"plan": plan, "imagined": state[:, None] + 2 * plan.cumsum(1), "energy": (goal - state).norm(dim=-1),
                "model_steps": torch.full((len(state),), WORLD_MODEL_STEPS)}


class Feet(Actor):
    def step(self, state, goal, mode, plan):
        return {"action": plan[:, 0].contiguous()}


class Always(Configurator):
    def infer_dims(self, known):
        return {"W": 1}

    def step(self, energy, surprise):
        return {"mode": torch.full((self.batch,), 2), "weights": torch.ones(self.batch, 1)}


WIRING = {
    "world": {"action": "actor.action@-1"},
    "perception": {"observation": "world.observation"},
    "world_model": {"percept": "perception.percept", "action": "actor.action@-1"},
    "configurator": {"surprise": "world_model.surprise"},
    "goal": {"observation": "world.goal"},
    "planner": {"state": "world_model.state", "goal": "goal.goal", "mode": "configurator.mode"},
    "actor": {"state": "world_model.state", "goal": "goal.goal", "mode": "configurator.mode", "plan": "planner.plan"},
}


@pytest.fixture
def tiny_agent() -> Callable[..., Graph]:
    """Return a function that makes the tiny agent's graph; keyword arguments are settings of its two rooms."""

    def make(**settings: object) -> Graph:
        parts = {"world": ModuleSpec(GymWorld, {"id": "worlds:ami/TwoRooms-v0", **settings}),
                 **{node: ModuleSpec(module) for node, module in {
                     "perception": Eye, "world_model": Belief, "configurator": Always, "goal": GoalPosition,
                     "planner": Steps, "actor": Feet}.items()}}
        return Graph(parts, WIRING)

    return make

"""The toys keep the contract, learn where they learn, and plan: nearer to the goal than random actions, in a small graph."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Episode, preceding
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.module import Callee, Calls
from ami.runtime.local import LocalRuntime
from ami.testing import check_actor, check_world, check_world_model
from ami.testing.stubs import StubCost
from ami.testing.subject import Subject
from ami.testing.toys.goal_space import GoalSpace
from ami.testing.toys.gru_belief import GRUBelief
from ami.testing.toys.latent_actions import LatentActions
from ami.testing.toys.plane import STEP, Plane
from ami.testing.toys.rssm import RSSM
from ami.testing.toys.tokens import Tokens
from modules.actor.plan_decoder import PlanDecoder
from modules.actor.plan_follower import PlanFollower
from modules.actor.random import RandomActor
from modules.configurator.fixed import FixedConfigurator
from modules.cost.goal_distance import GoalDistance
from modules.cost.weighted_sum import WeightedSum
from modules.goal.image import ImageGoal
from modules.perception.identity import Identity
from modules.planner.cem import CEM
from modules.planner.none import NoPlanner

TOYS = [GRUBelief, RSSM, Tokens, LatentActions, GoalSpace]
WITH_MOMENTUM = GRUBelief, RSSM
SIZES = {"O": (2,), "P": (2,), "A": 2}
EPISODES = 12


@pytest.mark.parametrize("toy", TOYS)
def test_toys_keep_the_contract(toy: type) -> None:
    check_world_model(toy)


def test_plane_keeps_the_contract() -> None:
    check_world(Plane)


def test_plan_decoder_keeps_the_contract() -> None:
    check_actor(PlanDecoder)


def graph_of(toy: type, plans: bool) -> Graph:
    """Return a small agent of a toy that plans, or acts at random."""
    decodes = plans and toy is LatentActions
    specs = {"world": ModuleSpec(Plane, {"momentum": 0.5 if toy in WITH_MOMENTUM else 0.0}),
             "perception": ModuleSpec(Identity), "world_model": ModuleSpec(toy),
             "configurator": ModuleSpec(FixedConfigurator), "goal": ModuleSpec(ImageGoal),
             "cost": ModuleSpec(WeightedSum, {"intrinsic": {"goal": GoalDistance()}}),
             "planner": ModuleSpec(CEM, {"horizon": 3}) if plans else ModuleSpec(NoPlanner),
             "actor": ModuleSpec((PlanDecoder if decodes else PlanFollower) if plans else RandomActor)}
    calls = {"perception": "perception", "world_model": "world_model"}
    state = {"state": "world_model.state", "goal": "goal.goal", "mode": "configurator.mode"}
    wiring: dict[str, Any] = {
        "world": {"action": "actor.action@-1"}, "perception": {"observation": "world.observation"},
        "world_model": {"percept": "perception.percept", "action": "actor.action@-1", "calls": {"perception": "perception"}},
        "configurator": {}, "goal": {"observation": "world.goal", "calls": calls},
        "cost": {"state": "world_model.state", "goal": "goal.goal", "weights": "configurator.weights",
                 "calls": {"world_model": "world_model"}},
        "planner": {**state, **({"calls": {"world_model": "world_model", "cost": "cost"}} if plans else {})},
        "actor": {**state, "plan": "planner.plan", **({"calls": {"world_model": "world_model"}} if decodes else {})},
    }
    return Graph(specs, wiring)


def nearest(graph: Graph, weights: dict[str, Tensor]) -> Tensor:
    """Return the least distance to the goal in each of some episodes."""
    runtime = LocalRuntime(graph, watch=("world.reward",), weights={"world_model": weights} if weights else {})
    with Agent(runtime) as agent:
        agent.reset(torch.ones(EPISODES, dtype=torch.bool), [Episode(n, n) for n in range(EPISODES)])
        rewards = torch.stack([agent.cycle()["world.reward"] for _ in range(20)])
    return -rewards[1:].amax(0)


def windows(batch: int, length: int, momentum: float) -> dict[str, Tensor]:
    """Return windows of random actions in a plane."""
    action, path = torch.rand(batch, length, 2) * 2 - 1, [torch.rand(batch, 2) * 2 - 1]
    velocity = torch.zeros(batch, 2)
    for t in range(length):
        velocity = momentum * velocity + STEP * action[:, t]
        path.append(path[-1] + velocity)
    return {"observation": torch.stack(path, 1), "action": action}


@functools.cache
def trained(toy: type) -> Any:
    """Return a toy after some steps of its own loss, if it has one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = toy()
        model.set_up({**SIZES, **model.infer_dims(SIZES)})
        if toy in WITH_MOMENTUM:
            model.calls = Calls("world_model", {"perception": Callee("perception", Identity())})
            optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
            for _ in range(250):
                optimiser.zero_grad()
                model.loss(windows(64, 8, 0.5))[0].backward()
                optimiser.step()
    return model


@pytest.mark.parametrize("toy", TOYS)
def test_toys_plan_with_cem(toy: type) -> None:
    weights = trained(toy).state_dict()
    planned, by_chance = nearest(graph_of(toy, True), weights), nearest(graph_of(toy, False), weights)
    assert planned.mean() < 0.2 < by_chance.mean()


@pytest.mark.parametrize("toy", WITH_MOMENTUM)
def test_states_hold_the_velocity(toy: type) -> None:
    """From the same position, and with no action, a point that came from the left goes on to the right."""
    model, ahead = trained(toy), []
    for direction in (1.0, -1.0):
        action = torch.tensor([[[direction, 0.0], [direction, 0.0]]])
        path = direction * torch.tensor([[[-0.5, 0.0], [-0.3, 0.0], [0.0, 0.0]]])
        with torch.no_grad():
            state = model.observe(path, preceding(action))[0][:, -1]
            ahead.append(float(model.readout(model.imagine(state, torch.zeros(1, 1, 1, 2)).states)[..., 0]))
    assert ahead[0] - ahead[1] > 0.1


def test_noise_of_planners_depends_on_the_row_alone() -> None:
    """Rows draw the model's noise from their own streams: alone, beside idle rows, and when a search is split in parts."""
    def planned(rows: Sequence[int], modes: Sequence[int], population: int) -> dict[int, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = RSSM()
            model.set_up({**SIZES, **model.infer_dims(SIZES)})
        planner = CEM(horizon=2, num_candidates=8)
        planner.population = population
        subject = Subject(lambda: planner, {"S": (40,), "Q": (2,), "A": 2, "Z": (8,)},
                          {"world_model": model, "cost": StubCost()})
        module = subject.fresh(rows)
        state = torch.stack([torch.full((40,), row / 10) for row in rows])
        (outputs,) = subject.run(module, [{"state": state, "goal": torch.ones(len(rows), 2), "mode": torch.tensor(modes),
                                            "weights": None, "action_mask": None}])
        return dict(zip(rows, outputs["plan"], strict=True))

    together = planned([0, 1, 2], [2, 2, 2], 0)
    for rows, modes, population in (([1], [2], 0), ([0, 1], [1, 2], 0), ([0, 1, 2], [2, 2, 2], 1000),
                                    ([0, 1, 2], [1, 2, 2], 1000)):
        torch.testing.assert_close(planned(rows, modes, population)[1], together[1])


def test_nothing_is_drawn_without_noise() -> None:
    planner = Subject(CEM, {"A": 2}).fresh([0])
    assert planner.model_noise(torch.zeros(1, 3, 2, 2)) is None
    assert Subject(Tokens).fresh([0]).noise_shape == ()

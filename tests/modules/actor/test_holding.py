"""Plans held for several ticks: with a slow planner each tick executes the plan's next action."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ami.agent import Agent
from ami.blueprint import Actor, Episode, Planner, World
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.module import Arrival
from ami.ports import ActionSpace, Port
from ami.runtime.local import LocalRuntime
from ami.testing.subject import Subject
from modules.actor.plan_follower import PlanFollower
from modules.actor.policy import Policy
from tests.support.episodes import numbered

THREE = ActionSpace(choices=(3,))


def followed(actor: Actor, every: int, ticks: int, horizon: int = 4, delay: int = 0) -> list[float]:
    """The actions of an actor whose planner fires every few ticks: its plan of tick t is t, t + 0.1, t + 0.2, …"""
    actions = []
    for tick in range(ticks):
        made = max(tick - delay, 0) // every * every
        plan = made + torch.arange(horizon)[None, :, None].expand(2, -1, 2) / 10
        sent = actor.step(state=torch.zeros(2, 6), goal=torch.zeros(2, 6), mode=torch.full((2,), 2), plan=plan)
        actions.append(round(float(sent["action"][0, 0]), 3))
    return actions


def actor_of(make: type[Actor], every: int, delay: int = 0, own: int = 1, **settings: int) -> Actor:
    def made() -> Actor:
        actor = make(**settings)
        actor.arrivals, actor.every = {"plan": Arrival(every, delay)} if every > 1 else {}, own
        return actor

    module = Subject(made, {"H": 4, "S": (6,), "A": 2}).fresh([0, 1])
    assert isinstance(module, Actor)
    return module


@pytest.mark.parametrize("make", [PlanFollower, Policy])
def test_held_plan_is_followed(make: type[Actor]) -> None:
    assert followed(actor_of(make, 1), 1, 4) == [0, 1, 2, 3]
    assert followed(actor_of(make, 2), 2, 6) == [0, 0.1, 2, 2.1, 4, 4.1]
    assert followed(actor_of(make, 3, delay=1), 3, 6, delay=1) == [0, 0, 0.1, 0.2, 3, 3.1]


@pytest.mark.parametrize("make", [PlanFollower, Policy])
def test_exhausted_plan_repeats_its_last_action(make: type[Actor]) -> None:
    assert followed(actor_of(make, 6), 6, 7) == [0, 0.1, 0.2, 0.3, 0.3, 0.3, 6]


def test_num_steps_of_held_plans_start_at_the_due_action() -> None:
    assert followed(actor_of(PlanFollower, 2, num_steps=3), 2, 7) == [0, 0.1, 0.2, 2.1, 2.2, 2.3, 6]


def test_reset_row_starts_its_plan_and_the_others_continue() -> None:
    actor = actor_of(PlanFollower, 4)
    plan = torch.arange(4.0)[None, :, None].expand(2, -1, 2)
    inputs = {"state": torch.zeros(2, 6), "goal": torch.zeros(2, 6), "mode": torch.full((2,), 2), "plan": plan}
    before = [actor.step(**inputs)["action"][:, 0].tolist() for _ in range(2)]
    actor.begin(torch.tensor([True, False]), numbered([5, 1]))
    assert before == [[0, 0], [1, 1]]
    assert [actor.step(**inputs)["action"][:, 0].tolist() for _ in range(2)] == [[0, 2], [1, 3]]


def test_forbidden_held_action_is_replaced_by_the_newest_plan() -> None:
    def made() -> Actor:
        actor = PlanFollower(num_steps=3)
        actor.arrivals = {"plan": Arrival(2, 0)}
        return actor

    actor = Subject(made, {"H": 4, "S": (6,), "A": THREE}).fresh([0])
    assert isinstance(actor, Actor)

    def act(plan: Sequence[int], allowed: Sequence[int]) -> int:
        sent = actor.step(state=torch.zeros(1, 6), goal=torch.zeros(1, 6), mode=torch.full((1,), 2),
                          plan=THREE.one_hot(torch.tensor(plan)[None, :, None]), action_mask=torch.tensor([allowed]).bool())
        return int(sent["action"].argmax())

    assert act([2, 1, 0, 0], [1, 1, 1]) == 2
    assert act([2, 1, 0, 0], [1, 0, 1]) == 0, "neither plan's action is allowed: the first that is"
    assert act([1, 2, 2, 2], [0, 1, 1]) == 1, "the newest plan is taken up"
    assert act([0, 0, 0, 0], [1, 1, 1]) == 2, "and followed"


class Space(World):
    inputs = {"action": Port("action", ("A",), space=ActionSpace(1))}
    outputs = {name: World.outputs[name] for name in ("reward", "terminated", "truncated", "success")}

    def infer_dims(self, known):  # type: ignore[no-untyped-def]
        return {"A": 1}

    def step(self, action: Tensor) -> dict[str, Tensor]:
        over = torch.zeros(len(action), dtype=torch.bool)
        return {"reward": action[:, 0], "terminated": over, "truncated": over, "success": over}


class Counting(Planner):
    """Its plan of tick t is t / 100, t / 100 + 0.1, …"""

    inputs: dict[str, Port] = {}
    outputs = {"plan": Port("plan", ("H", "A"))}
    requires = {}

    def infer_dims(self, known):  # type: ignore[no-untyped-def]
        return {"H": 3}

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"fired": torch.zeros(batch)}

    def step(self) -> dict[str, Tensor]:
        fired = self.carry["fired"]
        self.carry = {"fired": fired + 1}
        return {"plan": (fired[:, None, None] / 100 + torch.arange(3)[None, :, None] / 10)}


class Follower(PlanFollower):
    inputs = {"plan": Port("plan", ("H", "A"))}

    def step(self, plan: Tensor) -> dict[str, Tensor]:
        mode = torch.full((len(plan),), 2)
        return super().step(plan[:, 0], plan[:, 0], mode, plan)


def test_engine_passes_the_plans_interval_to_the_actor() -> None:
    wiring = {"room": {"action": "actor.action@-1"}, "actor": {"plan": "planner.plan"}, "planner": {"every": 2}}
    graph = Graph({"room": ModuleSpec(Space), "actor": ModuleSpec(Follower), "planner": ModuleSpec(Counting)}, wiring)
    with Agent(LocalRuntime(graph, watch=("actor.action",))) as agent:
        agent.reset(torch.ones(1, dtype=torch.bool), [Episode(0, 0)])
        actions = [round(float(agent.cycle()["actor.action"][0, 0]), 3) for _ in range(5)]
    assert actions == [0, 0.1, 0.01, 0.11, 0.02]

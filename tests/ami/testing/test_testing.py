"""ami.testing: a user's planner is checked in three lines, and every broken promise is reported by name."""

import re

import pytest
import torch
from torch import nn

from ami.blueprint import Actor, Configurator, Goal, Memory, Perception, Prediction
from ami.envs.world import GymWorld
from ami.module import Call, Module, callable_method
from ami.ports import Port
from ami.testing import (
    check_actor,
    check_configurator,
    check_cost,
    check_goal,
    check_memory,
    check_module,
    check_perception,
    check_planner,
    check_world,
    check_world_model,
)
from ami.testing.stubs import StubCost, StubPerception, StubWorldModel
from modules.actor.random import RandomActor
from modules.planner.categorical import Categorical
from modules.planner.random_shooting import RandomShooting
from modules.planner.sampling import SamplingPlanner, SearchResult


class Softmax(SamplingPlanner):
    """A user's planner: the mean of random plans, weighted by their energy."""

    def __init__(self, horizon=4, num_candidates=64, temperature=1.0):
        super().__init__(horizon)
        self.num_candidates, self.temperature = num_candidates, temperature

    def draw(self):
        return self.random.normal(self.num_candidates, self.horizon, self.width)

    def search(self, state, goal, weights, before, noise):
        candidates = self.clipped(before[:, None] + 0.5 * noise)
        states, energy = self.imagine(state, goal, weights, candidates)
        share = torch.softmax(-energy / self.temperature, 1)
        plan = self.discretise((share[:, :, None, None] * candidates).sum(1))
        least, best = energy.min(1, keepdim=True)
        return SearchResult(plan, self.gather(states, best)[:, 0], least[:, 0], self.num_candidates * self.horizon)


def test_a_users_planner_passes():
    check_planner(Softmax)


def broken(check, make, **settings):
    """The message of the broken promise."""
    with pytest.raises(AssertionError) as error:
        check(make, **settings)
    return str(error.value)


# Every module ---------------------------------------------------------------------------------------------------------


class Echo(Module):
    """Sends the received state: keeps every promise."""

    inputs = {"state": Port("state", ("*S",)), "energy": Port("energy", optional=True)}
    outputs = {"goal": Port("goal", ("*S",))}

    def step(self, state, energy=None):
        return {"goal": state * 1}


def test_valid_module_passes():
    check_module(Echo)


class WrongShape(Echo):
    def step(self, state, energy=None):
        return {"goal": state[:, :2]}


class NeedsTheOptional(Echo):
    def step(self, state, energy=None):
        return {"goal": state * 1} if energy is not None else {}


class Talkative(Echo):
    def step(self, state, energy=None):
        return {"goal": state * 1, "thought": state}


class ChangesItsInput(Echo):
    def step(self, state, energy=None):
        return {"goal": state.add_(1)}


class ChangesItsInputOnce(Echo):
    def step(self, state, energy=None):
        return {"goal": state.zero_() * 1}


class SendsNoDict(Echo):
    def step(self, state, energy=None):
        return state


class DecidesNothing(Echo):
    def infer_dims(self, known):
        return None


class LeavesOutSuper(Echo):
    def __init__(self):
        self.size = 3


class ChangesItsMessages(Echo):
    def initial(self, batch):
        return {"sum": torch.zeros(batch, 6)}

    def step(self, state, energy=None):
        self.carry["sum"] += state
        return {"goal": self.carry["sum"]}


class DrawsElsewhere(Echo):
    def step(self, state, energy=None):
        return {"goal": torch.randn_like(state)}


class MixesRows(Echo):
    def step(self, state, energy=None):
        return {"goal": state - state.mean(0)}


class RemembersElsewhere(Echo):
    def begin(self, mask, episodes):
        super().begin(mask, episodes)
        if mask.all():
            self.sum = torch.zeros(len(mask), 6)

    def step(self, state, energy=None):
        self.sum = self.sum + state
        return {"goal": self.sum}


class ForgetsAll(Echo):
    def initial(self, batch):
        return {"sum": torch.zeros(batch, 6)}

    def reset(self, mask):
        self.carry = self.initial(self.batch)

    def step(self, state, energy=None):
        self.carry = {"sum": self.carry["sum"] + state}
        return {"goal": self.carry["sum"]}


class ForgetsInSnapshots(Echo):
    def reset(self, mask):
        self.sum = torch.where(mask[:, None], 0.0, getattr(self, "sum", torch.zeros(self.batch, 6)))

    def step(self, state, energy=None):
        self.sum = self.sum + state
        return {"goal": self.sum}


class CarriesColumns(Echo):
    def initial(self, batch):
        return {"mean": torch.zeros(6, batch)}


class Undefined(Echo):
    def step(self, state, energy=None):
        return {"goal": state / 0}


class HidesWeights(Echo):
    def build(self, dims):
        self.scale = torch.randn(6)

    def step(self, state, energy=None):
        return {"goal": state * self.scale}


class CallsTheUnknown(Echo):
    requires = {"oracle": Call(("foretell",))}


@pytest.mark.parametrize(("make", "words"), [
    (WrongShape, "its outputs fit its ports: WrongShape.goal gave the shape (3, 2): expected (3, 6)"),
    (Undefined, "its outputs are finite: a number of 'goal' is not"),
    (NeedsTheOptional, "its outputs fit its ports: NeedsTheOptional.goal gave a NoneType"),
    (Talkative, "it sends what its ports declare: 'thought' is no output port"),
    (ChangesItsInput, "it leaves its inputs as they are: input 'state' differs by up to 1"),
    (ChangesItsInputOnce, "it leaves its inputs as they are: input 'state' differs by up to "),
    (SendsNoDict, "step() returns a dict of its outputs: it returns a Tensor"),
    (DecidesNothing, "infer_dims() returns sizes by symbol: it returns None"),
    (LeavesOutSuper, "it is an ami Module: __init__() leaves out super().__init__()"),
    (ChangesItsMessages, "it never changes a message it has sent: output 'goal' differs"),
    (DrawsElsewhere, "the same seed gives the same outputs: 'goal' differs"),
    (MixesRows, "a row alone gives what it gives in a batch: row 0: 'goal' differs"),
    (RemembersElsewhere, "a reset row keeps nothing of its old episode: 'goal' differs"),
    (ForgetsAll, "reset leaves the other rows alone: 'goal' differs"),
    (ForgetsInSnapshots, "it continues identically from a snapshot: 'goal' differs"),
    (CarriesColumns, "its carry is batch-first: carry['mean'] has the shape (6, 3) for 3 worlds"),
    (HidesWeights, "its saved weights give the same module: 'goal' differs"),
    (CallsTheUnknown, "its calls can be bound: it calls oracle.foretell, which no stub has"),
    (nn.Identity, "it is an ami Module: it is a Identity"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_what_every_module_promises(make, words):
    message = broken(check_module, make)
    assert message.startswith(f"{make.__name__} breaks the promise that {words}")
    assert ". Fix: " in message


def test_instance_in_place_of_its_class_is_refused():
    assert broken(check_module, Echo()).startswith("a check received the module Echo(): expected its class")


def test_conflicting_sizes_are_reported():
    class Wide(Echo):
        def infer_dims(self, known):
            return {"S": (9,)}

    assert broken(check_module, Wide, dims={"S": (6,)}) == (
        "Wide breaks the promise that it fits the given sizes: S = (6,) was given and it decides (9,). "
        "Fix: return only sizes it decides from infer_dims()")


def test_a_call_that_no_stub_serves_can_be_bound():
    class Foretelling(Echo):
        @callable_method
        def foretell(self, state):
            return state + 1

    class Asking(CallsTheUnknown):
        def step(self, state, energy=None):
            return {"goal": self.calls.oracle.foretell(state)}

    check_module(Asking, calls={"oracle": Foretelling()})


# Callable methods -----------------------------------------------------------------------------------------------------


class Moody(StubWorldModel):
    def observe(self, percepts, actions, carry=None, noise=None):
        return super().observe(percepts, actions)[0] + torch.rand(()), {}


class Wearing(StubWorldModel):
    def initial_carry(self, batch):
        return {"calls": torch.zeros(batch)}

    def observe(self, percepts, actions, carry=None, noise=None):
        return super().observe(percepts, actions)[0], carry or self.initial_carry(len(percepts))

    def goal_of(self, percept):
        self.carry["calls"] = self.carry["calls"] + 1
        return percept * 1


class Spoiling(StubWorldModel):
    def encode_action(self, state, action):
        return action.clone()

    def imagine(self, state, actions, noise=None):
        prediction = super().imagine(state, actions)
        actions.zero_()
        return Prediction(prediction.states * 0)


@pytest.mark.parametrize(("make", "words"), [
    (Wearing, "the callable method goal_of is pure: it changed the module: 'carry.calls' differs"),
    (Spoiling, "the callable method imagine is pure: it changed its argument number 1"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_callable_methods_are_pure(make, words):
    assert words in broken(check_world_model, make)


def test_callable_methods_draw_nothing():
    class Guessing(Echo, Perception):
        inputs, outputs = Perception.inputs, Perception.outputs

        def infer_dims(self, known):
            return {"P": known["O"]}

        def step(self, observation):
            return {"percept": observation * 1.0}

        def encode(self, observation):
            return observation + torch.rand(())

    assert "the callable method encode is pure: called twice with the same arguments, 'encode' differs" in broken(
        check_perception, Guessing)


# Planners -------------------------------------------------------------------------------------------------------------


class Boastful(RandomShooting):
    def search(self, *given):
        return super().search(*given)._replace(model_steps=1)


class Worst(RandomShooting):
    def imagine(self, *given):
        states, energy = super().imagine(*given)
        return states, -energy


class Wild(RandomShooting):
    def draw(self):
        return super().draw() * 3


class NeverIdle(RandomShooting):
    def step(self, state, goal, mode, weights=None, action_mask=None):
        return super().step(state, goal, torch.full_like(mode, 2), weights, action_mask)


class SharesItsStream(RandomShooting):
    def step(self, state, goal, mode, weights=None, action_mask=None):
        if bool((mode == 1).any()):
            self.draw()
        return super().step(state, goal, mode, weights, action_mask)


class Undecided(Categorical):
    def search(self, state, goal, weights, start, noise):
        found = super().search(state, goal, weights, start, noise)
        return found._replace(plan=found.plan * 0.9 + 0.1 / 3)


def test_discrete_planner_is_checked_with_discrete_actions():
    check_planner(Categorical)
    assert ("its discrete actions are one-hot: one is [0.033, 0.033, 0.933]. Fix: plan "
            "self.actions.nearest(scores), or self.actions.one_hot(chosen)") in broken(check_planner, Undecided)


class Unmasked(Categorical):
    def step(self, state, goal, mode, weights=None, action_mask=None):
        return super().step(state, goal, mode, weights)


class UnmaskedActor(RandomActor):
    def step(self, state, goal, mode, plan=None, action_mask=None):
        return super().step(state, goal, mode, plan)


def test_masked_planner_and_actor_choose_allowed_actions():
    words = r"its actions are allowed by the action mask: row \d at tick \d chose \[[01., ]+\], allowed were \[[01, ]+\]"
    assert re.search(words, broken(check_planner, Unmasked)) and re.search(words, broken(check_actor, UnmaskedActor))


@pytest.mark.parametrize(("make", "words"), [
    (Boastful, "its model_steps are correct: model_steps adds up to 3 over 3 worlds at tick 0, the world model predicted "
               "768"),
    (Worst, "its plans have less energy than random ones: row 0: "),
    (Wild, "its actions lie in [-1, 1]: one is "),
    (NeverIdle, "rows in Mode-1 stay idle: at tick 0 such a row has 256 model steps and a plan up to "),
    (SharesItsStream, "a row alone gives what it gives in a batch: row 0: "),
], ids=lambda value: getattr(value, "__name__", ""))
def test_what_planners_promise(make, words):
    assert words in broken(check_planner, make)


# Perceptions and world models -----------------------------------------------------------------------------------------


def test_encode_takes_any_leading_sizes():
    class Flat(StubPerception):
        def infer_dims(self, known):
            return {"P": (6,)}

        def encode(self, observation):
            return observation.float().flatten(1) @ self.map

    with pytest.raises(RuntimeError):
        check_perception(Flat)

    class Forgetful(Flat):
        def encode(self, observation):
            return observation.float().flatten(-3).flatten(0, -2) @ self.map

    assert "encode takes any leading sizes: observations (B, 2, *O) give (6, 6)" in broken(check_perception, Forgetful)


def test_percept_is_the_result_of_encode():
    class Otherwise(StubPerception):
        def step(self, observation):
            return {"percept": self.encode(observation) + 1}

    assert "the percept is what encode gives: step() gives another one" in broken(check_perception, Otherwise)


class Sound(StubWorldModel):
    """The stub."""


class Bare(Sound):
    def imagine(self, state, actions, noise=None):
        return super().imagine(state, actions).states


class Transposed(Sound):
    def imagine(self, state, actions, noise=None):
        return Prediction(super().imagine(state, actions).states.transpose(1, 2))


class Foreseeing(Sound):
    def imagine(self, state, actions, noise=None):
        return Prediction(super().imagine(state, actions.flip(2)).states)


class Crowded(Sound):
    def imagine(self, state, actions, noise=None):
        return Prediction(super().imagine(state, actions - actions.mean(1, keepdim=True)).states)


class Overlooking(Sound):
    def observe(self, percepts, actions, carry=None, noise=None):
        return percepts[:, 0]


class Unnamed(Sound):
    def observe(self, percepts, actions, carry=None, noise=None):
        return percepts, {"belief": percepts[:, -1]}


class Forgetful(Sound):
    def initial_carry(self, batch):
        return {"belief": torch.zeros(batch, 6)}

    def observe(self, percepts, actions, carry=None, noise=None):
        return percepts.cumsum(1), self.initial_carry(len(percepts))


class Hindsighted(Sound):
    def observe(self, percepts, actions, carry=None, noise=None):
        return percepts + percepts.mean(1, keepdim=True), {}


class Wilful(Sound):
    def step(self, percept, action, recall=None):
        return {"state": percept + 1, "surprise": percept.new_zeros(len(percept))}


class Narrow(Sound):
    def goal_of(self, percept):
        return percept.flatten(1)


class Placid(Sound):
    def infer_dims(self, known):
        return {"Z": (2,)}


class Entangled(Sound):
    def imagine(self, state, actions, noise=None):
        shared = state.mean(0) if actions.shape[1] > 1 or actions.shape[2] > 1 else 0
        return Prediction(super().imagine(state, actions).states + shared)


class Miscoding(Sound):
    def decode_action(self, state, action):
        return action[..., :1]


class Bidirectional(Sound):
    causal = False

    def imagine(self, state, actions, noise=None):
        return Prediction(super().imagine(state, actions.flip(2)).states)


class Shortened(Sound):
    def imagine_last(self, state, actions, noise=None):
        return Prediction(self.imagine(state, actions).states[:, :, :1])


class Relaxing(Sound):
    """Takes one gradient step on the predicted states, without leaving inference mode."""

    def imagine(self, state, actions, noise=None):
        with torch.enable_grad():
            states = super().imagine(state, actions).states.detach().requires_grad_()
            (slope,) = torch.autograd.grad(states.square().sum(), states)
        return Prediction(states.detach() - 0.1 * slope)


class RelaxingInside(Sound):
    """Takes the same step on clones, outside inference mode."""

    def imagine(self, state, actions, noise=None):
        with torch.inference_mode(False), torch.enable_grad():
            states = super().imagine(state.clone(), actions.clone()).states.detach().requires_grad_()
            (slope,) = torch.autograd.grad(states.square().sum(), states)
        return Prediction(states.detach() - 0 * slope)


class Counting(Sound):
    def imagine(self, state, actions, noise=None):
        age = torch.arange(actions.shape[2]).view(1, 1, -1, 1)
        return Prediction(super().imagine(state, actions).states + age**2)


class Signed(Sound):
    def distance(self, states, goal):
        return (states - goal).sum(-1)


class Rigid(Sound):
    def distance(self, states, goal):
        return (states - goal).flatten(1).square().sum(1)


class Losing(Sound):
    def rebase_goal(self, goal, state):
        return goal[..., :2] + 0 * state[..., :2]


class Drifting(Sound):
    def rebase_goal(self, goal, state):
        return (goal + state) / 2


class Startled(Sound):
    def step(self, percept, action, recall=None):
        return {**super().step(percept, action, recall), "surprise": percept.new_ones(len(percept))}


class Stubborn(Sound):
    def build(self, dims):
        super().build(dims)
        self.guess = nn.Parameter(torch.zeros(()))

    def loss(self, batch):
        return (self.guess - 1).square() * 0 + batch["action"].square().mean(), {}


class Untidy(Stubborn):
    def loss(self, batch):
        return (self.guess - 1).square(), {"all": batch["action"]}


class Exploding(Stubborn):
    def loss(self, batch):
        return (self.guess - 1).square() / 0, {}


def test_valid_world_model_passes():
    check_world_model(Sound)
    check_world_model(Bidirectional)  # it declares that it is not causal


def test_a_world_model_may_take_gradients_of_its_own():
    check_world_model(RelaxingInside)


@pytest.mark.parametrize(("make", "words"), [
    (Bare, "imagine gives a Prediction: it gives a Tensor"),
    (Transposed, "imagine gives states (B, K, H, *S): it gives (3, 3, 5, 6), expected (3, 5, 3, 6)"),
    (Overlooking, "observe gives states (N, T, *S) and a carry: it gives a Tensor"),
    (Unnamed, "observe gives states (N, T, *S) and a carry: its carry has ['belief'], initial_carry() has []"),
    (Forgetful, "observing a sequence is observing its percepts one by one: at tick 1 the state is another one"),
    (Hindsighted, "observing a sequence is observing its percepts one by one: at tick 0 the state is another one"),
    (Wilful, "a step observes one percept: at tick 0 step() gives another state than observe()"),
    (Narrow, "goal_of gives goals (…, *Q): percepts (B, *P) give (3, 6) and (B, 2, *P) (3, 12); *Q is (6,)"),
    (Placid, "a declared noise is used: other noise gives the same states"),
    (Entangled, "imagined rows are independent: a row alone has other states than among others"),
    (Miscoding, "encode_action gives a plan's actions, decode_action the world's: they give (3, 2) and (3, 1), expected "
                "(3, 2) and (3, 2)"),
    (Shortened, "imagine_last gives the last state of imagine: it gives others, of shape (3, 5, 1, 6)"),
    (Relaxing, "imagine works in inference mode: it raised RuntimeError: "),
    (Foreseeing, "later actions do not change earlier states: another last action changed earlier states"),
    (Crowded, "candidates are independent: a candidate alone has other states than among others"),
    (Counting, "a state suffices to continue a rollout: a rollout from its own first state leads elsewhere"),
    (Signed, "a distance is 0 to the same state and never negative: to itself [0.0, 0.0, 0.0], to another ["),
    (Rigid, "a distance broadcasts: states (B, 1, *S) and goals (1, B, *S) give (3,)"),
    (Losing, "rebase_goal returns goals: goals (1, B, *S) and states (B, 1, *S) give (3, 3, 2)"),
    (Drifting, "rebase_goal is idempotent: a rebased goal changes when rebased again"),
    (Startled, "surprise is 0 at an episode's first tick: surprise is [1.0, 1.0, 1.0]"),
    (Stubborn, "its loss has a gradient: no parameter receives one"),
    (Untidy, "loss() gives 0-d tensors: 'all' is a Tensor"),
    (Exploding, "its loss is finite: 'loss' is inf"),
], ids=lambda value: getattr(value, "__name__", ""))
def test_what_world_models_promise(make, words):
    assert words in broken(check_world_model, make)


def test_loss_that_does_not_fall_is_reported():
    class Worsening(Stubborn):
        def loss(self, batch):
            self.worse = getattr(self, "worse", 0) + 1
            return (self.guess - 1).square() + self.worse, {}

    assert "it learns: 20 steps on one batch lower its loss: it went from 2 to " in broken(check_world_model, Worsening)


# Costs, memories, goals, actors, configurators, worlds ----------------------------------------------------------------


class Even(StubCost):
    """The stub as a node."""

    def step(self, state, goal, weights=None, reward=None):
        away = (state - goal).square().sum(-1)
        return {"intrinsic": away, "critic": away * 2, "energy": away * 3}


class Unsummed(Even):
    def step(self, state, goal, weights=None, reward=None):
        return {**super().step(state, goal), "energy": (state - goal).square().sum(-1)}


class Lopsided(Even):
    def energy(self, prediction, actions, goal, weights=None):
        return super().energy(prediction, actions, goal) * (2 if weights is not None else 1)


class Relative(Even):
    def energy(self, prediction, actions, goal, weights=None):
        energy = super().energy(prediction, actions, goal)
        return energy - energy.amin(1, keepdim=True)


def test_what_costs_promise():
    check_cost(Even)
    assert "energy = intrinsic + critic: " in broken(check_cost, Unsummed)
    assert "weights of 1 change nothing: they give another energy than no weights" in broken(check_cost, Lopsided)
    assert "candidates are independent: a candidate alone has another energy" in broken(check_cost, Relative)


class Notebook(Memory):
    """Keeps the last state."""

    sure, first = 0.5, 0.0

    def initial(self, batch):
        return {"last": torch.zeros(batch, 6), "score": torch.full((batch,), self.first)}

    def step(self, state, energy, surprise=None):
        before = self.carry
        self.carry = {"last": state * 1, "score": torch.full_like(energy, self.sure)}
        return {"recall": before["last"], "score": before["score"]}


class Sure(Notebook):
    sure = 2.0


class Premature(Notebook):
    first = 0.5


def test_what_memories_promise():
    assert "scores lie in 0 to 1: they go from 0 to 2" in broken(check_memory, Sure)
    assert "the score is 0 while nothing is kept: it is [0.5, 0.5, 0.5]" in broken(check_memory, Premature)
    assert "a kept state recalls itself: it recalls another one" in broken(check_memory, Notebook)


def test_what_goals_promise():
    class Fickle(Goal):
        def initial(self, batch):
            return {"count": torch.zeros(batch, 6)}

        def step(self, observation, mode=None):
            self.carry = {"count": self.carry["count"] + 1}
            return {"goal": self.carry["count"]}

    assert "an unchanged observation gives an unchanged goal: the second tick has another goal" in broken(check_goal, Fickle)


def test_what_actors_promise():
    class Strong(Actor):
        def step(self, state, goal, mode, plan=None):
            return {"action": state[:, :2] * 9}

    class Undefined(Actor):
        def step(self, state, goal, mode, plan=None):
            return {"action": state[:, :2].clamp(-1, 1) / torch.where(mode == 1, 0.0, 1.0)[:, None]}

    assert "its actions lie in [-1, 1]: one is " in broken(check_actor, Strong)
    assert "it acts in Mode-1 too, or refuses with an AmiError: an action is not finite" in broken(check_actor, Undefined)


def test_what_configurators_promise():
    class Third(Configurator):
        mode, weight = 3, 1.0

        def step(self, energy=None, surprise=None):
            return {"mode": torch.full((self.batch,), self.mode), "weights": torch.full((self.batch, 2), self.weight)}

    class Perverse(Third):
        mode, weight = 2, -1.0

    assert "modes are 1 or 2: they are [3, 3, 3]" in broken(check_configurator, Third)
    assert "weights are not negative: they are [[-1.0, -1.0]" in broken(check_configurator, Perverse)


class Restless(GymWorld):
    """Two rooms whose rows continue after their episode is over."""

    def __init__(self):
        super().__init__("worlds:ami/TwoRooms-v0", observe="state")

    def reset(self, mask):
        super().reset(mask)
        self.ticks = torch.where(mask[:, None], 0.0, getattr(self, "ticks", torch.zeros(len(mask), 1)))

    def step(self, action):
        self.ticks = self.ticks + 1
        sent = super().step(action)
        return {**sent, "observation": sent["observation"] + self.ticks}


class Hasty(Restless):
    def step(self, action):
        sent = GymWorld.step(self, action)
        return {**sent, "observation": torch.cat([sent["observation"][:, :1], action], 1)}


def test_what_worlds_promise():
    check_world(lambda: GymWorld("worlds:ami/TwoRooms-v0", observe="state"), ticks=70)
    assert "a row whose episode is over stays unchanged: 'observation' differs by up to 1" in broken(
        check_world, Restless, ticks=70)
    assert "the first tick shows the beginning, whatever the action: 'observation' differs" in broken(check_world, Hasty)

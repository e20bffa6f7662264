"""The weighted sum: the blueprint's cost, its objectives, guardrails and refusals."""

import pytest
import torch
from torch import nn

from ami.blueprint import CriticTerm, IntrinsicTerm, Prediction
from ami.errors import SettingError
from ami.testing import check_cost
from ami.testing.subject import Subject
from modules.cost.action_effort import ActionEffort
from modules.cost.critic import Critic
from modules.cost.goal_distance import GoalDistance
from modules.cost.weighted_sum import WeightedSum


class First(IntrinsicTerm):
    """The state's only number."""

    def energy(self, prediction, actions, goal, distance):
        return prediction.states.squeeze(-1)


class Hundred(CriticTerm):
    """A hundred times the state's only number."""

    def energy(self, states, goal):
        return 100 * states.squeeze(-1)


class Greedy(IntrinsicTerm):
    def __init__(self):
        super().__init__()
        self.taste = nn.Parameter(torch.ones(1))


def cost(**settings):
    return Subject(lambda: WeightedSum({"first": First()}, {"hundred": Hundred()}, **settings), {"S": (1,)}).fresh([0])


def path_energy(module, weights=None):
    """The energy of a path through 1, 2, 3."""
    states = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)
    return module.energy(Prediction(states), torch.zeros(1, 1, 3, 2), torch.zeros(1, 1), weights).item()


@pytest.mark.parametrize("make", [
    lambda: WeightedSum({"goal": GoalDistance()}),
    lambda: WeightedSum({"goal": GoalDistance(saturate=True), "effort": ActionEffort()}, {"critic": Critic(hidden=16)},
                        weights={"effort": 0.1}, floors={"goal": 0.5}),
    lambda: WeightedSum({"goal": GoalDistance()}, {"critic": Critic(hidden=16)}, objective="paper_sum"),
], ids=["intrinsic alone", "effort and a critic", "the paper's sum"])
def test_contract(make):
    check_cost(make)


def test_path_objective_has_a_terminal_critic():
    assert path_energy(cost()) == 1 + 2 + 3 + 300


def test_paper_sum_adds_the_critic_of_every_state():
    assert path_energy(cost(objective="paper_sum")) == 1 + 2 + 3 + 600


def test_last_is_the_energy_of_the_last_state_alone():
    assert path_energy(cost(objective="last")) == 3 + 300


def test_no_energy_after_an_imagined_end():
    states = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)

    def energy(cont, **settings):
        prediction = Prediction(states, cont=torch.tensor(cont).view(1, 1, 3))
        return cost(**settings).energy(prediction, torch.zeros(1, 1, 3, 2), torch.zeros(1, 1)).item()

    assert energy([1.0, 1.0, 1.0]) == path_energy(cost())
    assert energy([1.0, 1.0, 0.0]) == 1 + 2 + 3
    assert energy([1.0, 0.5, 1.0]) == 1 + 2 + 1.5 + 150
    assert energy([0.0, 1.0, 1.0]) == 1
    assert energy([0.5, 1.0, 0.0], objective="paper_sum") == 1 + 50 + 1 + 100 + 1.5


def test_gamma_discounts_later_states():
    assert path_energy(cost(gamma=0.5)) == 1 + 1 + 0.75 + 300 / 8
    assert path_energy(cost(gamma=0.5, objective="paper_sum")) == 1 + 1 + 0.75 + 50 + 50 + 300 / 8


def test_critic_receives_successor_energies_and_cont():
    class Asking(Hundred):
        needs = ("energy",)

        def loss(self, batch):
            self.asked = batch
            return torch.zeros(()), {}

    subject = Subject(lambda: WeightedSum({"first": First(), "effort": ActionEffort()}, {"asking": Asking()},
                                          {"first": 2.0}), {"S": (1,)})
    module = subject.fresh([0])
    successors, cont = torch.arange(6.0).view(3, 2, 1), torch.rand(3, 2)
    module.loss({"state": torch.zeros(3, 1), "successors": successors, "goal": torch.zeros(3, 1), "next": torch.zeros(3, 1),
                 "cont": cont})
    asked = module.critics["asking"].asked
    assert torch.equal(asked["energy"], 2 * successors[..., 0]) and asked["cont"] is cont and "pairs" not in asked


@pytest.mark.parametrize(("others", "reported"), [
    ({}, [1.0, 2.0]), ({"other": [3.0, 5.0]}, [4.0, 7.0]), ({"other": None}, None)])
def test_errors_of_rows_are_the_sum_over_critics_or_none(others, reported):
    class Reporting(Hundred):
        def __init__(self, errors):
            super().__init__()
            self.errors = errors

        def loss(self, batch):
            return torch.zeros(()), {} if self.errors is None else {"errors": torch.tensor(self.errors)}

    critics = {"one": [1.0, 2.0], **others}
    subject = Subject(lambda: WeightedSum({"first": First()}, {name: Reporting(of) for name, of in critics.items()}),
                      {"S": (1,)})
    module = subject.fresh([0])
    row = torch.zeros(2, 1)
    _, figures = module.loss({"state": row, "successors": row[:, None], "goal": row, "next": row})
    assert {name: value.tolist() for name, value in figures.items()} == ({} if reported is None else {"errors": reported})


def test_weights_are_u_and_v():
    assert path_energy(cost(weights={"first": 10.0, "hundred": 0.5})) == 60 + 150


def test_configurator_weights_multiply_own_weights():
    assert path_energy(cost(weights={"first": 10.0}), torch.tensor([[0.5, 0.1]])) == pytest.approx(30 + 30)


def test_modulated_weights_stay_above_their_floor():
    module = cost(weights={"first": 2.0}, floors={"first": 1.5})
    assert path_energy(module, torch.tensor([[0.0, 0.0]])) == pytest.approx(9)
    assert path_energy(module, torch.tensor([[-5.0, -5.0]])) == pytest.approx(9)


def test_outputs_are_intrinsic_critic_and_energy():
    outputs = cost().step(torch.tensor([[2.0]]), torch.zeros(1, 1), torch.tensor([[3.0, 1.0]]))
    assert {name: value.item() for name, value in outputs.items()} == {
        "intrinsic": 6.0, "critic": 200.0, "energy": 206.0, "drives": 0.0}


def test_critic_receives_the_intrinsic_energy_of_all_pairs():
    class Asking(Critic):
        def loss(self, batch):
            self.asked = batch["pairs"]
            return super().loss(batch)

    subject = Subject(lambda: WeightedSum({"goal": GoalDistance()}, {"critic": Asking()}, {"goal": 2.0}), {"S": (2,)})
    module = subject.fresh([0])
    module.begin_learning()
    state, goal = torch.randn(3, 2), torch.randn(3, 2)
    _, figures = module.loss({"state": state, "successors": torch.randn(3, 4, 2), "goal": goal, "next": goal})
    assert torch.allclose(module.critics["critic"].asked, 2 * torch.cdist(state, goal), atol=1e-5)
    assert set(figures) == {"critic_td", "critic_to_go_mean", "critic_to_go_max"}


def test_learning_measures_the_step_length():
    module = Subject(lambda: WeightedSum({"goal": GoalDistance()}, {"critic": Critic()}), {"S": (2,)}).fresh([0])
    module.begin_learning()
    state = torch.randn(4, 2)
    step = torch.tensor([3.0, 4.0])
    module.loss({"state": state, "successors": (state + step)[:, None], "goal": torch.randn(4, 2),
                 "next": state + step})
    module.after_step(0, 10)
    assert module.intrinsic["goal"].unit.item() == pytest.approx(5.0)


@pytest.mark.parametrize(("settings", "words"), [
    ({"weights": {"goall": 1.0}}, "WeightedSum.weights names the unknown term 'goall': did you mean 'goal'?"),
    ({"floors": {"gaol": 1.0}}, "WeightedSum.floors names the unknown term 'gaol': did you mean 'goal'?"),
    ({"weights": {"goal": -1.0}}, "WeightedSum.weights.goal is -1.0: expected 0 or more"),
    ({"floors": {"goal": 2.0}}, "WeightedSum.floors.goal is 2.0: expected at most the term's weight, 1.0"),
    ({"gamma": 1.5}, "WeightedSum.gamma is 1.5: expected 0 to 1"),
    ({"objective": "pathh"}, "WeightedSum.objective is 'pathh': did you mean 'path'?"),
    ({"intrinsic": {}}, "WeightedSum.intrinsic is empty: expected one term or more, such as "
                        "modules.cost.goal_distance.GoalDistance"),
    ({"intrinsic": {"critic": Critic()}}, "WeightedSum.intrinsic.critic is a critic (Critic): intrinsic terms are "
                                          "immutable. Fix: name it under `critics`"),
    ({"intrinsic": {"greed": Greedy()}}, "WeightedSum.intrinsic.greed has the trainable parameter 'taste': intrinsic terms "
                                         "are immutable. Fix: make it a buffer, or the term a critic"),
    ({"intrinsic": {"net": nn.Identity()}}, "WeightedSum.intrinsic.net is a Identity: expected an "
                                            "ami.blueprint.IntrinsicTerm"),
    ({"critics": {"goal2": GoalDistance()}}, "WeightedSum.critics.goal2 is a GoalDistance: expected an "
                                             "ami.blueprint.CriticTerm"),
    ({"critics": {"goal": Critic()}}, "WeightedSum has two terms of the name 'goal': expected different names"),
])
def test_refusals(settings, words):
    with pytest.raises(SettingError) as error:
        WeightedSum(**{"intrinsic": {"goal": GoalDistance()}, **settings})
    assert str(error.value) == words


def test_loss_without_a_critic_is_refused():
    module = Subject(lambda: WeightedSum({"goal": GoalDistance()})).fresh([0])
    with pytest.raises(SettingError) as error:
        module.loss({})
    assert str(error.value) == "WeightedSum has no critic to train. Fix: name one under `critics`, or drop the stage"


def test_notes_hold_every_weighted_term():
    module = cost(weights={"hundred": 0.5})
    module.notes = {}
    outputs = module.step(torch.tensor([[2.0], [3.0]]), torch.zeros(2, 1))
    noted = {name: energy.tolist() for name, energy in module.notes.items()}
    assert noted == {"first": [2.0, 3.0], "hundred": [100.0, 150.0]}
    assert torch.equal(sum(module.notes.values()), outputs["energy"])

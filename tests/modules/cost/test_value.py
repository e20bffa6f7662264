"""The value critic: value iteration over successors, with termination."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing import check_cost
from modules.cost.reward import Reward
from modules.cost.value import Value
from modules.cost.weighted_sum import WeightedSum

# A corridor of five places: a step to the right or to the left costs 1, the last place is terminal.
PLACES = torch.eye(5)


def corridor() -> dict[str, torch.Tensor]:
    state = PLACES[:4]
    right, left = PLACES[1:], PLACES[[0, 0, 1, 2]]
    perceived = torch.where(torch.tensor([True, False, True, False])[:, None], right, left)
    successors = torch.stack([perceived, left, right], dim=1)
    cont = 1 - successors[..., 4]
    return {"state": state, "successors": successors, "goal": state, "energy": torch.ones(4, 3), "cont": cont}


def learnt(gamma: float = 0.9, steps: int = 700, **settings: object) -> torch.Tensor:
    """TC of the five places."""
    torch.manual_seed(0)
    value = Value(hidden=32, gamma=gamma, polyak=0.1, **settings)
    value.build({"S": (5,)})
    value.begin_learning()
    optimiser = torch.optim.Adam(value.nets.parameters(), lr=3e-3)
    for step in range(steps):
        loss, _ = value.loss(corridor())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value.after_step(step, steps)
    with torch.no_grad():
        return value.energy(PLACES, PLACES)


def test_contract():
    check_cost(lambda: WeightedSum({"reward": Reward()}, {"value": Value(hidden=16)}))


def test_value_is_the_discounted_energy_of_the_best_path():
    expected = torch.tensor([sum(0.9**k for k in range(4 - place)) for place in range(4)])
    torch.testing.assert_close(learnt()[:4], expected, atol=0.1, rtol=0)


@pytest.mark.parametrize("mean_backup", [0.3, 1.0])
def test_slip_mixes_the_mean_over_successors(mean_backup: float):
    batch = corridor()
    expected = torch.zeros(5)
    for _ in range(500):  # value iteration without a network
        to_go = batch["energy"] + 0.9 * batch["cont"] * (batch["successors"] @ expected)
        expected[:4] = (1 - mean_backup) * to_go.amin(1) + mean_backup * to_go.mean(1)
    torch.testing.assert_close(learnt(steps=1000, mean_backup=mean_backup)[:4], expected[:4], atol=0.15, rtol=0.05)
    assert expected[0] > 3.6 > sum(0.9**k for k in range(4)), "mean_backup raises the energy"


def test_unit_is_the_infinite_sum_of_the_mean_or_the_largest_step():
    def unit(energy: torch.Tensor) -> float:
        value = Value(gamma=0.9)
        value.build({"S": (1,)})
        value.begin_learning()
        value.loss({"state": torch.zeros(len(energy), 1), "successors": torch.zeros(len(energy), 1, 1), "energy": energy,
                    "cont": torch.ones_like(energy)})
        return float(value.unit)

    assert unit(torch.tensor([[1.0], [-1.0], [1.0], [1.0]])) == pytest.approx(10)
    assert unit(torch.tensor([[0.0], [0.0], [0.0], [-50.0]])) == pytest.approx(125)
    sparse = torch.zeros(100, 1)
    sparse[0] = -1
    assert unit(sparse) == pytest.approx(1), "the infinite sum of its mean is 0.1"


def test_value_is_bounded_by_the_best_step_for_ever():
    value = Value(gamma=0.5)
    value.build({"S": (1,)})
    value.begin_learning()
    with torch.no_grad():
        for net in value.learning_state:
            net[-1].bias.fill_(-1e6)
    batch = {"state": torch.zeros(2, 1), "successors": torch.zeros(2, 1, 1), "energy": torch.tensor([[-3.0], [1.0]]),
             "cont": torch.ones(2, 1)}
    loss, _ = value.loss(batch)
    assert value.best == -3 and loss < 10, "its targets are no lower than -3 / (1 - 0.5)"


def test_perceived_successor_may_be_left_out():
    lucky = {"state": torch.zeros(2, 1), "successors": torch.zeros(2, 2, 1), "cont": torch.zeros(2, 2),
             "energy": torch.tensor([[-9.0, 1.0], [-9.0, 1.0]])}
    losses = []
    for perceived in (True, False):
        torch.manual_seed(0)
        value = Value(gamma=0.0, perceived=perceived)
        value.build({"S": (1,)})
        value.begin_learning()
        losses.append(float(value.loss(lucky)[0].detach()))
    assert losses[0] != losses[1]


@pytest.mark.parametrize(("settings", "words"), [
    ({"hidden": 0}, "Value.hidden is 0: expected 1 or more"),
    ({"num_networks": 0}, "Value.num_networks is 0: expected 1 or more"),
    ({"gamma": 1.0}, "Value.gamma is 1.0: expected 0 or more and less than 1"),
    ({"mean_backup": 1.5}, "Value.mean_backup is 1.5: expected 0 to 1"),
    ({"polyak": 0.0}, "Value.polyak is 0.0: expected more than 0, at most 1"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        Value(**settings)
    assert str(error.value) == words


@pytest.mark.parametrize("expected", [True, False])
def test_value_of_an_imagined_mean_is_that_of_the_states_perceived_in_its_place(expected: bool):
    mean = PLACES[1:3].mean(0)
    state = PLACES[[0, 0, 1, 2]]
    successors = torch.stack([PLACES[[1, 2, 4, 4]], torch.stack([mean, mean, PLACES[4], PLACES[4]])], dim=1)
    last = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None].expand(4, 2)
    batch = {"state": state, "successors": successors, "goal": state, "energy": -last, "cont": 1 - last}
    torch.manual_seed(0)
    value = Value(hidden=32, gamma=0.9, perceived=False, expected=expected)
    value.build({"S": (5,)})
    value.begin_learning()
    optimiser = torch.optim.Adam(value.nets.parameters(), lr=3e-3)
    for step in range(400):
        loss, _ = value.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value.after_step(step, 400)
    with torch.no_grad():
        apart = (value.energy(mean, mean) - value.energy(PLACES[1:3], PLACES[1:3]).mean()).abs()
    assert (apart < 0.05) == expected

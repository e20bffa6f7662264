"""Simulator: the true dynamics and the true distance, for any batch; refusals."""

import numpy as np
import pytest
import torch

from ami.errors import SettingError
from modules.world_model.simulator import Simulator
from tests.support.episodes import numbered
from worlds.two_rooms_physics import Dynamics


@pytest.fixture
def simulator() -> Simulator:
    made = Simulator(Dynamics())
    made.set_up({"P": (3,), "S": (3,), "A": 2})
    return made


def states(num: int) -> torch.Tensor:
    draw = np.random.default_rng(0)
    return torch.tensor(np.stack([draw.uniform(2, 14, num), draw.uniform(2, 30, num), np.full(num, 10)], 1),
                        dtype=torch.float32)


def test_imagine_is_the_dynamics_step_by_step(simulator):
    start, actions = states(4), torch.rand(4, 5, 3, 2) * 2 - 1
    foreseen = simulator.imagine(start, actions).states
    assert foreseen.shape == (4, 5, 3, 3)
    assert foreseen.dtype == torch.float32
    for b in range(4):
        for k in range(5):
            at = start[b].numpy()
            for h in range(3):
                at = Dynamics().step(at, actions[b, k, h].numpy())
                assert foreseen[b, k, h].tolist() == at.tolist()


def test_distance_is_the_path_through_the_door(simulator):
    left, right = torch.tensor([10.0, 26.0, 10.0]), torch.tensor([22.0, 26.0, 10.0])
    assert simulator.distance(left, right) > 30
    way = simulator.distance(left.expand(2, 3, 4, 3), right.view(1, 1, 1, 3))
    assert way.shape == (2, 3, 4)
    assert way.dtype == torch.float32
    assert simulator.distance(left, left) == 0


def test_surprise_is_0_for_true_states_only(simulator):
    simulator.begin(torch.ones(2, dtype=torch.bool), numbered([0, 1]))
    start, action = states(2), torch.tensor([[0.5, 0.0], [0.0, -1.0]])
    assert simulator.step(percept=start, action=action)["surprise"].tolist() == [0, 0]
    after = simulator.imagine(start, action[:, None, None]).states[:, 0, 0]
    assert simulator.step(percept=after, action=action)["surprise"].tolist() == [0, 0]
    elsewhere = simulator.imagine(after, action[:, None, None]).states[:, 0, 0] + torch.tensor([3.0, 4.0, 0.0])
    torch.testing.assert_close(simulator.step(percept=elsewhere, action=action)["surprise"], torch.tensor([5.0, 5.0]))


def test_the_percept_is_the_state(simulator):
    start = states(2)
    assert simulator.infer_dims({"P": (3,)}) == {"S": (3,)}
    assert torch.equal(simulator.state_of(start), start)


def test_no_parameters(simulator):
    assert not list(simulator.parameters())


def test_refusals():
    with pytest.raises(SettingError) as error:
        Simulator({})
    assert str(error.value) == ("Simulator.dynamics, a dict, has no step and no distance: expected an object with "
                                "step(state, action) and distance(state, goal) on numpy arrays")
    with pytest.raises(SettingError) as error:
        Simulator(Dynamics()).set_up({"P": (64,), "S": (64,), "A": 2})
    assert str(error.value) == (
        "Simulator.dynamics turns a percept of shape (64,) into a state of shape (3,): expected the true state as "
        "percept. Fix: perception=identity in a world whose observation is its state "
        "(two rooms: world.observe=state)")

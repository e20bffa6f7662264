"""Place: integration of what is seen, the gate, correction by memory, and its three losses."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls, callable_method
from ami.testing import check_world_model
from ami.testing.stubs import StubPerception
from modules.perception.two_streams import TwoStreams
from modules.world_model.place import Place

STATIC, WIDTH = 2, 6
STATE = WIDTH + 2


def model(**settings) -> Place:
    torch.manual_seed(0)
    made = Place(**{"static": STATIC, "hidden": 16, **settings})
    made.set_up({"P": (WIDTH,), "S": (STATE,), "Q": (STATE,), "A": 2, "U": 2})
    return made


def percepts(batch: int = 3, steps: int = 5, static: float = 0.0) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.cat([torch.full((batch, steps, STATIC), static), torch.randn(batch, steps, WIDTH - STATIC)], dim=-1)


def places(made: Place, seen: torch.Tensor) -> torch.Tensor:
    return made.observe(seen, torch.zeros(*seen.shape[:2], 2))[0][..., -2:]


class Streams(StubPerception):
    """The stub with the methods of two streams."""

    @callable_method
    def encode_static(self, observation: torch.Tensor) -> torch.Tensor:
        return self.encode(observation)[..., :STATIC]

    @callable_method
    def encode_moving(self, observation: torch.Tensor) -> torch.Tensor:
        return self.encode(observation)[..., STATIC:]


def test_contract():
    check_world_model(lambda: Place(static=2, hidden=32), dims={"P": (6,)}, calls={"perception": Streams()})


def test_place_depends_on_what_is_seen_and_not_on_the_actions():
    made, seen = model(), percepts()
    one, _ = made.observe(seen, torch.zeros(3, 5, 2))
    other, _ = made.observe(seen, torch.ones(3, 5, 2))
    assert torch.equal(one, other)


def test_within_one_surroundings_the_place_returns_when_the_same_is_seen_again():
    made, seen = model(), percepts()
    seen[:, -1] = seen[:, 0]
    with torch.no_grad():
        found = places(made, seen)
    assert found[:, 2].norm(dim=-1).min() > 1e-3
    assert torch.allclose(found[:, -1], found[:, 0], atol=1e-3)


def test_the_place_leaps_where_the_surroundings_change():
    made, seen = model(), percepts()
    seen[:, 3:, :STATIC] = 5.0
    seen[:, 3:, STATIC:] = seen[:, 2:3, STATIC:]  # nothing else moves
    with torch.no_grad():
        moved = places(made, seen).diff(dim=1).norm(dim=-1)
    assert moved[:, 2].min() > 1e-3  # the learnt jump
    assert moved[:, 3].max() < 1e-3


def test_a_good_recall_pulls_the_place_and_a_bad_one_does_not():
    made, state = model(pull=0.5, trust=0.7), torch.zeros(2, STATE)
    recall = torch.ones(2, STATE)
    corrected, carry = made.correct(state, made.initial_carry(2), recall, torch.tensor([0.9, 0.3]))
    assert corrected[:, -2:].tolist() == [[0.5, 0.5], [0.0, 0.0]]
    assert torch.equal(corrected[:, :-2], state[:, :-2])
    assert torch.equal(carry["believed"], corrected)


def test_a_rebased_goal_is_where_its_picture_would_be_taken():
    made, seen = model(), percepts(steps=4)
    with torch.no_grad():
        states, _ = made.observe(seen, torch.zeros(3, 4, 2))
        goal = made.rebase_goal(made.goal_of(seen[:, 3]), states[:, 1])
    assert torch.allclose(goal, states[:, 3], atol=1e-3)  # the surroundings are the same


def test_renewed_states_have_another_context_and_the_same_place():
    made, states, seen = model(), torch.randn(4, STATE), torch.randn(STATE)
    renewed = made.renew(states, seen)
    assert torch.equal(made.context(renewed), made.context(seen).expand(4, -1))
    assert torch.equal(renewed[:, STATIC:], states[:, STATIC:])


class Hall(torch.nn.Module):
    """Dynamics without walls but one: no place beyond x = 3; the surroundings change at x = 1."""

    def forward(self, percept_and_action: torch.Tensor) -> torch.Tensor:
        percept, action = percept_and_action.split([WIDTH, 2], dim=-1)
        at = percept[..., STATIC:STATIC + 2] + action  # the moving part is the place
        at = torch.cat([at[..., :1].clamp(max=3), at[..., 1:]], dim=-1)
        static = (at[..., :1] > 1).float().expand(*at.shape[:-1], STATIC)
        rest = percept[..., STATIC + 2:]
        moved = at - percept[..., STATIC:STATIC + 2]
        return torch.cat([torch.cat([static, at, rest], dim=-1) - percept, moved], dim=-1)


def in_hall(x: float, static: float) -> torch.Tensor:
    return torch.tensor([static] * STATIC + [x, 0.0] + [0.0] * (WIDTH - STATIC - 2) + [x, 0.0])


@pytest.mark.parametrize("x, static, left", [
    (0.9, 0.0, 0.0),  # in these surroundings
    (2.5, 1.0, 0.0),  # in the next ones
    (5.0, 1.0, 2.0),  # beyond the wall
    (0.9, 1.0, float("inf")),  # there the surroundings are others than imagined
])
def test_a_straight_way_is_imagined_up_to_a_wall(x, static, left):
    made = model()
    made.dynamics = Hall()
    found = made.approach(in_hall(0.0, 0.0).expand(3, -1), in_hall(x, static).expand(3, -1))
    assert found.tolist() == pytest.approx([left] * 3)


def test_no_ways_are_imagined_between_no_states():
    assert model().approach(torch.zeros(0, STATE), torch.zeros(0, STATE)).shape == (0,)


def test_centring_changes_no_distance():
    made = model()
    state, goal = torch.randn(4, STATE), torch.randn(4, STATE)
    centred, moved = made.centre(state, goal)
    assert centred[:, -2:].abs().max() == 0
    assert torch.allclose(made.distance(centred, moved), made.distance(state, goal))


def moving(batch: int = 32, steps: int = 12) -> dict[str, torch.Tensor]:
    """Windows of a dot whose moving part is its place, which the actions move."""
    action = torch.rand(batch, steps, 2) * 2 - 1
    at = torch.nn.functional.pad(action.cumsum(1), (0, 0, 1, 0))
    seen = torch.cat([torch.zeros(batch, steps + 1, STATIC), at, torch.zeros(batch, steps + 1, WIDTH - STATIC - 2)], dim=-1)
    return {"percept": seen, "action": action}


@pytest.mark.parametrize("loss, parts, figure", [("place", ("off", "jump"), "drift"), ("loss", ("dynamics",), "place")])
def test_learning_lowers_the_error(loss, parts, figure):
    made = model()
    parameters = [value for part in parts for value in getattr(made, part).parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    figures = []
    for _ in range(60):
        value, noted = made.loss_of(loss)(moving())
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        figures.append(float(noted[figure]))
    assert figures[-1] < 0.5 * figures[0]


def test_eyes_learn_from_pictures():
    torch.manual_seed(0)
    eyes = TwoStreams(static=4, moving=4, hidden=16)
    eyes.set_up({"O": (24, 24, 3), "P": (8,)})
    made = Place(static=4, hidden=8)
    made.set_up({"P": (8,), "S": (10,), "Q": (10,), "A": 2, "U": 2})
    made.calls = Calls("world_model", {"perception": Callee("perception", eyes)})
    batch = {"observation": torch.randint(0, 255, (8, 5, 24, 24, 3), dtype=torch.uint8), "action": torch.rand(8, 4, 2)}
    loss, figures = made.eyes(batch)
    loss.backward()
    assert {*figures} == {"idm", "invariance", "variance", "covariance"}
    assert all(value.grad is not None for value in eyes.parameters())


def test_losses_are_named():
    assert Place.losses() == ["loss", "eyes", "place"]


@pytest.mark.parametrize("settings, message", [
    ({"pull": 2}, "Place.pull is 2: expected 0 to 1"),
    ({"change": 0}, "Place.change is 0: expected more than 0"),
    ({"static": 0}, "Place.static is 0: expected 1 or more"),
])
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingError) as refusal:
        Place(**settings)
    assert str(refusal.value) == message


def test_actions_that_are_no_velocity_in_a_plane_are_refused():
    with pytest.raises(SettingError, match="Place receives actions of width 3: expected 2"):
        Place(static=2).infer_dims({"P": (6,), "A": 3})

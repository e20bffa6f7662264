"""Factored: static and moving parts, their separation by training, and rebased goals."""

import pytest
import torch

from ami.blueprint import CriticTerm
from ami.errors import SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from ami.testing.subject import Subject
from modules.cost.goal_distance import GoalDistance
from modules.cost.weighted_sum import WeightedSum
from modules.nets import mlp
from modules.perception.identity import Identity
from modules.world_model.factored import Factored

STATIC, MOVING = 2, 4


def model(**settings) -> Factored:
    torch.manual_seed(0)
    made = Factored(**{"static": STATIC, "hidden": 16, **settings})
    made.set_up({"P": (STATIC + MOVING,), "S": (STATIC + MOVING,), "A": 2})
    made.calls = Calls("world_model", {"perception": Callee("perception", Identity())})
    return made


def test_contract():
    check_world_model(lambda: Factored(static=2, hidden=32))


def test_imagine_changes_only_the_moving_part():
    made = model()
    state, actions = torch.randn(3, STATIC + MOVING), torch.randn(3, 5, 4, 2)
    states = made.imagine(state, actions).states
    assert states.shape == (3, 5, 4, STATIC + MOVING)
    assert torch.equal(states[..., :STATIC], state[:, None, None, :STATIC].expand(3, 5, 4, STATIC))
    net, at = made.predictor, state[1]
    for h in range(4):
        static, moving = at.split([STATIC, MOVING])
        hidden = (net.of_static(static) + net.of_moving(moving) + net.of_action(actions[1, 2, h])).relu()
        at = torch.cat([static, moving + net.last(net.second(hidden).relu())])
        torch.testing.assert_close(states[1, 2, h], at)


def test_moving_part_depends_on_the_static_part():
    made = model()
    state, actions = torch.randn(1, STATIC + MOVING), torch.randn(1, 1, 1, 2)
    elsewhere = torch.cat([state[:, :STATIC] + 1, state[:, STATIC:]], 1)
    assert not torch.equal(*(made.imagine(s, actions).states[..., STATIC:] for s in (state, elsewhere)))


def test_distance_compares_moving_parts():
    states, goal = torch.zeros(2, STATIC + MOVING), torch.zeros(2, STATIC + MOVING)
    goal[0, :STATIC] = 7
    goal[1, STATIC:STATIC + 2] = torch.tensor([3.0, 4.0])
    assert model().distance(states, goal).tolist() == [0, 5]


def test_rebased_goal_has_the_static_part_of_the_state():
    made = model()
    state, goal = torch.randn(3, 1, STATIC + MOVING), torch.randn(1, 5, STATIC + MOVING)
    rebased = made.rebase_goal(goal, state)
    assert rebased.shape == (3, 5, STATIC + MOVING)
    assert torch.equal(rebased[2, 4], torch.cat([state[2, 0, :STATIC], goal[0, 4, STATIC:]]))
    assert torch.equal(made.rebase_goal(rebased, state), rebased)
    assert model(rebase_goals=False).rebase_goal(goal, state) is goal


def test_critics_learn_from_rebased_goals():
    seen = {}

    class Recording(CriticTerm):
        def energy(self, states, goal):
            return states[..., 0]

        def loss(self, batch):
            seen.update(batch)
            return torch.zeros(()), {}

    subject = Subject(lambda: WeightedSum({"goal": GoalDistance()}, {"critic": Recording()}), {"S": (STATIC + MOVING,)})
    module = subject.fresh([0])
    made = model()
    module.calls = Calls("cost", {"world_model": Callee("world_model", made)})
    state, goal = torch.randn(3, STATIC + MOVING), torch.randn(3, STATIC + MOVING)
    module.loss({"state": state, "successors": state[:, None], "goal": goal, "next": goal})
    assert torch.equal(seen["goals"], made.rebase_goal(goal[None], state[:, None]))
    torch.testing.assert_close(seen["pairs"], made.distance(state[:, None], goal[None]))


def episodes(num: int, steps: int, seed: int = 1) -> dict[str, torch.Tensor]:
    """Walks of a point in a static context; percepts (N, T + 1, 6) mix both, like an encoder's."""
    draw = torch.Generator().manual_seed(seed)
    action = torch.rand(num, steps, 2, generator=draw) * 2 - 1
    start = torch.randn(num, 1, 2, generator=draw)
    place = torch.cat([start, start + 0.3 * action.cumsum(1)], dim=1)
    around = torch.randn(num, 1, 1, generator=draw).expand(num, steps + 1, 1)
    mix = torch.randn(3, STATIC + MOVING, generator=torch.Generator().manual_seed(5))
    return {"observation": torch.cat([place, around], -1) @ mix, "action": action, "place": place, "around": around}


class Eyes(Identity):
    """A perception with parameters."""

    def build(self, dims):
        self.net = mlp(STATIC + MOVING, 32, STATIC + MOVING)

    def encode(self, observation):
        return self.net(observation)


def explained(parts: torch.Tensor, truth: torch.Tensor) -> float:
    """The share of the truth's variance that a linear map of the parts explains."""
    design = torch.cat([parts.flatten(0, 1), torch.ones(parts[..., :1].numel(), 1)], 1)
    wanted = truth.flatten(0, 1)
    error = wanted - design @ torch.linalg.lstsq(design, wanted).solution
    return 1 - float(error.square().mean() / (wanted - wanted.mean(0)).square().mean())


def test_learning_separates_static_and_moving_parts():
    made, eyes = model(stride=5), Eyes()
    eyes.set_up({"O": (STATIC + MOVING,), "P": (STATIC + MOVING,)})
    made.calls = Calls("world_model", {"perception": Callee("perception", eyes)})
    optimiser = torch.optim.AdamW([*made.parameters(), *eyes.parameters()], lr=3e-3)
    for step in range(300):
        loss, figures = made.loss(episodes(32, 25, seed=step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert set(figures) == {"prediction", "idm", "smoothness", "variance", "covariance", "static_variance",
                            "static_covariance", "invariance", "cross", "std"}
    new = episodes(64, 25, seed=10_000)
    with torch.no_grad():
        static, moving = eyes.encode(new["observation"]).split([STATIC, MOVING], dim=-1)
    assert explained(static, new["around"]) > 0.85 > 0.25 > explained(static, new["place"])
    assert explained(moving, new["place"]) > 0.85 > 0.25 > explained(moving, new["around"])


def test_loss_uses_the_first_steps_and_strided_observations():
    made, seen = model(horizon=3, stride=4), []
    imagine, encode = made.imagine, Identity().encode
    made.imagine = lambda state, actions: seen.append(actions.shape) or imagine(state, actions)
    eyes = Identity()
    eyes.encode = lambda observation: seen.append(observation.shape) or encode(observation)
    made.calls = Calls("world_model", {"perception": Callee("perception", eyes)})
    made.loss({name: value[:, :13] for name, value in episodes(8, 13).items() if name in ("observation", "action")})
    assert seen == [(8, 6, STATIC + MOVING), (8, 1, 3, 2)], "observations 0 to 3, 7 and 11"


def test_refusals():
    with pytest.raises(SettingError, match=r"^Factored\.static is 0: expected 1 or more$"):
        Factored(static=0)
    with pytest.raises(SettingError, match=r"^Factored\.hidden is 1: expected 2 or more$"):
        Factored(hidden=1)
    with pytest.raises(SettingError, match=r"^Factored\.spread is 0: expected more than 0$"):
        Factored(spread=0)
    with pytest.raises(SettingError, match=r"^Factored\.cross is -1: expected 0 or more$"):
        Factored(cross=-1)
    with pytest.raises(SettingError) as error:
        Factored(static=8).infer_dims({"P": (8,)})
    assert str(error.value) == ("Factored receives percepts of shape (8,): expected vectors (D,), D more than static, 8. "
                                "Fix: perception=conv, or a smaller world_model.static")

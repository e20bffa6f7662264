"""The critic: learns the number of steps between states, on a line of ten places."""

import pytest
import torch

from ami.blueprint import preceding
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError
from ami.learning.sources.hindsight_states import remember
from ami.module import Callee, Calls
from ami.testing.toys.gru_belief import GRUBelief
from ami.testing.toys.plane import STEP
from modules.cost.critic import Critic
from modules.cost.goal_distance import GoalDistance
from modules.cost.novelty import Novelty
from modules.cost.weighted_sum import WeightedSum
from modules.perception.identity import Identity

PLACES = 10


def learnt(steps=150, **settings):
    """A critic trained on steps of one place to the right or to the left on a line."""
    torch.manual_seed(0)
    critic = Critic(**{"hidden": 32, "embedding": 8, "polyak": 0.2, "gamma": 1.0, **settings})
    critic.build({"S": (1,)})
    critic.begin_learning()
    optimiser = torch.optim.Adam(critic.phi.parameters(), lr=3e-3)
    for step in range(steps):
        at = torch.randint(PLACES, (48, 1)).float()
        goal = torch.randint(PLACES, (48, 1)).float()
        ways = torch.stack([(at + 1).clamp(max=PLACES - 1), (at - 1).clamp(min=0)], 1)
        loss, figures = critic.loss({"state": at / 3, "successors": ways / 3, "goals": goal[None] / 3,
                                     "pairs": (at != goal.T).float()})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        critic.after_step(step, steps)
    return critic, figures


def to_go(critic, start, goal):
    with torch.no_grad():
        return critic.energy(torch.tensor([[start / 3]]), torch.tensor([[goal / 3]])).item()


def test_learns_the_number_of_steps_to_go():
    critic, figures = learnt()
    assert to_go(critic, 2.0, 2.0) == 0
    assert to_go(critic, 1.0, 3.0) == pytest.approx(2, abs=0.5)
    assert to_go(critic, 1.0, 8.0) == pytest.approx(7, abs=1)
    assert set(figures) == {"td", "to_go_mean", "to_go_max"}


def test_learns_from_rebased_goals():
    """Places on two lines, given by the second number; a goal is rebased to the state's line."""
    torch.manual_seed(0)
    critic = Critic(hidden=64, embedding=8, polyak=0.2, gamma=1.0, num_goals=8)
    critic.build({"S": (2,)})
    critic.begin_learning()
    optimiser = torch.optim.Adam(critic.phi.parameters(), lr=3e-3)
    for step in range(200):
        at, goal = torch.randint(PLACES, (48, 1)).float(), torch.randint(PLACES, (48,)).float()
        line = torch.randint(2, (48, 1)).float()
        stride = 1 + line  # a step on the second line is twice as long
        ways = torch.stack([(at + stride).clamp(max=PLACES - 1), (at - stride).clamp(min=0)], 1)
        goals = torch.stack([goal.expand(48, 48) / 3, line.expand(48, 48)], dim=-1)
        loss, _ = critic.loss({"state": torch.cat([at / 3, line], 1), "goals": goals, "pairs": (at != goal).float(),
                               "successors": torch.cat([ways / 3, line[:, None].expand(48, 2, 1)], dim=-1)})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        critic.after_step(step, 200)
    with torch.no_grad():
        ways = [critic.energy(torch.tensor([1 / 3, line]), torch.tensor([9 / 3, line])).item() for line in (0.0, 1.0)]
    assert ways[0] == pytest.approx(8, abs=1.5)
    assert ways[1] == pytest.approx(4, abs=1)


def walks(count, length):
    """Random walks with momentum in a plane: positions (count, length + 1, 2) and actions (count, length, 2)."""
    action, path, velocity = torch.rand(count, length, 2) * 2 - 1, [torch.rand(count, 2) * 2 - 1], torch.zeros(count, 2)
    for step in action.unbind(1):
        velocity = 0.5 * velocity + STEP * step
        path.append(path[-1] + velocity)
    return torch.stack(path, 1), action


def optimise(loss, parameters, steps, lr, after=lambda step: None):
    optimiser = torch.optim.Adam(parameters, lr=lr)
    for step in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        after(step)


def rank_correlation(one, other):
    return torch.corrcoef(torch.stack([values.argsort().argsort().float() for values in (one, other)]))[0, 1]


def test_learns_from_goals_in_another_space():
    """States are beliefs of a GRU over walks with momentum, goals are positions."""
    torch.manual_seed(0)
    sizes = {"P": (2,), "S": (32,), "Q": (2,), "A": 2, "U": 2, "W": 2}
    model, critic = GRUBelief(), Critic(hidden=64, embedding=16, polyak=0.1, gamma=0.95)
    cost = WeightedSum({"goal": GoalDistance(saturate=True)}, {"critic": critic})
    model.set_up(sizes)
    cost.set_up(sizes)
    model.calls = Calls("world_model", {"perception": Callee("perception", Identity())})
    cost.calls = Calls("cost", {"world_model": Callee("world_model", model)})
    optimise(lambda: model.loss(dict(zip(("observation", "action"), walks(64, 8), strict=True)))[0], model.parameters(), 150,
             5e-3)
    path, action = walks(100, 20)
    buffer = ReplayBuffer.of_padded(path, action, torch.full((100,), 20))
    experience = remember(buffer, Identity(), model, imagined=8)
    with torch.no_grad():
        states = model.observe(path, preceding(action))[0][:, 10]

    def correlation():
        """How the ranks of positions by energy and by distance agree, over positions in the plane of all walks."""
        goals = torch.rand(100, 2) * 2 - 1
        with torch.no_grad():
            return rank_correlation(critic.energy(states, goals), (path[:, 10] - goals).norm(dim=-1))

    untrained = correlation()
    cost.begin_learning()
    optimise(lambda: cost.loss(experience.draw(64))[0], [p for p in critic.parameters() if p.requires_grad], 300, 1e-3,
             lambda step: cost.after_step(step, 300))
    assert correlation() > 0.85
    assert abs(untrained) < 0.5
    with torch.no_grad():
        assert critic.energy(states, path[:, 10]).mean() < 0.2 * critic.energy(states, -path[:, 10]).mean()


def test_only_goals_of_another_shape_have_a_second_embedding():
    alike, apart = Critic(), Critic()
    alike.build({"S": (3,), "Q": (3,)})
    apart.build({"S": (3,), "Q": (2, 2)})
    assert {name.split(".")[0] for name in alike.state_dict()} == {"phi"}
    assert {name.split(".")[0] for name in apart.state_dict()} == {"phi", "psi"}
    assert apart.energy(torch.randn(4, 5, 3), torch.randn(4, 1, 2, 2)).shape == (4, 5)
    apart.begin_learning()
    before = apart.learning_state[1][0].weight.clone()
    with torch.no_grad():
        apart.psi[0].weight += 1
    apart.after_step(0, 1)
    assert torch.allclose(apart.learning_state[1][0].weight, before + apart.polyak)


def test_a_critic_beside_a_term_that_remembers_is_refused():
    with pytest.raises(SettingError) as error:
        WeightedSum({"novelty": Novelty()}, {"far": Critic()})
    assert str(error.value) == ("WeightedSum.critics.far learns from goals, but an intrinsic term takes remembered states "
                                "in their place. Fix: leave the critic out")


def test_pairs_of_own_and_num_goals_other_goals():
    critic = Critic(num_goals=3)
    chosen = critic._choose(10, torch.device("cpu"))
    assert chosen.shape == (10, 4)
    assert chosen[:, 0].tolist() == list(range(10))
    assert (chosen[:, 1:] != chosen[:, :1]).all()


def test_energy_broadcasts_leading_dimensions():
    critic = Critic()
    critic.build({"S": (2, 3)})
    assert critic.energy(torch.randn(4, 5, 2, 3), torch.randn(4, 1, 2, 3)).shape == (4, 5)


def test_learning_state_exists_only_in_training_and_has_no_gradient():
    critic = Critic()
    critic.build({"S": (3,)})
    assert not any(name.startswith("learning_state") for name in critic.state_dict())
    critic.begin_learning()
    slow = [p for name, p in critic.named_parameters() if name.startswith("learning_state")]
    assert slow
    assert not any(p.requires_grad for p in slow)


def test_slow_copy_follows_by_polyak():
    critic = Critic(polyak=0.25)
    critic.build({"S": (3,)})
    critic.begin_learning()
    before = critic.learning_state[0].weight.clone()
    with torch.no_grad():
        critic.phi[0].weight += 1
    critic.after_step(0, 1)
    assert torch.allclose(critic.learning_state[0].weight, before + 0.25)


def test_batch_of_one_state_is_refused():
    critic = Critic()
    critic.build({"S": (3,)})
    critic.begin_learning()
    with pytest.raises(SettingError) as error:
        critic.loss({"state": torch.zeros(1, 3), "successors": torch.zeros(1, 2, 3), "goals": torch.zeros(1, 1, 3),
                     "pairs": torch.zeros(1, 1)})
    assert str(error.value) == "the critic received 1 state to learn from: expected 2 or more, it learns from pairs"


@pytest.mark.parametrize(("settings", "words"), [
    ({"hidden": 0}, "Critic.hidden is 0: expected 1 or more"),
    ({"embedding": 0}, "Critic.embedding is 0: expected 1 or more"),
    ({"gamma": 1.5}, "Critic.gamma is 1.5: expected 0 to 1"),
    ({"expectile": 1}, "Critic.expectile is 1: expected more than 0 and less than 1"),
    ({"hindsight": 2}, "Critic.hindsight is 2: expected 0 to 1"),
    ({"polyak": 0}, "Critic.polyak is 0: expected more than 0, at most 1"),
    ({"num_goals": 0}, "Critic.num_goals is 0: expected 1 or more"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        Critic(**settings)
    assert str(error.value) == words

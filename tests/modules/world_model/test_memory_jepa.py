"""MemoryJEPA: its contract, and states that hold what memory recalls."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls, Episode
from ami.testing import check_world_model
from ami.testing.stubs import StubPerception
from modules.memory.none import NoMemory
from modules.memory.recurrent import Recurrent
from modules.world_model.memory_jepa import MemoryJEPA

PERCEPT, RECALLED, ACTIONS, STEPS = 4, 8, 2, 4
STATE = PERCEPT + RECALLED


class Identity(StubPerception):
    def encode(self, observation: torch.Tensor) -> torch.Tensor:
        return observation


def model(memory=None, **settings) -> MemoryJEPA:
    torch.manual_seed(0)
    made = MemoryJEPA(recalled=RECALLED, hidden=32, rewards=True, **settings)
    made.set_up({"P": (PERCEPT,), "S": (STATE,), "Q": (STATE,), "A": ACTIONS, "U": ACTIONS, "O": (PERCEPT,)})
    edges = {"perception": Callee("perception", Identity())}
    if memory is not None:
        memory.set_up({"P": (PERCEPT,), "S": (STATE,)})
        edges["memory"] = Callee("memory", memory)
    made.calls = Calls("world_model", edges)
    return made


def cued(count: int) -> dict[str, torch.Tensor]:
    """Return windows whose first percept shows whether the last step is rewarded."""
    observation = torch.zeros(count, STEPS + 1, PERCEPT)
    observation[:, :, 0] = torch.arange(STEPS + 1) / STEPS
    cue = torch.randint(2, (count,))
    observation[torch.arange(count), 0, 1 + cue] = 1.0
    action = torch.ones(count, STEPS, ACTIONS)
    reward, cont = torch.zeros(count, STEPS), torch.ones(count, STEPS)
    reward[:, -1], cont[:, -1] = cue.float(), 0.0
    return {"observation": observation, "action": action, "reward": reward, "cont": cont, "valid": torch.ones(count, STEPS)}


def learnt_error(memory) -> float:
    """Return the reward's error on new windows after learning, in units of that of a constant."""
    made = model(memory)
    optimiser = torch.optim.Adam([*made.parameters(), *memory.parameters()], lr=0.01)
    for _ in range(60):
        loss, _ = made.loss(cued(64))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return float(made.loss(cued(512))[1]["reward"]) / 0.125


def test_contract():
    check_world_model(lambda: MemoryJEPA(recalled=RECALLED, hidden=32), dims={"P": (PERCEPT,)})


def test_a_memory_learns_through_the_call_what_predicts_a_late_reward_and_no_memory_does_not():
    assert learnt_error(Recurrent()) < 0.1
    assert learnt_error(NoMemory()) > 0.8


def test_a_reward_that_only_the_next_percept_shows_is_imagined_as_its_mean():
    made = model(NoMemory())
    optimiser = torch.optim.Adam(made.parameters(), lr=0.01)
    for _ in range(150):
        shown = torch.randint(2, (64, 2)).float()
        observation = torch.zeros(64, 2, PERCEPT)
        observation[:, 1, :2] = shown
        loss, _ = made.loss({"observation": observation, "action": torch.ones(64, 1, ACTIONS), "valid": torch.ones(64, 1),
                             "reward": (shown[:, :1] - shown[:, 1:]).abs(), "cont": torch.zeros(64, 1)})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        imagined = made.imagine(torch.zeros(1, STATE), torch.ones(1, 1, 1, ACTIONS)).reward
    assert abs(float(imagined) - 0.5) < 0.15


def test_states_in_an_agent_are_those_of_learning():
    memory = Recurrent()
    learning, acting = model(memory), model()
    percepts, actions = torch.randn(2, 5, PERCEPT), torch.zeros(2, 5, ACTIONS)
    everyone, episodes = torch.ones(2, dtype=torch.bool), [Episode(number, seed=0) for number in range(2)]
    memory.begin(everyone, episodes)
    acting.begin(everyone, episodes)
    with torch.no_grad():
        wanted, _ = learning.observe(percepts, actions)
        for tick in range(5):
            sent = memory.step(torch.zeros(2, STATE), torch.zeros(2), percepts[:, tick])
            state = acting.step(percepts[:, tick], actions[:, tick], sent["recall"], sent["score"])["state"]
            assert torch.allclose(state, wanted[:, tick], atol=1e-6)


def test_padded_steps_do_not_count():
    made, windows = model(Recurrent()), cued(8)
    windows["valid"][:, 3:] = 0
    other = {name: value.clone() for name, value in windows.items()}
    other["observation"][:, 4:] = 9.0
    other["reward"][:, 3:] = 9.0
    assert torch.equal(made.loss(windows)[0], made.loss(other)[0])


def test_a_goal_has_no_history_and_a_distance_ignores_it():
    made, percept = model(), torch.randn(3, PERCEPT)
    goal = made.goal_of(percept)
    assert torch.equal(goal, torch.cat([percept, torch.zeros(3, RECALLED)], dim=1))
    assert not made.distance(torch.cat([percept, torch.ones(3, RECALLED)], dim=1), goal).any()


def test_a_memory_of_no_size_is_refused():
    with pytest.raises(SettingError, match=r"MemoryJEPA.recalled is 0: expected 1 or more"):
        MemoryJEPA(recalled=0)

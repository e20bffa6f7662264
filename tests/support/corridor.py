"""A world that needs a memory with weights: a cue is seen at the first tick alone and tells which way to go at the last.

The agent is perception → world model → memory → actor. Its actor acts on what the memory recalls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ami.blueprint import Actor, Memory, Perception, Prediction, World
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.module import Batch, Episode
from ami.ports import Dims, Port, Size
from modules.actor.epsilon_greedy import EpsilonGreedy
from modules.world_model.markov import MarkovWorldModel

LENGTH = 5


class Corridor(World):
    """Shows [cue, age / LENGTH]: the cue, -1 or 1, at the first tick, else 0. The last action must have the cue's sign."""

    inputs = {"action": Port("action", ("A",))}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"O": (2,), "G": (2,), "X": 1, "A": 1}

    def begin(self, mask: Tensor, episodes: Sequence[Episode]) -> None:
        super().begin(mask, episodes)
        self.numbers = torch.tensor([episode.number for episode in episodes])

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"age": torch.full((batch,), -1), "cue": torch.zeros(batch)}

    def step(self, action: Tensor) -> dict[str, Tensor]:
        age = self.carry["age"] + 1
        cue = torch.where(age == 0, (self.random.uniform(0.0, 1.0) > 0.5) * 2.0 - 1.0, self.carry["cue"])
        self.carry = {"age": age, "cue": cue}
        over = age == LENGTH
        right = over & (action[:, 0].sign() == cue)
        seen = torch.stack([torch.where(age == 0, cue, 0.0), age / LENGTH], dim=1)
        return {"observation": seen, "goal": torch.zeros_like(seen), "reward": right.float(), "terminated": over,
                "truncated": torch.zeros_like(over), "success": right, "truth": cue[:, None],
                "episode": torch.where(over, -1, self.numbers)}


class Eye(Perception):
    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"P": (2,)}

    def encode(self, observation: Tensor) -> Tensor:
        return observation


class Still(MarkovWorldModel):
    """The state is the percept, and nothing moves."""

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"S": (2,)}

    def state_of(self, percept: Tensor) -> Tensor:
        return percept

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        return Prediction(state[:, None, None].expand(-1, *actions.shape[1:3], -1))


class Recurrent(Memory):
    """A GRU over states; recalls its hidden state, read as a state.

    Args:
        forgets: whether it starts anew at every tick, as a control.
    """

    inputs = {"state": Port("state", ("*S",))}

    def __init__(self, forgets: bool = False) -> None:
        super().__init__()
        self.forgets = forgets

    def build(self, dims: Dims) -> None:
        self.cell, self.read = nn.GRUCell(2, 16), nn.Linear(16, 2)

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"hidden": torch.zeros(batch, 16)}

    def step(self, state: Tensor) -> dict[str, Tensor]:
        hidden = self.cell(state, self.carry["hidden"] * (not self.forgets))
        self.carry = {"hidden": hidden}
        return {"recall": self.read(hidden), "score": hidden.new_zeros(len(hidden))}


class Hand(Actor):
    """Predicts the reward of going either way from what is recalled, and goes where it is larger."""

    inputs = {"recall": Port("recall", ("*S",))}

    def build(self, dims: Dims) -> None:
        self.value = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 1))

    def _values(self, recall: Tensor, action: Tensor) -> Tensor:
        value: Tensor = self.value(torch.cat([recall, action.sign()], dim=-1))[..., 0]
        return value

    def step(self, recall: Tensor) -> dict[str, Tensor]:
        ways = [torch.full_like(recall[:, :1], way) for way in (-1.0, 1.0)]
        better = self._values(recall, ways[1]) > self._values(recall, ways[0])
        return {"action": torch.where(better, 1.0, -1.0)[:, None]}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error of the reward after each action, from what was recalled when it was chosen."""
        predicted = self._values(batch["memory.recall"][:, :-1], batch["action"])
        return (predicted - batch["reward"]).square().mean(), {}


def corridor(forgets: bool = False, explores: bool = False) -> Graph:
    """Return the agent's graph; one that explores acts at random."""
    actor = ModuleSpec(Hand)
    specs = {"world": ModuleSpec(Corridor), "perception": ModuleSpec(Eye), "world_model": ModuleSpec(Still),
             "memory": ModuleSpec(Recurrent, {"forgets": forgets}),
             "actor": ModuleSpec(EpsilonGreedy, {"actor": actor, "epsilon": 1.0}) if explores else actor}
    return Graph(specs, {"world": {"action": "actor.action@-1"}, "perception": {"observation": "world.observation"},
                         "world_model": {"percept": "perception.percept", "action": "actor.action@-1"},
                         "memory": {"state": "world_model.state"}, "actor": {"recall": "memory.recall"}})

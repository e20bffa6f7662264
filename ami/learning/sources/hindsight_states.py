"""Hindsight states: what a frozen agent computes from its experience, for parts that learn from states.

In the paper the critic learns from the memory's triplets of time, state and intrinsic energy, of perceived and of imagined
states (section 3.3). The energy is not stored here: it depends on the goal, which hindsight draws afresh for every batch
(Andrychowicz and others, *Hindsight Experience Replay*, 2017), so the cost computes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel
from ami.data.column import Column
from ami.data.replay_buffer import ACTION, FRAMES_AT_ONCE, REWARD, TERMINATED, ReplayBuffer
from ami.data.scratch import Scratch, in_chunks
from ami.errors import require
from ami.learning.sources.prioritised import PrioritisedDraw, check_priorities
from ami.learning.sources.source import Draw, Source, Supply, check_role, the_one
from ami.learning.states import percepts_of, states_of
from ami.module import Module
from ami.ports import ActionSpace
from ami.rng import derive_seed

FLOAT = 4
"""Bytes of a number of a state."""


class HindsightStates(Source):
    """States with their successors and a later state of their episode as a goal; see `States.at` for the tensors.

    They are computed at the beginning of a round, with the weights learnt so far.

    Args:
        imagined: M, the number of imagined successors per state.
        terminal_share: share of the states at most `within` steps before a terminal step.
        within: see `terminal_share`.
        alpha: above 0, states are drawn in proportion to their last error to this power (`ami.data.priorities`), and the
            batch holds importance weights, "weight" (N,).
        beta: exponent of these weights: 0 corrects nothing of the bias of such draws, 1 the whole of it.
        horizon: the most steps between a state and its goal; None for the rest of the episode.
        perception, world_model: the nodes that compute them; None for the only ones.
        shuffle_actions: whether each state has the action of another one: the control of a policy that learns from them.

    Raises:
        SettingError: a setting is out of its range, or both `alpha` and `terminal_share` are above 0; or, when it is opened,
            there is no such perception or world model.
    """

    made_by = "perception and world model computed it"

    def __init__(self, imagined: int = 8, terminal_share: float = 0.0, within: int = 5, horizon: int | None = None,
                 alpha: float = 0.0, beta: float = 0.4, perception: str | None = None,
                 world_model: str | None = None, shuffle_actions: bool = False) -> None:
        require(imagined >= 0, f"HindsightStates.imagined is {imagined}: expected 0 or more successors")
        require(0 <= terminal_share <= 1, f"HindsightStates.terminal_share is {terminal_share}: expected 0 to 1")
        require(within >= 1, f"HindsightStates.within is {within}: expected 1 or more steps")
        require(horizon is None or horizon >= 1, f"HindsightStates.horizon is {horizon}: expected 1 or more steps, or null")
        check_priorities("HindsightStates", alpha, beta, terminal_share)
        check_role(perception, "HindsightStates.perception")
        check_role(world_model, "HindsightStates.world_model")
        self.imagined, self.terminal_share, self.within, self.horizon = imagined, terminal_share, within, horizon
        self.alpha, self.beta, self.perception, self.world_model = alpha, beta, perception, world_model
        self.shuffle_actions = shuffle_actions

    def open(self, supply: Supply) -> Draw:
        where = f"learning.stages.{supply.stage}.source"
        _, perception = the_one(supply.modules, Perception, self.perception, where)
        _, model = the_one(supply.modules, WorldModel, self.world_model, where)
        states = replace(remember(supply.experience, perception, model, self.imagined, supply.scratch), horizon=self.horizon)
        if self.shuffle_actions:
            generator = torch.Generator().manual_seed(derive_seed(supply.seed, "shuffled", supply.stage))
            states = replace(states, action=states.action[torch.randperm(len(states.action), generator=generator)])
        if self.alpha:
            entries = states.with_future()
            return PrioritisedDraw(supply.experience.first[0] + entries, lambda index: states.at(entries[index]),
                                   supply.batch, self.alpha, self.beta)
        endings = states.endings(self.within) if self.terminal_share else None
        share = round(self.terminal_share * supply.batch) if endings is not None and len(endings) else 0
        return lambda step: states.draw(supply.batch, endings, share)

    def nodes(self, modules: Mapping[str, Module]) -> set[str]:
        chosen = {Perception: self.perception, WorldModel: self.world_model}
        return {node for node, module in modules.items() for role, name in chosen.items()
                if isinstance(module, role) and name in (None, node)}

    def bytes_of(self, batch: int, sizes: Mapping[str, int], wants_pairs: bool) -> Mapping[str, int]:
        return {"batch": batch * ((2 + self.imagined) * sizes["state"] + wants_pairs * batch * FLOAT),
                "source.imagined": sizes["steps"] * self.imagined * sizes["state"]}


@dataclass(frozen=True)
class States:
    """F perceived states, episode after episode, each with its successors.

    Attributes:
        state: (F, *S).
        successors: (F, 1 + M, *S): the state perceived next, then M imagined ones.
        goals: (F, *Q), the goal to perceive what was perceived at each state.
        action: (F, A), the action taken at each state; that of an episode's last one is never drawn.
        reward, cont: (F, 1 + M), the reward on arriving at each successor, and whether the episode continues after it: the
            perceived ones, then the predicted ones. None if not recorded, or if the model predicts none.
        first: (F,), the index of the first later state of the same episode.
        last: (F,), the index of its last state; a row with first > last has no future and is never drawn.
        horizon: the most steps between a state and its goal; None for the rest of the episode.
    """

    state: Column
    successors: Column
    goals: Column
    action: Tensor
    first: Tensor
    last: Tensor
    reward: Tensor | None = None
    cont: Tensor | None = None
    horizon: int | None = None

    def endings(self, within: int) -> Tensor:
        """Return indices (M,) of states at most `within` steps before a terminal step; empty if it was not recorded."""
        if self.cont is None:
            return torch.zeros(0, dtype=torch.int64)
        ended = self.cont[(self.last - 1).clamp(min=0), 0] == 0
        here = torch.arange(len(self.first))
        return (ended & (here < self.last) & (here + within >= self.last)).nonzero()[:, 0]

    def draw(self, batch: int, chosen: Tensor | None = None, share: int = 0) -> dict[str, Tensor]:
        """Draw N states with a future, each with a later state of its episode as the hindsight goal.

        Args:
            batch: N.
            chosen: indices of states to oversample, (M,).
            share: the number of the N states drawn from `chosen`.

        Returns:
            The batch, see `at`. Drawn from torch's global stream.
        """
        with_future = self.with_future()
        index = with_future[torch.randint(len(with_future), (batch - share,))]
        if chosen is not None and share:
            index = torch.cat([index, chosen[torch.randint(len(chosen), (share,))]])
        return self.at(index)

    def with_future(self) -> Tensor:
        """Return the indices (M,) of the states that may be drawn."""
        return (self.first <= self.last).nonzero()[:, 0]

    def at(self, index: Tensor) -> dict[str, Tensor]:
        """Return the batch of states (N,), each with a goal drawn from torch's global stream.

        Returns:
            "state" (N, *S), "action" (N, A), taken there, "successors" (N, 1 + M, *S), "goal" (N, *Q), "next" (N, *Q), the
            next percept as a goal, and, if known, "reward" and "cont" (N, 1 + M).
        """
        span = self.last[index] - self.first[index] + 1
        if self.horizon is not None:
            span = span.clamp(max=self.horizon)
        goal = self.first[index] + (torch.rand(len(index)) * span).long()
        drawn = {"state": self.state.rows(index), "successors": self.successors.rows(index), "goal": self.goals.rows(goal),
                 "next": self.goals.rows(index + 1), "action": self.action[index]}
        columns = {"reward": self.reward, "cont": self.cont}
        return drawn | {name: value[index] for name, value in columns.items() if value is not None}


@torch.no_grad()
def remember(experience: ReplayBuffer, perception: Perception, world_model: WorldModel, imagined: int,
             scratch: Scratch | None = None) -> States:
    """Encode all experience and imagine `imagined` (M) one-step successors of every state.

    A single choice has one successor per alternative, whatever M > 0. Several choices have one per combination if there are
    at most M. All other action spaces have M successors. States are stored in `scratch`, or in memory.
    """
    scratch = scratch or Scratch()
    percepts = percepts_of(experience, perception, scratch)
    states, count = states_of(experience, percepts, world_model, scratch), experience.num_frames
    both = zip(in_chunks(percepts, FRAMES_AT_ONCE), in_chunks(states, FRAMES_AT_ONCE), strict=True)
    # a goal in the context of the state that it was part of: where it was seen
    goals = scratch.column((world_model.rebase_goal(world_model.goal_of(percept), state) for percept, state in both), count)
    last = ((experience.steps + 1).cumsum(0) - 1).repeat_interleave(experience.steps + 1)
    first = torch.arange(count) + 1
    actions = spread(world_model.plan_space, imagined)[:, None]
    rewards: list[Tensor | None] = []
    conts: list[Tensor | None] = []

    def successors() -> Iterator[Tensor]:
        following = torch.minimum(first, last).split(FRAMES_AT_ONCE)
        for part, after in zip(in_chunks(states, FRAMES_AT_ONCE), following, strict=True):
            parts = [states.rows(after)[:, None]]
            if imagined:
                predicted = world_model.imagine(part, actions.expand(len(part), *actions.shape))
                parts.append(predicted.states[:, :, 0])
                rewards.append(predicted.reward)
                conts.append(predicted.cont)
            yield torch.cat(parts, dim=1)

    futures = scratch.column(successors(), count)
    return States(states, futures, goals, experience.column(ACTION), first, last, _column(experience, REWARD, rewards),
                  _column(experience, TERMINATED, conts))


def _column(experience: ReplayBuffer, name: str, predicted: list[Tensor | None]) -> Tensor | None:
    """Join recorded and predicted (…, M, 1) values of each state's successors, (F, 1 + M); None if one is unknown.

    The last state of an episode has no successor: it has the value 0 and is never drawn.
    """
    if name not in experience.columns or any(part is None for part in predicted):
        return None
    arrived = experience.arrived(name)
    perceived = torch.zeros(experience.num_frames)
    perceived[~experience.lasts()] = 1.0 - arrived.float() if name == TERMINATED else arrived
    parts = [part[:, :, 0] for part in predicted if part is not None]
    return torch.cat([perceived[:, None], *([torch.cat(parts)] if parts else [])], dim=1)


def spread(space: ActionSpace, count: int) -> Tensor:
    """Return M different actions, (M, A): every alternative of a single choice, or about `count` actions."""
    if not space.choices:
        return directions(count, space.numbers)
    if space.is_discrete and (len(space.choices) == 1 or space.num_joint <= count):
        return space.joint()
    uniform = torch.rand(count, space.num_draws, generator=torch.Generator().manual_seed(0))
    actions = space.draw(uniform)
    if space.numbers:
        actions[:, :space.numbers] = directions(count, space.numbers)
    return actions


def directions(count: int, width: int) -> Tensor:
    """Return `count` actions in different directions, (count, A), of length 1 unless A = 1.

    They are evenly spaced on the circle for A = 2, evenly spaced from -1 to 1 for A = 1, else random with a fixed seed.
    """
    if width == 1:
        return torch.linspace(-1, 1, count)[:, None]
    if width == 2:
        angle = torch.arange(count) * (2 * math.pi / max(count, 1))
        return torch.stack([angle.cos(), angle.sin()], dim=-1)
    draws = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(draws, dim=-1)

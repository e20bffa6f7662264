"""What planners that search in imagination share: one draw per tick, idle rows, where the search starts.

Shapes: B parallel worlds, R the rows that plan, K candidates, H horizon, A action width, S the size of a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ami.blueprint import ACTION_MASK, Planner
from ami.errors import SettingError, require
from ami.module import Call
from ami.ports import ActionSpace, Dims, Size


class Best(NamedTuple):
    """The best candidate of each row.

    Attributes:
        plan: (R, H, A).
        imagined: (R, H, *S), where it leads.
        energy: (R,).
    """

    plan: Tensor
    imagined: Tensor
    energy: Tensor


class Found(NamedTuple):
    """What a search brought.

    Attributes:
        plan: (R, H, A).
        imagined: (R, H, *S).
        energy: (R,).
        model_steps: predictor steps spent on each row: one number for all, or (R,) where rows differ.
        kept: what else the next search wants to know, (R, …) by the names of `initial`.
    """

    plan: Tensor
    imagined: Tensor
    energy: Tensor
    model_steps: int | Tensor
    kept: Mapping[str, Tensor] = {}


class SamplingPlanner(Planner):
    """Mode-2 by trial in imagination (paper, section 3.1.2): a subclass draws and searches.

    A search starts at the plan of the tick before, one step on; or, where the call `policy` is bound, at what Mode-1 would
    do: the policy is rolled out in imagination, H model steps more (section 3.1.3).

    Rows in Mode-1 stay idle: a zero plan, 0 model steps, and no random numbers. Every row has its own stream, so that what
    one world does never moves another's.

    Actions are numbers in [-1, 1]. Where an action has choices beside its numbers, a search moves a score for every
    alternative, and each candidate takes the alternative of the largest score before it is imagined. Where an action has
    choices alone, continuous search is refused: that is a `modules.planner.choosing.ChoicePlanner`.

    Where the world sends an action mask, every candidate's first action is allowed; of later ones nothing is known.
    """

    inputs = {**Planner.inputs, "action_mask": ACTION_MASK}
    wants = {**Planner.wants, "policy": Call(("propose",), {"S": "S", "A": "A"}, optional=True)}

    def __init__(self, horizon: int) -> None:
        super().__init__()
        require(horizon >= 1, f"{type(self).__name__}.horizon is {horizon}: expected 1 or more")
        self.horizon = horizon
        self.width = 0
        self._rows = torch.zeros(0, 1, dtype=torch.int64)
        self._planning: Sequence[int] | None = None
        self.allowed: Tensor | None = None  # (R, A), for the first action of the plans of this tick
        self._zeros: dict[str, Tensor] | None = None
        self._at_rest: dict[str, Tensor] | None = None

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if self.actions is not None:
            self.accept(self.actions)
        return {"H": self.horizon}

    def accept(self, actions: ActionSpace) -> None:
        """Refuse a world whose actions this search cannot plan."""
        if actions.is_discrete:
            raise SettingError(f"{type(self).__name__} plans continuous actions, but here an action is {actions}. "
                               "Fix: planner=categorical or planner=tree")

    def build(self, dims: Dims) -> None:
        (self.width,) = self.outputs["plan"].shape(dims)[1:]
        self.space = self.actions or ActionSpace(self.width)
        self.accept(self.space)

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"plan": torch.zeros(batch, self.horizon, self.width)}

    @property
    def proposes(self) -> bool:
        """Whether a policy says where to start: then its plan is worth to be a candidate itself."""
        return "policy" in self.calls

    def clipped(self, actions: Tensor) -> Tensor:
        """Valid actions for any numbers (…, A), which are changed in place: clipped to [-1, 1], choices one-hot."""
        return self._nearest(actions) if self.space.choices else actions.clamp_(-1.0, 1.0)

    def decided(self, actions: Tensor) -> Tensor:
        """Means of valid actions (…, A) as valid ones: of each choice the most frequent alternative."""
        return self._nearest(actions) if self.space.choices else actions

    def _nearest(self, actions: Tensor) -> Tensor:
        """The valid plans nearest to (R, …, H, A), whose first actions are allowed."""
        valid = self.space.nearest(actions)
        if self.allowed is not None:
            allowed = self.allowed.view(len(actions), *[1] * (actions.ndim - 3), self.width)
            valid[..., 0, :] = self.space.nearest(actions[..., 0, :], allowed)
        return valid

    def draw(self) -> Tensor:
        """All the random numbers of one tick, (R, …)."""
        raise NotImplementedError

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> Found:
        """Find a plan for R rows; `start` (R, H, A) is the best guess so far, zero when nothing is known."""
        raise NotImplementedError

    def imagine(self, state: Tensor, goal: Tensor, weights: Tensor | None, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Imagine and evaluate: candidates (R, K, H, A) to states (R, K, H, *S) and energies (R, K)."""
        prediction = self.calls.world_model.rollout(state, candidates)
        energy = self.calls.cost.energy(prediction, candidates, goal, weights)
        if self.notes is not None:
            self.note(energy)
        return prediction.states, energy

    def note(self, energy: Tensor) -> None:
        """Note how one more iteration's candidates were judged, (R, K): (B, iterations, K), NaN where there were fewer."""
        assert self.notes is not None
        told = energy.detach()
        if self._planning is not None:
            told = told.new_full((self.batch, told.shape[1]), torch.nan)
            told[self._planning] = energy.detach()
        before = self.notes.get("candidates", told.new_zeros(len(told), 0, 0))
        most = max(before.shape[2], told.shape[1])
        padded = [pad(part, (0, most - part.shape[2]), value=torch.nan) for part in (before, told[:, None])]
        self.notes["candidates"] = torch.cat(padded, 1)

    def taken(self, candidates: Tensor, numbers: Tensor) -> Tensor:
        """Some candidates of each row: (R, K, …) and their numbers (R, E) to (R, E, …)."""
        if len(self._rows) != len(numbers):
            self._rows = torch.arange(len(numbers), device=numbers.device)[:, None]
        return candidates[self._rows, numbers]

    def best_of(self, candidates: Tensor, states: Tensor, energy: Tensor, before: Best | None = None) -> Best:
        """Each row's best candidate, or the one `before` where no candidate betters it.

        Args:
            candidates: (R, K, H, A).
            states: (R, K, H, *S).
            energy: (R, K).
            before: the best one so far.
        """
        least, number = energy.min(1, keepdim=True)
        best = Best(self.taken(candidates, number)[:, 0], self.taken(states, number)[:, 0], least[:, 0])
        if before is None:
            return best
        better = best.energy < before.energy
        return Best(*(torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)
                      for new, old in zip(best, before, strict=True)))

    def remembered(self, name: str) -> Tensor:
        """What the rows that plan now kept from their last search, (R, …)."""
        value = self.carry[name]
        return value if self._planning is None else value[self._planning]

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, weights: Tensor | None = None,  # type: ignore[override]
             action_mask: Tensor | None = None) -> dict[str, Tensor]:
        modes = mode.tolist()
        self.allowed = action_mask if self.space.choices else None
        if self.allowed is not None:
            self.space.check_mask(self.allowed, type(self).__name__)
        if self.notes is not None:
            self.notes.clear()
        if 2 not in modes:
            if self.carry is not self._at_rest:  # idle rows forget
                self.carry = self._at_rest = self.initial(len(state))
            return self._idle(state)
        if 1 in modes:
            return self._search_some([row for row, each in enumerate(modes) if each == 2], state, goal, weights)
        found = self._found(state, goal, weights)
        self.carry = {"plan": found.plan, **found.kept}
        steps = found.model_steps
        return {"plan": found.plan, "imagined": found.imagined, "energy": found.energy,
                "model_steps": steps if isinstance(steps, Tensor) else torch.full_like(mode, steps)}

    def _found(self, state: Tensor, goal: Tensor, weights: Tensor | None) -> Found:
        noise = self.draw().to(state.device)
        if self.proposes:
            found = self.search(state, goal, weights, self._proposed(state, goal), noise)
            return found._replace(model_steps=found.model_steps + self.horizon)
        before = self.remembered("plan")
        start = torch.zeros_like(before)  # nothing is known of the last action
        start[:, :-1] = before[:, 1:]
        if self.allowed is not None:  # where the last plan goes on with what is not allowed now, nothing is known
            start[:, 0] *= ~(start[:, 0].bool() & ~self.allowed).any(-1, keepdim=True)
        return self.search(state, goal, weights, start, noise)

    def _proposed(self, state: Tensor, goal: Tensor) -> Tensor:
        """The actions that the policy would take if the world were as imagined, (R, H, A)."""
        actions: list[Tensor] = []
        for _ in range(self.horizon):
            action = self.calls.policy.propose(state, goal)
            if self.allowed is not None and not actions:
                action = self.space.nearest(action, self.allowed)
            actions.append(action)
            state = self.calls.world_model.rollout(state, actions[-1][:, None, None]).states[:, 0, 0]
        return torch.stack(actions, 1)

    def _idle(self, state: Tensor) -> dict[str, Tensor]:
        """What is sent where nobody plans. Nobody changes a message, so those of zeros are made once: reacting is quick."""
        if self._zeros is None or len(self._zeros["energy"]) != len(state):
            self._zeros = {
                "plan": state.new_zeros(len(state), self.horizon, self.width),
                "energy": state.new_zeros(len(state)),
                "model_steps": torch.zeros(len(state), dtype=torch.int64, device=state.device),
            }
        return {**self._zeros, "imagined": state.unsqueeze(1).expand(-1, self.horizon, *state.shape[1:])}

    def _search_some(self, rows: list[int], state: Tensor, goal: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        outputs = {name: value.clone() for name, value in self._idle(state).items()}
        kept = self.initial(len(state))  # idle rows forget
        self._planning = rows
        self.allowed = None if self.allowed is None else self.allowed[rows]
        with self.random.only(rows):
            found = self._found(state[rows], goal[rows], None if weights is None else weights[rows])
        self._planning = None
        for name in outputs:
            outputs[name][rows] = getattr(found, name)
        for name, value in found.kept.items():
            kept[name] = kept[name].to(value)
            kept[name][rows] = value
        self.carry = {**kept, "plan": outputs["plan"]}
        return outputs

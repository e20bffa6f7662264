"""The base class of planners that evaluate sampled plans: random draws, idle rows and warm starts.

Shapes: B parallel worlds, R the rows that plan, K candidates, H horizon, A action width, S the size of a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from ami.blueprint import PLAN_MASK, Planner
from ami.errors import SettingError, require
from ami.module import Call
from ami.ports import ActionSpace, Dims, Size, shape_of

CANDIDATES_AT_ONCE = 1024
"""The most candidates, of all rows together, per call of the world model: more do not fit in the cache of a CPU core."""
ALL = slice(None)


class Best(NamedTuple):
    """The best candidate of each row.

    Attributes:
        plan: (R, H, A).
        imagined: (R, H, *S), its states.
        energy: (R,).
    """

    plan: Tensor
    imagined: Tensor
    energy: Tensor


class SearchResult(NamedTuple):
    """The result of a search.

    Attributes:
        plan: (R, H, A).
        imagined: (R, H, *S).
        energy: (R,).
        model_steps: predictor steps spent on each row: one number for all, or (R,) if rows differ.
        kept: further entries of the carry, (R, …) by the names of `initial`.
    """

    plan: Tensor
    imagined: Tensor
    energy: Tensor
    model_steps: int | Tensor
    kept: Mapping[str, Tensor] = {}


class SamplingPlanner(Planner):
    """Mode-2 by search over imagined rollouts (paper, section 3.1.2): a subclass implements `draw` and `search`.

    A search is warm-started with the last plan shifted by one step; or, if the call `policy` is bound, with the policy's
    imagined rollout, for H more model steps (section 3.1.3).

    Rows in Mode-1 stay idle: a zero plan, 0 model steps, and no random numbers. Every row has its own random stream, so that
    worlds do not influence each other.

    Continuous actions lie in [-1, 1]. In mixed action spaces the search optimises a score for every discrete alternative,
    and each candidate takes the alternative of the largest score before its rollout. Purely discrete action spaces are
    refused: they need a `modules.planner.choosing.ChoicePlanner`.

    If the world sends an action mask, every candidate's first action is allowed; masks of later steps are unknown.

    Rollouts keep all of their states: no shipped cost reads the last one alone, for which `imagine_last` would do.

    Many rows are searched in parts of up to `CANDIDATES_AT_ONCE` candidates. Rows do not influence each other, but rounding
    may depend on the size of a part.

    Args:
        horizon: H, number of actions in a plan.
        population: K of the largest iteration, from which the size of a part follows; 0 searches all rows together.

    Attributes:
        differentiates: whether `search` computes gradients; otherwise it runs in torch's inference mode.
    """

    differentiates: ClassVar[bool] = False
    inputs = {**Planner.inputs, "action_mask": PLAN_MASK}
    requires = {**Planner.requires, "policy": Call(("propose",), {"S": "S", "Q": "Q", "A": "U"}, optional=True)}

    def __init__(self, horizon: int, population: int = 0) -> None:
        super().__init__()
        require(horizon >= 1, f"{type(self).__name__}.horizon is {horizon}: expected 1 or more")
        self.horizon, self.population = horizon, population
        self.width = 0
        self._rows = torch.zeros(0, 1, dtype=torch.int64)
        self._planning: list[int] | slice = ALL  # the rows of the current search
        self._first = 0  # index of its first row among the rows that plan
        self._noted: list[Tensor] = []  # the energies (R, K) of its iterations
        self.allowed: Tensor | None = None  # (R, A), for the first action of the plans of this tick
        self._last: Tensor | None = None
        self._zeros: dict[str, Tensor] | None = None
        self._steps: tuple[tuple[int, int], Tensor] | None = None  # (model steps, R) and the tensor (R,) of them
        self._at_rest: dict[str, Tensor] | None = None

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if self.actions is not None:
            self.check_actions(self.actions)
        return {"H": self.horizon}

    def check_actions(self, actions: ActionSpace) -> None:
        """Refuse an action space that this search does not support."""
        if actions.is_discrete:
            raise SettingError(f"{type(self).__name__} plans continuous actions, but here an action is {actions}. "
                               "Fix: planner=categorical or planner=tree")

    def build(self, dims: Dims) -> None:
        (self.width,) = self.outputs["plan"].shape(dims)[1:]
        self.space = self.actions or ActionSpace(self.width)
        self.check_actions(self.space)

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {"plan": torch.zeros(batch, self.horizon, self.width)}

    @property
    def uses_policy(self) -> bool:
        """Whether the call `policy` provides the warm start; its plan is then also a candidate."""
        return "policy" in self.calls

    def clipped(self, actions: Tensor) -> Tensor:
        """Project numbers (…, A) onto valid actions: clipped to [-1, 1] (in place), choices one-hot."""
        return self._nearest(actions) if self.space.choices else actions.clamp_(-1.0, 1.0)

    def discretise(self, actions: Tensor) -> Tensor:
        """Project means of valid actions (…, A) onto valid actions: the most frequent alternative of each choice."""
        return self._nearest(actions) if self.space.choices else actions

    def _nearest(self, actions: Tensor) -> Tensor:
        """Return the valid plans nearest to (R, …, H, A), with allowed first actions."""
        valid = self.space.nearest(actions)
        if self.allowed is not None:
            allowed = self.allowed.view(len(actions), *[1] * (actions.ndim - 3), self.width)
            valid[..., 0, :] = self.space.nearest(actions[..., 0, :], allowed)
        return valid

    def draw(self) -> Tensor:
        """Return all random numbers of one tick, (R, …)."""
        raise NotImplementedError

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        """Find a plan for R rows; `start` (R, H, A) is the warm start, zero where unknown."""
        raise NotImplementedError

    def imagine(self, state: Tensor, goal: Tensor, weights: Tensor | None, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Roll out and evaluate candidates (R, K, H, A): states (R, K, H, *S) and energies (R, K)."""
        prediction = self.calls.world_model.imagine(state, candidates, self.model_noise(candidates))
        energy = self.calls.cost.energy(prediction, candidates, goal, weights)
        if self.notes is not None:
            self.note(energy)
        return prediction.states, energy

    def model_noise(self, plans: Tensor) -> Tensor | None:
        """Draw noise (R, K, H, *Z) for plans (R, K, H, U); return None, and draw nothing, if the model is deterministic.

        All candidates of a row share one sample, so that their energies differ by their actions alone (Ng and Jordan,
        *PEGASUS*, 2000).
        """
        shape = shape_of(self.dims, "Z")
        if not shape:
            return None
        with self.random.only(range(self._first, self._first + len(plans))):
            noise = self.random.normal(1, plans.shape[2], *shape)
        return noise.expand(-1, plans.shape[1], *noise.shape[2:])

    def note(self, energy: Tensor) -> None:
        """Record an iteration's energies (R, K) for the trace."""
        self._noted.append(energy.detach())

    def gather(self, candidates: Tensor, numbers: Tensor) -> Tensor:
        """Select candidates of each row: (R, K, …) and indices (R, E) to (R, E, …)."""
        if len(numbers) == 1:  # takes half the time of indexing with two tensors
            return candidates.index_select(1, numbers[0])
        if len(self._rows) < len(numbers):
            self._rows = torch.arange(len(numbers), device=numbers.device)[:, None]
        return candidates[self._rows[:len(numbers)], numbers]

    def best_of(self, candidates: Tensor, states: Tensor, energy: Tensor, before: Best | None = None) -> Best:
        """Return each row's best candidate, or `before` if no candidate is better.

        Args:
            candidates: (R, K, H, A).
            states: (R, K, H, *S).
            energy: (R, K).
            before: the best one so far.
        """
        least, number = energy.min(1, keepdim=True)
        best = Best(self.gather(candidates, number)[:, 0], self.gather(states, number)[:, 0], least[:, 0])
        if before is None:
            return best
        better = best.energy < before.energy
        return Best(*(torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)
                      for new, old in zip(best, before, strict=True)))

    def from_carry(self, name: str) -> Tensor:
        """Return an entry of the carry (R, …) for the rows of the current search."""
        return self.carry[name] if self._planning is ALL else self.carry[name][self._planning]

    def step(self, state: Tensor, goal: Tensor, mode: Tensor, weights: Tensor | None = None,
             action_mask: Tensor | None = None) -> dict[str, Tensor]:
        modes = mode.tolist()
        allowed = action_mask if self.space.choices else None
        if allowed is not self.allowed:
            self.allowed = allowed
        if allowed is not None:
            self.space.check_mask(allowed, type(self).__name__)
        if self.notes is not None:
            self.notes.clear()
        if 2 not in modes:
            if self.carry is not self._at_rest:  # idle rows lose their carry
                self.carry = self._at_rest = self.fresh_carry(len(state))
            return self._idle(state)
        if 1 in modes:
            return self._search_some([row for row, each in enumerate(modes) if each == 2], state, goal, weights)
        found = self._found(state, goal, weights)
        self.carry = {"plan": found.plan, **found.kept}
        return {"plan": found.plan, "imagined": found.imagined, "energy": found.energy,
                "model_steps": self._per_row(found.model_steps, mode)}

    def _unknown(self, plan: Tensor) -> Tensor:
        """Return the last action (R, 1, A) of a warm start, zeros of the form of a plan (R, H, A)."""
        if self._last is None or len(self._last) != len(plan):
            self._last = torch.zeros_like(plan[:, :1])
        return self._last

    def _per_row(self, steps: int | Tensor, mode: Tensor) -> Tensor:
        """Return a search's model steps as (R,). A constant tensor is created once: messages are never changed."""
        if isinstance(steps, Tensor):
            return steps
        if self._steps is None or self._steps[0] != (steps, len(mode)):
            self._steps = (steps, len(mode)), torch.full_like(mode, steps)
        return self._steps[1]

    def _found(self, state: Tensor, goal: Tensor, weights: Tensor | None) -> SearchResult:
        noise = self.draw()
        if self.uses_policy:
            found = self._in_parts(state, goal, weights, self._proposed(state, goal), noise)
            return found._replace(model_steps=found.model_steps + self.horizon)
        before = self.from_carry("plan")
        start = torch.cat((before[:, 1:], self._unknown(before)), 1)
        if self.allowed is not None:  # drop a forbidden first action of the warm start
            start[:, 0] *= ~(start[:, 0].bool() & ~self.allowed).any(-1, keepdim=True)
        return self._in_parts(state, goal, weights, start, noise)

    def _in_parts(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        """Search for the plans of R rows, in parts one after another."""
        planning, allowed, rows, parts = self._planning, self.allowed, len(state), []
        most = CANDIDATES_AT_ONCE // self.population or 1 if self.population else rows
        size = rows if rows <= most else -(-rows // -(-rows // most))  # parts of about equal size
        given: tuple[Any, ...] = (state, goal, weights, start, noise)
        every, energies = given, []
        for first in range(0, rows, size):
            if size < rows:  # a module's attributes take microseconds to set
                part, self._first = slice(first, first + size), first
                self._planning = part if isinstance(planning, slice) else planning[part]
                self.allowed = None if allowed is None else allowed[part]
                given = tuple(one if one is None else one[part] for one in every)
            # without gradients inference mode saves a tenth of a small search; its results are copied by `_joined`
            with nullcontext() if self.differentiates else torch.inference_mode():
                parts.append(self.search(*given))
            if self.notes is not None:
                energies.append(_padded(self._noted))
                self._noted = []
        if size < rows:
            self._planning, self.allowed, self._first = planning, allowed, 0
        if self.notes is not None:
            whole = energies[0].new_full((self.batch, *energies[0].shape[1:]), torch.nan)
            whole[planning] = torch.cat(energies)
            self.notes["candidates"] = whole
        return _joined(parts)

    def _proposed(self, state: Tensor, goal: Tensor) -> Tensor:
        """Return the policy's actions (R, H, A) along its imagined rollout."""
        actions: list[Tensor] = []
        for _ in range(self.horizon):
            action = self.calls.policy.propose(state, goal)
            if self.allowed is not None and not actions:
                action = self.space.nearest(action, self.allowed)
            actions.append(action)
            taken = action[:, None, None]
            predicted = self.calls.world_model.imagine(state, taken, self.model_noise(taken))
            state = predicted.states[:, 0, 0]
        return torch.stack(actions, 1)

    def _idle(self, state: Tensor) -> dict[str, Tensor]:
        """Return the outputs of idle rows. Zeros are created once, which keeps Mode-1 fast: messages are never changed."""
        if self._zeros is None or len(self._zeros["energy"]) != len(state):
            self._zeros = {
                "plan": state.new_zeros(len(state), self.horizon, self.width),
                "energy": state.new_zeros(len(state)),
                "model_steps": torch.zeros(len(state), dtype=torch.int64),
            }
        return {**self._zeros, "imagined": state.unsqueeze(1).expand(-1, self.horizon, *state.shape[1:])}

    def _search_some(self, rows: list[int], state: Tensor, goal: Tensor, weights: Tensor | None) -> dict[str, Tensor]:
        outputs = {name: value.clone() for name, value in self._idle(state).items()}
        kept = self.fresh_carry(len(state))  # idle rows lose their carry
        self._planning = rows
        self.allowed = None if self.allowed is None else self.allowed[rows]
        with self.random.only(rows):
            found = self._found(state[rows], goal[rows], None if weights is None else weights[rows])
        self._planning = ALL
        for name in outputs:
            outputs[name][rows] = getattr(found, name)
        for name, value in found.kept.items():
            kept[name] = kept[name].to(value)
            kept[name][rows] = value
        self.carry = {**kept, "plan": outputs["plan"]}
        return outputs


def _joined(parts: list[SearchResult]) -> SearchResult:
    """Concatenate the results of the parts. They are copied, since tensors of inference mode cannot be used in autograd."""
    if len(parts) == 1:  # `cat` takes twice the time
        plan, imagined, energy, steps, kept = parts[0]
        return SearchResult(plan.clone(), imagined.clone(), energy.clone(),
                            steps if isinstance(steps, int) else steps.clone(),
                            {name: value.clone() for name, value in kept.items()})
    plan, imagined, energy = (torch.cat(values) for values in zip(*(part[:3] for part in parts), strict=True))
    counts = [part.model_steps for part in parts]
    return SearchResult(plan, imagined, energy,
                        counts[0] if isinstance(counts[0], int) else torch.cat(cast("list[Tensor]", counts)),
                        {name: torch.cat([part.kept[name] for part in parts]) for name in parts[0].kept})


def _padded(energies: list[Tensor]) -> Tensor:
    """Stack the energies (R, K) of some iterations: (R, iterations, K), with NaN as padding."""
    most = max(energy.shape[1] for energy in energies)
    return torch.stack([pad(energy, (0, most - energy.shape[1]), value=torch.nan) for energy in energies], 1)

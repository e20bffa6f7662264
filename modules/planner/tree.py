"""Best-first tree search over discrete actions.

Shapes: R the rows that plan, N nodes of a row's tree, r rows whose node has the same depth, H horizon, A the width of an
action, J the number of actions: every combination of its choices.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ami.blueprint import Prediction
from ami.errors import SettingError, require
from ami.ports import ActionSpace, Dims
from modules.planner.choosing import ChoicePlanner
from modules.planner.sampling import SearchResult

MOST_ACTIONS = 256
"""Maximal number of combinations of choices to branch over."""


class TreeSearch(ChoicePlanner):
    """Best-first search over the tree of plans, in the world model's states: Mode-2 of the paper, section 3.1.2.

    A node is a whole plan whose first d actions are fixed; the rest is a random playout (Coulom, *Efficient selectivity
    and backup operators in Monte-Carlo tree search*, 2006), so that nodes of every depth are compared by the energy of H
    steps. An expansion takes the open node of least energy and fixes its next action: the node keeps its own action,
    and each of the other J - 1 actions becomes a node with a new playout. The states of fixed actions are reused:
    an expansion at depth d costs (J - 1) · (H - d) model steps.

    The root is the last plan shifted by one step, or the policy's plan. The plan is that of the best node.

    Args:
        horizon: H, number of actions in a plan.
        num_expansions: number of expansions, or fewer if the tree is exhausted.

    Raises:
        SettingError: a setting is out of its range, the world's actions are continuous, or there are too many.
    """

    each: Tensor

    def __init__(self, horizon: int = 8, num_expansions: int = 32) -> None:
        super().__init__(horizon)
        require(num_expansions >= 1, f"TreeSearch.num_expansions is {num_expansions}: expected 1 or more")
        self.num_expansions = num_expansions

    def check_actions(self, actions: ActionSpace) -> None:
        super().check_actions(actions)
        if actions.num_joint > MOST_ACTIONS:
            raise SettingError(f"TreeSearch branches over every combination of choices, and here an action is {actions}: "
                               f"{actions.num_joint}, expected at most {MOST_ACTIONS}. Fix: planner=categorical")

    def build(self, dims: Dims) -> None:
        super().build(dims)
        self.register_buffer("each", self.space.joint(), persistent=False)  # (J, A)

    def draw(self) -> Tensor:
        return self.random.uniform(0.0, 1.0, 1 + self.num_expansions * (len(self.each) - 1), self.horizon)

    def search(self, state: Tensor, goal: Tensor, weights: Tensor | None, start: Tensor, noise: Tensor) -> SearchResult:
        plans = self.each[(noise * len(self.each)).long()]  # (R, N, H, A): playouts, until their first actions are fixed
        possible = None if self.allowed is None else (~self.allowed).float() @ self.each.T == 0  # (R, J)
        if possible is not None:
            drawn = torch.floor(noise[:, :, :1] * possible.sum(-1)[:, None, None])  # index among the allowed actions
            plans[:, :, 0] = self.each[(drawn >= possible.cumsum(-1)[:, None]).sum(-1)]
        plans[:, 0] = torch.where(start.sum(-1, keepdim=True) > 0, start, plans[:, 0])
        chance = self.model_noise(plans)
        root = self.calls.world_model.imagine(state, plans[:, :1], None if chance is None else chance[:, :1])
        energy = state.new_full(plans.shape[:2], torch.inf)
        energy[:, 0] = self.calls.cost.energy(root, plans[:, :1], goal, weights)[:, 0]
        # a node is open while actions are not fixed; nodes not yet created count as closed
        depth = torch.full(plans.shape[:2], self.horizon, device=state.device)
        depth[:, 0] = 0
        tree = _each(root, lambda one: one.expand(-1, plans.shape[1], *one.shape[2:]).clone())
        steps = torch.full((len(state),), self.horizon, dtype=torch.int64, device=state.device)
        others = len(self.each) - 1
        for first in range(1, plans.shape[1], max(others, 1)):
            least, node = energy.masked_fill(depth == self.horizon, torch.inf).min(1)
            at = depth.gather(1, node[:, None])[:, 0].masked_fill(least.isinf(), self.horizon)
            for decided in sorted(set(at.tolist()) - {self.horizon}):
                rows = (at == decided).nonzero()[:, 0]
                nodes, new = node[rows], (rows[:, None], torch.arange(first, first + others, device=state.device))
                children = plans[new]
                children[:, :, :decided] = plans[rows, nodes, None, :decided]
                taken = (plans[rows, nodes, decided] @ self.each.T).argmax(-1, keepdim=True)  # the index of the action
                turned = torch.arange(1, len(self.each), device=state.device)
                children[:, :, decided] = self.each[(taken + turned) % len(self.each)]
                before = state[rows] if decided == 0 else tree.states[rows, nodes, decided - 1]
                after = self.calls.world_model.imagine(before, children[:, :, decided:],
                                                       None if chance is None else chance[rows, :others, decided:])
                path = _joined(_at(tree, rows, nodes, decided), after)
                plans[new], depth[new] = children, decided + 1
                found = self.calls.cost.energy(path, children, goal[rows], None if weights is None else weights[rows])
                if possible is not None and decided == 0:  # never the best, never expanded
                    number = (taken + turned) % len(self.each)
                    found = found.masked_fill(~possible[rows[:, None], number], torch.inf)
                energy[new] = found
                for kept, one in zip(tree, path, strict=True):
                    if kept is not None and one is not None:
                        kept[new] = one
                depth[rows, nodes] += 1
                steps[rows] += others * (self.horizon - decided)
        if self.notes is not None:
            self.note(energy.masked_fill(energy.isinf(), torch.nan))
        return SearchResult(*self.best_of(plans, tree.states, energy), steps)


def _each(prediction: Prediction, what: Callable[[Tensor], Tensor]) -> Prediction:
    """Apply a function to every known field."""
    return Prediction(what(prediction.states), *(None if one is None else what(one) for one in prediction[1:]))


def _at(tree: Prediction, rows: Tensor, nodes: Tensor, decided: int) -> Prediction:
    """Return the prediction (r, 1, d, …) of the fixed actions of one node per row."""
    return _each(tree, lambda one: one[rows, nodes, None, :decided])


def _joined(known: Prediction, after: Prediction) -> Prediction:
    """Join the parent's prediction (r, 1, d, …) with each child's own (r, J - 1, H - d, …)."""
    def join(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one.expand(-1, other.shape[1], *one.shape[2:]), other], 2)

    rest = (None if one is None or other is None else join(one, other)
            for one, other in zip(known[1:], after[1:], strict=True))
    return Prediction(join(known.states, after.states), *rest)

"""Action spaces: the layout of an agent's action vector.

Every action is a vector (…, A): first the continuous numbers, each in [-1, 1], then one one-hot block per discrete choice.
A gymnasium Box of n numbers is `ActionSpace(n)`, Discrete(3) is `ActionSpace(choices=(3,))`, MultiDiscrete([3, 2]) is
`ActionSpace(choices=(3, 2))` and Tuple(Discrete(3), Box(1)) is `ActionSpace(1, (3,))`. The space belongs to the world's
action port; the graph passes it on to every module that sends or receives actions or plans (`Module.actions`).

Shapes: … any leading dimensions, A the width of an action, C the number of choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import torch
from torch import Tensor

from ami.errors import SettingError, require


@dataclass(frozen=True)
class ActionSpace:
    """The numbers and choices of one action.

    Args:
        numbers: number of continuous components, each in [-1, 1].
        choices: number of alternatives of each of the C discrete choices.

    Raises:
        SettingError: a count is negative, or a choice has no alternatives.
    """

    numbers: int = 0
    choices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(self.numbers >= 0 and all(count >= 1 for count in self.choices),
                f"an action space has {self.numbers} numbers and choices of {self.choices}: expected 0 or more numbers, and "
                "1 or more alternatives per choice")

    def __str__(self) -> str:
        parts = [f"one of {count}" for count in self.choices[:4]] + ["…"] * (len(self.choices) > 4)
        if len(self.choices) > 1 and len(set(self.choices)) == 1:
            parts = [f"{len(self.choices)} times one of {self.choices[0]}"]
        if self.numbers or not parts:
            parts.insert(0, f"{self.numbers} number{'s' * (self.numbers != 1)} in [-1, 1]")
        return " and ".join(parts)

    @property
    def width(self) -> int:
        """The width of an action, A."""
        return self.numbers + sum(self.choices)

    @property
    def is_discrete(self) -> bool:
        """Whether it has choices and no numbers."""
        return bool(self.choices) and not self.numbers

    @property
    def num_joint(self) -> int:
        """The number of combinations of all choices."""
        return prod(self.choices)

    @property
    def num_draws(self) -> int:
        """The number of uniform numbers that `draw` needs: one per number and per choice."""
        return self.numbers + len(self.choices)

    def blocks(self, actions: Tensor) -> Iterator[Tensor]:
        """Iterate over the one-hot block (…, n) of each choice, as views of actions (…, A)."""
        return iter(actions[..., self.numbers:].split(self.choices, -1))

    def chosen(self, actions: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return the index of each choice's largest value, (…, C); ties go to the first.

        Args:
            actions: (…, A).
            allowed: (…, A) bool, the alternatives to choose from; None allows all.
        """
        if allowed is not None:
            actions = actions.masked_fill(~allowed, -torch.inf)
        return torch.stack([block.argmax(-1) for block in self.blocks(actions)], -1)

    def one_hot(self, chosen: Tensor, numbers: Tensor | None = None) -> Tensor:
        """Build actions (…, A) from indices of alternatives (…, C) and, if any, continuous numbers (…, n)."""
        start = torch.tensor([self.numbers + sum(self.choices[:i]) for i in range(len(self.choices))], device=chosen.device)
        actions = torch.zeros(*chosen.shape[:-1], self.width, device=chosen.device)
        actions.scatter_(-1, chosen + start, 1.0)
        if numbers is not None:
            actions[..., :self.numbers] = numbers
        return actions

    def nearest(self, actions: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return the valid actions nearest to vectors (…, A): clipped to [-1, 1], one-hot at each choice's largest value.

        A one-hot block whose alternative is not in `allowed` (…, A) becomes the first allowed alternative.
        """
        numbers = actions[..., :self.numbers].clamp(-1.0, 1.0)
        return self.one_hot(self.chosen(actions, allowed), numbers) if self.choices else numbers

    def draw(self, uniform: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Map uniform numbers in [0, 1), (…, num_draws), to actions (…, A), uniform over the allowed alternatives.

        Args:
            uniform: one per number and per choice.
            allowed: (…, A) bool; None allows all.
        """
        numbers = 2 * uniform[..., :self.numbers] - 1
        if not self.choices:
            return numbers
        drawn = uniform[..., self.numbers:]
        if allowed is None:
            counts = torch.tensor(self.choices, device=drawn.device)
            return self.one_hot((drawn * counts).long(), numbers)
        chosen = [(torch.floor(drawn[..., i, None] * block.sum(-1, keepdim=True)) >= block.cumsum(-1)).sum(-1)
                  for i, block in enumerate(self.blocks(allowed))]
        return self.one_hot(torch.stack(chosen, -1), numbers)

    def joint(self) -> Tensor:
        """Return every combination of all choices, (num_joint, A), with the continuous numbers at 0."""
        combinations = list(product(*(range(count) for count in self.choices)))
        return self.one_hot(torch.tensor(combinations, dtype=torch.int64).view(len(combinations), len(self.choices)))

    def fits(self, actions: Tensor) -> Tensor:
        """Return whether actions (…, A) are valid, (…): numbers in [-1, 1], choices one-hot."""
        good = (actions[..., :self.numbers].abs() <= 1 + 1e-6).all(-1)
        for block in self.blocks(actions) if self.choices else ():
            good = good & ((block == 0) | (block == 1)).all(-1) & (block.sum(-1) == 1)
        return good

    def check_mask(self, allowed: Tensor, who: str) -> None:
        """Refuse masks (B, A) that leave a choice without an alternative.

        Raises:
            SettingError: a row allows no alternative of a choice; the message names the row.
        """
        for block in self.blocks(allowed):
            if not bool(block.any(-1).all()):
                row = int((~block.any(-1)).nonzero()[0, 0])
                raise SettingError(f"{who} received an action_mask that allows nothing in row {row}: expected at least one "
                                   f"allowed alternative of {block.shape[-1]}. Fix: let the world's mask allow one until "
                                   "the episode ends")

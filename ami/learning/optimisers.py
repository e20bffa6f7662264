"""Optimisers of torch without the wrappers for torch.compile.

Torch wraps the methods of its optimisers so that torch.compile treats them apart. The first call of such a method imports
torch._dynamo, 830 modules and 1.4 s of processor time, also in a process that compiles nothing.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from torch.optim import Optimizer

WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""The wrapped methods besides `step`."""


@cache
def unwrapped(optimiser: type[Optimizer]) -> type[Optimizer]:
    """Return a subclass of one of torch's optimisers that calls the methods inside the wrappers.

    Its updates are the same, bit for bit. Other optimisers are returned unchanged: their wrappers may do more.
    """
    if not optimiser.__module__.startswith("torch.optim"):
        return optimiser
    inner_step = inspect.unwrap(optimiser.step)

    def step(self: Optimizer, closure: Any = None) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return inner_step(self, closure)

    methods = {name: inspect.unwrap(getattr(optimiser, name)) for name in WRAPPED}
    return type(optimiser.__name__, (optimiser,), {**methods, "step": step})

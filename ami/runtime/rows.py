"""Fire a module for some of its rows: a slow node after episodes began at different ticks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ami.errors import PortError
from ami.module import Module


def step_rows(module: Module, rows: Tensor, inputs: Mapping[str, Tensor | None],
              before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Step a module for the chosen rows alone; the others keep their outputs, carry and random streams.

    Args:
        module: the module; a module's rows are independent.
        rows: (B,) bool, at least one of them.
        inputs: of all rows.
        before: the outputs of the tick before.

    Returns:
        The outputs of all rows.

    Raises:
        PortError: an output does not fit its port.
    """
    index = rows.nonzero()[:, 0]
    batch, carry, notes = module.batch, module.carry, module.notes
    module.batch, module.carry = len(index), {name: value[index] for name, value in carry.items()}
    try:
        with module.random.only(index.tolist()):
            outputs = module.step(**{name: None if value is None else value[index] for name, value in inputs.items()})
        module.carry = {name: _merged(carry[name], index, value) for name, value in module.carry.items()}
    finally:
        module.batch = batch
    if not isinstance(outputs, Mapping):
        raise PortError(f"{type(module).__name__}.step() gave a {type(outputs).__name__}: expected a dict of its outputs, "
                        f"{{{', '.join(module.outputs)}}}. Fix: return one")
    found = {}
    for name, port in module.outputs.items():
        port.validate(f"{type(module).__name__}.{name}", outputs.get(name), module.dims, len(index))
        found[name] = _merged(before[name], index, outputs[name])
    if notes is not None:
        for name, value in notes.items():
            notes[name] = _merged(value.new_zeros(batch, *value.shape[1:]), index, value)
    return found


def _merged(old: Tensor, index: Tensor, new: Tensor) -> Tensor:
    """Replace rows of (B, …) by new ones, (R, …), on the device of the new ones."""
    return old.to(new.device).index_copy(0, index.to(new.device), new)

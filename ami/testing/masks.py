"""The promise of planners and actors that receive an action mask.

Shapes: B parallel worlds, A action width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from ami.ports import ActionSpace
from ami.testing.module import check_row_alone
from ami.testing.subject import Subject

HONOURS = "its actions are allowed by the action mask"
TICKS = 6


def check_masks(subject: Subject, batch: int, chosen: Callable[[Mapping[str, Tensor]], Tensor]) -> None:
    """Check that actions are allowed, if the module has an input of the kind "mask".

    Args:
        subject: the examined module. If its actions are continuous, it is examined with 4 discrete actions, or with a
            mixed action space, whichever it accepts.
        batch: B.
        chosen: returns the actions (B, A) from its outputs.
    """
    masked = [name for name, port in subject.draft.inputs.items() if port.kind == "mask"]
    if not masked:
        return
    with subject.keeps(HONOURS):
        spaces = (ActionSpace(choices=(4,)), ActionSpace(1, (4,)))
        examined = subject if subject.actions.choices else subject.with_actions(*spaces)
        if examined is None:
            return
        sequence = examined.sample_inputs(batch, TICKS, masked=True)
        record = examined.run(examined.fresh(range(batch)), sequence)
        for tick, (inputs, outputs) in enumerate(zip(sequence, record, strict=True)):
            allowed, action = inputs[masked[0]], chosen(outputs)
            assert allowed is not None
            wrong = (action.bool() & ~allowed)[:, examined.actions.numbers:].any(-1)
            if bool(wrong.any()):
                row = int(wrong.nonzero()[0, 0])
                subject.broken(HONOURS, f"row {row} at tick {tick} chose {action[row].tolist()}, allowed were "
                               f"{allowed[row].int().tolist()}", "self.actions.nearest(scores, action_mask)")
        check_row_alone(examined, sequence)

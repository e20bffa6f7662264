"""Action effort: the mean square of an action."""

from __future__ import annotations

from torch import Tensor

from ami.blueprint import Distance, IntrinsicTerm, Prediction


class ActionEffort(IntrinsicTerm):
    """IC = mean over A of a², a cost of the action alone; 0 if no action is given (LeCun 2022, section 3.2)."""

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        if actions is None:
            # a perceived state: one zero per row, for any shape of a state
            return prediction.states.new_zeros(prediction.states.shape[0])
        return actions.square().mean(-1)

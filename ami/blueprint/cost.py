"""The role of the cost, and its terms: states to energies."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from ami.blueprint.prediction import Prediction
from ami.module import Batch, Call, Module, callable_method
from ami.ports import Dims, Port

Distance = Callable[[Tensor, Tensor], Tensor]
"""The world model's `distance`: (…, *S), (…, *Q) to (…), leading sizes broadcast."""


class IntrinsicTerm(nn.Module):
    """One ICᵢ(s) of a cost: hard-wired discomfort (paper, section 3.2, equation 2).

    It is immutable: a cost refuses a term with trainable parameters.

    Attributes:
        needs: the optional inputs of the cost that this term requires, such as "reward".
        remembers: whether `goal` holds M remembered states, (…, *S, M), instead of a goal.
        is_drive: whether the energy rises by itself and falls at places that the agent has to visit again.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[bool] = False
    is_drive: ClassVar[bool] = False

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        """Return the energy of states.

        Args:
            prediction: the states (…, *S), and their spread, reward and continuation if known.
            actions: (…, A), the action before each state; None for perceived states.
            goal: (…, *Q); leading sizes broadcast with those of the states.
            distance: the world model's.

        Returns:
            (…), lower is better.
        """
        raise NotImplementedError

    def fit_statistics(self, step_length: Tensor, share: float) -> None:
        """Update the term's unit of length, the running mean of the distance covered in one step; by default there is none.

        Args:
            step_length: a scalar, the mean over one batch of hindsight states.
            share: the weight of this batch in the running mean, 0 to 1.
        """


class CriticTerm(nn.Module):
    """One TCⱼ(s) of a cost: predicts future intrinsic energy, trained on memory (paper, section 3.3).

    Attributes:
        needs: the intrinsic energies that its loss requires: of all "pairs" of states and goals, or the "energy" of
            successors.
    """

    needs: ClassVar[tuple[str, ...]] = ("pairs",)

    def build(self, dims: Dims) -> None:
        """Build the networks; every symbol of the cost's ports is resolved."""

    def energy(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the expected future intrinsic energy: (…, *S), (…, *Q) to (…), leading sizes broadcast."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, and figures to log.

        Args:
            batch: hindsight states: "state" (N, *S); "successors" (N, M, *S), the perceived next state first, then imagined
                ones; "goal" (N, *Q), a later percept of the same episode as a goal; "next" (N, *Q), the percept right after
                the state, as a goal. `needs` adds energies, weighted and summed over the intrinsic terms. With "pairs":
                "pairs" (N, N), the energy of every state i with every goal j, and "goals", goal j rebased to the context of
                state i, (N, N, *Q), or (1, N, *Q) if the context makes no difference. With "energy": "energy" and "cont"
                (N, M), the energy of each successor and the probability that the episode continues after it. With "weight"
                (N,) it reports "errors" (N,) as well, see `ami.blueprint.RowErrors`.
        """
        raise NotImplementedError

    def begin_learning(self) -> None:
        """Prepare for learning; called once before the first optimiser step."""

    def after_step(self, step: int, total: int) -> None:
        """Update target networks after optimiser step `step`, counted from 0, of `total`."""


class Cost(Module):
    """Measures discomfort as an energy: C(s) = IC(s) + TC(s) (paper, section 3.2, equations 1 to 3).

    IC = Σ uᵢ ICᵢ is intrinsic and immutable: no optimiser may hold any of its parameters. TC = Σ vⱼ TCⱼ is the trainable
    critic, which predicts future intrinsic energy (section 3.3). The configurator modulates the weights only.
    """

    role: ClassVar[str] = "cost"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*Q",)),
        "weights": Port("weights", ("W",), optional=True),
        "reward": Port("reward", optional=True),
    }
    outputs = {"intrinsic": Port("energy"), "critic": Port("energy"), "energy": Port("energy")}
    requires = {"world_model": Call(("distance", "rebase_goal"), {"S": "S", "Q": "Q"})}

    @callable_method
    def intrinsic_energy(self, state: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return IC of states, without the actions that led to them: (B, *S), (B, *Q) to (B,)."""
        raise NotImplementedError

    @callable_method
    def energy(self, prediction: Prediction, actions: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the energy of imagined plans: states (B, K, H, *S), actions (B, K, H, U), goal (B, *Q) to (B, K)."""
        raise NotImplementedError

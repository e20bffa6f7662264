"""The blueprint: the roles of an autonomous agent, as abstract modules with ports and calls.

After Yann LeCun, *A Path Towards Autonomous Machine Intelligence* (version 0.9.2, 2022), called "the paper" in every
docstring. Shapes: B parallel worlds, K candidates, H horizon, A action width; O, P and S are the sizes of an observation,
a percept and a state, each a vector (D,) or tokens (N, D) or an image (H, W, C); W cost terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ami.module import Batch, Call, Module, callable_method
from ami.module import Episode as Episode
from ami.ports import Dims, Port

if TYPE_CHECKING:
    from ami.envs.overlay import Overlay


class Prediction(NamedTuple):
    """Predicted states, or perceived ones when the cost evaluates the current state.

    The leading sizes (…) are (B, K, H) for imagined plans and (B,) for perceived states. Unknown fields are None, never 0.

    Attributes:
        states: (…, *S).
        spread: (…), the model's own uncertainty.
        reward: (…), the world's reward on arriving at each state.
        cont: (…), the probability that the episode continues after each state.
    """

    states: Tensor
    spread: Tensor | None = None
    reward: Tensor | None = None
    cont: Tensor | None = None


class World(Module):
    """The world as a node: it receives an action one tick after it was chosen and sends the resulting observation.

    `truth` is for probes and pictures: no role has an input of that kind, so no other module can be wired to it. `episode`
    is the number of each row's episode; -1 in rows that stand still because it is over.

    Attributes:
        reports_success: whether its episodes can succeed or fail. A world with rewards alone always sends `success` = False
            and is evaluated by its returns.
        remarks: notes on its ports for the user, one sentence each; printed by `ami check`, `ami graph` and `ami run`.
        overlay: the position of `truth` in its picture; None draws no paths over pictures.
    """

    reports_success: bool = True
    remarks: Sequence[str] = ()
    overlay: Overlay | None = None

    role: ClassVar[str] = "world"
    inputs = {"action": Port("action", ("A",))}
    outputs = {
        "observation": Port("observation", ("*O",), None),
        "goal": Port("goal_observation", ("*G",), None),
        "reward": Port("reward"),
        "terminated": Port("flag", (), torch.bool),
        "truncated": Port("flag", (), torch.bool),
        "success": Port("flag", (), torch.bool),
        "truth": Port("truth", ("X",)),
        "episode": Port("episode", (), torch.int64),
    }

    def check_elsewhere(self) -> None:
        """Raise SettingError if other processes, such as Ray's actors, cannot build this world."""

    def facts(self) -> dict[str, str]:
        """Return the facts of this world that `ami check` prints, by name."""
        return {}

    def warnings(self) -> list[str]:
        """Run a trial of the world and return warnings for the user; raise the error of a failed trial."""
        return []


class Perception(Module):
    """Estimates the current state of the world from the senses (paper, section 3). A percept holds no history."""

    role: ClassVar[str] = "perception"
    inputs = {"observation": Port("observation", ("*O",), None)}
    outputs = {"percept": Port("percept", ("*P",))}

    def step(self, observation: Tensor) -> dict[str, Tensor]:
        return {"percept": self.encode(observation)}

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Encode observations (…, *O) as percepts (…, *P)."""
        raise NotImplementedError


class WorldModel(Module):
    """Estimates what perception misses and predicts future states from actions (paper, sections 3 and 4).

    The state is the belief after history and the last action: a rollout needs nothing else to start. The distance belongs
    to the model, because only it knows its own space; reward and value belong to the cost.
    """

    role: ClassVar[str] = "world_model"
    inputs = {
        "percept": Port("percept", ("*P",)),
        "action": Port("action", ("A",)),
        "recall": Port("recall", ("*S",), optional=True),
    }
    outputs = {"state": Port("state", ("*S",)), "surprise": Port("surprise")}
    requires = {"perception": Call(("encode",), {"P": "P"}, optional=True)}  # for learning alone

    @callable_method
    def believe(self, percept: Tensor) -> Tensor:
        """Return the state for a percept without history: (…, *P) to (…, *S)."""
        raise NotImplementedError

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor) -> Prediction:
        """Imagine K action sequences from each state: (B, *S), (B, K, H, A) to states (B, K, H, *S)."""
        raise NotImplementedError

    @callable_method
    def imagine_last(self, state: Tensor, actions: Tensor) -> Prediction:
        """Imagine as `imagine` does, and return the last state alone, (B, K, 1, *S).

        The default imagines all states; a model may override it to store none of those before the last.
        """
        prediction = self.imagine(state, actions)
        others = (None if field is None else field[:, :, -1:] for field in prediction[1:])
        return Prediction(prediction.states[:, :, -1:], *others)

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the distance of states to goals: (…, *S), (…, *S) to (…); 0 is the same state."""
        raise NotImplementedError

    @callable_method
    def rebase_goal(self, goal: Tensor, state: Tensor) -> Tensor:
        """Move goals into the context of other states: (…, *S), (…, *S) to (…, *S), leading sizes broadcast.

        A model that separates the two keeps the goal's dynamic part and takes the state's static part. The default returns
        the goal unchanged.
        """
        return goal

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, and figures to log.

        Args:
            batch: windows of experience, "observation" (N, T + 1, *O) and "action" (N, T, A).
        """
        raise NotImplementedError


class Memory(Module):
    """Stores past states with their energies and answers queries by soft matching (paper, sections 3 and 4.9)."""

    role: ClassVar[str] = "memory"
    inputs = {
        "state": Port("state", ("*S",)),
        "energy": Port("energy"),
        "surprise": Port("surprise", optional=True),
    }
    outputs = {"recall": Port("recall", ("*S",)), "score": Port("score")}


class Goal(Module):
    """Encodes the task's goal as a state to reach. The paper leaves goals to the configurator (section 6)."""

    role: ClassVar[str] = "goal"
    inputs = {
        "observation": Port("goal_observation", ("*G",), None),
        "mode": Port("mode", (), torch.int64, optional=True),
    }
    outputs = {"goal": Port("goal", ("*S",))}
    requires = {
        "perception": Call(("encode",), optional=True),
        "world_model": Call(("believe",), {"S": "S"}, optional=True),
    }


Distance = Callable[[Tensor, Tensor], Tensor]
"""The world model's `distance`: (…, *S), (…, *S) to (…), leading sizes broadcast."""


class IntrinsicTerm(nn.Module):
    """One ICᵢ(s) of a cost: discomfort that is built in (paper, section 3.2, equation 2).

    Immutable: it has no trainable parameter, and a cost refuses one that has.

    Attributes:
        needs: the optional inputs of the cost that it requires, such as "reward".
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        """Return the energy of states.

        Args:
            prediction: the states (…, *S), and what is known with them.
            actions: (…, A), the action before each state; None for perceived states.
            goal: (…, *S), its leading sizes broadcast with those of the states.
            distance: the world model's.

        Returns:
            (…), lower is better.
        """
        raise NotImplementedError

    def fit_statistics(self, step_length: Tensor, share: float) -> None:
        """Update the unit of a term that has one: the running mean of the distance of one step in this state space.

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
        """Return the expected future intrinsic energy: (…, *S), (…, *S) to (…), leading sizes broadcast."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, and figures to log.

        Args:
            batch: hindsight states: "state" (N, *S); "successors" (N, M, *S), the perceived next state first, then imagined
                ones; "goal" (N, *S), a later state of the same episode. `needs` adds energies, weighted and summed over the
                intrinsic terms. With "pairs": "pairs" (N, N), the energy of every state i with every goal j, and "goals",
                goal j moved into the context of state i, (N, N, *S), or (1, N, *S) if the context makes no difference. With
                "energy": "energy" and "cont" (N, M), the energy of each successor and the probability that the episode
                continues after it.
        """
        raise NotImplementedError

    def begin_learning(self) -> None:
        """Prepare for learning; called once before the first optimiser step."""

    def after_step(self, step: int, total: int) -> None:
        """Update slow copies and the like after optimiser step `step`, counted from 0, of `total`."""


class Cost(Module):
    """Measures discomfort as an energy: C(s) = IC(s) + TC(s) (paper, section 3.2, equations 1 to 3).

    IC = Σ uᵢ ICᵢ is intrinsic and immutable: no optimiser may hold any of its parameters. TC = Σ vⱼ TCⱼ is the trainable
    critic, which predicts future intrinsic energy (section 3.3). The configurator modulates the weights only.
    """

    role: ClassVar[str] = "cost"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*S",)),
        "weights": Port("weights", ("W",), optional=True),
        "reward": Port("reward", optional=True),
    }
    outputs = {"intrinsic": Port("energy"), "critic": Port("energy"), "energy": Port("energy")}
    requires = {"world_model": Call(("distance", "rebase_goal"), {"S": "S"})}

    @callable_method
    def intrinsic_energy(self, state: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return IC of states, without the actions that led to them: (B, *S), (B, *S) to (B,)."""
        raise NotImplementedError

    @callable_method
    def energy(self, prediction: Prediction, actions: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the energy of imagined plans: states (B, K, H, *S), actions (B, K, H, A), goal (B, *S) to (B, K)."""
        raise NotImplementedError


ACTION_MASK = Port("mask", ("A",), torch.bool, optional=True)
"""The input `action_mask` of a planner or an actor that honours its world's mask: True for allowed alternatives.

The mask holds for the next action alone; in a plan it applies to the first action.
"""


class Planner(Module):
    """Mode-2: searches for actions whose imagined outcome has low energy (paper, section 3.1.2)."""

    role: ClassVar[str] = "planner"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*S",)),
        "mode": Port("mode", (), torch.int64),
        "weights": Port("weights", ("W",), optional=True),
    }
    outputs = {
        "plan": Port("plan", ("H", "A")),
        "imagined": Port("imagined", ("H", "*S")),
        "energy": Port("energy"),
        "model_steps": Port("count", (), torch.int64),
    }
    requires = {
        "world_model": Call(("imagine",), {"S": "S", "A": "A"}),
        "cost": Call(("energy",), {"S": "S", "W": "W"}),
    }


class Actor(Module):
    """Proposes actions: a policy in Mode-1, the plan's first steps in Mode-2 (paper, sections 3.1 and 5)."""

    role: ClassVar[str] = "actor"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*S",)),
        "mode": Port("mode", (), torch.int64),
        "plan": Port("plan", ("H", "A"), optional=True),
    }
    outputs = {"action": Port("action", ("A",))}


class Configurator(Module):
    """Executive control: sets the mode and the weights of the cost for the task at hand (paper, sections 3 and 6)."""

    role: ClassVar[str] = "configurator"
    inputs = {"energy": Port("energy", optional=True), "surprise": Port("surprise", optional=True)}
    outputs = {"mode": Port("mode", (), torch.int64), "weights": Port("weights", ("W",))}


ROLES: dict[str, type[Module]] = {
    cls.role: cls for cls in (World, Perception, WorldModel, Memory, Goal, Cost, Planner, Actor, Configurator)
}

"""The blueprint: the roles of an autonomous agent, as abstract modules with ports and calls.

After Yann LeCun, *A Path Towards Autonomous Machine Intelligence* (version 0.9.2, 2022), called "the paper" in every
docstring. Shapes: B parallel worlds, K candidates, H horizon, A action width; O, P and S are the sizes of an observation,
a percept and a state, each a vector (D,) or tokens (N, D) or an image (H, W, C); W cost terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn

from ami.module import Batch, Call, Module, callable_method
from ami.module import Episode as Episode
from ami.ports import ActionSpace, Dims, Port, shape_of

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
    is the number of each row's episode; -1 at the ticks after its end.

    Attributes:
        reports_success: whether its episodes can succeed or fail. A world with rewards alone always sends `success` = False
            and is evaluated by its returns.
        remarks: notes on its ports for the user, one sentence each; printed by `ami check`, `ami graph` and `ami run`.
        overlay: where `truth` is in the world's picture, to draw paths over it; None: no paths are drawn.
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

    def close(self) -> None:
        """Close the environments and other external resources; a later episode opens them again."""

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


Carry = dict[str, Tensor]
"""The state of `observe` between two calls: batch-first tensors by name."""
STATE, BEGUN = "state", "begun"
"""Entries of a world model's carry besides those of `observe`: the last state (B, *S), and whether there is one (B,)."""


class WorldModel(Module):
    """Estimates what perception misses and predicts future states from actions (paper, sections 3 and 4).

    The state is the belief after history and the last action: `imagine` needs nothing else to start. The distance belongs
    to the model, because only it knows its own space; reward and value belong to the cost.

    Symbols of its callable methods: P a percept, S a state, Q a goal, A an action of the world, U an action of a plan, Z
    the noise of one step. By default Q = S and U = A (`equal_dims`). A model with other goals or latent actions overrides
    `equal_dims` and returns Q or U from `infer_dims`. A stochastic model returns Z from `infer_dims`; the others have no
    noise.

    Attributes:
        causal: whether each imagined state depends only on the actions before it. A search may then continue a plan from
            any of its states. A model that predicts all steps at once may set False.
    """

    causal: ClassVar[bool] = True
    ignores = ("recall",)

    role: ClassVar[str] = "world_model"
    inputs = {
        "percept": Port("percept", ("*P",)),
        "action": Port("action", ("A",)),
        "recall": Port("recall", ("*S",), optional=True),
    }
    outputs = {"state": Port("state", ("*S",)), "surprise": Port("surprise")}
    requires = {"perception": Call(("encode",), {"P": "P"}, optional=True, learning=True)}
    equal_dims = {"Q": "S", "U": "A"}

    @property
    def plan_space(self) -> ActionSpace:
        """The space of a plan's actions: the world's if U = A, else numbers in [-1, 1]."""
        width = self.dims["U"]
        assert isinstance(width, int)
        return self.actions if self.actions is not None and self.equal_dims.get("U") == "A" else ActionSpace(width)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape *Z of the noise of one step; () without noise."""
        return shape_of(self.dims, "Z")

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry of `observe` at the start of `batch` episodes; empty without history."""
        return {}

    @callable_method
    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        """Estimate the states of a sequence of percepts.

        Args:
            percepts: (N, T, *P).
            actions: (N, T, A), the action before each percept; zeros before an episode's first.
            carry: the carry returned for the preceding percepts; None at the start of an episode.
            noise: (N, T, *Z), standard normal; None for the mean.

        Returns:
            The states (N, T, *S), and the carry for the next percepts.
        """
        raise NotImplementedError

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine K plans from each state.

        Args:
            state: (B, *S).
            actions: (B, K, H, U).
            noise: (B, K, H, *Z), standard normal; None for the mean.

        Returns:
            The prediction, states (B, K, H, *S).
        """
        raise NotImplementedError

    @callable_method
    def imagine_last(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Return only the last state that `imagine` predicts, (B, K, 1, *S).

        The default imagines all states; a model may override it to save their memory.
        """
        prediction = self.imagine(state, actions, noise)
        others = (None if field is None else field[:, :, -1:] for field in prediction[1:])
        return Prediction(prediction.states[:, :, -1:], *others)

    @callable_method
    def goal_of(self, percept: Tensor) -> Tensor:
        """Encode target percepts (…, *P), which have no history, as goals (…, *Q)."""
        raise NotImplementedError

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the distance of states to goals: (…, *S), (…, *Q) to (…), leading sizes broadcast; 0 if reached."""
        raise NotImplementedError

    @callable_method
    def rebase_goal(self, goal: Tensor, state: Tensor) -> Tensor:
        """Move goals into the context of other states: (…, *Q), (…, *S) to (…, *Q), leading sizes broadcast.

        A model with static and moving parts of a state keeps the goal's moving part and takes the state's static part. The
        default returns the goal unchanged.
        """
        return goal

    @callable_method
    def encode_action(self, state: Tensor, action: Tensor) -> Tensor:
        """Encode actions (…, A) in states (…, *S) as actions of a plan (…, U); the default returns them unchanged."""
        return action

    @callable_method
    def decode_action(self, state: Tensor, action: Tensor) -> Tensor:
        """Decode a plan's actions (…, U) in states (…, *S) to actions (…, A); the default returns them unchanged."""
        return action

    def initial(self, batch: int) -> Carry:
        size = self.outputs["state"].shape(self.dims)
        return {STATE: torch.zeros(batch, *size), BEGUN: torch.zeros(batch, dtype=torch.bool), **self.initial_carry(batch)}

    @final
    def step(self, percept: Tensor, action: Tensor, recall: Tensor | None = None) -> dict[str, Tensor]:
        """Compute state (B, *S) and surprise (B,) from percept (B, *P) and the action that led to it (B, A).

        Surprise is the Euclidean distance between the predicted and the current state; 0 at an episode's first tick. A
        stochastic model gets its noise from this node's random streams; for others nothing is drawn. `recall` is ignored.
        """
        noise = self.random.normal(*self.noise_shape)[:, None] if self.noise_shape else None
        before, begun = self.carry[STATE], self.carry[BEGUN]
        carry = {name: value for name, value in self.carry.items() if name not in (STATE, BEGUN)}
        states, carry = self.observe(percept[:, None], action[:, None], carry or None, noise)
        state = states[:, 0]
        predicted = self.imagine(before, self.encode_action(before, action)[:, None, None]).states[:, 0, 0]
        surprise = torch.linalg.vector_norm((predicted - state).flatten(1), dim=1)
        self.carry = {STATE: state, BEGUN: torch.ones_like(begun), **carry}
        return {"state": state, "surprise": torch.where(begun, surprise, 0.0)}

    def percepts_in(self, batch: Batch, frames: Sequence[int] | slice = slice(None)) -> Tensor:
        """Return the percepts (N, L, *P) of some frames of windows: their "percept", or their "observation" encoded."""
        if "percept" in batch:
            return batch["percept"][:, frames]
        percepts: Tensor = self.calls.perception.encode(batch["observation"][:, frames])
        return percepts


def preceding(actions: Tensor) -> Tensor:
    """Return the action before each of T + 1 percepts, given those between them: (N, T, A) to (N, T + 1, A), zeros first."""
    return torch.cat([torch.zeros_like(actions[:, :1]), actions], dim=1)


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
    """Encodes the task's goal in the space of the world model's `distance`.

    The paper leaves goals to the configurator (section 6).
    """

    role: ClassVar[str] = "goal"
    inputs = {
        "observation": Port("goal_observation", ("*G",), None),
        "mode": Port("mode", (), torch.int64, optional=True),
    }
    outputs = {"goal": Port("goal", ("*Q",))}
    requires = {
        "perception": Call(("encode",), optional=True),
        "world_model": Call(("goal_of",), {"Q": "Q", "S": "S"}, optional=True),
    }


Distance = Callable[[Tensor, Tensor], Tensor]
"""The world model's `distance`: (…, *S), (…, *Q) to (…), leading sizes broadcast."""


class IntrinsicTerm(nn.Module):
    """One ICᵢ(s) of a cost: hard-wired discomfort (paper, section 3.2, equation 2).

    It is immutable: a cost refuses a term with trainable parameters.

    Attributes:
        needs: the optional inputs of the cost that this term requires, such as "reward".
        remembers: whether `goal` holds M remembered states, (…, *S, M), instead of a goal.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[bool] = False

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
                (N, M), the energy of each successor and the probability that the episode continues after it.
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


ACTION_MASK = Port("mask", ("A",), torch.bool, optional=True)
"""The input `action_mask` of an actor that respects its world's mask: True for allowed alternatives.

The mask is valid for the next action only: in a plan, for the first.
"""
PLAN_MASK = Port("mask", ("U",), torch.bool, optional=True)
"""The input `action_mask` of a planner, whose actions have the width U."""


class Planner(Module):
    """Mode-2: searches for actions whose imagined outcome has low energy (paper, section 3.1.2)."""

    role: ClassVar[str] = "planner"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*Q",)),
        "mode": Port("mode", (), torch.int64),
        "weights": Port("weights", ("W",), optional=True),
    }
    outputs = {
        "plan": Port("plan", ("H", "U")),
        "imagined": Port("imagined", ("H", "*S")),
        "energy": Port("energy"),
        "model_steps": Port("count", (), torch.int64),
    }
    requires = {
        "world_model": Call(("imagine",), {"S": "S", "U": "U", "Z": "Z"}),
        "cost": Call(("energy",), {"S": "S", "Q": "Q", "W": "W"}),
    }


class Actor(Module):
    """Proposes actions: a policy in Mode-1, the plan's first steps in Mode-2 (paper, sections 3.1 and 5)."""

    role: ClassVar[str] = "actor"
    inputs = {
        "state": Port("state", ("*S",)),
        "goal": Port("goal", ("*Q",)),
        "mode": Port("mode", (), torch.int64),
        "plan": Port("plan", ("H", "U"), optional=True),
    }
    outputs = {"action": Port("action", ("A",))}
    equal_dims = {"U": "A"}


class Configurator(Module):
    """Executive control: sets the mode and the weights of the cost for the task at hand (paper, sections 3 and 6)."""

    role: ClassVar[str] = "configurator"
    inputs = {"energy": Port("energy", optional=True), "surprise": Port("surprise", optional=True)}
    outputs = {"mode": Port("mode", (), torch.int64), "weights": Port("weights", ("W",))}


ROLES: dict[str, type[Module]] = {
    cls.role: cls for cls in (World, Perception, WorldModel, Memory, Goal, Cost, Planner, Actor, Configurator)
}

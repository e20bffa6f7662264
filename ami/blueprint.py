"""The blueprint: the roles of an autonomous agent, as abstract modules with ports and calls.

After Yann LeCun, *A Path Towards Autonomous Machine Intelligence* (version 0.9.2, 2022), called "the paper" in every
docstring. Shapes: B parallel worlds, K candidates, H horizon, A action width; O, P and S are the sizes of an observation,
a percept and a state, each a vector (D,) or tokens (N, D) or an image (H, W, C); W cost terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ami.module import Batch, Call, Module, callable_method
from ami.ports import Dims, Port

if TYPE_CHECKING:
    from ami.envs.overlay import Overlay


class Episode(NamedTuple):
    """One episode to live: what tells the world where it begins.

    Attributes:
        number: names the random streams of every node; two episodes of one run never share a number.
        seed: the world's own seed.
        options: what the world wants to know on reset (start, goal, …), as plain values.
    """

    number: int
    seed: int
    options: Mapping[str, Any] = {}


class Prediction(NamedTuple):
    """What a world model foresees, or, when a lived state is judged, what was perceived.

    Its leading sizes (…) are (B, K, H) for imagined plans and (B,) for lived states. What is unknown is None, never 0.

    Attributes:
        states: (…, *S).
        spread: (…), the model's own uncertainty.
        reward: (…), the world's reward on arriving at each state.
        cont: (…), the probability that the episode goes on from there.
    """

    states: Tensor
    spread: Tensor | None = None
    reward: Tensor | None = None
    cont: Tensor | None = None


class World(Module):
    """The world as a node: it consumes an action one tick after it was chosen and shows what follows.

    `truth` is for probes and pictures: no role has an input of that kind, so no mind can be wired to it.

    Attributes:
        tells_success: whether its episodes can succeed or fail; a world that only rewards sends `success` = False always
            and is judged by its returns.
        remarks: what a user should know of its ports, a sentence each: `ami check`, `ami graph` and `ami run` show them.
        shown_by: by port, another port that shows the same, alone or among more.
        overlay: where `truth` lies in its picture; None draws no paths over pictures.
    """

    tells_success: bool = True
    remarks: Sequence[str] = ()
    shown_by: Mapping[str, str] = {}
    overlay: Overlay | None = None

    role: ClassVar[str] = "world"
    inputs = {"action": Port("action", ("A",))}
    outputs = {
        "observation": Port("observation", ("*O",), None),
        "goal": Port("observation", ("*G",), None),
        "reward": Port("reward"),
        "terminated": Port("flag", (), torch.bool),
        "truncated": Port("flag", (), torch.bool),
        "success": Port("flag", (), torch.bool),
        "truth": Port("truth", ("X",)),
    }

    def check_elsewhere(self) -> None:
        """Refuse a world that other processes, such as Ray's actors, cannot make; raises SettingError."""

    def facts(self) -> dict[str, str]:
        """What `ami check` shows of this world, by name."""
        return {}

    def warnings(self) -> list[str]:
        """What a user should know of this world before learning in it, found by a trial; raises what fails in the trial."""
        return []

    def assign(self, mask: Tensor, episodes: list[Episode]) -> None:
        """Tell the masked rows (B,) which episode they live next; called just before `begin`."""
        raise NotImplementedError


class Perception(Module):
    """Estimates the current state of the world from the senses (paper, section 3). A percept holds no history."""

    role: ClassVar[str] = "perception"
    inputs = {"observation": Port("observation", ("*O",), None)}
    outputs = {"percept": Port("percept", ("*P",))}

    def step(self, observation: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"percept": self.encode(observation)}

    @callable_method
    def encode(self, observation: Tensor) -> Tensor:
        """Observations (…, *O) to percepts (…, *P)."""
        raise NotImplementedError


class WorldModel(Module):
    """Fills in what perception does not show and predicts future states from actions (paper, sections 3 and 4).

    The state is the belief after history and the last action, and suffices to go on from: a rollout starts from states
    alone. The distance belongs to the model, because only it knows its own space; reward and value belong to the cost.
    """

    role: ClassVar[str] = "world_model"
    inputs = {
        "percept": Port("percept", ("*P",)),
        "action": Port("action", ("A",)),
        "recall": Port("recall", ("*S",), optional=True),
    }
    outputs = {"state": Port("state", ("*S",)), "surprise": Port("surprise")}
    wants = {"perception": Call(("encode",), {"P": "P"}, optional=True)}  # for learning alone

    @callable_method
    def believe(self, percept: Tensor) -> Tensor:
        """The state believed on seeing a percept without any history: (…, *P) to (…, *S)."""
        raise NotImplementedError

    @callable_method
    def rollout(self, state: Tensor, actions: Tensor) -> Prediction:
        """Imagine K sequences of actions from each state: (B, *S), (B, K, H, A) to states (B, K, H, *S)."""
        raise NotImplementedError

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """How far states are from goals: (…, *S), (…, *S) to (…); lower is closer, 0 is the same state."""
        raise NotImplementedError

    @callable_method
    def graft(self, goal: Tensor, state: Tensor) -> Tensor:
        """Goals as they would be in the surroundings of states: (…, *S), (…, *S) to (…, *S), leading sizes broadcast.

        A model that tells what moves from where it moves keeps the goal's moving part and takes the state's surroundings;
        to any other a goal is a goal, and comes back as it was given.
        """
        return goal

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What learning minimises, and figures to watch.

        Args:
            batch: windows of experience, "observation" (N, T + 1, *O) and "action" (N, T, A).
        """
        raise NotImplementedError


class Memory(Module):
    """Keeps past states with their energies and answers queries softly (paper, sections 3 and 4.9)."""

    role: ClassVar[str] = "memory"
    inputs = {
        "state": Port("state", ("*S",)),
        "energy": Port("energy"),
        "surprise": Port("surprise", optional=True),
    }
    outputs = {"recall": Port("recall", ("*S",)), "score": Port("score")}


class Goal(Module):
    """Turns what is wanted into a state to be near to. The paper leaves goals to the configurator (section 6)."""

    role: ClassVar[str] = "goal"
    inputs = {
        "observation": Port("observation", ("*G",), None),
        "mode": Port("mode", (), torch.int64, optional=True),
    }
    outputs = {"goal": Port("goal", ("*S",))}
    wants = {
        "perception": Call(("encode",), optional=True),
        "world_model": Call(("believe",), {"S": "S"}, optional=True),
    }


Distance = Callable[[Tensor, Tensor], Tensor]
"""The world model's `distance`: (…, *S), (…, *S) to (…), leading sizes broadcast."""


class IntrinsicTerm(nn.Module):
    """One ICᵢ(s) of a cost: discomfort that is built in (paper, section 3.2, equation 2).

    Immutable: it has no trainable parameter, and a cost refuses one that has.

    Attributes:
        needs: which inputs of the cost it cannot do without, such as "reward".
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def energy(self, prediction: Prediction, actions: Tensor | None, goal: Tensor, distance: Distance) -> Tensor:
        """How uncomfortable states are.

        Args:
            prediction: the states (…, *S), and what is known with them.
            actions: (…, A), what led to each state, or None when the state is not imagined but lived.
            goal: (…, *S), its leading sizes broadcast with those of the states.
            distance: the world model's.

        Returns:
            (…), lower is better.
        """
        raise NotImplementedError

    def measure(self, step_length: Tensor, share: float) -> None:
        """Learning tells the mean distance (a scalar) of one step in this state space, for a term that has a unit.

        Args:
            step_length: measured on one batch from memory.
            share: how much of the running mean this batch makes up, 0 to 1.
        """


class CriticTerm(nn.Module):
    """One TCⱼ(s) of a cost: predicts future intrinsic energy and is learnt from memory (paper, section 3.3).

    Attributes:
        needs: what its loss wants to know of the intrinsic energy: that of all "pairs" of states and goals, or the "energy"
            of successors.
    """

    needs: ClassVar[tuple[str, ...]] = ("pairs",)

    def build(self, dims: Dims) -> None:
        """Make the networks: every symbol of the cost's ports is known now."""

    def energy(self, states: Tensor, goal: Tensor) -> Tensor:
        """The intrinsic energy expected from here on: (…, *S), (…, *S) to (…), leading sizes broadcast."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What learning minimises, and figures to watch.

        Args:
            batch: from memory, "state" (N, *S); "successors" (N, M, *S), the perceived next state first, then imagined ones;
                "goal" (N, *S), a later state of the same episode each; and, as `needs` asks for it, weighted and summed over
                the intrinsic terms, "pairs" (N, N), the energy of every state i with every goal j, beside "goals", that goal
                as it would be around state i, (N, N, *S), or (1, N, *S) where surroundings make no difference; or "energy"
                (N, M) and "cont" (N, M), the energy of each successor and the probability that the episode goes on from
                there.
        """
        raise NotImplementedError

    def begin_learning(self) -> None:
        """Learning is about to start."""

    def after_step(self, step: int, total: int) -> None:
        """The optimiser made its step number `step`, counted from 0, of `total`."""


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
    wants = {"world_model": Call(("distance", "graft"), {"S": "S"})}

    @callable_method
    def intrinsic_energy(self, state: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """IC of states as if they were lived, whatever led to them: (B, *S), (B, *S) to (B,)."""
        raise NotImplementedError

    @callable_method
    def energy(self, prediction: Prediction, actions: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        """The energy of imagined plans: states (B, K, H, *S), actions (B, K, H, A), goal (B, *S) to (B, K)."""
        raise NotImplementedError


ACTION_MASK = Port("mask", ("A",), torch.bool, optional=True)
"""The input `action_mask` of a planner or an actor that honours the mask of its world: True where an alternative is allowed.

It is known for the next action alone: of a plan it applies to the first one.
"""


class Planner(Module):
    """Mode-2: searches actions whose imagined outcome has low energy (paper, section 3.1.2)."""

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
    wants = {
        "world_model": Call(("rollout",), {"S": "S", "A": "A"}),
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

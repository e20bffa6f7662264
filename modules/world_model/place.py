"""Place: a world model that integrates what it sees into a place, for worlds seen part by part.

A state (S,) is the percept's static part (C,), its moving part (M,) and the place (2,), in units of one action. Shapes: B
parallel worlds, K candidates, H horizon, A action width, D = C + M; N windows of T actions and T + 1 percepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ami.blueprint import Carry, Prediction, WorldModel, preceding
from ami.errors import require
from ami.module import Batch, Call, callable_method, objective
from ami.ports import Dims, Port, Size, shape_of
from modules.nets import mlp
from modules.world_model.anti_collapse import covariance, variance_hinge

AHEAD = 4
"""Steps of a rollout in the loss of the dynamics."""


class Place(WorldModel):
    """A JEPA of percepts whose state also holds a place, integrated along the episode.

    The place changes as the moving part does, and by a learnt jump where the static part changes:
    g' = g + (1 - c) (off(m') - off(m)) + c · jump(x, x'), with the gate c = σ(8 (d² / `change` - 1)) of the mean squared
    difference d² of static parts. The gate is built-in structure: place may leap only where the surroundings change. Actions
    are no input of the belief, so that it depends on what is seen. In `correct` memory pulls the place towards what it
    remembers of these surroundings.

    Three losses are trained one after another, each on frozen results of those before:

    * `eyes`: inverse dynamics for the moving part (Pathak and others, 2017); VICReg (Bardes, Ponce, LeCun, ICLR 2022) of two
      nearby frames for the static part.
    * `place`: long inverse dynamics: the difference of any two places of a window is the sum of the actions between them.
      It cannot collapse, since the actions are given.
    * `loss`: dynamics: `AHEAD` steps of percept and place, imagined from the actions; a share of the rollouts crosses a
      change of surroundings, which is rare.

    Args:
        static: C, the size of the percept's static part.
        hidden: width of the dynamics' two hidden layers.
        change: d² at which the gate is half open.
        starts: number of rollouts in a batch of the dynamics' loss.
        crossings: share of the rollouts that begin before a change of surroundings.
        std, covariance, invariance: weights of VICReg's terms for the static part.
        pull: share of the gap to the recalled place that a recall closes, 0 to 1.
        trust: lowest score of a recall that is used, 0 to 1.

    Raises:
        SettingError: a setting is out of its range; or, when the graph is built, a percept is no vector longer than C, or
            an action no two continuous numbers.
    """

    inputs = {**WorldModel.inputs, "score": Port("score", optional=True)}
    outputs = {**WorldModel.outputs, "state": Port("state", ("*S",), plane=(-2, -1))}
    ignores = ()
    requires = {"perception": Call(("encode", "encode_static", "encode_moving"), {"P": "P"}, optional=True, learning=True)}

    def __init__(self, static: int = 24, hidden: int = 256, change: float = 0.13, starts: int = 384, crossings: float = 0.4,
                 std: float = 16.0, covariance: float = 46.0, invariance: float = 12.0, pull: float = 0.5,
                 trust: float = 0.7) -> None:
        super().__init__()
        for name, count in (("static", static), ("hidden", hidden), ("starts", starts)):
            require(count >= 1, f"Place.{name} is {count}: expected 1 or more")
        require(change > 0, f"Place.change is {change}: expected more than 0")
        for name, share in (("crossings", crossings), ("pull", pull), ("trust", trust)):
            require(0 <= share <= 1, f"Place.{name} is {share}: expected 0 to 1")
        for name, weight in (("std", std), ("covariance", covariance), ("invariance", invariance)):
            require(weight >= 0, f"Place.{name} is {weight}: expected 0 or more")
        self.static, self.hidden, self.change, self.starts, self.crossings = static, hidden, change, starts, crossings
        self.std, self.covariance, self.invariance = std, covariance, invariance
        self.pull, self.trust = pull, trust

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if "P" not in known:
            return {}
        percept = known["P"]
        require(isinstance(percept, tuple) and len(percept) == 1 and percept[0] > self.static,
                f"Place receives percepts of shape {percept}: expected vectors (D,), D more than static, {self.static}. "
                "Fix: perception=two_streams, or a smaller world_model.static")
        require(known.get("A", 2) == 2, f"Place receives actions of width {known.get('A')}: expected 2, a velocity in a "
                                        "plane. Fix: another world_model, such as jepa")
        return {"S": (cast("tuple[int]", percept)[0] + 2,)}

    def build(self, dims: Dims) -> None:
        (width,), actions = shape_of(dims, "P"), cast(int, dims["A"])
        moving = width - self.static
        self.inverse = mlp(2 * moving, 128, actions)
        self.off = mlp(moving, 64, 2)
        self.jump: nn.Module = mlp(2 * width, 64, 2)
        self.dynamics = mlp(width + actions, self.hidden, self.hidden, width + 2)

    # The belief ------------------------------------------------------------------------------------------------------

    def initial_carry(self, batch: int) -> Carry:
        return {"believed": torch.zeros(batch, *shape_of(self.dims, "S")), "any": torch.zeros(batch, dtype=torch.bool)}

    @callable_method
    def observe(self, percepts: Tensor, actions: Tensor, carry: Carry | None = None,
                noise: Tensor | None = None) -> tuple[Tensor, Carry]:
        carry = self.initial_carry(len(percepts)) if carry is None else carry
        believed, known = carry["believed"].to(percepts), carry["any"].to(percepts.device)
        percept, place = believed[:, :-2], believed[:, -2:]
        before = torch.cat([torch.where(known[:, None], percept, percepts[:, 0])[:, None], percepts[:, :-1]], dim=1)
        places = place[:, None] + self._moved(before, percepts).cumsum(1)
        states = torch.cat([percepts, places], dim=-1)
        return states, {"believed": states[:, -1], "any": torch.ones_like(known)}

    def _moved(self, before: Tensor, after: Tensor) -> Tensor:
        """Return the change of place (…, 2) between successive percepts (…, D)."""
        gate = self._gate(before, after)[..., None]
        within = self.off(after[..., self.static:]) - self.off(before[..., self.static:])
        moved: Tensor = (1 - gate) * within + gate * self.jump(torch.cat([before, after], dim=-1))
        return moved

    def _gate(self, before: Tensor, after: Tensor) -> Tensor:
        """Return c (…), near 1 where the static part of percepts (…, D) changes."""
        apart = (after[..., :self.static] - before[..., :self.static]).square().mean(-1)
        return torch.sigmoid(8 * (apart / self.change - 1))

    def correct(self, state: Tensor, carry: Carry, recall: Tensor, score: Tensor) -> tuple[Tensor, Carry]:
        pull = torch.where(score > self.trust, self.pull, 0.0)[:, None]
        place = torch.lerp(state[:, -2:], recall[:, -2:], pull)
        state = torch.cat([state[:, :-2], place], dim=-1)
        return state, {**carry, "believed": state}

    @callable_method
    def context(self, states: Tensor) -> Tensor:
        return states[..., :self.static]

    @callable_method
    def goal_of(self, percept: Tensor) -> Tensor:
        """Return the percept with the place 0: a picture does not show where in the house it was taken."""
        return torch.cat([percept, percept.new_zeros(*percept.shape[:-1], 2)], dim=-1)

    @callable_method
    def rebase_goal(self, goal: Tensor, state: Tensor) -> Tensor:
        """Move goals into the surroundings of states: there, the moving part of a goal decides its place."""
        goal, state = torch.broadcast_tensors(goal, state)
        moving = goal[..., self.static:-2]
        place = state[..., -2:] - self.off(state[..., self.static:-2]) + self.off(moving)
        return torch.cat([state[..., :self.static], moving, place], dim=-1)

    @callable_method
    def renew(self, states: Tensor, seen: Tensor) -> Tensor:
        states, seen = torch.broadcast_tensors(states, seen)
        return torch.cat([seen[..., :self.static], states[..., self.static:]], dim=-1)

    @callable_method
    def centre(self, state: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Move the origin of places to the state's."""
        state, goal = torch.broadcast_tensors(state, goal)
        return (torch.cat([state[..., :-2], torch.zeros_like(state[..., -2:])], dim=-1),
                torch.cat([goal[..., :-2], goal[..., -2:] - state[..., -2:]], dim=-1))

    @callable_method
    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        """Return the Euclidean distance of places, in actions: (…, S), (…, S) to (…)."""
        norm: Tensor = torch.linalg.vector_norm(states[..., -2:] - goal[..., -2:], dim=-1)
        return norm

    @callable_method
    def approach(self, states: Tensor, goal: Tensor) -> Tensor:
        way = goal[..., -2:] - states[..., -2:]
        steps = torch.linalg.vector_norm(way, dim=-1, keepdim=True).ceil().clamp(min=1)
        at, action = states, way / steps
        for step in range(int(steps.max()) if steps.numel() else 0):
            at = torch.where(step < steps, at + self.dynamics(torch.cat([at[..., :-2], action], dim=-1)), at)
        stays = (self._gate(states, at) < 0.5) & (self._gate(states, goal) > 0.5)
        return self.distance(at, goal).masked_fill(stays, torch.inf)

    @callable_method
    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        """Imagine states (B, K, H, S) from states (B, S) and actions (B, K, H, A); rounding may depend on B and K."""
        at, steps = state[:, None].expand(-1, actions.shape[1], -1), []
        for action in actions.unbind(2):
            change = self.dynamics(torch.cat([at[..., :-2], action], dim=-1))
            at = at + change
            steps.append(at)
        return Prediction(torch.stack(steps, dim=2))

    # Learning --------------------------------------------------------------------------------------------------------

    @objective
    def eyes(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the perception's two streams.

        Args:
            batch: "observation" (N, T + 1, *O), of which the moving stream sees the first three frames, and the static one
                the first and one of the others; "action" (N, T, A).

        Returns:
            The loss; `idm`, mean squared error of the actions; `invariance`, `variance`, `covariance`, unweighted.
        """
        observation, action = batch["observation"], batch["action"]
        seen = self.calls.perception.encode_moving(observation[:, :3])
        idm = F.mse_loss(self.inverse(torch.cat([seen[:, :-1], seen[:, 1:]], dim=-1)), action[:, :seen.shape[1] - 1])
        rows = torch.arange(len(observation))
        later = torch.randint(1, observation.shape[1], (len(observation),))
        one, other = self.calls.perception.encode_static(
            torch.stack([observation[:, 0], observation[rows, later]])).unbind(0)
        invariance = F.mse_loss(one, other)
        centred = [part - part.mean(0) for part in (one, other)]
        variance = (variance_hinge(centred[0]) + variance_hinge(centred[1])) / 2
        cov = (covariance(centred[0]) + covariance(centred[1])) / 2
        loss = idm + self.invariance * invariance + self.std * variance + self.covariance * cov
        figures = {"idm": idm, "invariance": invariance, "variance": variance, "covariance": cov}
        return loss, {name: value.detach() for name, value in figures.items()}

    @objective
    def place(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of long inverse dynamics, over all pairs of frames of a window.

        Args:
            batch: "percept" (N, T + 1, D) of a frozen perception; "action" (N, T, A).

        Returns:
            The loss; `drift`, the mean error of the place at the end of a window, in actions.
        """
        action = batch["action"]
        states, _ = self.observe(self.percepts_in(batch), preceding(action))
        return long_inverse_dynamics(states[..., -2:], action)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the error of imagined percepts and places.

        Args:
            batch: "percept" (N, T + 1, D) of a frozen perception; "action" (N, T, A), T at least `AHEAD`.

        Returns:
            The loss; `percept` and `place`, mean squared errors of each over `AHEAD` steps; `crossing`, the place's error of
            the rollouts across a change of surroundings.
        """
        action = batch["action"]
        with torch.no_grad():
            percepts = self.percepts_in(batch)
            states, _ = self.observe(percepts, preceding(action))
            crossing = self._gate(percepts[:, :-1], percepts[:, 1:]).unfold(1, AHEAD, 1).amax(-1) > 0.5
            at = self._starts(crossing)
        steps = torch.arange(AHEAD)
        chosen = action[at[:, :1], at[:, 1:] + steps]  # (starts, AHEAD, A)
        targets = states[at[:, :1], at[:, 1:] + 1 + steps]
        predicted = self.imagine(states[at[:, 0], at[:, 1]], chosen[:, None]).states[:, 0]
        error = (predicted - targets).square()
        percept, place = error[..., :-2].mean(), error[..., -2:].mean()
        over = error[crossing[at[:, 0], at[:, 1]]][..., -2:]
        figures = {"percept": percept, "place": place, "crossing": over.sum() / max(over.numel(), 1)}
        return percept + place, {name: value.detach() for name, value in figures.items()}

    def _starts(self, crossing: Tensor) -> Tensor:
        """Draw the rollouts' starts (starts, 2), window and step; (N, L) marks those that cross a change of surroundings."""
        across = crossing.nonzero()
        count = round(self.crossings * self.starts) if len(across) else 0
        anywhere = torch.ones_like(crossing).nonzero()
        return torch.cat([across[torch.randint(max(len(across), 1), (count,))],
                          anywhere[torch.randint(len(anywhere), (self.starts - count,))]])


def long_inverse_dynamics(places: Tensor, actions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of places (N, T + 1, 2) between which actions (N, T, 2) were taken, and `drift`; see `Place.place`."""
    walked = F.pad(actions.cumsum(1), (0, 0, 1, 0))
    error = places - walked  # of every place, up to one constant per window
    apart = (error[:, :, None] - error[:, None]).square().sum(-1)  # (N, T + 1, T + 1)
    time = torch.arange(apart.shape[1], dtype=apart.dtype)
    steps = (time[:, None] - time).abs().clamp(min=1)
    count = apart.shape[1] * (apart.shape[1] - 1)
    loss = 2 * (apart / steps).sum((1, 2)).mean() / count
    return loss, {"drift": apart[:, 0, -1].detach().sqrt().mean()}

"""The cost of the blueprint: a weighted sum of immutable intrinsic terms and trainable critics.

Shapes: B parallel worlds, K candidates, H horizon, A action width, S the size of a state, W terms, N states of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ami.blueprint import Cost, CriticTerm, IntrinsicTerm, Prediction
from ami.blueprint.row_errors import ERRORS
from ami.errors import SettingError, require, suggestion
from ami.module import Batch
from ami.ports import Dims, Port, Size

OBJECTIVES = ("path", "paper_sum", "last")
Weight = float | Tensor


class WeightedSum(Cost):
    """C(s) = Σ uᵢ ICᵢ(s) + Σ vⱼ TCⱼ(s) (LeCun 2022, section 3.2, equations 1 to 3).

    The energy of a plan is, by `objective`:

    * "path": Σ IC along the path + TC of its last state, the critic as terminal cost;
    * "paper_sum": Σ (IC + TC) along the path (section 3.1.2, equation for Mode-2);
    * "last": IC + TC of its last state alone, whatever lies before (V-JEPA 2-AC, arXiv 2506.09985, equation 5).

    Each state is weighted by the predicted probability that the episode reaches it, and by `gamma` per step, which
    should equal the critic's discount.

    The configurator's weights (B, W) multiply u and v: first the intrinsic terms, then the critics, in the given order. A
    floor is the lower bound of an effective weight, whatever the configurator sends. `drives` is the weighted sum of the
    intrinsic terms that are drives.

    Args:
        intrinsic: the immutable terms, by name.
        critics: the trainable terms, by name.
        weights: u and v by name, 1 if absent.
        floors: the floors by name, 0 if absent.
        objective: "path", "paper_sum" or "last".
        gamma: the discount per step.

    Raises:
        SettingError: a name or an objective is unknown, gamma is not 0 to 1, a term is of the wrong class, an intrinsic term
            has trainable parameters, a weight is below its floor, or a critic learns from goals whose place remembered
            states take.
    """

    inputs = {**Cost.inputs, "body": Port("observation", ("*Y",), optional=True)}
    outputs = {**Cost.outputs, "drives": Port("energy")}
    on_demand = ("drives",)

    base: Tensor
    floor: Tensor

    def __init__(self, intrinsic: Mapping[str, IntrinsicTerm], critics: Mapping[str, CriticTerm] | None = None,
                 weights: Mapping[str, float] | None = None, floors: Mapping[str, float] | None = None,
                 objective: str = "path", gamma: float = 1.0) -> None:
        super().__init__()
        critics, weights, floors = critics or {}, weights or {}, floors or {}
        _check_terms(intrinsic, critics)
        self.terms = (*intrinsic, *critics)
        for setting, values in (("weights", weights), ("floors", floors)):
            for name, value in values.items():
                require(name in self.terms, f"WeightedSum.{setting} names the unknown term '{name}'"
                                            f"{suggestion(name, self.terms)}")
                require(value >= 0, f"WeightedSum.{setting}.{name} is {value}: expected 0 or more")
        for name, floor in floors.items():
            own = weights.get(name, 1.0)
            require(floor <= own, f"WeightedSum.floors.{name} is {floor}: expected at most the term's weight, {own}")
        require(objective in OBJECTIVES, f"WeightedSum.objective is '{objective}'{suggestion(objective, OBJECTIVES)}")
        require(0 <= gamma <= 1, f"WeightedSum.gamma is {gamma}: expected 0 to 1")
        self.objective, self.gamma = objective, gamma
        # inputs that a term requires must be wired
        needed = {name for term in intrinsic.values() for name in term.needs}
        self.inputs = {name: replace(port, optional=port.optional and name not in needed)
                       for name, port in type(self).inputs.items()}
        self._remembers = any(term.remembers for term in intrinsic.values())
        if self._remembers:  # remembered states take the place of goals
            self.inputs["goal"] = Port("goal", ("*S", "M"))
            self.requires = {"world_model": replace(Cost.requires["world_model"], dims={"S": "S", "Q": "S"})}
        self.intrinsic = nn.ModuleDict(dict(intrinsic))
        self.critics = nn.ModuleDict(dict(critics))
        # the same terms as typed lists: an nn.ModuleDict does not keep the types of its members
        self._intrinsic, self._critics = list(intrinsic.values()), list(critics.values())
        self._weights = [float(weights.get(name, 1.0)) for name in self.terms]
        self.register_buffer("base", torch.tensor(self._weights), persistent=False)
        self.register_buffer("floor", torch.tensor([float(floors.get(n, 0.0)) for n in self.terms]), persistent=False)
        self._step_length: Tensor | None = None

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if self._remembers and "S" in known and "M" in known:
            state, count = known["S"], known["M"]
            return {"W": len(self.terms), "Q": (*(state if isinstance(state, tuple) else (state,)), cast(int, count))}
        return {"W": len(self.terms)}

    def build(self, dims: Dims) -> None:
        for critic in self._critics:
            critic.build(dims)

    def step(self, state: Tensor, goal: Tensor, weights: Tensor | None = None,
             reward: Tensor | None = None, body: Tensor | None = None) -> dict[str, Tensor]:
        u, v = self._effective(weights)
        perceived = Prediction(state, reward=reward, body=body)
        intrinsic, critic = self._intrinsic_of(perceived, goal, u), state.new_zeros(len(state))
        for weight, learnt in zip(v, self._critics, strict=True):
            critic = critic + weight * learnt.energy(state, goal)
        if self.notes is not None:
            self.notes.update(self._each(perceived, goal, u, v))
        outputs = {"intrinsic": intrinsic, "critic": critic, "energy": intrinsic + critic}
        if "drives" in self.outputs:
            outputs["drives"] = state.new_zeros(len(state)) + sum(
                weight * term.energy(perceived, None, goal, self.calls.world_model.distance)
                for weight, term in zip(u, self._intrinsic, strict=True) if term.is_drive)
        return outputs

    def intrinsic_energy(self, state: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        return self._intrinsic_of(Prediction(state), goal, self._effective(weights)[0])

    def energy(self, prediction: Prediction, actions: Tensor, goal: Tensor, weights: Tensor | None = None) -> Tensor:
        u, v = self._effective(None if weights is None else weights[:, None])
        if self.objective == "last":
            prediction = Prediction(prediction.states[:, :, -1:], *(None if one is None else one[:, :, -1:]
                                                                    for one in prediction[1:]))
            actions = actions[:, :, -1:]
        states, along = prediction.states, goal[:, None, None]
        counts, behind = self._counts(prediction)
        total = states.new_zeros(states.shape[:2])
        for weight, term in zip(u, self._intrinsic, strict=True):
            energy = term.energy(prediction, actions, along, self.calls.world_model.distance)
            total = total + weight * _summed(energy, counts)
        for weight, learnt in zip(v, self._critics, strict=True):
            if self.objective != "paper_sum":
                last = learnt.energy(states[:, :, -1], along[:, 0])
                total = total + weight * (last if behind is None else behind[..., -1] * last)
            else:
                total = total + weight * _summed(learnt.energy(states, along), behind)
        return total

    def _intrinsic_of(self, perceived: Prediction, goal: Tensor, u: list[Weight]) -> Tensor:
        """Return Σ uᵢ ICᵢ (B,) of perceived states (B, *S)."""
        total = perceived.states.new_zeros(len(perceived.states))
        for weight, term in zip(u, self._intrinsic, strict=True):
            total = total + weight * term.energy(perceived, None, goal, self.calls.world_model.distance)
        return total

    def _each(self, perceived: Prediction, goal: Tensor, u: list[Weight], v: list[Weight]) -> dict[str, Tensor]:
        """Return the weighted energy (B,) of every term, by name."""
        distance = self.calls.world_model.distance
        found = [weight * term.energy(perceived, None, goal, distance)
                 for weight, term in zip(u, self._intrinsic, strict=True)]
        found += [weight * learnt.energy(perceived.states, goal) for weight, learnt in zip(v, self._critics, strict=True)]
        return {name: energy.expand(len(perceived.states)) for name, energy in zip(self.terms, found, strict=True)}

    def _counts(self, prediction: Prediction) -> tuple[Tensor | None, Tensor | None]:
        """Return the weights (…, H) of each state's intrinsic energy and of its critic; None if all are 1."""
        if prediction.cont is None and self.gamma == 1:
            return None, None
        goes_on = self.gamma * (torch.ones(prediction.states.shape[:3]) if prediction.cont is None else prediction.cont)
        behind = goes_on.to(prediction.states).cumprod(-1)
        return torch.cat([torch.ones_like(behind[..., :1]), behind[..., :-1]], dim=-1), behind

    # Learning --------------------------------------------------------------------------------------------------------

    def begin_learning(self) -> None:
        """Prepare the critics for training."""
        for critic in self._critics:
            critic.begin_learning()

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the critics' losses; each critic gets the intrinsic energies named in its `needs`.

        Most goals of a batch come from other episodes. If the static context (e.g. walls) differs between episodes, goals
        are first rebased to the state's context: a goal with another layout may be unreachable.

        Args:
            batch: "state" (N, *S), "successors" (N, M, *S) with the perceived next state first, "goal" (N, *Q), a later
                percept of the same episode, "next" (N, *Q), the percept right after the state, as a goal.

        Raises:
            SettingError: there is no critic.
        """
        require(len(self._critics) > 0,
                "WeightedSum has no critic to train. Fix: name one under `critics`, or drop the stage")
        state, goal = batch["state"], batch["goal"]
        distance = self.calls.world_model.distance
        given = dict(batch)
        with torch.no_grad():
            if any("pairs" in critic.needs for critic in self._critics):
                given["goals"] = self.calls.world_model.rebase_goal(goal[None], state[:, None])
                given["pairs"] = self._intrinsic_of(Prediction(state[:, None]), given["goals"], self._effective(None)[0])
            if any("energy" in critic.needs for critic in self._critics):
                given |= self._energy_of(batch)
            self._step_length = distance(state, batch["next"]).mean()
        total, figures = state.new_zeros(()), {}
        errors: list[Tensor] = []
        for name, critic in zip(self.critics, self._critics, strict=True):
            loss, own = critic.loss(given)
            total = total + loss
            errors += [own[ERRORS]] if ERRORS in own else []
            figures.update({f"{name}_{figure}": value for figure, value in own.items() if figure != ERRORS})
        if len(errors) == len(self._critics):  # else a prioritised source would draw by some of the critics alone
            figures[ERRORS] = torch.stack(errors).sum(0)
        return total, figures

    def after_step(self, step: int, total: int) -> None:
        """Update the critics after optimiser step `step`, counted from 0, and the unit of length of the intrinsic terms."""
        for critic in self._critics:
            critic.after_step(step, total)
        if self._step_length is not None:
            for term in self._intrinsic:
                term.fit_statistics(self._step_length, 1 / (step + 1))

    def _energy_of(self, batch: Batch) -> dict[str, Tensor]:
        """Return the intrinsic energy of each successor, and the probability that the episode continues after it, (N, M)."""
        successors, goal, reward, cont = batch["successors"], batch["goal"], batch.get("reward"), batch.get("cont")
        count = successors.shape[:2]
        # as perceived states (N · M, *S), the shape that a term expects
        states = Prediction(successors.flatten(0, 1), reward=None if reward is None else reward.flatten())
        energy = self._intrinsic_of(states, goal.repeat_interleave(count[1], dim=0), self._effective(None)[0])
        return {"energy": energy.view(count), "cont": states.states.new_ones(count) if cont is None else cont}

    def _effective(self, weights: Tensor | None) -> tuple[list[Weight], list[Weight]]:
        """Return u and v, one per term: numbers, or tensors (…) if the configurator sends weights (…, W)."""
        count = len(self._intrinsic)
        if weights is None:
            return list(self._weights[:count]), list(self._weights[count:])
        modulated = torch.maximum(self.base * weights, self.floor).unbind(-1)
        return list(modulated[:count]), list(modulated[count:])


def _check_terms(intrinsic: Mapping[str, IntrinsicTerm], critics: Mapping[str, CriticTerm]) -> None:
    require(len(intrinsic) > 0, "WeightedSum.intrinsic is empty: expected one term or more, such as "
                                "modules.cost.goal_distance.GoalDistance")
    for name, term in intrinsic.items():
        if isinstance(term, CriticTerm):
            raise SettingError(f"WeightedSum.intrinsic.{name} is a critic ({type(term).__name__}): intrinsic terms are "
                               f"immutable. Fix: name it under `critics`")
        require(isinstance(term, IntrinsicTerm),
                f"WeightedSum.intrinsic.{name} is a {type(term).__name__}: expected an ami.blueprint.IntrinsicTerm")
        for parameter, _ in term.named_parameters():
            raise SettingError(f"WeightedSum.intrinsic.{name} has the trainable parameter '{parameter}': intrinsic "
                               f"terms are immutable. Fix: make it a buffer, or the term a critic")
    for name, critic in critics.items():
        require(isinstance(critic, CriticTerm),
                f"WeightedSum.critics.{name} is a {type(critic).__name__}: expected an ami.blueprint.CriticTerm")
        require("pairs" not in critic.needs or not any(term.remembers for term in intrinsic.values()),
                f"WeightedSum.critics.{name} learns from goals, but an intrinsic term takes remembered states in their "
                f"place. Fix: leave the critic out")
        require(name not in intrinsic, f"WeightedSum has two terms of the name '{name}': expected different names")


def _summed(along: Tensor, counts: Tensor | None) -> Tensor:
    """Return the weighted sum (…) of energies along a path (…, H)."""
    return along.sum(-1) if counts is None else (along * counts).sum(-1)

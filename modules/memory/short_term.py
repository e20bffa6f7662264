"""Short-term memory: the paper's triplets of time, state and intrinsic energy, perceived and imagined (section 4.9).

Shapes: B parallel worlds, N slots, k best matches, H horizon, S the size of a state, F = S flattened.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ami.errors import SettingError
from ami.module import Call
from ami.ports import Port
from modules.memory._state_slots import StateSlots


class ShortTerm(StateSlots):
    """Keeps (time, state, intrinsic energy), marks imagined states, soft reads (LeCun 2022, sections 3 and 4.9).

    A tick first reads, so that a state does not recall itself, and then writes. d² is a mean square over the features.
    Settings and the outputs on demand: `StateSlots`.

    * read: recall = Σ cⱼ keyⱼ and energy = Σ cⱼ energyⱼ, c = softmax(-d² / temperature) over the exact top-k slots; score is
      the best slot's exp(-d² / temperature), 0 while the memory is empty; `imagined` is the share of c on imagined states.
    * write: into the nearest slot by interpolation, or into a new one if the nearest is farther than `novelty`: an empty
      slot, else the least recently written imagined one, else the least recently written perceived one.

    Perceived states have priority: a perceived state overwrites a near imagined slot, an imagined state leaves a near
    perceived slot unchanged. Imagined states come from the planner, delayed by one tick, and their energy from the cost:
    `graph: {memory: {imagined: planner.imagined@-1, goal: goal.goal, calls: {cost: cost}}}`.

    Raises:
        SettingError: a setting is out of its range, or imagined states arrive without a source of their energy.
    """

    inputs = {**StateSlots.inputs, "imagined": Port("imagined", ("H", "*S"), optional=True)}
    outputs = {**StateSlots.outputs, "energy": Port("energy"), "imagined": Port("score")}
    requires = {"cost": Call(("intrinsic_energy",), {"S": "S"}, optional=True)}

    def initial(self, batch: int) -> dict[str, Tensor]:
        slots = (batch, self.num_slots)
        return {
            **super().initial(batch),
            "times": torch.zeros(slots, dtype=torch.int64),  # the tick of the state, possibly in the future
            "imagined": torch.zeros(slots, dtype=torch.bool),
        }

    def step(self, state: Tensor, energy: Tensor, surprise: Tensor | None = None,
             imagined: Tensor | None = None, goal: Tensor | None = None) -> dict[str, Tensor]:
        query = state.flatten(1)
        near, slots = self._nearest(query, self.top_k)
        found = self._found(slots)
        share, recall, score = self._mixed(near, found)
        outputs = {
            "recall": recall.view_as(state), "score": score,
            "energy": (share * self.carry["energies"].gather(1, slots)).sum(-1),
            "imagined": (share * self.carry["imagined"].gather(1, slots)).sum(-1),
            **self._answers(state, goal, near, found),
        }
        tick = self.carry["tick"]
        if imagined is not None:
            self._write_imagined(imagined, goal, tick)
        self._write(query, energy, tick, is_imagined=False)
        self.carry["tick"] = tick + 1
        return outputs

    def _write_imagined(self, imagined: Tensor, goal: Tensor | None, tick: Tensor) -> None:
        """Write states (B, H, *S) that the planner imagined one tick ago for this tick and the following ones."""
        if goal is None or "cost" not in self.calls:
            raise SettingError("ShortTerm receives imagined states without their intrinsic energy. Fix: "
                               "graph.memory.goal=goal.goal and graph.memory.calls.cost=cost, or ~graph.memory.imagined")
        begun = tick > 0  # no states were imagined before an episode's first tick
        for h, states in enumerate(imagined.unbind(1)):
            self._write(states.flatten(1), self.calls.cost.intrinsic_energy(states, goal), tick + h, is_imagined=True,
                        allowed=begun)

    def _write(self, query: Tensor, energy: Tensor, time: Tensor, *, is_imagined: bool,
               allowed: Tensor | None = None) -> None:
        """Write one state per allowed row; the carry belongs to this module, so it is written in place."""
        keys, energies, times, imagined, written = (
            self.carry[name] for name in ("keys", "energies", "times", "imagined", "written"))
        near, slots = (found[:, 0] for found in self._nearest(query, 1))
        rows = torch.arange(len(query), device=query.device)
        new = near > self.novelty**2
        # empty slots first, then imagined states, then perceived ones, the oldest first
        order = torch.where(written < 0, -1, torch.where(imagined, written, written + torch.iinfo(torch.int32).max))
        at = torch.where(new, order.argmin(-1), slots)
        whole = new | (imagined[rows, at] & (not is_imagined))
        writes = torch.ones_like(new) if allowed is None else allowed
        if is_imagined:
            writes = writes & (new | imagined[rows, at])
        rows, at, whole, query, energy, time = (value[writes] for value in (rows, at, whole, query, energy, time))
        share = torch.where(whole, 1.0, self.rate)
        keys[rows, at] = torch.lerp(keys[rows, at], query, share[:, None])
        energies[rows, at] = torch.lerp(energies[rows, at], energy, share)
        times[rows, at] = time
        imagined[rows, at] = is_imagined
        written[rows, at] = self.carry["tick"][rows]

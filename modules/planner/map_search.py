"""Map search: the upper level of two, which searches for shortest ways over remembered states.

Shapes: B parallel worlds, N remembered states with L links each, G goals, S the size of a state, a vector.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ami.blueprint import Planner
from ami.errors import require
from ami.module import Call
from ami.ports import Port, shape_of
from modules.planner._imagined_links import FAR, ImaginedLinks

SURE = 0.01
"""Doubts below this length change no way."""
ARRIVED = 2
"""Multiples of the least progress within which a sub-goal is where the agent is."""
GOAL = -1
"""The slot of a sub-goal that is the goal itself."""
CARRIED = 1
"""The entry of `body` that is 1 while the agent is carried."""


class MapSearch(Planner):
    """Shortest ways over a graph of remembered states, after *Search on the Replay Buffer* (Eysenbach and others, 2019).

    Two states are joined if one followed the other in the episode; if both have one context of the world model, since
    within it level 1 finds its own way; or if the world model imagines a way from each to the other, for example through a
    door that was seen, but not passed. The length of an edge is the world model's distance. `subgoal` is the remembered
    state, reachable from here by one edge, that is farthest along a way at most `slack` longer than the shortest; the goal
    itself where it is reachable. If the way that is left has not become shorter by `nearer` for `patience` ticks, the
    sub-goal is doubted: ways through it are longer by `doubt`, which fades, and imagined links that lead past the present
    state are given up. While the agent is carried, which `body` shows, it does not follow sub-goals, and nothing is a stall.

    A sub-goal is kept for `hold` ticks, unless the goal changes, it is reached, or it is doubted. Without a way the sub-goal
    is the goal.

    Args:
        same: mean squared difference of contexts below which two are one.
        near: distance within which a remembered state counts as here, so that its links can be used.
        slack: see above, in units of the distance.
        reach: distance at which a sub-goal of the same context is reached; the agent need not slow down there.
        hold: ticks before a sub-goal is chosen anew.
        nearer: the least progress.
        patience: ticks without it.
        doubt: length added to a doubted sub-goal; 0 doubts nothing.
        fading: factor of all doubts per tick.
        leap, within, price, denied: of imagined links, see `modules.planner._imagined_links`; leap 0 imagines none.

    Raises:
        SettingError: a setting is out of its range.
    """

    inputs = {
        "state": Planner.inputs["state"], "goal": Planner.inputs["goal"],
        "places": Port("places", ("N", "*S")), "kept": Port("flag", ("N",), torch.bool),
        "links": Port("links", ("N", "L"), torch.int64),
        "goals": Port("goals", ("G", "*Q")),
        "body": Port("observation", ("*Y",), optional=True),
    }
    outputs = {
        "subgoal": Port("goal", ("*Q",)),
        "energy": Port("energy"),
        "ways": Port("energies", ("G",)),
        "stalled": Port("count", (), torch.int64),
        "model_steps": Planner.outputs["model_steps"],
    }
    requires = {"world_model": Call(("context", "distance", "approach"), {"S": "S", "Q": "Q"})}
    equal_dims = {"Q": "S"}

    def __init__(self, same: float = 0.1, near: float = 1.0, slack: float = 0.5, reach: float = 1.5, hold: int = 4,
                 nearer: float = 0.25, patience: int = 6, doubt: float = 7.5, fading: float = 0.97, leap: float = 10.0,
                 within: float = 0.75, price: float = 5.0, denied: float = 30.0) -> None:
        super().__init__()
        require(same > 0, f"MapSearch.same is {same}: expected more than 0")
        for name, value in (("near", near), ("slack", slack), ("reach", reach), ("nearer", nearer), ("doubt", doubt),
                            ("leap", leap), ("within", within), ("price", price), ("denied", denied)):
            require(value >= 0, f"MapSearch.{name} is {value}: expected 0 or more")
        require(hold >= 1, f"MapSearch.hold is {hold}: expected 1 or more ticks")
        require(patience >= 1, f"MapSearch.patience is {patience}: expected 1 or more ticks")
        require(0 <= fading <= 1, f"MapSearch.fading is {fading}: expected 0 to 1")
        self.same, self.near, self.slack, self.reach, self.hold, self.nearer = same, near, slack, reach, hold, nearer
        self.patience, self.doubt, self.fading = patience, doubt, fading
        self.imagining = ImaginedLinks(leap, within, price, denied)

    def initial(self, batch: int) -> dict[str, Tensor]:
        size, (slots,) = shape_of(self.dims, "S"), self.inputs["kept"].shape(self.dims)
        goals = self.outputs["ways"].shape(self.dims)
        return {
            "subgoal": torch.zeros(batch, *size),
            "goal": torch.zeros(batch, *size),
            "slot": torch.full((batch,), GOAL, dtype=torch.int64),  # the sub-goal's
            "age": torch.full((batch,), self.hold, dtype=torch.int64),  # of the sub-goal, in ticks
            "rest": torch.zeros(batch),  # the way from the sub-goal to the goal
            "least": torch.full((batch,), FAR),  # the shortest way that was left so far
            "stalled": torch.zeros(batch, dtype=torch.int64),  # ticks without progress
            "doubts": torch.zeros(batch, slots),
            "energy": torch.zeros(batch),
            "ways": torch.zeros(batch, *goals),
            "follows": torch.zeros(batch, dtype=torch.bool),  # whether it was free to, on the present map, since it chose
            **self.imagining.initial(batch, slots, size),
        }

    def step(self, state: Tensor, goal: Tensor, places: Tensor, kept: Tensor, links: Tensor,
             goals: Tensor, body: Tensor | None = None) -> dict[str, Tensor]:
        model, kept = self.calls.world_model, kept.to(places.device)
        steps = torch.zeros(len(state), dtype=torch.int64, device=state.device)
        carried = torch.zeros(len(state), dtype=torch.bool) if body is None else body[:, CARRIED] > 0
        carried = carried.to(state.device)
        self._track(state, goal, carried)
        slot, age, doubts = self.carry["slot"], self.carry["age"], self.carry["doubts"]
        vain = self.carry["stalled"] >= self.patience
        for row in vain.nonzero()[:, 0].tolist() if self.imagining.leap and self.doubt else ():
            inside = self._alike(self.carry["seen"][row], state[row])
            self.imagining.disprove(self.carry, row, model, state[row], inside, 2 * self.nearer)
        doubted = (vain & (slot != GOAL)).nonzero()[:, 0]
        doubts.mul_(self.fading)[doubted, slot[doubted]] += self.doubt
        due = (age >= self.hold) | (self.carry["stalled"] >= self.patience)
        reached = self._alike(state, self.carry["subgoal"]) & (model.distance(state, self.carry["subgoal"]) < self.reach)
        due |= (slot != GOAL) & reached
        rows = due.nonzero()[:, 0]
        if len(rows):
            used = max(int(kept.any(0).sum()), 1)
            several = torch.cat([goal[:, None], goals], dim=1)
            found, steps[rows] = self._search(rows, carried[rows], state[rows], several[rows], places[rows, :used],
                                              kept[rows, :used], links[rows, :used], doubts[rows, :used])
            self._take(rows, goal, places, *found)
            self.carry["follows"][rows] = ~carried[rows]
        subgoal = torch.where((self.carry["slot"] == GOAL)[:, None], goal, self.carry["subgoal"])
        self.carry["subgoal"] = subgoal
        self.carry["age"] = self.carry["age"] + 1
        outputs = {"subgoal": subgoal.clone(), "energy": self.carry["energy"].clone(), "ways": self.carry["ways"].clone(),
                   "stalled": self.carry["stalled"].clone(), "model_steps": steps}
        return {name: outputs[name] for name in self.outputs}

    def _track(self, state: Tensor, goal: Tensor, carried: Tensor) -> None:
        """Update progress along the way to the goal; another goal is another way, and a way begins where the
        agent is let go."""
        model, carry = self.calls.world_model, self.carry
        aims = carry["slot"] == GOAL
        left = model.distance(state, torch.where(aims[:, None], goal, carry["subgoal"])) + carry["rest"]
        other = (model.distance(goal, carry["goal"]) > self.near) | ~self._alike(goal, carry["goal"])
        # the whole way is compared, so that two sub-goals in turn are no progress; who stays at the goal is not stalled
        closer = (left < carry["least"] - self.nearer) | (aims & (left < ARRIVED * self.nearer)) | other | carried
        carry["least"] = torch.where(closer, left, carry["least"]).masked_fill_(other | carried, FAR)
        carry["stalled"] = torch.where(closer, 0, carry["stalled"] + 1)
        carry["age"] = torch.where(other, self.hold, carry["age"])
        carry["goal"] = goal.clone()

    def _take(self, rows: Tensor, goal: Tensor, places: Tensor, slot: Tensor, rest: Tensor, energy: Tensor,
              ways: Tensor) -> None:
        """Make the slots (R,) the sub-goals of these rows; after a doubt progress is measured anew."""
        carry = self.carry
        chosen = torch.where((slot == GOAL)[:, None], goal[rows], places[rows, slot.clamp(min=0)])
        renew = carry["stalled"][rows] >= self.patience
        carry["least"][rows] = torch.where(renew, FAR, carry["least"][rows])
        carry["stalled"][rows] = torch.where(renew, 0, carry["stalled"][rows])
        carry["subgoal"][rows], carry["slot"][rows], carry["age"][rows] = chosen, slot, 0
        carry["rest"][rows], carry["energy"][rows], carry["ways"][rows] = rest, energy, ways

    def _alike(self, one: Tensor, other: Tensor) -> Tensor:
        """Return whether states (…, S) have the same context, (…)."""
        context = self.calls.world_model.context
        apart: Tensor = (context(one) - context(other)).square()
        return apart.mean(-1) < self.same if apart.shape[-1] else torch.ones(apart.shape[:-1], dtype=torch.bool)

    def _edges(self, rows: Tensor, carried: Tensor, places: Tensor, kept: Tensor,
               links: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the lengths of the edges between slots and what is added to those of links, both (R, N, N) and `FAR` for no
        edge; and the number of imagined steps (R,)."""
        distance, number = self.calls.world_model.distance, places.shape[1]
        contexts = self.calls.world_model.context(places)
        together = torch.cdist(contexts, contexts) ** 2 / max(contexts.shape[-1], 1) < self.same  # (R, N, N)
        beyond = (links < 0) | (links >= number)  # one more column takes what is no link
        linked = functional.pad(torch.zeros_like(together), (0, 1)).scatter_(2, links.masked_fill(beyond, number), True)
        linked, both = linked[..., :number], kept[:, None] & kept[:, :, None]
        lengths = distance(places[:, :, None], places[:, None])
        extra, steps, free = torch.zeros_like(lengths), torch.zeros_like(rows), ~carried
        if self.imagining.leap:
            changed = self.imagining.look(self.carry, rows, places, kept)
            self.carry["follows"][rows] &= ~changed
            if bool(free.any()):
                linked[free], extra[free], steps[free] = self.imagining.judge(
                    self.carry, rows[free], self.calls.world_model, places[free], lengths[free], (both & ~together)[free],
                    linked[free])
        extra.masked_fill_(~((together | linked) & both), FAR)
        return (lengths + extra).clamp_(max=FAR), extra, steps

    def _search(self, rows: Tensor, carried: Tensor, state: Tensor, goals: Tensor, places: Tensor, kept: Tensor,
                links: Tensor, doubts: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Return the sub-goal's slot (R,), the lengths of the ways from it and from here to the first goal (R,), and from
        here to the others (R, G); and the number of imagined steps (R,)."""
        distance = self.calls.world_model.distance
        edges, extra, steps = self._edges(rows, carried, places, kept, links)
        doubted = edges + doubts[:, None]  # entering a doubted slot is long
        ends = self._alike(places[:, None], goals[:, :, None]) & kept[:, None]
        last = distance(places[:, None], goals[:, :, None]).masked_fill_(~ends, FAR)
        ways = _shortest(doubted, last)  # (R, G, N)
        plain = _shortest(edges, last[:, :1])[:, 0] if bool((doubts > SURE).any()) else ways[:, 0]
        here = self._alike(places, state[:, None]) & kept  # (R, N)
        at = here & (distance(places, state[:, None]) < self.near)
        # what the first edge costs more: nothing in these surroundings, nor to a sub-goal that is followed already
        more = extra.masked_fill(~at[:, :, None], FAR).amin(1).masked_fill(here | self._followed(rows, kept), 0.0)
        first = (distance(places, state[:, None]) + doubts + more).clamp_(max=FAR)
        direct = distance(goals, state[:, None]).masked_fill_(~self._alike(goals, state[:, None]), FAR)
        total = first[:, None] + ways  # (R, G, N)
        shortest = torch.minimum(total.amin(-1), direct)  # (R, G)
        near_best = total[:, 0] <= shortest[:, :1] + self.slack
        slot = ways[:, 0].masked_fill(~near_best, FAR * 4).argmin(1)
        aims = (direct[:, 0] <= shortest[:, 0] + self.slack) | (shortest[:, 0] >= FAR)
        rest = torch.where(aims, 0.0, plain.gather(1, slot[:, None])[:, 0])
        return (torch.where(aims, GOAL, slot), rest, shortest[:, 0], shortest[:, 1:]), steps

    def _followed(self, rows: Tensor, kept: Tensor) -> Tensor:
        """Return which slots (R, N) are sub-goals that the agent follows and does not doubt."""
        follows = self.carry["follows"][rows] & (self.carry["stalled"][rows] < self.patience)
        slots = torch.arange(kept.shape[1], device=kept.device)
        return (slots == self.carry["slot"][rows, None]) & follows[:, None] & kept


def _shortest(edges: Tensor, ways: Tensor) -> Tensor:
    """Return the lengths (R, G, N) of the shortest ways to G ends, by relaxation (Bellman, 1958; Ford, 1956).

    Args:
        edges: (R, N, N), the lengths of the edges from each slot to each other, `FAR` for none.
        ways: (R, G, N), the lengths of the last edges, from a slot to an end.
    """
    for _ in range(edges.shape[1]):
        longer = (edges[:, None] + ways[:, :, None]).amin(-1)
        if bool((longer >= ways - 1e-4).all()):
            break
        ways = torch.minimum(ways, longer)
    return ways

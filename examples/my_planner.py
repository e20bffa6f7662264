"""Holding one action for the whole horizon: the simplest plan there is."""

import torch

from ami import Planner


class Steady(Planner):
    """The best of some random actions, each held."""

    def __init__(self, horizon: int = 4, num_candidates: int = 64):
        super().__init__()
        self.horizon, self.num_candidates = horizon, num_candidates

    def infer_dims(self, known):
        return {"H": self.horizon}

    def step(self, state, goal, mode, weights=None):
        actions = self.random.uniform(-1, 1, self.num_candidates, 1, self.dims["U"]).repeat(1, 1, self.horizon, 1)
        imagined = self.calls.world_model.imagine(state, actions)
        energy, best = self.calls.cost.energy(imagined, actions, goal, weights).min(dim=1)
        rows, plans = torch.arange(len(state)), mode == 2
        return {"plan": actions[rows, best] * plans[:, None, None], "imagined": imagined.states[rows, best],
                "energy": energy, "model_steps": plans * self.num_candidates * self.horizon}

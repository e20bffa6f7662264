"""Prediction error of a world model, relative to persistence (the guess that nothing moves)."""

from __future__ import annotations

import torch

from ami.blueprint import Perception, WorldModel
from ami.data.replay_buffer import ACTION, ReplayBuffer
from ami.learning.states import percepts_of, states_of

HORIZON = 5
MOST_WINDOWS = 512


@torch.no_grad()
def error_vs_persistence(experience: ReplayBuffer, perception: Perception, world_model: WorldModel,
                         horizon: int = HORIZON) -> float:
    """Return the mean distance of predicted states to what is perceived after `horizon` steps, divided by persistence's.

    0 is exact; 1 is no better than to predict the state `horizon` steps earlier (persistence).

    Args:
        experience: held-out episodes.
        perception, world_model: the modules; they are not changed.
        horizon: steps of prediction.

    Returns:
        nan if no episode is that long, or if no state moves, as when all states have collapsed to one.
    """
    if not bool((experience.steps >= horizon).any()):
        return float("nan")
    starts = experience.starts(horizon)
    starts = starts[:: max(1, len(starts) // MOST_WINDOWS)][:MOST_WINDOWS]
    episode, step = starts[:, 0], starts[:, 1]
    percepts = percepts_of(experience, perception)
    states = states_of(experience, percepts, world_model)
    first = (experience.steps + 1).cumsum(0) - (experience.steps + 1)
    now = first[episode] + step
    before, after = states.rows(now), world_model.goal_of(percepts.rows(now + horizon))
    actions = experience.rows(ACTION, (experience.first[episode] + step)[:, None] + torch.arange(horizon))
    chosen = world_model.encode_action(before[:, None].expand(-1, horizon, *before.shape[1:]), actions)
    predicted = world_model.imagine_last(before, chosen[:, None]).states[:, 0, -1]
    moved = float(world_model.distance(before, after).double().mean())
    missed = float(world_model.distance(predicted, after).double().mean())
    return missed / moved if moved > 0 else float("nan")

"""Figures of each planner of a run, from its trace: an agent may plan on several levels."""

from __future__ import annotations

import numpy as np

from ami.views.tables import Tables

STEPS, ENERGY = "model_steps", "energy"


def planner_figures(tables: Tables) -> dict[str, dict[str, float]]:
    """Return by planner the number of its plans in running episodes, and their mean world model steps and energy.

    A slow planner's ticks without a plan do not count; a figure that it does not send, or that is infinite, is left out.
    """
    ticks, played = tables.ticks, tables.played
    every = tables.trace.header["graph"].get("every", {})
    age = ticks["tick"].to_numpy() - played.began
    found: dict[str, dict[str, float]] = {}
    for planner in tables.roles.planners:
        sent = {port: ticks[f"{planner}.{port}"] for port in (STEPS, ENERGY) if f"{planner}.{port}" in ticks.column_names}
        if not sent:
            continue
        values = {port: column.to_numpy(zero_copy_only=False).astype(float) for port, column in sent.items()}
        fired = next(iter(sent.values())).is_valid().to_numpy(zero_copy_only=False)
        due = played.live & fired & (age % every.get(planner, 1) == 0)
        planned = due & (values[STEPS] > 0) if STEPS in values else due  # a tick that reacts plans nothing
        means = {port: float(value[planned].mean()) for port, value in values.items()
                 if planned.any() and np.isfinite(value[planned]).all()}
        found[planner] = {"plans": float(planned.sum()), **means}
    return found

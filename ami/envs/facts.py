"""Facts about a world for the user, and warnings from its trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ami.envs.trial import SEED
from ami.envs.vector import LIMIT

if TYPE_CHECKING:
    from ami.envs.world import GymWorld


def port_facts(world: GymWorld) -> dict[str, str]:
    """Return dtype and size of every port of an observation, and the layout of an action."""
    sizes = {name: port.space.shape for name, port in world.reading.ports.items()}
    ports = {port: f"{world.outputs[port].dtype} {size}".removeprefix("torch.") for port, size in sizes.items()}
    return ports | {"action": str(world.space)}


def facts_of(world: GymWorld) -> dict[str, str]:
    """Return its ports and actions, its episode limit, its rule for success, and whether seeds reproduce episodes."""
    rule = "any step" if world.success_rule == "any" else "its last step"
    return port_facts(world) | {
        "episode": f"at most {world.limit} steps" if world.limit else f"no limit declared: truncated after {LIMIT} steps",
        "success": f"an episode is solved if success is true at {rule}" if world.reports_success else "not reported",
        "seed": "the same seed gives the same episode" if world.trial.is_seeded else "ignored",
        "trial": f"{world.trial.steps} random steps{'' if world.trial.ended else ', not ended'}"}


def warnings_of(world: GymWorld) -> list[str]:
    """Return the warnings of its trial, for the user before learning; raises as `GymWorld.trial` does."""
    trial, found = world.trial, []
    if not trial.is_seeded:
        found.append(f"world {world.env_id} ignores its seed: reset(seed={SEED}) and the same actions gave another "
                     "episode. The pairs of an evaluation are then not the same for all agents. Fix: draw from "
                     "self.np_random, after super().reset(seed=seed)")
    if world.limit is None:
        found.append(f"world {world.env_id} declares no limit: an episode is truncated after {LIMIT} steps. "
                     "Fix: world.max_episode_steps=1000, or another limit")
    if trial.solved_at is not None and not trial.solved_at_end and world.success_rule is None:
        found.append(f"world {world.env_id} was solved at step {trial.solved_at} of a random episode and not at its end: "
                     "it counts as not solved. Fix: world.success=any counts it, world.success=last accepts the rule")
    return found

"""Exploration: the agents that collect the later rounds of experience, or act while they learn."""

from __future__ import annotations

from ami.blueprint import Actor
from ami.config.compose import Config, compose_baseline, is_learner, to_graph, to_specs
from ami.config.options import option_names
from ami.config.overrides import option_folders
from ami.config.settings import Online
from ami.config.trust import allow_list, trusted_class
from ami.errors import unknown_name
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec

SELF = "self"
"""The value of `learning.online.agent` for the agent that learns."""
EXPLORER = "modules.actor.epsilon_greedy.EpsilonGreedy"
"""The class that adds random actions to an actor, with the settings `actor` and `epsilon`."""


def exploring(config: Config) -> Graph:
    """Return an agent's graph in which each actor explores with probability `learning.explore`."""
    share, parts = config.settings.learning.get("explore", 0.0), to_specs(config)
    explorer = trusted_class(EXPLORER, "learning.explore", allow_list())
    for node, part in parts.items():
        if share and isinstance(part.target, type) and issubclass(part.target, Actor):
            settings = part.settings if issubclass(part.target, explorer) else {"actor": part}
            parts[node] = ModuleSpec(explorer, {**settings, "epsilon": share})
    return Graph(parts, config.plain()["graph"])


def online_of(config: Config) -> Online | None:
    """Return the settings of learning while acting; None if nothing acts, or nothing learns."""
    learning = config.plain()["learning"]
    return Online(**learning["online"]) if learning.get("online") and any(learning["stages"].values()) else None


def acting_config(config: Config, online: Online) -> Config:
    """Return the config of the agent that acts while it learns.

    Raises:
        UnknownName: there is no such agent; further errors are those of `ami.config.compose.compose`.
    """
    if online.agent == SELF:
        return config
    known = [SELF, *option_names(option_folders(config.overrides), "agent")]
    if not is_learner(online.agent) and online.agent not in known:
        raise unknown_name("agent in learning.online.agent", online.agent, known)
    return compose_baseline(config, online.agent)


def shared_nodes(config: Config, online: Online) -> set[str]:
    """Return the nodes of the agent that acts which take over what the agent that learns has learnt: all of its own, those
    of the same classes if it is given by overrides, else those of equal modules."""
    graph, acting = to_graph(config), to_graph(acting_config(config, online))
    return acting.nodes_of_equal_class(graph) if is_learner(online.agent) else acting.equal_nodes(graph)

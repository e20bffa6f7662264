"""Source: the base class of the data that a stage learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from torch import Tensor

from ami.agent import Agent
from ami.data.replay_buffer import ReplayBuffer
from ami.data.scratch import Scratch
from ami.errors import SettingError, require, unknown_name
from ami.graph.graph import Graph
from ami.module import LEARNING_STATE, Module
from ami.runtime.held_modules import Weights

Draw = Callable[[int], dict[str, Tensor]]
"""Draws the batch of a step of the stage, counted from 0; random draws are from torch's global stream."""
Expert = Callable[[Weights, Callable[[Graph], Iterable[str]]], Agent]
"""Builds an agent with these weights by node, which watches the ports that the function returns for its graph."""
Role = TypeVar("Role", bound=Module)


@dataclass(frozen=True)
class Supply:
    """What a source makes batches of.

    Attributes:
        stage: the stage's name, for messages and for the seeds of worlds.
        batch: N, the size of a batch.
        steps: the number of the stage's steps.
        experience: all experience collected so far.
        modules: the modules that learn, and their callees, by node.
        trained: the nodes of which this stage, or one that learns at the same time, trains parts.
        seed: the seed of the training.
        experts: functions that build the agents of `Source.agents`, by name.
        scratch: stores what is computed from all experience.
        file_of: returns the file in which the source may keep its `number`-th part; its name holds the hash of its
            dependencies.
        on_episodes: called with the stage's step and the number of episodes lived for it.
    """

    stage: str
    batch: int
    steps: int
    experience: ReplayBuffer
    modules: Mapping[str, Module]
    trained: Sequence[str] = ()
    seed: int = 0
    experts: Mapping[str, Expert] = field(default_factory=dict)
    scratch: Scratch = field(default_factory=Scratch)
    file_of: Callable[[int], Path] = lambda number: Path(f"part-{number}.safetensors")
    on_episodes: Callable[[int, int], None] = lambda step, episodes: None

    @property
    def weights(self) -> Weights:
        """The weights learnt so far, by node."""
        return weights_of(self.modules)


def weights_of(modules: Mapping[str, Module]) -> Weights:
    """Return the weights of modules that may be learning, without the state that only learning needs."""
    return {node: {name: value for name, value in module.state_dict().items() if LEARNING_STATE not in name.split(".")}
            for node, module in modules.items()}


class Source(ABC):
    """The data of one stage. Its constructor takes settings alone; `open` makes the batches of one round.

    Attributes:
        made_by: what to say of numbers that are not finite in a batch.
        agents: the agents whose episodes it is made of, besides the collected experience: names of `configs/agent`, or
            overrides of the agent that learns, separated by spaces.
        length: the steps of a window; 1 for sources without windows.
    """

    made_by: ClassVar[str] = "the world sent it"
    agents: Sequence[str] = ()
    length: int = 1

    @abstractmethod
    def open(self, supply: Supply) -> Draw:
        """Prepare to draw batches of the data of one round.

        Raises:
            SettingError: the data are too few, or modules that compute them are missing.
        """

    def check_agents(self, supply: Supply) -> None:
        """Raise SettingError unless the stage has a step for each of `agents`, which share its steps."""
        require(len(self.agents) <= supply.steps,
                f"learning.stages.{supply.stage}.source.agents is {list(self.agents)}: expected at most one per step, "
                f"{supply.steps}")

    def nodes(self, modules: Mapping[str, Module]) -> set[str]:
        """Return the nodes that compute its batches."""
        return set()

    def shrunk(self, longest: int, episodes: int) -> Self:
        """Return this source for a trial with a few episodes of at most `longest` steps."""
        return self

    def bytes_of(self, batch: int, sizes: Mapping[str, int], wants_pairs: bool) -> Mapping[str, int]:
        """Return an estimate of the memory of a batch, and of what it keeps, by the setting that decides it.

        Args:
            batch: N.
            sizes: bytes of an "observation" and a "state", and the number of collected "steps".
            wants_pairs: whether the loss compares every state with every other.
        """
        return {}


def the_one(modules: Mapping[str, Module], role: type[Role], chosen: str | None, where: str) -> tuple[str, Role]:
    """Return the node of a role that a source uses, and its module: `chosen`, or else the only one.

    Raises:
        UnknownName: there is no such node.
        SettingError: the node has another role, there are several, or there is none.
    """
    found = {node: module for node, module in modules.items() if isinstance(module, role)}
    what = role.role.replace("_", " ")
    if chosen is not None:
        if chosen not in modules:
            raise unknown_name(f"{what} in {where}.{role.role}", chosen, found)
        require(chosen in found, f"{where}.{role.role} is {chosen}, a {type(modules[chosen]).__name__}: expected a {what}"
                                 + "".join(f". Fix: {where}.{role.role}={node}" for node in [*found][:1]))
        return chosen, found[chosen]
    if len(found) == 1:
        return next(iter(found.items()))
    stage = where.rpartition(".")[0]
    if found:
        raise SettingError(f"{where} needs one {what}, but {len(found)} of them learn here: {', '.join(found)}. "
                           f"Fix: {where}.{role.role}={next(iter(found))}")
    raise SettingError(f"{where} needs a {what}, but none learns here. Fix: name it in the `train` of an earlier stage, or "
                       f"drop the stage, ~{stage}")


def check_role(value: Any, setting: str) -> None:
    """Raise SettingError unless a source's setting names a node or is None."""
    require(value is None or (isinstance(value, str) and value != ""),
            f"{setting} is {value!r}: expected the name of a node")

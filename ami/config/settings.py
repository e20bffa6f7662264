"""The settings that belong to no module: a dataclass per section, from which their checks and their help are made.

Their values are in `configs/`, and are checked here before anything starts. A stage's defaults are here, since most stages
keep them. `ami run --help` prints every setting with its sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, is_dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args, get_origin

from ami.config.renamed import new_name
from ami.config.rules import rule_of, setting, types_of
from ami.errors import shown, suggestion

MOST_SEED = 2**63 - 1
"""The largest seed that torch's generators and numpy's integers accept."""
MOST_ROUNDS = 10_000
MOST_THREADS = 1024
"""More than any processor runs at once; torch ends the process if the system cannot start more."""
NAME = "NAME"
"""Stands for any name in the path of a setting, `learning.stages.NAME.steps`."""


@dataclass(frozen=True)
class Trace:
    """The record of every cycle."""

    record: bool = setting("record the trace of every cycle")
    level: Literal["stats", "boundary", "full"] = setting(
        "stats: hashes and statistics; boundary: also every output of the world and the actions, for `ami replay`; full: "
        "also every message")
    ports: list[str] = setting("the ports that level=full records, [node.port, …]; empty for all of them")


@dataclass(frozen=True)
class Collect:
    """The collection of experience. An experiment may give some of the settings alone."""

    is_partial: ClassVar[bool] = True
    agent: str = setting("the agent that collects experience, see `ami list agents`")
    episodes: int = setting("number of collected episodes", least=1)
    steps: int = setting("length of a collected episode", least=1)
    batch: int = setting("number of worlds that collect in parallel", least=1)


@dataclass(frozen=True)
class Stage:
    """One stage of learning. An experiment may give some of the settings alone."""

    is_partial: ClassVar[bool] = True
    train: list[str] = setting("the modules trained together: nodes, or parts of nodes, such as cost.critics.critic",
                               least=1)
    loss: str = setting("the node whose loss is minimised; NODE.METHOD if it has several losses")
    steps: int = setting("number of gradient steps", least=1)
    batch: int = setting("windows, states or plans per batch", least=1, default=64)
    source: str | dict[str, Any] = setting(
        "the data it learns from: an option of configs/source, or {name: OPTION, …} with other settings", default="windows")
    unroll: list[str] = setting(
        "nodes that fire tick by tick over each window, with gradients, such as a memory that learns; the loss gets what "
        "they send as NODE.PORT", default=())
    learning_rate: float = setting("learning rate of the optimiser", above=0, default=1e-3)
    optimiser: str | dict[str, Any] = setting(
        "an option of configs/optimiser, or {name: OPTION, …} with other settings", default="adamw")
    scheduler: str | dict[str, Any] = setting(
        "course of the learning rate: an option of configs/scheduler, or {name: OPTION, …} with other settings",
        default="cosine")
    clip: float = setting("largest norm of the gradient; 0 for no limit", least=0, default=2.0)
    accumulate: int = setting("number of batches whose gradients are averaged in one step", least=1, default=1)
    precision: Literal["float32", "bfloat16"] = setting(
        "bfloat16: matrix products in half precision (torch.autocast), weights and sums in float32", default="float32")


@dataclass(frozen=True)
class Fields:
    """The names of a file's arrays, where they are not the usual ones."""

    is_partial: ClassVar[bool] = True
    observation: str = setting("name of the observations in the file of learning.data", optional=True)
    action: str = setting("name of the actions", optional=True)
    reward: str = setting("name of the rewards", optional=True)
    terminated: str = setting("name of the flags of termination", optional=True)
    truncated: str = setting("name of the flags of truncation", optional=True)
    truth: str = setting("name of the true states", optional=True)
    next_observation: str = setting("name of the observations after each action", optional=True)


@dataclass(frozen=True)
class Actions:
    """How the file of learning.data writes actions, where it does not say so."""

    is_partial: ClassVar[bool] = True
    low: float = setting("lower bound of its actions, which becomes -1", optional=True)
    high: float = setting("upper bound of its actions, which becomes 1", optional=True)
    choices: int = setting("number of its actions, if they are whole numbers from 0", least=1, optional=True)


@dataclass(frozen=True)
class Buffer:
    """The storage of experience."""

    is_partial: ClassVar[bool] = True
    memory: float = setting("bytes of experience, and of states computed from it, in memory; more is in files of the store",
                            above=0, default=5e8)
    capacity: int | None = setting("most observations to learn from, without the oldest episodes beyond it; null for all",
                                   least=1, default=None)


@dataclass(frozen=True)
class Online:
    """Learning while acting. An experiment may give some of the settings alone."""

    is_partial: ClassVar[bool] = True
    agent: str = setting(
        "the agent that acts: self; or overrides of the agent that learns, such as actor=random; or a name of configs/agent",
        default="self")
    replay_ratio: float = setting("steps of learning, of all stages together, per step of the world", above=0,
                                  default=0.0625)
    batch: int = setting("number of parallel worlds; their episodes are learnt from when all of them are over", least=1,
                         default=32)
    publish_every: int = setting("steps of learning after which an agent takes over the weights in mid-episode; it always "
                                 "does at the beginning of its episodes", least=1, default=1)
    max_lag: int = setting("most steps of learning by which the weights that act may be behind; 0: one agent and learning "
                           "take turns, and the weights depend on the seed alone", least=0, default=0)
    queue: int = setting("most waves of episodes that wait until they are learnt from; agents wait for room", least=1,
                         default=2)


@dataclass(frozen=True)
class Learning:
    """How the agent learns."""

    collect: Collect = setting("the collection of experience", optional=True)
    data: str | None = setting("a file of episodes, or a run recorded with trace.level=boundary, to learn from in one round "
                               "in place of collecting; see `ami data show`", optional=True)
    fields: Fields = setting("names of its arrays", optional=True)
    actions: Actions = setting("how it writes actions", optional=True)
    buffer: Buffer = setting("the storage of experience", optional=True)
    online: Online = setting("learning while acting: an agent acts, and all stages learn at once from its episodes, after "
                             "those of `collect`", optional=True)
    stages: dict[str, Stage] = setting("the stages of learning; null removes one")
    save_every: int = setting("steps between two saves of the progress", least=1)
    threads: int | Literal["auto"] = setting(
        "number of threads for training, on which the weights depend; auto: 1 or all cores, whichever is faster for a step "
        "of the first stage, measured once and recorded in the store", least=1, most=MOST_THREADS)
    rounds: int = setting("number of passes over all stages; before each later one the current agent collects as many "
                          "episodes", least=1, most=MOST_ROUNDS, default=1)
    order: Literal["sequential", "concurrent"] = setting(
        "sequential: one stage after another; concurrent: all stages at once, their steps spread evenly over a round",
        default="sequential")
    fresh: bool = setting(
        "true: every round begins with fresh optimisers, schedulers and target networks; false: they go on", default=True)
    callbacks: dict[str, Any] | None = setting(
        "figures computed during learning from held-out episodes, by a name of your own: an option of configs/callback, or "
        "{name: OPTION, …} with other settings; null removes one", default=None)
    explore: float = setting("share of random actions in the rounds after the first, and in learning while acting", least=0,
                             most=1, default=0.0)


@dataclass(frozen=True)
class Validation:
    """Validation during training, on unsealed pairs."""

    every: int = setting("interval between two validations, in steps of a stage; 0 for none", least=0)
    pairs: int = setting("number of unsealed pairs of each kind", least=0)
    best_by: Literal["success", "prediction"] = setting(
        "figure by which best.safetensors in the run's folder is chosen")


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of the trained agent and its baselines."""

    pairs: int = setting("number of sealed pairs of each kind", least=1, most=1_000_000)
    manifest_seed: int = setting("seed of the sealed pairs", least=0, most=MOST_SEED)
    manifest_hash: str | None = setting("hash that the sealed pairs must have; null for any")
    batch: int = setting("number of parallel worlds", least=1, most=100_000)
    baselines: list[str] = setting("the agents that run the same pairs as baselines")
    metrics: list[str] = setting(
        "more figures of each episode: [node.port], the mean of a scalar output over its ticks, or [package.file.function], "
        "a function of the episode, with --allow package.", optional=True)
    video: int = setting("number of episodes in the video; 0 for none", least=0, most=1000)
    video_formats: list[Literal["gif", "mp4"]] | None = setting(
        "formats of the video, [gif, mp4]; null for gif, and mp4 if imageio-ffmpeg is installed", least=1)


@dataclass(frozen=True)
class Recovery:
    """What happens under Ray when a process of an agent dies."""

    restarts: int = setting("most restarts of an agent's processes within recovery.seconds; one more death ends the run; 0 "
                            "restarts none", least=0, most=1000)
    seconds: float = setting("the time in which restarts are counted", above=0)
    timeout: float | None = setting("seconds after which a call that has not returned counts as a death; null waits",
                                    above=0)
    every: int = setting("ticks between two snapshots of an agent, from which a restarted process goes on", least=1)


@dataclass(frozen=True)
class Settings:
    """All settings that belong to no module."""

    seed: int = setting("the seed of all random numbers", least=0, most=MOST_SEED)
    runtime: Literal["local", "ray"] = setting("ray: modules in separate processes; local: all modules in this process")
    placement: Literal["auto", "module", "agent"] | dict[str, list[str]] = setting(
        "auto: a process per world and per planner, one for all other modules; module: a process per module; agent: a "
        "process per agent; or {group: [nodes]}")
    agents: int = setting("number of agents that share the episodes", least=1, most=1000)
    address: str | None = setting("address of a running Ray cluster; null starts one on this machine, on loopback",
                                  optional=True)
    recovery: Recovery = setting("what happens under Ray when a process of an agent dies")
    prune: bool = setting(
        "true: nodes that no action depends on do not fire, which changes no outcome and takes them out of the trace; "
        "without a trace they never fire")
    trace: Trace = setting("the record of every cycle")
    store: str = setting(
        "folder of runs, trained agents and MLflow's database; by default the folder AMI_STORE, or `runs` in the root of "
        "the project around the current folder (.git, pyproject.toml)")
    checkpoint: str | None = setting(
        "a trained agent to use instead of training: a run's folder or its name in the store, or a file", optional=True)
    learning: Learning = setting("how the agent learns")
    validation: Validation = setting("validation during training")
    evaluation: Evaluation = setting("evaluation of the agent and its baselines")


TOP_LEVEL = tuple(types_of(Settings))
"""The names of all settings and sections: every other key of a configuration is a node, or its graph."""


class Described(NamedTuple):
    """One setting.

    Attributes:
        path: its full name, "evaluation.pairs" or "learning.stages.NAME.steps".
        help: one sentence.
        default: the value if the configuration has none; `dataclasses.MISSING` if it must have one.
    """

    path: str
    help: str
    default: Any


def describe(section: type = Settings, where: str = "") -> Iterator[Described]:
    """Yield every setting in order; sections alone are left out."""
    for name, (kind, of) in types_of(section).items():
        path = f"{where}{name}"
        named = _named_section(kind)
        if is_dataclass(kind) and isinstance(kind, type):
            yield from describe(kind, f"{path}.")
        elif named is not None:
            yield from describe(named, f"{path}.{NAME}.")
        else:
            yield Described(path, of.metadata["help"], of.default)


def check(settings: Mapping[str, Any], section: type = Settings, where: str = "") -> list[str]:
    """Return one sentence per unknown key, missing key and invalid value."""
    mistakes: list[str] = []
    known = types_of(section)
    for key, (_, of) in known.items():
        if key not in settings and not (of.metadata["optional"] or of.default is not MISSING
                                        or getattr(section, "is_partial", False)):
            mistakes.append(f"{where}{key} is missing. Fix: leave out the `~…` that removes it")
    for key, value in settings.items():
        path = f"{where}{key}"
        if new_name(path) is not None:
            mistakes.append(f"{path} is {new_name(path)} now. Fix: {new_name(path)}=…")
        elif key not in known:
            mistakes.append(f"unknown setting '{path}'{suggestion(str(key), known)}")
        else:
            mistakes.extend(_check_one(path, value, section, str(key)))
    return mistakes


def _check_one(path: str, value: Any, section: type, name: str) -> list[str]:
    kind = types_of(section)[name][0]
    named = _named_section(kind)
    if named is not None:
        if not isinstance(value, Mapping):
            return [f"{path} is {shown(value)}: expected a mapping of names"]
        mistakes: list[str] = []
        for key, inner in value.items():
            if isinstance(inner, Mapping):
                mistakes += check(inner, named, f"{path}.{key}.")
            elif inner is not None:  # null removes a named entry: learning.stages.critic=null
                mistakes.append(f"{path}.{key} is {shown(inner)}: expected a mapping of {', '.join(types_of(named))}")
        return mistakes
    if is_dataclass(kind) and isinstance(kind, type):
        return check(value, kind, f"{path}.") if isinstance(value, Mapping) else [
            f"{path} is {shown(value)}: expected a mapping of {', '.join(types_of(kind))}"]
    rule = rule_of(section, name)
    return [] if rule.accepts(value) else [f"{path} is {shown(value)}: expected {rule.expected}"]


def _named_section(kind: Any) -> type | None:
    """Return the section of a mapping of names to sections, `dict[str, Stage]`; None for any other type."""
    inner = get_args(kind)
    return inner[1] if get_origin(kind) is dict and isinstance(inner[1], type) and is_dataclass(inner[1]) else None

"""Schema of the settings that belong to no module: seed, runtime, learning, evaluation and others.

Their defaults are in `configs/`. Values are checked here, before anything starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ami.config.renamed import RENAMED
from ami.errors import shown, suggestion


@dataclass(frozen=True)
class Rule:
    """The allowed values of one setting: a description for the user, and a test."""

    expected: str
    accepts: Callable[[Any], bool]


def _whole(least: int, most: float = math.inf) -> Rule:
    return Rule(f"a whole number, {least} or more" if most == math.inf else f"a whole number from {least} to {most}",
                lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most)


def _number(least: float, below: bool = False) -> Rule:
    return Rule(f"a number above {least:g}" if below else f"a number, {least:g} or more",
                lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
                and (value > least if below else value >= least))


def _one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def _optional(rule: Rule) -> Rule:
    return Rule(f"{rule.expected}, or null", lambda value: value is None or rule.accepts(value))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


TEXT = Rule("a text", lambda value: isinstance(value, str) and value != "")
SHARE = Rule("a number from 0 to 1", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
             and 0 <= value <= 1)
SWITCH = Rule("true or false", lambda value: isinstance(value, bool))
NAMES = Rule("a list of names, `[a, b]`", _is_names)
FORMATS = Rule("a list of gif and mp4, `[gif, mp4]`",
               lambda value: isinstance(value, list) and value != [] and all(name in ("gif", "mp4") for name in value))
PLACEMENT = Rule("module, agent, or a mapping {group: [nodes]}",
                 lambda value: value in ("module", "agent") if isinstance(value, str)
                 else isinstance(value, dict) and all(_is_names(nodes) for nodes in value.values()))
MOST_SEED = 2**63 - 1
"""The largest seed that torch's generators and numpy's integers accept."""
ANY_NAME = "*"
"""A key in a schema that stands for any name."""
NEEDLESS = ("address", "checkpoint", "collect", "rounds", "explore", "metrics")
"""Settings that may be absent: an agent that does not learn needs no `collect`, and most agents learn in one round."""

MOST_ROUNDS = 10_000
MOST_THREADS = 1024
"""More than any processor runs at once; torch ends the process if the system cannot start more."""

STAGE = {
    "train": NAMES, "loss": TEXT, "data": _one_of("experience", "memory", "plans"), "steps": _whole(1), "batch": _whole(1),
    "window": _whole(1), "ends": SHARE, "imagined": _whole(0), "agents": NAMES, "episodes": _whole(1),
    "learning_rate": _number(0, below=True), "weight_decay": _number(0),
    "warm_up": _whole(0), "final_rate": _number(0), "clip": _number(0),
}
COLLECT = {"agent": TEXT, "episodes": _whole(1), "steps": _whole(1), "batch": _whole(1)}
SCHEMA: dict[str, Any] = {
    "seed": _whole(0, MOST_SEED),
    "runtime": _one_of("local", "ray"),
    "placement": PLACEMENT,
    "agents": _whole(1, 1000),
    "address": _optional(TEXT),
    "trace": {"record": SWITCH, "level": _one_of("stats", "boundary", "full"), "ports": NAMES},
    "store": TEXT,
    "checkpoint": _optional(TEXT),
    "learning": {
        "collect": COLLECT,
        "stages": {ANY_NAME: STAGE},
        "rounds": _whole(1, most=MOST_ROUNDS), "explore": SHARE,
        "save_every": _whole(1), "threads": _whole(1, most=MOST_THREADS),
    },
    "validation": {"every": _whole(0), "pairs": _whole(0), "best_by": _one_of("success", "prediction")},
    "evaluation": {
        "pairs": _whole(1, 1_000_000), "manifest_seed": _whole(0, MOST_SEED), "manifest_hash": _optional(TEXT),
        "batch": _whole(1, 100_000),
        "baselines": NAMES, "metrics": NAMES, "video": _whole(0, 1000),
        "video_formats": _optional(FORMATS),
    },
}


def check(settings: Mapping[str, Any], schema: Mapping[str, Any] = SCHEMA, where: str = "") -> list[str]:
    """Return one sentence per unknown key, missing key and invalid value."""
    mistakes: list[str] = []
    if schema not in (STAGE, COLLECT):  # experiments give only some of these keys
        for key in (name for name in schema if name not in (*settings, ANY_NAME, *NEEDLESS)):
            path = f"{where}.{key}" if where else key
            mistakes.append(f"{path} is missing. Fix: leave out the `~…` that removes it")
    for key, value in settings.items():
        path = f"{where}.{key}" if where else str(key)
        rule = schema.get(str(key), schema.get(ANY_NAME))
        if rule is None and path in RENAMED:
            mistakes.append(f"{path} is {RENAMED[path]} now. Fix: {RENAMED[path]}=…")
        elif rule is None:
            mistakes.append(f"unknown setting '{path}'{suggestion(str(key), schema)}")
        elif isinstance(rule, Rule):
            if not rule.accepts(value):
                mistakes.append(f"{path} is {shown(value)}: expected {rule.expected}")
        elif isinstance(value, Mapping):
            mistakes.extend(check(value, rule, path))
        elif value is None and ANY_NAME in schema:
            continue  # null removes a named entry: learning.stages.critic=null
        else:
            mistakes.append(f"{path} is {shown(value)}: expected a mapping of {', '.join(rule).replace(ANY_NAME, 'names')}")
    return mistakes

"""ami: agents built after LeCun's blueprint, as message graphs of modules. Start reading at `ami/agent.py`.

The names below are all that a notebook or a script needs. Each is loaded on first access: `import ami` is quick and imports
neither torch, ray nor mlflow.

    config = ami.compose(["planner.horizon=6"])   # the overrides of the command line
    agent = ami.build(config)                     # an agent in this process, ready for `reset` and `cycle`
    result = ami.run(config)                      # trains if necessary, then evaluates: a Run with its tables
    agent = ami.load("runs/first")                # a saved agent: `agent.act(observation)` in a loop of your own
    table = ami.compare(["planner=cem,none"])     # variants on the same pairs and seeds: a Comparison
    ticks = ami.load_trace(folder).ticks          # a run's trace as tidy tables
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "compose": "ami.config.compose",
    "Comparison": "ami.comparison.compare", "compare": "ami.comparison.compare",
    "lesion": "ami.comparison.lesion",
    "Run": "ami.session.run", "build": "ami.session.run", "run": "ami.session.run",
    "train": "ami.session.train",
    "LoadedAgent": "ami.saved.loaded", "load": "ami.saved.loaded",
    "load_trace": "ami.views.tables",
    "Agent": "ami.agent",
    "Call": "ami.module", "Module": "ami.module", "callable_method": "ami.module",
    "Port": "ami.ports",
    "Actor": "ami.blueprint", "Configurator": "ami.blueprint", "Cost": "ami.blueprint", "Episode": "ami.blueprint",
    "Goal": "ami.blueprint", "Memory": "ami.blueprint", "Perception": "ami.blueprint", "Planner": "ami.blueprint",
    "Prediction": "ami.blueprint", "World": "ami.blueprint", "WorldModel": "ami.blueprint",
    "AmiError": "ami.errors",
}

__version__ = "0.1.0"
__all__ = sorted([*_HOME, "__version__"])

if TYPE_CHECKING:
    from ami.agent import Agent as Agent
    from ami.blueprint import Actor as Actor
    from ami.blueprint import Configurator as Configurator
    from ami.blueprint import Cost as Cost
    from ami.blueprint import Episode as Episode
    from ami.blueprint import Goal as Goal
    from ami.blueprint import Memory as Memory
    from ami.blueprint import Perception as Perception
    from ami.blueprint import Planner as Planner
    from ami.blueprint import Prediction as Prediction
    from ami.blueprint import World as World
    from ami.blueprint import WorldModel as WorldModel
    from ami.comparison.compare import Comparison as Comparison
    from ami.comparison.compare import compare as compare
    from ami.comparison.lesion import lesion as lesion
    from ami.config.compose import compose as compose
    from ami.errors import AmiError as AmiError
    from ami.module import Call as Call
    from ami.module import Module as Module
    from ami.module import callable_method as callable_method
    from ami.ports import Port as Port
    from ami.saved.loaded import LoadedAgent as LoadedAgent
    from ami.saved.loaded import load as load
    from ami.session.run import Run as Run
    from ami.session.run import build as build
    from ami.session.run import run as run
    from ami.session.train import train as train
    from ami.views.tables import load_trace as load_trace


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from ami.errors import suggestion

        raise AttributeError(f"module 'ami' has no attribute '{name}'{suggestion(name, _HOME)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__

"""`import ami` is quick and exports the documented names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ami


def test_importing_ami_loads_nothing_heavy() -> None:
    code = "import sys, ami; print([m for m in ('torch', 'ray', 'mlflow', 'hydra', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("name", ami.__all__)
def test_every_exported_name_exists(name: str) -> None:
    assert getattr(ami, name) is not None


def test_exported_names() -> None:
    assert ami.__all__ == [
        "Actor", "Agent", "AmiError", "Call", "Comparison", "Configurator", "Cost", "Episode", "Goal", "LoadedAgent",
        "Memory", "Module", "Perception", "Planner", "Port", "Prediction", "Run", "World", "WorldModel", "__version__",
        "build", "callable_method", "compare", "compose", "lesion", "load", "load_trace", "run", "train"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'ami' has no attribute 'rn': did you mean 'run'\?"):
        _ = ami.rn


def test_no_submodule_shadows_an_exported_name() -> None:
    import ami.agent
    import ami.config.compose
    import ami.session.run

    assert callable(ami.run) and callable(ami.train) and callable(ami.compose)

"""The examples of every help text compose."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from ami.cli.arguments import walk
from ami.cli.parsers import all_parsers
from ami.config.compose import compose, to_graph
from ami.config.sweep import combinations, jobs
from ami.errors import TrustError

PARSER = all_parsers()
EXAMPLES = sorted({example.partition("  #")[0].strip() for parser in walk(PARSER) for example in parser.examples})
COMPOSED = [example for example in EXAMPLES if example.split()[1] in ("run", "train", "graph", "compare", "check")]


def test_every_command_that_composes_has_examples() -> None:
    assert {example.split()[1] for example in COMPOSED} == {"run", "train", "graph", "compare", "check"}
    assert len(COMPOSED) >= 20


@pytest.mark.parametrize("example", COMPOSED)
def test_an_example_composes(example: str) -> None:
    _, command, *words = shlex.split(example)
    given = PARSER.commands[command].read(words)
    overrides = [getattr(given, "target", ""), *given.overrides] if command == "check" else given.overrides
    if command == "check" and "=" not in given.target:
        return  # a class or a world's id: tests of ami.testing.checking
    if command == "compare" and "--lesion" not in words:
        requested = [list(one.overrides) for one in combinations(overrides)]
    else:
        requested = jobs(overrides) if "--multirun" in words else [overrides]
    for one in requested:
        if "mypkg.MyPlanner" in example:
            with pytest.raises(TrustError, match="--allow mypkg"):  # a user's package; allowed, it would be imported
                compose(one)
            assert given.allow == ["mypkg."]
        elif one[:2] == ["planner=none", "planner.horizon=2"]:
            assert "--skip-refused" in words
        else:
            to_graph(compose(one)) if command != "compare" else compose([text for text in one if "none" not in text])


RUN_HELP = PARSER.commands["run"].format_help()
SETTINGS = sorted(set(re.findall(r"\b(?:planner|world|trace|evaluation)\.[a-z]\w*=[\w.]+", RUN_HELP)))


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_named_in_help_make_a_valid_graph(setting: str) -> None:
    to_graph(compose([setting]))


def test_python_m_ami_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ami", "rnu"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "ami: unknown command 'rnu': did you mean 'run'? `ami --help` explains them.\n"

"""Flags and settings are declared once, each with a sentence; the help is made from the declarations."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ami
from ami.cli.arguments import Parser, walk
from ami.cli.main import main
from ami.cli.parsers import DRAWINGS, all_parsers
from ami.cli.recorded_parsers import EXPORTS
from ami.cli.setting_help import setting_help
from ami.cli.trace import ACTIONS
from ami.config.compose import compose
from ami.config.settings import NAME, describe

PARSERS = {parser.prog: parser for parser in walk(all_parsers())}


def squeezed(text: str) -> str:
    """Return a text without white space, since help is wrapped to the terminal."""
    return "".join(text.split())


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
def test_every_argument_and_flag_is_explained_in_its_help(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*parser.prog.split()[1:], "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{parser.prog} ") and squeezed(parser.about) in squeezed(shown)
    for action in parser.declared:
        names = [*action.option_strings] or [str(action.metavar)]
        assert action.help is not None and len(action.help.split()) > 1, names
        assert squeezed(action.help.replace("%%", "%")) in squeezed(shown), names
        assert all(name in shown for name in names)
    assert set(parser._actions) == {*parser.declared}, "every flag is declared with its help"


@pytest.mark.parametrize("command", ["run", "train"])
def test_every_setting_is_explained_in_the_help(command: str) -> None:
    shown = squeezed(PARSERS[f"ami {command}"].format_help())
    for one in describe():
        assert len(one.help.split()) > 2, one.path
        assert one.path in shown and squeezed(one.help) in shown, one.path


def test_the_help_shows_the_defaults_of_the_configuration() -> None:
    settings = compose([]).plain()
    shown = setting_help()
    for path, name in (("evaluation", "pairs"), ("learning", "save_every"), ("validation", "every"), ("trace", "level")):
        assert f" {path}.{name}={settings[path][name]} " in shown
    assert f"learning.stages.{NAME}.clip=2.0" in shown and "evaluation.baselines=[random,straight_line,oracle," in shown


def test_flags_are_declared_in_no_other_place() -> None:
    home = Path(ami.__file__).parent
    users = {file.name for file in home.rglob("*.py") for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
             if isinstance(node, ast.Attribute) and node.attr in ("add_argument", "flag")}
    assert users == {"arguments.py", "parsers.py", "recorded_parsers.py", "data_parsers.py"}
    makers = {file.relative_to(home).as_posix() for file in home.rglob("*.py")
              if "ArgumentParser(" in file.read_text(encoding="utf-8").replace("(argparse.ArgumentParser)", "")}
    assert makers == set()


def test_choices_of_flags_are_those_of_the_commands() -> None:
    from ami.drawing.text import FORMATS
    from ami.views.export import FORMATS as EXPORTED

    assert set(DRAWINGS) == set(FORMATS) and set(EXPORTS) == set(EXPORTED)
    assert set(ACTIONS) == set(PARSERS["ami trace"].commands)


def test_flags_and_overrides_may_be_mixed() -> None:
    words = ["--fork", "12", "runs/it", "planner=mppi", "--wave=1", "~graph.memory", "--allow", "a."]
    given = PARSERS["ami replay"].read(words)
    assert (given.run, given.fork, given.wave, given.allow) == (Path("runs/it"), 12, 1, ["a."])
    assert given.overrides == ["planner=mppi", "~graph.memory"]

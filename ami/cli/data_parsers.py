"""The commands of files of episodes, `ami collect` and `ami data show`: their arguments, flags and help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ami.cli.arguments import Parser, one_of

FORMATS = ("ami", "npz", "hdf5", "minari")


def add_collect(commands: Parser, add_folders: Callable[[Parser], None]) -> None:
    """Declare `ami collect`."""
    parser = commands.command("collect", "Run an agent, trained first if necessary, and write its episodes to a file.", True)
    parser.argument("FILE", "the file; a folder for the formats ami and minari", of=Path)
    parser.flag("--episodes", help="number of episodes in the file; 100", value="E", of=int, default=100)
    parser.flag("--steps", help="the largest number of steps of an episode; 1000", value="T", of=int, default=1000)
    parser.flag("--batch", help="number of worlds in parallel; 20", value="B", of=int, default=20)
    parser.flag("--format", help="ami (the default), npz, hdf5 or minari", value="FORMAT", of=one_of("format", FORMATS),
                default="ami")
    add_folders(parser)
    parser.section("stopping", "Ctrl-C leaves whole episodes in the file. The same command continues with the next one, and "
                               "the episodes are the same as without the stop.")
    parser.section("learning from it", "`ami run learning.data=FILE`; `ami data show FILE` prints what is in it.")
    parser.examples = ("ami collect data/rooms agent=random --episodes 200 --steps 32",
                       "ami collect data/pole.npz --format npz agent=random world=gym world.id=CartPole-v1 planner=none")


def add_data(commands: Parser) -> None:
    """Declare `ami data` with its action."""
    data = commands.command("data", "Look into a file of episodes.")
    parser = data.command("show", "Print what is in a file of episodes, and check every episode as learning does.")
    parser.argument("FILE", "ami's own format, npz, HDF5, Minari, LeRobot, pictures or videos", of=Path)
    parser.flag("--field", help="the array that is a field, observation=pixels; may be repeated", value="FIELD=NAME",
                many=True)
    parser.section("exit codes", "0: every episode can be learnt from. 2: one cannot; the message names file, episode, step "
                                 "and field.")
    parser.examples = ("ami data show data/rooms", "ami data show demo.hdf5 --field observation=obs/agentview_image")
    data.examples = parser.examples

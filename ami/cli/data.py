"""`ami collect` and `ami data show`: files of episodes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping

from ami.cli.arguments import searching
from ami.errors import SettingError, require


def collect(given: Namespace) -> int:
    """Run an agent and write its episodes to a file."""
    for name in ("episodes", "steps", "batch"):
        require(getattr(given, name) >= 1, f"--{name} is {getattr(given, name)}: expected 1 or more")
    from ami.config.compose import compose
    from ami.config.overrides import refuse_two_values
    from ami.data.summary import Summary
    from ami.session.collecting import collect_to
    from ami.terminal.console import Console

    refuse_two_values(given.overrides)
    config = compose([*given.overrides, *searching(given.config_dir)], allow=given.allow)
    buffer = collect_to(config, given.file, given.episodes, given.steps, given.batch, given.format, Console())
    if given.format == "ami":
        _print(str(given.file), "ami", Summary.of(buffer.episode(number) for number in range(buffer.num_episodes)))
    else:
        print(f"wrote {given.file}")
    return 0


def show(given: Namespace) -> int:
    """Print what is in a file of episodes, after checking all of it."""
    from ami.data.read import Data
    from ami.data.summary import Summary
    from ami.trace.episodes import RunData

    data = RunData.of(given.file) if RunData.fits(given.file) else Data.at(given.file, _pairs(given.field))
    _print(str(given.file), data.kind, Summary.of(data.episodes()))
    return 0


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for field, equals, name in pairs:
        if not (field and equals and name):
            raise SettingError(f"--field is '{field}{equals}{name}': expected FIELD=NAME, observation=pixels")
    return {field: name for field, _, name in pairs}


def _print(path: str, kind: str, summary: object) -> None:
    from rich.table import Table

    from ami.data.summary import Summary
    from ami.storage.limits import in_bytes
    from ami.terminal.console import Console

    assert isinstance(summary, Summary)
    console = Console()
    table = Table("field", "dtype", "shape", "smallest", "largest", "size")
    for name, one in summary.fields.items():
        low, high = ("", "") if one.low > one.high else (f"{one.low:.4g}", f"{one.high:.4g}")
        table.add_row(name, one.dtype, str(tuple(one.shape)), low, high, in_bytes(one.num_bytes))
    steps, count = summary.steps, len(summary.steps)
    console.note(f"{path}  ({kind}, {in_bytes(summary.num_bytes)})")
    console.table(table)
    mean = sum(steps) / max(count, 1)
    lines = [f"episodes    {count:,}", f"steps       {sum(steps):,}, {min(steps, default=0)} to {max(steps, default=0)} per "
             f"episode, mean {mean:.4g}"]
    if summary.returns:
        lines.append(f"returns     {min(summary.returns):.4g} to {max(summary.returns):.4g}, mean "
                     f"{sum(summary.returns) / count:.4g}")
    ended = summary.terminated
    ends = "not recorded" if ended is None else f"{ended:,} terminated, {count - ended:,} not"
    console.note("\n".join([*lines, f"ends        {ends}"]))


ACTIONS: Mapping[str, Callable[[Namespace], int]] = {"show": show}

"""The command that installs the packages of an extra: in a clone by its pyproject.toml, with a wheel by their own names.

`pip install 'ami[worlds]'` would install another project of that name.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "ami-sim"
HOME = Path(__file__).resolve().parents[2]


def how_to_install(extra: str, home: Path = HOME) -> str:
    """Return the command that installs the packages of an extra, to follow "Fix: ".

    Args:
        extra: a name in pyproject.toml's optional dependencies, "worlds".
        home: the folder that holds the package `ami`.
    """
    if (home / "pyproject.toml").is_file():
        return f"pip install -c constraints.txt -e '.[{extra}]', in {home}"
    named = [text.partition(";")[0].strip() for text in _requirements()
             if re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", text)]
    return "pip install " + " ".join(f"'{name}'" for name in named) if named else f"the packages of ami's extra '{extra}'"


def _requirements() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # ami is on the path without being installed
        return []

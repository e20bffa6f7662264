"""The documentation: the site builds without warnings, every page is in the navigation, and every link exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
PAGES = sorted((HOME / "docs").rglob("*.md"))
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def test_site_builds_strictly(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HOME), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "api" / "planner" / "index.html").read_text(encoding="utf-8")
    assert "ami.blueprint.Planner" in page and "num_elites" in page


def test_every_page_is_in_the_navigation() -> None:
    navigation = (HOME / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [page.relative_to(HOME / "docs").as_posix() for page in PAGES
               if page.relative_to(HOME / "docs").as_posix() not in navigation]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(HOME / "docs").as_posix())
def test_links_exist(page: Path) -> None:
    broken = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / target).exists()]
    assert not broken

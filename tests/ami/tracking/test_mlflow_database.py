"""MLflow's database: an invalid file is refused before any work, without importing MLflow."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ami.errors import SettingError
from ami.tracking.mlflow_database import _revisions, check_database
from ami.tracking.ui import serve


def sqlite(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def revision(path: Path, number: str) -> None:
    sqlite(path, "CREATE TABLE alembic_version (version_num TEXT)", f"INSERT INTO alembic_version VALUES ('{number}')")


STRANGE: list[tuple[Callable[[Path], None], str]] = [
    (lambda path: path.mkdir(), "it is a folder: expected a regular file"),
    (lambda path: os.mkfifo(path), "it is a pipe: expected a regular file"),
    (lambda path: path.symlink_to("/nowhere/mlflow.db"), "it is a link to '/nowhere/mlflow.db', which does not exist"),
    (lambda path: path.symlink_to("mlflow.db"), r"it cannot be opened \(Too many levels of symbolic links\)"),
    (lambda path: path.touch(), r"it begins with b'': expected b'SQLite format 3\\x00'"),
    (lambda path: path.write_text("a letter"), "it begins with b'a letter'"),
    (lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 500), r"it is (damaged|another program's) \("),
    (lambda path: sqlite(path, "CREATE TABLE cookies (name TEXT)"),
     r"it is another program's \(no such table: alembic_version\)"),
    (lambda path: revision(path, "f" * 12),
     r"its tables are of a newer or another MLflow \(revision ffffffffffff\): expected [0-9a-f]{12}"),
    (lambda path: revision(path, _revisions()[0]),
     r"its tables are of an older MLflow \(revision [0-9a-f]{12}\): expected [0-9a-f]{12}, see `mlflow db upgrade`"),
]


@pytest.mark.parametrize(("make", "words"), STRANGE)
def test_an_invalid_database_is_refused_in_one_line(
        tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    make(tmp_path / "mlflow.db")
    with pytest.raises(SettingError, match=rf"mlflow\.db is not MLflow's database: {words}") as caught:
        check_database(tmp_path)
    assert str(caught.value).endswith(". Fix: another store, or move this file away") and "\n" not in str(caught.value)
    with pytest.raises(SettingError, match="is not MLflow's database"):
        serve(tmp_path, 5000)


def test_a_missing_and_a_valid_database_pass(tmp_path: Path) -> None:
    check_database(tmp_path)
    check_database(tmp_path / "missing")
    revision(tmp_path / "mlflow.db", _revisions()[-1])
    check_database(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db"]


def test_a_locked_database_is_not_waited_for(tmp_path: Path) -> None:
    revision(tmp_path / "mlflow.db", _revisions()[-1])
    database = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    check_database(tmp_path)
    database.close()


def test_the_known_revisions_are_those_of_the_installed_mlflow() -> None:
    assert len(_revisions()) > 30
    if "mlflow.store.tracking.sqlalchemy_store" in sys.modules:  # importing it takes seconds
        from mlflow.store.db.utils import _get_latest_schema_revision

        assert _revisions()[-1] == _get_latest_schema_revision()

"""Access to MLflow's store: one sqlite file and a folder of artifacts, no server. Silent, and created atomically."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from ami.errors import SettingError
from ami.storage.files import FileKind

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
SECONDS_OF_LOCK = 20
"""How long MLflow waits for another process that writes to its sqlite file."""
FILE = FileKind("MLflow's database", SettingError, "another store, or move this file away", limit=2**44)
MAGIC = b"SQLite format 3\0"
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",  # a crash loses its queue
    "GIT_PYTHON_REFRESH": "quiet",
}
_MAKING = threading.Lock()
"""Only one thread creates the database: a run's page may be created in a thread while the run is stored."""


def check_database(store_folder: Path) -> None:
    """Raise if this MLflow cannot open the database, before any work; a missing one is created later.

    Reads the file's type, its first bytes and the revision of its tables, without import, write or waiting.

    Raises:
        SettingError: names the file and what it is instead.
    """
    path = store_folder / DATABASE
    if not path.is_symlink() and not path.exists():
        return
    try:
        with FILE.open(path) as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        raise FILE.refusal(path, f"it is a link to '{path.readlink()}', which does not exist") from None
    if head != MAGIC:
        raise FILE.refusal(path, f"it begins with {head!r}: expected {MAGIC!r}")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=0)) as database:
            found = [str(row[0]) for row in database.execute("SELECT version_num FROM alembic_version LIMIT 2")]
    except sqlite3.OperationalError as error:
        if "locked" in str(error):  # in use, so valid
            return
        raise FILE.refusal(path, f"it is another program's ({error})") from None
    except sqlite3.DatabaseError as error:
        raise FILE.refusal(path, f"it is damaged ({error})") from None
    known = _revisions()
    if found != [known[-1]]:
        age = "an older" if found and found[0] in known else "a newer or another"
        raise FILE.refusal(path, f"its tables are of {age} MLflow (revision {', '.join(found)[:40] or 'unknown'}): expected "
                                 f"{known[-1]}" + ", see `mlflow db upgrade`" * (age == "an older"))


def _revisions() -> list[str]:
    """Return the table revisions known to the installed MLflow, its own last."""
    spec = find_spec("mlflow")
    folder = Path(str(spec and spec.origin)).parent / "store" / "db_migrations" / "versions"
    texts = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("[0-9a-f]*_*.py"))]
    before = {str(found[1]) for text in texts if (found := _BEFORE.search(text))}
    revisions = [str(found[1]) for text in texts if (found := _REVISION.search(text))]
    return sorted(revisions, key=lambda revision: revision not in before)


_REVISION, _BEFORE = (re.compile(rf"^{name}\b.*= [\"'](\w+)", re.MULTILINE) for name in ("revision", "down_revision"))


@contextmanager
def opened(store_folder: Path, quiet: bool = True) -> Iterator[tuple[Any, Any, str]]:
    """Yield MLflow, a client and the URI of a store; create a missing store atomically.

    Args:
        store_folder: holds `mlflow.db` and `mlartifacts/`.
        quiet: silence MLflow's warnings; False in a thread, since warning filters are process-wide.

    Raises:
        SettingError: the store cannot be created or read, or writing failed.
    """
    check_database(store_folder)
    database = store_folder / DATABASE
    uri = f"sqlite:///{database}"
    with quiet_mlflow(quiet) as mlflow, _tracking_in(mlflow, uri):
        from alembic.util.exc import CommandError  # here, where its import-time logging is silenced
        from sqlalchemy.exc import SQLAlchemyError

        faults = (SQLAlchemyError, CommandError, mlflow.MlflowException)
        try:
            store_folder.mkdir(parents=True, exist_ok=True)
            with _MAKING:
                if not database.exists():
                    _make_database(mlflow, database)
            client = mlflow.MlflowClient()
            client.search_experiments(max_results=1)
        except OSError as error:
            raise SettingError(f"store is '{store_folder}': expected a folder to write in ({error.strerror})") from None
        except faults as error:
            if "database is locked" in _fault(error):
                raise SettingError(f"store is '{store_folder}', and another process has held the lock of {DATABASE} "
                                   f"for {SECONDS_OF_LOCK} s. Fix: end that process, or another store") from None
            raise SettingError(f"store is '{store_folder}': expected {DATABASE} of this version of MLflow "
                               f"({_fault(error)}). Fix: another store") from None
        try:
            yield mlflow, client, uri
        except (OSError, *faults) as error:
            raise SettingError(f"store is '{store_folder}', and MLflow stopped writing there ({_fault(error)}): what was "
                               "written stays. Fix: `ami trace sync` continues from there") from None


def _fault(error: Exception) -> str:
    """Return the message of an error, without the SQL statement and its parameters."""
    if isinstance(error, OSError):
        return str(error.strerror)
    return str(error.__cause__ or error).partition("\n")[0].rpartition("Error) ")[2]


def _make_database(mlflow: Any, database: Path) -> None:
    """Create the database under a draft name: MLflow refuses a database that a kill left with some of its tables."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = database.with_name(f".{DATABASE}.{os.getpid()}.tmp")
    for leftover in database.parent.glob(f".{DATABASE}.*.tmp*"):
        try:
            os.kill(int(leftover.name.split(".")[3]), 0)
        except ProcessLookupError:
            leftover.unlink(missing_ok=True)  # of a killed process
        except PermissionError:  # runs as another user
            continue
    try:
        made = SqlAlchemyStore(f"sqlite:///{draft}", (database.parent / ARTIFACTS).as_uri())
        made.engine.dispose()
        with suppress(FileExistsError):  # another process was faster
            database.hardlink_to(draft)
    finally:
        for leftover in database.parent.glob(f"{draft.name}*"):
            leftover.unlink()


@contextmanager
def quiet_mlflow(quiet: bool = True) -> Iterator[ModuleType]:
    """Yield MLflow without telemetry and without its terminal output; see `opened`."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    with warnings.catch_warnings() if quiet else nullcontext():
        if quiet:
            warnings.simplefilter("ignore")
        levels = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)  # its errors are raised and reported once
            import mlflow
            import mlflow.entities

            yield mlflow
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def _tracking_in(mlflow: Any, uri: str) -> Iterator[None]:
    """Set MLflow's global tracking URI, which receives the spans; restore the caller's afterwards."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)

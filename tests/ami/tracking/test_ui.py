"""`ami ui`: MLflow on this machine only, without processes left after Ctrl-C."""

from __future__ import annotations

import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

import ami.tracking.ui
from ami.errors import StartError
from ami.tracking.mlflow_database import _revisions
from ami.tracking.ui import OFF, command, serve


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose database passes the check before the server starts."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (_revisions()[-1],))
    return tmp_path


def test_the_server_listens_on_loopback_with_the_stores_database(store: Path) -> None:
    words = command(store, 5001)
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[words.index("--allowed-hosts") + 1] == "127.0.0.1:5001,localhost:5001"
    assert words[words.index("--backend-store-uri") + 1] == f"sqlite:///{store / 'mlflow.db'}"


def test_telemetry_jobs_and_pickles_are_off() -> None:
    assert OFF == {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true",
                   "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}


def test_a_server_that_ends_by_itself_is_reported(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ami.tracking.ui, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(StartError) as ended:
        serve(store, 5001)
    assert str(ended.value) == ("the MLflow server ended by itself with code 3. "
                                "Fix if the port is taken: --port 5002")


def test_a_taken_port_is_refused_before_the_server_starts(store: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"port {port} is not free \(.*\)\. Fix: --port {port + 1}"):
            serve(store, port)


def test_ctrl_c_ends_the_server_and_its_children(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = ("import os, subprocess, sys, time\n"
              "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
              "open('child.tmp', 'w').write(str(child.pid)); os.rename('child.tmp', 'child')\n"
              "time.sleep(60)")
    monkeypatch.setattr(ami.tracking.ui, "command", lambda *_: [sys.executable, "-c", family])

    class Interrupted(ami.tracking.ui.subprocess.Popen):  # type: ignore[misc,name-defined,type-arg]
        """Ctrl-C arrives as soon as the child runs."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None:
                while not (store / "child").exists():
                    assert self.poll() is None
                raise KeyboardInterrupt
            return int(super().wait(timeout))

    monkeypatch.setattr(ami.tracking.ui.subprocess, "Popen", Interrupted)
    assert serve(store, 5001) == 0
    child = int((store / "child").read_text())
    _, alive = psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert not alive, "the server's child outlives it"

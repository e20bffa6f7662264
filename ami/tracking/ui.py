"""`ami ui`: MLflow's pages for the runs of a store, on this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from ami.errors import SettingError, StartError, require
from ami.tracking.mlflow_database import DATABASE, check_database

HOST = "127.0.0.1"
SECONDS_TO_STOP = 10
OFF = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


def command(store: Path, port: int) -> list[str]:
    """Return the server's command line: it listens on loopback and accepts only requests to this machine's names."""
    own = [f"{name}:{port}" for name in (HOST, "localhost")]
    return [
        sys.executable, "-m", "mlflow", "server",
        "--backend-store-uri", f"sqlite:///{store.resolve() / 'mlflow.db'}",
        "--host", HOST, "--port", str(port), "--workers", "1",
        "--allowed-hosts", ",".join(own),
        "--cors-allowed-origins", ",".join(f"http://{name}" for name in own),
        "--x-frame-options", "DENY",
    ]


def serve(store: Path, port: int) -> int:
    """Serve until Ctrl-C, then end the server and all its children.

    Raises:
        SettingError: the port is invalid, or the store holds no runs yet.
        StartError: the server ended by itself.
    """
    require(0 < port < 65536, f"--port is {port}: expected 1 to 65535")
    if not os.path.lexists(store / DATABASE):
        raise SettingError(f"{store} holds no runs yet. Fix: `ami run`, or --store <folder>")
    check_database(store)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StartError(f"port {port} is not free ({error.strerror}). Fix: --port {port + 1}") from None
    print(f"http://{HOST}:{port}  (Ctrl-C ends it)", flush=True)
    # a closed terminal ends it as Ctrl-C does, and leaves no server behind
    before = {sign: signal.signal(sign, signal.default_int_handler) for sign in (signal.SIGTERM, signal.SIGHUP)}
    server = subprocess.Popen(command(store, port), env={**os.environ, **OFF}, cwd=store, start_new_session=True)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
        for sign, handler in before.items():
            signal.signal(sign, handler)
    raise StartError(f"the MLflow server ended by itself with code {code}. Fix if the port is taken: --port {port + 1}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server's process group: its workers are processes of their own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
        except ProcessLookupError:
            return
        try:
            server.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue

"""Starting and stopping Ray: one machine, loopback only, no dashboard; or a running cluster by its address."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ami.errors import StartError
from ami.runtime.ray_watchdog import watchdog
from ami.storage.files import private_files

# Read by Ray when it is imported: without it Ray 2.60 listens on every interface of the machine.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# If it is unset, a worker chooses a number of threads, and runtimes differ in the last bit.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# An actor's error is raised where its result is fetched; Ray would also print it for every result that is not.
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
# All modules start at once, on any number of cores: Ray would queue them, and warn about their number.
os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "64")

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants

ATTEMPTS, RETRY_AFTER_SECONDS = 2, 2.0
CONNECT_SECONDS = 5.0
NEEDED_BYTES = 32 * 2**20
"""Room for Ray's logs and sockets; with less, its processes die while they start."""
LONGEST_SOCKET = 107 if sys.platform == "linux" else 103
SOCKET = "session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
LOCALLY = "run in this process with runtime=local"
HERE = "local"
"""Ray's address of a new cluster on this machine; without it `ray.init` joins any running cluster."""


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """Run a Ray cluster during a `with` block; a cluster that this process already uses is left running.

    Args:
        address: of a running cluster to join; None starts one on this machine, on loopback.

    Raises:
        StartError: Ray failed to start twice in a row, no cluster answers at `address`, Ray's temporary folder is unusable,
            or Ray would listen beyond loopback.
    """
    check_start(address)
    if ray.is_initialized():
        yield
        return
    with watchdog() as watch:
        _start(address)
        try:
            raylet = _servers().get("raylet")
            if raylet is not None:
                watch(raylet.pid)
            yield
        finally:
            ray.shutdown()


def dead_server() -> str:
    """Return the dead server of this process's own cluster, "gcs_server" or "raylet"; empty if both run."""
    return next((name for name, process in _servers().items() if process.poll() is not None), "")


def _servers() -> dict[str, Any]:
    """Return the servers that this process started, by name; none if it joined a cluster."""
    node = ray._private.worker._global_node
    started: dict[str, Any] = {} if node is None else node.all_processes
    return {name: started[name][0].process for name in ("gcs_server", "raylet") if started.get(name)}


def check_start(address: str | None = None) -> None:
    """Check the address, or the temporary folder, before a cluster starts; raises as `cluster` does."""
    if address is not None:
        _check_address(address)
    elif not ray.is_initialized():
        check_temporary_folder(Path(get_default_ray_temp_dir()))


def _start(address: str | None) -> None:
    if address is None and ray_constants.ENABLE_RAY_CLUSTER:
        raise StartError("Ray was imported before ami and would listen on every interface of this machine. Fix: import ami "
                         "first, or set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the environment")
    with private_files():  # Ray's session folder and token file are for this user alone
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _init(address)
                return
            except Exception as error:
                # A start under load may exceed a time limit that is fixed inside Ray, which then raises a bare
                # Exception; a fresh session works.
                ray.shutdown()
                if attempt == ATTEMPTS:
                    where = f"at {address}" if address else "on this machine"
                    raise StartError(f"Ray did not start {where}, twice ({' '.join(str(error).split())}). Fix: try again "
                                     f"when the machine is less busy, or {LOCALLY}") from error
            time.sleep(RETRY_AFTER_SECONDS)


def _init(address: str | None) -> None:
    ray.init(address=address or HERE, include_dashboard=False if address is None else None, log_to_driver=False,
             configure_logging=True, logging_level=logging.ERROR)


def check_temporary_folder(folder: Path) -> None:
    """Refuse a temporary folder in which Ray would fail later with an unclear error.

    Raises:
        StartError: its path is too long for a socket, it cannot be written, or its disk is full.
    """
    fix = f"Fix: RAY_TMPDIR=/another/short/path, or {LOCALLY}"
    longest = len(os.fsencode(folder / SOCKET.format(pid=os.getpid())))
    if longest > LONGEST_SOCKET:
        room = LONGEST_SOCKET - longest + len(os.fsencode(folder.parent))
        variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
        raise StartError(f"{variable} is '{folder.parent}', {len(os.fsencode(folder.parent))} bytes long: expected at most "
                         f"{room}, since the path of a socket in it may have {LONGEST_SOCKET}. {fix}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise StartError(f"Ray cannot write in its temporary folder '{folder}' ({error.strerror}). {fix}") from error
    if free < NEEDED_BYTES:
        raise StartError(f"Ray's temporary folder '{folder}' has {free / 2**20:.1f} MiB free: expected at least "
                         f"{NEEDED_BYTES / 2**20:.0f}. {fix}, or room on this disk")


def _check_address(address: str) -> None:
    """Refuse an address where no process listens: Ray itself retries for minutes."""
    if address in ("auto", HERE):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    fix = f"Fix: address=HOST:PORT of a running cluster, address=null to start one here, or {LOCALLY}"
    if not host or not port.isdigit():
        raise StartError(f"address is '{address}': expected HOST:PORT. {fix}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StartError(f"no process listens at address '{address}' ({error}). {fix}") from error

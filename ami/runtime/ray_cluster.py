"""Starting and stopping Ray: one machine, loopback only, no dashboard; or a running cluster by its address."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ami.errors import StartError
from ami.files import private_files

# Read by Ray when it is imported: without it Ray 2.60 listens on every interface of the machine.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# A worker that finds it unset takes a number of its own, and runtimes would no longer agree in the last bit.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# An actor's error is raised where its result is asked for; Ray would print it once more for every result that is not.
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
# All modules start at once, however few the cores: Ray would queue them, and warn on the terminal that they are many.
os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "64")

import ray
from ray._private import ray_constants

ATTEMPTS, RETRY_AFTER_SECONDS = 2, 2.0
HERE = "local"
"""Ray's word for a new cluster on this machine; without it `ray.init` joins whatever cluster it finds."""


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """A Ray cluster for the length of a `with` block; one that this process uses already is left running.

    Args:
        address: of a running cluster to join; None starts one on this machine, on loopback.

    Raises:
        StartError: Ray did not start twice in a row, no cluster answers at `address`, or Ray would listen beyond loopback.
    """
    if ray.is_initialized():
        yield
        return
    _start(address)
    try:
        yield
    finally:
        ray.shutdown()


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
                # Starting under load sometimes exceeds a time limit that is fixed inside Ray, which says so by a bare
                # Exception; a fresh session then works.
                ray.shutdown()
                if attempt == ATTEMPTS:
                    where = f"at {address}" if address else "on this machine"
                    raise StartError(f"Ray did not start {where}, twice ({error}). Fix: try again when the machine is less "
                                     "busy, or run in this process with runtime=local") from error
            time.sleep(RETRY_AFTER_SECONDS)


def _init(address: str | None) -> None:
    ray.init(address=address or HERE, include_dashboard=False if address is None else None, log_to_driver=False,
             configure_logging=True, logging_level=logging.ERROR)

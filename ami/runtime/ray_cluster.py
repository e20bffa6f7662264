"""Starting and stopping Ray: one machine, loopback only, no dashboard; or an existing cluster by its address."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ami.errors import StartError

# Read by Ray when it is imported: without it Ray 2.60 listens on every interface of the machine.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
# A worker that finds it unset takes a number of its own, and runtimes would no longer agree in the last bit.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# All modules start at once, however few the cores: Ray would queue them, and warn on the terminal that they are many.
os.environ.setdefault("RAY_worker_maximum_startup_concurrency", "64")

import ray

RETRY_AFTER_SECONDS = 2.0


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """A Ray cluster for the length of a `with` block; one that runs already is used and left running.

    Args:
        address: of an existing cluster; None starts one on this machine, on loopback.

    Raises:
        StartError: Ray did not start twice in a row, or no cluster answers at `address`.
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
    umask = os.umask(0o077)  # Ray's session folder and token file are for this user alone
    try:
        try:
            _init(address)
        except (RuntimeError, ConnectionError, TimeoutError, ValueError, OSError):
            # starting under load sometimes exceeds a time limit that is fixed inside Ray; a fresh session then works
            ray.shutdown()
            time.sleep(RETRY_AFTER_SECONDS)
            _init(address)
    except (RuntimeError, ConnectionError, TimeoutError, ValueError, OSError) as error:
        ray.shutdown()
        where = f"at {address}" if address else "on this machine"
        raise StartError(
            f"Ray did not start {where}, twice ({error}). "
            "Cure: try again when the machine is less busy, or run in this process with runtime=local") from error
    finally:
        os.umask(umask)


def _init(address: str | None) -> None:
    ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False,
             configure_logging=True, logging_level=logging.ERROR)

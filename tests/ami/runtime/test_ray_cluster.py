"""Starting Ray: one retry, then an error with its fix; a started cluster is stopped. A fake replaces Ray itself."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ami.errors import StartError
from ami.runtime import ray_cluster
from ami.runtime.ray_cluster import RETRY_AFTER_SECONDS, cluster


class FakeRay:
    """A fake of Ray whose `init` raises the given failures, one per call."""

    def __init__(self, *failures: Exception, running: bool = False) -> None:
        self.failures = list(failures)
        self.running = running
        self.did: list[Any] = []
        self.settings: list[dict[str, Any]] = []
        self.umasks: list[int] = []
        self._private = SimpleNamespace(worker=SimpleNamespace(_global_node=None))  # it starts no process

    def is_initialized(self) -> bool:
        return self.running

    def init(self, **settings: Any) -> None:
        self.did.append("init")
        self.settings.append(settings)
        self.umasks.append(umask())
        if self.failures:
            raise self.failures.pop(0)

    def shutdown(self) -> None:
        self.did.append("shutdown")

    def sleep(self, seconds: float) -> None:
        self.did.append(seconds)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def no_watchdog() -> Iterator[None]:
    yield


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that replaces Ray by a fake."""

    def put(*failures: Exception, running: bool = False) -> FakeRay:
        fake = FakeRay(*failures, running=running)
        monkeypatch.setattr(ray_cluster, "ray", fake)
        monkeypatch.setattr(ray_cluster.time, "sleep", fake.sleep)
        monkeypatch.setattr(ray_cluster, "watchdog", no_watchdog)
        monkeypatch.setattr(socket, "create_connection", lambda *_: socket.socket())  # every address answers
        return fake

    return put


FAILURES = [RuntimeError("the node timed out"), ConnectionError("no answer"), TimeoutError("too late"),
            ValueError("no address"), OSError("no port"),
            Exception("The current node timed out during startup")]  # Ray's own message and class


def test_a_cluster_lasts_as_long_as_its_block(start: Any) -> None:
    fake = start()
    with cluster():
        assert fake.did == ["init"]
    assert fake.did == ["init", "shutdown"]


def test_a_new_cluster_has_no_dashboard_and_is_silent(start: Any) -> None:
    fake = start()
    with cluster():
        pass
    assert fake.settings == [{"address": "local", "include_dashboard": False, "log_to_driver": False,
                              "configure_logging": True, "logging_level": logging.ERROR}]


def test_an_address_joins_the_cluster_there(start: Any) -> None:
    fake = start()
    with cluster("10.0.0.7:6379"):
        pass
    assert fake.settings[0]["address"] == "10.0.0.7:6379"
    assert fake.settings[0]["include_dashboard"] is None


def test_a_running_cluster_is_used_and_left_running(start: Any) -> None:
    fake = start(running=True)
    with cluster():
        pass
    assert fake.did == []


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_failed_start_is_retried(start: Any, failure: Exception) -> None:
    fake = start(failure)
    with cluster():
        assert fake.did == ["init", "shutdown", RETRY_AFTER_SECONDS, "init"]
    assert fake.did[4:] == ["shutdown"]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_start_that_fails_twice_suggests_the_local_runtime(start: Any, failure: Exception) -> None:
    fake = start(RuntimeError("the first time"), failure)
    with pytest.raises(StartError) as refused, cluster():
        raise AssertionError("the block must not be entered")
    assert str(refused.value) == (
        f"Ray did not start on this machine, twice ({failure}). "
        "Fix: try again when the machine is less busy, or run in this process with runtime=local")
    assert refused.value.__cause__ is failure
    assert fake.did == ["init", "shutdown", RETRY_AFTER_SECONDS, "init", "shutdown"]


def test_a_cluster_that_does_not_answer_is_named(start: Any) -> None:
    start(ConnectionError("no answer"), ConnectionError("no answer"))
    with pytest.raises(StartError, match=r"^Ray did not start at 10\.0\.0\.7:6379, twice \(no answer\)\. Fix: "), \
            cluster("10.0.0.7:6379"):
        pass


def test_an_error_in_the_block_stops_the_cluster_too(start: Any) -> None:
    fake = start()
    with pytest.raises(KeyboardInterrupt), cluster():
        raise KeyboardInterrupt
    assert fake.did == ["init", "shutdown"]


@pytest.mark.parametrize("failures", [[], FAILURES[:1], FAILURES[:2], [KeyError()]])
def test_rays_files_are_private_and_the_umask_is_restored(
        start: Any, failures: list[Exception]) -> None:
    before = umask()
    fake = start(*failures)
    try:
        with cluster():
            assert umask() == before
    except (StartError, KeyError):
        pass
    assert set(fake.umasks) == {0o077} and umask() == before


def test_ray_is_set_to_listen_on_loopback_before_its_import() -> None:
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_a_ray_that_would_listen_on_every_interface_is_not_started(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = start()
    monkeypatch.setattr(ray_cluster.ray_constants, "ENABLE_RAY_CLUSTER", True)
    with pytest.raises(StartError) as refused, cluster():
        pass
    assert str(refused.value) == (
        "Ray was imported before ami and would listen on every interface of this machine. "
        "Fix: import ami first, or set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the environment")
    assert fake.did == []
    with cluster("10.0.0.7:6379"):
        assert fake.did == ["init"]


# Checks before Ray starts ------------------------------------------------------------------------------------------------


def test_a_temporary_folder_whose_path_is_too_long_for_a_socket_is_named(start: Any, tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    fake = start()
    folder = "/tmp/" + "x" * 90
    monkeypatch.setenv("RAY_TMPDIR", folder)
    with pytest.raises(StartError, match=rf"^RAY_TMPDIR is '{folder}', 95 bytes long: expected at most \d\d, since the path "
                       r"of a socket in it may have \d+\. Fix: RAY_TMPDIR=/another/short/path, or run in this process with "
                       r"runtime=local$"), cluster():
        pass
    assert fake.did == []


def test_the_longest_temporary_folder_that_ray_takes_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = f"session_2026-11-30_05-03-50_352670_{os.getpid()}/sockets/plasma_store"
    room = ray_cluster.LONGEST_SOCKET - len(f"/ray/{real}")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    monkeypatch.setattr(ray_cluster.tempfile, "TemporaryFile", lambda dir: no_watchdog())
    monkeypatch.setattr(ray_cluster.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    ray_cluster.check_temporary_folder(Path("/" + "x" * (room - 1), "ray"))
    with pytest.raises(StartError, match=f"expected at most {room},"):
        ray_cluster.check_temporary_folder(Path("/" + "x" * room, "ray"))


def test_a_temporary_folder_that_cannot_be_written_is_named(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    monkeypatch.setenv("RAY_TMPDIR", "/proc/x")
    with pytest.raises(StartError, match=r"^Ray cannot write in its temporary folder '/proc/x/ray' \(No such file or "
                       r"directory\)\. Fix: RAY_TMPDIR=/another/short/path, or run in this"), cluster():
        pass


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "LONGEST_SOCKET", 1000)
    monkeypatch.setattr(ray_cluster.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(StartError, match=r"has 1\.0 MiB free: expected at least 32\. Fix: RAY_TMPDIR=/another/short/path"):
        ray_cluster.check_temporary_folder(tmp_path / "ray")


@pytest.mark.parametrize(("address", "words"), [
    ("127.0.0.1:1", "no process listens at address '127.0.0.1:1' ([Errno 111] Connection refused). Fix: address=HOST:PORT "),
    ("127.0.0.1", "address is '127.0.0.1': expected HOST:PORT. Fix: address=HOST:PORT of a running cluster, address=null"),
    ("here:there", "address is 'here:there': expected HOST:PORT. Fix: address=HOST:PORT of a running cluster"),
    ("127.0.0.1:99999", "no process listens at address '127.0.0.1:99999' ("),
])
def test_an_address_without_a_listener_is_refused_at_once(address: str, words: str) -> None:
    with pytest.raises(StartError) as refused, cluster(address):
        pass
    assert str(refused.value).startswith(words) and "runtime=local" in str(refused.value)

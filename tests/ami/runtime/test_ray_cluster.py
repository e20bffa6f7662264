"""Starting Ray: once more when it fails, then an error that offers a way out; what is started is stopped. Ray itself is
not started here."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

from ami.errors import StartError
from ami.runtime import ray_cluster
from ami.runtime.ray_cluster import RETRY_AFTER_SECONDS, cluster


class FakeRay:
    """Stands where Ray stands, and fails as often as told."""

    def __init__(self, *failures: Exception, running: bool = False) -> None:
        self.failures = list(failures)
        self.running = running
        self.did: list[Any] = []
        self.settings: list[dict[str, Any]] = []
        self.umasks: list[int] = []

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


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a fake in Ray's place."""

    def put(*failures: Exception, running: bool = False) -> FakeRay:
        fake = FakeRay(*failures, running=running)
        monkeypatch.setattr(ray_cluster, "ray", fake)
        monkeypatch.setattr(ray_cluster.time, "sleep", fake.sleep)
        return fake

    return put


FAILURES = [RuntimeError("the node timed out"), ConnectionError("no answer"), TimeoutError("too late"),
            ValueError("no address"), OSError("no port"),
            Exception("The current node timed out during startup")]  # Ray's own words, and class


def test_a_cluster_lasts_as_long_as_its_block(start: Any) -> None:
    fake = start()
    with cluster():
        assert fake.did == ["init"]
    assert fake.did == ["init", "shutdown"]


def test_a_cluster_of_ones_own_has_no_dashboard_and_is_silent(start: Any) -> None:
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


def test_a_cluster_that_runs_already_is_used_and_left_running(start: Any) -> None:
    fake = start(running=True)
    with cluster():
        pass
    assert fake.did == []


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_start_that_fails_once_is_tried_again(start: Any, failure: Exception) -> None:
    fake = start(failure)
    with cluster():
        assert fake.did == ["init", "shutdown", RETRY_AFTER_SECONDS, "init"]
    assert fake.did[4:] == ["shutdown"]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_a_start_that_fails_twice_offers_to_run_without_ray(start: Any, failure: Exception) -> None:
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
def test_what_ray_writes_is_for_this_user_alone_and_what_we_write_is_as_before(
        start: Any, failures: list[Exception]) -> None:
    before = umask()
    fake = start(*failures)
    try:
        with cluster():
            assert umask() == before
    except (StartError, KeyError):
        pass
    assert set(fake.umasks) == {0o077} and umask() == before


def test_ray_is_told_to_listen_on_loopback_before_it_is_imported() -> None:
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

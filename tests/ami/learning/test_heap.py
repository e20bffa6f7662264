"""The heap: freed memory is kept where the C library can, and learning goes on where it cannot."""

import ctypes

import pytest
import torch

from ami.learning.heap import keep_freed_memory
from ami.learning.threads import torch_threads


@pytest.fixture(autouse=True)
def _fresh():
    keep_freed_memory.cache_clear()
    yield
    keep_freed_memory.cache_clear()


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_a_c_library_without_mallopt_is_no_error(error, monkeypatch):
    def missing(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert keep_freed_memory() is False
    with torch_threads(1):
        assert torch.ones(3).sum() == 3


def test_the_c_library_is_asked_once(monkeypatch):
    asked = []

    class Library:
        @staticmethod
        def mallopt(parameter, value):
            asked.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library)
    assert keep_freed_memory() and keep_freed_memory()
    assert asked == [(-3, 32 << 20), (-1, 256 << 20)]

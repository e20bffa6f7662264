"""Ray tasks with dependencies, a limit on their number at a time, and results as they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ami.errors import AmiError, WorkerLost
from ami.runtime.ray_cluster import cluster

# isort: split
import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

LOST = ("the process of a variant died. Finished variants are kept. Fix: the same command resumes; if the process dies "
        "again, leave out --parallel to see why")


class Task(NamedTuple):
    """One call.

    Attributes:
        name: the key of its result, and of `after` in dependent tasks.
        function: a function that the workers can import.
        arguments: the function's arguments.
        after: the name of an earlier task that must be done first.
    """

    name: Hashable
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    after: Hashable | None = None


def run_tasks(tasks: Sequence[Task], parallel: int, address: str | None = None) -> Iterator[tuple[Hashable, Any]]:
    """Run tasks, at most `parallel` at a time, in order.

    Args:
        tasks: each listed after the task it depends on.
        parallel: the number of tasks at a time.
        address: of a running cluster to join; None starts one on this machine.

    Yields:
        A task's name and its result, as soon as it is done.

    Raises:
        The error of a task; the others are then stopped, as they are when the caller closes the iterator.
    """
    with cluster(address):
        call = ray.remote(num_cpus=0, max_retries=0)(_call)
        refs: dict[Hashable, Any] = {}
        under_way: dict[Any, Hashable] = {}
        waiting = list(tasks)
        try:
            while waiting or under_way:
                while waiting and len(under_way) < parallel:
                    task = waiting.pop(0)
                    refs[task.name] = call.remote(task.function, task.arguments, refs.get(task.after))
                    under_way[refs[task.name]] = task.name
                (done, *_), _ = ray.wait(list(under_way))
                yield under_way.pop(done), _result(done)
        finally:
            for ref in under_way:
                ray.cancel(ref, force=True)


@contextmanager
def in_background(tasks: Sequence[Task], address: str | None = None) -> Iterator[Callable[[Hashable], Any]]:
    """Run tasks one after another in another process during a `with` block; what is not done at its end is stopped.

    Args:
        tasks: in the order in which they run.
        address: of a running cluster to join; None starts one on this machine.

    Yields:
        A function that waits for a task, by name, and returns its result; it raises the task's error.
    """
    with cluster(address):
        call = ray.remote(num_cpus=0, max_retries=0)(_call)
        refs: dict[Hashable, Any] = {}
        before = None
        for task in tasks:
            before = refs[task.name] = call.remote(task.function, task.arguments, before)
        try:
            yield lambda name: _result(refs[name], f"the process that evaluates {name} died: it was killed, or the machine "
                                                   "is out of memory. Fix: run again, or in this process with runtime=local")
        finally:
            for ref in refs.values():
                ray.cancel(ref, force=True)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], _waited_for: Any) -> Any:
    torch.set_num_threads(1)
    return function(*arguments)


def _result(ref: Any, lost: str = LOST) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, AmiError):
            raise error.cause from None
        raise
    except WorkerCrashedError as error:
        raise WorkerLost(lost) from error

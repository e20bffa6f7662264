"""Independent work as Ray tasks: some of it waits for other work, so many at a time as asked, results as they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ami.errors import AmiError, WorkerLost
from ami.runtime.ray_cluster import cluster

# isort: split
import ray
from ray.exceptions import RayTaskError, WorkerCrashedError


class Task(NamedTuple):
    """One call.

    Attributes:
        name: names its result, and other tasks that wait for it.
        function: of a module that the workers can import.
        arguments: what it is called with.
        after: the name of an earlier task that has to be done first.
    """

    name: Hashable
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    after: Hashable | None = None


def run_tasks(tasks: Sequence[Task], parallel: int, address: str | None = None) -> Iterator[tuple[Hashable, Any]]:
    """Run tasks, at most `parallel` at a time; what others wait for comes first.

    Args:
        tasks: each after the one it waits for.
        parallel: how many at a time.
        address: of a running cluster to join; None starts one on this machine.

    Yields:
        A task's name and its result, as soon as it is there.

    Raises:
        What a task raises; the others are stopped then, and whenever the caller stops asking.
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


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], _waited_for: Any) -> Any:
    torch.set_num_threads(1)
    return function(*arguments)


def _result(ref: Any) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, AmiError):
            raise error.cause from None
        raise
    except WorkerCrashedError as error:
        raise WorkerLost("a process that lived a variant died. What is finished is kept. Fix: the same command again goes "
                         "on; if it dies again, leave out --parallel to see why") from error

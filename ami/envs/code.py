"""The code of a world: the modules behind a gymnasium id, an entry point and wrappers, for `ami.storage.code_hash`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium


def world_code(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the Python modules, classes and registration data that a world's settings name.

    Args:
        settings: a world's settings; "id", "entry_point" and "wrappers" are read. A wrapper is a full name, a class, or a
            mapping with a `_target_`.
    """
    package, _, name = str(settings.get("id") or "").rpartition(":")
    if package:
        yield package
    try:
        spec = gymnasium.spec(name) if name else None
    except gymnasium.error.Error:  # an unregistered name: only the entry point counts
        spec = None
    for point in (settings.get("entry_point"), *((spec.entry_point, spec.vector_entry_point) if spec else ())):
        yield from _named(point)
    if spec is not None:
        yield {"kwargs": spec.kwargs, "max_episode_steps": spec.max_episode_steps,
               "wrappers": [wrapper.kwargs for wrapper in spec.additional_wrappers]}
        for wrapper in spec.additional_wrappers:
            yield from _named(wrapper.entry_point)
    for wrapper in settings.get("wrappers") or ():
        path = wrapper.get("_target_") if isinstance(wrapper, Mapping) else wrapper
        yield from [path.rpartition(".")[0]] if isinstance(path, str) and "." in path else _named(path)


def _named(point: Any) -> Iterator[Any]:
    """Yield the code of an entry point: "package.file:Class", or the class or function itself."""
    if isinstance(point, str):
        yield point.partition(":")[0]
    elif callable(point):
        yield point

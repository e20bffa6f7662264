"""HDF5: a group per episode, or D4RL's arrays of all steps with `terminals` and `timeouts` (Fu and others, 2020).

Groups may be nested, as in robomimic's `data/demo_0/obs/agentview_image`. Observations in a group of their own are named by
the key, `learning.fields={observation: obs/agentview_image}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ami.data.formats.flat import EPISODE, LENGTHS, split, take
from ami.data.formats.pictures import natural
from ami.data.names import ALIASES, fields_of
from ami.data.recording import Recording
from ami.data.replay_buffer import ACTION, OBSERVATION
from ami.errors import DataError
from ami.storage.files import FileKind
from ami.terminal.extras import how_to_install

if TYPE_CHECKING:
    import h5py

FILE = FileKind("a file of HDF5", DataError, "copy it again from where it came", 2**62)
DEEPEST, MOST_NAMES = 8, 1_000_000


def read(path: Path, chosen: Mapping[str, str]) -> Iterator[Recording]:
    """Yield the episodes of a file."""
    try:
        import h5py
    except ImportError:
        raise DataError(f"'{path}' needs h5py, which is not installed. Fix: {how_to_install('data')}") from None
    try:
        with FILE.open(path) as opened, h5py.File(opened, "r") as file:
            yield from _episodes(path, file, chosen)
    except FileNotFoundError:
        raise DataError(f"there is no file '{path}'. Fix: the path of an HDF5 file") from None
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise FILE.refusal(path, " ".join(str(error).split())[:200]) from None


def _episodes(path: Path, file: h5py.File, chosen: Mapping[str, str]) -> Iterator[Recording]:
    groups = list(_groups(file, path))
    for group in groups:
        arrays = _arrays(group, path)
        data = [name for name in arrays if name not in (*LENGTHS, *EPISODE)]
        names = fields_of(path, data, _observation(data, chosen))
        if len(groups) == 1:
            yield from split(path, arrays, names)
            continue
        yield Recording(group.name.strip("/"), {
            field: take(path, arrays[name], 0, arrays[name].shape[0]) if arrays[name].shape else arrays[name][()]
            for field, name in names.items()})


def _observation(data: list[str], chosen: Mapping[str, str]) -> Mapping[str, str]:
    """Return the chosen names, with the only key of a group of observations."""
    if OBSERVATION in chosen:
        return chosen
    for alias in ALIASES[OBSERVATION]:
        keys = [name for name in data if name.startswith(f"{alias}/")]
        named = [name for name in keys if name.rpartition("/")[2] in ALIASES[OBSERVATION]]
        if len(keys) == 1 or named:
            return {**chosen, OBSERVATION: (named or keys)[0]}
    return chosen


def _groups(group: h5py.Group, path: Path, depth: int = 0) -> Iterator[h5py.Group]:
    """Yield the groups that hold actions or observations, in the natural order of their names."""
    import h5py

    if depth > DEEPEST or len(group) > MOST_NAMES:
        raise FILE.refusal(path, f"{group.name} is nested deeper than {DEEPEST} levels, or holds too many names")
    names = [name for name in group if _is_own(group, name, path)]
    if any(name in (*ALIASES[ACTION], *ALIASES[OBSERVATION]) for name in names):
        yield group
        return
    for name in sorted(names, key=natural):
        inner = group[name]
        if isinstance(inner, h5py.Group):
            yield from _groups(inner, path, depth + 1)


def _arrays(group: h5py.Group, path: Path, start: str = "", depth: int = 0) -> dict[str, Any]:
    """Return the datasets of a group by name, those of inner groups as `group/name`."""
    import h5py

    found: dict[str, Any] = {}
    for name in group:
        if not _is_own(group, name, path) or depth > DEEPEST:
            continue
        inner = group[name]
        if isinstance(inner, h5py.Group):
            found |= _arrays(inner, path, f"{start}{name}/", depth + 1)
        elif inner.dtype.kind in "biuf":
            if inner.is_virtual or inner.external:
                raise FILE.refusal(path, f"{inner.name} is stored in another file")
            found[f"{start}{name}"] = inner
    return found


def _is_own(group: h5py.Group, name: str, path: Path) -> bool:
    """Return whether a name is an object of this file; a link to another file is refused."""
    import h5py

    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise FILE.refusal(path, f"{group.name}/{name} is a link to another file")
    return isinstance(link, h5py.HardLink)

"""LeRobot's data sets, version 2 and 3: Parquet tables with `meta/info.json`, and videos.

The observation is `observation.image` or another picture, else `observation.state`, unless `learning.fields` names one.
LeRobot writes an observation before every action and none at the end, so the last action of an episode is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ami.data.formats.pictures import natural
from ami.data.formats.video import decoded
from ami.data.names import fields_of
from ami.data.recording import Array, Recording
from ami.data.replay_buffer import OBSERVATION
from ami.errors import DataError
from ami.storage.files import FileKind

INFO = FileKind("the description of a LeRobot data set", DataError, "copy the data set again", schema=dict[str, Any])
TABLE = FileKind("a table of a LeRobot data set", DataError, "copy the data set again", 2**62)
VIDEO = "video"


def fits(path: Path) -> bool:
    """Return whether a folder is a LeRobot data set."""
    return (path / "meta" / "info.json").is_file()


def read(path: Path, chosen: Mapping[str, str]) -> Iterator[Recording]:
    """Yield the episodes of a data set."""
    info = INFO.read_json(path / "meta" / "info.json", path)
    features = {str(name): one for name, one in dict(info.get("features", {})).items() if isinstance(one, Mapping)}
    data = {name: one for name, one in features.items() if name.startswith("observation.") or "." not in name
            or name.startswith("next.")}
    shown = [name for name, one in data.items() if name.startswith("observation.") and one.get("dtype") in (VIDEO, "image")]
    if OBSERVATION not in chosen:
        first = [*(name for name in shown if name == "observation.image"), *shown, "observation.state"]
        chosen = {**chosen, OBSERVATION: first[0]}
    names = fields_of(path, data, chosen)
    is_video = data[names[OBSERVATION]].get("dtype") == VIDEO
    videos = _Videos(path, names[OBSERVATION]) if is_video else None
    for file in sorted((path / "data").rglob("*.parquet"), key=lambda one: natural(str(one))):
        columns = ["episode_index", *(name for field, name in names.items() if not (is_video and field == OBSERVATION))]
        table = _table(file, path, columns)
        episodes = table["episode_index"]
        changes = [0, *(np.flatnonzero(np.diff(episodes)) + 1).tolist(), len(episodes)]
        for start, stop in pairwise(changes):
            number = int(episodes[start]) if stop > start else 0
            fields = {field: table[name][start:stop] for field, name in names.items() if name in table}
            if videos is not None:
                fields[OBSERVATION] = videos.frames(number, stop - start)
            yield Recording(f"episode_index {number}", fields)


def _table(file: Path, path: Path, columns: list[str]) -> dict[str, Array]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with TABLE.open(file, path) as opened:
            table = parquet.read_table(opened, columns=columns, memory_map=False)
        found = {name: _array(table[name]) for name in columns if name in table.column_names}
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise TABLE.refusal(file, " ".join(str(error).split())[:200]) from None
    if "episode_index" not in found:
        raise TABLE.refusal(file, "it has no episode_index")
    return found


def _array(column: Any) -> Array:
    """Return a column as (N, …): numbers, lists of numbers, or pictures as PNG or JPEG."""
    import io

    import pyarrow as pa
    from PIL import Image

    kind = column.type
    if pa.types.is_struct(kind):  # {"bytes": …, "path": …}, as the library `datasets` stores pictures
        return np.stack([np.asarray(Image.open(io.BytesIO(one["bytes"])).convert("RGB")) for one in column.to_pylist()])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return np.stack([np.asarray(one) for one in column.to_pylist()])
    found: Array = column.to_numpy()
    return found


class _Videos:
    """The frames of one camera.

    Args:
        path: the data set.
        camera: its feature, "observation.images.top".
    """

    def __init__(self, path: Path, camera: str) -> None:
        self.path, self.camera = path, camera
        self._of_episode = {int(file.stem.rpartition("_")[2]): file
                            for file in (path / "videos").rglob("episode_*.mp4") if file.parent.name == camera}
        self._file: Path | None = None
        self._frames: Iterator[Array] = iter(())
        self._shared = None if self._of_episode else self._files()

    def frames(self, number: int, count: int) -> Array:
        """Return the `count` frames of an episode; episodes of a shared video are read in order."""
        if self._shared is None:
            file = self._of_episode.get(number)
        else:
            file = self._shared.get(number)
        if file is None:
            raise DataError(f"'{self.path}', episode_index {number}: there is no video of {self.camera}. Fix: copy the data "
                            "set again")
        if self._shared is None or file != self._file:
            self._file, self._frames = file, decoded(file)
        found = list(islice(self._frames, count))
        if len(found) != count:
            raise DataError(f"'{self.path}', episode_index {number}: '{file}' has {len(found)} more frames: expected {count}"
                            ". Fix: copy the data set again")
        return np.stack(found)

    def _files(self) -> dict[int, Path]:
        """Return the video of each episode, which holds several (version 3)."""
        found = {}
        keys = [f"videos/{self.camera}/{part}" for part in ("chunk_index", "file_index")]
        for file in sorted((self.path / "meta" / "episodes").rglob("*.parquet"), key=lambda one: natural(str(one))):
            table = _table(file, self.path, ["episode_index", *keys])
            if not all(key in table for key in keys):
                raise TABLE.refusal(file, f"it has no {' and '.join(keys)}")
            for number, chunk, index in zip(table["episode_index"], *(table[key] for key in keys), strict=True):
                folder = self.path / "videos" / self.camera / f"chunk-{int(chunk):03}"
                found[int(number)] = folder / f"file-{int(index):03}.mp4"
        return found

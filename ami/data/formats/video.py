"""Video: a file per episode, decoded by PyAV. The actions and rewards of `clip.mp4` are in `clip.npz`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ami.data.formats.pictures import natural, steps_of
from ami.data.recording import Array, Recording
from ami.data.replay_buffer import OBSERVATION
from ami.errors import DataError
from ami.storage.files import FileKind
from ami.storage.limits import in_bytes, memory
from ami.terminal.extras import how_to_install

ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov")
SHARE = 0.5
"""The share of memory that the frames of one file may take."""
FILE = FileKind("a video", DataError, "a file that ffmpeg can play", 2**62)


def fits(path: Path) -> bool:
    """Return whether a path is a video, or a folder of them."""
    return path.suffix.lower() in ENDINGS if path.is_file() else bool(_videos(path))


def read(path: Path, chosen: Mapping[str, str]) -> Iterator[Recording]:
    """Yield an episode per video."""
    for file in [path] if path.is_file() else _videos(path):
        frames = np.stack(list(decoded(file)))
        yield Recording(file.name, {**steps_of(file.with_suffix(".npz"), chosen), OBSERVATION: frames})


def decoded(file: Path) -> Iterator[Array]:
    """Yield the frames of a video, (H, W, 3) uint8.

    Raises:
        DataError: it cannot be decoded, or its frames take more than half of the memory.
    """
    try:
        import av
    except ImportError:
        raise DataError(f"'{file}' needs PyAV, which is not installed. Fix: {how_to_install('video')}") from None
    size = 0
    try:
        with FILE.open(file) as opened, av.open(opened, "r") as container:
            for frame in container.decode(container.streams.video[0]):
                size += frame.width * frame.height * 3
                if size > SHARE * memory():
                    raise DataError(f"'{file}' has frames of more than {in_bytes(SHARE * memory())}, half of the memory. "
                                    "Fix: shorter or smaller videos")
                yield frame.to_ndarray(format="rgb24")
    except FileNotFoundError:
        raise DataError(f"there is no file '{file}'. Fix: the path of a video") from None
    except (av.error.FFmpegError, IndexError, ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise FILE.refusal(file, " ".join(str(error).split())[:200]) from None
    if not size:
        raise FILE.refusal(file, "it has no frames")


def _videos(folder: Path) -> list[Path]:
    return sorted((file for file in folder.iterdir() if file.suffix.lower() in ENDINGS), key=lambda one: natural(one.name))

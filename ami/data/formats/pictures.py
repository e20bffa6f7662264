"""Pictures: a folder per episode with a picture per step, in the order of their names.

The actions and rewards of an episode are in its `steps.npz`, see `ami.data.formats.npz`. A folder of pictures alone is one
episode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ami.data.formats import npz
from ami.data.names import fields_of
from ami.data.recording import Array, Recording
from ami.data.replay_buffer import OBSERVATION
from ami.errors import DataError
from ami.storage.files import FileKind
from ami.storage.limits import in_bytes, memory

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
STEPS_FILE = "steps.npz"
SHARE = 0.5
"""The share of memory that the pictures of one episode may take."""
MOST_BYTES = 2**28
FILE = FileKind("a picture", DataError, "PNG or JPEG, all of one size", MOST_BYTES)


def fits(path: Path) -> bool:
    """Return whether a folder holds pictures, or folders of them."""
    return bool(_pictures(path)) or any(_pictures(folder) for folder in path.iterdir() if folder.is_dir())


def read(path: Path, chosen: Mapping[str, str]) -> Iterator[Recording]:
    """Yield the episodes of a folder."""
    folders = [path] if _pictures(path) else sorted((one for one in path.iterdir() if one.is_dir() and _pictures(one)),
                                                    key=lambda one: natural(one.name))
    for folder in folders:
        yield Recording(folder.name, {**steps_of(folder / STEPS_FILE, chosen), OBSERVATION: _stacked(folder)})


def steps_of(file: Path, chosen: Mapping[str, str]) -> dict[str, Array]:
    """Return the fields besides the pictures in an npz file; {} if there is none."""
    if not file.exists():
        return {}
    arrays = npz.load(file)
    others = {field: name for field, name in chosen.items() if field != OBSERVATION}
    names = fields_of(file, arrays, others, needed=())
    return {field: arrays[name] for field, name in names.items() if field != OBSERVATION}


def _pictures(folder: Path) -> list[Path]:
    return sorted((file for file in folder.iterdir() if file.suffix.lower() in ENDINGS), key=lambda one: natural(one.name))


def _stacked(folder: Path) -> Array:
    from PIL import Image

    found: list[Array] = []
    for file in _pictures(folder):
        try:
            with FILE.open(file, folder) as opened, Image.open(opened) as picture:
                size = picture.width * picture.height * len(picture.getbands())
                if (len(found) + 1) * size > SHARE * memory():
                    raise DataError(f"'{folder}' holds pictures of {in_bytes((len(found) + 1) * size)} or more: expected at "
                                    f"most {in_bytes(SHARE * memory())}, half of the memory. Fix: smaller pictures")
                mode = "L" if picture.mode in ("1", "L") else "RGB"
                found.append(np.asarray(picture.convert(mode)))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, DataError):
                raise
            raise FILE.refusal(file, " ".join(str(error).split())[:200]) from None
        if found[-1].shape != found[0].shape:
            raise DataError(f"'{file}' has the shape {found[-1].shape}: expected {found[0].shape}, as the first picture. "
                            "Fix: pictures of one size")
    return np.stack(found)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

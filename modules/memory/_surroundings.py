"""Which episodes take place in the same surroundings, by their options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ami.errors import require
from ami.module import Episode

NONE = -1


def surroundings_of(episode: Episode, names: Sequence[str]) -> int:
    """Return a hash of an episode's options of these names, `NONE` for an episode without options.

    Raises:
        SettingError: the options lack a name.
    """
    if not episode.options:
        return NONE
    for name in names:
        require(name in episode.options, f"CognitiveMap.keep_if names '{name}', which the options of an episode lack. "
                                         f"Fix: some of {', '.join(episode.options)}")
    text = json.dumps([episode.options[name] for name in names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")

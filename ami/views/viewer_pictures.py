"""Pictures of a world for the viewer: observations, or renderings made while the recorded actions are repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ami.errors import TraceError, require
from ami.evaluation.manifest import Manifest
from ami.evaluation.pictures import coloured
from ami.views.payloads import Recorded, within
from ami.views.rerender import Renderer
from ami.views.viewer_figures import RowEpisode, Wave
from ami.views.viewer_packing import Plain, png

MANIFEST = "manifest.json"
RENDERED = 2_500  # rendered ticks at most: each costs milliseconds and kilobytes


def pictures(recorded: Recorded, wave: Wave, one: RowEpisode, end: int) -> Plain:
    """Return the observed pictures of an episode before tick `end`, and of its goal; empty if they are no pictures."""
    seen = within(recorded.at(recorded.observation, wave.number), one.first, end) if recorded.pictures else {}
    if not seen:
        return {}
    found: Plain = {"pictures": [png(coloured(seen[tick][one.row])) if tick in seen else None for tick in range(end)]}
    goal = within(recorded.at(recorded.goal, wave.number), one.first, end)
    if goal and recorded.are_pictures(recorded.goal):
        found["goal"] = png(coloured(goal[min(goal)][one.row]))
    return found


class Rerenderer:
    """Rendered pictures of a world whose observations are no pictures of it, for the first episodes.

    Args:
        recorded: the payloads of the run.
        pairs: the pairs of its manifest.
        allow: prefixes of packages that the world may import.
        replaces: whether the renderings replace observed pictures, which show another part of the world.

    Attributes:
        failures: why some episodes have none, a sentence each.

    Raises:
        TraceError: the actions were not recorded, or the pairs are unknown.
        SettingError: the run has pictures already; see `Renderer`.
    """

    def __init__(self, recorded: Recorded, pairs: Plain, allow: Sequence[str] = (), replaces: bool = False) -> None:
        sealed = recorded.trace.folder / MANIFEST
        if (not recorded.has(recorded.action) or not pairs.get("pairs") or not sealed.exists()
                or recorded.world not in recorded.trace.tables):
            raise TraceError(f"--render repeats the recorded actions, but {recorded.trace.folder} holds no content of "
                             f"{recorded.action or 'the actions'}, or no {MANIFEST}. "
                             "Fix: run again with trace.level=boundary")
        require(replaces or not recorded.pictures, f"--render has no effect on {recorded.trace.folder}: its "
                                                   "observations are pictures. Fix: leave it out")
        self.failures: list[str] = []
        self._recorded, self._left = recorded, RENDERED
        self._episodes = dict(enumerate(Manifest.load(sealed).episodes()))
        self._renderer = Renderer(recorded.trace.header["graph"]["nodes"].get(recorded.world, {}), allow)
        self.close = self._renderer.close

    def __call__(self, wave: Wave, one: RowEpisode, end: int) -> Plain:
        episode = None if one.number is None else self._episodes.get(one.number)
        actions, ticks = self._recorded.at(self._recorded.action, wave.number), range(one.first, end)
        is_whole = "reward" in wave.flags and all(tick in actions for tick in ticks)
        if self._left <= 0 or episode is None or not is_whole:
            return {}
        self._left -= len(ticks)
        sent = np.stack([actions[tick][one.row] for tick in ticks])
        drawn = self._renderer.pictures(episode, sent, wave.flags["reward"][one.first:end, one.row])
        if drawn is None:
            self.failures.append(f"No pictures of pair {episode.number}: its world did not reproduce the recorded "
                             "rewards.")
            return {}
        return {"pictures": [*[None] * one.first, *(png(picture) for picture in drawn)], "drawn": True}

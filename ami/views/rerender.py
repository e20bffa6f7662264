"""Re-rendering: pictures of an episode from its world's own renderer, while the recorded actions are repeated.

This shows worlds with numeric observations, such as CartPole. Equal rewards confirm that the episode is reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from PIL import Image

from ami.blueprint import Episode
from ami.config.trust import allow_list, check_imports
from ami.envs.world import GymWorld
from ami.errors import SettingError
from ami.terminal.extras import how_to_install

TARGET = "ami.envs.world.GymWorld"
SIDE = 300  # pixels at most
COLOURS = 64


class Renderer:
    """The world of a run's header, constructed with a renderer.

    Args:
        settings: of the world's node, from the header; untrusted, so their imports are checked against the allow-list.
        allow: prefixes of your own packages that they may import; see `ami.config.trust`.

    Raises:
        SettingError: it is no gymnasium world, cannot be constructed, or renders no pictures.
        TrustError: its id or wrappers import a package that is not on the allow-list.
    """

    def __init__(self, settings: Mapping[str, Any], allow: Sequence[str] = ()) -> None:
        own = dict(settings)
        name = own.pop("_target_", None)
        if name != TARGET:
            raise SettingError(f"--render: the world is a {name}: expected a gymnasium world, {TARGET}")
        check_imports(own, "world", allow_list(allow))
        self._world = GymWorld(**{**own, "render_mode": "rgb_array", "timeout": None})
        self._world.set_up({})
        self._drawing = self._world.rows.drawing
        if "rgb_array" not in self._drawing.metadata.get("render_modes", ()):
            raise SettingError(f"--render: {own.get('id')} renders no pictures: expected a world with render_mode=rgb_array")

    def pictures(self, episode: Episode, actions: np.ndarray, rewards: np.ndarray) -> list[Image.Image] | None:
        """Repeat an episode and render it.

        Args:
            episode: with its seed and options.
            actions: (T, A), the actor's output at each tick; the world executes it one tick later.
            rewards: (T,), the world's recorded rewards.

        Returns:
            A picture per tick; None if the rewards differ from the recorded ones.

        Raises:
            SettingError: the renderer lacks a package.
        """
        world = self._world
        world.begin(torch.ones(1, dtype=torch.bool), [episode])
        drawn = []
        for tick, reward in enumerate(rewards):
            sent = world.step(action=torch.from_numpy(actions[max(tick - 1, 0)][None].astype(np.float32)))
            if not np.isclose(float(sent["reward"][0]), reward, rtol=1e-4, atol=1e-5):
                return None
            drawn.append(_small(self._drawn()))
        return drawn

    def _drawn(self) -> np.ndarray:
        try:
            drawn = self._drawing.render()
            return np.asarray(drawn[0] if isinstance(drawn, tuple | list) else drawn)
        except gymnasium.error.DependencyNotInstalled as error:
            raise SettingError(f"--render: the renderer needs a package that is not installed: {error}. "
                               f"Fix: {how_to_install('worlds')}") from None

    def close(self) -> None:
        """Close the world."""
        self._world.rows.close()


def _small(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    return image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE)

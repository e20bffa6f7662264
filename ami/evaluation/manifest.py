"""Manifest: the sealed list of pairs that every agent is judged on.

The pairs are drawn once from their own seed and hashed; the hash is printed with every result, so two figures with one
hash were won on the same pairs. A pair that is solved where it starts proves nothing and is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, Protocol, TypedDict, runtime_checkable

import torch

from ami.blueprint import Episode, World
from ami.errors import SettingError, require
from ami.module import Module
from ami.storage.files import FileKind, write_json
from ami.storage.schema import Like, Line

NOT_OPTIONS = ("kind", "seed")


class Pair(TypedDict):
    """One pair; what else it holds are the options of its episode's reset."""

    kind: Line
    seed: int


class Sealed(TypedDict):
    """What the file of a manifest holds."""

    hash: Annotated[str, Like(r"[0-9a-f]{16}", "16 hex digits")]
    world: str
    settings: dict[str, Any]
    seed: int
    pairs: list[Pair]
    tells_success: NotRequired[bool]


FILE = FileKind("a manifest", SettingError, "draw it anew from its seed", schema=Sealed)
CHECKED_AT_ONCE = 64  # a world that is not vectorised makes one environment per row


@runtime_checkable
class PairSampler(Protocol):
    """A world that can say which episodes to be judged on; `ami.envs.world.GymWorld` is one."""

    env_id: str
    settings: dict[str, Any]

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """`num_pairs` pairs of each kind, each {"kind", "seed", …}, equal for equal seeds."""


@dataclass(frozen=True)
class Manifest:
    """The pairs of one evaluation.

    Args:
        world: the world's id.
        settings: the settings that shape the world.
        seed: what the pairs were drawn from.
        pairs: each {"kind", "seed", …}; what is left are the options of that episode's reset, e.g. start, goal, door.
        tells_success: whether the world says which pairs are solved; else it is judged by returns alone.
    """

    world: str
    settings: Mapping[str, Any]
    seed: int
    pairs: tuple[Mapping[str, Any], ...]
    tells_success: bool = True

    @classmethod
    def make(cls, world: Module, seed: int, num_pairs: int) -> Manifest:
        """Draw `num_pairs` pairs of each kind the world knows.

        Raises:
            SettingError: `num_pairs` is below 1, the world has no pairs to offer, or a pair is solved at the start.
        """
        if not isinstance(world, PairSampler):
            raise SettingError(f"{type(world).__name__} offers no pairs to be judged on: expected a world with env_id, "
                               "settings and sample_pairs(seed, num_pairs), such as ami.envs.world.GymWorld")
        require(num_pairs >= 1, f"evaluation.pairs is {num_pairs}: expected 1 or more")
        pairs = world.sample_pairs(seed=seed, num_pairs=num_pairs)
        manifest = cls(world.env_id, dict(world.settings), seed, tuple(pairs), getattr(world, "tells_success", True))
        if isinstance(world, World):
            manifest.check(world)
        return manifest

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a manifest and hold it against the hash it was sealed with.

        Raises:
            SettingError: the file is missing, is not a manifest, or was changed after it was sealed.
        """
        path = Path(path)
        try:
            content = FILE.read_json(path, path.parent)
        except FileNotFoundError:
            raise SettingError(f"the manifest {path} does not exist. Fix: save one with Manifest.save") from None
        manifest = cls(content["world"], content["settings"], content["seed"], tuple(content["pairs"]),
                       content.get("tells_success", True))
        if content["hash"] != manifest.hash:
            raise SettingError(f"the manifest {path} says its hash is {content['hash']}, but its pairs give "
                               f"{manifest.hash}: it was changed after it was sealed. Fix: draw it anew from its seed")
        return manifest

    def save(self, path: Path) -> None:
        """Write the manifest with its hash, whole or not at all."""
        write_json(path, {"hash": self.hash, **self._content()})

    @property
    def hash(self) -> str:
        """16 hex digits over the world, its settings, the seed and every pair."""
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def pairs_hash(self) -> str:
        """16 hex digits over the world's id and every pair: equal where only settings differ that move no start or goal."""
        text = json.dumps([self.world, [dict(pair) for pair in self.pairs]], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def expect(self, given: str | None) -> None:
        """Hold the manifest against a hash from elsewhere; None accepts any.

        Raises:
            SettingError: they differ.
        """
        require(given is None or given == self.hash,
                f"evaluation.manifest_hash is {given}: this world, its settings, the seed {self.seed} and "
                f"{len(self.pairs)} pairs give {self.hash}. Fix: the world, seed and number of pairs that {given} was "
                f"made with, or evaluation.manifest_hash={self.hash}")

    def episodes(self) -> list[Episode]:
        """One episode per pair. Its number is its place here, so its random streams do not depend on batching."""
        return [Episode(number, int(pair["seed"]), {k: v for k, v in pair.items() if k not in NOT_OPTIONS})
                for number, pair in enumerate(self.pairs)]

    def waves(self, batch: int) -> list[tuple[int, list[Episode]]]:
        """The episodes cut into numbered waves of `batch` worlds, in order; the last may be smaller.

        Raises:
            SettingError: `batch` is below 1.
        """
        require(batch >= 1, f"evaluation.batch is {batch}: expected 1 or more worlds side by side")
        episodes = self.episodes()
        firsts = range(0, len(episodes), batch)
        return [(wave, episodes[first:first + batch]) for wave, first in enumerate(firsts)]

    def check(self, world: World) -> None:
        """Begin every pair in the world and look at its first moment.

        Raises:
            SettingError: pairs are solved at the start.
        """
        actions = int(world.infer_dims({}).get("A", 0))  # type: ignore[arg-type]
        for _, episodes in self.waves(CHECKED_AT_ONCE):
            every = torch.ones(len(episodes), dtype=torch.bool)
            world.assign(every, episodes)
            world.begin(every, [episode.number for episode in episodes])
            self.refuse_solved(episodes, world.step(action=torch.zeros(len(episodes), actions))["success"].tolist())

    def refuse_solved(self, episodes: Sequence[Episode], success: Sequence[bool]) -> None:
        """Refuse episodes that are a success before the first action.

        Raises:
            SettingError: names the pairs.
        """
        solved = [episode.number for episode, yes in zip(episodes, success, strict=True) if yes]
        if solved:
            pairs = ", ".join(f"{number} {dict(self.pairs[number])}" for number in solved[:3])
            raise SettingError(f"{len(solved)} of the manifest's pairs are solved at the start: {pairs}. "
                               f"Fix: sample_pairs() of {self.world} must leave such pairs out")

    def _content(self) -> dict[str, Any]:
        content = {"world": self.world, "settings": dict(self.settings), "seed": self.seed,
                   "pairs": [dict(pair) for pair in self.pairs]}
        # named only where it differs, so that the hashes of older figures hold
        return content if self.tells_success else {**content, "tells_success": False}

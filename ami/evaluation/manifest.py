"""Manifest: the sealed list of pairs on which every agent is evaluated.

The pairs are drawn once from their own seed and hashed. The hash is printed with every result: equal hashes mean equal
pairs. Pairs that are solved at their start are refused.
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
    """One pair; its further keys are the options of its episode's reset."""

    kind: Line
    seed: int


class Sealed(TypedDict):
    """The content of a manifest's file."""

    hash: Annotated[str, Like(r"[0-9a-f]{16}", "16 hex digits")]
    world: str
    settings: dict[str, Any]
    seed: int
    pairs: list[Pair]
    reports_success: NotRequired[bool]


FILE = FileKind("a manifest", SettingError, "recreate it from its seed", schema=Sealed)
CHECKED_AT_ONCE = 64  # a world without a vector environment constructs one environment per row


@runtime_checkable
class PairSampler(Protocol):
    """A world that samples evaluation episodes, such as `ami.envs.world.GymWorld`."""

    env_id: str
    settings: dict[str, Any]

    def sample_pairs(self, seed: int, num_pairs: int) -> list[dict[str, Any]]:
        """Return `num_pairs` pairs of each kind, each {"kind", "seed", …}, equal for equal seeds."""


@dataclass(frozen=True)
class Manifest:
    """The pairs of one evaluation.

    Args:
        world: the world's id.
        settings: the world's settings.
        seed: the seed of the pairs.
        pairs: each {"kind", "seed", …}; further keys are the options of that episode's reset, e.g. start, goal, door.
        reports_success: whether the world reports success; otherwise agents are evaluated by returns alone.
    """

    world: str
    settings: Mapping[str, Any]
    seed: int
    pairs: tuple[Mapping[str, Any], ...]
    reports_success: bool = True

    @classmethod
    def make(cls, world: Module, seed: int, num_pairs: int, batch: int = CHECKED_AT_ONCE) -> Manifest:
        """Draw `num_pairs` pairs of each of the world's kinds, and start each of them, `batch` side by side.

        Raises:
            SettingError: `num_pairs` is below 1, the world cannot sample pairs, or a pair is solved at the start.
        """
        if not isinstance(world, PairSampler):
            raise SettingError(f"{type(world).__name__} has no evaluation pairs: expected a world with env_id, "
                               "settings and sample_pairs(seed, num_pairs), such as ami.envs.world.GymWorld")
        require(num_pairs >= 1, f"evaluation.pairs is {num_pairs}: expected 1 or more")
        pairs = world.sample_pairs(seed=seed, num_pairs=num_pairs)
        manifest = cls(world.env_id, dict(world.settings), seed, tuple(pairs), getattr(world, "reports_success", True))
        if isinstance(world, World):
            manifest.check(world, min(batch, CHECKED_AT_ONCE))
        return manifest

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a manifest and verify its hash.

        Raises:
            SettingError: the file is missing, is not a manifest, or was changed after it was sealed.
        """
        path = Path(path)
        try:
            content = FILE.read_json(path, path.parent)
        except FileNotFoundError:
            raise SettingError(f"the manifest {path} does not exist. Fix: save one with Manifest.save") from None
        manifest = cls(content["world"], content["settings"], content["seed"], tuple(content["pairs"]),
                       content.get("reports_success", True))
        if content["hash"] != manifest.hash:
            raise SettingError(f"the manifest {path} has the hash {content['hash']}, but its pairs have "
                               f"{manifest.hash}: it was changed after it was sealed. Fix: recreate it from its seed")
        return manifest

    def save(self, path: Path) -> None:
        """Write the manifest with its hash, atomically."""
        write_json(path, {"hash": self.hash, **self._content()})

    @property
    def hash(self) -> str:
        """16 hex digits over the world, its settings, the seed and every pair."""
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def pairs_hash(self) -> str:
        """16 hex digits over the world's id and every pair, without settings that do not affect the pairs."""
        text = json.dumps([self.world, [dict(pair) for pair in self.pairs]], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def expect(self, given: str | None) -> None:
        """Compare the manifest's hash with an expected one; None accepts any.

        Raises:
            SettingError: they differ.
        """
        require(given is None or given == self.hash,
                f"evaluation.manifest_hash is {given}: this world, its settings, the seed {self.seed} and "
                f"{len(self.pairs)} pairs give {self.hash}. Fix: the world, seed and number of pairs that {given} was "
                f"made with, or evaluation.manifest_hash={self.hash}")

    def episodes(self) -> list[Episode]:
        """Return one episode per pair. Its number is its index, so its random streams do not depend on batching."""
        return [Episode(number, int(pair["seed"]), {k: v for k, v in pair.items() if k not in NOT_OPTIONS})
                for number, pair in enumerate(self.pairs)]

    def waves(self, batch: int) -> list[tuple[int, list[Episode]]]:
        """Split the episodes into numbered waves of `batch` worlds, in order; the last may be smaller.

        Raises:
            SettingError: `batch` is below 1.
        """
        require(batch >= 1, f"evaluation.batch is {batch}: expected 1 or more parallel worlds")
        episodes = self.episodes()
        firsts = range(0, len(episodes), batch)
        return [(wave, episodes[first:first + batch]) for wave, first in enumerate(firsts)]

    def check(self, world: World, batch: int = CHECKED_AT_ONCE) -> None:
        """Start every pair in the world and check its first tick.

        Raises:
            SettingError: pairs are solved at the start.
        """
        actions = int(world.infer_dims({}).get("A", 0))  # type: ignore[arg-type]
        for _, episodes in self.waves(batch):
            every = torch.ones(len(episodes), dtype=torch.bool)
            world.begin(every, episodes)
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
        # included only if False, so that older hashes stay valid
        return content if self.reports_success else {**content, "reports_success": False}

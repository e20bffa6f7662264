import json
from pathlib import Path

import pytest
import torch

from ami.envs.world import GymWorld
from ami.errors import SettingError
from ami.evaluation.manifest import Manifest
from ami.module import Module


def make(seed: int = 3, num_pairs: int = 4, **settings: object) -> Manifest:
    return Manifest.make(GymWorld("worlds:ami/TwoRooms-v0", **settings), seed, num_pairs)


def test_equal_numbers_of_pairs_of_every_kind() -> None:
    assert [pair["kind"] for pair in make().pairs] == ["same_room"] * 4 + ["across"] * 4


def test_hash_depends_on_world_settings_seed_and_pairs() -> None:
    sealed = make()
    assert sealed.hash == make().hash
    assert len({sealed.hash, make(seed=4).hash, make(num_pairs=5).hash, make(size=16).hash}) == 4
    assert len(sealed.hash) == 16 and int(sealed.hash, 16) >= 0


def test_save_and_load(tmp_path: Path) -> None:
    sealed = make()
    sealed.save(tmp_path / "manifest.json")
    assert Manifest.load(tmp_path / "manifest.json") == sealed


def test_a_changed_pair_breaks_the_seal(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    sealed = make()
    sealed.save(path)
    content = json.loads(path.read_text())
    content["pairs"][0]["goal"][0] += 0.001
    path.write_text(json.dumps(content))
    with pytest.raises(SettingError, match=f"has the hash {sealed.hash}, but its pairs have .* was changed after it "
                                           "was sealed. Fix: recreate it from its seed"):
        Manifest.load(path)


@pytest.mark.parametrize(("content", "words"), [
    ("{", "it is not JSON"), ("[]", r"the content is \[\]: expected a mapping"),
    ('{"world": "x"}', "hash is missing: expected 16 hex digits")])
def test_invalid_file_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(SettingError, match=rf"m\.json is not a manifest: {words}.*\. Fix: recreate it from its seed"):
        Manifest.load(tmp_path / "m.json")


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"manifest .*none\.json does not exist\. Fix: save one with Manifest\.save"):
        Manifest.load(tmp_path / "none.json")


def test_other_expected_hash_is_refused() -> None:
    sealed = make()
    sealed.expect(None)
    sealed.expect(sealed.hash)
    with pytest.raises(SettingError, match=f"manifest_hash is 00ff: .*the seed 3 and 8 pairs give {sealed.hash}. Fix: "):
        sealed.expect("00ff")


def test_episode_number_is_its_index() -> None:
    sealed = make()
    episodes = sealed.episodes()
    assert [episode.number for episode in episodes] == list(range(8))
    assert [episode.seed for episode in episodes] == [pair["seed"] for pair in sealed.pairs]
    assert set(episodes[0].options) == {"start", "goal", "door"}


@pytest.mark.parametrize("batch, sizes", [(1, [1] * 8), (3, [3, 3, 2]), (8, [8]), (50, [8])])
def test_waves_are_the_episodes_in_order(batch: int, sizes: list[int]) -> None:
    sealed = make()
    waves = sealed.waves(batch)
    assert [number for number, _ in waves] == list(range(len(sizes)))
    assert [len(episodes) for _, episodes in waves] == sizes
    assert [episode for _, episodes in waves for episode in episodes] == sealed.episodes()


class SolvedRooms(GymWorld):
    """Its second pair is solved at the start, at the first tick."""

    def step(self, action):
        outputs = super().step(action)
        return {**outputs, "success": torch.tensor([episode.number == 1 for episode in self._episodes])}


def test_pair_solved_at_the_start_is_refused_by_number() -> None:
    with pytest.raises(SettingError, match=r"1 of the manifest's pairs are solved at the start: 1 \{'kind': 'same_room'.*"
                                           r"Fix: sample_pairs\(\) of worlds:ami/TwoRooms-v0 must leave such pairs out"):
        Manifest.make(SolvedRooms("worlds:ami/TwoRooms-v0"), 3, 4)


def test_world_without_goals_samples_seeds() -> None:
    sealed = Manifest.make(GymWorld("Pendulum-v1"), 0, 3)
    assert [set(pair) for pair in sealed.pairs] == [{"kind", "seed"}] * 3
    assert sealed.episodes()[2].options == {}


@pytest.mark.parametrize("call, words", [
    (lambda: make(num_pairs=0), "evaluation.pairs is 0: expected 1 or more"),
    (lambda: make().waves(0), "evaluation.batch is 0: expected 1 or more parallel worlds"),
    (lambda: Manifest.make(Module(), 0, 1), "Module has no evaluation pairs: expected a world with env_id")])
def test_impossible_requests_are_refused(call, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        call()

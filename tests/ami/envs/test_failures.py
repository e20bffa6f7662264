"""`world.on_failure`: a failed environment ends or repeats its own episode, and the other rows go on as without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ami.blueprint import Episode
from ami.envs import remote
from ami.envs.world import GymWorld
from ami.errors import SettingError, WorldFault
from ami.trace.reader import texts_of

ENTRY = "tests.support.fragile:Fragile"
SEEDS = (10, 11, 12)
TICKS = 8


@pytest.fixture(autouse=True, scope="module")
def no_child_stays() -> Iterator[None]:
    yield
    for child in remote._children:
        child.end()


def played(seeds: tuple[int, ...] = (), on_failure: str = "fail", timeout: float | None = None,
           **settings: Any) -> list[dict[str, Tensor]]:
    """Run three episodes side by side, after the first one a fourth, and return the messages of every tick."""
    world = GymWorld(entry_point=ENTRY, on_failure=on_failure, timeout=timeout, seeds=list(seeds), **settings)
    world.set_up(dict(world.infer_dims({})))
    try:
        with torch.no_grad():
            world.begin(torch.ones(3, dtype=torch.bool), [Episode(number, seed) for number, seed in enumerate(SEEDS)])
            sent = [world.step(action=torch.full((3, 1), 0.1 * tick)) for tick in range(TICKS)]
            world.begin(torch.tensor([False, True, False]), [Episode(3, 13)] * 3)
            return [*sent, *(world.step(action=torch.full((3, 1), 0.2)) for _ in range(2))]
    finally:
        world.close()


@pytest.fixture(scope="module")
def undisturbed() -> list[dict[str, Tensor]]:
    return played()


def same(sent: list[dict[str, Tensor]], other: list[dict[str, Tensor]], rows: list[int]) -> bool:
    return all(torch.equal(one[port][rows], two[port][rows]) for one, two in zip(sent, other, strict=True) for port in one)


CASES = [("raise", None), ("exit", 5.0), ("hang", 0.5)]


@pytest.mark.parametrize(("how", "timeout"), CASES)
def test_a_failed_episode_ends_with_its_reason_and_the_others_go_on(
        how: str, timeout: float | None, undisturbed: list[dict[str, Tensor]]) -> None:
    sent = played((11,), timeout=timeout, how=how)
    assert same(sent, undisturbed, [0, 2])
    assert same(sent[TICKS:], undisturbed[TICKS:], [0, 1, 2]), "the row's next episode"
    assert [bool(tick["truncated"][1]) for tick in sent[:5]] == [False, False, False, True, True]
    assert torch.equal(sent[3]["observation"][1], sent[2]["observation"][1]) and float(sent[3]["reward"][1]) == 0
    texts = texts_of(sent[3]["failure"].numpy().tobytes(), 3)
    words = {"raise": "step() raised ConnectionError: the cable broke (", "hang": "step() did not return within 0.5 s",
             "exit": "step() ended the environment's process, with exit code 7"}
    assert texts[0] == texts[2] == "" and texts[1].startswith(words[how])
    assert [int(tick["episode"][1]) for tick in sent[3:5]] == [1, -1]


@pytest.mark.parametrize(("how", "timeout"), CASES)
def test_a_repeated_episode_is_that_of_an_undisturbed_world(
        how: str, timeout: float | None, undisturbed: list[dict[str, Tensor]], tmp_path: Path) -> None:
    sent = played((11,), "retry", timeout, how=how, once=str(tmp_path / "failed"))
    assert (tmp_path / "failed").exists() and same(sent, undisturbed, [0, 1, 2])


def test_an_episode_that_fails_again_ends(undisturbed: list[dict[str, Tensor]]) -> None:
    sent = played((10, 12), "retry")
    assert same(sent, undisturbed, [1])
    assert sent[3]["truncated"].tolist() == [True, False, True]


def test_an_episode_that_fails_at_its_reset_ends_at_once(undisturbed: list[dict[str, Tensor]]) -> None:
    sent = played((10,), how="reset")
    assert same(sent, undisturbed, [1, 2])
    assert sent[0]["truncated"].tolist() == [True, False, False] and not sent[0]["observation"][0].any()


def test_an_unseeded_world_can_fail_but_not_repeat(tmp_path: Path) -> None:
    assert played((11,), is_random=True)[3]["truncated"].tolist() == [False, True, False]
    (reason,) = {texts_of(tick["failure"].numpy().tobytes(), 3)[1] for tick in
                 played((11,), "retry", is_random=True, once=str(tmp_path / "failed"))[3:4]}
    assert reason.startswith("the repeated episode differs from the failed one at step 0")


def test_raises_by_default_and_without_an_environment_per_row() -> None:
    with pytest.raises(WorldFault, match=r"row 1, tick 3, seed 11: .* the cable broke"):
        played((11,), "raise")
    with pytest.raises(SettingError, match=r"world\.on_failure is 'ignore'"):
        GymWorld("CartPole-v1", on_failure="ignore")

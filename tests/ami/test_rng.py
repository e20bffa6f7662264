"""RowRNG: an episode's random numbers depend on seed, node and episode alone, and resume from a snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ami.rng import RowRNG, derive_seed

EPISODES = st.lists(st.integers(0, 2**40), min_size=1, max_size=5)


def streams(episodes: Sequence[int], seed: int = 3, node: str = "planner") -> RowRNG:
    made = RowRNG(seed, node)
    made.begin(torch.ones(len(episodes), dtype=torch.bool), episodes)
    return made


def drawn(of: RowRNG) -> Tensor:
    """Draws of every kind, (B, 22)."""
    return torch.cat([of.normal(2, 3).flatten(1), of.uniform(-1, 4, 7), of.normal(9)], dim=1)


@settings(deadline=None, max_examples=40)
@given(episodes=EPISODES)
def test_a_row_draws_the_same_alone_and_in_any_batch(episodes: list[int]) -> None:
    together = drawn(streams(episodes))
    for row, episode in enumerate(episodes):
        assert torch.equal(together[row], drawn(streams([episode]))[0])


@settings(deadline=None, max_examples=40)
@given(episodes=EPISODES, before=st.integers(0, 3), data=st.data())
def test_a_restarted_row_draws_like_a_fresh_one_and_others_continue(
        episodes: list[int], before: int, data: st.DataObject) -> None:
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(episodes), max_size=len(episodes))))
    some, undisturbed = streams(episodes), streams(episodes)
    for _ in range(before):
        drawn(some), drawn(undisturbed)
    restarted = [episode + 1 for episode in episodes]
    some.begin(mask, restarted)
    fresh = streams(restarted)
    assert torch.equal(drawn(some), torch.where(mask[:, None], drawn(fresh), drawn(undisturbed)))


@settings(deadline=None, max_examples=40)
@given(episodes=EPISODES, before=st.integers(0, 3), between=st.integers(0, 2))
def test_draws_resume_from_a_snapshot(episodes: list[int], before: int, between: int) -> None:
    one = streams(episodes)
    for _ in range(before):
        drawn(one)
    saved = one.snapshot()
    expected = drawn(one)
    for _ in range(between):
        drawn(one)
    one.restore(saved)
    other = RowRNG(3, "planner")
    other.restore(saved)
    assert torch.equal(drawn(one), expected) and torch.equal(drawn(other), expected)


def test_a_snapshot_holds_tensors_and_later_draws_do_not_change_it() -> None:
    one = streams([4, 5])
    drawn(one)
    saved = one.snapshot()
    before = {name: value.clone() for name, value in saved.items()}
    drawn(one)
    assert saved.keys() == before.keys() == {"episodes", "row.0", "row.1"}
    assert all(torch.equal(saved[name], before[name]) for name in saved)


def test_a_stream_that_was_not_drawn_from_is_not_saved() -> None:
    assert list(streams([4, 5]).snapshot()) == ["episodes"]


@pytest.mark.parametrize("other", [streams([8]), streams([7], seed=4), streams([7], node="actor")],
                         ids=["episode", "seed", "node"])
def test_another_seed_node_or_episode_draws_other_numbers(other: RowRNG) -> None:
    assert not torch.isclose(drawn(streams([7])), drawn(other)).any()


def test_uniform_draws_stay_within_their_bounds() -> None:
    draws = streams(range(4)).uniform(2, 5, 200)
    assert draws.shape == (4, 200) and draws.min() >= 2 and draws.max() < 5
    assert draws.mean() == pytest.approx(3.5, abs=0.2)


def test_torchs_global_stream_is_unchanged() -> None:
    before = torch.get_rng_state()
    drawn(streams([1, 2]))
    assert torch.equal(torch.get_rng_state(), before)


def test_derived_seeds_are_the_same_in_every_process() -> None:
    assert derive_seed(0, "planner", 7) == 5122773826301505990
    assert derive_seed("run") == derive_seed("run")


@settings(max_examples=100)
@given(parts=st.lists(st.integers() | st.text(max_size=5), max_size=4))
def test_a_derived_seed_is_valid_for_torch(parts: list[object]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


def test_changing_one_part_changes_about_half_of_the_bits() -> None:
    flips = [(derive_seed(0, "planner", n) ^ derive_seed(0, "planner", n + 1)).bit_count() for n in range(200)]
    assert sum(flips) / len(flips) == pytest.approx(31.5, abs=1)
    assert len({derive_seed(seed, node, n) for seed in range(5) for node in ("a", "b") for n in range(50)}) == 500


def test_draws_for_some_rows_do_not_advance_the_others() -> None:
    some, all_of_them = streams([5, 6, 7]), streams([5, 6, 7])
    with some.only([2, 0]):
        assert torch.equal(some.normal(4), all_of_them.normal(4)[[2, 0]])
    fresh = streams([6])
    assert torch.equal(some.normal(4)[1:2], fresh.normal(4))

"""ReplayBuffer: windows cross no episode's end, buffers are joined without copies, the oldest episodes are evicted."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ami.data import column as columns
from ami.data.column import Column
from ami.data.observations import Observations
from ami.data.replay_buffer import ReplayBuffer, joined, with_first, with_last
from ami.errors import DataError, SettingError

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=6)


def episode(number: int, steps: int, terminated: bool = False) -> dict[str, Tensor]:
    """Return an episode: tick t has observation 100 number + t, action -(100 number + t) and reward t."""
    observed = 100 * number + torch.arange(steps + 1, dtype=torch.int32)[:, None]
    ended = torch.zeros(steps, dtype=torch.bool)
    ended[-1:] = terminated
    return {"observation": observed, "action": with_last(-observed[:-1].float()), "truth": observed.float(),
            "reward": torch.arange(steps + 1.0), "terminated": with_first(ended)}


def buffer_of(lengths: list[int], capacity: int | None = None, memory: float = 0,
              folder: Path | None = None) -> ReplayBuffer:
    """Return episodes of these lengths; those of even length terminate."""
    buffer = ReplayBuffer(capacity, memory, folder)
    for number, steps in enumerate(lengths):
        buffer.append(episode(number, steps, steps % 2 == 0))
    return buffer


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS, length=st.integers(1, 8), stride=st.integers(1, 3))
def test_starts_are_all_windows_that_cross_no_end(lengths: list[int], length: int, stride: int) -> None:
    buffer = buffer_of(lengths)
    if length > max(lengths):
        with pytest.raises(SettingError, match="a window has"):
            buffer.starts(length, stride)
        return
    starts = buffer.starts(length, stride)
    assert starts.tolist() == [[number, step] for number, steps in enumerate(lengths)
                               for step in range(0, steps - length + 1, stride)]
    windows = buffer.windows(starts, length)
    first = (100 * starts[:, 0] + starts[:, 1])[:, None]
    assert torch.equal(windows["observation"][..., 0], (first + torch.arange(length + 1)).int())
    assert torch.equal(windows["action"][..., 0], -(first + torch.arange(float(length))))
    assert torch.equal(windows["reward"], starts[:, 1:] + torch.arange(length) + 1.0)
    ends = torch.tensor([[lengths[number] % 2 == 0 and step + t == lengths[number] for t in range(1, length + 1)]
                         for number, step in starts.tolist()])
    assert torch.equal(windows["cont"], 1 - ends.float())


def test_a_window_longer_than_every_episode_is_refused() -> None:
    with pytest.raises(SettingError) as refused:
        buffer_of([2, 4, 3]).starts(5)
    assert str(refused.value) == ("a window has 5 steps, but the longest episode has 4. "
                                  "Fix: a smaller window, or learning.collect.steps larger")


def test_frames_are_all_observations_and_lasts_the_last_of_every_episode() -> None:
    buffer = buffer_of([3, 0, 4])
    for at_once in (1, 4, 99):
        assert torch.cat(list(buffer.frames(at_once)))[:, 0].tolist() == [0, 1, 2, 3, 100, 200, 201, 202, 203, 204]
    assert buffer.lasts().nonzero()[:, 0].tolist() == [3, 4, 9]
    assert buffer.arrived("reward").tolist() == [1, 2, 3, 1, 2, 3, 4]
    assert buffer.mean_return == pytest.approx((6 + 10) / 3)


def test_parts_are_like_buffers_of_their_episodes() -> None:
    buffer = buffer_of([2, 5, 4, 0])
    middle = buffer.some(range(1, 3))
    assert middle.steps.tolist() == [5, 4] and middle.num_frames == 11 and middle.num_bytes == 11 * 17
    assert middle.column("observation")[:, 0].tolist() == [*range(100, 106), *range(200, 205)]
    assert middle.lasts().nonzero()[:, 0].tolist() == [5, 10] and len(middle.arrived("reward")) == 9
    assert middle.endings(2).tolist() == [[1, 2]]
    assert middle.windows(torch.tensor([[1, 2]]), 2)["observation"][0, :, 0].tolist() == [202, 203, 204]
    assert buffer.part(2).num_episodes == 2 and buffer.part(99).num_episodes == 4
    with pytest.raises(SettingError, match="read-only"):
        middle.append(episode(9, 1))


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(LENGTHS, min_size=1, max_size=4))
def test_joined_buffers_equal_one_buffer_of_all_episodes(lengths: list[list[int]]) -> None:
    parts, number = [], 0
    for some in lengths:
        parts.append(ReplayBuffer())
        for steps in some:
            parts[-1].append(episode(number, steps, steps % 2 == 0))
            number += 1
    both, whole = joined(parts), buffer_of([steps for some in lengths for steps in some])
    assert {name: value.tolist() for name, value in both.tensors().items()} == {
        name: value.tolist() for name, value in whole.tensors().items()}
    starts = both.starts(1) if any(both.steps) else torch.zeros(0, 2, dtype=torch.int64)
    assert all(torch.equal(value, whole.windows(starts, 1)[name]) for name, value in both.windows(starts, 1).items())


@pytest.mark.parametrize("most", [0, 10**6])
def test_joining_copies_small_fields_alone_and_keeps_the_fields_of_all(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(Column.unite, "__defaults__", (most,))
    one, other = buffer_of([2, 3]), ReplayBuffer()
    other.append({name: rows for name, rows in episode(2, 4).items() if name in ("observation", "action")})
    both = joined([one, other])
    assert both.columns.keys() == {"observation", "action"} and both.steps.tolist() == [2, 3, 4]
    is_shared = both.columns["observation"].span(0, 7).data_ptr() == one.column("observation").data_ptr()
    assert is_shared is (most == 0)
    assert math.isnan(both.mean_return), "rewards were not recorded"
    assert joined([one]) is one


@settings(deadline=None, max_examples=60)
@given(lengths=LENGTHS, capacity=st.integers(1, 30))
def test_the_oldest_episodes_beyond_the_capacity_are_evicted(lengths: list[int], capacity: int) -> None:
    buffer, kept = buffer_of(lengths, capacity), list(enumerate(lengths))
    while len(kept) > 1 and sum(steps + 1 for _, steps in kept) > capacity:
        kept.pop(0)
    assert buffer.steps.tolist() == [steps for _, steps in kept]
    assert buffer.column("observation")[:, 0].tolist() == [100 * n + t for n, steps in kept for t in range(steps + 1)]
    for number, (name, steps) in enumerate(kept):
        assert buffer.episode(number)["truth"][:, 0].tolist() == [100 * name + t for t in range(steps + 1)]


def test_endings_are_the_windows_that_end_at_a_terminal_step() -> None:
    buffer = buffer_of([2, 3, 4, 5, 0])
    assert buffer.endings(2).tolist() == [[0, 0], [2, 2]] and buffer.endings(3).tolist() == [[2, 1]]
    bare = ReplayBuffer()
    for number in range(buffer.num_episodes):
        bare.append({name: rows for name, rows in buffer.episode(number).items() if name != "terminated"})
    assert len(bare.endings(2)) == 0 and "cont" not in bare.windows(bare.starts(2), 2)


def test_padded_arrays_become_a_buffer() -> None:
    observation, action = torch.arange(8).view(2, 4, 1), torch.arange(6.0).view(2, 3, 1)
    buffer = ReplayBuffer.of_padded(observation, action, torch.tensor([3, 1]), reward=action[..., 0],
                                    terminated=action[..., 0] == 3)
    assert buffer.column("observation")[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert buffer.column("action")[:, 0].tolist() == [0, 1, 2, 0, 3, 0]
    assert buffer.arrived("reward").tolist() == [0, 1, 2, 3] and buffer.endings(1).tolist() == [[1, 0]]


def test_an_episode_with_other_fields_or_lengths_is_refused() -> None:
    buffer = buffer_of([2])
    other = episode(1, 2)
    for wrong in ({**other, "reward": other["reward"][:2]}, {"observation": other["observation"]},
                  {name: rows[:0] for name, rows in other.items()}):
        with pytest.raises(SettingError, match="an episode has the fields and lengths"):
            buffer.append(wrong)
    assert buffer.num_episodes == 1


@settings(deadline=None, max_examples=40)
@given(lengths=LENGTHS.filter(any), memory=st.integers(0, 400), block=st.sampled_from([16, 100]),
       resident=st.sampled_from([0, 2**27]), capacity=st.sampled_from([None, 9]))
def test_rows_beyond_memory_are_in_files_and_the_same(lengths: list[int], memory: int, block: int, resident: int,
                                                      capacity: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as place:
        patch.setattr(columns, "MOST_BLOCK", block)
        patch.setattr(columns, "MOST_RESIDENT", resident)
        plain, mapped = buffer_of(lengths, capacity), buffer_of(lengths, capacity, memory, Path(place) / "rows")
        assert (Path(place) / "rows").exists() is (17 * (sum(lengths) + len(lengths)) > memory) or capacity
        for _ in range(2):
            assert {name: value.tolist() for name, value in mapped.tensors().items()} == {
                name: value.tolist() for name, value in plain.tensors().items()}
            if any(mapped.steps):
                starts = plain.starts(1)
                assert all(torch.equal(value, plain.windows(starts, 1)[name])
                           for name, value in mapped.windows(starts, 1).items())
            part, other = mapped.some(range(1, 3)), plain.some(range(1, 3))
            assert {name: value.tolist() for name, value in joined([part, mapped]).tensors().items()} == {
                name: value.tolist() for name, value in joined([other, plain]).tensors().items()}
            mapped = mapped.save(Path(place) / "saved") if not (Path(place) / "saved").exists() else mapped
        assert not (Path(place) / "rows").exists() or capacity


def test_frames_of_files_are_read_in_parts(tmp_path: Path) -> None:
    buffer = buffer_of([3, 4], memory=1, folder=tmp_path / "rows")
    frames = buffer.observations()
    assert isinstance(frames, Observations) and frames.shape == (9, 1) and len(frames) == 9 and frames.dtype == torch.int32
    parts = frames.split(4)
    assert [part[:, 0].tolist() for part in parts] == [[0, 1, 2, 3], [100, 101, 102, 103], [104]]
    assert torch.cat(list(parts)).shape == (9, 1), "a second pass"
    with pytest.raises(AttributeError, match=r"have no 'float'. Fix: read them in parts"):
        frames.float()
    assert isinstance(buffer_of([3]).observations(), Tensor)


def test_own_files_are_deleted_with_the_buffer_and_saved_ones_stay(tmp_path: Path) -> None:
    buffer = buffer_of([3, 4], memory=1, folder=tmp_path / "rows")
    saved = buffer.save(tmp_path / "saved")
    assert buffer.num_episodes == 0 and not (tmp_path / "rows").exists() and saved.steps.tolist() == [3, 4]
    other = buffer_of([3, 4], memory=1, folder=tmp_path / "rows")
    part = other.part(1)
    del other
    gc.collect()
    assert part.column("observation")[:, 0].tolist() == [0, 1, 2, 3]
    del buffer, saved, part
    gc.collect()
    assert not (tmp_path / "rows").exists()
    assert ReplayBuffer.open(tmp_path / "saved").steps.tolist() == [3, 4]
    with pytest.raises(SettingError, match="read-only"):
        ReplayBuffer.open(tmp_path / "saved").append(episode(0, 1))
    with pytest.raises(DataError, match="holds no episodes"):
        ReplayBuffer.open(tmp_path)

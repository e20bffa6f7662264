"""Column: rows come back by number, in their dtype, however they were appended; blocks are freed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.data import column as columns
from ami.data.column import Column
from ami.errors import SettingError


def filled(lengths: list[int], shared: int = 0, dtype: torch.dtype = torch.int32) -> Column:
    """Return a column of rows (n, n + 1) for n from 0; the last `shared` parts are added without a copy."""
    column = Column(dtype, (2,))
    for number, length in enumerate(lengths):
        rows = torch.arange(len(column), len(column) + length).to(dtype)
        rows = torch.stack([rows, rows + 1], dim=1)
        (column.add if number >= len(lengths) - shared else column.append)(rows)
    return column


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8), shared=st.integers(0, 8),
       block=st.sampled_from([8, 64]), data=st.data())
def test_rows_come_back_as_they_were_appended(lengths: list[int], shared: int, block: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "FIRST_BLOCK", block)
        patch.setattr(columns, "MOST_BLOCK", 4 * block)
        column, total = filled(lengths, shared), sum(lengths)
    assert len(column) == total and column.num_bytes == 8 * total
    index = torch.tensor(data.draw(st.lists(st.integers(0, max(total - 1, 0)), max_size=6)) if total else [],
                         dtype=torch.int64)
    assert torch.equal(column.rows(index[:, None])[:, 0], torch.stack([index, index + 1], 1).int())
    first = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(first, total))
    assert column.span(first, stop)[:, 0].tolist() == list(range(first, stop))
    chunks = list(column.chunks(first, stop, 3))
    assert all(len(chunk) == 3 for chunk in chunks[:-1]) and sum(map(len, chunks)) == stop - first
    assert column.span(0, total).dtype == torch.int32


def test_dropped_rows_are_freed_and_the_others_keep_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "FIRST_BLOCK", 80)
    monkeypatch.setattr(columns, "MOST_BLOCK", 80)
    column = filled([10, 10, 10])
    column.drop(19)
    assert column.num_bytes == 160 and column.rows(torch.tensor([19, 25]))[:, 0].tolist() == [19, 25]
    column.drop(30)
    assert column.num_bytes == 80, "the newest block stays"


def test_a_reserved_column_is_one_block() -> None:
    column = Column(torch.uint8, (1000, 1000))
    column.append(torch.zeros(1, 1000, 1000, dtype=torch.uint8))
    column.reserve(50)
    for _ in range(10):
        column.append(torch.ones(5, 1000, 1000, dtype=torch.uint8))
    first, last = column.span(1, 2), column.span(50, 51)
    assert last.data_ptr() - first.data_ptr() == 49 * 10**6


@pytest.mark.parametrize("rows", [torch.zeros(3, 2), torch.zeros(3, 3, dtype=torch.int32)])
def test_other_rows_are_refused(rows: torch.Tensor) -> None:
    for fill in (Column.append, Column.add):
        with pytest.raises(SettingError, match=r"a row is .*: expected torch.int32 \(2,\)"):
            fill(filled([1]), rows)


def test_small_blocks_are_united_and_large_ones_stay_shared() -> None:
    parts = [torch.arange(number, number + 3.0) for number in (0, 3, 6)]
    for most, blocks in ((36, 1), (35, 3)):
        column = Column(torch.float32, ())
        for rows in parts:
            column.add(rows)
        column.drop(0)
        column.unite(most)
        assert column.is_one_block is (blocks == 1)
        assert column.rows(torch.tensor([[0, 4], [8, 5]])).tolist() == [[0, 4], [8, 5]] and len(column) == 9
        column.append(torch.tensor([9.0]))
        assert column.span(7, 10).tolist() == [7, 8, 9]


def test_united_rows_keep_their_numbers_after_a_drop() -> None:
    column = Column(torch.float32, ())
    for number in (0, 3, 6):
        column.add(torch.arange(number, number + 3.0))
    column.drop(4)
    column.unite()
    assert column.is_one_block and column.span(5, 7).tolist() == [5, 6]
    assert column.rows(torch.tensor([3, 8])).tolist() == [3, 8]

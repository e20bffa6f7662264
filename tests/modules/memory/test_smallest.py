"""The smallest values of a row, by groups: the same as a partial sort of all."""

import pytest
import torch

from modules.memory._smallest import smallest


@pytest.mark.parametrize(("size", "count"), [(1000, 20), (997, 20), (85, 20), (80, 20), (20, 20), (5, 1), (4, 1), (1, 1)])
@pytest.mark.parametrize("equal", [False, True])
def test_as_a_sort_of_all(size, count, equal):
    values = torch.randn(7, size, generator=torch.Generator().manual_seed(size))
    if equal:
        values = values.round()
    near, at = smallest(values, count)
    assert torch.equal(near, values.sort(1).values[:, :count])
    assert torch.equal(values.gather(1, at), near)
    assert all(len(set(row.tolist())) == count for row in at)


def test_the_smallest_may_all_lie_in_one_group():
    values = torch.ones(1, 1000)
    values[0, [3, 253, 503, 753]] = torch.tensor([0.4, 0.1, 0.3, 0.2])
    assert smallest(values, 4)[1].tolist() == [[253, 753, 503, 3]]


def test_no_index_beyond_the_row_when_values_are_large():
    values = torch.full((2, 1001), 1e30)
    assert smallest(values, 20)[1].max() < 1001

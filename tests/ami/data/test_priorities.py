"""Priorities: entries are drawn in proportion to their error's power, and weights correct it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ami.data.priorities import Priorities
from ami.errors import SettingError


def drawn(priorities: Priorities, batch: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return priorities.draw(batch)


@settings(deadline=None, max_examples=30)
@given(errors=st.lists(st.floats(0, 10), min_size=1, max_size=17), alpha=st.sampled_from([0.0, 0.5, 1.0]))
def test_the_share_of_an_entry_is_that_of_its_power(errors: list[float], alpha: float) -> None:
    priorities = Priorities(len(errors), alpha, beta=1.0)
    priorities.update(torch.arange(len(errors)), -torch.tensor(errors))
    index, weights = drawn(priorities)
    power = (torch.tensor(errors).double() + 1e-6) ** alpha
    share = power / power.sum()
    found = index.bincount(minlength=len(errors)) / len(index)
    torch.testing.assert_close(found.double(), share, atol=2e-3, rtol=0)
    torch.testing.assert_close(weights.double() * share[index], (weights.double() * share[index])[0].expand(len(index)),
                               rtol=1e-4, atol=1e-9)
    assert float(weights.max()) == 1


def test_even_draws_without_updates_and_large_new_entries() -> None:
    priorities, grown = Priorities(3), Priorities(4)
    index, weights = drawn(priorities)
    assert index.bincount().tolist() == pytest.approx([20_000 / 3] * 3, abs=2) and bool((weights == 1).all())
    priorities.update(torch.tensor([0, 1, 2]), torch.tensor([0.0, 4.0, 0.0]))
    grown.take_over(priorities.powers, priorities.largest)
    found = drawn(grown)[0].bincount(minlength=4) / 20_000
    assert found[1] == pytest.approx(0.5, abs=0.01) and found[3] == pytest.approx(0.5, abs=0.01)


def test_entries_without_an_error_have_the_largest_of_the_first_update() -> None:
    for unit in (1e-3, 1e3):
        priorities = Priorities(4, alpha=1)
        priorities.update(torch.tensor([0, 1]), unit * torch.tensor([1.0, 2.0]))
        found = drawn(priorities)[0].bincount(minlength=4) / 20_000
        assert found.tolist() == pytest.approx([1 / 7, 2 / 7, 2 / 7, 2 / 7], abs=0.01), "whatever the unit of errors"


def test_of_several_errors_of_one_entry_the_largest_counts() -> None:
    priorities = Priorities(2, alpha=1)
    priorities.update(torch.tensor([0, 1, 1, 1]), torch.tensor([1.0, 1.0, 3.0, 2.0]))
    assert priorities.powers.tolist() == pytest.approx([1, 3], abs=1e-5)


def test_a_part_of_the_entries_is_updated() -> None:
    priorities = Priorities(1000, alpha=1)
    priorities.update(torch.arange(1000), torch.zeros(1000))
    priorities.update(torch.tensor([7, 900]), torch.tensor([1.0, 3.0]))
    found = drawn(priorities)[0].bincount(minlength=1000) / 20_000
    assert found[7] == pytest.approx(0.25, abs=0.01) and found[900] == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("given", [{"count": 0}, {"count": 1, "alpha": -1}, {"count": 1, "beta": 2}])
def test_settings_out_of_range_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="expected"):
        Priorities(**given)  # type: ignore[arg-type]


def test_priorities_taken_over_draw_the_same_entries() -> None:
    one, other = Priorities(300), Priorities(300)
    one.update(torch.arange(0, 300, 2), torch.linspace(0, 3, 150))
    one.update(torch.arange(50), torch.linspace(0.1, 0.7, 50))
    other.take_over(one.powers, one.largest)
    for mine, its in zip(drawn(one), drawn(other), strict=True):
        assert torch.equal(mine, its)

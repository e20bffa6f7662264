"""Links of a map: none leads to a slot that was overwritten."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.memory._links import NONE, cut, link, unlinked

SLOTS, LINKS = 6, 2


def empty(batch: int = 1):
    return torch.full((batch, SLOTS, LINKS), NONE), torch.zeros(batch, SLOTS, dtype=torch.int64)


def join(links, linked, one: int, other: int) -> None:
    """Link two slots of row 0 both ways, as the map does."""
    rows, pair, back = torch.zeros(2, dtype=torch.int64), torch.tensor([one, other]), torch.tensor([other, one])
    new = unlinked(links, rows, pair, back)
    link(links, linked, rows[new], pair[new], back[new])


def test_linked_slots_are_not_linked_again():
    links, linked = empty()
    for _ in range(3):
        join(links, linked, 0, 1)
    assert links[0, :2].tolist() == [[1, NONE], [0, NONE]] and linked[0, :2].tolist() == [1, 1]


def test_the_oldest_link_is_replaced():
    links, linked = empty()
    for other in (1, 2, 3):
        join(links, linked, 0, other)
    assert links[0, 0].tolist() == [3, 2]


def test_a_link_is_removed_that_its_slot_no_longer_returns():
    links, linked = empty()
    for other in (1, 2, 3):
        join(links, linked, 0, other)  # slot 1 leads to 0, which replaced its link to 1
    cut(links, linked, torch.tensor([0]), torch.tensor([0]))
    assert not (links == 0).any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1), st.booleans()), max_size=40))
def test_no_link_leads_to_an_overwritten_slot(steps):
    links, linked = empty(2)
    for one, other, overwrite in steps:
        if overwrite:
            cut(links, linked, torch.tensor([0]), torch.tensor([one]))
            assert not (links[0] == one).any()
            links[0, one], linked[0, one] = NONE, 0
        elif one != other:
            join(links, linked, one, other)
    assert (links[1] == NONE).all()

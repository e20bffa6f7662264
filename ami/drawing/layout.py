"""Layered layout of a graph drawing, after Sugiyama, Tagawa and Toda (1981).

Columns are ranks. A wire that passes a column runs through a *lane* in it; wires of one output share their lanes. Items are
ordered within the columns so that few wires cross, and moved vertically so that wires are nearly level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean

SWEEPS = 40


@dataclass
class Item:
    """A box, or the lane of a passing wire, in one column.

    Attributes:
        name: the node's name, or the output's ("world.goal") for a lane.
        column: its rank.
        height: its height.
        y: its upper edge, set by `arrange`.
    """

    name: str
    column: int
    height: float
    is_box: bool = True
    y: float = 0.0


@dataclass(frozen=True)
class Link:
    """One piece of the wires of an output, from an item to an item one column further; `at` and `to_at` are heights within
    them."""

    source: Item
    target: Item
    at: float
    to_at: float
    output: str


@dataclass
class Layout:
    """The columns, from top to bottom, and the links between them."""

    columns: list[list[Item]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    @property
    def height(self) -> float:
        """The lower edge of the lowest item."""
        return max(item.y + item.height for column in self.columns for item in column)


def arrange(heights: Mapping[str, float], ranks: Mapping[str, int],
            wires: Sequence[tuple[str, float, str, float, str]], lane: float, gap: float) -> Layout:
    """Arrange boxes in columns.

    Args:
        heights: each box's height.
        ranks: each box's column.
        wires: forward wires (box, height of the output in it, to box, height of the input in it, name of the output).
        lane: the height of a lane.
        gap: the space between two boxes; half of it next to a lane.
    """
    layout = Layout([[] for _ in range(max(ranks.values()) + 1)])
    items: dict[tuple[str, int], Item] = {}

    def item(name: str, column: int, height: float, is_box: bool) -> Item:
        if (name, column) not in items:
            items[name, column] = Item(name, column, height, is_box)
            layout.columns[column].append(items[name, column])
        return items[name, column]

    for name, height in heights.items():
        item(name, ranks[name], height, True)
    drawn: set[tuple[int, int, float]] = set()
    for source, at, target, to_at, output in wires:
        here, height = items[source, ranks[source]], at
        for column in range(ranks[source] + 1, ranks[target] + 1):
            last = column == ranks[target]
            there = items[target, column] if last else item(output, column, lane, False)
            to_height = to_at if last else lane / 2
            if (id(here), id(there), to_height) not in drawn:
                layout.links.append(Link(here, there, height, to_height, output))
                drawn.add((id(here), id(there), to_height))
            here, height = there, to_height
    _order(layout)
    _settle(layout, gap)
    return layout


def _order(layout: Layout) -> None:
    """Order the columns by barycentre sweeps back and forth; keep the order with the fewest crossings."""
    best = _crossings(layout), [list(column) for column in layout.columns]
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for column in layout.columns if forward else reversed(layout.columns):
            places = {id(item): i for other in layout.columns for i, item in enumerate(other)}
            target: dict[int, float] = {}
            for item in column:
                near = [places[id(link.source)] + link.at / 1000 for link in layout.links if link.target is item] \
                    if forward else [places[id(link.target)] + link.to_at / 1000 for link in layout.links
                                     if link.source is item]
                target[id(item)] = mean(near) if near else places[id(item)]
            if sweep % 4 > 1:  # breaking ties the other way escapes local minima
                column.reverse()
            column.sort(key=lambda item: target[id(item)])
        found = _crossings(layout)
        if found < best[0]:
            best = found, [list(column) for column in layout.columns]
    layout.columns = best[1]


def _crossings(layout: Layout) -> int:
    places = {id(item): i for column in layout.columns for i, item in enumerate(column)}
    ends = [(link.source.column, (places[id(link.source)], link.at), (places[id(link.target)], link.to_at))
            for link in layout.links]
    return sum(1 for i, (column, a, b) in enumerate(ends) for other, c, d in ends[i + 1:]
               if column == other and ((a < c and b > d) or (a > c and b < d)))


def _settle(layout: Layout, gap: float) -> None:
    """Move items towards the height that levels their wires, keeping their order and spacing."""
    for column in layout.columns:
        _spread(column, [0.0] * len(column), gap)
    for sweep in range(SWEEPS):
        for column in layout.columns if sweep % 2 == 0 else reversed(layout.columns):
            targets = []
            for item in column:
                moves = [link.source.y + link.at - link.to_at - item.y for link in layout.links if link.target is item]
                moves += [link.target.y + link.to_at - link.at - item.y for link in layout.links if link.source is item]
                targets.append(item.y + (mean(moves) if moves else 0.0))
            _spread(column, targets, gap)
    top = min(item.y for column in layout.columns for item in column)
    for column in layout.columns:
        for item in column:
            item.y -= top


def _spread(column: Sequence[Item], targets: Sequence[float], gap: float) -> None:
    """Set the heights nearest to the targets that keep order and spacing, by pooling adjacent violators."""
    offsets = [0.0]
    for above, below in pairwise(column):
        room = gap if above.is_box and below.is_box else gap / 2 if above.is_box or below.is_box else gap / 4
        offsets.append(offsets[-1] + above.height + room)
    pools: list[list[float]] = []
    for target, offset in zip(targets, offsets, strict=False):
        pools.append([target - offset, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools.pop(-2), pools.pop()
            pools.append([(a * m + b * n) / (m + n), m + n])
    bases = [base for base, count in pools for _ in range(int(count))]
    for item, base, offset in zip(column, bases, offsets, strict=False):
        item.y = base + offset

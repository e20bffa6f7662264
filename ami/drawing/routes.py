"""Edge routes around the boxes of a drawing: feedback and calls run on tracks between, above and below the columns."""

from __future__ import annotations

TRACK, AISLE = 8.0, 32.0
"""Distance between two tracks, and space for forward wires between two columns."""


class Tracks:
    """Vertical tracks in each gap between columns, and horizontal tracks above and below them."""

    def __init__(self, gaps: int) -> None:
        self.gaps: list[list[str]] = [[] for _ in range(gaps)]
        self.above: list[str] = []
        self.below: list[str] = []

    def add(self, gap: int, key: str) -> None:
        """Add a vertical track in the gap left of column number `gap`."""
        _once(self.gaps[gap], key)

    def add_above(self, key: str) -> None:
        """Add a horizontal track above the boxes."""
        _once(self.above, key)

    def add_below(self, key: str) -> None:
        """Add a horizontal track below the boxes."""
        _once(self.below, key)

    def width(self, gap: int) -> float:
        """Return the width of a gap; the outermost two hold only tracks."""
        count = len(self.gaps[gap])
        if self._is_edge(gap):
            return TRACK * (count + 1) if count else 0.0
        return AISLE + TRACK * count

    def offset(self, gap: int, key: str) -> float:
        """Return the offset of a track within its gap."""
        edge = self._is_edge(gap)
        return (0 if edge else AISLE / 2) + TRACK * (self.gaps[gap].index(key) + 0.5 + 0.5 * edge)

    def _is_edge(self, gap: int) -> bool:
        return gap in (0, len(self.gaps) - 1)


def _once(keys: list[str], key: str) -> None:
    if key not in keys:
        keys.append(key)


def rounded(corners: list[tuple[float, float]], radius: float = 8.0) -> str:
    """Return a right-angled path with round corners."""
    (x, y), *rest = corners
    path = f"M{x:.1f} {y:.1f}"
    for (ax, ay), (bx, by), (cx, cy) in zip(corners, corners[1:], corners[2:], strict=False):
        before, after = abs(bx - ax) + abs(by - ay), abs(cx - bx) + abs(cy - by)
        r = min(radius, before / 2, after / 2)
        if r < 0.5:
            path += f"L{bx:.1f} {by:.1f}"
            continue
        sx, sy = bx + (ax - bx) / before * r, by + (ay - by) / before * r
        ex, ey = bx + (cx - bx) / after * r, by + (cy - by) / after * r
        path += f"L{sx:.1f} {sy:.1f}Q{bx:.1f} {by:.1f} {ex:.1f} {ey:.1f}"
    return path + f"L{rest[-1][0]:.1f} {rest[-1][1]:.1f}"

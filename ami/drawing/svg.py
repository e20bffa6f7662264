"""The graph as a standalone SVG: columns by rank, messages forward in between, feedback below, calls above."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest

from ami.drawing.description import Description, DrawnNode, DrawnWire, extras
from ami.drawing.layout import Layout, Link, arrange
from ami.drawing.losses import Losses, lost
from ami.drawing.routes import TRACK, Tracks, rounded

COLOURS = {
    "world": "#475569", "perception": "#2563eb", "world_model": "#7c3aed", "memory": "#0d9488", "goal": "#b45309",
    "cost": "#dc2626", "planner": "#15803d", "actor": "#c2410c", "configurator": "#be185d",
}
"""Colour by role; a wire has the colour of its source node."""
OTHER = "#334155"
PALE = "#cbd5e1"
"""Of a wire without which nothing is lost."""
THIN, THICK = 1.4, 4.6
"""Widths of wires without which 0 and 100 points are lost."""

HEADER, ROW, FOOT = 40.0, 19.0, 8.0
GAP, LANE, MARGIN = 34.0, 14.0, 20.0
LETTER, SMALL, BOLD = 6.4, 6.0, 8.2
"""Letter widths, wide enough for any reader's font."""
STYLE = """\
text { font-family: ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; font-size: 12px; fill: #334155 }
.name { font-size: 14px; font-weight: 600; fill: #fff }
.class { font-size: 11px; fill: #fff; opacity: .85 }
.call { font-size: 11px; font-style: italic; fill: #64748b }
.note { fill: #64748b }
path { fill: none }
.message { stroke-width: 1.8 }
.feedback { stroke-width: 1.8 }
.dashed { stroke-width: 1.5; stroke-dasharray: 5 4; opacity: .8 }"""


@dataclass
class _Box:
    """A drawn node: its wired inputs with their labels, its read outputs, its calls (callee, label)."""

    node: str
    title: str
    colour: str
    inputs: dict[str, str]
    outputs: list[str]
    calls: list[tuple[str, str]]
    lost: str = ""
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        rows = [len(left) + len(right) + 2 for left, right in zip_longest(self.inputs.values(), self.outputs, fillvalue="")]
        small = [len(self.title), *(len(label) for _, label in self.calls)]
        name = f"{self.node}  {self.lost}" if self.lost else self.node
        return 22 + max(len(name) * BOLD, max(rows, default=0) * LETTER, max(small) * SMALL)

    @property
    def height(self) -> float:
        return HEADER + ROW * (max(len(self.inputs), len(self.outputs)) + len(self.calls)) + FOOT

    def row(self, ports: Iterable[str], name: str) -> float:
        return HEADER + ROW * (list(ports).index(name) + 0.5) + FOOT / 2

    def call_row(self, index: int) -> float:
        return HEADER + ROW * (max(len(self.inputs), len(self.outputs)) + index + 0.5) + FOOT / 2


def svg(graph: Description, losses: Losses | None = None) -> str:
    """Draw a graph; with losses, a wire is as thick as the success that is lost without it, and pale if none is."""
    return _Picture(graph, losses).draw()


class _Picture:
    def __init__(self, graph: Description, losses: Losses | None) -> None:
        self.graph, self.ranks, self.losses = graph, graph.ranks, losses
        self.boxes = {node.name: _box(graph, node, losses) for node in graph.nodes}
        forward = []
        for wire in graph.wires:
            if wire.delay == 0 and not wire.cut:
                source, target = self.boxes[wire.node], self.boxes[wire.to_node]
                forward.append((wire.node, source.row(source.outputs, wire.port), wire.to_node,
                                target.row(target.inputs, wire.to_port), f"{wire.node}.{wire.port}"))
        heights = {node: box.height for node, box in self.boxes.items()}
        self.layout: Layout = arrange(heights, self.ranks, forward, LANE, GAP)
        self.tracks = Tracks(len(self.layout.columns) + 1)
        self.feedback = self._plan_feedback()
        self.calls = self._plan_calls()
        self.above = MARGIN + TRACK * (len(self.tracks.above) + 1)
        self.lefts = self._place_columns()

    def draw(self) -> str:
        shapes = [*self._messages(), *self._feedback_paths(), *self._call_paths(), *self._drawn_boxes()]
        bottom = self.above + self.layout.height + TRACK * (len(self.tracks.below) + 2)
        shapes += self._legend(bottom + 14)
        width, height = self.lefts[-1] + MARGIN, bottom + 14 + MARGIN
        title = escape(f"The loop of {', '.join(self.boxes)}")
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" role="img">', f"<title>{title}</title>", f"<style>\n{STYLE}\n</style>",
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="12" fill="#f8fafc"/>', *shapes, "</svg>"])

    # Layout ----------------------------------------------------------------------------------------------------------

    def _plan_feedback(self) -> list[DrawnWire]:
        """Route delayed wires: out through the gap on the right, back below, in through the gap on the left."""
        late = [wire for wire in self.graph.wires if wire.delay and not wire.cut]
        # the shortest path back is the innermost one
        for wire in sorted(late, key=lambda w: (self.ranks[w.node] - self.ranks[w.to_node],
                                                w.node, w.port, w.to_node, w.to_port)):
            self.tracks.add_below(f"{wire.node}.{wire.port}")
            self.tracks.add(self.ranks[wire.node] + 1, f"{wire.node}.{wire.port}")
            self.tracks.add(self.ranks[wire.to_node], f"{wire.to_node}.{wire.to_port}")
        return late

    def _plan_calls(self) -> list[tuple[str, int, str]]:
        """Route calls: out through the gap on the left; a callee further left is reached above, from its right."""
        calls = [(node, i, callee) for node, box in self.boxes.items() for i, (callee, _) in enumerate(box.calls)]
        for node, i, callee in sorted(calls, key=lambda call: self.ranks[call[0]] - self.ranks[call[2]]):
            column, callee_column = self.ranks[node], self.ranks[callee]
            self.tracks.add(column, f"call {node} {i}")
            if callee_column not in (column, column - 1):
                self.tracks.add_above(f"to {callee}")
                self.tracks.add(callee_column + (callee_column < column), f"to {callee}")
        return calls

    def _place_columns(self) -> list[float]:
        """Return the left edge of every column, and the right end."""
        x, lefts = MARGIN, []
        for column, items in enumerate(self.layout.columns):
            x += self.tracks.width(column)
            lefts.append(x)
            widest = max(self.boxes[item.name].width for item in items if item.is_box)
            for item in items:
                if item.is_box:
                    box = self.boxes[item.name]
                    box.x, box.y = x + (widest - box.width) / 2, self.above + item.y
            x += widest
        x += self.tracks.width(len(lefts))
        return [*lefts, x]

    def _track(self, gap: int, key: str) -> float:
        """Return the x of a vertical track in the gap left of a column."""
        return self.lefts[gap] - self.tracks.width(gap) + self.tracks.offset(gap, key)

    # Shapes ----------------------------------------------------------------------------------------------------------

    def _messages(self) -> Iterable[str]:
        for link in sorted(self.layout.links, key=lambda link: self._stroke(self._served(link))[0] != PALE):
            x, y = self._end(link.source.name, link.source.column, link.source.is_box, right=True), link.source.y + link.at
            to_x = self._end(link.target.name, link.target.column, link.target.is_box, right=False)
            y, to_y = y + self.above, link.target.y + link.to_at + self.above
            bend = (to_x - x) * 0.5
            path = f"M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
            if not link.target.is_box:
                path += f"H{to_x + self._column_width(link.target.column):.1f}"
            colour, width = self._stroke(self._served(link))
            yield f'<path class="message" stroke="{colour}"{width} d="{path}"/>'
            if link.target.is_box:
                yield _arrow(to_x, to_y, colour)

    def _feedback_paths(self) -> Iterable[str]:
        bottom = self.above + self.layout.height
        for wire in sorted(self.feedback, key=lambda wire: self._stroke([wire])[0] != PALE):  # pale ones below the others
            node, port, to_node, to_port = wire.node, wire.port, wire.to_node, wire.to_port
            source, target = self.boxes[node], self.boxes[to_node]
            y, to_y = source.y + source.row(source.outputs, port), target.y + target.row(target.inputs, to_port)
            down = self._track(self.ranks[node] + 1, f"{node}.{port}")
            up = self._track(self.ranks[to_node], f"{to_node}.{to_port}")
            lane = bottom + TRACK * (self.tracks.below.index(f"{node}.{port}") + 1.6)
            corners = [(source.x + source.width, y), (down, y), (down, lane), (up, lane), (up, to_y), (target.x, to_y)]
            colour, width = self._stroke([wire])
            yield f'<path class="feedback" stroke="{colour}"{width} d="{rounded(corners)}"/>'
            yield _arrow(target.x, to_y, colour)

    def _call_paths(self) -> Iterable[str]:
        for node, i, callee in self.calls:
            source, target = self.boxes[node], self.boxes[callee]
            column, callee_column = self.ranks[node], self.ranks[callee]
            y, to_y = source.y + source.call_row(i), target.y + HEADER / 2
            x = self._track(column, f"call {node} {i}")
            from_right = callee_column < column
            to_x = target.x + target.width if from_right else target.x
            corners = [(source.x, y), (x, y)]
            if callee_column not in (column, column - 1):
                lane = self.above - TRACK * (self.tracks.above.index(f"to {callee}") + 1.6)
                down = self._track(callee_column + from_right, f"to {callee}")
                corners += [(x, lane), (down, lane), (down, to_y), (to_x, to_y)]
            else:
                corners += [(x, to_y), (to_x, to_y)]
            # drawn from the callee: the dashes of calls that share a track coincide
            yield f'<path class="dashed" stroke="{target.colour}" d="{rounded(corners[::-1])}"/>'
            yield _arrow(to_x, to_y, target.colour, leftwards=from_right)

    def _drawn_boxes(self) -> Iterable[str]:
        for box in self.boxes.values():
            x, y, right = box.x, box.y, box.x + box.width
            yield (f'<g><rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="9" fill="#fff" '
                   f'stroke="{box.colour}" stroke-width="1.6"/>')
            yield (f'<path style="fill:{box.colour}" d="M{x:.1f} {y + HEADER:.1f}v-{HEADER - 9}a9 9 0 0 1 9 -9h'
                   f'{box.width - 18:.1f}a9 9 0 0 1 9 9v{HEADER - 9}z"/>')
            yield _text(x + 11, y + 17, box.node, "name")
            if box.lost:
                yield _text(right - 11, y + 17, box.lost, "name", anchor="end")
            yield _text(x + 11, y + 32, box.title, "class")
            for port, label in box.inputs.items():
                yield _text(x + 11, y + box.row(box.inputs, port) + 4, label)
            for port in box.outputs:
                yield _text(right - 11, y + box.row(box.outputs, port) + 4, port, anchor="end")
            for i, (_, label) in enumerate(box.calls):
                yield _text(x + 11, y + box.call_row(i) + 4, label, "call")
            yield "</g>"

    def _legend(self, y: float) -> Iterable[str]:
        entries = [("message", "message, one per tick")]
        if self.calls:
            entries.append(("dashed", "call, many per tick"))
        x = MARGIN
        for style, label in entries:
            yield f'<path class="{style}" stroke="#64748b" d="M{x} {y}h34"/>'
            yield _text(x + 42, y + 4, label, "note")
            x += 42 + len(label) * LETTER + 26
        if self.feedback:
            note = "@-1: arrives one tick later"
            yield _text(x, y + 4, note, "note")
            x += len(note) * LETTER + 26
        if self.losses:
            yield f'<path stroke="{PALE}" style="stroke-width:{THIN}" d="M{x} {y}h34"/>'
            yield f'<path stroke="#64748b" style="stroke-width:{THICK}" d="M{x + 42} {y}h34"/>'
            yield _text(x + 84, y + 4, "points of success lost without it: 0, 100", "note")

    def _served(self, link: Link) -> list[DrawnWire]:
        """Return the wires that pass through a link."""
        wires = [wire for wire in self.graph.wires if f"{wire.node}.{wire.port}" == link.output
                 and not (wire.delay or wire.cut)]
        if not link.target.is_box:
            return [wire for wire in wires if self.ranks[wire.to_node] > link.target.column]
        box = self.boxes[link.target.name]
        return [wire for wire in wires if wire.to_node == box.node and box.row(box.inputs, wire.to_port) == link.to_at]

    def _stroke(self, wires: Sequence[DrawnWire]) -> tuple[str, str]:
        """Return the colour of wires that are drawn as one, and the attribute of their width."""
        colour = self.boxes[wires[0].node].colour
        if self.losses is None:
            return colour, ""
        known = [points for wire in wires if (points := self.losses.of_wire(self.graph, wire)) is not None]
        if not known:
            return colour, ""
        most = max(known)
        return colour if most > 0 else PALE, f' style="stroke-width:{THIN + (THICK - THIN) * min(most, 100.0) / 100:.1f}"'

    def _end(self, name: str, column: int, is_box: bool, right: bool) -> float:
        if is_box:
            return self.boxes[name].x + (self.boxes[name].width if right else 0)
        return self.lefts[column] + (self._column_width(column) if right else 0)

    def _column_width(self, column: int) -> float:
        return max(self.boxes[item.name].width for item in self.layout.columns[column] if item.is_box)


def _box(graph: Description, node: DrawnNode, losses: Losses | None) -> _Box:
    wired = {w.to_port: w.to_port + (" ✂" if w.cut else f" @-{w.delay}" if w.delay else "") for w in graph.inputs(node.name)}
    read = {w.port for w in graph.wires if w.node == node.name and not w.cut}
    calls = [(call.callee, f"{call.callee}.{method}()") for call in node.calls for method in call.methods]
    points = losses.points.get(node.name) if losses else None
    return _Box(node.name, ", ".join([node.title, *extras(node)]), COLOURS.get(node.role, OTHER), wired,
                [port for port in node.outputs if port in read], calls, "" if points is None else lost(points))


def _arrow(x: float, y: float, colour: str, leftwards: bool = False) -> str:
    back = 7 if leftwards else -7
    return f'<path style="fill:{colour}" d="M{x:.1f} {y:.1f}l{back} -4v8z"/>'


def _text(x: float, y: float, content: str, style: str = "", anchor: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    side = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind}{side}>{escape(content)}</text>'

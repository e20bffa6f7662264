"""Segments: the firing order is kept, and every message is where it is read when it is read, however the mind is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings

import ami
from ami.config.compose import to_graph
from ami.errors import SettingError
from ami.graph.graph import Graph
from ami.graph.partition import Segment, cut, groups_of
from tests.ami.toys import graph, groupings

SHIPPED = to_graph(ami.compose())
TICKS = 5


def names(segments: Sequence[Segment]) -> list[str]:
    return [" ".join(segment.nodes) for segment in segments]


# Who lives where ------------------------------------------------------------------------------------------------------


def test_by_module_every_node_is_alone_and_by_agent_all_are_together() -> None:
    assert groups_of(graph(), "module") == {"book": "book", "eye": "eye", "head": "head", "hand": "hand"}
    assert groups_of(graph(), "agent") == dict.fromkeys(("book", "eye", "head", "hand"), "agent")


@pytest.mark.parametrize(("placement", "words"), [
    ("modules", "placement is 'modules': did you mean 'module'? Or a mapping {group: [nodes]}"),
    ("ray", "placement is 'ray': expected one of agent, module. Or a mapping {group: [nodes]}"),
    ({"a": ["eye", "haed"]}, "placement puts the unknown node 'haed' in 'a': did you mean 'head'?"),
    ({"a": ["eye"], "b": ["eye"]}, "placement puts eye in 'a' and in 'b': expected one group"),
    ({"a": ["eye"], "b": ["head"]}, "placement omits book, hand. Fix: put every node into one group"),
    ({}, "placement omits book, eye, head, hand. Fix: put every node into one group"),
])
def test_a_placement_that_cannot_be_says_why(placement: str | Mapping[str, Sequence[str]], words: str) -> None:
    with pytest.raises(SettingError) as refused:
        groups_of(graph(), placement)
    assert str(refused.value) == words


# Where the order is cut -----------------------------------------------------------------------------------------------


def test_neighbours_of_one_group_are_one_segment() -> None:
    assert names(cut(graph(), "agent")) == ["book eye head hand"]
    assert names(cut(graph(), {"a": ["eye", "head"], "b": ["book", "hand"]})) == ["book", "eye head", "hand"]
    assert names(cut(SHIPPED, "module")) == list(SHIPPED.order)


def test_one_process_receives_and_exports_nothing() -> None:
    (segment,) = cut(SHIPPED, "agent")
    assert (segment.receives, segment.exports) == ((), {})


def test_only_what_another_group_reads_is_exported() -> None:
    book, eye, head, hand = cut(graph(), "module")
    assert [book.exports, eye.exports, head.exports, hand.exports] == [
        {}, {"eye": ("state",)}, {"head": ("plan",)}, {"hand": ("action",)}]


def test_what_is_late_comes_with_the_readers_next_call() -> None:
    book, eye, head, hand = cut(graph(), "module")
    assert [book.receives, eye.receives, head.receives, hand.receives] == [(), (3,), (1,), (2,)]


def test_a_call_edge_carries_no_messages() -> None:
    assert all(0 not in segment.receives for segment in cut(graph(), "module"))  # the head calls the book, segment 0


def test_what_is_watched_is_filed_under_the_segment_that_makes_it() -> None:
    segments = cut(graph(), "module", ("eye.reward", "hand.action", "eye.state"))
    assert [segment.watched for segment in segments] == [(), ("eye.reward", "eye.state"), (), ("hand.action",)]


def test_what_no_node_sends_cannot_be_watched() -> None:
    with pytest.raises(SettingError, match=r"'hand\.actoin' is watched, which no node sends: did you mean 'hand\.action'\?"):
        cut(graph(), "module", ("hand.actoin",))


# However it is cut ----------------------------------------------------------------------------------------------------


class Post:
    """Fires segments without modules: notes down which group knows which message, and how often it was delivered."""

    def __init__(self, of: Graph, placement: Mapping[str, Sequence[str]]) -> None:
        self.graph, self.group_of, self.segments = of, groups_of(of, placement), cut(of, placement)
        self.parcels: dict[int, tuple[int, Mapping[str, Sequence[str]]]] = {}
        self.known: dict[str, set[tuple[str, str, int]]] = {group: set() for group in placement}
        self.delivered: dict[tuple[str, int, int], int] = {}

    def cycle(self, tick: int) -> None:
        for segment in self.segments:
            known = self.known[segment.group]
            for index in segment.receives:
                if index in self.parcels:
                    sent_at, contents = self.parcels[index]
                    key = (segment.group, index, sent_at)
                    self.delivered[key] = self.delivered.get(key, 0) + 1
                    known |= {(node, port, sent_at) for node, ports in contents.items() for port in ports}
            for node in segment.nodes:
                for wire in self.graph.inputs[node]:
                    if tick >= wire.delay:
                        assert (wire.node, wire.port, tick - wire.delay) in known, f"{wire} at tick {tick}"
                known |= {(node, port, tick) for port in self.graph.drafts[node].outputs}
            self.parcels[segment.index] = (tick, segment.exports)


def check_delivery(of: Graph, placement: Mapping[str, Sequence[str]]) -> None:
    post = Post(of, placement)
    for tick in range(TICKS):
        post.cycle(tick)
    assert set(post.delivered.values()) <= {1}
    readers = {(post.group_of[wire.to_node], segment.index) for wire in of.wires for segment in post.segments
               if wire.node in segment.nodes and segment.group != post.group_of[wire.to_node]}
    for group, index in readers:
        for tick in range(TICKS - 1):  # what is late may still be under way at the end
            assert post.delivered[group, index, tick] == 1
    assert {(group, index) for group, index, _ in post.delivered} <= readers


@settings(deadline=None, max_examples=100)
@given(placement=groupings(SHIPPED))
@example({node: [node] for node in SHIPPED.order})
@example({"odd": list(SHIPPED.order[::2]), "even": list(SHIPPED.order[1::2])})
def test_every_message_comes_exactly_once_and_before_it_is_read(placement: dict[str, list[str]]) -> None:
    check_delivery(SHIPPED, placement)


LATE = graph(eye={"action": "hand.action@-3"}, head={"state": "eye.state@-2", "hint": "head.energy@-1",
                                                     "calls": {"book": "book"}}, hand={"plan": "head.plan@-1"})


@settings(deadline=None, max_examples=60)
@given(placement=groupings(LATE))
def test_so_does_every_late_one(placement: dict[str, list[str]]) -> None:
    check_delivery(LATE, placement)


@settings(deadline=None, max_examples=60)
@given(placement=groupings(SHIPPED))
def test_every_node_fires_once_a_tick_in_the_same_order_and_in_its_own_process(placement: dict[str, list[str]]) -> None:
    segments = cut(SHIPPED, placement)
    assert [node for segment in segments for node in segment.nodes] == list(SHIPPED.order)
    assert all(node in placement[segment.group] for segment in segments for node in segment.nodes)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(one.group != other.group for one, other in pairwise(segments))


def test_over_a_wire_that_is_cut_nothing_travels() -> None:
    severed = graph(hand={"plan": {"from": "head.plan", "cut": True}})
    assert not any("head" in segment.exports for segment in cut(severed, "module"))

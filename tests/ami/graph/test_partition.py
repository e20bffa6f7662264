"""Segments: under every placement the firing order is kept and every message arrives before it is read."""

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


# Groups ---------------------------------------------------------------------------------------------------------------


def test_module_separates_all_nodes_and_agent_joins_them() -> None:
    assert groups_of(graph(), "module") == {"book": "book", "eye": "eye", "head": "head", "hand": "hand"}
    assert groups_of(graph(), "agent") == dict.fromkeys(("book", "eye", "head", "hand"), "agent")


@pytest.mark.parametrize(("placement", "words"), [
    ("modules", "placement is 'modules': did you mean 'module'? Or a mapping {group: [nodes]}"),
    ("ray", "placement is 'ray': expected one of agent, auto, module. Or a mapping {group: [nodes]}"),
    ({"a": ["eye", "haed"]}, "placement puts the unknown node 'haed' in 'a': did you mean 'head'?"),
    ({"a": ["eye"], "b": ["eye"]}, "placement puts eye in 'a' and in 'b': expected one group"),
    ({"a": ["eye"], "b": ["head"]}, "placement omits book, hand. Fix: put every node into one group"),
    ({}, "placement omits book, eye, head, hand. Fix: put every node into one group"),
])
def test_an_invalid_placement_is_refused_with_its_fix(placement: str | Mapping[str, Sequence[str]], words: str) -> None:
    with pytest.raises(SettingError) as refused:
        groups_of(graph(), placement)
    assert str(refused.value) == words


# Segments -------------------------------------------------------------------------------------------------------------


def test_neighbours_of_one_group_are_one_segment() -> None:
    assert names(cut(graph(), "agent")) == ["book eye head hand"]
    assert names(cut(graph(), {"a": ["eye", "head"], "b": ["book", "hand"]})) == ["book", "eye head", "hand"]
    assert names(cut(SHIPPED, "module")) == list(SHIPPED.order)


def test_one_process_receives_and_exports_nothing() -> None:
    (segment,) = cut(SHIPPED, "agent")
    assert (segment.receives, segment.exports) == ((), {})


def test_only_ports_read_by_another_group_are_exported() -> None:
    book, eye, head, hand = cut(graph(), "module")
    assert [book.exports, eye.exports, head.exports, hand.exports] == [
        {}, {"eye": ("state",)}, {"head": ("plan",)}, {"hand": ("action",)}]


def test_a_delayed_message_comes_with_the_readers_next_call() -> None:
    book, eye, head, hand = cut(graph(), "module")
    assert [book.receives, eye.receives, head.receives, hand.receives] == [(), (3,), (1,), (2,)]


def test_a_call_edge_carries_no_messages() -> None:
    assert all(0 not in segment.receives for segment in cut(graph(), "module"))  # the head calls the book, segment 0


def test_watched_ports_belong_to_the_segment_of_their_node() -> None:
    segments = cut(graph(), "module", ("eye.reward", "hand.action", "eye.state"))
    assert [segment.watched for segment in segments] == [(), ("eye.reward", "eye.state"), (), ("hand.action",)]


def test_a_port_that_no_node_sends_cannot_be_watched() -> None:
    with pytest.raises(SettingError, match=r"'hand\.actoin' is watched, which no node sends: did you mean 'hand\.action'\?"):
        cut(graph(), "module", ("hand.actoin",))


# Delivery under every placement ---------------------------------------------------------------------------------------


class Post:
    """Fires segments without modules; records the messages known to each group and the number of deliveries."""

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
        for tick in range(TICKS - 1):  # a delayed message may be undelivered at the end
            assert post.delivered[group, index, tick] == 1
    assert {(group, index) for group, index, _ in post.delivered} <= readers


@settings(deadline=None, max_examples=100)
@given(placement=groupings(SHIPPED))
@example({node: [node] for node in SHIPPED.order})
@example({"odd": list(SHIPPED.order[::2]), "even": list(SHIPPED.order[1::2])})
def test_every_message_arrives_once_and_before_it_is_read(placement: dict[str, list[str]]) -> None:
    check_delivery(SHIPPED, placement)


LATE = graph(eye={"action": "hand.action@-3"}, head={"state": "eye.state@-2", "hint": "head.energy@-1",
                                                     "calls": {"book": "book"}}, hand={"plan": "head.plan@-1"})


@settings(deadline=None, max_examples=60)
@given(placement=groupings(LATE))
def test_every_delayed_message_arrives_once_and_before_it_is_read(placement: dict[str, list[str]]) -> None:
    check_delivery(LATE, placement)


@settings(deadline=None, max_examples=60)
@given(placement=groupings(SHIPPED))
def test_every_node_fires_once_per_tick_in_order_in_its_own_group(placement: dict[str, list[str]]) -> None:
    segments = cut(SHIPPED, placement)
    assert [node for segment in segments for node in segment.nodes] == list(SHIPPED.order)
    assert all(node in placement[segment.group] for segment in segments for node in segment.nodes)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert all(one.group != other.group for one, other in pairwise(segments))


def test_a_cut_wire_exports_nothing() -> None:
    severed = graph(hand={"plan": {"from": "head.plan", "cut": True}})
    assert not any("head" in segment.exports for segment in cut(severed, "module"))

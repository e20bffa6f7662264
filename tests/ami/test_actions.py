"""ActionSpace: layout, draws and masks of actions; the graph propagates the world's space to every module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from ami.actions import ActionSpace
from ami.blueprint import Actor, Planner, World
from ami.errors import GraphError, SettingError
from ami.graph.graph import Graph
from ami.graph.spec import ModuleSpec
from ami.ports import Port, Size
from modules.planner.categorical import Categorical
from modules.planner.cem import CEM
from modules.planner.tree import TreeSearch

NUMBERS, THREE, SIX, MIXED = ActionSpace(2), ActionSpace(choices=(3,)), ActionSpace(choices=(3, 2)), ActionSpace(1, (3, 2))


@pytest.mark.parametrize(("space", "width", "words"), [
    (NUMBERS, 2, "2 numbers in [-1, 1]"), (THREE, 3, "one of 3"), (SIX, 5, "one of 3 and one of 2"),
    (MIXED, 6, "1 number in [-1, 1] and one of 3 and one of 2"), (ActionSpace(choices=(2,) * 5), 10, "5 times one of 2")])
def test_width_and_text_of_an_action_space(space: ActionSpace, width: int, words: str) -> None:
    assert space.width == width and str(space) == words


def test_an_action_space_is_not_equal_to_a_number() -> None:
    assert THREE != 3 and ActionSpace(3) != THREE and ActionSpace(choices=(3,)) == THREE
    with pytest.raises(SettingError, match="expected 0 or more numbers, and 1 or more alternatives per choice"):
        ActionSpace(choices=(3, 0))


@pytest.mark.parametrize("space", [NUMBERS, THREE, SIX, MIXED], ids=str)
def test_drawn_and_nearest_actions_are_valid(space: ActionSpace) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = space.draw(torch.rand(400, space.num_draws, generator=generator))
    nearest = space.nearest(2 * torch.randn(400, space.width, generator=generator))
    assert space.fits(drawn).all() and space.fits(nearest).all()
    assert torch.equal(space.nearest(drawn), drawn)
    for block in space.blocks(drawn) if space.choices else ():
        assert block.mean(0).sub(1 / block.shape[1]).abs().max() < 0.1, "all alternatives are as likely"
    assert not space.fits(torch.full((1, space.width), 1.5)).any()


def test_disallowed_alternatives_are_neither_drawn_nor_nearest() -> None:
    allowed = torch.tensor([True, False, True, False, False, True])  # the number, two of three, one of two
    drawn = MIXED.draw(torch.rand(200, 3, generator=torch.Generator().manual_seed(0)), allowed.expand(200, -1))
    assert not drawn[:, ~allowed].any() and (drawn[:, 2] == 1).all() and (drawn[:, 5] == 1).all()
    nearest = MIXED.nearest(torch.tensor([0.5, 3.0, 0, 0, 1, 0]), allowed)
    assert nearest.tolist() == [0.5, 0, 1, 0, 0, 1]
    drawn = THREE.draw(torch.rand(300, 1, generator=torch.Generator().manual_seed(0)),
                       torch.tensor([True, False, True]).expand(300, -1))
    assert drawn.mean(0).tolist() == pytest.approx([0.5, 0, 0.5], abs=0.1)


def test_every_combination_of_choices() -> None:
    joint = SIX.joint()
    assert joint.shape == (6, 5) and SIX.fits(joint).all() and len({tuple(row) for row in joint.tolist()}) == 6
    assert SIX.chosen(joint).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]


def test_a_mask_that_allows_nothing_names_its_row() -> None:
    allowed = torch.ones(3, 5, dtype=torch.bool)
    SIX.check_mask(allowed, "Categorical")
    allowed[1, 3:] = False
    with pytest.raises(SettingError, match="Categorical received an action_mask that allows nothing in row 1: expected at "
                                           "least one allowed alternative of 2"):
        SIX.check_mask(allowed, "Categorical")


# Propagation through a graph ------------------------------------------------------------------------------------------


class Room(World):
    outputs: Mapping[str, Port] = {}
    space = THREE

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"action": Port("action", ("A",), space=self.space)}

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"A": self.space.width}


class Fader(Room):
    space = NUMBERS


class Still(Actor):
    """Declares its action width as a plain number, as a network of fixed size does."""

    inputs = {"plan": Port("plan", ("H", "A"), optional=True)}
    width = 3

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        return {"A": self.width}

    def step(self, plan: Tensor | None = None) -> dict[str, Tensor]:
        raise NotImplementedError


class Two(Still):
    width = 2


class Free(Planner):
    """A planner with a plan output only, without inputs and calls."""

    inputs: Mapping[str, Port] = {}
    outputs = {"plan": Port("plan", ("H", "A"))}
    requires: Mapping[str, Any] = {}


class FreeCEM(Free, CEM):
    pass


class FreeCategorical(Free, Categorical):
    pass


class FreeTree(Free, TreeSearch):
    pass


def wired(world: type[World], actor: type[Actor], planner: type[Planner]) -> Graph:
    return Graph({"world": ModuleSpec(world), "actor": ModuleSpec(actor), "planner": ModuleSpec(planner)},
                 {"world": {"action": "actor.action@-1"}, "actor": {"plan": "planner.plan"}, "planner": {}})


def test_a_plain_width_of_an_actor_keeps_the_choices() -> None:
    graph = wired(Room, Still, FreeCategorical)
    assert graph.actions == {"world": THREE, "actor": THREE, "planner": THREE}
    assert {node: dims["A"] for node, dims in graph.dims.items()} == {"world": 3, "actor": 3, "planner": 3}
    with pytest.raises(GraphError, match=r"planner: FreeCEM plans continuous actions, but here an action is one of 3\. Fix"):
        wired(Room, Still, FreeCEM)


def test_planners_of_choices_refuse_continuous_actions() -> None:
    assert wired(Fader, Two, FreeCEM).actions["planner"] == NUMBERS
    with pytest.raises(GraphError, match=r"planner: FreeTree plans choices, but here an action is 2 numbers in \[-1, 1\]"):
        wired(Fader, Two, FreeTree)


def test_two_action_spaces_of_equal_width_cannot_share_an_actor() -> None:
    class Dial(Room):
        space = ActionSpace(3)

    with pytest.raises(GraphError, match=r"other actions along actor.action@-1 → \w+.action: \w+ has actions of "):
        Graph({"world": ModuleSpec(Room), "other": ModuleSpec(Dial), "actor": ModuleSpec(Still)},
              {"world": {"action": "actor.action@-1"}, "other": {"action": "actor.action@-1"}, "actor": {}})


def test_a_tree_over_too_many_combinations_is_refused() -> None:
    class Many(Room):
        space = ActionSpace(choices=(2,) * 9)

    class Nine(Still):
        width = 18

    with pytest.raises(GraphError, match="TreeSearch branches over every combination of choices, and here an action is 9 "
                                         "times one of 2: 512, expected at most 256"):
        wired(Many, Nine, FreeTree)

"""Drives: the wish by felt energy and ways, and the gate between reacting and planning."""

import math

import pytest
import torch

from ami.errors import SettingError
from ami.module import Episode
from modules.configurator.drives import ERRAND, RELIEF, Drives


def lived(levels, ways=(10.0, 10.0), stalled=(), touring=(), **given):
    """The outputs of a configurator that felt these levels, one tick after another."""
    made = Drives(**given)
    made.set_up({"W": 2, "G": 2, "Y": 3})
    made.begin(torch.ones(1, dtype=torch.bool), [Episode(0, seed=0)])
    outputs = []
    for tick, level in enumerate([1.0, *levels]):  # nothing is felt at the first tick
        waits = stalled[tick] if tick < len(stalled) else 0
        carried = float(tick in touring)
        outputs.append(made.step(energy=torch.tensor([-math.log(level)]), ways=torch.tensor([list(ways)]),
                                 stalled=torch.tensor([waits]), body=torch.tensor([[1.0, carried, 0.0]])))
    return outputs


def wishes(outputs):
    return [int(one["wish"]) for one in outputs[1:]]


def test_relief_is_wished_for_when_the_level_would_run_out_on_the_way():
    levels = [0.9 - 0.01 * tick for tick in range(60)]
    found = wishes(lived(levels, ways=(5.0, 30.0), speed=1.0, slack=5.0))
    first = found.index(RELIEF)
    assert levels[first] == pytest.approx(0.35, abs=0.03)
    assert set(found[first:]) == {RELIEF}


def test_a_level_that_never_fell_needs_no_relief():
    assert set(wishes(lived([1.0] * 5, ways=(10.0, 1e9)))) == {ERRAND}


def test_a_farther_way_is_begun_earlier():
    levels = [0.9 - 0.01 * tick for tick in range(80)]
    near, far = (wishes(lived(levels, ways=(5.0, way))).index(RELIEF) for way in (10.0, 40.0))
    assert far < near


def test_relief_lasts_until_the_level_is_full():
    found = wishes(lived([0.3, 0.5, 0.9, 0.96, 0.95], rule="threshold", low=0.4))
    assert found == [RELIEF, RELIEF, RELIEF, ERRAND, ERRAND]


@pytest.mark.parametrize("rule, wish", [("errand", ERRAND), ("relief", RELIEF)])
def test_controls_wish_for_one_goal(rule, wish):
    assert set(wishes(lived([0.9, 0.01, 1.0], rule=rule))) == {wish}


def test_the_first_felt_level_is_no_use():
    assert wishes(lived([0.5, 0.49, 0.48], ways=(1.0, 1.0))) == [ERRAND] * 3


def test_thinks_for_a_while_without_progress():
    modes = [int(one["mode"]) for one in lived([1.0] * 6, stalled=[0, 3], patience=3, hold=2)]
    assert modes == [1, 2, 2, 1, 1, 1, 1]


def test_never_thinks_while_touring():
    assert [int(one["mode"]) for one in lived([1.0] * 3, touring=(1, 2), mode=2)] == [2, 1, 1, 2]


def test_a_rule_that_does_not_exist_is_refused():
    with pytest.raises(SettingError, match=r"^Drives\.rule is 'hunger': expected one of need, threshold, errand, relief$"):
        Drives(rule="hunger")


def test_a_stall_of_the_tour_is_no_reason_to_think():
    # `stalled` is one tick late: at the first free tick, 4, it is still of the tour
    outputs = lived([1.0] * 6, stalled=[0, 9, 9, 9, 9, 0, 3], touring=(1, 2, 3), patience=3, hold=2)
    assert [int(one["mode"]) for one in outputs] == [1, 1, 1, 1, 1, 1, 2]

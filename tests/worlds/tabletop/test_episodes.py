"""Layouts, looks, kinds and pairs of the table."""

import json

import numpy as np
import pytest

from worlds.tabletop.episodes import KINDS, PAIR_KINDS, Rules, one_stream, sample_episode, sample_pairs
from worlds.tabletop.looks import FACTORS, NUM_SEEN_COLOURS, SEEN_CLUTTER, SEEN_SHIFT, UNSEEN_SHIFT
from worlds.tabletop.options import bodies_of, check_episodes
from worlds.tabletop.physics import TOLERANCE, overlap
from worlds.tabletop.sprites import CUP
from worlds.tabletop.world import TableTopVectorEnv

ALL = Rules(2, frozenset(FACTORS))


def looks(episode):
    """Return, for each factor, whether its values in an episode are among the unseen ones."""
    clutter = {shape for shape in episode["shapes"][2:] if shape >= 0}
    shift, slope = np.hypot(*episode["camera"]), np.hypot(*episode["lighting"][1:])
    assert shift <= SEEN_SHIFT[1] + 1e-3 or shift >= UNSEEN_SHIFT[0] - 1e-3
    colours = np.array(episode["colours"]) >= NUM_SEEN_COLOURS
    assert colours.all() or not colours.any()
    return {"texture": episode["texture"] % 2 == 0, "lighting": slope > 0.15, "colours": bool(colours.all()),
            "clutter": bool(clutter - set(SEEN_CLUTTER)), "camera": bool(shift > 2)}


def test_pairs_are_plain_sealed_and_do_not_depend_on_their_number():
    pairs = sample_pairs(3, 4, ALL)
    assert [pair["kind"] for pair in pairs] == [kind for kind in PAIR_KINDS for _ in range(4)]
    assert json.loads(json.dumps(pairs)) == pairs
    assert sample_pairs(3, 1, ALL) == pairs[::4]
    assert sample_pairs(4, 1, ALL) != pairs[::4]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_valid_options_of_one_shape(kind):
    rng = np.random.default_rng(0)
    drawn = [sample_episode(one_stream(rng), kind, Rules(3, frozenset(FACTORS)), number % 2 == 0) for number in range(30)]
    options = {name: np.array([one[name] for one in drawn], float) for name in drawn[0]}
    check_episodes(options)
    assert (overlap(bodies_of(options)) <= TOLERANCE).all()
    assert options["places"].shape == (30, 6, 2)
    shown = [[shape for shape in one["shapes"][:3] if shape >= 0] for one in drawn]
    assert all(len(set(shapes)) == 3 for shapes in shown), "the target is the only one of its shape"


def test_learning_sees_none_of_the_unseen_values_and_evaluation_only_them():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert not any(looks(sample_episode(one_stream(rng), "mixed", ALL)).values())
    for pair in sample_pairs(0, 15, ALL):
        assert all(looks(pair).values())


@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_varies_alone_and_changes_nothing_else(factor):
    plain, varied = (sample_pairs(5, 3, Rules(2, frozenset(unseen))) for unseen in ((), (factor,)))
    options = {"texture": {"texture"}, "lighting": {"lighting"}, "colours": {"colours"}, "clutter": {"places", "shapes"},
               "camera": {"camera"}}[factor]
    for one, other in zip(plain, varied, strict=True):
        assert {name for name in one if one[name] != other[name]} <= options
        assert one["places"][:2] == other["places"][:2] and one["shapes"][:2] == other["shapes"][:2]
        assert [name for name, unseen in looks(other).items() if unseen] == [factor]


@pytest.mark.parametrize("objects", [1, 4])
def test_pairs_of_any_number_of_objects_can_be_started(objects):
    env = TableTopVectorEnv(8, objects=objects)
    pairs = env.sample_pairs(0, 2)
    env.reset(options={name: np.array([pair[name] for pair in pairs]) for name in pairs[0] if name not in ("kind", "seed")})
    for pair in pairs:
        colours = [colour for colour, shape in zip(pair["colours"], pair["shapes"], strict=True) if shape >= 0]
        assert len(set(colours)) >= min(len(colours), 6)


def test_tasks_are_what_their_names_say():
    for pair in sample_pairs(1, 20, ALL):
        apart = np.hypot(*np.subtract(pair["gripper"], pair["goal"]))
        target = np.hypot(*np.subtract(pair["places"][0], pair["goal"]))
        if pair["kind"] == "pick_and_place":
            assert pair["shapes"][0] == CUP and pair["goal"] == pair["plate"] and target >= 9.9
        elif pair["kind"] == "grasp":
            assert target == 0 and apart >= 9.9
        else:
            assert apart >= 9.9
        assert pair["held"] == (0 if pair["kind"] == "reach_with_object" else -1)

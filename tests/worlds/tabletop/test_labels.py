"""Motion and appearance classes of clips."""

import numpy as np

from worlds.tabletop.episodes import DIRECTIONS, Rules, one_stream, sample_episode
from worlds.tabletop.expert import Expert
from worlds.tabletop.labels import MOTIONS, labels_of
from worlds.tabletop.sprites import SHAPES
from worlds.tabletop.state import HELD, objects_of, size_of
from worlds.tabletop.world import TableTopVectorEnv


def clip(start, end, held=(-1, -1), absent=False):
    states = np.zeros((2, size_of(2)))
    objects_of(states)[:, :, 2] = [(3, -1) if absent else (3, 1)] * 2
    for state, places, holds in zip(states, (start, end), held, strict=True):
        objects_of(state)[:, :2], state[HELD] = places, holds
    return states


def test_the_object_that_moved_farthest_gives_the_classes():
    found = labels_of(clip([(5, 5), (20, 20)], [(6, 5), (20, 12)]))
    assert (MOTIONS[found.motion], found.moved, SHAPES[found.appearance]) == ("up", 1, "box")
    assert found.displacement.tolist() == [0, -8] and not found.carried


def test_still_oblique_and_absent_objects():
    still = labels_of(clip([(5, 5), (20, 20)], [(6, 5), (20, 21)]))
    assert (MOTIONS[still.motion], still.moved, SHAPES[still.appearance]) == ("still", -1, "cross")
    assert labels_of(clip([(5, 5), (20, 20)], [(9, 9), (20, 20)])).motion == -1
    assert labels_of(clip([(5, 5), (0, 0)], [(5, 9), (30, 0)], absent=True)).moved == 0


def test_a_slow_expert_makes_longer_clips_that_reversed_show_the_opposite_direction():
    rng = np.random.default_rng(3)
    drawn = [sample_episode(one_stream(rng), "carry", Rules(1, frozenset())) for _ in range(8)]
    env = TableTopVectorEnv(8, observe="state", objects=1)
    seen, info = env.reset(seed=0, options={name: np.array([one[name] for one in drawn]) for name in drawn[0]})
    states = [info["state"]]
    while not info["success"].all():
        seen, *_, info = env.step(Expert(0.25).action(seen["state"]))
        states.append(info["state"])
    assert len(states) == 17
    clips = np.stack(states, axis=1)
    forth, back = labels_of(clips), labels_of(clips[:, ::-1])
    opposite = np.array([0, 2, 1, 4, 3])
    assert (forth.motion > 0).all() and (back.motion == opposite[forth.motion]).all()


def test_clips_of_the_expert_show_every_direction_and_every_shape():
    count, rng = 60, np.random.default_rng(0)
    for kind in ("push", "carry"):
        env = TableTopVectorEnv(count, observe="state")
        drawn = [sample_episode(one_stream(rng), kind, Rules(2, frozenset())) for _ in range(count)]
        seen, info = env.reset(seed=0, options={name: np.array([one[name] for one in drawn]) for name in drawn[0]})
        states = [info["state"]]
        for _ in range(25):
            seen, *_, info = env.step(Expert().action(seen["state"]))
            states.append(info["state"])
        found, solved = labels_of(np.stack(states, axis=1)), info["success"]
        assert solved.mean() >= 0.95
        asked = np.array([one["goal"] for one in drawn]) - [one["places"][0] for one in drawn]
        wanted = [1 + DIRECTIONS.index(tuple(np.sign(row.round(1)).astype(int))) for row in asked]
        assert (found.motion == wanted)[solved].mean() > 0.9 and set(found.motion[solved]) >= {1, 2, 3, 4}
        assert (found.carried == (kind == "carry"))[solved & (found.moved == 0)].all()
        assert set(found.appearance[solved & (found.moved == 0)]) == {0, 1, 2, 3}

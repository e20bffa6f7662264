"""Rows: seeds and partial resets of rows, episodes by options, and one row as an environment of its own."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict

from worlds.refusals import check_episode_options
from worlds.rows import EpisodeRows, FirstRow


class Counters(EpisodeRows):
    """Counts from a start that each episode has; an action is added."""

    def __init__(self, num_envs: int = 3) -> None:
        self.prepare_rows(num_envs)
        self.prepare_options({"start": ()})
        self.single_observation_space = Dict({"count": Box(-np.inf, np.inf, ())})
        self.single_action_space = Box(-1.0, 1.0, (1,))
        self.count = np.zeros(num_envs)
        self.begun: list[list[int]] = []

    def step(self, actions):
        self.need_reset("a step")
        self.count = self.count + np.asarray(actions)[:, 0]
        no = np.zeros(self.num_envs, bool)
        return self._observation(), self.count.copy(), no, no, self._info()

    def _checked(self, options):
        return check_episode_options(options, {"start": ()}, self.num_envs, "counters")

    def _check_episodes(self, options):
        if (options["start"] < 0).any():
            raise ValueError("start is negative")

    def _drawn(self, row):
        return {"start": self.generator(row).integers(1000)}

    def _begin(self, rows):
        self.begun.append(rows.tolist())
        self.count[rows] = self._options["start"][rows]

    def _observation(self):
        return {"count": self.count.copy()}

    def _info(self):
        return self.with_masks({"count": self.count.copy()})


class Counter(FirstRow):
    def __init__(self) -> None:
        self.take(Counters(1))


def test_seed_s_seeds_row_i_with_s_plus_i():
    together = Counters(3).reset(seed=5)[0]["count"]
    assert together.tolist() == [Counters(1).reset(seed=5 + row)[0]["count"][0] for row in range(3)]


def test_only_masked_rows_begin_and_their_generators_continue():
    rows, whole = Counters(3), Counters(3)
    first = rows.reset(seed=5)[0]["count"]
    mask = np.array([False, True, False])
    second = rows.reset(options={"reset_mask": mask})[0]["count"]
    assert rows.begun == [[0, 1, 2], [1]]
    assert second[[0, 2]].tolist() == first[[0, 2]].tolist()
    whole.reset(seed=5)
    assert second[1] == whole.reset()[0]["count"][1]


def test_options_are_used_in_the_masked_rows_alone():
    rows = Counters(2)
    rows.reset(seed=0, options={"start": [7, 8]})
    mask = np.array([True, False])
    assert rows.reset(options={"start": [1, 2], "reset_mask": mask})[0]["count"].tolist() == [1, 8]


def test_refused_options_change_nothing():
    rows = Counters(2)
    before = rows.reset(seed=0, options={"start": [7, 8]})[0]["count"]
    for start in ([-1, 1], [1], [np.nan, 1]):
        with pytest.raises(ValueError, match="start"):
            rows.reset(options={"start": start})
    assert rows._observation()["count"].tolist() == before.tolist()


def test_a_step_before_a_reset_is_refused():
    rows = Counters(2)
    with pytest.raises(ResetNeeded, match=r"^a step came before rows \[0, 1\] were ever reset; call reset\(\) first\.$"):
        rows.step(np.zeros((2, 1)))
    with pytest.raises(ResetNeeded, match=r"^a reset of some rows only came before rows \[1\]"):
        rows.reset(options={"reset_mask": np.array([True, False])})


def test_one_row_agrees_with_the_vector_environment():
    one, rows = Counter(), Counters(1)
    seen, info = one.reset(seed=3)
    assert seen["count"] == info["count"] == rows.reset(seed=3)[0]["count"][0]
    assert set(info) == {"count"}
    seen, reward, terminated, truncated, _ = one.step([0.5])
    assert seen["count"] == reward == rows.step([[0.5]])[0]["count"][0]
    assert (terminated, truncated) == (False, False)
    assert one.reset(options={"start": 4})[0]["count"] == 4

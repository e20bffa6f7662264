"""A world that was chosen gets the modules that fit it, for the groups that nobody chose."""

from __future__ import annotations

import pytest

from ami.config.compose import compose, compose_baseline, to_graph

REWARDED = ("goal=none", "cost=reward", "learning=rewards", "world_model.rewards=true")
NUMBERS = ("perception=vector", "world_model.anti_collapse=none")


@pytest.mark.parametrize(("overrides", "fitted"), [
    (["world=gym", "world.id=Pendulum-v1"], (*NUMBERS, *REWARDED)),
    (["world=gym", "world.id=FrozenLake-v1"], (*NUMBERS, *REWARDED, "planner=categorical")),
    (["world=gym", "world.id=Blackjack-v1"], (*NUMBERS, *REWARDED, "planner=categorical")),
    (["world=two_rooms"], ()),
    (["world=two_rooms", "world.observe=state"], (*NUMBERS, "learning.stages.model.train=[world_model]")),
])
def test_the_agent_fits_the_world(overrides: list[str], fitted: tuple[str, ...]) -> None:
    config = compose(overrides)
    assert config.fitted == fitted and config.overrides == (*overrides, *fitted)
    to_graph(config)  # sound
    assert compose(config.overrides).fitted == ()


def test_a_picture_with_a_reward_is_learnt_from_pixels() -> None:
    config = compose(["world=gym", "world.entry_point=tests.support.hostile_envs:ChannelFirst"], allow=["tests."])
    assert config.fitted == (*REWARDED, "learning.stages.model.train=[perception,world_model]", "planner=categorical")


def test_what_was_chosen_stays() -> None:
    config = compose(["world=gym", "world.id=CartPole-v1", "perception=identity", "planner=tree", "learning=none",
                      "world_model.anti_collapse=vicreg"])
    assert config.fitted == ("goal=none", "cost=reward", "world_model.rewards=true")


@pytest.mark.parametrize("experiment", ["cartpole", "pendulum", "pointmaze", "doorkey"])
def test_an_experiment_has_chosen(experiment: str) -> None:
    config = compose([f"experiment={experiment}"])
    assert config.fitted == () == compose_baseline(config, "random").fitted


def test_a_world_that_cannot_be_made_is_left_to_the_graph() -> None:
    assert compose(["world=gym", "world.id=Nowhere-v9"]).fitted == ()


def test_what_was_fitted_is_reported() -> None:
    config = compose(["world=gym", "world.id=Pendulum-v1"])
    assert config.remarks() == [f"fitted to the world: {' '.join((*NUMBERS, *REWARDED))}; what you choose yourself is left"]
    assert compose().remarks() == []

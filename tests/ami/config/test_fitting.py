"""Fitting: a chosen world gets fitting modules, for the groups that the user left open."""

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
    to_graph(config)  # valid
    assert compose(config.overrides).fitted == ()


def test_a_picture_world_with_reward_trains_perception_and_model() -> None:
    config = compose(["world=gym", "world.entry_point=tests.support.hostile_envs:ChannelFirst"], allow=["tests."])
    assert config.fitted == (*REWARDED, "learning.stages.model.train=[perception,world_model]", "planner=categorical")


def test_chosen_modules_stay() -> None:
    config = compose(["world=gym", "world.id=CartPole-v1", "perception=identity", "planner=tree", "learning=none",
                      "world_model.anti_collapse=vicreg"])
    assert config.fitted == ("goal=none", "cost=reward", "world_model.rewards=true")


@pytest.mark.parametrize("model", ["jepa", "ensemble"])
def test_naming_a_world_model_keeps_the_settings_that_follow_from_the_world(model: str) -> None:
    config = compose(["world=gym", "world.id=Pendulum-v1", f"world_model={model}"])
    assert set(config.fitted) == {*NUMBERS, *REWARDED}
    to_graph(config)  # valid


def test_a_world_model_without_the_settings_is_left_alone() -> None:
    config = compose(["world=gym", "world.id=Pendulum-v1", "world_model=simulator"])
    assert not [text for text in config.fitted if text.startswith("world_model.")]


@pytest.mark.parametrize("experiment", ["cartpole", "pendulum", "pointmaze", "doorkey"])
def test_experiments_are_not_fitted(experiment: str) -> None:
    config = compose([f"experiment={experiment}"])
    assert config.fitted == () == compose_baseline(config, "random").fitted


def test_a_world_that_cannot_be_made_is_left_to_the_graph() -> None:
    assert compose(["world=gym", "world.id=Nowhere-v9"]).fitted == ()


def test_fitted_overrides_are_reported() -> None:
    config = compose(["world=gym", "world.id=Pendulum-v1"])
    assert config.remarks() == [f"fitted to the world: {' '.join((*NUMBERS, *REWARDED))}; your own overrides are kept"]
    assert compose().remarks() == []

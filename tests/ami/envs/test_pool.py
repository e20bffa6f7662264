"""Pool: environments serve one world after another, with the same episodes as new ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import pytest
import torch

from ami.blueprint import Episode
from ami.envs import world as worlds
from ami.envs.make import make_rows
from ami.envs.pool import pool, pooled_environments
from ami.envs.world import GymWorld
from ami.errors import WorldFault

TWO_ROOMS = {"id": "worlds:ami/TwoRooms-v0", "max_episode_steps": 6}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of environments made so far."""
    numbers: list[int] = []

    def counted(env_id: str, num_envs: int, *how: Any) -> Any:
        numbers.append(num_envs)
        return make_rows(env_id, num_envs, *how)

    monkeypatch.setattr(worlds, "make_rows", counted)
    yield numbers


def episodes(world: GymWorld, batch: int, ticks: int = 8) -> list[dict[str, torch.Tensor]]:
    world.set_up(dict(world.infer_dims({})))
    world.begin(torch.ones(batch, dtype=torch.bool), [Episode(number, 10 + number) for number in range(batch)])
    draw, found = torch.Generator().manual_seed(0), []
    actions = torch.rand(ticks, 4, world.space.num_draws, generator=draw)
    for tick in range(ticks):
        found.append(world.step(action=world.space.draw(actions[tick, :batch])))
    return found


def same(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> bool:
    return all(torch.equal(value, two[port]) for first, two in zip(one, other, strict=True) for port, value in first.items())


@pytest.mark.parametrize("settings", [TWO_ROOMS, {"id": "CartPole-v1"}, {"id": "Pendulum-v1"}])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_kept_environments_run_the_same_episodes(settings: dict[str, Any], batch: int, made: list[int]) -> None:
    expected = episodes(GymWorld(**settings), batch)
    with pooled_environments():
        first = GymWorld(**settings)
        episodes(first, 4)  # other episodes before, in other rows
        first.close()
        before = len(made)
        second = GymWorld(**settings)
        assert same(episodes(second, batch), expected)
        assert len(made) == before, "the second world uses the environments of the first"
        second.close()


def test_environments_in_use_are_not_shared(made: list[int]) -> None:
    with pooled_environments():
        one, two = GymWorld(**TWO_ROOMS), GymWorld(**TWO_ROOMS)
        assert made == [1]
        assert same(episodes(one, 2), episodes(two, 2))
        assert made == [1, 2, 2]
        one.close()
        two.close()


def test_other_settings_take_other_environments(made: list[int]) -> None:
    with pooled_environments():
        GymWorld(**TWO_ROOMS)
        GymWorld(**{**TWO_ROOMS, "max_episode_steps": 7})
    assert made == [1, 1]


def test_all_idle_environments_are_closed_at_the_end_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    real = gymnasium.Wrapper.close
    monkeypatch.setattr(gymnasium.Wrapper, "close", lambda self: (closed.append(self.unwrapped), real(self)))
    with pooled_environments():
        with pooled_environments():
            world = GymWorld(id="CartPole-v1")
            episodes(world, 3)
            world.close()
        assert not closed, "the inner block uses the pool of the outer one"
    assert len(set(map(id, closed))) == 4  # one for the ports, and three rows
    assert pool() is None


def test_failed_environments_serve_no_other_world(made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with pooled_environments():
        world = GymWorld(id="CartPole-v1")
        episodes(world, 2)
        monkeypatch.setattr(world.rows.envs[0].unwrapped, "step", lambda action: 1 / 0)
        world.begin(torch.ones(2, dtype=torch.bool), [Episode(0, 1), Episode(1, 2)])
        world.step(action=torch.zeros(2, 2))
        with pytest.raises(WorldFault):
            world.step(action=torch.tensor([[1.0, 0.0]] * 2))
        world.close()
        episodes(GymWorld(id="CartPole-v1"), 2)
    assert made == [1, 2, 2]


def test_a_closed_world_begins_again(made: list[int]) -> None:
    world = GymWorld(**TWO_ROOMS)
    first = episodes(world, 2)
    world.close()
    assert same(episodes(world, 2), first) and made == [1, 2, 2]

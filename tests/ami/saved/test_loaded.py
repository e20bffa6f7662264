"""Loaded agents: in a plain gymnasium loop a saved agent acts as in its own run."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import ami
from ami.blueprint import Episode
from ami.errors import CheckpointError, SettingError, TrustError, WorldFault

SMALL = ["runtime=local", "learning=none", "planner.horizon=4", "planner.num_candidates=8", "planner.num_elites=2",
         "planner.num_iterations=1"]
CARTPOLE = ["world=gym", "world.id=CartPole-v1", "perception=vector", "memory=none", "goal=none", "cost=reward",
            "world_model.anti_collapse=none", "world_model.rewards=true", "planner=categorical", "runtime=local",
            "learning=none"]


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save untrained agents of two worlds; their actions depend on every module nevertheless."""
    place = tmp_path_factory.mktemp("agents")
    for name, overrides in {"rooms": SMALL, "cartpole": CARTPOLE}.items():
        ami.train(ami.compose([*overrides, f"store={place}"]), place / name)
    return place


def test_a_loaded_agent_acts(agents: Path) -> None:
    agent = ami.load(agents / "cartpole")
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=3)
    for _ in range(5):
        action = agent.act(observation)
        assert env.action_space.contains(action)
        observation, *_ = env.step(action)


def test_actions_equal_those_of_its_own_run(agents: Path) -> None:
    ours = ami.build(ami.compose(CARTPOLE))
    ours.reset(torch.ones(1, dtype=torch.bool), [Episode(0, seed=3)])
    agent = ami.load(agents / "cartpole")
    env = agent.make_env()
    observation, _ = env.reset(seed=3)
    for _ in range(8):
        chosen = int(outputs_of(ours)["actor"]["action"].argmax())
        action = agent.act(observation)
        assert action == chosen
        observation, *_ = env.step(action)


def outputs_of(agent: ami.Agent) -> dict[str, dict[str, torch.Tensor]]:
    """Run one tick of an agent in this process and return the outputs of every node."""
    fired = agent.runtime.worker.fire(agent.graph.order, agent.tick)
    agent.tick += 1
    return fired


def test_a_batch_gives_one_action_per_row(agents: Path) -> None:
    agent = ami.load(agents / "rooms")
    env = agent.make_env()
    seen = [env.reset(seed=seed)[0] for seed in (1, 2)]
    batch = {key: np.stack([one[key] for one in seen]) for key in seen[0]}
    actions = agent.act(batch)
    assert actions.shape == (2, 2) and agent.action_space.contains(actions[0])
    agent.reset()
    assert agent.act(seen[0]).shape == (2,)


def test_the_goal_argument_replaces_the_goal(agents: Path) -> None:
    agent = ami.load(agents / "rooms")
    env = agent.make_env()
    seen, other = env.reset(seed=1)[0], env.reset(seed=2)[0]
    for given in (seen, seen["observation"]):
        agent.reset()
        agent.act(given, goal=other["goal"])
        sent = agent._agent.runtime.worker.mail.sent("world")[0]
        assert (sent["goal"][0].numpy() == other["goal"]).all()
        assert (sent["observation"][0].numpy() == seen["observation"]).all()


def test_single_rows_are_reset(agents: Path) -> None:
    agent = ami.load(agents / "cartpole")
    env = agent.make_env()
    batch = np.stack([env.reset(seed=seed)[0] for seed in (1, 2, 3)])
    agent.act(batch)
    agent.reset([False, True, False])
    assert agent.act(batch).shape == (3,)
    agent.reset()
    assert agent.act(batch[:2]).shape == (2,)


@pytest.mark.parametrize(("give", "words"), [
    (lambda agent: agent.act(np.zeros(5)),
     r"^act got observation of the shape \(5,\): expected \(4,\), or \(B, 4\) for a batch$"),
    (lambda agent: agent.act(np.zeros(4), goal=np.zeros(4)),
     r"^act got a goal, but CartPole-v1 has none: .* Fix: leave the goal out$"),
    (lambda agent: (agent.act(np.zeros((2, 4))), agent.act(np.zeros((3, 4)))),
     r"^act got 3 observations while 2 episodes are running\. Fix: agent\.reset\(\) before another number of rows$"),
    (lambda agent: (agent.act(np.zeros((2, 4))), agent.reset([True])),
     r"^reset got rows of the shape \(1,\): expected one flag for each of 2 episodes$"),
    (lambda agent: agent.act(np.zeros((2, 4)), info=[{}]), "^act got 1 infos for 2 observations: expected one for each$"),
])
def test_invalid_arguments_are_refused(agents: Path, give, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        give(ami.load(agents / "cartpole"))


def test_an_observation_without_its_goal_is_refused(agents: Path) -> None:
    agent = ami.load(agents / "rooms")
    seen = agent.make_env().reset(seed=1)[0]
    with pytest.raises(SettingError, match=r"without 'goal': .*Fix: pass what the environment returned, or goal=…$"):
        agent.act(seen["observation"])


def test_a_nan_observation_is_reported_with_row_and_tick(agents: Path) -> None:
    with pytest.raises(WorldFault, match=r"world CartPole-v1, row 0, tick 0"):
        ami.load(agents / "cartpole").act(np.array([0, np.nan, 0, 0], np.float32))


@pytest.mark.parametrize("world", ["Masked", "MaskInInfo"])
def test_a_masked_action_is_never_chosen(tmp_path: Path, world: str) -> None:
    allow = ["tests."]
    ami.train(ami.compose(["world=gym", f"world.entry_point=tests.support.hostile_envs:{world}", "learning=none",
                           "runtime=local", f"store={tmp_path}"], allow=allow), tmp_path / "masked")
    agent = ami.load(tmp_path / "masked", allow=allow)
    env = agent.make_env()
    observation, info = env.reset(seed=0)
    for _ in range(10):  # the environment raises on a masked action
        observation, *_, info = env.step(agent.act(observation, info=info))


def test_an_untrusted_class_is_refused(agents: Path, tmp_path: Path) -> None:
    from ami.learning import checkpoint

    tensors, notes = checkpoint.load(agents / "cartpole" / "agent.safetensors")
    notes["config"]["planner"]["_target_"] = "os.system"
    checkpoint.save(tmp_path / "agent.safetensors", tensors, notes)
    with pytest.raises(TrustError, match=r"planner\._target_ is 'os\.system'"):
        ami.load(tmp_path)


def test_a_missing_agent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no agent at"):
        ami.load(tmp_path)

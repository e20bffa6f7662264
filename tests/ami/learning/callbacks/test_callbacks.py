"""Callbacks: figures of held-out episodes during learning, the untrained observer's beside, and a guard against collapse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import ami
from ami.blueprint import Perception, Prediction
from ami.config.compose import Config
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError, UnknownName
from ami.learning.callbacks.attentive_probe import AttentiveProbe
from ami.learning.callbacks.callback import Callback, Callbacks, Observer
from ami.learning.callbacks.collapse_guard import CollapseGuard
from ami.learning.callbacks.linear_probe import LinearProbe
from ami.learning.callbacks.open_loop import OpenLoop
from ami.session.learn import learn
from modules.world_model.markov import MarkovWorldModel
from tests.support.notes import Notes
from tests.support.stages import stage

SMALL = ["learning.collect.episodes=12", "learning.collect.batch=12", "learning.stages.model.steps=41",
         "learning.stages.model.batch=8", "learning.stages.critic.steps=21", "learning.stages.critic.batch=8",
         "validation.every=0", "runtime=local"]


class Places(Perception):
    """Sends four tokens (4, 3), one of which holds the observation; `noise` replaces them by random numbers."""

    def __init__(self, noise: bool = False) -> None:
        super().__init__()
        self.noise = noise

    def encode(self, observation: Tensor) -> Tensor:
        tokens = torch.zeros(len(observation), 4, 3)
        tokens[torch.arange(len(observation)), observation[:, 2].long()] = observation
        generator = torch.Generator().manual_seed(len(observation))
        return torch.rand(tokens.shape, generator=generator) if self.noise else tokens


class Model(MarkovWorldModel):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.set_up({"P": (4, 3), "S": (4, 3), "A": 1})

    def state_of(self, percept: Tensor) -> Tensor:
        return percept * self.scale

    def imagine(self, state: Tensor, actions: Tensor, noise: Tensor | None = None) -> Prediction:
        return Prediction(state[:, None, None].expand(-1, *actions.shape[1:3], *state.shape[1:]))

    def distance(self, states: Tensor, goal: Tensor) -> Tensor:
        return (states - goal).flatten(-2).norm(dim=-1)


def observer(noise: bool = False, scale: float = 1.0) -> Observer:
    return Observer("world_model", ("perception", "world_model"), Places(noise), Model(scale), "")


def episodes(count: int = 40, truth: bool = True) -> ReplayBuffer:
    """Return episodes of 8 steps whose observation is the true state (2,) and the place (0 to 3) where it is seen."""
    generator = torch.Generator().manual_seed(1)
    state = torch.rand(count, 9, 2, generator=generator)
    place = torch.randint(4, (count, 9, 1), generator=generator).float()
    return ReplayBuffer.of_padded(torch.cat([state, place], dim=2), torch.zeros(count, 8, 1), torch.full((count,), 8),
                                  truth=state if truth else None)


def test_an_attentive_probe_reads_tokens_and_not_noise() -> None:
    before = torch.get_rng_state()
    probe = AttentiveProbe()
    probe.begin([observer(noise=True)], episodes())
    found = probe.figures(observer(), episodes(), stage(), 0)
    assert found["attentive_r2"] > 0.9 and found["untrained_attentive_r2"] < 0.2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_linear_probe_has_the_untrained_figure_beside() -> None:
    probe = LinearProbe()
    probe.begin([observer(noise=True)], episodes())
    found = probe.figures(observer(), episodes(), stage(), 0)
    assert found["probe_r2"] > found["untrained_r2"] and found["untrained_r2"] < 0.1


def test_probes_need_the_true_state_and_the_other_figures_do_not() -> None:
    unknown = episodes(truth=False)
    for probe in (LinearProbe(), AttentiveProbe()):
        probe.begin([observer()], unknown)
        assert probe.figures(observer(), unknown, stage(), 0) == {}
    assert OpenLoop([1, 5]).figures(observer(), unknown, stage(), 0) == {
        "error_vs_persistence_1": 1.0, "error_vs_persistence": 1.0}, "a model in which nothing moves is persistence"


def test_the_guard_warns_once_per_stage_or_stops() -> None:
    warnings: list[str] = []
    for stop in (False, True):
        guard = CollapseGuard(stop=stop)
        guard.warn = warnings.append
        guard.begin([observer()], episodes())
        assert guard.figures(observer(), episodes(), stage(), 0)["state_std"] > 0.1
        if stop:
            with pytest.raises(SettingError, match="the states of world_model collapsed by step 40: their standard"):
                guard.figures(observer(scale=1e-3), episodes(), stage(), 40)
        else:
            for step in (40, 60):
                guard.figures(observer(scale=1e-3), episodes(), stage(), step)
    assert len(warnings) == 1 and warnings[0].startswith("learning.stages.model: the states of world_model collapsed")


class Count(Callback):
    def figures(self, observer: Observer, episodes: ReplayBuffer, stage: object, step: int) -> dict[str, float]:
        return {"seen": float(step)}


@pytest.mark.parametrize(("every", "steps"), [(20, [0, 20, 40]), (40, [0, 40]), (0, [40])])
def test_figures_are_added_when_they_are_due_and_to_stages_that_train_the_observer(every: int, steps: list[int]) -> None:
    callbacks = Callbacks([Count(every)], [observer(), observer()._replace(suffix=".upper")], episodes(2), print)
    rows = []
    for step in (0, 20, 40):
        rows.append({"stage": "model", "step": float(step)})
        callbacks.add(rows[-1], stage(steps=41))
    assert [row["step"] for row in rows if "seen" in row] == steps
    assert all(("seen.upper" in row) is ("seen" in row) for row in rows)
    other = {"stage": "critic", "step": 0.0}
    callbacks.add(other, stage("critic", train=["cost"], loss="cost"))
    assert "seen" not in other


def config(folder: Path, *overrides: str) -> Config:
    return ami.compose([*SMALL, f"store={folder}", *overrides])


def test_callbacks_are_options_and_change_no_weights(tmp_path: Path) -> None:
    chosen = ["learning.callbacks.error.horizons=[1,5]", "learning.callbacks.error.every=20",
              "learning.callbacks.probe=null",
              "learning.callbacks.attention={name: attentive_probe, steps: 5}", "learning.callbacks.std=collapse_guard"]
    console = Notes()
    trained, plain = learn(config(tmp_path / "a", *chosen), console), learn(config(tmp_path / "b"))
    assert trained.key == plain.key
    assert all(torch.equal(value, plain.weights[node][name]) for node, state in trained.weights.items()
               for name, value in state.items())
    model = [row for row in trained.rows if row["stage"] == "model"]
    assert [row["step"] for row in model if "error_vs_persistence_1" in row] == [0, 20, 40]
    assert [row["step"] for row in model if "attentive_r2" in row] == [40] and not any("probe_r2" in row for row in model)
    assert all("state_std" in row for row in model if row["step"] == 0)
    assert {"probe_r2", "untrained_r2", "error_vs_persistence"} <= set(next(row for row in plain.rows if row["step"] == 0))


@pytest.mark.parametrize(("override", "error", "words"), [
    ("learning.callbacks.probe=linear_prob", UnknownName,
     "unknown callback in learning.callbacks.probe 'linear_prob': did you mean 'linear_probe'?"),
    ("learning.callbacks.error.horizons=[0]", SettingError, "OpenLoop.horizons is [0]: expected one or more numbers of"),
    ("learning.callbacks.error.every=30", SettingError, "OpenLoop.every is 30: expected a multiple of 20 steps, or 0"),
    ("learning.callbacks.mine={every: 20}", SettingError,
     "learning.callbacks.mine has no name: expected one of the options of configs/callback"),
    ("learning.callbacks.mine={_target_: torch.nn.Linear}", SettingError,
     "expected a subclass of ami.learning.callbacks.callback.Callback. Fix: "),
])
def test_a_mistaken_callback_is_refused(tmp_path: Path, override: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as refusal:
        learn(config(tmp_path, override))
    assert words in str(refusal.value)

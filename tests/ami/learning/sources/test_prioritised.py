"""Prioritised draws: rare windows are learnt sooner, priorities follow their entries, unfit learners are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ami.blueprint import Perception
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError
from ami.learning.sources.hindsight_states import HindsightStates
from ami.learning.sources.percepts import Percepts
from ami.learning.sources.prioritised import PrioritisedDraw
from ami.learning.sources.source import Supply
from ami.learning.sources.windows import Windows
from ami.learning.stage_run import StageRun
from ami.module import Batch, Module
from ami.ports import ActionSpace
from modules.world_model.jepa import JEPA
from tests.support.stages import stage

WINDOWS, RARE, STEPS, BATCH = 200, 2, 100, 32


class Eye(Perception):
    """Sees states."""

    def encode(self, observation: Tensor) -> Tensor:
        return observation


class Shuffled(JEPA):
    """Reports each row's error for another row, as a control."""

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, figures = super().loss(batch)
        return loss, {name: value.roll(1) if value.ndim else value for name, value in figures.items()}


def doors() -> ReplayBuffer:
    """Return one-step episodes of a dot (x, y, d) that moves by a tenth of its action, but through the door, d = 1, of the
    first `RARE` by the whole of it and to the other side."""
    random = torch.Generator().manual_seed(0)
    before = torch.rand(WINDOWS, 3, generator=random) * 2 - 1
    before[:, 2] = 0
    before[:RARE, 2] = 1
    action = torch.rand(WINDOWS, 2, generator=random) * 2 - 1
    after = before.clone()
    after[:, :2] += action / 10
    after[:RARE, :2] = action[:RARE] - before[:RARE, :2]
    return ReplayBuffer.of_padded(torch.stack([before, after], 1), action[:, None], torch.ones(WINDOWS, dtype=torch.int64))


def rare_error(seed: int, model: type[JEPA] = JEPA, **settings: Any) -> float:
    """Return the mean squared prediction error through the door after some steps of learning from all windows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        world_model = model(hidden=64, anti_collapse="none")
        world_model.set_up({"O": (3,), "P": (3,), "S": (3,), "A": 2, "Q": (3,)}, ActionSpace(2))
        modules: dict[str, Module] = {"perception": Eye(), "world_model": world_model}
        run = StageRun(stage(steps=STEPS, batch=BATCH, source={"name": "percepts", "length": 1, **settings}), modules)
        run.open(Supply("model", BATCH, STEPS, doors(), modules))
        run.thaw()
        for _ in range(STEPS):
            run.update()
        found = doors().windows(torch.stack([torch.arange(RARE), torch.zeros(RARE, dtype=torch.int64)], 1), 1)
        with torch.no_grad():
            _, figures = world_model.loss({"percept": found["observation"], "action": found["action"]})
    return float(figures["prediction"])


def test_rare_windows_are_learnt_sooner_if_draws_follow_their_errors() -> None:
    even = min(rare_error(seed) for seed in range(2))
    assert max(rare_error(seed, alpha=0.6) for seed in range(2)) < 0.75 * even
    assert rare_error(0, alpha=1e-9) > 0.9 * even, "control: the same machinery with nearly even draws"
    assert rare_error(0, Shuffled, alpha=0.6) > 0.9 * even, "control: priorities of other windows"


class Silent(Module):
    """A learner that reports these figures of its rows."""

    def __init__(self, **figures: Tensor) -> None:
        super().__init__()
        self.bias, self.figures = nn.Parameter(torch.zeros(())), figures

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return self.bias.square(), self.figures


@pytest.mark.parametrize(("figures", "words"), [
    ({}, "learning.stages.model.source draws rows in proportion to their errors, but the loss of world_model (Silent) "
         "reports none. Fix: learning.stages.model.source.alpha=0, or report them in its loss, see ami.blueprint.RowErrors"),
    ({"errors": torch.zeros(3)}, "learning.stages.model: the loss of world_model (Silent) reports 'errors' of shape (3,): "
                                 "expected one finite number for each of 4 rows"),
    ({"errors": torch.full((4,), torch.nan)}, "expected one finite number for each of 4 rows"),
])
def test_a_learner_without_errors_is_refused(figures: dict[str, Tensor], words: str) -> None:
    modules: dict[str, Module] = {"world_model": Silent(**figures)}
    run = StageRun(stage(batch=4, source={"name": "prioritised_windows", "length": 1}), modules)
    run.open(Supply("model", 4, 100, doors(), modules))
    with pytest.raises(SettingError) as refusal:
        run.update()
    assert words in str(refusal.value)


def test_errors_are_ignored_if_draws_are_even() -> None:
    modules: dict[str, Module] = {"world_model": Silent(errors=torch.zeros(3))}
    run = StageRun(stage(batch=4, source={"name": "windows", "length": 1}), modules)
    run.open(Supply("model", 4, 100, doors(), modules))
    assert (run.update() or {}).keys() == {"stage", "step", "loss"}


@pytest.mark.parametrize("source", [Windows, Percepts, HindsightStates])
@pytest.mark.parametrize(("settings", "words"), [
    ({"alpha": -1.0}, ".alpha is -1.0: expected 0, which draws evenly, or more"),
    ({"alpha": float("nan")}, ".alpha is nan"),
    ({"beta": 1.5}, ".beta is 1.5: expected 0 to 1"),
    ({"alpha": 0.6, "terminal_share": 0.1}, ".alpha is 0.6 and {}.terminal_share 0.1: expected at most one of them above 0. "
                                            "Fix: terminal_share=0, or alpha=0"),
])
def test_settings_out_of_range_are_refused(source: type, settings: dict[str, float], words: str) -> None:
    with pytest.raises(SettingError) as refusal:
        source(**settings)
    assert source.__name__ + words.format(source.__name__) in str(refusal.value)


def drawn(draw: PrioritisedDraw, entry: int) -> float:
    """Return the share of an entry among many draws."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return float(torch.stack([draw(0)["entry"] == entry for _ in range(50)]).float().mean())


def numbered(first: int, last: int) -> PrioritisedDraw:
    numbers = torch.arange(first, last)
    return PrioritisedDraw(numbers, lambda index: {"entry": numbers[index]}, 100, alpha=1.0, beta=0.4)


def test_priorities_follow_their_entries_into_later_rounds() -> None:
    one = numbered(0, 10)
    one(0)
    one.update(torch.ones(100))
    entries = one(0)["entry"]
    one.update(torch.where(entries == 6, 5.0, 1.0))
    assert drawn(one, 6) == pytest.approx(5 / 14, abs=0.03)
    other = numbered(4, 12)  # four are gone, two are new and as large as the largest
    other.load_state(one.state())
    assert drawn(other, 6) == pytest.approx(5 / 20, abs=0.03) == drawn(other, 11)
    assert drawn(other, 5) == pytest.approx(1 / 20, abs=0.02)
    apart = numbered(20, 24)  # all of them are new
    apart.load_state(one.state())
    assert [drawn(apart, entry) for entry in range(20, 24)] == pytest.approx([0.25] * 4, abs=0.03)

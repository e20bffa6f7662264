"""Probes: r2 of decodable and random states, effective rank, collapse, and refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ami.blueprint import Perception
from ami.data.replay_buffer import ReplayBuffer
from ami.errors import SettingError
from ami.learning.probe import ProbeFigures, Readout, probe
from modules.world_model.markov import MarkovWorldModel

EPISODES, STEPS, WIDTH = 40, 24, 6


class Eye(Perception):
    def encode(self, observation: Tensor) -> Tensor:
        return observation


class Model(MarkovWorldModel):
    """Its state is a given function of the percept."""

    def __init__(self, belief: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.belief = belief

    def state_of(self, percept: Tensor) -> Tensor:
        return self.belief(percept.flatten(0, -2)).unflatten(0, percept.shape[:-1])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def experience_of(truth: Tensor | None = None, steps: Tensor | None = None) -> ReplayBuffer:
    """Return experience whose observation is the truth."""
    truth = draw(EPISODES, STEPS + 1, 2) if truth is None else truth
    return ReplayBuffer.of_padded(truth, torch.zeros(EPISODES, STEPS, 1),
                                  torch.full((EPISODES,), STEPS) if steps is None else steps, truth)


def probed(belief: Callable[[Tensor], Tensor], experience: ReplayBuffer | None = None) -> tuple[ProbeFigures, Readout]:
    return probe(experience or experience_of(), Eye(), Model(belief))


MIX = draw(2, WIDTH, seed=1)


def test_a_linear_state_has_r2_of_one() -> None:
    figures, readout = probed(lambda seen: 3 * seen @ MIX + 5)
    assert figures.r2 == pytest.approx(1, abs=1e-4)
    assert figures.std > 1
    truth = draw(7, 2, seed=9)
    torch.testing.assert_close(readout(3 * truth @ MIX + 5), truth, atol=1e-2, rtol=0)


def test_noise_of_equal_variance_halves_r2() -> None:
    """States that are the truth plus noise of equal variance explain half of its variance."""
    figures, _ = probed(lambda seen: seen + draw(*seen.shape, seed=2))
    assert figures.r2 == pytest.approx(0.5, abs=0.1)


def test_random_states_have_r2_of_zero() -> None:
    figures, _ = probed(lambda seen: draw(len(seen), WIDTH, seed=len(seen)))
    assert figures.r2 == pytest.approx(0, abs=0.05)
    assert figures.std == pytest.approx(1, abs=0.1)
    assert figures.effective_rank == pytest.approx(WIDTH, rel=0.05)


def test_collapsed_states_have_std_and_r2_of_zero() -> None:
    figures, readout = probed(lambda seen: torch.full((len(seen), WIDTH), 0.7))
    assert figures.std == pytest.approx(0, abs=1e-6)
    assert figures.r2 == pytest.approx(0, abs=0.05)
    assert figures.effective_rank == pytest.approx(1, abs=1e-6)
    assert readout(torch.full((WIDTH,), 0.7)).isfinite().all()


def test_states_with_half_of_the_truth_have_r2_of_one_half() -> None:
    figures, _ = probed(lambda seen: seen[:, :1])
    assert figures.r2 == pytest.approx(0.5, abs=0.05)


def test_the_effective_rank_counts_the_used_directions() -> None:
    for used in (1, 2, 4):
        basis = torch.linalg.qr(draw(WIDTH, WIDTH, seed=3)).Q[:used]
        figures, _ = probed(lambda seen, basis=basis, used=used: draw(len(seen), used, seed=len(seen)) @ basis)
        assert figures.effective_rank == pytest.approx(used, rel=0.05)


def test_the_effective_rank_weighs_directions_by_their_variance() -> None:
    scale = torch.tensor([2.0, 1.0])  # variances 4 and 1: the entropy of (0.8, 0.2)
    figures, _ = probed(lambda seen: draw(len(seen), 2, seed=len(seen)) * scale)
    assert figures.effective_rank == pytest.approx(0.8**-0.8 * 0.2**-0.2, rel=0.1)


def test_a_dimension_of_the_truth_that_never_varies_is_not_scored() -> None:
    truth = draw(EPISODES, STEPS + 1, 3)
    truth[..., 2] = 10.0
    figures, _ = probed(lambda seen: seen[:, :2], experience_of(truth))
    assert figures.r2 == pytest.approx(1, abs=1e-4)


def test_a_truth_that_never_varies_has_no_score() -> None:
    figures, _ = probed(lambda seen: draw(len(seen), 3), experience_of(torch.ones(EPISODES, STEPS + 1, 2)))
    assert figures.r2 != figures.r2


def test_the_score_is_on_held_out_episodes() -> None:
    """States are the truth in the first three quarters of the episodes and random in the rest."""
    truth = draw(EPISODES, STEPS + 1, 2)
    fitted = EPISODES * 3 // 4 * (STEPS + 1)
    beliefs = torch.cat([truth.flatten(0, 1)[:fitted], draw(EPISODES * (STEPS + 1) - fitted, 2, seed=5)])
    given = iter(beliefs.split(fitted))
    waiting: list[Tensor] = []

    def belief(seen: Tensor) -> Tensor:
        if not waiting:
            waiting.extend([next(given)])
        answer, waiting[0] = waiting[0][: len(seen)], waiting[0][len(seen):]
        if not len(waiting[0]):
            waiting.clear()
        return answer

    assert probed(belief, experience_of(truth))[0].r2 < -0.5


def test_padding_is_ignored() -> None:
    steps = torch.arange(EPISODES) % STEPS
    truth = draw(EPISODES, STEPS + 1, 2)
    truth[torch.arange(STEPS + 1) > steps[:, None]] = torch.nan
    figures, readout = probed(lambda seen: seen @ MIX, experience_of(truth, steps))
    assert figures.r2 == pytest.approx(1, abs=1e-4) and readout.weight.isfinite().all()


@pytest.mark.parametrize("size", [(WIDTH,), (2, 3), (1, WIDTH), (WIDTH, 1)])
@pytest.mark.parametrize("leading", [(), (7,), (4, 5)])
def test_a_readout_reads_states_of_any_size_alone_and_in_batches(size: tuple[int, ...], leading: tuple[int, ...]) -> None:
    figures, readout = probed(lambda seen: (seen @ MIX).view(-1, *size))
    assert figures.r2 == pytest.approx(1, abs=1e-4) and figures.effective_rank <= 2.001
    truth = draw(*leading, 2, seed=8)
    torch.testing.assert_close(readout((truth @ MIX).view(*leading, *size)), truth, atol=1e-2, rtol=0)


def test_a_single_episode_cannot_be_scored() -> None:
    with pytest.raises(SettingError) as refused:
        probed(lambda seen: seen, experience_of().part(1))
    assert str(refused.value) == (
        "a probe got 1 episodes: expected 2 or more, for a fit and a held-out score")


def test_figures_are_plain_numbers() -> None:
    figures, _ = probed(lambda seen: seen @ MIX)
    plain = figures.plain()
    assert list(plain) == ["r2", "std", "effective_rank"]
    assert all(type(value) is float for value in plain.values())


def test_states_that_are_not_finite_are_refused() -> None:
    with pytest.raises(SettingError, match=r"returned states that are not finite: observations and weights are\. Fix: "):
        probed(lambda seen: seen / 0)

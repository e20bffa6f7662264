"""Probes: what can be read from states is told, what cannot is told too, and collapse is seen for what it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ami.blueprint import Perception, WorldModel
from ami.errors import SettingError
from ami.learning.experience import Experience
from ami.learning.probe import ProbeFigures, Readout, probe

EPISODES, STEPS, WIDTH = 40, 24, 6


class Eye(Perception):
    def encode(self, observation: Tensor) -> Tensor:
        return observation


class Mind(WorldModel):
    """Believes what it is told to believe."""

    def __init__(self, belief: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.belief = belief

    def believe(self, percept: Tensor) -> Tensor:
        return self.belief(percept)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lived(truth: Tensor | None = None, steps: Tensor | None = None) -> Experience:
    """Shows the truth and nothing else."""
    truth = draw(EPISODES, STEPS + 1, 2) if truth is None else truth
    return Experience(truth.clone(), torch.zeros(EPISODES, STEPS, 1), truth,
                      torch.full((EPISODES,), STEPS) if steps is None else steps)


def probed(belief: Callable[[Tensor], Tensor], experience: Experience | None = None) -> tuple[ProbeFigures, Readout]:
    return probe(experience or lived(), Eye(), Mind(belief))


MIX = draw(2, WIDTH, seed=1)


def test_a_linear_state_is_read_perfectly() -> None:
    figures, readout = probed(lambda seen: 3 * seen @ MIX + 5)
    assert figures.r2 == pytest.approx(1, abs=1e-4)
    assert figures.std > 1
    truth = draw(7, 2, seed=9)
    torch.testing.assert_close(readout(3 * truth @ MIX + 5), truth, atol=1e-2, rtol=0)


def test_noise_hides_as_much_as_it_should() -> None:
    """States that are the truth plus as much noise tell half of its variance."""
    figures, _ = probed(lambda seen: seen + draw(*seen.shape, seed=2))
    assert figures.r2 == pytest.approx(0.5, abs=0.1)


def test_nothing_is_read_from_random_states() -> None:
    figures, _ = probed(lambda seen: draw(len(seen), WIDTH, seed=len(seen)))
    assert figures.r2 == pytest.approx(0, abs=0.05)
    assert figures.std == pytest.approx(1, abs=0.1)
    assert figures.effective_rank == pytest.approx(WIDTH, rel=0.05)


def test_collapsed_states_have_no_spread_and_tell_nothing() -> None:
    figures, readout = probed(lambda seen: torch.full((len(seen), WIDTH), 0.7))
    assert figures.std == pytest.approx(0, abs=1e-6)
    assert figures.r2 == pytest.approx(0, abs=0.05)
    assert figures.effective_rank == pytest.approx(1, abs=1e-6)
    assert readout(torch.full((WIDTH,), 0.7)).isfinite().all()


def test_what_tells_half_of_the_truth_scores_half() -> None:
    figures, _ = probed(lambda seen: seen[:, :1])
    assert figures.r2 == pytest.approx(0.5, abs=0.05)


def test_the_effective_rank_counts_the_directions_that_are_used() -> None:
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
    figures, _ = probed(lambda seen: seen[:, :2], lived(truth))
    assert figures.r2 == pytest.approx(1, abs=1e-4)


def test_a_truth_that_never_varies_has_no_score() -> None:
    figures, _ = probed(lambda seen: draw(len(seen), 3), lived(torch.ones(EPISODES, STEPS + 1, 2)))
    assert figures.r2 != figures.r2


def test_it_is_scored_on_episodes_that_it_was_not_fitted_on() -> None:
    """The mind tells the truth in the first three quarters of the episodes and lies in the rest."""
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

    assert probed(belief, lived(truth))[0].r2 < -0.5


def test_what_lies_behind_an_episodes_end_is_not_looked_at() -> None:
    steps = torch.arange(EPISODES) % STEPS
    truth = draw(EPISODES, STEPS + 1, 2)
    truth[torch.arange(STEPS + 1) > steps[:, None]] = torch.nan
    figures, readout = probed(lambda seen: seen @ MIX, lived(truth, steps))
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
        probed(lambda seen: seen, lived().part(1))
    assert str(refused.value) == (
        "a probe got 1 episodes: expected 2 or more, for a fit and a held-out score")


def test_figures_are_plain_numbers() -> None:
    figures, _ = probed(lambda seen: seen @ MIX)
    plain = figures.plain()
    assert list(plain) == ["r2", "std", "effective_rank"]
    assert all(type(value) is float for value in plain.values())


def test_states_that_are_not_finite_are_told() -> None:
    with pytest.raises(SettingError, match=r"returned states that are not finite: observations and weights are\. Fix: "):
        probed(lambda seen: seen / 0)

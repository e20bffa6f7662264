"""The meta-controller: Q-learning of wishes from felt energy, sticky exploration, rows apart."""

import math

import pytest
import torch

from ami.errors import SettingError
from ami.module import Episode
from modules.configurator.meta_controller import MetaController, changes

ERRAND, RELIEF = 0, 1


def made(seed=0, **given):
    torch.manual_seed(seed)
    module = MetaController(**given)
    known = {"W": 2, "G": 2, "Y": 3}
    module.set_up({**known, **module.infer_dims(known)})
    return module


def felt_at(level, touring=0.0, batch=1):
    return {"energy": torch.full((batch,), -math.log(level)), "ways": torch.tensor([[10.0, 1e9]]).repeat(batch, 1),
            "stalled": torch.zeros(batch, dtype=torch.int64), "body": torch.tensor([[1.0, touring, 0.0]]).repeat(batch, 1)}


def begin(module, batch=1, first=0):
    module.begin(torch.ones(batch, dtype=torch.bool), [Episode(first + row, seed=0) for row in range(batch)])


def wishes(module, ticks=60, batch=1, first=0, **felt):
    begin(module, batch, first)
    return torch.stack([module.step(**felt_at(0.9, batch=batch, **felt))["wish"] for _ in range(ticks)], dim=1)


def windows(energy_of, count=256, steps=5, cont=1.0):
    """Windows in which one goal is wished for and the energy depends on it alone."""
    generator = torch.Generator().manual_seed(1)
    wish = torch.randint(2, (count, 1), generator=generator).expand(-1, steps + 1)
    felt = torch.rand(count, steps + 1, 8, generator=generator)
    felt[..., 3] = 0.0
    energy = torch.tensor(energy_of)[wish]
    return {"felt": felt, "wish": wish, "energy": energy, "goal": torch.zeros(count, steps + 1, 3),
            "cont": torch.full((count, steps), cont)}


def learn(module, batch, steps=150):
    module.begin_learning()
    optimiser = torch.optim.Adam(module.net.parameters(), 1e-2)
    for step in range(steps):
        optimiser.zero_grad()
        loss, figures = module.loss(batch)
        loss.backward()
        optimiser.step()
        module.after_step(step, steps)
    return figures


@pytest.mark.parametrize("better", [ERRAND, RELIEF])
def test_wishes_for_what_was_felt_to_cost_less(better):
    module = made()
    learn(module, windows([3.0, 0.5] if better == RELIEF else [0.5, 3.0]))
    assert set(wishes(module)[0].tolist()) == {better}


def test_an_end_with_an_empty_level_is_felt_for_ever_and_another_one_is_an_errand_done():
    module = made(errand=2.0)
    learn(module, windows([6.0, 0.5], cont=0.0), steps=300)
    expected = module._expected(windows([0.0, 0.0])["felt"][:, 0]).mean(0)
    assert expected.tolist() == pytest.approx([6.0, -2.0], abs=0.1)


def test_a_goal_that_changes_is_an_errand_done():
    batch = windows([1.0, 1.0])
    batch["goal"] = (torch.arange(6.0) >= 1 + 2 * batch["wish"]).float()[..., None]  # after 1 step, or after 3
    module = made(errand=2.0, gamma=0.5)
    learn(module, batch, steps=300)
    expected = module._expected(batch["felt"][:, 0]).mean(0)
    assert expected.tolist() == pytest.approx([-1.0, 0.5], abs=0.1)


def test_rounding_changes_no_goal():
    goal = torch.tensor([[[0.0, 1.0], [1e-6, 1.0], [0.0, 0.9], [0.0, 0.9]]])
    assert changes(goal).tolist() == [[False, True, False]]


def test_windows_of_several_wishes_or_on_a_tour_are_not_learnt_from():
    batch = windows([1.0, 1.0], count=3)
    batch["wish"] = torch.tensor([[0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    batch["felt"][2, 0, 3] = 1.0
    module = made()
    module.begin_learning()
    loss, figures = module.loss(batch)
    assert figures["used"].item() == pytest.approx(1 / 3)
    batch["energy"] = batch["energy"].clone()
    batch["energy"][1:] += 100.0
    assert module.loss(batch)[0] == loss


def test_a_wish_is_kept_for_a_period():
    found = wishes(made(period=4, explore=1.0, longest=1), ticks=80)[0]
    changes = (found[1:] != found[:-1]).nonzero()[:, 0] + 1
    assert len(changes) > 3 and bool((changes % 4 == 0).all())


def test_random_wishes_last_several_periods():
    share = {}
    for longest in (1, 10):
        found = wishes(made(period=2, explore=1.0, longest=longest), ticks=200, batch=10)
        share[longest] = (found[:, 1:] != found[:, :-1]).double().mean().item()
    assert share[10] < share[1] / 3
    assert 0.3 < found.double().mean().item() < 0.7


def test_without_exploration_equal_feelings_give_equal_wishes():
    module = made()
    assert torch.equal(wishes(module, first=0), wishes(module, first=100))


def test_decides_anew_when_a_tour_ends():
    module = made(period=50, explore=1.0, longest=1)
    begin(module)
    for _ in range(3):
        module.step(**felt_at(0.9, touring=1.0))
    assert module.carry["wait"].item() == 49
    module.step(**felt_at(0.9))
    assert module.carry["wait"].item() == 48
    again = made(period=50, explore=1.0, longest=1)
    begin(again)
    for touring in (0.0, 1.0, 1.0):
        again.step(**felt_at(0.9, touring=touring))
    assert again.carry["wait"].item() == 49


def test_a_row_does_not_depend_on_its_batch_bit_for_bit():
    module, seen = made(), torch.rand(50, 8, generator=torch.Generator().manual_seed(3))
    together = module._expected(seen)
    assert all(torch.equal(module._expected(seen[row:row + 1])[0], together[row]) for row in range(50))
    assert torch.allclose(together, module.net(seen), atol=1e-6)


def test_felt_holds_level_energy_reserve_ways_and_wish():
    module = made(scale=20.0)
    begin(module)
    for level in (1.0, 0.9, 0.88):
        felt = module.step(**felt_at(level))["felt"][0]
    assert felt[:2].tolist() == pytest.approx([0.88, -math.log(0.88)])
    assert felt[2].item() == pytest.approx(0.88 / 0.02 / 20)
    assert felt[3:6].tolist() == [0.0, 0.5, 8.0]
    assert felt[6:].sum().item() == 1.0


@pytest.mark.parametrize(("settings", "words"), [
    ({"period": 0}, "MetaController.period is 0: expected 1 or more ticks"),
    ({"errand": -1}, "MetaController.errand is -1: expected 0 or more"),
    ({"gamma": 1}, "MetaController.gamma is 1: expected 0 or more, less than 1"),
    ({"hidden": 0}, "MetaController.hidden is 0: expected 1 or more"),
    ({"scale": 0}, "MetaController.scale is 0: expected more than 0"),
    ({"polyak": 0}, "MetaController.polyak is 0: expected more than 0, at most 1"),
    ({"explore": 2}, "MetaController.explore is 2: expected 0 to 1"),
    ({"longest": 0}, "MetaController.longest is 0: expected 1 or more periods"),
    ({"patience": 0}, "MetaController.patience is 0: expected 1 or more ticks"),
])
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError) as error:
        MetaController(**settings)
    assert str(error.value) == words

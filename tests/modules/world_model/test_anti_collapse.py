"""Anti-collapse: each term is small for its target distribution and large for collapsed states."""

import pytest
import torch

from ami.errors import SettingError
from modules.nets import mlp, target_of
from modules.world_model.anti_collapse import EMA, METHODS, AntiCollapse, SIGReg, VICReg, anti_collapse_of


@pytest.fixture
def normal() -> torch.Tensor:
    """Independent standard normal states, (256, 4, 8)."""
    return torch.randn(256, 4, 8, generator=torch.Generator().manual_seed(0))


def values(method: AntiCollapse, states: torch.Tensor) -> dict[str, float]:
    return {name: float(value) for name, (_, value) in method.penalties(states).items()}


def test_vicreg_penalises_low_variance_and_covariance(normal):
    spread = values(VICReg(), 1.5 * normal)
    assert spread["variance"] == 0
    assert spread["covariance"] == pytest.approx(0, abs=0.02)
    assert values(VICReg(), torch.zeros_like(normal))["variance"] == pytest.approx(0.99)
    copied = (1.5 * normal[..., :1]).expand_as(normal)
    assert values(VICReg(), copied)["covariance"] == pytest.approx(float(copied[..., 0].var()) ** 2)


def test_vicreg_and_sigreg_penalise_long_steps(normal):
    moving = torch.arange(4.0).view(1, 4, 1).expand(16, 4, 8)
    for method in (VICReg(), SIGReg()):
        assert values(method, moving)["smoothness"] == pytest.approx(1)
        assert values(method, normal[:, :1].expand(-1, 4, -1))["smoothness"] == 0


def test_sigreg_separates_normal_from_other_distributions(normal):
    torch.manual_seed(0)
    bad = (torch.zeros_like(normal), 0.3 * normal, normal.sign())
    assert values(SIGReg(), normal)["sigreg"] < 2
    assert all(values(SIGReg(), states)["sigreg"] > 20 for states in bad[:2])
    assert values(SIGReg(), normal.sign())["sigreg"] > 2 * values(SIGReg(), normal)["sigreg"]


def test_sigreg_is_the_distance_of_characteristic_functions():
    states = torch.randn(40, 2, 3, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(7)
    found = values(SIGReg(num_projections=6, num_knots=9), states)["sigreg"]
    torch.manual_seed(7)
    directions = torch.nn.functional.normalize(torch.randn(3, 6), dim=0)
    knots = torch.linspace(-3, 3, 17)
    empirical = torch.exp(1j * (states.flatten(0, 1) @ directions)[..., None] * knots).mean(0)
    normal = torch.exp(-knots.square() / 2)
    distance = torch.trapezoid((empirical - normal).abs().square() * normal, knots).mean() * 80
    assert found == pytest.approx(float(distance), rel=1e-4)


def test_sigreg_draws_from_torchs_global_generator(normal):
    torch.manual_seed(5)
    saved = torch.get_rng_state()
    first, second = values(SIGReg(), normal), values(SIGReg(), normal)
    torch.set_rng_state(saved)
    assert values(SIGReg(), normal) == first != second


def test_one_dimension_has_no_covariance():
    assert values(VICReg(), torch.randn(8, 2, 1))["covariance"] == 0


def test_ema_follows_along_a_cosine():
    method, module = EMA(momentum=0.5, final_momentum=1.0), mlp(2, 3)
    copy = target_of(module)
    assert not any(p.requires_grad for p in copy.parameters())
    before = copy[0].weight.clone()
    with torch.no_grad():
        module[0].weight.add_(1)
    method.follow(copy, module, progress=0.0)
    torch.testing.assert_close(copy[0].weight, before + 0.5)
    method.follow(copy, module, progress=0.5)
    torch.testing.assert_close(copy[0].weight, before + 0.625)
    method.follow(copy, module, progress=1.0)
    torch.testing.assert_close(copy[0].weight, before + 0.625)


def test_setting_takes_a_name_or_a_method():
    assert {name: type(anti_collapse_of(name)) for name in METHODS} == METHODS
    mine = VICReg(std=3)
    assert anti_collapse_of(mine) is mine


def test_refusals():
    with pytest.raises(SettingError, match=r"^JEPA\.anti_collapse is 'vicrg': did you mean 'vicreg'\?$"):
        anti_collapse_of("vicrg")
    with pytest.raises(SettingError, match=r"^VICReg\.idm is -1: expected 0 or more$"):
        VICReg(idm=-1)
    with pytest.raises(SettingError, match=r"^SIGReg\.num_knots is 1: expected 2 or more$"):
        SIGReg(num_knots=1)
    with pytest.raises(SettingError, match=r"^EMA\.momentum is 0\.9 and EMA\.final_momentum 0\.8: expected "
                                           r"0 <= momentum <= final_momentum <= 1$"):
        EMA(momentum=0.9, final_momentum=0.8)

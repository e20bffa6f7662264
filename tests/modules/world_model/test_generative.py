"""The generative world model: reconstruction, the JEPA's ports, and refused state targets."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from modules.perception.conv import Conv
from modules.world_model.jepa import JEPA

PICTURE, WIDTH, ACTIONS = (16, 16, 3), 12, 2


def generative(**settings) -> JEPA:
    return JEPA(**{"anti_collapse": "none", "target": "pixels", **settings})


def made(**settings) -> tuple[Conv, JEPA]:
    torch.manual_seed(0)
    perception, model = Conv(width=WIDTH, channels=8, hidden=32), generative(hidden=64, **settings)
    perception.set_up({"O": PICTURE, "P": (WIDTH,)})
    model.set_up({"O": PICTURE, "P": (WIDTH,), "S": (WIDTH,), "A": ACTIONS})
    model.calls = Calls("world_model", {"perception": Callee("perception", perception)})
    return perception, model


def walks(num: int) -> dict[str, torch.Tensor]:
    """A white square of 4 pixels on black; actions move it by a pixel along each axis."""
    generator = torch.Generator().manual_seed(1)
    moves = torch.randint(-1, 2, (num, 3, 2), generator=generator)
    steps = torch.cat([torch.zeros_like(moves[:, :1]), moves], 1).cumsum(1)
    places = torch.randint(4, 9, (num, 1, 2), generator=generator) + steps
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    away = [axis - places[..., n, None, None] for n, axis in enumerate((y, x))]
    inside = [(side >= 0) & (side < 4) for side in away]
    frames = (inside[0] & inside[1]).to(torch.uint8)[..., None].expand(-1, -1, -1, -1, 3) * 255
    return {"observation": frames, "action": moves.float()}


def learnt(steps: int = 400) -> tuple[Conv, JEPA, list[float]]:
    perception, model = made()
    data = walks(256)
    model.fit_statistics({"observation": data["observation"].flatten(0, 1)})
    optimiser = torch.optim.AdamW([*perception.parameters(), *model.parameters()], lr=3e-3)
    losses = []
    for step in range(steps):
        batch = {name: value[step % 4 * 64:][:64] for name, value in data.items()}
        loss, _ = model.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return perception, model, losses


def test_contract():
    check_world_model(lambda: generative(hidden=32))
    check_world_model(lambda: generative(hidden=32, anti_collapse="vicreg"))


def test_trained_reconstructs_observed_and_imagined_states():
    perception, model, losses = learnt()
    assert losses[0] > 0.9  # the mean picture costs 1
    assert losses[-1] < 0.35
    data = walks(8)
    with torch.no_grad():
        state = model.state_of(perception.encode(data["observation"][:, 0]))
        imagined = model.imagine(state, data["action"][:, None]).states[:, 0]
        drawn = model.decode(torch.cat([state[:, None], imagined], 1))
        seen = data["observation"].float()
        assert drawn.shape == seen.shape
        assert torch.corrcoef(torch.stack([drawn.flatten(), seen.flatten()]))[0, 1] > 0.85
        untrained = made()[1].decode(imagined)
    assert abs(torch.corrcoef(torch.stack([untrained.flatten(), seen[:, 1:].flatten()]))[0, 1]) < 0.2


def test_the_mean_picture_costs_one():
    _, model = made()
    data = walks(64)
    model.fit_statistics({"observation": data["observation"].flatten(0, 1)})
    for weight in model.target.decoder[-1].parameters():
        torch.nn.init.zeros_(weight)
    _, figures = model.loss(data)
    assert float(figures["prediction"]) == pytest.approx(1.0, abs=1e-3)


def test_state_targets_are_refused():
    with pytest.raises(SettingError, match=r"JEPA.anti_collapse is 'ema', whose targets are states"):
        generative(anti_collapse="ema")

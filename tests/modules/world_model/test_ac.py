"""AC: block-causal prediction of tokens, its cache, states that suffice, learning, and refusals."""

import pytest
import torch

from ami.errors import SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from modules.perception.vit import ViT
from modules.world_model import ac
from modules.world_model.ac import AC
from tests.support.episodes import numbered

TOKENS, WIDTH, ACTIONS = 4, 8, 2
SMALL = {"width": 16, "heads": 2}


def made(predicts: bool = True, seed: int = 0, **settings) -> AC:
    """A model; without `predicts` its initial weights, whose predictions are no change."""
    torch.manual_seed(seed)
    model = AC(**{**SMALL, **settings})
    sizes = {"P": (TOKENS, WIDTH), "A": ACTIONS}
    model.set_up({**sizes, "U": ACTIONS, **model.infer_dims(sizes)})
    if predicts:
        model.head.reset_parameters()
    return model


def moving(num: int = 32, steps: int = 4, seed: int = 1) -> dict[str, torch.Tensor]:
    """Windows of tokens that each show two angles in a way of its own; an action turns them by up to half a radian."""
    draw = torch.Generator().manual_seed(seed)
    action = torch.rand(num, steps, ACTIONS, generator=draw) * 2 - 1
    start = torch.rand(num, 1, ACTIONS, generator=draw) * 6
    angles = torch.cat([start, start + 0.5 * action.cumsum(1)], dim=1)
    looks = torch.randn(TOKENS, 2 * ACTIONS, WIDTH, generator=torch.Generator().manual_seed(0))
    shown = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return {"percept": torch.einsum("ntf,kfd->ntkd", shown, looks), "action": action}


def trained(batch: dict[str, torch.Tensor], steps: int = 60, **settings) -> AC:
    model = made(predicts=False, **settings)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss, _ = model.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@pytest.mark.parametrize("settings", [{}, {"reach": 0}, {"reach": 2, "depth": 1}, {"normalise": False}], ids=str)
def test_contract(settings):
    check_world_model(lambda: AC(**SMALL, **settings), dims={"P": (TOKENS, WIDTH)})


def test_state_is_the_last_frames_each_with_its_action():
    model, seen, taken = made(), torch.randn(2, 5, TOKENS, WIDTH), torch.randn(2, 5, ACTIONS)
    states, _ = model.observe(seen, taken)
    scaled = torch.nn.functional.layer_norm(seen, (WIDTH,))
    assert states.shape == (2, 5, 3, TOKENS + 1, WIDTH)
    assert torch.equal(states[:, 4, :, :-1], scaled[:, 2:])
    assert torch.equal(states[:, 4, :2, -1, 1:1 + ACTIONS], taken[:, 3:])  # those before frames 3 and 4
    assert not states[:, :, -1, -1, 1:].any()
    assert states[0, 1, :, -1, 0].tolist() == [0, 1, 1]  # before an episode's first frame there is none


def test_untrained_model_predicts_no_change():
    model, state = made(predicts=False), torch.randn(2, 3, TOKENS + 1, WIDTH)
    ahead = model.imagine(state, torch.randn(2, 1, 1, ACTIONS)).states[:, 0, 0, -1, :-1]
    assert torch.allclose(ahead, torch.nn.functional.layer_norm(state[:, -1, :-1], (WIDTH,)), atol=1e-5)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_an_action_changes_no_prediction_before_it_and_every_one_it_reaches(reach):
    model, tokens, actions = made(reach=reach), torch.randn(1, 7, TOKENS, WIDTH), torch.randn(1, 7, ACTIONS)
    other = actions.clone()
    other[:, 2] += 1
    one, _ = model._next(tokens, actions)
    two, _ = model._next(tokens, other)
    changed = (one != two).flatten(2).any(-1)[0].tolist()
    assert changed == [2 <= step <= 2 + model.depth * reach for step in range(7)]


def test_no_later_frame_changes_a_prediction():
    model, tokens, actions = made(), torch.randn(1, 5, TOKENS, WIDTH), torch.randn(1, 5, ACTIONS)
    other = tokens.clone()
    other[:, 3:] += 1
    assert torch.equal(model._next(tokens, actions)[0][:, :3], model._next(other, actions)[0][:, :3])


@pytest.mark.parametrize("reach", [0, 1, 2])
@pytest.mark.parametrize("at_once", [2, 256])
def test_cached_imagination_equals_recomputation(reach, at_once, monkeypatch):
    monkeypatch.setattr(ac, "ROWS_AT_ONCE", at_once)
    model, seen = made(reach=reach), torch.randn(3, 4, TOKENS, WIDTH)
    taken, plans = torch.randn(3, 4, ACTIONS), torch.randn(3, 5, 3, ACTIONS)
    states, _ = model.observe(seen, taken)
    imagined = model.imagine(states[:, -1], plans).states[..., -1, :-1, :]
    for plan in range(5):
        frames, acted = torch.nn.functional.layer_norm(seen, (WIDTH,)), taken[:, 1:]
        for step in range(3):
            acted = torch.cat([acted, plans[:, plan, step:step + 1]], dim=1)
            ahead = model._next(frames, acted)[0][:, -1:]
            frames = torch.cat([frames, ahead], dim=1)
            assert torch.allclose(imagined[:, plan, step], ahead[:, 0], atol=1e-5)


def test_reset_forgets_the_frames_of_the_last_episode():
    model, seen, taken = made(), torch.randn(4, 2, TOKENS, WIDTH), torch.zeros(2, ACTIONS)
    model.begin(torch.ones(2, dtype=torch.bool), numbered([0, 1]))
    for percept in seen[:3]:
        model.step(percept=percept, action=taken)
    model.begin(torch.tensor([False, True]), numbered([0, 2]))
    state = model.step(percept=seen[3], action=taken)["state"]
    assert state[:, :, -1, 0].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert not state[1, :2].any()


def test_distance_is_the_mean_absolute_difference_of_the_last_tokens():
    model, percept = made(), torch.randn(2, TOKENS, WIDTH)
    states, _ = model.observe(percept[:, None], torch.zeros(2, 1, ACTIONS))
    assert torch.equal(model.distance(states[:, 0], model.goal_of(percept)), torch.zeros(2))
    expected = (states[0, 0, -1, :-1] - states[1, 0, -1, :-1]).abs().mean()
    assert torch.allclose(model.distance(states[0, 0], model.goal_of(percept)[1]), expected)


@pytest.mark.parametrize("shuffled", [False, True])
def test_actions_matter_after_learning_but_not_after_learning_from_shuffled_ones(shuffled):
    batch, fresh = moving(64), moving(64, 1, seed=9)
    if shuffled:
        order = torch.randperm(256, generator=torch.Generator().manual_seed(2))
        batch["action"] = batch["action"].flatten(0, 1)[order].view_as(batch["action"])
    model = trained(batch, reach=0, depth=1)
    state, _ = model.observe(fresh["percept"][:, :1], torch.zeros(64, 1, ACTIONS))
    goal = model.goal_of(fresh["percept"][:, 1])
    plans = torch.stack([fresh["action"], -fresh["action"]], dim=1)
    towards, away = model.distance(model.imagine(state[:, 0], plans).states[:, :, 0], goal[:, None]).unbind(1)
    share = float((towards < away).float().mean())
    assert share < 0.7 if shuffled else share > 0.9


def test_eyes_teach_every_token_where_an_action_leads():
    torch.manual_seed(0)
    looks = torch.rand(1, 1, 8, 8)
    vit = ViT(width=WIDTH, patch=4, pool="tokens", embedding=16, depth=1, heads=2)
    vit.set_up({"O": (8, 8), "P": (TOKENS, WIDTH)})
    model = made(normalise=False)
    model.calls = Calls("world_model", {"perception": Callee("perception", vit)})
    optimiser = torch.optim.Adam([*vit.parameters(), *model.inverse.parameters()], lr=3e-3)
    drifts = []
    for _ in range(60):
        action = torch.rand(32, 2, ACTIONS) * 2 - 1
        light = torch.cat([torch.zeros(32, 1), action[..., 0].cumsum(1)], dim=1)[..., None, None]  # the other shows nothing
        loss, figures = model.eyes({"observation": looks + light, "action": action * torch.tensor([1.0, 0.0])})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        drifts.append(float(figures["drift"]))
    assert sum(drifts[-5:]) < 0.5 * sum(drifts[:5])
    dark, dim, bright = (model.goal_of(vit.encode(looks[0] + light)) for light in (-0.6, 0.0, 0.6))
    assert bool(((dark - bright).abs().sum(-1) > (dark - dim).abs().sum(-1)).all())


def test_loss_is_that_of_true_and_of_imagined_tokens_and_reads_no_target():
    model, batch = made(), moving(steps=2)
    loss, figures = model.loss(batch)
    assert torch.allclose(loss, figures["prediction"] + figures["rollout"])
    tokens = model.goal_of(batch["percept"])
    ahead = model.imagine(model.observe(batch["percept"][:, :1], torch.zeros(32, 1, ACTIONS))[0][:, 0],
                          batch["action"][:, None]).states[:, 0, :, -1, :-1]
    assert torch.allclose(figures["rollout"], (ahead[:, 1] - tokens[:, 2]).abs().mean(), atol=1e-6)


def test_losses_elsewhere_change_the_pictures_and_nothing_else():
    vit = ViT(width=WIDTH, patch=4, pool="tokens", embedding=16, depth=1, heads=2)
    vit.set_up({"O": (8, 8, 3), "P": (TOKENS, WIDTH)})
    model = made()
    model.calls = Calls("world_model", {"perception": Callee("perception", vit)})
    batch = {"observation": torch.full((4, 3, 8, 8, 3), 90, dtype=torch.uint8), "action": torch.rand(4, 2, ACTIONS)}
    before = batch["observation"].clone()
    for plain, elsewhere in ((model.eyes, model.eyes_elsewhere), (model.loss, model.loss_elsewhere)):
        assert {*plain(batch)[1]} == {*elsewhere(batch)[1]}
    assert float(model.loss(batch)[1]["still"]) == float(model.loss_elsewhere(batch)[1]["still"]) == 0  # as still as before
    assert torch.equal(batch["observation"], before)
    assert model.loss_elsewhere(batch)[0] != model.loss_elsewhere(batch)[0]


@pytest.mark.parametrize("settings, message", [
    ({"depth": 0}, "AC.depth is 0: expected 1 or more"),
    ({"reach": -1}, "AC.reach is -1: expected 0 or more earlier frames"),
    ({"width": 30}, "AC.width is 30: expected a multiple of AC.heads, 4"),
])
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SettingError) as refusal:
        AC(**settings)
    assert str(refusal.value) == message


@pytest.mark.parametrize("percept, message", [
    ((64,), r"AC receives percepts of shape \(64,\): expected tokens .+ Fix: perception=vit perception.pool=tokens"),
    ((4, 2), r"tokens of width 2: expected more than the 2 numbers of an action. Fix: .+perception.width=3"),
])
def test_percepts_that_are_no_wide_tokens_are_refused(percept, message):
    with pytest.raises(SettingError, match=message):
        AC().infer_dims({"P": percept, "A": 2})

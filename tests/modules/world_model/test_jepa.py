"""JEPA: states, rollouts, surprise, decreasing loss and resumed training."""

import pytest
import torch

from ami.errors import CallError, SettingError
from ami.module import Callee, Calls
from ami.testing import check_world_model
from modules.perception.conv import Conv
from modules.perception.identity import Identity
from modules.world_model.anti_collapse import METHODS
from modules.world_model.jepa import JEPA, SMALLEST_STEP
from tests.support.episodes import numbered

PICTURE, WIDTH, ACTIONS = (16, 16, 3), 12, 2


def made(seed: int = 0, **settings) -> tuple[Conv, JEPA]:
    """A perception and the JEPA that calls it."""
    torch.manual_seed(seed)
    perception, model = Conv(width=WIDTH, channels=8, hidden=32), JEPA(hidden=32, **settings)
    perception.set_up({"O": PICTURE, "P": (WIDTH,)})
    model.set_up({"P": (WIDTH,), "S": (WIDTH,), "A": ACTIONS})
    model.calls = Calls("world_model", {"perception": Callee("perception", perception)})
    return perception, model


def windows(num: int = 8, steps: int = 4, seed: int = 1) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {"observation": torch.randint(0, 256, (num, steps + 1, *PICTURE), dtype=torch.uint8, generator=draw),
            "action": torch.rand(num, steps, ACTIONS, generator=draw) * 2 - 1}


class Learning:
    """A minimal trainer."""

    def __init__(self, method: str) -> None:
        self.modules = made(anti_collapse=method)
        torch.manual_seed(4)
        self.modules[1].begin_learning()
        self.parameters = [p for module in self.modules for p in module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=1e-3)

    def learn(self, first: int, last: int) -> list[float]:
        losses = []
        for step in range(first, last):
            loss, _ = self.modules[1].loss(windows())
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.modules[1].after_step(step, 20)
            losses.append(float(loss.detach()))
        return losses

    def weights(self) -> list[dict[str, torch.Tensor]]:
        return [{name: value.clone() for name, value in module.state_dict().items()} for module in self.modules]


def test_the_predictor_is_a_residual_mlp_of_state_and_action():
    _, model = made()
    state, action = torch.randn(5, WIDTH), torch.randn(5, ACTIONS)
    hidden = model.predictor.first(torch.cat([state, action], 1)).relu()
    expected = state + model.predictor.last(model.predictor.second(hidden).relu())
    torch.testing.assert_close(model.predictor(state, action), expected)


def test_imagine_imagines_step_by_step():
    _, model = made()
    state, actions = torch.randn(3, WIDTH), torch.randn(3, 5, 4, ACTIONS)
    given = state.clone(), actions.clone()
    states = model.imagine(state, actions).states
    assert states.shape == (3, 5, 4, WIDTH)
    assert torch.equal(state, given[0])
    assert torch.equal(actions, given[1])
    at = state[1]
    for h in range(4):
        at = model.predictor(at, actions[1, 2, h])
        torch.testing.assert_close(states[1, 2, h], at)


def test_imagine_is_independent_of_batch_and_candidates():
    _, model = made()
    state, actions = torch.randn(6, WIDTH), torch.randn(6, 5, 3, ACTIONS)
    states = model.imagine(state, actions).states
    torch.testing.assert_close(model.imagine(state[2:3], actions[2:3, 1:2]).states, states[2:3, 1:2])
    torch.testing.assert_close(model.imagine(state[2:3], actions[2:3]).states, states[2:3])


def test_imagine_gradients_reach_actions_and_state():
    _, model = made()
    state, actions = torch.randn(2, WIDTH, requires_grad=True), torch.randn(2, 3, 4, ACTIONS, requires_grad=True)
    model.imagine(state, actions).states[:, :, -1].square().sum().backward()
    assert state.grad.abs().sum() > 0
    assert (actions.grad.abs().sum(-1) > 0).all()


def test_surprise_is_the_prediction_error_and_0_at_first():
    _, model = made()
    model.begin(torch.ones(2, dtype=torch.bool), numbered([0, 1]))
    percepts, action = torch.randn(3, 2, WIDTH), torch.rand(2, ACTIONS)
    first = model.step(percept=percepts[0], action=action)
    assert first["surprise"].tolist() == [0, 0]
    assert torch.equal(first["state"], percepts[0])
    second = model.step(percept=percepts[1], action=action)
    predicted = model.predictor(percepts[0], action)
    torch.testing.assert_close(second["surprise"], (predicted - percepts[1]).norm(dim=1))
    model.begin(torch.tensor([False, True]), numbered([0, 2]))
    third = model.step(percept=percepts[2], action=action)["surprise"]
    assert third[0] > 0
    assert third[1] == 0


def test_callable_methods_are_pure():
    _, model = made()
    model.begin(torch.ones(2, dtype=torch.bool), numbered([0, 1]))
    model.step(percept=torch.randn(2, WIDTH), action=torch.rand(2, ACTIONS))
    before = model.snapshot()
    model.imagine(torch.randn(4, WIDTH), torch.randn(4, 2, 3, ACTIONS))
    model.distance(model.state_of(torch.randn(4, WIDTH)), torch.randn(4, WIDTH))
    after = model.snapshot()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_restored_snapshot_continues_identically():
    _, model = made()
    model.begin(torch.ones(2, dtype=torch.bool), numbered([0, 1]))
    percepts, action = torch.randn(3, 2, WIDTH), torch.rand(2, ACTIONS)
    model.step(percept=percepts[0], action=action)
    saved = model.snapshot()
    expected = model.step(percept=percepts[1], action=action)
    model.step(percept=percepts[2], action=action)
    model.restore(saved)
    assert torch.equal(model.step(percept=percepts[1], action=action)["surprise"], expected["surprise"])


def test_distance_is_euclidean():
    _, model = made()
    states = torch.zeros(2, 3, WIDTH)
    states[1, 2, :2] = torch.tensor([3.0, 4.0])
    way = model.distance(states, torch.zeros(2, 1, WIDTH))
    assert way.shape == (2, 3)
    assert way[1, 2] == 5
    assert way.sum() == 5


@pytest.mark.parametrize("method", METHODS)
def test_learning_lowers_the_loss_and_reports_its_terms(method):
    learning = Learning(method)
    losses = learning.learn(0, 20)
    assert losses[-1] < losses[0]
    _, figures = learning.modules[1].loss(windows())
    terms = {"ema": {"idm"}, "none": set(), "sigreg": {"sigreg", "smoothness", "idm"},
             "vicreg": {"variance", "covariance", "smoothness", "idm"}}[method]
    assert set(figures) == {"prediction", "std"} | terms
    assert all(value.ndim == 0 and not value.requires_grad for value in figures.values())


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_training_resumes_bitwise(method):
    whole = Learning(method)
    whole.learn(0, 6)
    saved = whole.weights(), whole.optimiser.state_dict(), torch.get_rng_state()
    saved = saved[0], {**saved[1], "state": {i: {k: v.clone() for k, v in s.items()}
                                             for i, s in saved[1]["state"].items()}}, saved[2]
    whole.learn(6, 12)
    resumed = Learning(method)
    for module, weights in zip(resumed.modules, saved[0], strict=True):
        module.load_state_dict(weights)
    resumed.optimiser.load_state_dict(saved[1])
    torch.set_rng_state(saved[2])
    resumed.learn(6, 12)
    for one, other in zip(whole.weights(), resumed.weights(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_states_collapse_without_vicreg():
    spread = {}
    for method in ("none", "vicreg"):
        learning = Learning(method)
        learning.optimiser.param_groups[0]["lr"] = 3e-3
        learning.learn(0, 60)
        spread[method] = float(learning.modules[1].loss(windows())[1]["std"])
    assert spread["none"] < 0.02
    assert spread["vicreg"] > 0.3


@pytest.mark.parametrize("method", METHODS)
def test_training_uses_only_the_first_observation(method):
    _, model = made(anti_collapse=method)
    model.begin_learning()
    batch = windows()
    seen = []
    imagine = model._imagined
    model._imagined = lambda state, actions, half: seen.append((state, actions)) or imagine(state, actions, half)
    for last in (0, 255):
        batch["observation"][:, 1:] = last
        model.loss(batch)
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])


def test_ema_targets_come_from_the_copy_without_gradient():
    perception, model = made(anti_collapse="ema")
    model.method.idm = 0.0
    model.begin_learning()
    batch = windows(steps=1)
    batch["action"].zero_()
    with torch.no_grad():
        model.predictor.last.weight.zero_()
    model.loss(batch)[0].backward()
    slow = model.learning_state["perception"]
    assert all(p.grad is None for p in slow.parameters())
    expected = [p.grad.clone() for p in perception.parameters()]
    perception.zero_grad()
    # by hand: only the first picture's state moves; the targets are constants
    with torch.no_grad():
        targets = model.state_of(slow.encode(batch["observation"][:, 1]))
    state = model.state_of(perception.encode(batch["observation"][:, 0]))
    (model.state_of(state + model.predictor.last.bias) - targets).square().mean().backward()
    for grad, parameter in zip(expected, perception.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad)


def test_ema_states_are_layer_normed_percepts():
    _, model = made(anti_collapse="ema")
    state = model.state_of(5 + 3 * torch.randn(4, WIDTH))
    torch.testing.assert_close(state.mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(state.std(-1, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    model.begin(torch.ones(4, dtype=torch.bool), numbered(range(4)))
    percept = torch.randn(4, WIDTH)
    assert torch.equal(model.step(percept=percept, action=torch.zeros(4, 2))["state"], model.state_of(percept))


def test_refusals():
    with pytest.raises(SettingError, match=r"^JEPA\.hidden is 0: expected 2 or more$"):
        JEPA(hidden=0)
    with pytest.raises(SettingError, match=r"^JEPA\.anti_collapse is 'emma': did you mean 'ema'\?$"):
        JEPA(anti_collapse="emma")
    with pytest.raises(SettingError) as error:
        JEPA().infer_dims({"P": (16, 32)})
    assert str(error.value) == "JEPA receives percepts of shape (16, 32): expected vectors (D,). Fix: perception=conv"


def test_learning_without_the_call_edge_is_refused():
    _, model = made()
    model.calls = Calls("world_model")
    with pytest.raises(CallError, match=r"^world_model calls 'perception', which is not bound\."):
        model.loss(windows())


# Rewards --------------------------------------------------------------------------------------------------------------


def test_contract_with_rewards():
    check_world_model(lambda: JEPA(hidden=32, anti_collapse="none", rewards=True))


def test_fields_that_are_not_predicted_are_none():
    prediction = seeing(rewards=False).imagine(torch.randn(2, 6), torch.randn(2, 3, 4, 2))
    assert prediction.reward is None and prediction.cont is None


def test_learns_reward_and_termination():
    torch.manual_seed(0)
    model = seeing(rewards=True)
    observation, action = torch.randn(512, 2, 6), torch.rand(512, 1, 2) * 2 - 1
    observation[:, 1] = observation[:, 0] + action.sum(-1)
    batch = {"observation": observation, "action": action, "reward": 50 * action[..., 0],
             "cont": (action[..., 1] > 0).float()}
    model.fit_statistics({"observation": observation, "reward": batch["reward"].flatten()})
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        loss, figures = model.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert {"prediction", "reward", "cont"} <= set(figures)
    with torch.no_grad():
        foreseen = model.imagine(observation[:, 0], action[:, None])
    reward, cont = foreseen.reward[:, 0], foreseen.cont[:, 0]
    assert (reward - batch["reward"]).abs().mean() < 5
    assert ((cont > 0.5) == (batch["cont"] > 0.5)).float().mean() > 0.95


def test_reward_scale_ignores_zero_rewards():
    rare, common = seeing(rewards=True), seeing(rewards=True)
    rewards = torch.zeros(1000)
    rewards[:3] = torch.tensor([1.0, 2.0, -3.0])
    for model, given in ((rare, rewards), (common, rewards[:3])):
        model.fit_statistics({"observation": torch.randn(4, 6), "reward": given})
    assert rare.reward_scale == common.reward_scale == 2


# Half precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"num_predictors": 3}, {"rewards": True}], ids=["plain", "ensemble", "rewards"])
def test_contract_in_bfloat16(settings: dict) -> None:
    check_world_model(lambda: JEPA(hidden=32, imagination_precision="bfloat16", **settings))


def test_bfloat16_changes_imagined_states_a_little_and_the_loss_not_at_all():
    _, full = made()
    _, half = made(imagination_precision="bfloat16")
    state, actions = torch.randn(3, WIDTH), torch.randn(3, 5, 4, ACTIONS)
    exact, rounded = full.imagine(state, actions).states, half.imagine(state, actions).states
    assert rounded.dtype == torch.float32
    assert 0 < (exact - rounded).abs().max() < 0.02
    assert torch.equal(full.loss(windows())[0], half.loss(windows())[0])


def test_rows_in_bfloat16_do_not_depend_on_their_batch():
    _, model = made(imagination_precision="bfloat16")
    state, actions = torch.randn(20, WIDTH), torch.randn(20, 32, 4, ACTIONS)
    whole = model.imagine(state, actions).states
    for rows, candidates in ((1, 1), (1, 32), (3, 5), (20, 1)):
        alone = model.imagine(state[:rows], actions[:rows, :candidates]).states
        torch.testing.assert_close(alone, whole[:rows, :candidates], rtol=1e-4, atol=1e-5)


def test_gradients_of_actions_pass_through_bfloat16():
    (_, full), (_, half) = made(), made(imagination_precision="bfloat16")
    state, found = torch.randn(3, WIDTH), []
    chosen = torch.randn(3, 5, 4, ACTIONS)
    for model in (full, half):
        actions = chosen.clone().requires_grad_()
        model.imagine(state, actions).states.sum().backward()
        found.append(actions.grad.flatten())
    assert torch.cosine_similarity(*found, dim=0) > 0.99


def test_another_precision_is_refused():
    with pytest.raises(SettingError) as error:
        JEPA(imagination_precision="float16")
    assert str(error.value) == "JEPA.imagination_precision is 'float16': expected one of float32, bfloat16"


# In units of steps ----------------------------------------------------------------------------------------------------


def test_contract_in_steps():
    check_world_model(lambda: JEPA(hidden=32, anti_collapse="none", rewards=True, normalise_deltas=True))


def test_step_size_excludes_episode_boundaries():
    model = seeing(rewards=False, normalise_deltas=True)
    states = torch.stack([torch.arange(5.0) * 2, torch.arange(5.0) * -3, *torch.zeros(4, 5)], dim=1)
    last = torch.tensor([False] * 4 + [True])
    model.fit_statistics({"observation": torch.cat([states, states + 1000]), "last": last.repeat(2)})
    assert model.predictor.step.tolist() == pytest.approx([2, 3, *[SMALLEST_STEP] * 4])


def test_in_steps_predicts_small_steps_better():
    """As in physics, the one-step changes are a hundredth of the standard deviation."""
    def left_over(normalise_deltas: bool) -> float:
        """The unexplained share of the motion."""
        torch.manual_seed(0)
        model = seeing(rewards=False, normalise_deltas=normalise_deltas)
        before, action = torch.randn(512, 6), torch.rand(512, 1, 2) * 2 - 1
        after = before + 0.01 * (before.roll(1, 1) + action.sum(-1))
        after[:8] += 3  # rare jumps
        seen = torch.stack([before, after], dim=1)
        model.fit_statistics({"observation": seen.flatten(0, 1), "last": torch.tensor([False, True]).repeat(512)})
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(200):
            loss, _ = model.loss({"observation": seen, "action": action})
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            foreseen = model.imagine(before, action[:, None]).states[:, 0, 0]
        return float((foreseen - after)[8:].square().mean() / (after - before)[8:].square().mean())

    assert left_over(normalise_deltas=True) < 0.3 < 1 < left_over(normalise_deltas=False)


def test_normalise_deltas_is_refused_for_learnt_states():
    with pytest.raises(SettingError, match=r"^JEPA\.normalise_deltas is true and JEPA\.anti_collapse 'vicreg'"):
        JEPA(normalise_deltas=True)
    _, model = made(anti_collapse="none", normalise_deltas=True)
    with pytest.raises(SettingError) as error:
        model.fit_statistics({"observation": windows()["observation"].flatten(0, 1),
                              "last": torch.zeros(1, dtype=torch.bool)})
    assert str(error.value) == ("JEPA.normalise_deltas is true, but states are learnt, by Conv: expected fixed states. "
                                "Fix: world_model.normalise_deltas=false, or perception=vector with perception.width=0")


def seeing(rewards: bool, normalise_deltas: bool = False) -> JEPA:
    """A JEPA whose perception passes vectors on."""
    model = JEPA(hidden=32, anti_collapse="none", rewards=rewards, normalise_deltas=normalise_deltas)
    model.set_up({"P": (6,), "S": (6,), "A": 2})
    model.calls = Calls("world_model", {"perception": Callee("perception", Identity())})
    return model

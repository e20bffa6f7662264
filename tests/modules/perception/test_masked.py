"""Masked objectives: no target reaches its prediction, losses fall, targets collapse without an EMA copy."""

import pytest
import torch

from ami.errors import SettingError
from ami.testing.learning import check_learning
from ami.testing.subject import Subject
from modules.perception._targets import PatchPixels, SlowTokens, Target
from modules.perception.masked import IJEPA, OBJECTIVES, MaskedPrediction, objective_of
from modules.perception.masks import RandomMasks
from modules.perception.vit import ViT

SMALL = {"width": 0, "patch": 4, "embedding": 16, "depth": 1, "heads": 2}
PICTURE = (16, 16, 3)


def settings_of(name):
    return {**SMALL, "objective": name, **({"frames": 4} if name.startswith("v") else {}),
            **({"positions": "rope"} if name == "vjepa2" else {"positions": "sincos"})}


def made(size=PICTURE, **settings) -> ViT:
    torch.manual_seed(0)
    vit = ViT(**settings)
    vit.set_up({"O": size, **vit.infer_dims({"O": size})})
    return vit


def examples(vit: ViT, count: int) -> torch.Tensor:
    """Return images, or clips, of smooth patterns with noise."""
    generator = torch.Generator().manual_seed(3)
    shape = (count, vit.frames, *PICTURE) if vit.frames > 1 else (count, *PICTURE)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def with_noise_at(vit: ViT, seen: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the images or clips of one batch with other pixels at some tokens (N, L)."""
    changed = seen.clone()
    rows, columns = PICTURE[0] // vit.patch, PICTURE[1] // vit.patch
    for number, row in enumerate(tokens.tolist()):
        for token in row:
            time, place = divmod(token, rows * columns)
            top, left = (place // columns) * vit.patch, (place % columns) * vit.patch
            where = (slice(time * vit.span, (time + 1) * vit.span),) if vit.frames > 1 else ()
            area = (number, *where, slice(top, top + vit.patch), slice(left, left + vit.patch))
            changed[area] = 255 - changed[area]
    return changed


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_pixel_of_a_target_reaches_its_prediction(name):
    vit = made(**settings_of(name)).eval()
    seen = examples(vit, 3)
    for keep, want in vit.objective.masks.sample(vit.grid, 3):
        def predicted(shown, keep=keep, want=want):
            return vit.predict_masked(vit.context(shown, keep), keep, want[:, 0])

        before = predicted(seen)
        assert torch.equal(predicted(with_noise_at(vit, seen, want.flatten(1))), before)
        assert not torch.allclose(predicted(with_noise_at(vit, seen, keep[:, :1])), before)
        everything_else = torch.stack([torch.tensor([token for token in range(vit.grid.size) if token not in row])
                                       for row in keep.tolist()])
        assert torch.equal(predicted(with_noise_at(vit, seen, everything_else)), before)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_is_that_of_predict_masked(name):
    """So what holds for predict_masked holds for learning."""
    vit = made(**settings_of(name))
    vit.begin_learning()
    seen = examples(vit, 3)
    torch.manual_seed(5)
    loss, _ = vit.loss({"observation": seen})
    torch.manual_seed(5)
    families = vit.objective.masks.sample(vit.grid, 3)
    patches = vit._examples(seen)
    if isinstance(vit.objective.target, PatchPixels):
        targets = (patches - patches.mean(-1, keepdim=True)) / patches.var(-1, keepdim=True, correction=0).sqrt()
    else:
        targets = torch.nn.functional.layer_norm(vit.encoder(patches), (16,))
    loss_of = {"smooth_l1": torch.nn.functional.smooth_l1_loss, "l1": torch.nn.functional.l1_loss,
               "mse": torch.nn.functional.mse_loss}[vit.objective.loss]
    expected = [loss_of(vit.predict_masked(vit.context(seen, keep), keep, want[:, group]),
                        targets[torch.arange(3)[:, None], want[:, group]])
                for keep, want in families for group in range(want.shape[1])]
    groups = len(expected)
    torch.testing.assert_close(loss, sum(expected) / groups, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_twenty_steps_on_one_batch_lower_the_loss(name):
    subject = Subject(lambda: ViT(**settings_of(name)), {"O": PICTURE})
    check_learning(subject, subject.fresh([0]), {"observation": examples(ViT(**settings_of(name)), 16)})


def learnt(vit: ViT, steps: int) -> list[float]:
    """Learn on random stripes; return the standard deviation of the targets at every step."""
    vit.begin_learning()
    optimiser = torch.optim.Adam(vit.parameters(), lr=1e-2)
    found = []
    for step in range(steps):
        phase, tilt = torch.rand(2, 16, 1, 1, 1)
        down, across = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        seen = torch.sin(6 * phase + (tilt * down[..., None] + (1 - tilt) * across[..., None]).expand(-1, -1, -1, 3))
        loss, figures = vit.loss({"observation": seen})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        vit.after_step(step, steps)
        found.append(float(figures["std"]))
    return found


def test_without_an_ema_copy_the_targets_collapse():
    copied = learnt(made(**SMALL, positions="sincos", objective=IJEPA(target=SlowTokens(0.996, 1.0))), 60)
    own = learnt(made(**SMALL, positions="sincos", objective=IJEPA(target=Target())), 60)
    assert own[-1] < 0.1 * own[0]
    assert copied[-1] > 0.5 * copied[0]


def test_the_encoder_ends_with_the_weights_of_its_ema_copy():
    vit = made(**settings_of("ijepa"))
    learnt(vit, 3)
    copy = vit.learning_state["encoder"].state_dict()
    assert all(torch.equal(value, copy[name]) for name, value in vit.encoder.state_dict().items())


def test_v_jepa_2_has_a_fixed_momentum_and_i_jepa_a_rising_one():
    def moved(target: SlowTokens, step: int) -> float:
        one, copy = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
        one.weight.data.fill_(1.0)
        copy.weight.data.fill_(0.0)
        target.after_step(torch.nn.ModuleDict({"encoder": copy}), one, step, 100)
        return float(copy.weight.detach())

    second = OBJECTIVES["vjepa2"]().target
    assert moved(second, 0) == pytest.approx(moved(second, 98)) == pytest.approx(0.00075, rel=1e-3)
    first = OBJECTIVES["ijepa"]().target
    assert moved(first, 0) == pytest.approx(0.004, rel=1e-3) and moved(first, 98) == pytest.approx(0.00008, rel=1e-2)


def test_targets_are_those_of_the_whole_image_and_have_no_gradient():
    vit = made(**settings_of("ijepa"))
    vit.begin_learning()
    loss, _ = vit.loss({"observation": examples(vit, 4)})
    loss.backward()
    assert all(parameter.grad is None for parameter in vit.learning_state.parameters())
    assert vit.encoder.embed.weight.grad.abs().sum() > 0


def test_deviations_contain_neither_what_a_clip_nor_what_a_place_has_in_common():
    target, tokens = SlowTokens(normalise="deviation"), torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
    found = target.scaled(tokens)
    same = 3 * torch.ones(4, 1, 3) * torch.arange(4.0)[:, None, None] + 5 * torch.arange(6.0)[None, :, None]
    assert torch.allclose(target.scaled(tokens + same), found, atol=1e-4)
    assert torch.allclose(found.std((0, 1)), torch.ones(3), atol=1e-3)
    assert torch.equal(SlowTokens().scaled(tokens), tokens)


def test_a_collapse_is_seen_before_deviations_are_scaled():
    vit = made(**SMALL, positions="sincos", objective=IJEPA(target=SlowTokens(normalise="deviation")))
    vit.begin_learning()
    seen = examples(vit, 1).expand(4, *PICTURE).clone()
    seen[0, 0, 0, 0] ^= 1
    _, figures = vit.loss({"observation": seen})
    assert figures["std"] < 0.01


def test_deviations_need_several_rows():
    with pytest.raises(SettingError, match=r"SlowTokens\.normalise is 'deviation', and a batch has 1 row: .* Fix: a larger"):
        SlowTokens(normalise="deviation").scaled(torch.zeros(1, 4, 2))


def test_a_perception_without_an_objective_does_not_learn_alone():
    vit = made(**SMALL)
    with pytest.raises(SettingError, match=r"ViT\.objective is none: .* Fix: perception\.objective=ijepa"):
        vit.loss({"observation": torch.zeros(2, *PICTURE)})


@pytest.mark.parametrize(("name", "shape", "words"), [
    ("ijepa", (2, 5, 16, 16, 3), "expected (N, 16, 16, 3). Fix: source: frames"),
    ("vjepa", (2, 16, 16, 3), "expected (N, 4, 16, 16, 3). Fix: source: {name: clips, length: 3}"),
])
def test_a_batch_of_another_shape_is_refused_with_its_source(name, shape, words):
    vit = made(**settings_of(name))
    with pytest.raises(SettingError) as error:
        vit.loss({"observation": torch.zeros(shape)})
    assert str(error.value).endswith(words)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: objective_of("ijeba"), "ViT.objective is 'ijeba': did you mean 'ijepa'?"),
    (lambda: MaskedPrediction(loss="huber"), "MaskedPrediction.loss is 'huber'"),
    (lambda: IJEPA(width=30), "IJEPA.width is 30: expected a multiple of 4, the predictor's heads"),
    (lambda: IJEPA(depth=0), "IJEPA.depth is 0: expected 1 or more"),
    (lambda: SlowTokens(0.9, 0.8), "SlowTokens.momentum is 0.9 and SlowTokens.final_momentum 0.8: expected"),
    (lambda: SlowTokens(normalise="tokn"), "SlowTokens.normalise is 'tokn': did you mean 'token'?"),
    (lambda: ViT(pool="cls", objective="mae"), "ViT.pool is 'cls', whose class token no objective trains"),
])
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(SettingError) as error:
        make()
    assert str(error.value).startswith(words)


def test_parts_can_be_composed():
    mixed = objective_of(IJEPA(masks=RandomMasks(0.5), loss="l1"))
    vit = made(**SMALL, objective=mixed)
    vit.begin_learning()
    loss, _ = vit.loss({"observation": examples(vit, 2)})
    assert loss.isfinite()

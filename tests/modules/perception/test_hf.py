"""HuggingFace: published encoders equal the library's, without its target leak; what is wrong with a folder is named."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_weights import tiny_weights

from ami.errors import CheckpointError, SettingError
from ami.testing import check_perception
from modules.perception.hf import HuggingFace

KINDS = ("ijepa", "vjepa2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {kind: tiny_weights(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def made(folder: Path, size=(32, 32, 3), **settings) -> HuggingFace:
    module = HuggingFace(str(folder), **settings)
    module.set_up({"O": size, **module.infer_dims({"O": size})})
    return module


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def standardised(seen: torch.Tensor) -> torch.Tensor:
    mean, spread = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    return ((seen / 255 - mean) / spread).movedim(-1, -3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", ["mean", "tokens"])
def test_contract(folders, kind, pool):
    check_perception(lambda: HuggingFace(str(folders[kind]), pool), dims={"O": (16, 24, 3)})


@torch.no_grad()
def test_tokens_equal_the_librarys(folders):
    seen = pictures(2, 32, 32, 3)
    ijepa, vjepa = (made(folders[kind], pool="tokens") for kind in KINDS)
    assert torch.equal(ijepa.encode(seen), ijepa.model(standardised(seen)).last_hidden_state)
    clip = standardised(seen)[:, None].repeat(1, 2, 1, 1, 1)
    assert torch.equal(vjepa.encode(seen), vjepa.model.get_vision_features(clip))


@torch.no_grad()
def test_clip_of_a_frame_stack_has_tokens_per_tubelet(folders):
    module, seen = made(folders["vjepa2"], (4, 32, 32, 3), pool="tokens"), pictures(3, 4, 32, 32, 3)
    assert module.dims["P"] == (32, 24)
    assert torch.equal(module.encode(seen), module.model.get_vision_features(standardised(seen)))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_kept_tokens_do_not_depend_on_the_others(folders, kind):
    module, seen = made(folders[kind], pool="tokens"), pictures(2, 32, 32, 3)
    keep, changed = torch.tensor([[0, 1, 4], [0, 1, 4]]), seen.clone()
    changed[:, 16:] = 255 - changed[:, 16:]  # rows 2 and 3 of patches: tokens 8 to 15
    assert torch.equal(module.encode(seen, keep=keep), module.encode(changed, keep=keep))
    assert not torch.equal(module.encode(seen)[:, :2], module.encode(changed)[:, :2])
    every = torch.arange(16).expand(2, 16)
    assert torch.allclose(module.encode(seen, keep=every), module.encode(seen), atol=1e-5)


@torch.no_grad()
def test_prediction_does_not_see_its_target_as_the_librarys_does(folders):
    module, seen = made(folders["vjepa2"], (4, 32, 32, 3), pool="tokens"), pictures(1, 4, 32, 32, 3)
    keep, want = torch.arange(16)[None], torch.arange(16, 32)[None]  # the first tubelet, and the second
    changed = seen.clone()
    changed[:, 2:] = 255 - changed[:, 2:]

    def ours(clip):
        return module.predict_masked(module.encode(clip, keep=keep), keep, want)

    def library(clip):
        return module.model(standardised(clip), context_mask=[keep], target_mask=[want]).predictor_output.last_hidden_state

    assert torch.equal(ours(seen), ours(changed))
    assert not torch.equal(library(seen), library(changed))
    darker = seen.clone()
    darker[:, :2] //= 2
    assert not torch.equal(ours(seen), ours(darker))


@torch.no_grad()
def test_prediction_equals_the_librarys_from_all_tokens(folders):
    module, seen = made(folders["vjepa2"], (4, 32, 32, 3), pool="tokens"), pictures(2, 4, 32, 32, 3)
    every, want = torch.arange(32).expand(2, 32), torch.tensor([[3, 30], [0, 17]])
    library = module.model(standardised(seen), context_mask=[every], target_mask=[want]).predictor_output.last_hidden_state
    assert torch.allclose(module.predict_masked(module.encode(seen), every, want), library, atol=1e-6)


def test_other_weights_at_the_path_are_other_code(tmp_path):
    folder = tiny_weights(tmp_path)
    (before,) = HuggingFace.code_roots({"path": str(folder)})
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    (after,) = HuggingFace.code_roots({"path": str(folder)})
    assert before["weights of config.json"] == after["weights of config.json"]
    assert before["weights of model.safetensors"] != after["weights of model.safetensors"]


def emptied(folder: Path) -> str:
    for file in folder.iterdir():
        file.unlink()
    return str(folder)


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda folder: None, r"perception\.path is not set: expected a folder with config\.json"),
    (lambda folder: str(folder / "missing"), r"'.+missing' is no folder: expected .+ Fix: `hf download REPOSITORY "
     r"--local-dir FOLDER`, then perception\.path=FOLDER; published are facebook/ijepa_vith14_1k \(ijepa\), facebook/vj"),
    (emptied, r"'.+' has no config\.json"),
])
def test_missing_weights_say_where_to_get_them(tmp_path, spoil, words):
    with pytest.raises(SettingError, match=words):
        HuggingFace(spoil(tiny_weights(tmp_path)))


@pytest.mark.parametrize(("change", "words"), [
    ({"model_type": "bert"}, r"describes a model of type 'bert': expected one of ijepa, vjepa2$"),
    ({"hidden_size": "wide"}, r"config\.json has hidden_size: 'wide', expected one number, 1 or more$"),
])
def test_other_model_is_refused(tmp_path, change, words):
    file = tiny_weights(tmp_path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(SettingError, match=words):
        HuggingFace(str(tmp_path))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    folder = tiny_weights(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "position" not in name}, folder / "model.safetensors",
              {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of ijepa, among them embeddings\.position_embeddings"):
        made(folder)


@pytest.mark.parametrize(("kind", "size", "words"), [
    ("ijepa", (4,), "expected images (H, W, C) or (H, W) or clips (T, H, W, C) with 1 or 3 channels"),
    ("ijepa", (2, 32, 32, 3), "HuggingFace receives clips of 2 frames, and ijepa encodes images"),
    ("vjepa2", (3, 32, 32, 3), "HuggingFace receives clips of 3 frames, and vjepa2 encodes multiples of 2 frames"),
])
def test_other_observations_are_refused(folders, kind, size, words):
    with pytest.raises(SettingError, match=re.escape(words)):
        HuggingFace(str(folders[kind]), "tokens").infer_dims({"O": size})


def test_ijepa_has_no_predictor(folders):
    module = made(folders["ijepa"], pool="tokens")
    with pytest.raises(SettingError, match="holds ijepa, whose published weights have no predictor"):
        module.predict_masked(torch.zeros(1, 1, 24), torch.tensor([[0]]), torch.tensor([[1]]))

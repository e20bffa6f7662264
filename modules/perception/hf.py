"""HuggingFace: published encoders of the library `transformers`, from a local folder of weights; nothing is downloaded.

I-JEPA (Assran and others, CVPR 2023) encodes images; V-JEPA 2 (Assran and others, 2025) images and clips, and it has the
predictor of masked tokens. Both are vision transformers without a class token.

Shapes: … any leading dimensions, T frames of a clip, H and W an image's sides, C its channels (1 or 3), L tokens of width D;
N observations in all, K kept and M wanted tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ami.blueprint import Perception
from ami.errors import CheckpointError, SettingError, require, suggestion
from ami.module import callable_method
from ami.ports import Dims, Size

POOLS = ("mean", "tokens")
PUBLISHED = {"ijepa": "facebook/ijepa_vith14_1k", "vjepa2": "facebook/vjepa2-vitl-fpc64-256"}
"""The supported model types of `config.json`, each with a repository of published weights."""
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels in [0, 1]: what both were trained with."""


class HuggingFace(Perception):
    """Encodes images (…, H, W, C), (…, H, W), or clips (…, T, H, W, C) of a frame stack, by a published transformer.

    Images are resized to the model's size and standardised by ImageNet's statistics; bytes are scaled to [0, 1] first.
    V-JEPA 2 repeats a single image over one tubelet, as V-JEPA 2-AC does. `perception.frozen=true` keeps the weights.

    Args:
        path: a folder with `config.json` and `model.safetensors`, as `hf download` writes it. Weights in other formats,
            which can run code, are not read.
        pool: `mean` over all tokens gives a vector (D,); `tokens` gives (L, D): tubelets, then rows, then columns.

    Raises:
        SettingError: a setting is out of its range; the folder or a file in it is missing; it holds another model; or, when
            the graph is built, the observation is neither image nor clip, or `transformers` is not installed.
        CheckpointError: the weights do not fit `config.json`.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, path: str | None = None, pool: str = "mean") -> None:
        super().__init__()
        require(pool in POOLS, f"HuggingFace.pool is '{pool}'{suggestion(pool, POOLS)}")
        self.folder, self.pool = _checked(path), pool
        self.config = _config(self.folder)
        self.kind = str(self.config["model_type"])
        self.side = _number(self.config, "crop_size" if self.kind == "vjepa2" else "image_size", 256)
        self.patch = _number(self.config, "patch_size", 16)
        self.tubelet = _number(self.config, "tubelet_size", 2) if self.kind == "vjepa2" else 1
        self.width = _number(self.config, "hidden_size", 1024)

    def infer_dims(self, known: Mapping[str, Size]) -> Mapping[str, Size]:
        if self.pool == "mean":
            return {"P": (self.width,)}
        return {"P": (self.tokens(known["O"]), self.width)} if "O" in known else {}

    def tokens(self, shape: Size) -> int:
        """Return L, the number of tokens of an observation."""
        return max(1, self._shape(shape)[0] // self.tubelet) * (self.side // self.patch) ** 2

    def build(self, dims: Dims) -> None:
        self.shape = self._shape(dims["O"])
        self.sizes = len(dims["O"]) if isinstance(dims["O"], tuple) else 1
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD), persistent=False)
        self.model: Any = _loaded(self.folder, self.kind)

    @callable_method
    def encode(self, observation: Tensor, keep: Tensor | None = None) -> Tensor:
        """Encode observations (…, *O) as percepts (…, D), or (…, L, D) for `tokens`, float32.

        Args:
            observation: images or clips.
            keep: (N, K), the numbers of the tokens that enter the transformer; None for all. The others' pixels have no
                influence on the percepts, (…, K, D) for `tokens`.
        """
        leading = observation.shape[: observation.ndim - self.sizes]
        tokens = self._encoded(self._patches(observation), keep)
        percept = tokens.mean(1) if self.pool == "mean" else tokens
        return percept.view(*leading, *percept.shape[1:])

    @callable_method
    def predict_masked(self, context: Tensor, keep: Tensor, want: Tensor) -> Tensor:
        """Predict tokens (N, M, D) by V-JEPA 2's predictor, from the kept tokens alone.

        `VJEPA2Model.forward` encodes all tokens before it selects the context, so that the wanted pixels reach the
        prediction through self-attention. Here `context` comes from `encode(observation, keep=keep)` with `pool=tokens`.

        Args:
            context: (N, K, D).
            keep: (N, K), their numbers.
            want: (N, M), the numbers of the predicted tokens.

        Raises:
            SettingError: the model is I-JEPA, whose published weights have no predictor.
        """
        require(self.kind == "vjepa2", f"HuggingFace.predict_masked needs V-JEPA 2, but '{self.folder}' holds {self.kind}, "
                                       "whose published weights have no predictor. Fix: perception.path of a V-JEPA 2")
        longest = int(torch.maximum(keep.max(), want.max())) + 1
        placed = context.new_zeros(len(context), longest, context.shape[-1])
        placed = placed.scatter(1, keep[..., None].expand_as(context), context)  # its predictor selects them by number
        predicted: Tensor = self.model.predictor(placed, [keep], [want]).last_hidden_state
        return predicted

    @classmethod
    def code_roots(cls, settings: Mapping[str, Any]) -> Sequence[Any]:
        """Return the hash of the folder's weights: other weights at the same path are another agent."""
        folder = _checked(settings.get("path"))
        files = sorted([folder / "config.json", *folder.glob("*.safetensors")])
        return [{f"weights of {file.name}": _digest(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files}]

    def _shape(self, shape: Size) -> tuple[int, int, int, int]:
        """Return (T, H, W, C) of an observation; T = 1 for an image."""
        size = shape if isinstance(shape, tuple) else (shape,)
        frames, height, width, channels = {2: (1, *size, 1), 3: (1, *size), 4: size}.get(len(size), (0, 0, 0, 0))
        require(min(frames, height, width) >= 1 and channels in (1, 3),
                f"HuggingFace receives observations of shape {shape}: expected images (H, W, C) or (H, W) or clips "
                "(T, H, W, C) with 1 or 3 channels. Fix: a world with images, or perception=vector")
        require(frames == 1 or (self.kind == "vjepa2" and frames % self.tubelet == 0),
                f"HuggingFace receives clips of {frames} frames, and {self.kind} encodes "
                f"{'images' if self.kind == 'ijepa' else f'multiples of {self.tubelet} frames'}")
        return frames, height, width, channels

    def _patches(self, observation: Tensor) -> Tensor:
        """Return the embedded patches (N, L, D) of observations (…, *O), with I-JEPA's positions."""
        frames, height, width, channels = self.shape
        pictures = observation.reshape(-1, height, width, channels).to(torch.float32)
        pictures = (pictures / 255 if observation.dtype == torch.uint8 else pictures).expand(-1, -1, -1, 3)
        pictures = ((pictures - self.mean) / self.spread).permute(0, 3, 1, 2)
        if (height, width) != (self.side, self.side):
            pictures = F.interpolate(pictures, (self.side, self.side), mode="bilinear", antialias=True, align_corners=False)
        if self.kind == "ijepa":
            embedded: Tensor = self.model.embeddings(pictures)
            return embedded
        repeats = self.tubelet if frames == 1 else 1
        embedded = self.model.encoder.embeddings(pictures.unflatten(0, (-1, frames)).repeat(1, repeats, 1, 1, 1))
        return embedded

    def _encoded(self, patches: Tensor, keep: Tensor | None) -> Tensor:
        """Encode embedded patches (N, L, D), all or the kept ones, by the blocks and the last norm."""
        if keep is not None:
            patches = patches.gather(1, keep[..., None].expand(-1, -1, patches.shape[-1]))
        if self.kind == "ijepa":
            for layer in self.model.layers:
                patches = layer(patches)
            tokens: Tensor = self.model.layernorm(patches)
            return tokens
        for layer in self.model.encoder.layer:
            patches = layer(patches, keep)[0]  # rotary positions of the kept tokens
        tokens = self.model.encoder.layernorm(patches)
        return tokens


def _checked(path: str | None) -> Path:
    """Return the folder of weights."""
    folder = Path(path or "").expanduser()
    where = "perception.path is not set" if not path else (
        f"'{folder}' is no folder" if not folder.is_dir() else
        f"'{folder}' has no config.json" if not (folder / "config.json").is_file() else
        f"'{folder}' has no *.safetensors" if not any(folder.glob("*.safetensors")) else "")
    if where:
        places = ", ".join(f"{name} ({kind})" for kind, name in PUBLISHED.items())
        raise SettingError(f"{where}: expected a folder with config.json and model.safetensors of I-JEPA or V-JEPA 2. "
                           "Fix: `hf download REPOSITORY --local-dir FOLDER`, then perception.path=FOLDER; published are "
                           f"{places}")
    return folder


def _config(folder: Path) -> dict[str, Any]:
    """Return the content of `config.json`."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind = config.get("model_type") if isinstance(config, dict) else None
    except (OSError, ValueError) as error:
        raise SettingError(f"'{file}' cannot be read: {error}. Fix: download the folder again") from None
    require(kind in PUBLISHED, f"'{file}' describes a model of type {kind!r}: expected one of {', '.join(PUBLISHED)}")
    return dict(config)


def _number(config: Mapping[str, Any], key: str, default: int) -> int:
    """Return a size from `config.json`, which leaves out the library's defaults."""
    value = config.get(key, default)
    value = value[0] if isinstance(value, list) and len({*value}) == 1 else value
    require(isinstance(value, int) and value >= 1, f"config.json has {key}: {value!r}, expected one number, 1 or more")
    return int(value)


def _loaded(folder: Path, kind: str) -> Any:
    """Load the model from its folder."""
    try:
        import transformers
    except ImportError:
        raise SettingError("perception=hf needs transformers, which is not installed. "
                           "Fix: pip install -c constraints.txt -e '.[hf]'") from None
    model_class: Any = {"ijepa": transformers.IJepaModel, "vjepa2": transformers.VJEPA2Model}[kind]
    shows_bar = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()  # each process that holds the module would draw one
    try:
        model, report = model_class.from_pretrained(folder, local_files_only=True, use_safetensors=True,
                                                    output_loading_info=True, dtype=torch.float32)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"'{folder}' cannot be loaded as {kind}: {' '.join(str(error).split())[:200]}. "
                              "Fix: download the folder again") from None
    finally:
        if shows_bar:
            transformers.utils.logging.enable_progress_bar()
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(f"'{folder}' lacks {len(missing)} tensors of {kind}, among them {missing[0]}: expected "
                              "weights that fit its config.json. Fix: download the folder again")
    return model.eval()


@lru_cache(maxsize=64)
def _digest(file: Path, changed_at: int, size: int) -> str:
    """Return the hash of a file, read once per time of change and size."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]

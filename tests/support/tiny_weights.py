"""Random tiny weights of the published models, in the format that `perception=hf` reads."""

from pathlib import Path

import torch


def tiny_weights(folder: Path, kind: str = "ijepa") -> Path:
    """Write a model with 4 x 4 patches of 8 px and tokens of 24 numbers; return the folder."""
    import transformers

    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "ijepa":
        model = transformers.IJepaModel(transformers.IJepaConfig(**shape, intermediate_size=48, image_size=32))
    else:
        model = transformers.VJEPA2Model(transformers.VJEPA2Config(
            **shape, crop_size=32, mlp_ratio=2.0, frames_per_clip=4, num_pooler_layers=1, pred_hidden_size=12,
            pred_num_attention_heads=2, pred_num_hidden_layers=1, pred_zero_init_mask_tokens=False))
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    return folder

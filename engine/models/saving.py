"""Writes a whole checkpoint, as one file or as a diffusers folder.

The file is a .safetensors in the original layout. Old and new readers load the folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from engine import files, tensorfile
from engine.models import configs, keymap, networks, tokens, weights
from engine.models.family import Marks, Target
from engine.models.layouts import SDXL, FamilyLayout, PartRow
from engine.models.specs import ClipSpec, Json

if TYPE_CHECKING:
    from diffusers.configuration_utils import ConfigMixin
    from transformers import CLIPTextConfig

_IMPLEMENTATION = "https://github.com/Stability-AI/generative-models"  # modelspec's name for the original layout
_DTYPE_NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}


def save(family: FamilyLayout, architecture: str, parts: Mapping[str, nn.Module], target: Target) -> None:
    """Write every part of a family's checkpoint. Raises ValueError when a part is missing, UserError when the disk refuses."""
    missing = [row.name for row in family.parts if row.name not in parts]
    if missing:
        raise ValueError(f"a {family.name} checkpoint needs {', '.join(missing)} too")
    if target.layout == "diffusers":
        _save_folder(family, parts, target)
        return
    described = {
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": _IMPLEMENTATION,
        "modelspec.title": target.path.stem,
        "modelspec.prediction_type": "v" if target.marks.prediction == "v_prediction" else "epsilon",
    }
    tensorfile.write(target.path, original_tensors(family, parts, target), {**described, **target.metadata})


def original_tensors(family: FamilyLayout, parts: Mapping[str, nn.Module], target: Target) -> dict[str, Tensor]:
    """Everything a single file holds, the marks of its training included. (Empty tensors, as ComfyUI writes them.)"""
    named: dict[str, Tensor] = {}
    for row in family.parts:
        own = _cast(networks.tensors(parts[row.name]), target.dtype)
        if row.kind == "open_clip" and keymap.LOGIT_SCALE not in own:
            projection = own["text_projection.weight"]
            own[keymap.LOGIT_SCALE] = torch.tensor(math.log(100), dtype=projection.dtype)  # CLIP's limit, where its training ended
        named |= weights.original(row.kind, row.prefixes[0], own)
    if target.marks.prediction == "v_prediction":
        named["v_pred"] = torch.zeros(0)
    if target.marks.zero_terminal_snr:
        named["ztsnr"] = torch.zeros(0)
    return named


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """On the CPU and in the wanted dtype; None keeps each tensor's."""
    return {name: tensor.detach().to(device="cpu", dtype=dtype) for name, tensor in tensors.items()}


def _save_folder(family: FamilyLayout, parts: Mapping[str, nn.Module], target: Target) -> None:
    """The diffusers layout. `model_index.json` comes last, so that a folder cut short is not taken for a model."""
    path = target.path
    index = path / "model_index.json"
    index.unlink(missing_ok=True)
    for row in family.parts:
        _save_network(row, parts[row.name], path / row.name, target.dtype)
        if row.tokenizer:
            tokens.write_folder(path / row.tokenizer, row.pad)
    scheduler = _scheduler(family, target.marks)
    files.write_json(path / "scheduler" / "scheduler_config.json", scheduler)
    entries: Json = {
        "_class_name": family.pipeline,
        "_diffusers_version": version("diffusers"),
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", scheduler["_class_name"]],
    }
    if family is SDXL:
        entries["force_zeros_for_empty_prompt"] = True
    else:
        entries |= {"requires_safety_checker": False, "safety_checker": [None, None]}
    for row in family.parts:
        entries[row.name] = ["transformers" if row.is_text else "diffusers", row.model_class]
        if row.tokenizer:
            entries[row.tokenizer] = ["transformers", "CLIPTokenizer"]
    files.write_json(index, entries)


def _save_network(row: PartRow, network: nn.Module, folder: Path, dtype: torch.dtype | None) -> None:
    """One network's folder. Text encoders keep the `text_model.` level, without which older readers see no weights."""
    own = _cast(networks.tensors(network), dtype)
    metadata = {"format": "pt"}
    logit_scale = own.pop(keymap.LOGIT_SCALE, None)
    if logit_scale is not None:  # transformers has no such tensor; kept in the header so that writing the original layout again is lossless
        metadata |= {"logit_scale": repr(logit_scale.item()), "logit_scale_dtype": _DTYPE_NAMES[logit_scale.dtype]}
    files.write_json(folder / "config.json", _config(row, network))
    tensorfile.write(folder / ("model.safetensors" if row.is_text else "diffusion_pytorch_model.safetensors"), own, metadata)


def _config(row: PartRow, network: nn.Module) -> Json:
    """The network's configuration file."""
    if not row.is_text:
        config: Json = json.loads(cast("ConfigMixin", network).to_json_string())
        return config
    own = cast("CLIPTextConfig", network.config)
    spec = ClipSpec(
        width=own.hidden_size,
        layers=own.num_hidden_layers,
        heads=own.num_attention_heads,
        mlp=own.intermediate_size,
        activation="gelu" if own.hidden_act == "gelu" else "quick_gelu",
        projection=own.projection_dim if row.model_class.endswith("WithProjection") else 0,
    )
    return {"architectures": [row.model_class], **configs.clip(spec)}


def _scheduler(family: FamilyLayout, marks: Marks) -> Json:
    """The noise schedule, and what the U-Net predicts."""
    common: Json = {
        "_diffusers_version": version("diffusers"),
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": marks.prediction,
        "rescale_betas_zero_snr": marks.zero_terminal_snr,
        "timestep_spacing": "trailing" if marks.zero_terminal_snr else "leading",  # a zero end must be among the steps
        "steps_offset": 1,
    }
    if family is SDXL:
        return {"_class_name": "EulerDiscreteScheduler", **common}
    return {"_class_name": "DDIMScheduler", **common, "clip_sample": False, "set_alpha_to_one": False}

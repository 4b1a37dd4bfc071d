"""What a saved LoRA says of itself: `ss_*` and `modelspec.*` keys.

The first are sd-scripts', the second the Model Spec's. All values are text.

WebUI reads the tag counts, ComfyUI's managers the architecture, sd-scripts' tools dim and alpha.
File names go in, never folders: people publish these files.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from dataclasses import dataclass
from pathlib import Path

from engine import __version__
from engine.config.schema import Config

_MINIMUM = ("ss_v2", "ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args")


@dataclass(frozen=True)
class Folder:
    """One picture folder, as the metadata counts it."""

    name: str
    repeats: int
    images: int
    is_reg: bool
    tags: dict[str, int]  # tag -> how many captions have it


@dataclass(frozen=True)
class Facts:
    """What a run knows before its first step and its file should say."""

    base_model_version: str
    architecture: str
    implementation: str
    prediction: str  # "epsilon" or "v_prediction"
    zero_terminal_snr: bool
    model_name: str
    model_hash: str  # SHA-256 of the file, empty for a folder
    model_hash_legacy: str
    vae_name: str
    folders: tuple[Folder, ...]
    buckets: dict[tuple[int, int], int]  # (width, height) -> pictures with repeats
    aspect_error: float  # mean over pictures of |picture ratio - bucket ratio|
    train_images: int  # with repeats
    reg_images: int
    resolution: tuple[int, int]
    batch_size: int
    batches_per_epoch: int
    epochs: int
    total_steps: int
    network_module: str  # as sd-scripts names it
    optimizer: str
    precision: str
    output_name: str
    unet_lr: float | None
    text_encoder_lr: float | None
    warmup_steps: int
    clip_skip: int | None  # as it takes effect
    session: int
    started_at: float  # unix seconds


def run_metadata(config: Config, facts: Facts, epoch: int, step: int, finished_at: float) -> dict[str, str]:
    """The `ss_*` keys of a file saved after `step` optimizer steps, in epoch `epoch`.

    Ranks and alphas are those of the settings; the method that writes the file puts those of its tensors in their place.
    """
    data, network, objective = config.data, config.network, config.objective
    values: dict[str, object] = {
        "session_id": facts.session,
        "training_started_at": facts.started_at,
        "training_finished_at": finished_at,
        "output_name": facts.output_name,
        "training_comment": config.save.training_comment,
        "sd_scripts_commit_hash": f"engine-{__version__}",
        "seed": config.training.seed,
        "epoch": epoch,
        "steps": step,
        "num_epochs": facts.epochs,
        "max_train_steps": facts.total_steps,
        "num_batches_per_epoch": facts.batches_per_epoch,
        "num_train_images": facts.train_images,
        "num_reg_images": facts.reg_images,
        "learning_rate": config.optimizer.learning_rate,
        "unet_lr": facts.unet_lr,
        "text_encoder_lr": facts.text_encoder_lr,
        "lr_scheduler": config.optimizer.lr_scheduler,
        "lr_warmup_steps": facts.warmup_steps,
        "optimizer": facts.optimizer,
        "max_grad_norm": config.optimizer.max_grad_norm,
        "gradient_accumulation_steps": config.training.gradient_accumulation_steps,
        "gradient_checkpointing": config.training.gradient_checkpointing,
        "network_module": facts.network_module,
        "network_dim": network.network_dim,
        "network_alpha": network.network_alpha,
        "network_dropout": network.network_dropout,
        "network_args": json.dumps({name: str(value) for name, value in network.network_args.items()}),
        "scale_weight_norms": network.scale_weight_norms,
        "v2": False,
        "base_model_version": facts.base_model_version,
        "sd_model_name": facts.model_name,
        "sd_model_hash": facts.model_hash_legacy or None,
        "new_sd_model_hash": facts.model_hash or None,
        "vae_name": facts.vae_name or None,
        "clip_skip": facts.clip_skip,
        "max_token_length": config.model.max_token_length,
        "v_parameterization": facts.prediction == "v_prediction",
        "zero_terminal_snr": facts.zero_terminal_snr,
        "mixed_precision": facts.precision,
        "full_fp16": False,
        "noise_offset": objective.noise_offset,
        "min_snr_gamma": objective.min_snr_gamma,
        "debiased_estimation": objective.debiased_estimation_loss,
        "min_timestep": objective.min_timestep,
        "max_timestep": objective.max_timestep,
        "loss_type": objective.loss_type,
        "prior_loss_weight": data.prior_loss_weight,
        "caption_dropout_rate": data.caption_dropout_rate,
        "caption_dropout_every_n_epochs": data.caption_dropout_every_n_epochs,
        "caption_tag_dropout_rate": data.caption_tag_dropout_rate,
        "cache_latents": data.cache_latents,
        "resize_interpolation": data.resize_interpolation,
        "batch_size_per_device": facts.batch_size,
        "total_batch_size": facts.batch_size * config.training.gradient_accumulation_steps,
        "resolution": f"({facts.resolution[0]}, {facts.resolution[1]})",
        "color_aug": False,
        "flip_aug": data.flip_aug,
        "random_crop": False,
        "shuffle_caption": data.shuffle_caption,
        "keep_tokens": data.keep_tokens,
        "enable_bucket": data.enable_bucket,
        "bucket_no_upscale": data.bucket_no_upscale,
        "min_bucket_reso": data.min_bucket_reso,
        "max_bucket_reso": data.max_bucket_reso,
        "bucket_info": _bucket_info(facts),
        "dataset_dirs": _dirs(facts, is_reg=False),
        "reg_dataset_dirs": _dirs(facts, is_reg=True),
        "tag_frequency": json.dumps({folder.name: folder.tags for folder in facts.folders}, ensure_ascii=False),
    }
    named = {f"ss_{name}": str(value) for name, value in values.items()}
    if config.save.no_metadata:
        return {name: named[name] for name in _MINIMUM}
    return named | {"ss_settings": json.dumps(_settings(config), ensure_ascii=False)}


def modelspec(config: Config, facts: Facts, finished_at: float) -> dict[str, str]:
    """The `modelspec.*` keys, Model Spec 1.0.1."""
    save, objective = config.save, config.objective
    made = datetime.datetime.fromtimestamp(finished_at, datetime.timezone.utc)
    values = {
        "sai_model_spec": "1.0.1",
        "architecture": f"{facts.architecture}/lora",
        "implementation": facts.implementation,
        "title": save.metadata_title or facts.output_name,
        "date": made.strftime("%Y-%m-%dT%H:%M:%S"),
        "resolution": f"{facts.resolution[0]}x{facts.resolution[1]}",
        "prediction_type": "v" if facts.prediction == "v_prediction" else "epsilon",
        "author": save.metadata_author,
        "description": save.metadata_description,
        "license": save.metadata_license,
        "tags": save.metadata_tags,
        "encoder_layer": str(facts.clip_skip) if facts.clip_skip else None,
    }
    if (objective.min_timestep, objective.max_timestep) != (0, 1000):
        values["timestep_range"] = f"{objective.min_timestep},{objective.max_timestep}"
    return {f"modelspec.{name}": value for name, value in values.items() if value}


def _bucket_info(facts: Facts) -> str:
    buckets = {
        str(number): {"resolution": list(size), "count": count} for number, (size, count) in enumerate(sorted(facts.buckets.items()))
    }
    return json.dumps({"buckets": buckets, "mean_img_ar_error": facts.aspect_error})


def _dirs(facts: Facts, *, is_reg: bool) -> str:
    chosen = [folder for folder in facts.folders if folder.is_reg == is_reg]
    return json.dumps({folder.name: {"n_repeats": folder.repeats, "img_count": folder.images} for folder in chosen}, ensure_ascii=False)


def _settings(config: Config) -> dict[str, object]:
    """Every setting that is not its default, section by section flattened; paths shortened to their last part."""
    changed: dict[str, object] = {}
    for section in dataclasses.fields(config):
        chosen = getattr(config, section.name)
        plain = type(chosen)()
        for setting in dataclasses.fields(chosen):
            value = getattr(chosen, setting.name)
            if value == getattr(plain, setting.name) or setting.name == "datasets":
                continue
            is_path = value is not None and setting.metadata["setting"].kind == "path"
            changed[setting.name] = Path(value.replace("\\", "/")).name if is_path else value
    return changed

"""Which setting and which fact stands in which key of a saved file, one by one: each changes its own keys and no other."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest
from training_facts import Run, facts, made, sizes

from engine.adapters.sizes import Sizes
from engine.config.schema import Config, LogConfig, ModelConfig, NetworkConfig, SampleConfig, SaveConfig
from engine.config.schema_data import DataConfig, DatasetConfig, DatasetOptions
from engine.training.metadata import Facts, Folder

# One setting changed -> the keys that change with it, besides `ss_settings`
SETTINGS: dict[str, tuple[object, dict[str, str]]] = {
    "model.max_token_length": (150, {"ss_max_token_length": "150"}),
    "data.prior_loss_weight": (0.3, {"ss_prior_loss_weight": "0.3"}),
    "data.caption_dropout_rate": (0.3, {"ss_caption_dropout_rate": "0.3"}),
    "data.caption_dropout_every_n_epochs": (5, {"ss_caption_dropout_every_n_epochs": "5"}),
    "data.caption_tag_dropout_rate": (0.3, {"ss_caption_tag_dropout_rate": "0.3"}),
    "data.cache_latents": (False, {"ss_cache_latents": "False"}),
    "data.resize_interpolation": ("box", {"ss_resize_interpolation": "box"}),
    "data.flip_aug": (True, {"ss_flip_aug": "True"}),
    "data.shuffle_caption": (True, {"ss_shuffle_caption": "True"}),
    "data.keep_tokens": (5, {"ss_keep_tokens": "5"}),
    "data.enable_bucket": (False, {"ss_enable_bucket": "False"}),
    "data.bucket_no_upscale": (True, {"ss_bucket_no_upscale": "True"}),
    "data.min_bucket_reso": (128, {"ss_min_bucket_reso": "128"}),
    "data.max_bucket_reso": (640, {"ss_max_bucket_reso": "640"}),
    "network.network_dropout": (0.3, {"ss_network_dropout": "0.3"}),
    "network.network_args": ({"rank_dropout": 0.3}, {"ss_network_args": '{"rank_dropout": "0.3"}'}),
    "network.scale_weight_norms": (0.3, {"ss_scale_weight_norms": "0.3"}),
    "optimizer.learning_rate": (0.3, {"ss_learning_rate": "0.3"}),
    "optimizer.lr_scheduler": ("linear", {"ss_lr_scheduler": "linear"}),
    "optimizer.max_grad_norm": (0.3, {"ss_max_grad_norm": "0.3"}),
    "training.gradient_accumulation_steps": (5, {"ss_gradient_accumulation_steps": "5", "ss_total_batch_size": "10"}),
    "training.seed": (5, {"ss_seed": "5"}),
    "training.gradient_checkpointing": (True, {"ss_gradient_checkpointing": "True"}),
    "objective.noise_offset": (0.3, {"ss_noise_offset": "0.3"}),
    "objective.min_snr_gamma": (0.3, {"ss_min_snr_gamma": "0.3"}),
    "objective.debiased_estimation_loss": (True, {"ss_debiased_estimation": "True"}),
    "objective.min_timestep": (5, {"ss_min_timestep": "5", "modelspec.timestep_range": "5,1000"}),
    "objective.max_timestep": (500, {"ss_max_timestep": "500", "modelspec.timestep_range": "0,500"}),
    "objective.loss_type": ("huber", {"ss_loss_type": "huber"}),
    "save.training_comment": ("ours", {"ss_training_comment": "ours"}),
    "save.metadata_title": ("T", {"modelspec.title": "T"}),
    "save.metadata_author": ("A", {"modelspec.author": "A"}),
    "save.metadata_description": ("D", {"modelspec.description": "D"}),
    "save.metadata_license": ("L", {"modelspec.license": "L"}),
    "save.metadata_tags": ("a, b", {"modelspec.tags": "a, b"}),
}
EVERY_SETTING = [
    f"{section.name}.{setting.name}"
    for section in dataclasses.fields(Config)
    for setting in dataclasses.fields(getattr(Config(), section.name))
    if setting.name not in ("datasets", "no_metadata")
]


PLAIN = (facts(), sizes(), 3, 33)


def changes(run: Run, other: Run) -> dict[str, str | None]:
    """What the second run's metadata say differently; None for a key that is gone."""
    before, after = made(run), made(other)
    return {name: after.get(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.parametrize("setting", EVERY_SETTING)
def test_what_a_setting_changes(setting: str) -> None:
    """Those without a key of their own stand in `ss_settings` alone, which every setting that is not its default joins."""
    section, name = setting.split(".")
    value, expected = SETTINGS.get(setting, ("other", {}))
    config = replace(Config(), **{section: replace(getattr(Config(), section), **{name: value})})
    found = changes((Config(), *PLAIN), (config, *PLAIN))
    assert json.loads(found.pop("ss_settings") or "") == {name: value}
    assert found == expected


BUCKETS = made((Config(), facts(), sizes(), 1, 1))["ss_bucket_info"]

# One fact changed -> the keys that change with it
FACTS: dict[str, tuple[object, dict[str, str]]] = {
    "base_model_version": ("x", {"ss_base_model_version": "x"}),
    "architecture": ("x", {"modelspec.architecture": "x/lora"}),
    "implementation": ("x", {"modelspec.implementation": "x"}),
    "prediction": ("v_prediction", {"ss_v_parameterization": "True", "modelspec.prediction_type": "v"}),
    "zero_terminal_snr": (True, {"ss_zero_terminal_snr": "True"}),
    "model_name": ("x", {"ss_sd_model_name": "x"}),
    "model_hash": ("x", {"ss_new_sd_model_hash": "x"}),
    "model_hash_legacy": ("x", {"ss_sd_model_hash": "x"}),
    "vae_name": ("x", {"ss_vae_name": "x"}),
    "folders": (
        (Folder("甲", 2, 3, True, {"乙": 4}),),
        {
            "ss_dataset_dirs": "{}",
            "ss_reg_dataset_dirs": '{"甲": {"n_repeats": 2, "img_count": 3}}',
            "ss_tag_frequency": '{"甲": {"乙": 4}}',
        },
    ),
    "buckets": (
        {(96, 64): 4, (64, 128): 5},
        {
            "ss_bucket_info": '{"buckets": {"0": {"resolution": [64, 128], "count": 5}, "1": {"resolution": [96, 64], "count": 4}}, '
            '"mean_img_ar_error": 0.0625}'
        },
    ),
    "aspect_error": (0.5, {"ss_bucket_info": BUCKETS.replace("0.0625", "0.5")}),
    "train_images": (5, {"ss_num_train_images": "5"}),
    "reg_images": (5, {"ss_num_reg_images": "5"}),
    "resolution": ((64, 96), {"ss_resolution": "(64, 96)", "modelspec.resolution": "64x96"}),
    "batch_size": (5, {"ss_batch_size_per_device": "5", "ss_total_batch_size": "5"}),
    "batches_per_epoch": (5, {"ss_num_batches_per_epoch": "5"}),
    "epochs": (5, {"ss_num_epochs": "5"}),
    "total_steps": (5, {"ss_max_train_steps": "5"}),
    "network_module": ("x", {"ss_network_module": "x"}),
    "optimizer": ("x", {"ss_optimizer": "x"}),
    "precision": ("no", {"ss_mixed_precision": "no"}),
    "output_name": ("x", {"ss_output_name": "x", "modelspec.title": "x"}),
    "unet_lr": (0.5, {"ss_unet_lr": "0.5"}),
    "text_encoder_lr": (0.5, {"ss_text_encoder_lr": "0.5"}),
    "warmup_steps": (5, {"ss_lr_warmup_steps": "5"}),
    "clip_skip": (3, {"ss_clip_skip": "3", "modelspec.encoder_layer": "3"}),
    "session": (5, {"ss_session_id": "5"}),
    "started_at": (0.5, {"ss_training_started_at": "0.5"}),
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Facts)])
def test_what_a_fact_changes(name: str) -> None:
    value, expected = FACTS[name]
    assert changes((Config(), *PLAIN), (Config(), facts(**{name: value}), *PLAIN[1:])) == expected


@pytest.mark.parametrize(
    ("of_tensors", "expected"),
    [
        (sizes("4", "16.0"), {"ss_network_dim": "4"}),
        (sizes("32", "1.0"), {"ss_network_alpha": "1.0"}),
        (sizes(conv_dim="4", conv_alpha="2.0"), {"ss_network_args": '{"conv_dim": "4", "conv_alpha": "2.0"}'}),
        (sizes(conv_dim="Dynamic", conv_alpha="Dynamic"), {"ss_network_args": '{"conv_dim": "Dynamic", "conv_alpha": "Dynamic"}'}),
    ],
)
def test_ranks_and_alphas_are_those_of_the_tensors(of_tensors: Sizes, expected: dict[str, str]) -> None:
    """Not those of the settings, which a file to continue from may overrule."""
    run: Run = (Config(network=NetworkConfig(network_dim=7, network_alpha=3.0)), facts(), sizes(), 3, 33)
    assert changes(run, (*run[:2], of_tensors, *run[3:])) == expected


def test_settings_hold_no_folder_and_no_dataset() -> None:
    """People publish these files."""
    config = Config(
        model=ModelConfig(pretrained_model_name_or_path="/home/ann/m/a.safetensors", vae="C:\\Users\\Ann\\v.pt"),
        data=DataConfig(train_data_dir="D:\\Ann\\圖 片", datasets=(DatasetConfig(DatasetOptions(), ()),)),
        sample=SampleConfig(sample_prompts="/home/ann/p.txt"),
        log=LogConfig(logging_dir="/home/ann/logs"),
    )
    text = made((config, *PLAIN))["ss_settings"]
    assert json.loads(text) == {
        "pretrained_model_name_or_path": "a.safetensors", "vae": "v.pt", "train_data_dir": "圖 片", "sample_prompts": "p.txt",
        "logging_dir": "logs",
    }  # fmt: skip
    assert "ann" not in text.lower()


def test_only_paths_are_shortened() -> None:
    config = Config(
        save=SaveConfig(training_comment="speed 1/2", metadata_license="CC BY 4.0 / see page"),
        data=DataConfig(caption_separator="/"),
        log=LogConfig(logging_dir=None),
    )
    assert json.loads(made((config, *PLAIN))["ss_settings"]) == {
        "caption_separator": "/", "training_comment": "speed 1/2", "metadata_license": "CC BY 4.0 / see page", "logging_dir": None,
    }  # fmt: skip


def test_without_metadata_no_setting_is_told() -> None:
    """But the Model Spec's keys, which say what the file is and what its author wrote."""
    config = Config(save=SaveConfig(no_metadata=True, training_comment="ours", metadata_author="A"))
    found = made((config, facts(), sizes(conv_dim="4", conv_alpha="2.0"), 3, 33))
    assert sorted(name for name in found if not name.startswith("modelspec.")) == [
        "ss_base_model_version", "ss_network_alpha", "ss_network_args", "ss_network_dim", "ss_network_module", "ss_v2",
    ]  # fmt: skip
    assert found["modelspec.author"] == "A"
    assert found["ss_network_args"] == '{"conv_dim": "4", "conv_alpha": "2.0"}'

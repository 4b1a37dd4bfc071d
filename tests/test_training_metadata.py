"""Every key that a saved file says of itself, written out for four runs."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from training_facts import Run, facts, made, sizes

from engine import __version__
from engine.config.schema import Config, ModelConfig, NetworkConfig, ObjectiveConfig, OptimizerConfig, SaveConfig, TrainingConfig
from engine.config.schema_data import DataConfig
from engine.training.metadata import Folder

# 1. SD 1.5 with a regularisation folder, hardly a setting changed
PLAIN: Run = (
    Config(
        model=ModelConfig(pretrained_model_name_or_path="/models/sd 15/base.safetensors", clip_skip=2),
        data=DataConfig(
            train_data_dir="D:\\圖 片\\cat", reg_data_dir="reg", train_batch_size=2, prior_loss_weight=0.5, resolution=(512, 640)
        ),
        optimizer=OptimizerConfig(text_encoder_lr=5e-5, lr_warmup_steps=9, lr_scheduler="cosine"),
        training=TrainingConfig(max_train_epochs=4),
        save=SaveConfig(output_name="cat"),
    ),
    facts(
        folders=(Folder("3_sks cat", 3, 7, False, {"sks cat": 7, "草地": 2}), Folder("1_cat", 1, 5, True, {"cat": 5})),
        reg_images=20,
        clip_skip=2,
    ),
    sizes(),
    3,
    33,
)
OF_PLAIN = {
    "ss_session_id": "123456789",
    "ss_training_started_at": "1700000000.5",
    "ss_training_finished_at": "1700003600.25",
    "ss_output_name": "cat",
    "ss_training_comment": "None",
    "ss_sd_scripts_commit_hash": f"engine-{__version__}",
    "ss_seed": "42",
    "ss_epoch": "3",
    "ss_steps": "33",
    "ss_num_epochs": "4",
    "ss_max_train_steps": "44",
    "ss_num_batches_per_epoch": "11",
    "ss_num_train_images": "21",
    "ss_num_reg_images": "20",
    "ss_learning_rate": "0.0001",
    "ss_unet_lr": "0.0001",
    "ss_text_encoder_lr": "5e-05",
    "ss_lr_scheduler": "cosine",
    "ss_lr_warmup_steps": "9",
    "ss_optimizer": "torch.optim.AdamW",
    "ss_max_grad_norm": "1.0",
    "ss_gradient_accumulation_steps": "1",
    "ss_gradient_checkpointing": "False",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "32",
    "ss_network_alpha": "16.0",
    "ss_network_dropout": "None",
    "ss_network_args": "{}",
    "ss_scale_weight_norms": "None",
    "ss_v2": "False",
    "ss_base_model_version": "sd_v1",
    "ss_sd_model_name": "base.safetensors",
    "ss_sd_model_hash": "12345678",
    "ss_new_sd_model_hash": "ab" * 32,
    "ss_vae_name": "None",
    "ss_clip_skip": "2",
    "ss_max_token_length": "None",
    "ss_v_parameterization": "False",
    "ss_zero_terminal_snr": "False",
    "ss_mixed_precision": "bf16",
    "ss_full_fp16": "False",
    "ss_noise_offset": "None",
    "ss_min_snr_gamma": "None",
    "ss_debiased_estimation": "False",
    "ss_min_timestep": "0",
    "ss_max_timestep": "1000",
    "ss_loss_type": "l2",
    "ss_prior_loss_weight": "0.5",
    "ss_caption_dropout_rate": "0.0",
    "ss_caption_dropout_every_n_epochs": "0",
    "ss_caption_tag_dropout_rate": "0.0",
    "ss_cache_latents": "True",
    "ss_resize_interpolation": "None",
    "ss_batch_size_per_device": "2",
    "ss_total_batch_size": "2",
    "ss_resolution": "(512, 640)",
    "ss_color_aug": "False",
    "ss_flip_aug": "False",
    "ss_random_crop": "False",
    "ss_shuffle_caption": "False",
    "ss_keep_tokens": "0",
    "ss_enable_bucket": "True",
    "ss_bucket_no_upscale": "False",
    "ss_min_bucket_reso": "None",
    "ss_max_bucket_reso": "None",
    "ss_bucket_info": '{"buckets": {"0": {"resolution": [448, 576], "count": 6}, "1": {"resolution": [512, 512], "count": 15}}, '
    '"mean_img_ar_error": 0.0625}',
    "ss_dataset_dirs": '{"3_sks cat": {"n_repeats": 3, "img_count": 7}}',
    "ss_reg_dataset_dirs": '{"1_cat": {"n_repeats": 1, "img_count": 5}}',
    "ss_tag_frequency": '{"3_sks cat": {"sks cat": 7, "草地": 2}, "1_cat": {"cat": 5}}',
    "ss_settings": '{"pretrained_model_name_or_path": "base.safetensors", "clip_skip": 2, "resolution": [512, 640], '
    '"train_data_dir": "cat", "reg_data_dir": "reg", "train_batch_size": 2, "prior_loss_weight": 0.5, '
    '"text_encoder_lr": 5e-05, "lr_scheduler": "cosine", "lr_warmup_steps": 9, "max_train_epochs": 4, "output_name": "cat"}',
    "modelspec.sai_model_spec": "1.0.1",
    "modelspec.architecture": "stable-diffusion-v1/lora",
    "modelspec.implementation": "diffusers",
    "modelspec.title": "cat",
    "modelspec.date": "2023-11-14T23:13:20",
    "modelspec.resolution": "512x640",
    "modelspec.prediction_type": "epsilon",
    "modelspec.encoder_layer": "2",
}  # fmt: skip

# 2. SDXL, the U-Net alone, convolutions too, min-SNR; a diffusers folder, which has no hashes
SDXL: Run = (
    Config(
        network=NetworkConfig(network_args={"conv_dim": 8, "rank_dropout": 0.1}, network_train_unet_only=True, network_dropout=0.2),
        objective=ObjectiveConfig(min_snr_gamma=5.0),
        training=TrainingConfig(gradient_checkpointing=True),
        save=SaveConfig(
            metadata_title="The cat", metadata_author="A", metadata_description="B", metadata_license="C", metadata_tags="D, E"
        ),
    ),
    facts(
        base_model_version="sdxl_base_v1-0", architecture="stable-diffusion-xl-v1-base", implementation="https://github.com/x/y",
        model_name="sdxl", model_hash="", model_hash_legacy="", vae_name="vae.safetensors", text_encoder_lr=None, resolution=(1024, 1024),
        warmup_steps=0, folders=(Folder("cat", 1, 21, False, {}),), buckets={(1024, 1024): 21},
    ),
    sizes("Dynamic", "4.0", "8", "1.0"),
    4,
    44,
)  # fmt: skip
OF_SDXL = {
    **OF_PLAIN,
    "ss_epoch": "4",
    "ss_steps": "44",
    "ss_num_reg_images": "0",
    "ss_text_encoder_lr": "None",
    "ss_lr_scheduler": "constant",
    "ss_lr_warmup_steps": "0",
    "ss_gradient_checkpointing": "True",
    "ss_network_dim": "Dynamic",
    "ss_network_alpha": "4.0",
    "ss_network_dropout": "0.2",
    "ss_network_args": '{"conv_dim": "8", "rank_dropout": "0.1", "conv_alpha": "1.0"}',
    "ss_base_model_version": "sdxl_base_v1-0",
    "ss_sd_model_name": "sdxl",
    "ss_sd_model_hash": "None",
    "ss_new_sd_model_hash": "None",
    "ss_vae_name": "vae.safetensors",
    "ss_clip_skip": "None",
    "ss_min_snr_gamma": "5.0",
    "ss_prior_loss_weight": "1.0",
    "ss_resolution": "(1024, 1024)",
    "ss_bucket_info": '{"buckets": {"0": {"resolution": [1024, 1024], "count": 21}}, "mean_img_ar_error": 0.0625}',
    "ss_dataset_dirs": '{"cat": {"n_repeats": 1, "img_count": 21}}',
    "ss_reg_dataset_dirs": "{}",
    "ss_tag_frequency": '{"cat": {}}',
    "ss_settings": '{"network_dropout": 0.2, "network_args": {"conv_dim": 8, "rank_dropout": 0.1}, "network_train_unet_only": true, '
    '"gradient_checkpointing": true, "min_snr_gamma": 5.0, "metadata_title": "The cat", "metadata_author": "A", '
    '"metadata_description": "B", "metadata_license": "C", "metadata_tags": "D, E"}',
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
    "modelspec.implementation": "https://github.com/x/y",
    "modelspec.title": "The cat",
    "modelspec.resolution": "1024x1024",
    "modelspec.author": "A",
    "modelspec.description": "B",
    "modelspec.license": "C",
    "modelspec.tags": "D, E",
}
del OF_SDXL["modelspec.encoder_layer"]

# 3. As the first, without metadata: what other programs need to load the file
BARE: Run = (replace(PLAIN[0], save=SaveConfig(output_name="cat", no_metadata=True)), *PLAIN[1:])
OF_BARE = {
    "ss_v2": "False",
    "ss_base_model_version": "sd_v1",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "32",
    "ss_network_alpha": "16.0",
    "ss_network_args": "{}",
    **{name: value for name, value in OF_PLAIN.items() if name.startswith("modelspec.")},
}

# 4. A v-prediction model with zero terminal SNR; accumulation, mirroring, dropouts; every other setting that a key tells is changed
FULL: Run = (
    Config(
        model=ModelConfig(v_parameterization=True, zero_terminal_snr=True, max_token_length=225),
        data=DataConfig(
            flip_aug=True, shuffle_caption=True, keep_tokens=3, caption_dropout_rate=0.05, caption_dropout_every_n_epochs=6,
            caption_tag_dropout_rate=0.15, cache_latents=False, resize_interpolation="area", enable_bucket=False, bucket_no_upscale=True,
            min_bucket_reso=320, max_bucket_reso=896,
        ),
        network=NetworkConfig(scale_weight_norms=1.5),
        optimizer=OptimizerConfig(optimizer_type="Lion", learning_rate=3e-5, max_grad_norm=0.25),
        training=TrainingConfig(gradient_accumulation_steps=3, seed=7),
        objective=ObjectiveConfig(noise_offset=0.07, debiased_estimation_loss=True, min_timestep=100, max_timestep=900),
        save=SaveConfig(training_comment="第一 try"),
    ),
    facts(
        base_model_version="sd_v1_v", prediction="v_prediction", zero_terminal_snr=True, optimizer="lion_pytorch.Lion", precision="fp16",
        unet_lr=None, folders=(), buckets={},
    ),
    sizes("8", "Dynamic"),
    1,
    2,
)  # fmt: skip
OF_FULL = {
    **OF_PLAIN,
    "ss_training_comment": "第一 try",
    "ss_seed": "7",
    "ss_epoch": "1",
    "ss_steps": "2",
    "ss_num_reg_images": "0",
    "ss_learning_rate": "3e-05",
    "ss_unet_lr": "None",
    "ss_lr_scheduler": "constant",
    "ss_optimizer": "lion_pytorch.Lion",
    "ss_max_grad_norm": "0.25",
    "ss_gradient_accumulation_steps": "3",
    "ss_network_dim": "8",
    "ss_network_alpha": "Dynamic",
    "ss_scale_weight_norms": "1.5",
    "ss_base_model_version": "sd_v1_v",
    "ss_clip_skip": "None",
    "ss_max_token_length": "225",
    "ss_v_parameterization": "True",
    "ss_zero_terminal_snr": "True",
    "ss_mixed_precision": "fp16",
    "ss_noise_offset": "0.07",
    "ss_debiased_estimation": "True",
    "ss_min_timestep": "100",
    "ss_max_timestep": "900",
    "ss_prior_loss_weight": "1.0",
    "ss_caption_dropout_rate": "0.05",
    "ss_caption_dropout_every_n_epochs": "6",
    "ss_caption_tag_dropout_rate": "0.15",
    "ss_cache_latents": "False",
    "ss_resize_interpolation": "area",
    "ss_total_batch_size": "6",
    "ss_flip_aug": "True",
    "ss_shuffle_caption": "True",
    "ss_keep_tokens": "3",
    "ss_enable_bucket": "False",
    "ss_bucket_no_upscale": "True",
    "ss_min_bucket_reso": "320",
    "ss_max_bucket_reso": "896",
    "ss_bucket_info": '{"buckets": {}, "mean_img_ar_error": 0.0625}',
    "ss_dataset_dirs": "{}",
    "ss_reg_dataset_dirs": "{}",
    "ss_tag_frequency": "{}",
    "ss_settings": '{"v_parameterization": true, "zero_terminal_snr": true, "max_token_length": 225, "enable_bucket": false, '
    '"min_bucket_reso": 320, "max_bucket_reso": 896, "bucket_no_upscale": true, "resize_interpolation": "area", "shuffle_caption": true, '
    '"keep_tokens": 3, "caption_dropout_rate": 0.05, "caption_dropout_every_n_epochs": 6, "caption_tag_dropout_rate": 0.15, '
    '"flip_aug": true, "cache_latents": false, "scale_weight_norms": 1.5, "optimizer_type": "Lion", "learning_rate": 3e-05, '
    '"max_grad_norm": 0.25, "gradient_accumulation_steps": 3, "seed": 7, "debiased_estimation_loss": true, '
    '"noise_offset": 0.07, "min_timestep": 100, "max_timestep": 900, "training_comment": "第一 try"}',
    "modelspec.prediction_type": "v",
    "modelspec.timestep_range": "100,900",
}
del OF_FULL["modelspec.encoder_layer"]

RUNS = {"plain": (PLAIN, OF_PLAIN), "sdxl": (SDXL, OF_SDXL), "no metadata": (BARE, OF_BARE), "full": (FULL, OF_FULL)}


@pytest.mark.parametrize(("run", "expected"), RUNS.values(), ids=RUNS.keys())
def test_every_key_and_value(run: Run, expected: dict[str, str]) -> None:
    assert made(run) == expected


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be set here")
def test_the_date_is_that_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-8")
    time.tzset()
    try:
        assert made(PLAIN)["modelspec.date"] == "2023-11-14T23:13:20"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_every_value_is_text_that_a_safetensors_header_takes() -> None:
    for run, _ in RUNS.values():
        assert all(type(value) is str for value in made(run).values())

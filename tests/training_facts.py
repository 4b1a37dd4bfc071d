"""Facts of a run made by hand and what a file says of them, for the tests of its metadata. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.adapters.sizes import Sizes, told
from engine.config.schema import Config
from engine.training.metadata import Facts, Folder, modelspec, run_metadata


def facts(**changed: Any) -> Facts:
    """The facts of a plain SD 1.5 run over one folder. No two numbers are equal, so that none can stand for another."""
    plain = Facts(
        base_model_version="sd_v1",
        architecture="stable-diffusion-v1",
        implementation="diffusers",
        prediction="epsilon",
        zero_terminal_snr=False,
        model_name="base.safetensors",
        model_hash="ab" * 32,
        model_hash_legacy="12345678",
        vae_name="",
        folders=(Folder("3_sks cat", 3, 7, False, {"sks cat": 7, "草地": 2}),),
        buckets={(512, 512): 15, (448, 576): 6},
        aspect_error=0.0625,
        train_images=21,
        reg_images=0,
        resolution=(512, 640),
        batch_size=2,
        batches_per_epoch=11,
        epochs=4,
        total_steps=44,
        network_module="networks.lora",
        optimizer="torch.optim.AdamW",
        precision="bf16",
        output_name="cat",
        unet_lr=1e-4,
        text_encoder_lr=5e-5,
        warmup_steps=9,
        clip_skip=None,
        session=123456789,
        started_at=1700000000.5,
    )
    return replace(plain, **changed)


def sizes(dim: str = "32", alpha: str = "16.0", conv_dim: str = "", conv_alpha: str = "") -> Sizes:
    """Those of a plain LoRA's tensors, but for what is given."""
    return Sizes(dim, alpha, conv_dim, conv_alpha)


FINISHED = 1700003600.25  # 2023-11-14, 23:13:20 in UTC

Run = tuple[Config, Facts, Sizes, int, int]  # settings, facts, sizes, epoch, step


def made(run: Run) -> dict[str, str]:
    """All keys of the file but the two hashes of its tensors."""
    config, of_run, of_tensors, epoch, step = run
    return told(run_metadata(config, of_run, epoch, step, FINISHED) | modelspec(config, of_run, FINISHED), of_tensors)

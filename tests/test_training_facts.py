"""What a run knows of itself before its first step, from pictures on the disk and a base model whose weights nobody reads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from runs import config, quiet

from engine import models
from engine.data.order import Order
from engine.device import Compute
from engine.models.base_model import Base
from engine.models.family import Checkpoint
from engine.optimization.optimizers import find_optimizer
from engine.tools.pictures import read_pictures
from engine.training import facts as gathered
from engine.training import session
from engine.training.metadata import Facts, Folder
from engine.training.methods import Chosen
from engine.training.optim import Optimization
from engine.training.plan import make_plan
from engine.training.run import Run

Pictures = Callable[..., list[Path]]
SIZES = ("--resolution", "96,64", "--min_bucket_reso", "64", "--bucket_reso_steps", "32", "--train_batch_size", "2", "--seed", "5")


@pytest.fixture
def understood(tmp_path: Path, pictures: Pictures) -> Callable[..., Run]:
    """`understood(*flags)`: a run of SD 1.5 over two folders, a regularisation folder, and a base model of known bytes."""
    pictures(tmp_path / "圖 片" / "3_sks cat", ((96, 64), (96, 64), (64, 96)), caption="sks cat, 草地")
    pictures(tmp_path / "圖 片" / "1_blue dot", ((64, 72),))
    pictures(tmp_path / "reg" / "1_cat", ((96, 64), (64, 96), (64, 96)), caption="cat")
    model = tmp_path / "base.safetensors"
    model.write_bytes(bytes(0x100000) + b"0123456789" * 10000)

    def make(*flags: str, reg: bool = True, rates: dict[str, float] | None = None, base: Base | None = None) -> Run:
        where = ("--train_data_dir", str(tmp_path / "圖 片"), *(("--reg_data_dir", str(tmp_path / "reg")) if reg else ()))
        settings = config(tmp_path, *where, *SIZES, *flags)
        scan = read_pictures(settings.data, 512, 1024)
        order = Order(scan, settings.training.seed, accumulation=settings.training.gradient_accumulation_steps)
        plan = make_plan(order, settings.training.max_train_steps, settings.training.max_train_epochs)
        checkpoint = cast(Checkpoint, SimpleNamespace(path=model))
        base = base or Base(checkpoint, models.get("sd1"), "epsilon", False, None, tmp_path / "cache")
        compute = Compute(torch.device("cpu"), "bf16", "the CPU")
        return Run(settings, compute, base, plan, Chosen(rates or {}, ()), (), quiet()[0])

    return make


def gather(run: Run, warmup: int = 3, optimizer: str = "AdamW") -> Facts:
    return gathered.gather(run, "cat", find_optimizer(optimizer), warmup)


def test_the_facts_of_a_run(understood: Callable[..., Run], tmp_path: Path) -> None:
    """9 samples of the cat and one of the dot. To match them, the three regularisation pictures are used 4, 3 and 3 times in epoch 1."""
    rates = {"unet": 1e-3, "text_encoder": 1e-4}
    run = understood("--max_train_epochs", "2", "--gradient_accumulation_steps", "3", rates=rates)
    before = time.time()
    found = gather(run)
    assert before <= found.started_at <= time.time() and 0 <= found.session < 2**32
    data = (tmp_path / "base.safetensors").read_bytes()
    assert replace(found, started_at=0, session=0) == Facts(
        base_model_version="sd_v1",
        architecture="stable-diffusion-v1",
        implementation="diffusers",
        prediction="epsilon",
        zero_terminal_snr=False,
        model_name="base.safetensors",
        model_hash=hashlib.sha256(data).hexdigest(),
        model_hash_legacy=hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8],
        vae_name="",
        folders=(
            Folder("1_blue dot", 1, 1, False, {"blue dot": 1}),
            Folder("3_sks cat", 3, 3, False, {"sks cat": 3, "草地": 3}),
            Folder("1_cat", 1, 3, True, {"cat": 3}),
        ),
        buckets={(96, 64): 6 + 4, (64, 96): 3 + 3 + 3, (64, 64): 1},
        aspect_error=pytest.approx((1 - 64 / 72) / 7),
        train_images=10,
        reg_images=10,
        resolution=(96, 64),
        batch_size=2,
        batches_per_epoch=5 + 5 + 1,
        epochs=2,
        total_steps=8,
        network_module="networks.lora",
        optimizer="torch.optim.AdamW",
        precision="bf16",
        output_name="cat",
        unet_lr=1e-3,
        text_encoder_lr=1e-4,
        warmup_steps=3,
        clip_skip=None,
        session=0,
        started_at=0,
    )


def test_what_follows_the_base_model(understood: Callable[..., Run], tmp_path: Path) -> None:
    """A diffusers folder has no hash; what the settings said of prediction and schedule holds; a VAE of its own is named."""
    (tmp_path / "xl").mkdir()
    checkpoint = cast(Checkpoint, SimpleNamespace(path=tmp_path / "xl"))
    base = Base(checkpoint, models.get("sdxl"), "v_prediction", True, tmp_path / "v a e.pt", tmp_path)
    found = gather(understood(reg=False, base=base))
    assert (found.model_name, found.model_hash, found.model_hash_legacy, found.vae_name) == ("xl", "", "", "v a e.pt")
    assert (found.base_model_version, found.architecture) == ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base")
    assert (found.prediction, found.zero_terminal_snr) == ("v_prediction", True)
    v = gather(understood(reg=False, base=replace(base, family=models.get("sd1"), zero_terminal_snr=False, clip_skip=2)))
    assert (v.base_model_version, v.prediction, v.zero_terminal_snr) == ("sd_v1_v", "v_prediction", False)
    assert (found.clip_skip, v.clip_skip) == (None, 2)


def test_what_follows_the_settings(understood: Callable[..., Run]) -> None:
    """Without regularisation pictures; a length in steps; a method under its plain name; rates of parts that are not trained left out."""
    run = understood("--max_train_steps", "7", "--network_module", "lora", "--train_batch_size", "4", reg=False)
    found = gather(run, warmup=0, optimizer="Lion")
    assert (found.train_images, found.reg_images, found.batch_size, found.batches_per_epoch) == (10, 0, 4, 2 + 1 + 1)
    assert (found.total_steps, found.epochs) == (7, 2)
    assert (found.network_module, found.optimizer) == ("networks.lora", "lion_pytorch.Lion")
    assert (found.unet_lr, found.text_encoder_lr, found.warmup_steps) == (None, None, 0)


@pytest.mark.parametrize(
    ("rates", "of_unet", "of_text"),
    [
        ({"unet": 2e-4, "text_encoder": 5e-5}, 2e-4, 5e-5),
        ({"unet": 2e-4}, 2e-4, None),
        ({"text_encoder": 5e-5}, None, 5e-5),
        ({"text_encoder_2": 3e-5}, None, None),  # no part of this family
    ],
)
def test_a_session_gives_the_rates_of_what_is_trained(
    understood: Callable[..., Run], rates: dict[str, float], of_unet: float | None, of_text: float | None
) -> None:
    run = understood("--optimizer_type", "adafactor", reg=False, rates=rates)
    optimization = cast(Optimization, SimpleNamespace(rule=SimpleNamespace(warmup=6)))
    found = session._facts(run, "dot", optimization)
    assert (found.unet_lr, found.text_encoder_lr) == (of_unet, of_text)
    assert (found.output_name, found.warmup_steps, found.optimizer) == ("dot", 6, "transformers.optimization.Adafactor")


def test_trigger_words_are_told_once(understood: Callable[..., Run]) -> None:
    assert gathered.trigger_words(understood().plan.order.scan) == ["blue dot", "sks cat"]

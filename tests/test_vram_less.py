"""What takes less memory, in the order to try it."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import config

from engine.vram import less

CHECKPOINTING, BATCH, NO = "set gradient_checkpointing = true", "set train_batch_size", "leave mixed_precision = no out"
UNET, LAST = "set network_train_unet_only = true", ["lower the resolution", "close other programs that use it"]
TWO = f"{BATCH} = 2 with gradient_accumulation_steps = 2, for as many pictures in a step"
STEPS: list[tuple[list[str], bool, list[str]]] = [
    ([], True, [CHECKPOINTING, UNET, *LAST]),
    (["--train_batch_size", "4"], True, [CHECKPOINTING, TWO, UNET, *LAST]),
    (["--gradient_checkpointing", "--train_batch_size", "4", "--network_train_unet_only"], True, [TWO, *LAST]),
    (["--gradient_checkpointing", "--train_batch_size", "9", "--gradient_accumulation_steps", "2", "--network_train_unet_only"], True,
     [f"{BATCH} = 3 with gradient_accumulation_steps = 6, for as many pictures in a step", *LAST]),
    (["--gradient_checkpointing", "--network_train_unet_only"], True, LAST),
    (["--gradient_checkpointing", "--network_train_unet_only", "--mixed_precision", "no"], True, [NO, *LAST]),
    (["--gradient_checkpointing", "--network_train_unet_only", "--mixed_precision", "no"], False, LAST),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "on_card", "ways"), STEPS)
def test_what_takes_less_is_named_in_order_and_not_what_is_set(tmp_path: Path, flags: list[str], on_card: bool, ways: list[str]) -> None:
    settings = config(tmp_path, "--pretrained_model_name_or_path", "x", "--train_data_dir", "y", *flags)
    assert less.for_steps(settings, on_card=on_card) == f"in this order: {'; '.join(ways)}"


@pytest.mark.parametrize(
    ("sizes", "told"),
    [([4], "set batch_size = 2 with gradient_accumulation_steps = 2"), ([1, 1], ""), ([2, 4], "lower batch_size and raise gradient_accum")],
)
def test_the_batch_of_a_dataset_file(tmp_path: Path, sizes: list[int], told: str) -> None:
    datasets = "".join(f"[[datasets]]\nbatch_size = {size}\n[[datasets.subsets]]\nimage_dir = 'd{size}'\n" for size in sizes)
    (tmp_path / "run.toml").write_text(datasets, encoding="utf-8")
    ways = less.for_steps(config(tmp_path, "--config", f"{tmp_path}/run.toml"), on_card=True)
    assert (told in ways) if told else "batch_size" not in ways


@pytest.mark.parametrize(
    ("flags", "latents", "text"),
    [
        ([], "close other programs that use it; lower", "set text_encoder_batch_size = 1; close"),
        (["--vae_batch_size", "4", "--no_half_vae"], "set vae_batch_size = 1; leave no_half_vae out; close", "set text_encoder_batch_size"),
        (["--text_encoder_batch_size", "1"], "close", "close other programs that use it"),
    ],
)
def test_what_takes_less_while_it_is_encoded(tmp_path: Path, flags: list[str], latents: str, text: str) -> None:
    settings = config(tmp_path, "--pretrained_model_name_or_path", "x", "--train_data_dir", "y", *flags)
    assert less.for_latents(settings).startswith(f"in this order: {latents}")
    assert less.for_text(settings).removeprefix("in this order: ").startswith(text)

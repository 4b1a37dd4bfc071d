"""`train`: a LoRA from a folder of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.commands.command import Command, NoOptions

if TYPE_CHECKING:
    from engine.config.load import Loaded


def run(options: NoOptions, loaded: Loaded) -> int:
    """Train; 130 where the user ended it early."""
    from engine.awake import kept_awake
    from engine.training.train import train

    with kept_awake():
        return 130 if train(loaded.config, loaded.notices).interrupted else 0


COMMAND = Command(
    name="train",
    help="train a LoRA from a folder of pictures",
    example="train --config configs/demo.toml --max_train_epochs 2",
    options=NoOptions,
    run=run,
    settings=True,
    needs=("pretrained_model_name_or_path", "train_data_dir"),
)

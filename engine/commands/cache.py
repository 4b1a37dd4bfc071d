"""`cache`: pictures and captions encoded now, for later runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.commands.command import Command, NoOptions

if TYPE_CHECKING:
    from engine.config.load import Loaded


def run(options: NoOptions, loaded: Loaded) -> int:
    """Fill the caches."""
    from engine.awake import kept_awake
    from engine.training.train import fill_caches

    with kept_awake():
        fill_caches(loaded.config, loaded.notices)
    return 0


COMMAND = Command(
    name="cache",
    help="encode pictures and captions now, for later runs",
    example="cache --config configs/demo.toml",
    options=NoOptions,
    run=run,
    settings=True,
    needs=("pretrained_model_name_or_path", "train_data_dir"),
)

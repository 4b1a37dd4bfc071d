"""`sample`: pictures of a base model, with LoRA files and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.commands.command import Command
from engine.config.field import setting

if TYPE_CHECKING:
    from engine.config.load import Loaded
    from engine.config.schema import Config
    from engine.config.sources import Source


@dataclass(frozen=True)
class Options:
    """What `sample` takes besides the settings."""

    lora: tuple[str, ...] = setting(
        (), "a row of pictures for each; settings.toml beside the first is used where no --config is given; left out: the base model alone",
        kind="path", behind="FILE",
    )  # fmt: skip
    prompt: tuple[str, ...] = setting(
        (), "prompts as in a prompt file: `a cat --n blurry --w 512 --h 512 --d seed --l scale --s steps`; left out: --sample_prompts"
    )
    out: str | None = setting(
        None, "gets compare.html and compare/; left out: the first LoRA's folder, without one sample/ in output_dir",
        kind="path", behind="FOLDER",
    )  # fmt: skip


def below(options: Options, given: Sequence[Source]) -> tuple[Source, ...]:
    """The settings that lie beside the first LoRA, where no file of settings is named."""
    from engine.config.sources import ConfigFile

    path = Path(options.lora[0] if options.lora else "").parent / "settings.toml"
    named = any(isinstance(source, ConfigFile) for source in given)
    return (ConfigFile(str(path), "--lora"),) if options.lora and not named and path.is_file() else ()


def less_memory(config: Config, device: str) -> str:
    """What takes less memory, of what the settings leave; `device` is `cuda` or `cpu`."""
    whole = ["leave mixed_precision = no out"] if config.training.mixed_precision == "no" and device == "cuda" else []
    vae = ["leave no_half_vae out"] if config.model.no_half_vae and device == "cuda" else []
    return "; ".join(["close other programs that use it", *whole, *vae, "ask for smaller pictures (--w, --h in a prompt, or --resolution)"])


def run(options: Options, loaded: Loaded) -> int:
    """Make the pictures and their page."""
    from engine import allocation, device
    from engine.console import Reporter
    from engine.errors import plural
    from engine.generation import command

    reporter = Reporter(plain=loaded.config.log.console_log_simple)
    compute, notices = device.choose(loaded.config.training.device, loaded.config.training.mixed_precision)
    for notice in (*loaded.notices, *notices):
        reporter.notice(notice)
    with allocation.explained(compute.device, less_memory(loaded.config, compute.device.type)):
        made = command.run(
            loaded.config,
            device=compute.device,
            dtype=compute.dtype,
            loras=options.lora,
            prompts=options.prompt,
            folder=options.out,
            say=reporter.say,
        )
    for notice in made.notices:
        reporter.notice(notice)
    reporter.say(f"{plural(len(made.pictures), 'picture')}: {made.page}")
    return 0


COMMAND = Command(
    name="sample",
    help="make pictures with a base model and LoRA files, and a page that compares them",
    example='sample --lora output/demo/demo.safetensors --prompt "momo, creature --d 1"',
    options=Options,
    run=run,
    settings=True,
    below=below,
)

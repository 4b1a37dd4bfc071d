"""What takes less memory, of what the settings leave: sentences for hints. Imports no torch."""

from __future__ import annotations

from engine.config.schema import Config

_CLOSE = "close other programs that use it"


def for_steps(config: Config, *, on_card: bool) -> str:
    """What takes less memory in a step, to be tried in this order: what leaves the result as it is comes first. Not what is set already."""
    ways = [] if config.training.gradient_checkpointing else ["set gradient_checkpointing = true"]
    ways += _smaller_batch(config)
    if config.training.mixed_precision == "no" and on_card:
        ways.append("leave mixed_precision = no out")
    if not config.network.network_train_unet_only and not config.network.network_train_text_encoder_only:
        ways.append("set network_train_unet_only = true")
    return _in_order([*ways, "lower the resolution", _CLOSE])


def for_latents(config: Config) -> str:
    """The same while pictures are encoded."""
    smaller = ["set vae_batch_size = 1"] if config.data.vae_batch_size > 1 else []
    half = ["leave no_half_vae out"] if config.model.no_half_vae else []
    return _in_order([*smaller, *half, _CLOSE, "lower the resolution"])


def for_text(config: Config) -> str:
    """The same while captions are encoded."""
    size = config.data.text_encoder_batch_size
    return _in_order([*(["set text_encoder_batch_size = 1"] if size != 1 else []), _CLOSE])


def for_samples() -> str:
    """The same for sample pictures beside the training."""
    return _in_order([_CLOSE, "give the prompts smaller pictures (--w, --h)", "leave sample pictures out"])


def _smaller_batch(config: Config) -> list[str]:
    """A smaller batch, where there is one, with as many pictures in a step as before."""
    accumulation = config.training.gradient_accumulation_steps
    sizes = {dataset.options.batch_size for dataset in config.data.datasets} or {config.data.train_batch_size}
    if max(sizes) == 1:
        return []
    name = "batch_size" if config.data.datasets else "train_batch_size"
    if len(sizes) > 1:
        return [f"lower {name} and raise gradient_accumulation_steps as much"]
    (size,) = sizes
    parts = next(number for number in range(2, size + 1) if size % number == 0)
    return [f"set {name} = {size // parts} with gradient_accumulation_steps = {accumulation * parts}, for as many pictures in a step"]


def _in_order(ways: list[str]) -> str:
    """Ways as one sentence."""
    return f"in this order: {'; '.join(ways)}" if len(ways) > 1 else ways[0]

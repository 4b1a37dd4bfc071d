"""What takes less memory, and whether a run has outgrown its card.

Under Windows the driver then uses the PC's memory. It does not say so, and a step takes ten times as long.
"""

from __future__ import annotations

import sys

import torch

from engine.config.schema import Config

_LITTLE = 0.05  # share of the card that counts as little left
_GIB = 2**30
_CLOSE = "close other programs that use it"


def less_for_steps(config: Config, device: torch.device) -> str:
    """What takes less memory in a step, to be tried in this order: what leaves the result as it is comes first. Not what is set already."""
    ways = [] if config.training.gradient_checkpointing else ["set gradient_checkpointing = true"]
    ways += _smaller_batch(config)
    if config.training.mixed_precision == "no" and device.type == "cuda":
        ways.append("leave mixed_precision = no out")
    if not config.network.network_train_unet_only and not config.network.network_train_text_encoder_only:
        ways.append("set network_train_unet_only = true")
    return _in_order([*ways, "lower the resolution", _CLOSE])


def less_for_latents(config: Config) -> str:
    """The same while pictures are encoded."""
    smaller = ["set vae_batch_size = 1"] if config.data.vae_batch_size > 1 else []
    half = ["leave no_half_vae out"] if config.model.no_half_vae else []
    return _in_order([*smaller, *half, _CLOSE, "lower the resolution"])


def less_for_text(config: Config) -> str:
    """The same while captions are encoded."""
    size = config.data.text_encoder_batch_size
    return _in_order([*(["set text_encoder_batch_size = 1"] if size != 1 else []), _CLOSE])


def less_for_samples() -> str:
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


class Watch:
    """Looks at the card from time to time, and tells once. Only under Windows, which then uses the PC's memory; elsewhere torch raises.

    `less` is what takes less memory.
    """

    def __init__(self, device: torch.device, less: str) -> None:
        self._device = device
        self._less = less
        self._waiting = device.type == "cuda" and sys.platform == "win32"
        self._room = 0
        if self._waiting:
            self._room = room(device)

    def look(self) -> str:
        """What the user should know, the first time that it is true; else an empty text. Waits for nothing on the device."""
        if not self._waiting:
            return ""
        free, total = torch.cuda.mem_get_info(self._device)
        reserved = torch.cuda.memory_reserved(self._device)
        if not spills(reserved, self._room, free, total):
            return ""
        self._waiting = False
        return (
            f"this run holds {reserved / _GIB:.1f} GB of the card's memory, {self._room / _GIB:.1f} of {total / _GIB:.1f} GB were free "
            f"for it, and {free / _GIB:.1f} GB are left. Windows then lends the PC's memory, and steps take many times longer. "
            f"To mend that, {self._less}. `CUDA - Sysmem Fallback Policy` in NVIDIA's control panel makes it an error"
        )


def room(device: torch.device) -> int:
    """Bytes of the card that this process has or may have: what nobody else holds."""
    free, total = torch.cuda.mem_get_info(device)
    return min(free + torch.cuda.memory_reserved(device), total)


def spills(reserved: int, room: int, free: int, total: int) -> bool:
    """Whether memory that torch has reserved must lie outside the card. All in bytes; `room` is what was free for us at the start.

    Both must be so. A run may fill its card to the last byte and fit; and it may hold more than was free at the start, where another
    program has ended since. Then more than a little is free.

    >>> [spills(reserved, room=8, free=free, total=10) for reserved, free in ((9, 0), (8, 0), (9, 1))]
    [True, False, False]
    """
    return reserved > room and free <= _LITTLE * total

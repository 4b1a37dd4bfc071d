"""Whether a run has outgrown its card.

Windows' driver then uses the PC's memory. It does not say so, and a step takes ten times as long.
"""

from __future__ import annotations

import sys

import torch

_FULL = 0.01  # share of the card that counts as nothing left
_OURS = 0.8  # share of what was free for us, from which a full card is our doing
_GIB = 2**30


class Watch:
    """Looks at the card from time to time, and tells once. Only under Windows, which then uses the PC's memory; elsewhere torch raises."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waiting = device.type == "cuda" and sys.platform == "win32"
        self._room = 0
        if self._waiting:
            self._room = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)

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
            f"the card's memory is full: this run holds {reserved / _GIB:.1f} GB, "
            f"and {self._room / _GIB:.1f} of {total / _GIB:.1f} GB were free. "
            "Windows then uses the PC's memory, and steps take many times longer. Lower train_batch_size or resolution, set "
            "gradient_checkpointing, or close other programs; `CUDA - Sysmem Fallback Policy` in NVIDIA's control panel makes it an error"
        )


def spills(reserved: int, room: int, free: int, total: int) -> bool:
    """Whether memory that torch has reserved lies outside the card. All in bytes; `room` is what was free for us at the start.

    >>> spills(reserved=9, room=8, free=0, total=10), spills(reserved=5, room=8, free=3, total=10)
    (True, False)
    """
    return reserved > room or (free <= _FULL * total and reserved >= _OURS * room)

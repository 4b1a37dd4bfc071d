"""Whether a run has outgrown its card.

Under Windows the driver then uses the PC's memory. It does not say so, and a step takes ten times as long.
"""

from __future__ import annotations

import sys

import torch

_LITTLE = 0.05  # share of the card that counts as little left
_GIB = 2**30


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

"""What `tag` and `caption` share: which pictures, decoded ahead of the model, and how their captions are written."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]  # a line for the person at the screen
Ask = Callable[[str], bool]  # whether he agrees

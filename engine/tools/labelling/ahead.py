"""Things made in threads, some ahead of their use.

Memory stays the same, however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(pool: Executor, make: Callable[[Given], Made], things: Iterable[Given], count: int) -> Iterator[Made]:
    """What `make` makes of each thing, in their order, at most `count` of them being made or waiting."""
    rest = iter(things)
    waiting: deque[Future[Made]] = deque(pool.submit(make, thing) for thing in islice(rest, count))
    while waiting:
        done = waiting.popleft()
        for thing in islice(rest, 1):
            waiting.append(pool.submit(make, thing))
        yield done.result()

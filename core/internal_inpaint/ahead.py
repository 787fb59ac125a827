"""Results that are made ahead of their use, in threads, and come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AT_ONCE_PIXELS = 2 * 2048 * 1152  # of the pictures that are in work at once: each takes some 300 bytes a pixel

Item = TypeVar("Item")
Made = TypeVar("Made")


def at_once(threads: int, pixels: int) -> int:
    """How many pictures of so many pixels to have in work at once; at least one."""
    return max(1, min(threads, AT_ONCE_PIXELS // pixels))


def made_ahead(
    make: Callable[[Item], Made], items: Iterable[Item], at_once: int, name: str = "ahead"
) -> Iterator[tuple[Item, Made]]:
    """Each item and what was made of it, in order; while one is used, the next ones are made.

    Close it when it is not used to its end.

    Args:
        make: called in other threads, unless ``at_once`` is 1.
        items: what to make.
        at_once: how many are made at a time.
        name: of the threads.
    """
    if at_once == 1:
        yield from ((item, make(item)) for item in items)
        return
    pool = ThreadPoolExecutor(at_once, thread_name_prefix=name)
    coming: deque[tuple[Item, Future[Made]]] = deque()
    try:
        for item in items:
            coming.append((item, pool.submit(make, item)))
            if len(coming) > at_once:
                first, future = coming.popleft()
                yield first, future.result()
        while coming:
            first, future = coming.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)

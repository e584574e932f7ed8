"""Ending tasks so that they have ended."""

import asyncio
from collections.abc import Iterable
from typing import Any

# How long a cancelled task may take before it is cancelled once more.
AGAIN_SECONDS = 0.2


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all of them have ended; an error of theirs is not complained about.

    One cancellation is not enough: in Python 3.11 `asyncio.wait_for` loses it when what it
    waits for comes in the same moment, and the task lives on as if nobody had asked. A
    cancellation of the caller is passed on when the tasks are gone.
    """
    tasks = list(tasks)
    left = {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while left:
        for task in left:
            task.cancel()
        try:
            _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as ours:
            cancelled = ours
            left = {task for task in left if not task.done()}
    for task in tasks:
        if not task.cancelled():
            task.exception()
    if cancelled is not None:
        raise cancelled

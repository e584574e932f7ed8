"""Waiting for what must come, however slow the machine is."""

import asyncio
import inspect

# Only a test that fails anyway waits this long.
LONG = 90
# A process of its own has to be started by a machine that may be doing much else.
START = 300


async def until(found, *, seconds=LONG):
    """Return what `found` (a function, plain or async) returns as soon as that is true.

    Raises:
        AssertionError: it was not within `seconds`.
    """
    last = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                last = found()
                if inspect.isawaitable(last):
                    last = await last
                if last:
                    return last
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s; in the end it was {last!r}") from None


async def looked(look, good):
    """Look (a coroutine function) until what is seen is `good`, and return it."""
    seen = None

    async def found():
        nonlocal seen
        seen = await look()
        return good(seen)

    try:
        await until(found)
    except AssertionError as error:
        raise AssertionError(f"{error}: {seen!r}") from None
    return seen

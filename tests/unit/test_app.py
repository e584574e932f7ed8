"""The way out: within the drain time, whatever hangs."""

import asyncio
import os

import pytest

from cpo import app


class Cut(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def exits(monkeypatch):
    codes = []

    def leave(code):
        codes.append(code)
        raise Cut

    monkeypatch.setattr(os, "_exit", leave)
    return codes


async def test_what_hangs_at_the_end_is_cut_off(exits):
    """I20: a task that ignores its cancellation does not keep the process."""

    async def never():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if released:
                    raise

    released = []
    with pytest.raises(Cut):
        await app.wind_down(never(), 0.05, 0)
    assert exits == [0]
    released.append(True)


async def test_what_ends_in_time_is_waited_for(exits):
    ended = []

    async def soon():
        await asyncio.sleep(0.01)
        ended.append(True)

    await app.wind_down(soon(), 30, 0)
    assert (ended, exits) == ([True], [])


async def test_an_error_at_the_end_is_told(exits):
    async def broken():
        raise ValueError("the store did not close")

    with pytest.raises(ValueError, match="did not close"):
        await app.wind_down(broken(), 30, 0)
    assert exits == []

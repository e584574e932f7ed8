"""Random scripts of charges with repeats, gaps, offline replay, disorder and reconnects.

Whatever a charger and its line do with the order and number of its messages, and however often
the backend is killed meanwhile: one session for each charge, no stop lost, energies exact, one CDR
that never changes. Played against the real intake over SQLite. CPO_RANDOM_SCRIPTS sets how many are
played for each version, CPO_RANDOM_SEED the first seed; what fails names its own seed.
"""

import asyncio
import os
import random

import pytest

from cpo.db.store import open_store
from tests.support.charging import Charging
from tests.support.random_charges import RandomCharger, close_books, objections

SCRIPTS = int(os.environ.get("CPO_RANDOM_SCRIPTS", "30"))
FIRST = int(os.environ.get("CPO_RANDOM_SEED", "1"))
AT_ONCE = 30
A_DATABASE = 30


async def play(store, seed, version):
    """Play one script and say what came out wrong."""
    charger = RandomCharger(random.Random(seed), store, f"R{seed}", version)
    try:
        await charger.play()
        await close_books(store, charger.identity, charger.node.house.clock)
    except Exception as error:  # noqa: BLE001 - which seed it was matters most
        return [f"seed {seed}: {type(error).__name__} {error}"]
    return [f"seed {seed}: {objection}" for objection in objections(charger)]


async def play_all(url, version, seeds):
    """Play scripts over one database, several at a time."""
    store = await open_store(url, vault_key=b"a key for tests")
    house = Charging(store=store)
    house.partner()
    await house.token("TAG")
    for seed in seeds:
        await house.site(f"R{seed}", evses=2)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(seed):
        async with gate:
            return await play(store, seed, version)

    found = await asyncio.gather(*(one(seed) for seed in seeds))
    await store.close()
    return [objection for objections_ in found for objection in objections_]


@pytest.mark.timeout(14_400)
async def test_i1_i2_i3_of01_of02_tr21_random_scripts_are_one_session_and_one_cdr_each(
    tmp_path, version
):
    wrong = []
    for begin in range(FIRST, FIRST + SCRIPTS, A_DATABASE):
        seeds = range(begin, min(begin + A_DATABASE, FIRST + SCRIPTS))
        path = tmp_path / f"{begin}.db"
        wrong += await play_all(f"sqlite:///{path}", version, seeds)
        path.unlink()
    assert wrong == []

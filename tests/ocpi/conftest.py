"""A partner side to be asked, and a partner that is registered with it."""

import pytest
from partner_world import TOKEN, partner_world, registered


@pytest.fixture
async def world(tmp_path):
    async with partner_world(f"sqlite:///{tmp_path}/cpo.db") as found:
        yield found


@pytest.fixture
async def partner(world):
    return await registered(world)


@pytest.fixture
def ask(world, partner):
    """Ask as the registered partner, in 2.2.1."""
    return world.ask(TOKEN)

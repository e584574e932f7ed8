"""What a node keeps in memory follows what is changed."""

from charging import Charging


async def test_a_number_is_strange_until_a_location_binds_it():
    """MV-24: asked with each message, so the answer is kept; a change of locations ends that."""
    charging = Charging()
    sites = charging.memory.sites
    assert not sites.strange("CP1", 2)  # nothing is bound: nothing is out of place

    await charging.site()
    assert sites.strange("CP1", 2)
    assert not sites.strange("CP1", 1)

    await charging.site(evses=2)
    assert not sites.strange("CP1", 2)

    for location in list(sites.locations):
        sites.drop(location)
    assert not sites.strange("CP1", 3)

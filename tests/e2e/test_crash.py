"""The books after kill -9 and cut replies, compared from outside (crash proof)."""

import pytest
from torture import torture

# However slow the machine is, so much has to happen before the books are compared.
LEAST = {"least_kills": 2, "least_stops": 11, "least_cuts": 6}


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_books_are_right_after_kills_and_cut_replies(tmp_path, seed):
    """I1 to I7, I19, I22; OF-01, OF-02, TX16-04, TX16-24, BR-03, BR-04, BR-12, RP-16, RP-17."""
    journal, wrong = await torture(tmp_path, seconds=5, seed=seed, chargers=6, **LEAST)

    assert wrong == []
    assert journal.kills >= 2
    assert journal.cut > 5
    assert journal.stops() > 10


@pytest.mark.postgres
async def test_the_books_are_right_on_postgresql_too(tmp_path, empty_postgres_url):
    """I1 to I7, I22 with the other store."""
    journal, wrong = await torture(
        tmp_path, seconds=5, seed=3, chargers=6, database=empty_postgres_url, **LEAST
    )

    assert wrong == []
    assert journal.stops() > 10

"""Objects in the order of their last change."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cpo.services.recency import Recency

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.one_of(st.none(), st.integers(0, 20)), st.booleans()))
)
def test_the_order_is_that_of_the_newest_instants(changes):
    recency = Recency()
    for number, minute, look in changes:
        key = f"L{number}"
        if minute is None:
            recency.pop(key, None)
        else:
            recency[key] = START + timedelta(minutes=minute)
        if look:
            recency.ordered()

    assert list(recency.ordered()) == sorted((stamp, key) for key, stamp in recency.items())

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert, select
from sqlalchemy.exc import StatementError

from cpo.db.columns import Document, Exact, UtcTime, instant, microseconds

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcTime),
    Column("amount", Exact),
    Column("body", Document),
)


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


def kept(connection, **values):
    connection.execute(insert(things).values(**values))
    return connection.execute(select(things)).one()


def test_a_time_comes_back_aware_in_utc_to_the_microsecond(connection):
    at = datetime(2026, 3, 29, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))

    row = kept(connection, at=at)

    assert row.at == at
    assert row.at.utcoffset() == timedelta(0)


def test_a_naive_time_is_refused(connection):
    with pytest.raises(StatementError):
        kept(connection, at=datetime(2026, 1, 1))


def test_times_are_ordered_in_the_database_as_they_are_in_time(connection):
    times = [
        datetime(1969, 12, 31, tzinfo=UTC),
        *(datetime(y, 1, 1, tzinfo=UTC) for y in (2, 9999)),
    ]
    connection.execute(insert(things), [{"at": at} for at in times])

    found = connection.execute(select(things.c.at).order_by(things.c.at)).scalars().all()

    assert found == sorted(times)


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_and_back_is_the_same_instant(at):
    assert instant(microseconds(at)) == at


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_keep_every_digit(amount):
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        row = kept(connection, amount=amount, body={"amount": amount})
    engine.dispose()

    assert str(row.amount) == str(amount)
    assert row.body["amount"] == amount


@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("Infinity"), 1.5])
def test_what_is_no_finite_decimal_is_refused(connection, amount):
    with pytest.raises(StatementError):
        kept(connection, amount=amount)


def test_documents_keep_decimals_as_numbers(connection):
    body = {"price": Decimal("0.10"), "list": [1, None, True, "é\x00"]}

    assert kept(connection, body=body).body == body


def test_nothing_comes_back_as_nothing(connection):
    row = kept(connection, at=None, amount=None, body=None)

    assert (row.at, row.amount, row.body) == (None, None, None)

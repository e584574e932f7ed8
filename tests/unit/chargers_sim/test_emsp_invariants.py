"""The checks over the double's records: right histories pass, each wrong one is found."""

from decimal import Decimal

import pytest

from chargers_sim.emsp import invariants
from chargers_sim.emsp.books import Books
from chargers_sim.emsp.journal import Journal
from tests.support import ocpi_objects as objects

OWNER = ("NL", "CPO")


@pytest.fixture
def journal():
    return Journal()


def arrive(journal, method, module, object_name, body, *, read=True, close=True):
    exchange = journal.open(
        "in", method, "/", module=module, object=object_name, body=body, read=read, peer="cpo"
    )
    if close:
        journal.close(exchange)
    return exchange


def dated(stamp, **fields):
    return {"last_updated": stamp, **fields}


def texts(breaches):
    return [str(breach) for breach in breaches]


def test_rising_updates_are_right(journal):
    for stamp in (objects.STAMP, objects.STAMP, objects.LATER):
        arrive(journal, "PUT", "tariffs", "tariffs/NL/CPO/T", dated(stamp))

    assert texts(invariants.never_back(journal.exchanges)) == []


def test_an_older_state_after_a_newer_one_is_found(journal):
    """I7."""
    arrive(journal, "PUT", "tariffs", "tariffs/NL/CPO/T", dated(objects.LATER))
    arrive(journal, "PATCH", "tariffs", "tariffs/NL/CPO/T", dated(objects.STAMP))
    arrive(journal, "PUT", "tariffs", "tariffs/NL/CPO/OTHER", dated(objects.STAMP))

    assert len(texts(invariants.never_back(journal.exchanges))) == 1


def test_a_request_that_was_not_read_counts_for_nothing(journal):
    arrive(journal, "PUT", "tariffs", "tariffs/NL/CPO/T", dated(objects.LATER), read=False)
    arrive(journal, "PUT", "tariffs", "tariffs/NL/CPO/T", dated(objects.STAMP))

    assert texts(invariants.never_back(journal.exchanges)) == []


def test_two_open_requests_for_one_object_are_found(journal):
    """I7."""
    first = arrive(journal, "PUT", "tariffs", "tariffs/NL/CPO/T", {}, close=False)
    arrive(journal, "PUT", "tariffs", "tariffs/NL/CPO/T", {})
    journal.close(first)

    assert len(texts(invariants.never_overlapping(journal.exchanges))) == 1


def test_active_after_completed_is_found(journal):
    """I5."""
    for status in ("ACTIVE", "COMPLETED", "COMPLETED", "ACTIVE"):
        arrive(journal, "PUT", "sessions", "sessions/NL/CPO/S", {"status": status})

    assert texts(invariants.completed_stays(journal.exchanges)) == [
        "I5 sessions/NL/CPO/S: #4: ACTIVE after COMPLETED"
    ]


def period(minute):
    return {"start_date_time": f"2026-01-05T10:{minute:02}:00Z"}


def test_a_session_that_goes_on_is_right(journal):
    """BR-03."""
    for status, kwh, minutes in (
        ("RESERVATION", 0, ()), ("ACTIVE", 0, (1,)), ("ACTIVE", 2, (2,)), ("COMPLETED", 2, (1, 2)),
    ):  # fmt: skip
        body = {"status": status, "kwh": kwh, "charging_periods": [period(m) for m in minutes]}
        arrive(journal, "PUT", "sessions", "sessions/NL/CPO/S", body)

    assert texts(invariants.sessions_go_on(journal.exchanges)) == []


def test_a_session_that_goes_back_or_loses_energy_is_found(journal):
    """BR-03."""
    bodies = [
        {"status": "ACTIVE", "kwh": 3},
        {"status": "PENDING", "kwh": 3},
        {"kwh": Decimal("2.9")},
        {"charging_periods": [period(2), period(1)]},
    ]
    for body in bodies:
        arrive(journal, "PATCH", "sessions", "sessions/NL/CPO/S", body)

    assert texts(invariants.sessions_go_on(journal.exchanges)) == [
        "I5 sessions/NL/CPO/S: #2: PENDING after ACTIVE",
        "I5 sessions/NL/CPO/S: #3: 2.9 kWh after 3",
        "I5 sessions/NL/CPO/S: #4: its periods are out of order",
    ]


def test_a_session_that_never_ends_is_found():
    """I5."""
    books = Books()
    books.sessions.put(OWNER, "S-1", objects.session("2.2.1"))
    books.sessions.put(OWNER, "S-2", objects.session("2.2.1", "S-2"))

    assert texts(invariants.unfinished(books, open_sessions=["S-2"])) == [
        "I5 sessions/S-1: in the end it is ACTIVE"
    ]


@pytest.mark.parametrize("version", ["2.1.1", "2.2.1", "2.3.0"])
def test_a_right_cdr_adds_up(version):
    cdr = objects.cdr(version)
    cdr["charging_periods"][0]["dimensions"].append({"type": "TIME", "volume": Decimal("0.0833")})

    assert texts(invariants.cdr_adds_up(cdr)) == []


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        pytest.param("total_energy", Decimal("1.6"), "total_energy", id="energy"),
        pytest.param("total_time", Decimal("1.5"), "total_time", id="time"),
        pytest.param("end_date_time", "2026-03-01T09:00:00Z", "before it starts", id="order"),
        pytest.param("total_energy_cost", {"excl_vat": 9}, "its parts", id="cost"),
        pytest.param("total_cost", {"excl_vat": -1}, "negative", id="negative"),
    ],
)
def test_a_cdr_that_does_not_add_up_is_found(field, value, word):
    """I3."""
    cdr = objects.cdr("2.2.1") | {field: value}
    cdr["charging_periods"][0]["dimensions"].append({"type": "TIME", "volume": Decimal("0.0833")})

    assert any(word in text for text in texts(invariants.cdr_adds_up(cdr)))


def test_two_cdrs_of_one_session_are_found(journal):
    """I2."""
    for id_ in ("CDR-1", "CDR-1", "CDR-2"):
        arrive(journal, "POST", "cdrs", f"cdrs/NL/CPO/{id_}", objects.cdr("2.2.1", id_))

    assert texts(invariants.cdrs_once(journal.exchanges)) == [
        "I2 sessions/S-1: has CDRs CDR-1, CDR-2"
    ]


def test_a_credited_cdr_may_be_replaced(journal):
    """CDR-6."""
    credit = objects.cdr("2.2.1", "CDR-1-C") | {"credit": True, "credit_reference_id": "CDR-1"}
    for cdr in (objects.cdr("2.2.1"), credit, objects.cdr("2.2.1", "CDR-2")):
        arrive(journal, "POST", "cdrs", f"cdrs/NL/CPO/{cdr['id']}", cdr)

    assert texts(invariants.cdrs_once(journal.exchanges)) == []


def test_a_cdr_with_another_body_is_found(journal):
    """I2."""
    arrive(journal, "POST", "cdrs", "cdrs/NL/CPO/CDR-1", objects.cdr("2.2.1"))
    arrive(journal, "POST", "cdrs", "cdrs/NL/CPO/CDR-1", objects.cdr("2.2.1") | {"remark": "x"})

    assert "another body" in texts(invariants.cdrs_once(journal.exchanges))[0]


def test_a_completed_session_without_cdr_is_found():
    """I2."""
    books = Books()
    books.sessions.put(OWNER, "S-1", objects.session("2.2.1", status="COMPLETED"))

    assert "no CDR came" in texts(invariants.sessions_match_cdrs(books))[0]
    books.cdrs.put(OWNER, "CDR-1", objects.cdr("2.2.1"))
    assert texts(invariants.sessions_match_cdrs(books)) == []
    books.sessions.by_id()["S-1"]["kwh"] = Decimal(9)
    assert "kwh 9" in texts(invariants.sessions_match_cdrs(books))[0]


def test_what_is_served_and_what_is_held_are_compared_field_by_field():
    """I10."""
    books = Books()
    books.tariffs.put(OWNER, "T-1", objects.tariff("2.2.1") | {"energy_mix": None})
    books.tariffs.put(OWNER, "T-3", objects.tariff("2.2.1", "T-3"))
    served = objects.tariff("2.2.1")
    served["elements"][0]["price_components"][0]["price"] = Decimal("0.5")

    found = texts(
        invariants.differences(books, {"tariffs": [served, objects.tariff("2.2.1", "T-2")]})
    )

    assert found == [
        "I10 tariffs/T-2: served, but never pushed",
        "I10 tariffs/T-3: held, but no longer served",
        (
            "I10 tariffs/T-1: elements[0].price_components[0].price: "
            "held Decimal('0.45'), served Decimal('0.5')"
        ),
    ]


def test_equal_objects_have_equal_digests_whatever_their_spelling():
    one = {"a": Decimal("1.50"), "b": [], "c": None, "d": {"x": 1, "y": "2"}}
    other = {"d": {"y": "2", "x": Decimal(1)}, "a": Decimal("1.5")}

    assert invariants.digest(one) == invariants.digest(other)
    assert invariants.digest(one) != invariants.digest(other | {"a": 1})

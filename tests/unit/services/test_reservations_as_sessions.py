"""A reservation is a Session: it becomes the charge, or it ends unused (SES-19, CDR-12)."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.cdr import Cdr
from cpo.domain.command import (
    Command,
    CommandKind,
    CommandState,
    Outcome,
    reservation_number,
)
from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.session import Session

ELEMENTS = [
    {
        "price_components": [{"type": "TIME", "price": Decimal(6), "step_size": 1}],
        "restrictions": {"reservation": "RESERVATION"},
    },
    {
        "price_components": [{"type": "FLAT", "price": Decimal(4), "step_size": 1}],
        "restrictions": {"reservation": "RESERVATION_EXPIRES"},
    },
    {"price_components": [{"type": "ENERGY", "price": Decimal("0.30"), "step_size": 1}]},
]


@pytest.fixture
async def charging():
    world = Charging()
    world.partner()
    await world.site()
    await world.sites.put_tariff("T1", {"currency": "EUR", "elements": ELEMENTS}, actor="test")
    await world.token()
    return world


async def reserved(charging, minutes=30, **changes):
    token = (await charging.store.tokens_by_uid("TAG"))[0]
    command = Command(
        **{
            "id": "c1",
            "kind": CommandKind.RESERVE,
            "station": "CP1",
            "requested_by": "P1",
            "created_at": NOON,
            "deadline": NOON,
            "state": CommandState.DONE,
            "outcome": Outcome.ACCEPTED,
            "evse_id": 1,
            "connector_id": 1,
            "token": token,
            "authorization_reference": "REF",
            "parameters": {
                "reservation_id": 77,
                "expiry_date_time": (NOON + timedelta(minutes=minutes)).isoformat(),
            },
            **changes,
        }
    )
    await charging.transactions.reserve(command)
    return command


def event(kind, minutes, wh, transaction=None, **more):
    at = NOON + timedelta(minutes=minutes)
    return TransactionEvent(
        kind=kind,
        at=at,
        received_at=at,
        transaction=transaction,
        evse_id=1,
        connector_id=1,
        meter_wh=Decimal(wh),
        **more,
    )


async def test_an_accepted_reservation_is_a_session(charging):
    """SES-19, SES-2: RESERVATION, not RESERVED."""
    await reserved(charging)

    [session] = charging.store.all(Session)
    assert session.status == "RESERVATION"
    assert session.energy_wh == 0
    assert session.authorization_reference == "REF"
    assert charging.store.marks[-1].object_id == session.id


async def test_the_charge_that_follows_carries_the_reservations_session_on(charging):
    """SES-19, TX16-23: one Session, its CDR with the reserved time."""
    await reserved(charging)
    charging.pass_time(minutes=20)
    answer = await charging.told(
        event(EventKind.STARTED, 20, 0, id_token=IdToken("TAG"), reservation_id=77)
    )
    [session] = charging.store.all(Session)
    assert session.status == "ACTIVE"
    await charging.told(event(EventKind.ENDED, 80, 10_000, answer.transaction))

    [cdr] = charging.store.all(Cdr)
    assert cdr.session_id == session.id
    assert cdr.start_date_time == NOON
    assert cdr.cost.reservation.excl_vat == Decimal("2.0000")
    assert cdr.cost.energy.excl_vat == Decimal("3.0000")
    assert cdr.cost.total.excl_vat == Decimal("5.0000")
    assert cdr.authorization_reference == "REF"
    assert cdr.time_s == 3600


async def test_the_reserving_token_needs_no_number(charging):
    """CMD-14: chargers that forget the reservationId."""
    await reserved(charging)
    await charging.told(event(EventKind.STARTED, 5, 0, id_token=IdToken("tag")))

    assert len(charging.store.all(Session)) == 1


async def test_another_token_is_another_session(charging):
    await charging.token("OTHER")
    await reserved(charging)
    await charging.told(event(EventKind.STARTED, 5, 0, id_token=IdToken("OTHER")))

    assert sorted(s.status for s in charging.store.all(Session)) == ["ACTIVE", "RESERVATION"]


async def test_an_unused_reservation_ends_and_is_billed_as_expired(charging):
    """SES-19, CDR-12, TAR-31."""
    await reserved(charging, minutes=0)
    async with asyncio.timeout(30):
        while not charging.store.all(Cdr):
            await asyncio.sleep(0.01)

    [session] = charging.store.all(Session)
    [cdr] = charging.store.all(Cdr)
    assert session.status == "COMPLETED"
    assert cdr.cost.total.excl_vat == Decimal("4.0000")
    assert cdr.energy_wh == 0


async def test_a_cancelled_reservation_pays_for_the_time_it_was_held(charging):
    command = await reserved(charging)
    charging.pass_time(minutes=10)
    await charging.transactions.cancel_reservation(command)

    [session] = charging.store.all(Session)
    [cdr] = charging.store.all(Cdr)
    assert session.status == "COMPLETED"
    assert cdr.cost.total.excl_vat == Decimal("1.0000")


async def test_a_reservation_that_costs_nothing_makes_no_cdr(charging):
    await charging.site()
    command = await reserved(charging)
    await charging.transactions.cancel_reservation(command)

    assert [s.status for s in charging.store.all(Session)] == ["COMPLETED"]
    assert charging.store.all(Cdr) == []


async def test_the_same_reservation_again_replaces_it(charging):
    """CMD-14."""
    await reserved(charging)
    await reserved(charging, minutes=60)

    assert len(charging.store.all(Session)) == 1


async def test_a_reservation_with_a_text_for_its_id_ends_by_its_stations_number(charging):
    """H04: ReservationStatusUpdate names the number that the station was given."""
    await reserved(charging, parameters=parameters("R-2026/7"))
    await charging.stations.reservation_gone("CP1", reservation_number("R-2026/7"), expired=False)

    assert [s.status for s in charging.store.all(Session)] == ["COMPLETED"]


async def test_the_charge_after_a_reservation_with_a_text_for_its_id_carries_its_session_on(
    charging,
):
    """TX16-23: another card of the group shows the number; there is one Session."""
    await charging.token("OTHER")
    await reserved(charging, parameters=parameters("R-2026/7"))
    number = reservation_number("R-2026/7")
    await charging.told(
        event(EventKind.STARTED, 20, 0, id_token=IdToken("OTHER"), reservation_id=number)
    )

    assert [s.status for s in charging.store.all(Session)] == ["ACTIVE"]


def parameters(reservation_id):
    until = NOON + timedelta(minutes=30)
    return {"reservation_id": reservation_id, "expiry_date_time": until.isoformat()}

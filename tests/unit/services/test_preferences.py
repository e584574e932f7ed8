"""Charging preferences between partner and charger (SES-18, TAR-43)."""

from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.cdr import Cdr
from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.domain.session import Session
from cpo.domain.transaction import Transaction
from cpo.services.preferences import ChargingPreferences

SOON = NOON + timedelta(hours=8)


@pytest.fixture
async def charging():
    world = Charging()
    world.partner()
    await world.site()
    for id_, kind, price in (("G", "PROFILE_GREEN", "0.10"), ("F", "PROFILE_FAST", "0.90")):
        component = {"type": "ENERGY", "price": Decimal(price), "vat": 20, "step_size": 1}
        await world.sites.put_tariff(
            id_,
            {"currency": "EUR", "type": kind, "elements": [{"price_components": [component]}]},
            actor="test",
        )
    place = world.memory.sites.locations["L-CP1"]
    connectors = [c | {"tariff_ids": ["T1", "G", "F"]} for c in _connectors(place)]
    await world.sites.put_location("L-CP1", _document(place, connectors), actor="test")
    await world.token()
    world.preferences = ChargingPreferences(
        world.memory, world.store, world.billing, world.transactions, now=lambda: world.clock
    )
    return world


def _connectors(place):
    return [
        {
            "id": c.id,
            "standard": "IEC_62196_T2",
            "format": "SOCKET",
            "power_type": "AC_3_PHASE",
            "max_voltage": 230,
            "max_amperage": 32,
            "max_electric_power": 11_000,
        }
        for c in place.evses[0].connectors
    ]


def _document(place, connectors, capabilities=()):
    return {
        "country_code": "NL", "party_id": "CPO", "publish": True, "address": "Street 1",
        "city": "Town", "country": "NLD", "time_zone": "Europe/Amsterdam",
        "coordinates": {"latitude": "52.100000", "longitude": "5.100000"},
        "evses": [
            {
                "uid": place.evses[0].uid, "evse_id": place.evses[0].evse_id,
                "ocpp": {"station": "CP1", "evse_id": 1}, "connectors": connectors,
                "capabilities": list(capabilities),
            }
        ],
    }  # fmt: skip


async def begin(world):
    event = TransactionEvent(
        kind=EventKind.STARTED, at=NOON, received_at=NOON, evse_id=1, connector_id=1,
        id_token=IdToken("TAG"), meter_wh=Decimal(0),
    )  # fmt: skip
    return (await world.told(event)).transaction


async def end(world, key, wh):
    at = world.clock
    event = TransactionEvent(
        kind=EventKind.ENDED, at=at, received_at=at, transaction=key, meter_wh=Decimal(wh)
    )
    await world.told(event)
    return world.store.all(Cdr)[-1]


async def prefer(world, profile, *, departure=SOON, need=Decimal(5)):
    [session] = world.store.all(Session)
    return await world.preferences.take(
        session, profile, departure_time=departure, energy_need=need, discharge_allowed=None,
        actor="partner P1",
    )  # fmt: skip


async def test_the_session_is_kept_with_its_preferences_and_billed_by_them(charging):
    """Half an hour at 0.30, half an hour at 0.10; 10 kWh in a straight line."""
    key = await begin(charging)
    charging.pass_time(minutes=30)
    assert await prefer(charging, "GREEN") == "ACCEPTED"
    charging.pass_time(minutes=30)
    cdr = await end(charging, key, 10_000)

    assert cdr.cost.total.excl_vat == Decimal("2.0000")
    assert [p.tariff_id for p in cdr.periods] == ["T1", "G"]
    [preference] = cdr.snapshot.preferences
    assert (preference.profile_type, preference.energy_need) == ("GREEN", 5)
    assert cdr.hold == ()


async def test_a_tariff_edited_meanwhile_does_not_count(charging):
    """TAR-43, D11: what is preferred is fixed as it was then."""
    key = await begin(charging)
    await prefer(charging, "GREEN")
    component = {"type": "ENERGY", "price": 99, "step_size": 1}
    await charging.sites.put_tariff(
        "G",
        {
            "currency": "EUR",
            "type": "PROFILE_GREEN",
            "elements": [{"price_components": [component]}],
        },
        actor="test",
    )
    charging.pass_time(minutes=30)

    assert (await end(charging, key, 10_000)).cost.total.excl_vat == Decimal("1.0000")


async def test_regular_goes_back_to_what_the_session_began_with(charging):
    key = await begin(charging)
    await prefer(charging, "FAST", departure=None, need=None)
    charging.pass_time(minutes=30)
    assert await prefer(charging, "REGULAR", departure=None, need=None) == "ACCEPTED"
    charging.pass_time(minutes=30)
    cdr = await end(charging, key, 10_000)

    assert cdr.cost.total.excl_vat == Decimal("6.0000")  # 5 at 0.90 and 5 at 0.30
    assert [t.id for t in cdr.snapshot.tariffs] == ["T1", "F"]


async def test_a_profile_without_a_tariff_that_the_partner_sees_is_not_supported(charging):
    charging.partners.by_id["P1"].policy["tariffs"] = ["T1", "F"]
    await begin(charging)

    assert await prefer(charging, "GREEN") == "PROFILE_TYPE_NOT_SUPPORTED"
    assert await prefer(charging, "CHEAP") == "PROFILE_TYPE_NOT_SUPPORTED"
    assert await prefer(charging, "FAST") == "ACCEPTED"


async def test_more_than_the_connector_delivers_until_then_is_not_possible(charging):
    await begin(charging)

    assert await prefer(charging, "GREEN", need=Decimal(89)) == "NOT_POSSIBLE"
    assert await prefer(charging, "GREEN", need=Decimal(88)) == "ACCEPTED"


async def test_a_session_that_is_over_has_no_preferences(charging):
    key = await begin(charging)
    charging.pass_time(minutes=30)
    await end(charging, key, 1000)

    assert await prefer(charging, "GREEN") == "NOT_POSSIBLE"


async def test_preferences_change_only_so_often(charging):
    await begin(charging)
    answers = [await prefer(charging, "FAST" if n % 2 else "GREEN") for n in range(52)]

    assert answers[:50] == ["ACCEPTED"] * 50
    assert answers[50:] == ["NOT_POSSIBLE"] * 2
    [transaction] = charging.store.all(Transaction)
    assert len(transaction.snapshot.preferences) == 50


async def capable(world):
    place = world.memory.sites.locations["L-CP1"]
    connectors = [c | {"tariff_ids": ["T1", "G", "F"]} for c in _connectors(place)]
    document = _document(place, connectors, ["CHARGING_PREFERENCES_CAPABLE"])
    await world.sites.put_location("L-CP1", document, actor="test")


async def test_a_token_that_prefers_a_profile_by_default_begins_with_its_tariff(charging):
    """TAR-6: default_profile_type, where the EVSE takes preferences; REGULAR is still to be had."""
    await capable(charging)
    await charging.token(details={"default_profile_type": "GREEN"})
    key = await begin(charging)
    charging.pass_time(minutes=30)
    assert await prefer(charging, "REGULAR", departure=None, need=None) == "ACCEPTED"
    charging.pass_time(minutes=30)
    cdr = await end(charging, key, 10_000)

    assert cdr.cost.total.excl_vat == Decimal("2.0000")  # 5 at 0.10 and 5 at 0.30
    assert [t.id for t in cdr.snapshot.tariffs] == ["G", "T1"]


@pytest.mark.parametrize("profile", ["REGULAR", "CHEAP", "NONSENSE", None])
async def test_a_default_profile_without_a_tariff_of_its_own_is_regular(charging, profile):
    await capable(charging)
    await charging.token(details={"default_profile_type": profile})
    key = await begin(charging)
    charging.pass_time(minutes=30)

    assert (await end(charging, key, 10_000)).snapshot.tariff.id == "T1"


async def test_a_default_profile_means_nothing_where_no_preferences_can_be_had(charging):
    await charging.token(details={"default_profile_type": "GREEN"})
    key = await begin(charging)
    charging.pass_time(minutes=30)

    assert (await end(charging, key, 10_000)).snapshot.tariff.id == "T1"

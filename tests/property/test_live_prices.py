"""SES-16: what the server carries on is what it would work out from the beginning."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from cpo.domain.events import ChargingState, Sample
from cpo.domain.location import Connector, Evse, Location
from cpo.domain.preferences import Preference
from cpo.domain.pricing import price
from cpo.domain.tariff import parse_tariff
from cpo.domain.transaction import Phase, Snapshot, Transaction, curve
from cpo.domain.usage import usage
from cpo.domain.values import replace
from cpo.services.live_prices import LivePrices

START = datetime(2026, 1, 5, 9, 0, 17, tzinfo=UTC)
CONNECTOR = Connector(
    id="1",
    standard="IEC_62196_T2",
    format="SOCKET",
    power_type="AC_3_PHASE",
    max_voltage=230,
    max_amperage=32,
)
LOCATION = Location(
    id="L", country_code="NL", party_id="CPO", publish=True, address="A", city="C", country="NLD",
    latitude="52.000000", longitude="5.000000", time_zone="Europe/Amsterdam",
    evses=(Evse(uid="E", connectors=(CONNECTOR,)),),
)  # fmt: skip


def tariff(rng, id_):
    def prices():
        return [
            {"type": kind, "price": rng.randint(0, 90), "step_size": rng.choice([1, 60, 500])}
            for kind in ("ENERGY", "TIME", "PARKING_TIME", "FLAT")
            if rng.random() < 0.7
        ] or [{"type": "ENERGY", "price": 1, "step_size": 1}]

    limits = [
        {"max_kwh": 3},
        {"min_duration": 1800},
        {"start_time": "10:30", "end_time": "12:00"},
        {"min_power": 5},
        {"max_current": 16},
    ]
    elements = [
        {"price_components": prices(), "restrictions": limit}
        for limit in rng.sample(limits, rng.randint(0, 3))
    ]
    return parse_tariff(
        {"id": id_, "currency": "EUR", "elements": [*elements, {"price_components": prices()}]}
    )


def snapshot(rng):
    return Snapshot(
        country_code="NL", party_id="CPO", location=LOCATION, evse_uid="E", connector_id="1",
        tariff=tariff(rng, "T"), currency="EUR",
    )  # fmt: skip


def grown(rng, transaction):
    """What may happen next: mostly one more reading, sometimes something odd."""
    samples = transaction.samples
    last = samples[-1] if samples else Sample(START, transaction.begin_wh or Decimal(0))
    at = last.at + timedelta(seconds=rng.randint(1, 900))
    wh = (last.register_wh or Decimal(5000)) + rng.randint(0, 800)
    told = Sample(
        at,
        wh,
        power_w=Decimal(rng.randint(0, 9000)) if rng.random() < 0.5 else None,
        current_a=Decimal(rng.randint(0, 30)) if rng.random() < 0.3 else None,
    )
    kind = rng.random()
    if kind < 0.05:
        told = replace(told, register_wh=None)
    elif kind < 0.08:
        told = replace(told, at=last.at - timedelta(seconds=rng.randint(0, 1200)))
    elif kind < 0.10:
        told = replace(told, register_wh=Decimal(rng.randint(0, 9000)))
    elif kind < 0.11:
        told = replace(told, register_wh=wh + 1_000_000)
    elif kind < 0.12:
        told = replace(told, context="Transaction.Begin")
    elif kind < 0.25:
        state = rng.choice(list(ChargingState))
        moment = at - timedelta(seconds=rng.choice([0, 0, 30]))
        states = tuple(sorted((*transaction.states, (moment, state)), key=lambda s: s[0]))
        return replace(transaction, states=states)
    elif kind < 0.27 and len(transaction.snapshot.preferences) < 3:
        preference = Preference(at=at, profile_type="GREEN", tariff=tariff(rng, f"P{at:%H%M%S}"))
        preferences = (*transaction.snapshot.preferences, preference)
        return replace(transaction, snapshot=replace(transaction.snapshot, preferences=preferences))
    batch = (told,) if rng.random() < 0.9 else (told, replace(told, at=told.at + timedelta(1e-4)))
    return replace(transaction, samples=samples + batch)


@pytest.mark.parametrize("seed", range(20))
def test_a_price_that_is_carried_on_is_the_price(seed):
    rng = random.Random(seed)
    transaction = Transaction(
        id="S", station="CP", key="1", phase=Phase.ACTIVE, started_at=START, received_at=START,
        begin_wh=rng.choice([None, Decimal(0), Decimal(5000)]), snapshot=snapshot(rng),
    )  # fmt: skip
    live = LivePrices(few=rng.choice([1, 4]), most=rng.choice([1, 10]))
    carried = 0
    for _ in range(40):
        transaction = grown(rng, transaction)
        before = live._kept.get("S")
        found = live.price(transaction, transaction.snapshot)
        carried += before is not None and live._kept.get("S") is before
        energy = curve(transaction)
        record = usage(transaction, energy, now=START)
        anew = price(record, transaction.snapshot.price_tariff, ZoneInfo("Europe/Amsterdam"))
        assert (found.energy_wh, found.flags) == (energy.total_wh, energy.flags)
        assert found.cost.total == anew.total
        assert found.cost.breakdown() == anew.breakdown()
        assert found.cost.periods == anew.periods
    assert carried or energy.flags


def test_only_so_many_are_kept_and_what_has_ended_is_forgotten():
    rng = random.Random(1)
    live = LivePrices(few=1, most=2)
    for n in range(4):
        transaction = Transaction(
            id=str(n), station="CP", key="1", phase=Phase.ACTIVE, started_at=START,
            received_at=START, begin_wh=Decimal(0), snapshot=snapshot(rng),
            samples=tuple(
                Sample(START + timedelta(minutes=m), Decimal(100 * m)) for m in range(1, 5)
            ),
        )  # fmt: skip
        live.price(transaction, transaction.snapshot)
    assert list(live._kept) == ["2", "3"]
    live.forget("3")
    live.forget("3")
    assert list(live._kept) == ["2"]

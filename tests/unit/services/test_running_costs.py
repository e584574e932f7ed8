"""What chargers with a display are told of their costs (OCPP 1.6 DataTransfer, 2.x CostUpdated)."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.cdr import Cdr
from cpo.domain.events import (
    Availability,
    EventKind,
    IdToken,
    MeterReport,
    Sample,
    StatusReport,
    TransactionEvent,
)
from cpo.errors import StationTimeout
from cpo.services.displays import Displays
from cpo.services.ports import StationDocument, Work
from cpo.services.running_costs import RunningCosts


class Link:
    def __init__(self, version):
        self.identity = "CP1"
        self.version = version
        self.calls = []
        self.error = None

    async def call(self, action, payload, *, timeout=None):
        if self.error is not None:
            raise self.error
        self.calls.append((action, payload))
        return {}


class World:
    def __init__(self):
        self.charging = Charging(update_interval=0)
        now = lambda: self.charging.clock  # noqa: E731
        self.displays = Displays(self.charging.memory, self.charging.store, now=now, delay=0)
        self.costs = RunningCosts(
            self.charging.memory, self.displays, self.charging.billing, now=now
        )
        self.charging.transactions.on_session.append(self.costs.session)
        self.charging.stations.on_authorized.append(self.costs.authorized)

    async def begin(self, version, *, variable=None, more=(), tariff=None):
        await self.charging.site()
        if tariff is not None:
            await self.charging.sites.put_tariff("T1", tariff, actor="test")
        self.charging.partner()
        await self.charging.token()
        self.link = Link(version)
        self.charging.memory.stations["CP1"].link = self.link
        for key, value in ((variable, "true"), *more) if variable is not None else ():
            work = Work()
            document = {"attributes": [{"type": "Actual", "value": value}]}
            work.put(
                StationDocument(station="CP1", kind="variable", key=key, document=document, at=NOON)
            )
            await self.charging.store.commit(work)
        answer = await self.charging.told(
            TransactionEvent(
                kind=EventKind.STARTED, at=NOON, received_at=NOON, evse_id=1, connector_id=1,
                id_token=IdToken("TAG"), meter_wh=Decimal(1000),
            )
        )  # fmt: skip
        self.transaction = answer.transaction

    async def stops(self, minutes):
        at = NOON + timedelta(minutes=minutes)
        report = StatusReport(
            evse_id=1,
            connector_id=1,
            availability=Availability.OCCUPIED,
            activity="SuspendedEV",
            at=at,
            received_at=at,
        )
        self.charging.clock = at
        await self.charging.status(report)

    async def meter(self, minutes, wh, power_w=None):
        at = NOON + timedelta(minutes=minutes)
        self.charging.clock = at
        await self.charging.metered(
            MeterReport(
                evse_id=1,
                transaction=self.transaction,
                samples=(Sample(at, register_wh=Decimal(wh), power_w=power_w),),
                received_at=at,
            )
        )
        await self.costs.close()

    async def end(self, minutes, wh):
        at = NOON + timedelta(minutes=minutes)
        self.charging.clock = at
        await self.charging.told(
            TransactionEvent(
                kind=EventKind.ENDED, at=at, received_at=at, transaction=self.transaction,
                meter_wh=Decimal(wh),
            )
        )  # fmt: skip
        await self.costs.close()


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.costs.close()
    await made.charging.transactions.close()
    await made.charging.commands.close()
    await made.charging.stations.close()


async def test_a_1_6_station_that_says_so_gets_running_and_final_cost(world):
    await world.begin("1.6", variable="Configuration/CustomDisplayCostAndPrice")

    await world.meter(30, 6000)
    await world.end(60, 11_000)

    messages = [(p["messageId"], json.loads(p["data"])) for _, p in world.link.calls]
    name, running = messages[-2]
    assert name == "RunningCost"
    assert running["transactionId"] == int(world.transaction)
    assert running["meterValue"] == 6000
    assert running["cost"] == 1.8
    assert running["state"] == "Charging"
    assert running["chargingPrice"] == {"kWhPrice": 0.36}
    name, final = messages[-1]
    assert name == "FinalCost"
    assert final["cost"] == 3.6
    assert all(p["vendorId"] == "org.openchargealliance.costmsg" for _, p in world.link.calls)


async def test_a_2_x_station_that_shows_costs_is_told_the_total(world):
    await world.begin("2.0.1", variable="TariffCostCtrlr/Enabled[Cost]")

    await world.meter(30, 6000)

    action, payload = world.link.calls[-1]
    assert action == "CostUpdated"
    assert payload == {"totalCost": Decimal("1.80"), "transactionId": world.transaction}


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_a_station_that_said_nothing_is_told_nothing(world, version):
    await world.begin(version)

    await world.meter(30, 6000)
    await world.end(60, 11_000)

    assert world.link.calls == []


async def test_a_station_that_does_not_answer_changes_nothing(world):
    await world.begin("1.6", variable="Configuration/CustomDisplayCostAndPrice")
    world.link.error = StationTimeout("no answer")

    await world.end(60, 11_000)

    assert [cdr.energy_wh for cdr in world.charging.store.all(Cdr)] == [10_000]


def component(kind, price):
    return {"type": kind, "price": Decimal(price), "vat": 20, "step_size": 1}


# 14:00 in Amsterdam; from 15:00 on it is dearer, above 20 kWh cheaper.
CHANGING = {
    "currency": "EUR",
    "elements": [
        {
            "price_components": [component("ENERGY", "0.10")],
            "restrictions": {"min_kwh": 20},
        },
        {
            "price_components": [component("ENERGY", "0.30"), component("PARKING_TIME", "3")],
            "restrictions": {"end_time": "15:00"},
        },
        {"price_components": [component("ENERGY", "0.50"), component("PARKING_TIME", "6")]},
    ],
}
SHOWS = "Configuration/CustomDisplayCostAndPrice"


async def test_a_running_cost_says_what_comes_next_and_asks_for_readings_there(world):
    """The California pricing note: nextPeriod and triggerMeterValue."""
    await world.begin(
        "1.6",
        variable=SHOWS,
        more=(("Configuration/NumberOfDecimalsForCostValues", "3"),),
        tariff=CHANGING,
    )

    await world.meter(30, 6000)

    running = json.loads(world.link.calls[-1][1]["data"], parse_float=Decimal)
    assert running["chargingPrice"] == {"kWhPrice": Decimal("0.360")}
    assert running["idlePrice"] == {"hourPrice": Decimal("3.600")}
    assert running["nextPeriod"] == {
        "atTime": "2026-06-01T13:00:00Z",
        "chargingPrice": {"kWhPrice": Decimal("0.600")},
        "idlePrice": {"hourPrice": Decimal("7.200")},
    }
    # The register began at 1 kWh.
    assert running["triggerMeterValue"] == {
        "atTime": "2026-06-01T13:00:00Z",
        "atEnergykWh": 21,
        "atCPStatus": ["SuspendedEV", "Finishing"],
    }


BY_POWER = {
    "currency": "EUR",
    "elements": [
        {"price_components": [component("ENERGY", "0.30")], "restrictions": {"max_power": 11}},
        {"price_components": [component("ENERGY", "0.40")], "restrictions": {"max_power": 22}},
        {"price_components": [component("ENERGY", "0.60")]},
    ],
}


@pytest.mark.parametrize(
    ("power_w", "asked"), [(None, 11), (3_700, 11), (16_000, 11), (18_000, 22), (50_000, 22)]
)
async def test_a_price_by_power_asks_for_a_reading_at_the_nearest_limit(world, power_w, asked):
    """The California pricing note: atPowerkW."""
    await world.begin("1.6", variable=SHOWS, tariff=BY_POWER)

    await world.meter(30, 6000, power_w=power_w)

    running = json.loads(world.link.calls[-1][1]["data"])
    assert running["triggerMeterValue"] == {"atPowerkW": asked}


async def test_a_limit_of_power_without_another_price_asks_for_nothing(world):
    same = {"restrictions": {"max_power": 11}, "price_components": [component("ENERGY", "0.30")]}
    rest = {"price_components": [component("ENERGY", "0.30")]}
    await world.begin("1.6", variable=SHOWS, tariff={"currency": "EUR", "elements": [same, rest]})

    await world.meter(30, 6000, power_w=5000)

    assert "triggerMeterValue" not in json.loads(world.link.calls[-1][1]["data"])


async def test_a_car_that_stopped_asking_is_watched_for_going_on(world):
    """The California pricing note: atCPStatus."""
    await world.begin("1.6", variable=SHOWS, tariff=CHANGING)
    await world.stops(20)

    await world.meter(30, 6000)

    running = json.loads(world.link.calls[-1][1]["data"])
    assert running["state"] == "Idle"
    assert running["triggerMeterValue"]["atCPStatus"] == ["Charging", "SuspendedEVSE"]


async def test_a_price_that_never_changes_announces_nothing(world):
    await world.begin("1.6", variable=SHOWS)

    await world.meter(30, 6000)

    assert not {"nextPeriod", "triggerMeterValue"} & set(
        json.loads(world.link.calls[-1][1]["data"])
    )


async def test_a_driver_is_told_the_price_when_a_1_6_station_asks_about_the_token(world):
    """SetUserPrice after Authorize."""
    await world.begin("1.6", variable=SHOWS)
    world.link.calls.clear()

    await world.charging.stations.authorize("CP1", IdToken("TAG"))
    await world.costs.close()
    await world.charging.stations.authorize("CP1", IdToken("NOBODY"))
    await world.costs.close()

    [(action, payload)] = world.link.calls
    assert (action, payload["messageId"]) == ("DataTransfer", "SetUserPrice")
    assert json.loads(payload["data"]) == {"idToken": "TAG", "priceText": "0.36 EUR per kWh"}


async def test_the_tariffs_own_words_come_first(world):
    words = [{"language": "nl", "text": "duur"}, {"language": "en", "text": "dear"}]
    await world.begin("1.6", variable=SHOWS, tariff=CHANGING | {"tariff_alt_text": words})
    world.link.calls.clear()

    await world.charging.stations.authorize("CP1", IdToken("TAG"))
    await world.costs.close()

    assert json.loads(world.link.calls[0][1]["data"])["priceText"] == "dear"


async def test_for_a_station_that_shows_no_prices_none_is_worked_out_again(world, monkeypatch):
    await world.begin("1.6")
    asked = []

    def price_text(*of):
        asked.append(of)
        return "dear"

    monkeypatch.setattr(world.charging.billing, "price_text", price_text)
    await world.charging.stations.authorize("CP1", IdToken("TAG"))
    await world.costs.close()
    await world.charging.stations.authorize("CP1", IdToken("TAG"))

    assert len(asked) == 1
    world.charging.clock += timedelta(minutes=6)
    await world.charging.stations.authorize("CP1", IdToken("TAG"))
    assert len(asked) == 2


@pytest.mark.parametrize(("version", "variable"), [("1.6", None), ("2.0.1", None)])
async def test_a_station_that_shows_no_prices_is_told_none(world, version, variable):
    await world.begin(version, variable=variable)

    await world.charging.stations.authorize("CP1", IdToken("TAG"))
    await world.costs.close()

    assert world.link.calls == []


async def test_a_2_x_station_with_the_extension_gets_the_prices_beside_the_total(world):
    extension = "CustomizationCtrlr/CustomImplementationEnabled[org.openchargealliance.costmsg]"
    await world.begin(
        "2.0.1",
        variable="TariffCostCtrlr/Enabled[Cost]",
        more=((extension, "true"),),
        tariff=CHANGING,
    )

    await world.meter(30, 6000)

    _, payload = world.link.calls[-1]
    assert payload["totalCost"] == Decimal("1.80")
    custom = payload["customData"]
    assert custom["vendorId"] == "org.openchargealliance.costmsg"
    assert custom["state"] == "Charging"
    assert custom["nextPeriod"]["atTime"] == "2026-06-01T13:00:00Z"
    assert "transactionId" not in custom
    assert "cost" not in custom

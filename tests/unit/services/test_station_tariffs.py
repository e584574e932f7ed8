"""What stations of OCPP 2.x are told of tariffs (functional block I)."""

from decimal import Decimal

import pytest
from charging import NOON, Charging

from cpo.domain.command import Outcome, Reply
from cpo.domain.events import Boot, EventKind, IdToken, TransactionEvent
from cpo.errors import StationRefused, StationTimeout
from cpo.services.displays import Displays
from cpo.services.ports import StationDocument, Work
from cpo.services.preferences import ChargingPreferences
from cpo.services.station_tariffs import StationTariffs

SHOWS_TARIFF = "TariffCostCtrlr/Enabled[Tariff]"


class Link:
    """A connection that keeps what it is sent and answers from a list, or Accepted."""

    def __init__(self, version):
        self.identity, self.version = "CP1", version
        self.calls = []
        self.asked = []
        self.answers = []

    async def call(self, action, payload, *, timeout=None):
        self.calls.append((action, payload))
        answer = self.answers.pop(0) if self.answers else "Accepted"
        if isinstance(answer, Exception):
            raise answer
        return {"status": answer}

    async def execute(self, command, *, timeout=None):
        self.asked.append(command.parameters["variables"])
        return Reply(outcome=Outcome.ACCEPTED)


class World(Charging):
    def __init__(self):
        super().__init__(update_interval=0)
        now = lambda: self.clock  # noqa: E731
        self.displays = Displays(self.memory, self.store, now=now, delay=0)
        self.tariffs = StationTariffs(self.memory, self.store, self.billing, self.displays, now=now)
        self.stations.prices = self.tariffs
        self.stations.on_boot.append(self.displays.booted)
        self.transactions.on_session.append(self.tariffs.session)
        self.preferences = ChargingPreferences(
            self.memory, self.store, self.billing, self.transactions, now=now
        )

    async def begin(self, version="2.1", *, shows=SHOWS_TARIFF, evses=1):
        await self.site(evses=evses)
        self.partner()
        await self.token()
        self.connect(version)
        if shows is not None:
            await self.reports(shows)

    def connect(self, version="2.1"):
        self.link = Link(version)
        self.memory.stations["CP1"].link = self.link

    async def reports(self, key, value="true"):
        work = Work()
        document = {"attributes": [{"type": "Actual", "value": value}]}
        work.put(StationDocument("CP1", "variable", key, document, NOON))
        await self.store.commit(work)

    async def sells(self, id, price, *, kind=None, evses=None, **more):
        """Put a tariff, and where asked at which EVSEs it is sold beside the others."""
        component = {"type": "ENERGY", "price": Decimal(price), "step_size": 1}
        body = {"currency": "EUR", "elements": [{"price_components": [component]}], **more}
        await self.sites.put_tariff(id, body | ({"type": kind} if kind else {}), actor="test")
        if evses is not None:
            await self.offer({number: [id] for number in evses})

    async def offer(self, tariffs):
        """Say which tariffs the connectors of some EVSEs have."""
        location = self.memory.sites.locations["L-CP1"]
        await self.sites.put_location(
            location.id,
            {
                "country_code": "NL", "party_id": "CPO", "publish": True, "address": "Street 1",
                "city": "Town", "country": "NLD", "time_zone": "Europe/Amsterdam",
                "coordinates": {"latitude": "52.100000", "longitude": "5.100000"},
                "evses": [
                    {
                        "uid": evse.uid, "evse_id": evse.evse_id,
                        "ocpp": {"station": "CP1", "evse_id": evse.binding.evse_id},
                        "connectors": [
                            {
                                "id": "1", "standard": "IEC_62196_T2", "format": "SOCKET",
                                "power_type": "AC_3_PHASE", "max_voltage": 230, "max_amperage": 32,
                                "tariff_ids": tariffs.get(
                                    evse.binding.evse_id, list(evse.connectors[0].tariff_ids)
                                ),
                            }
                        ],
                    }
                    for evse in location.evses
                ],
            },
            actor="test",
        )  # fmt: skip

    async def start(self, uid="TAG"):
        event = TransactionEvent(
            kind=EventKind.STARTED, at=self.clock, received_at=self.clock, evse_id=1,
            connector_id=1, transaction="TX", seq=0, id_token=IdToken(uid), meter_wh=Decimal(0),
        )  # fmt: skip
        answer = await self.told(event)
        await self.tariffs.close()
        return answer

    def sent(self):
        return [
            (action, payload.get("evseId"), (payload.get("tariff") or {}).get("tariffId"))
            for action, payload in self.link.calls
        ]


@pytest.fixture
async def world():
    made = World()
    yield made
    await made.tariffs.close()
    await made.displays.close()
    await made.transactions.close()
    await made.commands.close()
    await made.stations.close()


# --- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_a_driver_is_told_the_price_with_the_answer_about_the_token(world, version):
    """I01: personalMessage, at the question and at the start."""
    await world.begin(version)

    answer = await world.stations.authorize("CP1", IdToken("TAG"))
    started = await world.start()

    assert answer.message == "0.36 EUR per kWh"
    assert started.token.message == "0.36 EUR per kWh"


async def test_the_drivers_language_comes_first_then_english(world):
    await world.begin()
    words = [{"language": "en", "text": "dear"}, {"language": "nl", "text": "duur"}]
    await world.sells("T1", "9", tariff_alt_text=words)

    told = []
    for uid, language in (("NL", "nl"), ("FR", "fr")):
        await world.token(uid, details={"language": language})
        told.append((await world.stations.authorize("CP1", IdToken(uid))).message)

    assert told == ["duur", "dear"]


@pytest.mark.parametrize(
    ("version", "shows"),
    [("2.0.1", None), ("2.1", None), ("2.0.1", "TariffCostCtrlr/Enabled[Cost]")],
)
async def test_a_station_that_shows_no_tariffs_is_told_none(world, version, shows):
    await world.begin(version, shows=shows)

    answer = await world.stations.authorize("CP1", IdToken("TAG"))
    await world.tariffs.sweep()

    assert (answer.message, answer.tariff) == (None, None)
    assert world.link.calls == []


async def test_who_may_not_charge_is_told_no_price(world):
    await world.begin()

    assert (await world.stations.authorize("CP1", IdToken("NOBODY"))).message is None


async def test_evses_with_different_prices_are_told_apart_only_when_one_is_named(world):
    await world.begin(evses=2)
    await world.sells("T2", "0.50", evses=[2])

    anywhere = await world.stations.authorize("CP1", IdToken("TAG"))
    second = await world.stations.authorize("CP1", IdToken("TAG"), evse_id=2)

    assert anywhere.message is None
    assert second.message == "0.5 EUR per kWh"


# --- defaults ----------------------------------------------------------------------------------


async def test_a_2_1_station_has_the_tariff_of_its_evses_as_its_default_and_only_once(world):
    """I07: SetDefaultTariff, again only when the tariff is another."""
    await world.begin(evses=2)

    await world.tariffs.sweep()
    await world.tariffs.sweep()
    assert world.sent() == [("SetDefaultTariff", 0, "T1")]
    assert world.link.calls[0][1]["tariff"]["energy"]["prices"] == [{"priceKwh": 0.3}]

    await world.sells("T1", "0.40")
    await world.tariffs.sweep()
    assert world.sent()[1:] == [("SetDefaultTariff", 0, "T1")]


async def test_evses_with_different_tariffs_have_one_each(world):
    await world.begin(evses=2)
    await world.tariffs.sweep()
    await world.sells("T2", "0.50", evses=[2])

    await world.tariffs.sweep()

    assert world.sent() == [
        ("SetDefaultTariff", 0, "T1"),
        ("ClearTariffs", None, None),
        ("SetDefaultTariff", 1, "T1"),
        ("SetDefaultTariff", 2, "T2"),
    ]


async def test_a_tariff_that_a_station_has_in_another_form_is_cleared_first(world):
    """I08.FR.08: a tariff never changes under its id."""
    await world.begin()
    world.link.answers = ["DuplicateTariffId", "Accepted", "Accepted"]

    await world.tariffs.sweep()

    assert [action for action, _ in world.link.calls] == [
        "SetDefaultTariff", "ClearTariffs", "SetDefaultTariff",
    ]  # fmt: skip


@pytest.mark.parametrize("status", ["Rejected", "TooManyElements", "ConditionNotSupported"])
async def test_what_a_station_refused_is_not_sent_again(world, status):
    await world.begin()
    world.link.answers = [status]

    await world.tariffs.sweep()
    await world.tariffs.sweep()

    assert len(world.link.calls) == 1


async def test_a_station_that_knows_no_tariffs_is_left_alone(world):
    await world.begin()
    world.link.answers = [StationRefused("NotImplemented", "")]

    await world.tariffs.sweep()
    await world.tariffs.sweep()
    await world.start()

    assert len(world.link.calls) == 1


async def test_a_station_that_did_not_answer_is_asked_again(world):
    await world.begin()
    world.link.answers = [StationTimeout("no answer")]

    await world.tariffs.sweep()
    await world.tariffs.sweep()

    assert world.sent() == [("SetDefaultTariff", 0, "T1")] * 2


async def test_a_station_that_comes_back_is_told_only_what_it_has_not(world):
    """What a station took is kept with it; the operator's own word holds while it is connected."""
    await world.begin()
    await world.tariffs.sweep()
    work = Work()
    request = dict(world.link.calls[0][1])
    work.put(StationDocument("CP1", "default-tariff", "0", request, NOON))
    await world.store.commit(work)

    world.connect()
    await world.tariffs.sweep()
    assert world.link.calls == []

    await world.sells("T1", "0.40")
    await world.tariffs.sweep()
    assert world.sent() == [("SetDefaultTariff", 0, "T1")]


async def test_what_cannot_be_said_is_not_sent_and_taken_back(world):
    """A price with step_size is not what a station would show."""
    await world.begin()
    await world.tariffs.sweep()
    component = {"type": "ENERGY", "price": 1, "step_size": 500}
    body = {"currency": "EUR", "elements": [{"price_components": [component]}]}
    await world.sites.put_tariff("T1", body, actor="test")

    await world.tariffs.sweep()

    assert [action for action, _ in world.link.calls] == ["SetDefaultTariff", "ClearTariffs"]


# --- drivers and running sessions ----------------------------------------------------------------


async def test_a_driver_with_another_tariff_gets_it_with_the_answer(world):
    """I08: AuthorizeResponse.tariff; the transaction then needs no other."""
    await world.begin()
    await world.sells("A", "0.80", kind="AD_HOC_PAYMENT")
    await world.offer({1: ["A", "T1"]})
    await world.token("PAID", type="AD_HOC_USER")
    await world.tariffs.sweep()

    usual = await world.stations.authorize("CP1", IdToken("TAG"))
    paid = await world.stations.authorize("CP1", IdToken("PAID"))
    await world.start("PAID")

    assert usual.tariff is None
    assert paid.tariff["tariffId"] == "A"
    assert world.sent() == [("SetDefaultTariff", 0, "T1")]


async def test_a_session_that_began_without_a_question_is_given_its_tariff(world):
    """I11: ChangeTransactionTariff, once."""
    await world.begin()
    await world.sells("A", "0.80", kind="AD_HOC_PAYMENT")
    await world.offer({1: ["A", "T1"]})
    await world.token("PAID", type="AD_HOC_USER")
    await world.tariffs.sweep()

    await world.start("PAID")

    [(_, _), (action, payload)] = world.link.calls
    assert action == "ChangeTransactionTariff"
    assert (payload["transactionId"], payload["tariff"]["tariffId"]) == ("TX", "A")


async def test_preferences_change_the_tariff_at_the_station_too(world):
    """SES-18, I11."""
    await world.begin()
    await world.sells("F", "0.90", kind="PROFILE_FAST")
    await world.offer({1: ["T1", "F"]})
    await world.tariffs.sweep()
    await world.start()
    [transaction] = world.memory.stations["CP1"].transactions.values()
    world.pass_time(minutes=5)

    for profile in ("FAST", "REGULAR"):
        await world.preferences.told(
            world.memory.stations["CP1"],
            {
                "session": transaction.id, "profile_type": profile, "departure_time": None,
                "energy_need": None, "discharge_allowed": None, "actor": "partner P1",
            },
        )  # fmt: skip
        await world.tariffs.close()

    assert world.sent() == [
        ("SetDefaultTariff", 0, "T1"),
        ("ChangeTransactionTariff", None, "F"),
        ("ChangeTransactionTariff", None, "T1"),
    ]


# --- asking --------------------------------------------------------------------------------------


async def boot(world, firmware="1"):
    async with world.stations.lock("CP1"):
        work = Work()
        told = Boot(vendor="V", model="M", firmware_version=firmware)
        await world.stations.boot(work, "CP1", told, at=NOON)
        await world.store.commit(work)
    await world.displays.idle()


@pytest.mark.parametrize(
    ("version", "asked"),
    [("1.6", {"key": "CustomDisplayCostAndPrice"}), ("2.0.1", "TariffCostCtrlr")],
)
async def test_a_station_is_asked_once_for_each_firmware_what_it_shows(world, version, asked):
    await world.begin(version, shows=None)

    await boot(world)
    await boot(world)
    await boot(world, "2")

    assert len(world.link.asked) == 2
    first = world.link.asked[0][0]
    assert asked in (first, first.get("component"))


async def test_a_station_that_has_said_what_it_shows_is_not_asked(world):
    await world.begin("2.0.1", shows="TariffCostCtrlr/Enabled[Cost]")

    await boot(world)

    assert world.link.asked == []

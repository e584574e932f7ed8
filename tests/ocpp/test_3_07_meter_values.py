"""ocpp-conformance 3.7: meter values."""

import asyncio
from decimal import Decimal

import pytest

from cpo.web.api import shapes
from tests.ocpp.conftest import Charge16, Charge201

NOISE = ["Frequency", "Temperature", "Power.Factor", "Request.Energy", "RPM", "Power.Offered"]


async def test_mv01_a_bare_value_is_wh(charge, books):
    await charge.start()
    await charge.meter("1750")
    await charge.stop(meterStop=1750)

    assert books.only_cdr.energy_wh == 750


async def test_mv02_kwh_and_wh_may_be_mixed(charge, books):
    await charge.start()
    await charge.meter("1.5", -40, sampled={"unit": "kWh"})
    await charge.meter("1800", -30, sampled={"unit": "Wh"})

    assert [s.register_wh for s in books.transactions[0].samples] == [1500, 1800]


@pytest.mark.parametrize("unit", ["kwh", "KWH", " kWh"])
async def test_mv02_a_unit_is_known_however_it_is_written(charge, books, unit):
    await charge.start()
    await charge.meter("1.5", sampled={"unit": unit})

    assert books.transactions[0].samples[0].register_wh == 1500


@pytest.mark.parametrize("multiplier", [400, 10**12, -400])
async def test_mv03_a_multiplier_beyond_any_meter_is_no_reading(charge201, books, multiplier):
    await charge201.start()
    unit = {"unit": "Wh", "multiplier": multiplier}
    value = {"value": 1.5, "unitOfMeasure": unit}
    at = charge201.backend.at(minutes=-30)
    await charge201.update(None, meterValue=[{"timestamp": at, "sampledValue": [value]}])
    await charge201.end()

    assert books.only_cdr.energy_wh == 2000
    assert books.only_cdr.hold == ()


async def test_mv04_a_value_without_unit_takes_its_measurands_own(charge, books):
    await charge.start()
    await charge.meter("11000", sampled={"measurand": "Power.Active.Import"})

    assert books.transactions[0].samples[0].power_w == 11000
    assert books.transactions[0].samples[0].register_wh is None


async def test_mv05_mv06_phases_are_summed_once(charge, books):
    await charge.start()
    values = [
        {"value": "500", "phase": "L1"},
        {"value": "501", "phase": "L2"},
        {"value": "502", "phase": "L3-N"},
        {"value": "9", "phase": "N"},
    ]
    for with_total, expected in ((False, 1503), (True, 1600)):
        await charge.meter(
            minutes=-30 if with_total else -40,
            meterValue=[
                {
                    "timestamp": charge.backend.at(minutes=-30 if with_total else -40),
                    "sampledValue": values + ([{"value": "1600"}] if with_total else []),
                }
            ],
        )
        assert books.transactions[0].samples[-1].register_wh == expected


@pytest.mark.parametrize("of", ["1.6", "2.0.1"])
async def test_mv05_phases_that_are_told_apart_are_summed(backend, books, of):
    """Each in a MeterValue of its own, of one instant."""
    charger = await backend.charger(of)

    def apart(minutes, wh, context="Sample.Periodic"):
        at = backend.at(minutes=minutes)
        value = str(wh) if of == "1.6" else wh
        return [
            {
                "timestamp": at,
                "sampledValue": [{"value": value, "phase": phase, "context": context}],
            }
            for phase in ("L1", "L2", "L3")
        ]

    if of == "1.6":
        charge = Charge16(backend, charger)
        await charge.start(meterStart=3000)
        await charge.meter(meterValue=apart(-30, 1400))
        assert [s.register_wh for s in books.transactions[0].samples] == [4200]
        await charge.stop(meterStop=6000)
    else:
        charge = Charge201(backend, charger)
        await charge.start(None, meterValue=apart(-60, 1000, "Transaction.Begin"))
        await charge.end(None, meterValue=apart(-1, 2000, "Transaction.End"))

    assert books.only_cdr.energy_wh == 3000
    assert books.only_cdr.flags == frozenset()


@pytest.mark.parametrize("fields", [{"connectorId": 0, "transactionId": 0}])
async def test_mv07_the_site_meter_is_not_the_session(charge, books, fields):
    await charge.start()
    await charge.meter("999999", **fields)

    assert books.transactions[0].samples == ()


async def test_mv07_the_inlet_is_not_the_session(charge, books):
    await charge.start()
    await charge.meter("999999", sampled={"location": "Inlet"})
    await charge.stop()

    assert books.only_cdr.energy_wh == 2000


@pytest.mark.parametrize("location", ["Inlet", "Body", "Cable"])
@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_mv07_of_2x_only_the_outlet_counts(backend, books, of, location):
    """And nothing of EVSE 0, the meter of the site."""
    charge = Charge201(backend, await backend.charger(of))
    await charge.start()
    at = backend.at(minutes=-30)
    value = {"value": 999_999, "location": location}
    await charge.update(None, meterValue=[{"timestamp": at, "sampledValue": [value]}])
    site = [{"timestamp": at, "sampledValue": [{"value": 888_888}]}]
    await charge.charger.call("MeterValues", evseId=0, meterValue=site)
    await charge.end()

    assert books.only_cdr.energy_wh == 2000
    assert books.only_cdr.flags == frozenset()


async def test_mv06_currents_against_neutral_are_summed_without_it(charge201, books):
    await charge201.start()
    values = [
        {"value": amperes, "phase": phase, "measurand": "Current.Import"}
        for phase, amperes in (("L1-N", 10), ("L2-N", 11), ("L3", 12), ("N", 3))
    ]
    at = charge201.backend.at(minutes=-30)
    await charge201.update(None, meterValue=[{"timestamp": at, "sampledValue": values}])

    assert books.transactions[0].samples[-1].current_a == 33


async def test_mv20_many_messages_at_once_are_all_taken_and_answered(charge, books):
    await charge.start()
    answers = await asyncio.gather(*(charge.meter(str(1000 + n), -50 + n / 60) for n in range(100)))

    assert answers == [{}] * 100
    assert [s.register_wh for s in books.transactions[0].samples] == list(range(1000, 1100))


async def test_mv08_intervals_count_where_there_is_no_register(charge201, books):
    await charge201.start(None)
    for minutes in (-40, -20):
        await charge201.update(
            None,
            minutes,
            meterValue=[
                {
                    "timestamp": charge201.backend.at(minutes=minutes),
                    "sampledValue": [{"value": 250, "measurand": "Energy.Active.Import.Interval"}],
                }
            ],
        )
    await charge201.end(None)

    assert books.only_cdr.energy_wh == 500


def measured(charge, minutes, value, measurand, context="Sample.Periodic"):
    text = value if isinstance(charge, Charge201) else str(value)
    sampled = {"value": text, "measurand": measurand, "context": context}
    return {"timestamp": charge.backend.at(minutes=minutes), "sampledValue": [sampled]}


async def test_mv08_an_interval_that_the_end_tells_again_counts_once(charge201, books):
    """And those by the clock, which run beside the others, not at all."""
    interval = "Energy.Active.Import.Interval"
    await charge201.start(None, meterValue=[measured(charge201, -60, 90, interval)])
    mine = [measured(charge201, minutes, 250, interval) for minutes in (-40, -20)]
    for one in mine:
        await charge201.update(None, meterValue=[one])
    clock = [measured(charge201, -30, 400, interval, "Sample.Clock")]
    await charge201.update(None, meterValue=clock)
    begin = measured(charge201, -60, 90, interval, "Transaction.Begin")
    await charge201.end(None, meterValue=[begin, *mine])

    assert books.only_cdr.energy_wh == 90 + 500


async def test_mv08_intervals_count_where_both_registers_of_1_6_are_nothing(charge, books):
    await charge.start(meterStart=0)
    for minutes in (-40, -20):
        value = measured(charge, minutes, 250, "Energy.Active.Import.Interval")
        await charge.meter(meterValue=[value])
    await charge.stop(meterStop=0)

    assert books.only_cdr.energy_wh == 500
    assert books.only_cdr.hold == ()


@pytest.mark.parametrize("register", [0, 500])
async def test_mv08_power_beside_a_register_that_stands_still_is_an_estimate_that_waits(
    charge, books, register
):
    await charge.start(meterStart=register)
    await charge.meter(meterValue=[measured(charge, -61, 6000, "Power.Active.Import")])
    await charge.meter(meterValue=[measured(charge, -31, 6000, "Power.Active.Import")])
    await charge.stop(meterStop=register)

    assert books.only_cdr.energy_wh == 6000
    assert books.only_cdr.hold == ("estimated",)


@pytest.mark.parametrize("begin", [1000, None], ids=["the first only", "none"])
@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_tx20_14_a_charge_whose_energy_nothing_tells_waits_for_the_operator(
    backend, books, of, begin
):
    charge = Charge201(backend, await backend.charger(of))
    await charge.start(begin)
    await charge.end(None)

    assert books.only_cdr.energy_wh == 0
    assert books.only_cdr.hold == ("no_energy",)


async def test_tx20_14_a_car_that_never_charged_took_nothing(charge201, books):
    await charge201.start(None, info={"chargingState": "EVConnected"})
    await charge201.end(None)

    assert books.only_cdr.energy_wh == 0
    assert books.only_cdr.hold == ()


@pytest.mark.parametrize(
    ("values", "wh"),
    [((1000, 2000, 3000), 2000), ((1000, 4000, 3000), 2000), ((1000, 500, 900), 0)],
    ids=["taken", "given back", "given more"],
)
async def test_mv22_a_net_register_counts_where_there_is_no_other(charge201, books, values, wh):
    await charge201.start(None)
    for minutes, value in zip((-60, -30, -1), values, strict=True):
        told = measured(charge201, minutes, value, "Energy.Active.Net")
        await charge201.update(None, minutes, meterValue=[told])
    await charge201.end(None)

    assert books.only_cdr.energy_wh == wh
    assert sum(period.energy_wh for period in books.only_cdr.periods) == wh
    assert books.only_cdr.hold == ()


async def test_mv09_q25_readings_without_an_id_belong_to_the_connectors_transaction(charge, books):
    await charge.start()
    await charge.charger.call(
        "MeterValues",
        connectorId=1,
        meterValue=[
            {
                "timestamp": charge.backend.at(minutes=-30),
                "sampledValue": [{"value": "1500", "context": "Sample.Clock"}],
            }
        ],
    )

    assert len(books.transactions[0].samples) == 1


@pytest.mark.parametrize("number", [0, -1, 424242])
async def test_mv10_q23_readings_under_a_wrong_id_belong_to_the_connectors_transaction(
    charge, books, number
):
    await charge.start()
    await charge.meter("1500", transactionId=number)

    assert len(books.transactions[0].samples) == 1
    assert "matched_without_id" in books.transactions[0].flags


async def test_mv10_of02_a_late_reading_of_an_ended_charge_does_not_count_for_the_next(
    backend, charge, books
):
    await charge.start(timestamp=backend.at(hours=-3))
    late = {"transactionId": charge.id, "minutes": -150}
    await charge.stop(timestamp=backend.at(hours=-2))
    await charge.start(meterStart=3000)
    # After a restart only open transactions are in memory.
    state = backend.memory.stations["CP1"]
    ended = next(key for key, one in state.transactions.items() if not one.open)
    del state.transactions[ended]
    state.history_loaded = False

    await charge.meter("2900", **late)
    await charge.meter("2950", transactionId=424242, minutes=-150)

    (open_one,) = state.running.values()
    assert open_one.samples == ()


async def test_mv11_q36_a_placeholder_of_zero_is_no_baseline(charge201, books):
    await charge201.start(0, -10)
    await charge201.update(909_948, -9)
    await charge201.update(909_999, -5)
    await charge201.end(910_031, -1)

    assert books.only_cdr.energy_wh < 1000
    assert "begin_rejected" in books.only_cdr.flags


async def test_mv11_a_small_odometer_after_a_placeholder_is_not_billed_unseen(charge201, books):
    """50 kWh within a minute are more than the connector's 22 kW."""
    await charge201.start(0, -60)
    await charge201.update(50_000, -59)
    await charge201.update(51_000, -30)
    await charge201.end(52_000, -1)

    assert books.only_cdr.hold == ("implausible_power",)


@pytest.mark.parametrize("odometer", [5_000_000, 50_000])
async def test_mv12_samples_that_count_from_zero_between_two_odometers(charge, books, odometer):
    await charge.start(meterStart=odometer)
    for number, minutes in enumerate(range(-50, -5, 5)):
        await charge.meter(str(100 + 200 * number), minutes)
    await charge.stop(meterStop=odometer + 2000)

    assert books.only_cdr.energy_wh == 2000
    assert "session_relative" in books.only_cdr.flags
    assert books.only_cdr.hold == ()


async def test_mv12_q35_samples_that_count_from_zero_are_told_from_the_odometer(charge, books):
    await charge.start(meterStart=5_000_000)
    await charge.meter("100", -50)
    await charge.meter("900", -30)
    await charge.meter("1500", -10)
    await charge.stop(meterStop=2000)

    assert books.only_cdr.energy_wh == 2000
    assert "session_relative" in books.only_cdr.flags


async def test_mv12_q35_so_they_are_when_the_stop_is_of_the_odometer(charge, books):
    await charge.start(meterStart=5_000_000)
    for minutes, wh in ((-50, "100"), (-40, "400"), (-30, "900"), (-20, "1200"), (-10, "1500")):
        await charge.meter(wh, minutes)
    await charge.stop(meterStop=5_002_000)

    assert books.only_cdr.energy_wh == 2000
    assert books.only_cdr.flags == {"session_relative"}
    assert books.only_cdr.hold == ()


@pytest.mark.parametrize(
    ("between", "flag"),
    [
        pytest.param((100, 400, 900, 1200, 1500), "session_relative", id="q35 from zero"),
        pytest.param((1000, 1000, 1000, 0, 1000), "dip_ignored", id="q38 frozen"),
    ],
)
async def test_mv12_mv13_q35_q38_of_2x_the_ends_that_the_meter_names_count(
    charge201, books, between, flag
):
    """Begin and end come first (section 7): readings of another register change nothing."""
    await charge201.start(5_000_000)
    for n, wh in enumerate(between):
        await charge201.update(wh, -50 + 10 * n)
    await charge201.end(5_002_000)

    assert books.only_cdr.energy_wh == 2000
    assert books.only_cdr.flags == {flag}
    assert books.only_cdr.hold == ()


async def test_mv13_q38_a_register_that_starts_anew_is_summed_in_segments(charge, books):
    await charge.start(meterStart=1000)
    await charge.meter("3000", -50)
    await charge.meter("100", -40)
    await charge.meter("900", -30)
    await charge.stop(meterStop=1500)

    assert "meter_reset" in books.only_cdr.flags
    assert books.only_cdr.energy_wh == 2000 + 1400


async def test_mv14_sec11_s7_a_leap_is_not_billed(charge, books):
    await charge.start(meterStart=1000, timestamp=charge.backend.at(minutes=-10))
    await charge.meter("2000", -9)
    await charge.meter("1001000", -8.9)
    await charge.meter("2500", -5)
    await charge.stop(meterStop=3000)

    assert books.only_cdr.energy_wh == 2000
    assert "implausible_jump" in books.only_cdr.flags
    assert 1_001_000 in [sample.register_wh for sample in books.transactions[0].samples]


@pytest.mark.parametrize("blob", ["OCMF|{}|{}", "deadbeef", "12345678", "3q2+7w=="])
async def test_mv16_signed_data_of_any_form_is_kept_as_it_is(charge, books, blob):
    await charge.start()
    await charge.meter(blob, sampled={"format": "SignedData", "context": "Transaction.Begin"})
    assert books.transactions[0].samples[0].register_wh is None
    await charge.stop()

    assert [reading.data for reading in books.only_cdr.signed] == [blob]


async def test_mv17_signed_values_of_201_keep_key_and_method(charge201, books):
    def signed(context, key, minutes):
        value = {
            "value": 1000,
            "context": context,
            "signedMeterValue": {
                "signedMeterData": f"blob-{context}",
                "signingMethod": "ECDSA",
                "encodingMethod": "OCMF",
                "publicKey": key,
            },
        }
        at = charge201.backend.at(minutes=minutes)
        return [{"timestamp": at, "sampledValue": [value]}]

    await charge201.start(meterValue=signed("Transaction.Begin", "KEY", -60))
    await charge201.end(meterValue=signed("Transaction.End", "", -1))

    assert [r.data for r in books.only_cdr.signed] == [
        "blob-Transaction.Begin",
        "blob-Transaction.End",
    ]
    assert "KEY" in {r.public_key for r in books.only_cdr.signed}


@pytest.mark.parametrize("apart", [True, False])
async def test_mv17_every_value_that_a_meter_signed_at_one_instant_is_kept(charge201, books, apart):
    """The import and the export register, in one MeterValue or in two."""
    at = charge201.backend.at(minutes=-1)
    values = [
        {
            "value": 3000 if name == "Import" else 0,
            "measurand": f"Energy.Active.{name}.Register",
            "context": "Transaction.End",
            "signedMeterValue": {
                "signedMeterData": f"blob-{name}",
                "signingMethod": "ECDSA",
                "encodingMethod": "EDL",
                "publicKey": "KEY",
            },
        }
        for name in ("Import", "Export")
    ]
    groups = [[value] for value in values] if apart else [values]
    await charge201.start()
    meter_value = [{"timestamp": at, "sampledValue": group} for group in groups]
    await charge201.end(meterValue=meter_value)

    assert {reading.data for reading in books.only_cdr.signed} == {"blob-Import", "blob-Export"}
    assert {reading.nature for reading in books.only_cdr.signed} == {"End"}
    assert books.only_cdr.energy_wh == 2000


@pytest.mark.parametrize("measurand", NOISE)
async def test_mv18_q17_measurands_that_do_not_count_are_taken_and_left_aside(
    charge, books, measurand
):
    await charge.start()
    await charge.meter("50.1", sampled={"measurand": measurand, "unit": "Hz", "context": "Odd"})
    await charge.stop()

    assert books.only_cdr.energy_wh == 2000


@pytest.mark.parametrize("unit", ["Hz", "A", "kW", "kVAh"])
@pytest.mark.parametrize("of", ["1.6", "2.0.1"])
async def test_mv18_a_value_in_no_unit_of_energy_is_no_register(backend, books, of, unit):
    """Without a measurand it would be one."""
    charger = await backend.charger(of)
    if of == "1.6":
        charge = Charge16(backend, charger)
        await charge.start()
        await charge.meter("2100.5", sampled={"unit": unit})
        await charge.stop()
    else:
        charge = Charge201(backend, charger)
        await charge.start()
        value = {"value": 2100.5, "unitOfMeasure": {"unit": unit}}
        at = backend.at(minutes=-30)
        await charge.update(None, meterValue=[{"timestamp": at, "sampledValue": [value]}])
        await charge.end()

    (cdr,) = books.cdrs
    assert cdr.energy_wh == 2000
    registers = [s.register_wh for s in books.transactions[0].samples]
    assert Decimal("2100.5") not in registers
    assert cdr.flags == frozenset()


@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
@pytest.mark.parametrize(
    ("text", "wh"),
    [("", None), ("NaN", None), ("-", None), ("1500,5", "1500.5"), (" 1500 ", "1500")],
)
async def test_mv19_values_of_2x_that_are_hardly_numbers(backend, books, of, text, wh):
    charge = Charge201(backend, await backend.charger(of))
    await charge.start(1000)
    values = [{"value": text}, {"value": 11000, "measurand": "Power.Active.Import"}]
    at = backend.at(minutes=-30)
    await charge.update(None, meterValue=[{"timestamp": at, "sampledValue": values}])

    sample = books.transactions[0].samples[-1]
    assert sample.register_wh == (wh and Decimal(wh))
    assert sample.power_w == 11000
    assert backend.metrics.ocpp_deviations.value("type") == 1


@pytest.mark.parametrize(
    ("text", "wh"), [("1750,5", "1750.5"), ("", None), ("NaN", None), (" 1750 ", "1750")]
)
async def test_mv19_values_that_are_hardly_numbers(charge, books, text, wh):
    await charge.start()
    await charge.meter(text)

    registers = [
        str(s.register_wh) for s in books.transactions[0].samples if s.register_wh is not None
    ]
    assert registers == ([wh] if wh else [])


async def test_mv20_300_values_in_one_message_are_taken(charge, books):
    await charge.start()
    await charge.charger.call(
        "MeterValues",
        connectorId=1,
        transactionId=charge.id,
        meterValue=[
            {
                "timestamp": charge.backend.at(minutes=-50, seconds=n),
                "sampledValue": [{"value": str(1000 + n)}],
            }
            for n in range(300)
        ],
    )

    assert len(books.transactions[0].samples) == 300


@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_mv18_q17_of_2x_too(backend, books, of):
    charge = Charge201(backend, await backend.charger(of))
    await charge.start()
    odd = {"value": 50.1, "measurand": "Request.Energy", "context": "Odd"}
    unit = {"value": 50, "measurand": "Frequency", "unitOfMeasure": {"unit": "Hz"}}
    value = {"timestamp": backend.at(minutes=-30), "sampledValue": [odd, unit]}
    await charge.update(None, meterValue=[value])
    await charge.end()

    assert books.only_cdr.energy_wh == 2000


@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_mv21_q44_meter_values_of_2x_inside_a_transaction_are_its_own(backend, books, of):
    charge201 = Charge201(backend, await backend.charger(of))
    await charge201.start()
    await charge201.charger.call(
        "MeterValues",
        evseId=1,
        meterValue=[
            {
                "timestamp": charge201.backend.at(minutes=-30),
                "sampledValue": [{"value": 1500, "context": "Sample.Clock"}],
            }
        ],
    )

    assert len(books.transactions[0].samples) == 2


async def test_mv22_what_the_car_gives_back_is_not_billed_as_taken(charge, books):
    await charge.start()
    for minutes, wh in ((-40, "100"), (-20, "700")):
        value = {"measurand": "Energy.Active.Export.Register"}
        await charge.meter(wh, minutes, sampled=value)
    await charge.stop()

    assert books.only_cdr.energy_wh == 2000
    assert "energy_exported" in books.only_cdr.flags
    assert books.only_cdr.hold == ()


async def test_mv24_an_unknown_connector_is_answered_and_shown(backend, charge):
    assert await charge.meter("5", connectorId=77, transactionId=0) == {}
    await charge.status("Available", 88)
    await charge.status("Available", 1)
    await charge.status("Available", 0)

    shown = shapes.station(backend.stations.state("CP1"), backend.memory.sites)
    assert shown["topology_mismatch"] == [77, 88]


@pytest.mark.parametrize("of", ["2.0.1", "2.1"])
async def test_mv24_of_2x_too(backend, of):
    charger = await backend.charger(of)
    value = [{"timestamp": backend.at(), "sampledValue": [{"value": 5}]}]
    assert await charger.call("MeterValues", evseId=77, meterValue=value) == {}
    for evse in (88, 1):
        status = {"evseId": evse, "connectorId": 1, "connectorStatus": "Available"}
        await charger.call("StatusNotification", timestamp=backend.at(), **status)

    shown = shapes.station(backend.stations.state("CP1"), backend.memory.sites)
    assert shown["topology_mismatch"] == [77, 88]


async def test_mv13_q38_a_zero_between_two_readings_of_a_lifetime_register_is_not_counted(
    charge, books
):
    await charge.start(meterStart=5_000_000)
    await charge.meter("5000400", -50)
    await charge.meter("0", -40)
    await charge.meter("5000900", -30)
    await charge.stop(meterStop=5_001_000)

    assert books.only_cdr.energy_wh == 1000
    assert "dip_ignored" in books.only_cdr.flags
    assert books.only_cdr.hold == ()


async def test_sec11_a_first_and_only_register_of_megawatt_hours_is_held(charge, books):
    await charge.start(meterStart=0)
    await charge.stop(meterStop=10_000_000)

    assert books.only_cdr.energy_wh == 0
    assert "implausible_jump" in books.only_cdr.hold


async def test_sec11_a_register_below_zero_is_no_baseline(charge, books):
    await charge.start(meterStart=-5)
    await charge.meter("1000", -30)
    await charge.stop(meterStop=3000)

    assert books.only_cdr.energy_wh == 2000
    assert "begin_rejected" in books.only_cdr.flags


async def test_mv15_q34_a_meter_that_calls_kwh_wh_is_read_as_the_operator_says(backend, books):
    """The habit energy_unit: registers of 1.6 and readings alike; true kWh stay kWh."""
    await backend.register("CP1", settings={"energy_unit": "kWh"})
    charge = Charge16(backend, await backend.charger("1.6"))
    await charge.start(meterStart=100)
    await charge.meter("101", -40)
    await charge.meter("102", -30, sampled={"unit": "kWh"})
    await charge.meter("7000", -20, sampled={"measurand": "Power.Active.Import", "unit": "W"})
    await charge.stop(meterStop=103)

    assert books.only_cdr.energy_wh == 3000
    registers = [sample.register_wh for sample in books.transactions[0].samples]
    assert [wh for wh in registers if wh is not None][:2] == [101_000, 102_000]


@pytest.mark.parametrize("watts", ["11000", "11"])
async def test_mv15_a_register_that_fits_its_power_only_as_kwh_holds_the_cdr(charge, books, watts):
    await charge.start(meterStart=100, timestamp=charge.backend.at(minutes=-60))
    for minutes, wh in ((-45, 103), (-30, 105), (-15, 108)):
        values = [
            {"value": str(wh), "unit": "Wh"},
            {"value": watts, "measurand": "Power.Active.Import", "unit": "W"},
        ]
        at = charge.backend.at(minutes=minutes)
        await charge.meter(meterValue=[{"timestamp": at, "sampledValue": values}])
    await charge.stop(meterStop=111)

    assert ("unit_suspect" in books.only_cdr.hold) is (watts == "11000")


async def test_mv15_q34_of_2x_too(backend, books):
    await backend.register("CP1", settings={"energy_unit": "kWh"})
    charge = Charge201(backend, await backend.charger("2.0.1"))
    await charge.start(wh=100)
    await charge.update(wh=101)
    await charge.end(wh=103)

    assert books.only_cdr.energy_wh == 3000

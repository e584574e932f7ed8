"""Every measurand of the three versions: values, units, phases, intervals, the direction of energy."""

import importlib
import json
import random
from decimal import Decimal
from pathlib import Path

import pytest

from chargers_sim.car import Car
from chargers_sim.errors import BadInput
from chargers_sim.live import Station
from chargers_sim.measurands import MEASURANDS, OF_VERSION, in_words
from chargers_sim.meter import Meter
from chargers_sim.template import Template, load_template

CAR = Car(battery_wh=50_000, soc=Decimal(40), target_soc=Decimal(90), discharge_w=5_000)
SCHEMAS = {
    "1.6": ("v16", "MeterValues"),
    "2.0.1": ("v201", "MeterValuesRequest"),
    "2.1": ("v21", "MeterValuesRequest"),
}


def read(meter, *measurands, power_w=0, **more):
    facts = {"offered_w": None, "soc": None} | more
    samples = meter.read(measurands, power_w=power_w, **facts)
    return [(str(s.value), s.unit, s.phase) for s in samples]


def enumerated(node):
    """Find the list of measurands in a schema, wherever it stands."""
    if isinstance(node, dict):
        if "SoC" in node.get("enum", ()):
            yield node["enum"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from enumerated(part)


@pytest.mark.parametrize("version", SCHEMAS)
def test_the_list_is_that_of_the_specification(version) -> None:
    package, name = SCHEMAS[version]
    folder = Path(importlib.import_module("ocpp").__file__).parent / package / "schemas"
    found = next(enumerated(json.loads((folder / f"{name}.json").read_text())))

    assert set(found) == OF_VERSION[version]


def test_every_measurand_is_told_and_an_unknown_one_is_named() -> None:
    meter = Meter(noise=random.Random(1))
    samples = meter.read(
        MEASURANDS, power_w=11_000, offered_w=None, soc=CAR.soc, car=CAR, setpoint_w=11_000
    )

    told = {s.measurand for s in samples}
    assert told == {"SoC" if m == "Display.PresentSOC" else m for m in MEASURANDS} | {
        "Display.PresentSOC"
    }
    with pytest.raises(BadInput, match=r"Grid\.Mood"):
        meter.read(["Grid.Mood"], power_w=0, offered_w=None, soc=None)


def test_what_goes_in_and_what_comes_out_are_two_registers() -> None:
    """V2G: energy that comes back counts in the export register, the import register stays."""
    meter = Meter()
    meter.count(2_000 * 3_600_000)
    meter.count(-500 * 3_600_000)

    assert read(meter, "Energy.Active.Import.Register") == [("2000", "Wh", None)]
    assert read(meter, "Energy.Active.Export.Register") == [("500", "Wh", None)]
    assert read(meter, "Energy.Active.Net") == [("1500", "Wh", None)]
    assert read(meter, "Power.Active.Import", "Power.Active.Export", power_w=-4_600) == [
        ("0", "W", None),
        ("4600", "W", None),
    ]
    assert read(meter, "Current.Export", power_w=-6_900) == [
        ("10.00", "A", line) for line in ("L1", "L2", "L3")
    ]


def test_reactive_and_apparent_energy_follow_the_power_factor() -> None:
    meter = Meter(power_factor=Decimal("0.8"))
    meter.count(800 * 3_600_000)

    assert read(meter, "Energy.Reactive.Import.Register") == [("600", "varh", None)]
    assert read(meter, "Energy.Apparent.Import") == [("1000", "VAh", None)]
    assert read(meter, "Power.Reactive.Import", power_w=8_000) == [("6000", "var", None)]


def test_thousands_and_lines_add_up() -> None:
    meter = Meter(register_unit="kWh", power_unit="kW", decimals=3, by_phase=True)
    meter.set_register_wh(Decimal("1234.567"))
    samples = meter.read(
        ["Energy.Active.Import.Register", "Power.Active.Import"],
        power_w=10_000,
        offered_w=None,
        soc=None,
    )

    for name, unit, total in (("Energy", "kWh", "1.234567"), ("Power", "kW", "10")):
        own = [s for s in samples if s.measurand.startswith(name)]
        assert {s.unit for s in own} == {unit}
        assert [s.phase for s in own] == [None, "L1", "L2", "L3"]
        assert own[0].value == Decimal(total) == sum(s.value for s in own[1:])


def test_an_interval_counts_from_the_last_reading_of_its_kind() -> None:
    meter, name = Meter(), "Energy.Active.Import.Interval"
    meter.set_register_wh(Decimal(9_000))
    told = []
    for series in ("Sample", "Clock", "Sample", "", "Sample"):
        meter.count(100 * 3_600_000)
        told += [value for value, _, _ in read(meter, name, series=series)]
    meter.begin_intervals()

    assert told == ["100", "200", "200", "100", "200"]
    assert read(meter, name) == [("0", "Wh", None)]


def test_the_car_tells_what_it_wants_and_when() -> None:
    """OCPP 2.1: Display.* and EnergyRequest.* of a car at 40 % of 50 kWh."""
    told = {
        name: read(Meter(), name, power_w=10_000, soc=CAR.soc, car=CAR)[0][:2]
        for name in MEASURANDS
        if name.startswith(("Display.", "EnergyRequest."))
    }

    assert told["Display.PresentSOC"] == ("40", "Percent")
    assert told["Display.TargetSOC"] == ("90", "Percent")
    assert told["Display.RemainingTimeToTargetSOC"] == ("9000", "s")
    assert told["Display.RemainingTimeToMinimumSOC"] == ("0", "s")
    assert told["Display.BatteryEnergyCapacity"] == ("50000", "Wh")
    assert told["Display.ChargingComplete"] == ("0", "")
    assert told["EnergyRequest.Target"] == ("25000", "Wh")
    assert told["EnergyRequest.Minimum"] == ("-10000", "Wh")
    assert told["EnergyRequest.Bulk"] == ("20000", "Wh")


def test_a_car_that_tells_nothing_leaves_its_values_out() -> None:
    names = [m for m in MEASURANDS if m.startswith(("Display.", "EnergyRequest.")) or m == "SoC"]

    assert read(Meter(), *names) == []


@pytest.mark.parametrize("version", SCHEMAS)
async def test_a_station_tells_each_measurand_of_its_version(system, version) -> None:
    """Sampled, clock-aligned and in a multiplier; the schema of the version judges each frame."""
    template = Template(
        sampled=MEASURANDS, aligned=MEASURANDS, aligned_seconds=900, by_phase=True, multiplier=3
    )
    async with Station(system.url, "CP1", ocpp=version, template=template) as station:
        await station.plug(car=CAR)
        await station.swipe("TAG1")
        await station.advance(960)
        await station.stop()

    if version == "1.6":
        values = [v for p in system.of("MeterValues") for v in p["meterValue"]]
    else:
        values = [v for e in system.events() for v in e.get("meterValue", [])]
    for context in ("Sample.Periodic", "Sample.Clock"):
        told = {
            s["measurand"] for v in values for s in v["sampledValue"] if s["context"] == context
        }
        # Without a setpoint there is nothing to tell of it.
        setpoint = {m for m in OF_VERSION[version] if "Setpoint" in m or "Residual" in m}
        assert told == OF_VERSION[version] - setpoint
    assert not [e for e in station.events if e["event"] in {"schema_violation", "refused"}]


async def test_energy_that_comes_back_is_told_and_is_not_taken_off_the_charge(system) -> None:
    """V2G over 2.1: 3 kWh in, 1 kWh out."""
    template = Template(
        sampled=("Energy.Active.Import.Register", "Energy.Active.Export.Register"),
        configuration={
            "SampledDataCtrlr.TxEndedMeasurands": "Energy.Active.Import.Register,"
            "Energy.Active.Export.Register"
        },
    )
    async with Station(system.url, "CP1", ocpp="2.1", template=template) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=3, seconds=1800)
        await station.charge(kwh=-1, seconds=600)
        await station.stop()

    ended = system.events()[-1]["meterValue"][-1]["sampledValue"]
    assert {s["measurand"]: s["value"] for s in ended} == {
        "Energy.Active.Import.Register": 3000,
        "Energy.Active.Export.Register": 1000,
    }


def test_the_template_with_all_values_has_all_values() -> None:
    template = load_template("three-phase-all-values")

    assert set(template.sampled) == set(template.aligned) == set(MEASURANDS)


def test_sampled_values_are_printed_as_one_reads_them():
    old = [
        {"value": "183", "unit": "Wh"},
        {"value": "15.94", "measurand": "Current.Import", "phase": "L1", "unit": "A"},
    ]
    new = [{"value": 11, "measurand": "SoC", "unitOfMeasure": {"unit": "kW", "multiplier": 3}}]
    assert in_words(old) == "Energy.Active.Import.Register=183Wh,Current.Import.L1=15.94A"
    assert in_words(new) == "SoC=11e3kW"
    assert in_words([1, 2]) == [1, 2]
    assert in_words("Accepted") == "Accepted"

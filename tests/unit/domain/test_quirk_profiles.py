"""Profiles of kinds of chargers: patterns, order, and what cannot be read."""

import pytest

from cpo import config
from cpo.domain.events import Boot
from cpo.domain.quirk_profiles import Habit, habits_of, read_profile, repairs_of
from cpo.domain.station import Station
from cpo.errors import Invalid
from cpo.ocpp import validation
from cpo.ocpp.quirk_profiles import quirk_profiles


def station(vendor="ACME", model="One", firmware="1.0", **settings):
    boot = Boot(vendor=vendor, model=model, firmware_version=firmware)
    return Station(identity="CP1", boot=boot, settings=settings or None)


PROFILES = [
    read_profile({"name": "all of them", "vendor": "acme", "pings": "off"}),
    read_profile({"name": "old", "vendor": "A*", "firmware": "1.?", "pings": "on",
                  "too_long": ["idTag"]}),
]  # fmt: skip


def test_of_several_that_fit_the_last_wins_and_the_station_over_all():
    assert habits_of(station(), PROFILES) == {"pings": Habit("on", "profile old")}
    assert habits_of(station(firmware="10"), PROFILES)["pings"].source == "profile all of them"
    assert habits_of(station(pings="off"), PROFILES)["pings"] == Habit("off", "station")
    assert habits_of(station(vendor="Other"), PROFILES) == {}


def test_before_its_first_boot_no_kind_is_known():
    assert habits_of(Station(identity="CP1", settings={"pings": "off"}), PROFILES) == {
        "pings": Habit("off", "station")
    }


def test_repairs_are_added_to_the_usual_ones():
    found = repairs_of(station(), PROFILES)
    leniency = validation.lenient(found)
    assert leniency.too_long == validation.DEFAULT_LENIENCY.too_long | {"idTag"}
    assert validation.lenient({}) is validation.DEFAULT_LENIENCY


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "name"),
        ({"name": "x", "pings": "maybe"}, "pings"),
        ({"name": "x", "rings": 1}, "rings"),
    ],
)
def test_what_cannot_be_used_is_named(given, field):
    with pytest.raises(Invalid, match=field):
        read_profile(given)


def test_those_that_come_with_the_package_can_be_read_and_name_their_reason():
    shipped = quirk_profiles([])
    assert shipped
    assert all(profile.note and profile.habits for profile in shipped)
    assert quirk_profiles([config.QuirkProfile(name="mine")])[-1].name == "mine"

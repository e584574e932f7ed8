"""Settings templates: who gets what, and what is worth writing."""

import pytest

from cpo.domain.events import Boot
from cpo.domain.settings_template import (
    KEYS,
    VARIABLES,
    Attempt,
    State,
    read_template,
    same_value,
    state_of,
    template_document,
    to_write,
    wanted,
)
from cpo.errors import Invalid
from cpo.services.equipment import variable_key

BOOT = Boot(vendor="ABB", model="Terra 54", firmware_version="1.6.2")
EVSE = {"name": "EVSE", "evse": {"id": 1, "connectorId": 2}}


def template(id="T", settings=None, **patterns):
    return read_template(id, {"settings": settings or {"HeartbeatInterval": 300}, **patterns})


def test_a_template_fits_by_patterns_without_case():
    fitting = [
        template(vendor="abb"),
        template(model="terra*", firmware="1.6.?"),
        template(),
    ]

    assert all(t.fits(BOOT) for t in fitting)
    assert not template(vendor="Wallbox").fits(BOOT)
    assert not template(firmware="2*").fits(BOOT)


def test_what_says_more_of_a_station_wins():
    general = template("a", {"X": "1", "Y": "1"})
    special = template("b", {"X": "2"}, vendor="ABB")

    found = wanted([special, general], BOOT, KEYS)

    assert {name: s.value for name, s in found.items()} == {
        "Configuration/X": "2",
        "Configuration/Y": "1",
    }


def test_a_station_gets_what_its_version_knows():
    both = template(settings=[
        {"key": "HeartbeatInterval", "value": 300},
        {"component": "OCPPCommCtrlr", "variable": "HeartbeatInterval", "value": True},
    ])  # fmt: skip

    assert list(wanted([both], BOOT, KEYS)) == ["Configuration/HeartbeatInterval"]
    (setting,) = wanted([both], BOOT, VARIABLES).values()
    assert (setting.name, setting.value) == ("OCPPCommCtrlr/HeartbeatInterval", "true")
    assert wanted([both], None, KEYS) == {}


def test_a_variable_is_named_as_the_station_s_kept_ones_are():
    item = {"component": EVSE, "variable": {"name": "Power", "instance": "Max"}}

    (setting,) = template(settings=[{**item, "value": "1"}]).settings

    assert setting.name == variable_key(item)


def test_a_template_reads_back_as_it_is_kept():
    made = template(
        vendor="A*", settings=[{"key": "K", "value": "v"},
                               {"component": EVSE, "variable": "V", "value": "w"}],
    )  # fmt: skip

    assert read_template("T", template_document(made)) == made


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], ""),
        ({}, "settings"),
        ({"settings": []}, "settings"),
        ({"settings": {"K": "v"}, "colour": 1}, "colour"),
        ({"settings": {"K": "v"}, "vendor": 7}, "vendor"),
        ({"settings": [7]}, "settings[0]"),
        ({"settings": {"K": None}}, "settings[0].value"),
        ({"settings": {"AuthorizationKey": "x"}}, "settings[0].key"),
        ({"settings": [{"value": "x"}]}, "settings[0].component"),
        ({"settings": [{"component": "C", "variable": 1, "value": "x"}]}, "settings[0].variable"),
        (
            {"settings": [{"component": {"name": "C", "evse": 1}, "variable": "V", "value": "x"}]},
            "settings[0].component.evse",
        ),
        ({"settings": [{"key": "K", "value": "1"}] * 2}, "settings"),
    ],
)
def test_a_broken_template_names_its_field(body, field):
    with pytest.raises(Invalid) as caught:
        read_template("T", body)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("actual", "attempt", "state"),
    [
        ("300", None, State.OK),
        ("60", None, State.DIFFERS),
        (None, None, State.UNKNOWN),
        ("300", Attempt(value="300", status="RebootRequired", firmware="1"), State.REBOOT_REQUIRED),
        ("60", Attempt(value="300", status="Rejected", firmware="1"), State.REFUSED),
        (None, Attempt(value="300", status="NotSupported", firmware="1"), State.REFUSED),
        ("60", Attempt(value="300", status="Accepted", tries=2, firmware="1"), State.DIFFERS),
        ("60", Attempt(value="300", status="Accepted", tries=3, firmware="1"), State.NOT_KEPT),
        ("60", Attempt(value="300", status="Rejected", firmware="0"), State.DIFFERS),
        ("60", Attempt(value="400", status="Rejected", firmware="1"), State.DIFFERS),
    ],
)
def test_bo15_each_answer_is_kept_and_none_is_asked_for_again_and_again(actual, attempt, state):
    """BO-15, CM-24: refused is refused until the value or the firmware changes."""
    (setting,) = template().settings

    assert state_of(setting, actual, attempt, "1") is state
    assert to_write(state) is (state in (State.DIFFERS, State.UNKNOWN))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("True", "true", True),
        ("300.0", "300", True),
        ("A, B", "A,B", True),
        ("B,A", "A,B", False),
        ("", "0", False),
    ],
)
def test_values_are_compared_as_stations_write_them(one, other, same):
    assert same_value(one, other) is same

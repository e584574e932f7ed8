"""cpo/ocpp/validation.py: the package's schemas, and what is put up with."""

import copy
from decimal import Decimal
from typing import Any

import pytest

from cpo.ocpp import validation
from cpo.ocpp.validation import DEFAULT_LENIENCY, STRICT, Violation, intake

STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}


def test_a_proper_payload_has_no_deviations() -> None:
    assert intake("1.6", "StatusNotification", dict(STATUS), DEFAULT_LENIENCY) == ()


def test_knows_every_action_of_each_version() -> None:
    assert [len(validation.actions(v)) for v in ("1.6", "2.0.1", "2.1")] == [39, 64, 91]


@pytest.mark.parametrize(
    ("version", "code"),
    [("1.6", "OccurenceConstraintViolation"), ("2.0.1", "OccurrenceConstraintViolation")],
)
def test_rp10_a_missing_field_has_the_versions_own_spelling(version: str, code: str) -> None:
    with pytest.raises(Violation) as caught:
        intake(version, "BootNotification", {}, DEFAULT_LENIENCY)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({**STATUS, "connectorId": "one"}, "TypeConstraintViolation"),
        ({**STATUS, "connectorId": [1]}, "TypeConstraintViolation"),
        ({**STATUS, "connectorId": 10**30}, "PropertyConstraintViolation"),
        ({**STATUS, "info": {"a": 1}}, "TypeConstraintViolation"),
    ],
)
def test_rp11_what_no_rule_repairs_is_refused(payload: dict[str, Any], code: str) -> None:
    with pytest.raises(Violation) as caught:
        intake("1.6", "StatusNotification", payload, DEFAULT_LENIENCY)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({**STATUS, "connectorId": "1"}, "TypeConstraintViolation"),
        ({**STATUS, "info": "x" * 51}, "PropertyConstraintViolation"),
        ({**STATUS, "status": "Dozing"}, "PropertyConstraintViolation"),
        ({**STATUS, "extra": 1}, "FormationViolation"),
    ],
)
def test_rp11_a_strict_station_is_put_up_with_in_nothing(
    payload: dict[str, Any], code: str
) -> None:
    with pytest.raises(Violation) as caught:
        intake("1.6", "StatusNotification", payload, STRICT)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("change", "path", "kind"),
    [
        pytest.param({"connectorId": "1"}, "connectorId", "type", id="RP-29 text for integer"),
        pytest.param({"connectorId": Decimal("1.0")}, "connectorId", "type", id="RP-29 1.0"),
        pytest.param({"info": 5}, "info", "type", id="number for text"),
        pytest.param({"info": "x" * 300}, "info", "maxLength", id="Q17 too long"),
        pytest.param({"errorCode": "Error"}, "errorCode", "enum", id="Q17 ST-10 errorCode"),
        pytest.param({"status": "Dozing"}, "status", "enum", id="ST-10 unknown status"),
        pytest.param({"extra": 1}, "", "additionalProperties", id="RP-12 extra property"),
        pytest.param({"timestamp": "2026-01-01T10:00:00"}, "timestamp", "format", id="BO-19"),
        pytest.param({"vendorId": None}, "vendorId", "type", id="null for absent"),
    ],
)
def test_deviations_are_repaired_and_named(change: dict[str, Any], path: str, kind: str) -> None:
    payload = {**STATUS, **change}

    deviations = intake("1.6", "StatusNotification", payload, DEFAULT_LENIENCY)

    assert [(d.path, d.kind) for d in deviations] == [(path, kind)]
    assert payload["connectorId"] == 1


def test_tx16_22_fractions_of_watt_hours_stay_exact() -> None:
    payload = {
        "connectorId": 1,
        "idTag": "A",
        "meterStart": Decimal("1500.5"),
        "timestamp": "2026-01-01T10:00:00Z",
    }

    intake("1.6", "StartTransaction", payload, DEFAULT_LENIENCY)

    assert payload["meterStart"] == Decimal("1500.5")


def test_q42_a_missing_trigger_reason_is_put_up_with() -> None:
    payload = {
        "eventType": "Started",
        "timestamp": "2026-01-01T10:00:00Z",
        "seqNo": 0,
        "transactionInfo": {"transactionId": "t"},
    }

    deviations = intake("2.0.1", "TransactionEvent", payload, DEFAULT_LENIENCY)

    assert [d.kind for d in deviations] == ["required"]


def test_a_single_object_stands_for_a_list_of_one() -> None:
    payload: dict[str, Any] = {
        "connectorId": 1,
        "meterValue": {"timestamp": "2026-01-01T10:00:00Z", "sampledValue": {"value": 12}},
    }

    intake("1.6", "MeterValues", payload, DEFAULT_LENIENCY)

    assert payload["meterValue"][0]["sampledValue"][0]["value"] == "12"


def test_rp13_custom_data_is_no_deviation() -> None:
    payload = {"customData": {"vendorId": "x", "anything": [1, 2]}}

    assert intake("2.0.1", "Heartbeat", payload, STRICT) == ()


def test_a_description_never_repeats_values() -> None:
    """SEC-20: no payload echo."""
    with pytest.raises(Violation) as caught:
        intake("1.6", "StatusNotification", {**STATUS, "connectorId": "<script>"}, DEFAULT_LENIENCY)

    assert "<script>" not in caught.value.description


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
def test_every_schema_compiles(version: str) -> None:
    for action in validation.actions(version):
        validation.checker(version, action)
        if action != "NotifyPeriodicEventStream":
            validation.checker(version, action, response=True)


def test_checking_changes_nothing() -> None:
    payload = copy.deepcopy(STATUS)

    validation.check("1.6", "StatusNotification", payload)

    assert payload == STATUS


def test_a_field_that_may_be_missing_does_not_excuse_one_that_may_not() -> None:
    with pytest.raises(Violation) as caught:
        intake("2.0.1", "StatusNotification", {}, DEFAULT_LENIENCY)

    assert caught.value.code == "OccurrenceConstraintViolation"


def test_s9_a_payload_with_thousands_of_errors_is_refused_at_its_first() -> None:
    """Naming all of them would take seconds, in which nobody else is served."""
    payload: dict[str, Any] = {"connectorId": 1, "meterValue": [[] for _ in range(80_000)]}
    with pytest.raises(Violation) as caught:
        intake("1.6", "MeterValues", payload, DEFAULT_LENIENCY)

    assert caught.value.code == "TypeConstraintViolation"
    assert len(str(caught.value)) < 500


def test_mv20_hundreds_of_deviating_readings_are_still_repaired() -> None:
    payload: dict[str, Any] = {
        "connectorId": 1,
        "meterValue": [
            {"timestamp": "2026-01-01T10:00:00Z", "sampledValue": [{"value": n, "unit": "Wh"}]}
            for n in range(400)
        ],
    }

    assert len(intake("1.6", "MeterValues", payload, DEFAULT_LENIENCY)) == 400

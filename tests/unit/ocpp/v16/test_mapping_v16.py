"""cpo/ocpp/v16/mapping.py."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from cpo.domain.events import Availability, EventKind
from cpo.domain.tokens import Verdict
from cpo.ocpp.v16 import mapping
from cpo.services.intake import TokenAnswer

ARRIVAL = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "availability", "activity"),
    [
        ("Available", Availability.AVAILABLE, None),
        ("Preparing", Availability.OCCUPIED, "Preparing"),
        ("Charging", Availability.OCCUPIED, "Charging"),
        ("SuspendedEV", Availability.OCCUPIED, "SuspendedEV"),
        ("SuspendedEVSE", Availability.OCCUPIED, "SuspendedEVSE"),
        ("Finishing", Availability.OCCUPIED, "Finishing"),
        ("Reserved", Availability.RESERVED, None),
        ("Unavailable", Availability.UNAVAILABLE, None),
        ("Faulted", Availability.FAULTED, None),
        ("Dozing", Availability.UNKNOWN, None),
    ],
)
def test_st01_st10_every_status_is_read(
    status: str, availability: Availability, activity: str | None
) -> None:
    payload = {"connectorId": 2, "status": status, "errorCode": "NoError"}

    report = mapping.status_report(payload, ARRIVAL)

    assert (report.evse_id, report.connector_id) == (2, 1)
    assert (report.availability, report.activity) == (availability, activity)
    assert report.error_code is None
    assert report.at == report.received_at == ARRIVAL


def test_st02_connector_0_is_the_station() -> None:
    payload = {"connectorId": 0, "status": "Faulted", "errorCode": "OtherError"}

    report = mapping.status_report(payload, ARRIVAL)

    assert (report.evse_id, report.connector_id) == (0, 0)
    assert report.error_code == "OtherError"


def test_tx16_01_a_start_is_read_exactly() -> None:
    event = mapping.start_of_transaction(
        {
            "connectorId": 1,
            "idTag": "AABB",
            "meterStart": Decimal("1500.5"),
            "timestamp": "2026-01-01T10:00:00Z",
            "reservationId": 9,
        },
        ARRIVAL,
    )

    assert event.kind is EventKind.STARTED
    assert event.transaction is None
    assert event.seq is None
    assert event.meter_wh == Decimal("1500.5")
    assert event.at == TEN
    assert event.reservation_id == 9


def test_tx16_11_a_stop_without_tag_and_reason_is_local() -> None:
    event = mapping.end_of_transaction(
        {"transactionId": 5, "meterStop": 2000, "timestamp": "2026-01-01T10:00:00Z"}, ARRIVAL
    )

    assert event.kind is EventKind.ENDED
    assert event.transaction == "5"
    assert event.id_token is None
    assert event.stopped_reason == "Local"


def meter_values(*sampled: dict[str, Any]) -> dict[str, Any]:
    return {
        "connectorId": 1,
        "transactionId": 5,
        "meterValue": [{"timestamp": "2026-01-01T10:00:00Z", "sampledValue": list(sampled)}],
    }


def test_mv01_a_bare_value_is_the_energy_register_in_wh() -> None:
    report = mapping.meter_report(meter_values({"value": "1234.5"}), ARRIVAL)

    assert report.transaction == "5"
    assert [(s.at, s.register_wh) for s in report.samples] == [(TEN, Decimal("1234.5"))]


def test_mv02_kwh_are_scaled_once() -> None:
    report = mapping.meter_report(meter_values({"value": "1.2345", "unit": "kWh"}), ARRIVAL)

    assert report.samples[0].register_wh == Decimal("1234.5")


def test_mv16_signed_data_is_carried_on_untouched() -> None:
    report = mapping.meter_report(
        meter_values(
            {"value": "OCMF|{}|{}", "format": "SignedData", "context": "Transaction.Begin"}
        ),
        ARRIVAL,
    )

    signed = report.samples[0].signed
    assert signed is not None
    assert (signed.data, signed.method, signed.nature) == ("OCMF|{}|{}", "OCMF", "Start")
    assert report.samples[0].register_wh is None


def test_contexts_of_one_instant_stay_apart() -> None:
    report = mapping.meter_report(
        meter_values(
            {"value": "1", "context": "Transaction.Begin"},
            {"value": "9", "context": "Transaction.End"},
        ),
        ARRIVAL,
    )

    assert [(s.context, s.register_wh) for s in report.samples] == [
        ("Transaction.Begin", Decimal(1)),
        ("Transaction.End", Decimal(9)),
    ]


def test_mv19_values_that_are_no_numbers_are_skipped() -> None:
    report = mapping.meter_report(meter_values({"value": "NaN"}, {"value": " 7 "}), ARRIVAL)

    assert report.samples[0].register_wh == 7


@pytest.mark.parametrize("verdict", list(Verdict))
def test_au01_every_verdict_has_a_word(verdict: Verdict) -> None:
    assert mapping.id_tag_info(TokenAnswer(verdict))["status"] in {
        "Accepted",
        "Blocked",
        "Expired",
        "Invalid",
        "ConcurrentTx",
    }


def test_au03_the_group_and_the_expiry_are_told() -> None:
    info = mapping.id_tag_info(TokenAnswer(Verdict.ACCEPTED, "GROUP", TEN))

    assert info == {
        "status": "Accepted",
        "parentIdTag": "GROUP",
        "expiryDate": "2026-01-01T10:00:00.000Z",
    }


def test_tok29_a_group_that_16_cannot_carry_has_a_stable_alias() -> None:
    info = mapping.id_tag_info(TokenAnswer(Verdict.ACCEPTED, "G" * 21))

    assert len(info["parentIdTag"]) == 20
    assert info == mapping.id_tag_info(TokenAnswer(Verdict.ACCEPTED, "G" * 21))

"""cpo/ocpp/v2/mapping.py."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from cpo.domain.events import Availability, ChargingState, EventKind, IdToken
from cpo.domain.tokens import Verdict
from cpo.ocpp import validation
from cpo.ocpp.v2 import mapping
from cpo.services.intake import TokenAnswer

ARRIVAL = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)


def event(**fields: Any) -> dict[str, Any]:
    return {
        "eventType": "Updated",
        "timestamp": "2026-01-01T10:00:00Z",
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 3,
        "transactionInfo": {"transactionId": "t-1"},
        **fields,
    }


def test_tx20_01_an_event_is_read() -> None:
    read = mapping.transaction_event(
        event(
            eventType="Started",
            evse={"id": 2, "connectorId": 1},
            idToken={"idToken": "AABB", "type": "ISO14443"},
            offline=True,
            transactionInfo={
                "transactionId": "t-1",
                "chargingState": "Charging",
                "remoteStartId": 7,
            },
        ),
        ARRIVAL,
    )

    assert read.kind is EventKind.STARTED
    assert (read.transaction, read.seq, read.at) == ("t-1", 3, TEN)
    assert (read.evse_id, read.connector_id) == (2, 1)
    assert read.id_token == IdToken("AABB", "ISO14443")
    assert read.charging_state is ChargingState.CHARGING
    assert read.offline
    assert read.remote_start_id == 7


def test_tx20_05_what_an_event_does_not_say_is_not_made_up() -> None:
    read = mapping.transaction_event(event(), ARRIVAL)

    assert (read.evse_id, read.connector_id, read.id_token) == (None, None, None)


def test_tx20_15_no_stopped_reason_means_local() -> None:
    assert mapping.transaction_event(event(eventType="Ended"), ARRIVAL).stopped_reason == "Local"
    assert mapping.transaction_event(event(), ARRIVAL).stopped_reason is None


def test_au09_no_authorization_identifies_nobody() -> None:
    assert mapping.id_token({"idToken": "", "type": "NoAuthorization"}) is None


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        pytest.param(None, "1200", id="unit absent"),
        pytest.param({"unit": "kWh", "multiplier": 0}, "1200000", id="kWh"),
        pytest.param({"unit": "Wh", "multiplier": 3}, "1200000", id="Wh x 10^3"),
        pytest.param({"multiplier": -1}, "120", id="x 10^-1"),
    ],
)
def test_mv03_units_and_multipliers(unit: dict[str, Any] | None, expected: str) -> None:
    sampled = {"value": Decimal(1200), **({"unitOfMeasure": unit} if unit else {})}
    read = mapping.transaction_event(
        event(meterValue=[{"timestamp": "2026-01-01T10:00:00Z", "sampledValue": [sampled]}]),
        ARRIVAL,
    )

    assert read.samples[0].register_wh == Decimal(expected)


def test_mv17_signed_values_keep_their_key() -> None:
    sampled = {
        "value": 1,
        "context": "Transaction.End",
        "signedMeterValue": {
            "signedMeterData": "abc",
            "signingMethod": "",
            "encodingMethod": "OCMF",
            "publicKey": "key",
        },
    }
    read = mapping.transaction_event(
        event(meterValue=[{"timestamp": "2026-01-01T10:00:00Z", "sampledValue": [sampled]}]),
        ARRIVAL,
    )

    signed = read.samples[0].signed
    assert signed is not None
    assert (signed.data, signed.method, signed.public_key, signed.nature) == (
        "abc",
        "OCMF",
        "key",
        "End",
    )


@pytest.mark.parametrize("word", list(mapping.AVAILABILITY))
def test_st03_both_channels_say_the_same(word: str) -> None:
    at = "2026-01-01T10:00:00Z"
    by_status = mapping.status_report(
        {"timestamp": at, "connectorStatus": word, "evseId": 2, "connectorId": 1}, ARRIVAL
    )
    by_event = mapping.status_reports(
        {
            "eventData": [
                {
                    "timestamp": at,
                    "actualValue": word,
                    "component": {"name": "Connector", "evse": {"id": 2, "connectorId": 1}},
                    "variable": {"name": "AvailabilityState"},
                }
            ]
        },
        ARRIVAL,
    )

    assert by_event == [by_status]


def test_st04_evse_0_is_the_station() -> None:
    report = mapping.status_report(
        {"timestamp": "", "connectorStatus": "Available", "evseId": 0, "connectorId": 0}, ARRIVAL
    )

    assert (report.evse_id, report.connector_id, report.at) == (0, 0, ARRIVAL)
    assert report.availability is Availability.AVAILABLE


def test_events_of_other_variables_say_nothing_about_availability() -> None:
    payload = {
        "eventData": [
            {
                "timestamp": "2026-01-01T10:00:00Z",
                "actualValue": "true",
                "component": {"name": "Connector", "evse": {"id": 1, "connectorId": 1}},
                "variable": {"name": "Problem"},
            }
        ]
    }

    assert mapping.status_reports(payload, ARRIVAL) == []


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
def test_au01_every_verdict_is_a_word_of_the_version(verdict: Verdict, version: str) -> None:
    answer = {"idTokenInfo": mapping.id_token_info(TokenAnswer(verdict, "G", TEN, "hello"))}

    validation.check(version, "Authorize", answer, response=True)

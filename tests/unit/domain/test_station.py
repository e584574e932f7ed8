"""Status reports folded into one EVSE status (MAP-10 to MAP-13; ST-01 to ST-12)."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from cpo.domain.events import Availability, StatusReport
from cpo.domain.station import (
    ConnectorState,
    EvseStatus,
    StatusRules,
    connector_status,
    evse_status,
    fold_status,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def state(availability: Availability, activity=None, *, evse_id=1, connector_id=1):
    return ConnectorState(
        station="CP",
        evse_id=evse_id,
        connector_id=connector_id,
        availability=availability,
        activity=activity,
        at=NOON,
        received_at=NOON,
    )


def fold(*connectors, whole=None, online=True, operator=None, bound=True, in_transaction=False):
    return evse_status(
        connectors,
        whole=whole,
        online=online,
        in_transaction=in_transaction,
        operator=operator,
        bound=bound,
        rules=StatusRules(),
    )


@pytest.mark.parametrize(
    ("availability", "activity", "expected"),
    [
        (Availability.AVAILABLE, None, "AVAILABLE"),
        (Availability.OCCUPIED, "Preparing", "CHARGING"),
        (Availability.OCCUPIED, "Charging", "CHARGING"),
        (Availability.OCCUPIED, "SuspendedEV", "CHARGING"),
        (Availability.OCCUPIED, "SuspendedEVSE", "CHARGING"),
        (Availability.OCCUPIED, "Finishing", "CHARGING"),
        (Availability.OCCUPIED, None, "CHARGING"),
        (Availability.RESERVED, None, "RESERVED"),
        (Availability.UNAVAILABLE, None, "INOPERATIVE"),
        (Availability.FAULTED, None, "OUTOFORDER"),
        (Availability.UNKNOWN, None, "UNKNOWN"),
    ],
)
def test_each_charger_status_has_one_ocpi_status(availability, activity, expected):
    """MAP-10, ST-01, ST-03, ST-10."""
    assert connector_status(state(availability, activity), StatusRules()) == expected


def test_preparing_and_finishing_follow_the_settings():
    rules = StatusRules(preparing=EvseStatus.AVAILABLE, finishing=EvseStatus.BLOCKED)

    preparing = connector_status(state(Availability.OCCUPIED, "Preparing"), rules)
    finishing = connector_status(state(Availability.OCCUPIED, "Finishing"), rules)

    assert (preparing, finishing) == ("AVAILABLE", "BLOCKED")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Availability.OCCUPIED, Availability.AVAILABLE, "CHARGING"),
        (Availability.RESERVED, Availability.AVAILABLE, "RESERVED"),
        (Availability.FAULTED, Availability.AVAILABLE, "AVAILABLE"),
        (Availability.FAULTED, Availability.UNAVAILABLE, "INOPERATIVE"),
        (Availability.FAULTED, Availability.FAULTED, "OUTOFORDER"),
    ],
)
def test_several_connectors_make_one_status(one, other, expected):
    """MAP-11, ST-12."""
    assert fold(state(one), state(other, connector_id=2)) == expected


def test_any_number_of_connectors_make_the_status_of_the_table():
    """MAP-11, ST-12: CHARGING, OUTOFORDER if all, RESERVED, AVAILABLE, INOPERATIVE, OUTOFORDER."""
    alone = {a: fold(state(a)) for a in Availability}
    order = ["CHARGING", "RESERVED", "AVAILABLE", "INOPERATIVE", "OUTOFORDER", "UNKNOWN"]
    for number in (1, 2, 3, 4):
        for words in itertools.product(Availability, repeat=number):
            made = fold(*(state(word, connector_id=n) for n, word in enumerate(words, 1)))
            shown = {alone[word] for word in words}
            expected = "OUTOFORDER" if shown == {"OUTOFORDER"} else min(shown, key=order.index)
            assert made == expected, words


def test_the_station_as_a_whole_overlays_its_connectors():
    """MAP-12, ST-02."""
    whole = state(Availability.UNAVAILABLE, evse_id=0, connector_id=0)

    assert fold(state(Availability.AVAILABLE), whole=whole) == "INOPERATIVE"


def test_the_overlay_goes_when_the_station_is_available_again():
    """ST-02."""
    whole = state(Availability.AVAILABLE, evse_id=0, connector_id=0)

    assert fold(state(Availability.FAULTED), whole=whole) == "OUTOFORDER"


def test_a_station_that_is_gone_makes_its_evses_unknown():
    """MAP-10, BR-02."""
    assert fold(state(Availability.AVAILABLE), online=False) == "UNKNOWN"


def test_the_operators_word_beats_the_charger():
    """MAP-13."""
    assert fold(state(Availability.AVAILABLE), operator=EvseStatus.INOPERATIVE) == "INOPERATIVE"


def test_an_evse_without_a_station_is_planned():
    assert fold(bound=False) == "PLANNED"


def test_no_status_yet_is_unknown():
    """ST-11."""
    assert fold() == "UNKNOWN"


def report(at, availability=Availability.AVAILABLE):
    return StatusReport(
        evse_id=1, connector_id=1, availability=availability, at=at, received_at=NOON
    )


def test_an_older_report_does_not_win():
    """ST-05."""
    known = fold_status(None, report(NOON), station="CP")

    assert fold_status(known, report(NOON - timedelta(seconds=1)), station="CP") is None


def test_reports_of_the_same_instant_count_in_order_of_arrival():
    """ST-05."""
    known = fold_status(None, report(NOON), station="CP")

    folded = fold_status(known, report(NOON, Availability.OCCUPIED), station="CP")

    assert folded is not None
    assert folded.availability is Availability.OCCUPIED

"""What is done about failed pushes, decided without waiting."""

import pytest

from cpo.ocpi.delivery import (
    CLOSED,
    FRESH,
    Allowance,
    Attempts,
    Failure,
    Patience,
    failure_of,
    held_until,
    is_duplicate,
    pause,
    put_whole,
    retry_after,
)
from cpo.ocpi.envelope import Envelope

PATIENCE = Patience(shortest=1, longest=300)


@pytest.mark.parametrize(
    ("http", "code", "empty", "expected"),
    [
        pytest.param(200, 1000, False, None, id="success"),
        pytest.param(201, 1000, False, None, id="created"),
        pytest.param(200, 1500, False, None, id="the thousand counts"),
        pytest.param(204, None, True, None, id="no body is success"),
        pytest.param(202, None, True, None, id="accepted without body"),
        pytest.param(200, 2001, False, Failure.REFUSED, id="HTTP 200 with 2001"),
        pytest.param(200, 2999, False, Failure.REFUSED, id="custom client error"),
        pytest.param(200, 3000, False, Failure.SERVER, id="HTTP 200 with 3000"),
        pytest.param(200, 4001, False, Failure.UNAUTHORIZED, id="hub: unknown receiver"),
        pytest.param(200, 4002, False, Failure.SERVER, id="hub: timeout"),
        pytest.param(200, 4003, False, Failure.SERVER, id="hub: not connected"),
        pytest.param(200, None, False, Failure.SERVER, id="HTML"),
        pytest.param(302, None, True, Failure.SERVER, id="redirect"),
        pytest.param(400, 2001, False, Failure.REFUSED, id="400"),
        pytest.param(400, None, False, Failure.REFUSED, id="400 without envelope"),
        pytest.param(401, None, True, Failure.UNAUTHORIZED, id="401"),
        pytest.param(403, None, True, Failure.UNAUTHORIZED, id="403"),
        pytest.param(404, 2000, False, Failure.MISSING, id="404"),
        pytest.param(405, None, True, Failure.MISSING, id="405"),
        pytest.param(408, None, True, Failure.SERVER, id="408"),
        pytest.param(429, None, True, Failure.BUSY, id="429"),
        pytest.param(500, 1000, False, Failure.SERVER, id="500 whatever it says"),
        pytest.param(503, None, True, Failure.SERVER, id="503"),
    ],
)
def test_TRANS_15_PUSH_6_every_answer_has_its_class(http, code, empty, expected):
    assert failure_of(http, Envelope(code), empty=empty) == expected


@pytest.mark.parametrize(
    ("http", "code", "message", "expected"),
    [
        (409, None, "", True),
        (200, 2000, "CDR already exists", True),
        (400, 2001, "Duplicate id", True),
        (200, 2001, "missing field id", False),
        (200, 1000, "already exists", False),
        (None, None, "", False),
    ],
)
def test_CDR_19_a_partner_that_has_it_already_says_so(http, code, message, expected):
    assert is_duplicate(http, Envelope(code, message)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), ("", None), ("-1", None), ("99999999999999", 300.0), ("soon", None)],
)
def test_a_pause_asked_for_is_read_and_bounded(text, expected):
    assert retry_after({"Retry-After": text}, longest=300) == expected


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (10_000, 300)]
)
def test_waits_double_up_to_the_longest(failures, seconds):
    assert pause(failures, PATIENCE, jitter=1) == seconds
    assert pause(failures, PATIENCE, jitter=0) == seconds / 2


def open_breaker(at=0.0):
    breaker = CLOSED
    for _ in range(3):
        breaker = breaker.failed(Failure.NETWORK, at, PATIENCE, jitter=1)
    return breaker


def test_a_closed_breaker_lets_several_through():
    assert CLOSED.allows(0, 3, limit=4)
    assert not CLOSED.allows(0, 4, limit=4)


def test_one_failure_does_not_open_it():
    assert CLOSED.failed(Failure.SERVER, 0, PATIENCE, jitter=1).state == "closed"


def test_three_failures_in_a_row_open_it():
    breaker = open_breaker()

    assert breaker.state == "open"
    assert not breaker.allows(0.9, 0, limit=4)


def test_after_the_pause_one_probe_at_a_time_may_leave():
    breaker = open_breaker()

    assert breaker.allows(1, 0, limit=4)
    assert not breaker.allows(1, 1, limit=4)


def test_a_failed_probe_opens_it_for_longer():
    breaker = open_breaker().failed(Failure.NETWORK, 1, PATIENCE, jitter=1)

    assert breaker.until == 3


def test_failures_of_what_was_under_way_count_once():
    breaker = open_breaker()

    assert breaker.failed(Failure.NETWORK, 0.5, PATIENCE, jitter=1) == breaker


def test_a_success_closes_it():
    assert open_breaker().succeeded() == CLOSED


def test_an_unauthorized_answer_opens_it_at_once_and_for_long():
    breaker = CLOSED.failed(Failure.UNAUTHORIZED, 0, PATIENCE, jitter=1)

    assert breaker.until == 300
    assert breaker.reason is Failure.UNAUTHORIZED


def test_retry_after_is_kept_to():
    breaker = CLOSED.failed(Failure.BUSY, 10, PATIENCE, jitter=0.5, asked=7)

    assert breaker.until == 17


def test_a_longer_pause_asked_while_open_is_kept_to():
    breaker = open_breaker().failed(Failure.BUSY, 0.5, PATIENCE, jitter=1, asked=20)

    assert breaker.until == 20.5


def failed(attempts, failure, *, full=True, well=False, now=0.0):
    return attempts.failed(failure, "why", now, PATIENCE, jitter=1, full=full, partner_well=well)


def test_PUSH_6_refused_content_is_parked_with_the_answer():
    attempts = failed(FRESH, Failure.REFUSED)

    assert attempts.parked
    assert attempts.error == "why"


@pytest.mark.parametrize("failure", [Failure.REFUSED, Failure.MISSING])
def test_LOC_32_PUSH_5_a_refused_part_is_followed_by_the_whole_at_once(failure):
    attempts = failed(FRESH, failure, full=False, now=5)

    assert not attempts.parked
    assert attempts.due == 5


def test_an_object_that_never_passes_while_others_do_is_parked():
    attempts = FRESH
    for _ in range(4):
        attempts = failed(attempts, Failure.SERVER, well=True)
        assert not attempts.parked

    assert failed(attempts, Failure.SERVER, well=True).parked


def test_an_object_waits_as_long_as_its_partner_is_away():
    attempts = FRESH
    for _ in range(100):
        attempts = failed(attempts, Failure.NETWORK)

    assert not attempts.parked
    assert attempts.due == 300


def test_an_object_without_an_address_is_parked_after_five_tries():
    attempts = FRESH
    for _ in range(5):
        attempts = failed(attempts, Failure.MISSING)

    assert attempts == Attempts(5, 0.0, "why", parked=True)


@pytest.mark.parametrize("changed", ["confirmed", "failed", "final", "vanished", "patch"])
def test_PUSH_4_the_whole_is_sent_unless_a_part_is_safe(changed):
    safe = {"patch": True, "confirmed": True, "failed": False, "final": False, "vanished": False}

    assert not put_whole(**safe)
    assert put_whole(**{**safe, changed: not safe[changed]})


def test_LOC_34_the_first_change_leaves_at_once_and_followers_at_the_windows_end():
    assert held_until(None, 1, urgent=False) == 0
    assert held_until(10, 1, urgent=False) == 11
    assert held_until(10, 60, urgent=True) == 0


def test_an_allowance_lets_a_burst_through_and_then_its_rate():
    bucket = Allowance(rate=50, burst=2, left=2, at=0)

    bucket, first = bucket.take(0)
    bucket, second = bucket.take(0)
    bucket, third = bucket.take(0)
    bucket, later = bucket.take(0.02)

    assert (first, second, third, later) == (0, 0, 0.02, 0)


def test_a_rate_of_zero_is_no_limit():
    assert Allowance(rate=0, burst=0, left=0, at=0).take(5)[1] == 0


def test_what_was_taken_and_not_used_is_given_back():
    bucket, _ = Allowance(rate=50, burst=1, left=1, at=0).take(0)

    assert bucket.give_back().take(0)[1] == 0

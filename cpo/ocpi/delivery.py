"""Delivery to partners, decided without waiting. Pure: time and chance are arguments.

Times are monotonic seconds. What these functions decide is carried out by
`push.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cpo.ocpi.envelope import Envelope, Status


class Failure(StrEnum):
    """Why a request did not succeed, by what is to be done about it (PUSH-6)."""

    NETWORK = "network"  # no answer, or cut off: it may have been applied
    SERVER = "server"  # the partner is broken at present, or does not speak OCPI
    BUSY = "busy"  # the partner asks for a pause
    UNAUTHORIZED = "unauthorized"  # the partner no longer knows us: a person must act
    MISSING = "missing"  # nothing at this address
    REFUSED = "refused"  # this content will never be taken


PARTNER_FAULTS = frozenset({Failure.NETWORK, Failure.SERVER, Failure.BUSY, Failure.UNAUTHORIZED})


def failure_of(http_status: int, envelope: Envelope, *, empty: bool) -> Failure | None:
    """Classify an answer; None is success.

    Success needs both: HTTP 2xx and a status code of the thousand, or no body
    at all (TRANS-15).
    """
    code = envelope.status_code
    if 200 <= http_status <= 299:
        if envelope.succeeded or (empty and code is None):
            return None
        if code is None:
            return Failure.SERVER
        if code == Status.HUB_UNKNOWN_RECEIVER:
            return Failure.UNAUTHORIZED
        return Failure.REFUSED if 2000 <= code <= 2999 else Failure.SERVER
    if http_status in {401, 403}:
        return Failure.UNAUTHORIZED
    if http_status in {404, 405}:
        return Failure.MISSING
    if http_status == 429:
        return Failure.BUSY
    if http_status == 408 or not 400 <= http_status <= 499:
        return Failure.SERVER
    return Failure.REFUSED


def is_duplicate(http_status: int | None, envelope: Envelope) -> bool:
    """Whether a partner says that it has this object already (CDR-19)."""
    if http_status == 409:
        return True
    code = envelope.status_code or 0
    words = r"\b(duplicate|already (exists?|known|present|stored|received|processed))\b"
    return 2000 <= code <= 2999 and re.search(words, envelope.message.lower()) is not None


def retry_after(headers: Mapping[str, str], *, longest: float) -> float | None:
    """Read Retry-After in seconds, at most `longest`; a date counts as none."""
    text = headers.get("Retry-After", "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text[:9]), longest)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait after failures, in seconds, and when to stop trying one object."""

    shortest: float = 1.0
    longest: float = 300.0
    # An object that failed so often while the partner was well is parked.
    tries: int = 5
    # So many failures in a row, of whatever objects, are the partner's.
    threshold: int = 3


def pause(failures: int, patience: Patience, *, jitter: float) -> float:
    """Return the seconds to wait after so many failures (at least 1).

    Doubles up to the longest; `jitter` from 0 to 1 spreads partners that failed
    together over the upper half.
    """
    longest = min(patience.shortest * (1 << min(failures - 1, 30)), patience.longest)
    return longest * (0.5 + jitter / 2)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether a partner is being sent to.

    Closed: yes. Open, until `until`: no. After that one request at a time is a
    probe, and its result closes or opens again.
    """

    failures: int = 0
    opened: int = 0
    until: float | None = None
    reason: Failure | None = None

    @property
    def state(self) -> str:
        """`closed` or `open`, for the operator."""
        return "closed" if self.until is None else "open"

    def allows(self, now: float, in_flight: int, *, limit: int) -> bool:
        """Whether one more request may leave now."""
        if self.until is None:
            return in_flight < limit
        return now >= self.until and in_flight == 0

    def succeeded(self) -> "Breaker":
        """Any success closes it."""
        return CLOSED

    def failed(
        self,
        failure: Failure,
        now: float,
        patience: Patience,
        *,
        jitter: float,
        asked: float | None = None,
    ) -> "Breaker":
        """Take a failure of the partner into account; `asked` is its Retry-After."""
        if self.until is not None and now < self.until:
            # Sent before it opened: tells nothing new but a longer pause.
            until = self.until if asked is None else max(self.until, now + asked)
            return replace(self, until=until)
        probing = self.until is not None
        failures = self.failures + 1
        at_once = failure in {Failure.UNAUTHORIZED, Failure.BUSY}
        if not (probing or at_once or failures >= patience.threshold):
            return replace(self, failures=failures, reason=failure)
        opened = self.opened + 1
        wait = pause(opened, patience, jitter=jitter)
        if failure is Failure.UNAUTHORIZED:
            # Nothing but a person or the partner itself changes this soon.
            wait = patience.longest * (0.5 + jitter / 2)
        if asked is not None:
            wait = max(asked, patience.shortest * jitter)
        return Breaker(failures, opened, now + wait, failure)


CLOSED = Breaker()


@dataclass(frozen=True, slots=True)
class Attempts:
    """How one object fared at one partner since its last success."""

    count: int = 0
    due: float = 0.0
    error: str = ""
    parked: bool = False

    def failed(
        self,
        failure: Failure,
        error: str,
        now: float,
        patience: Patience,
        *,
        jitter: float,
        full: bool,
        partner_well: bool,
    ) -> "Attempts":
        """Take a failure of this object into account.

        Args:
            failure: what kind.
            error: what to show the operator.
            now: the present time.
            patience: the waits.
            jitter: from 0 to 1.
            full: the whole object was sent; a refused part is followed by the whole.
            partner_well: others succeeded at this partner meanwhile, so that it
                is this object that does not pass.
        """
        count = self.count + 1
        if failure is Failure.REFUSED and full:
            # The same content would be refused again (PUSH-6).
            return Attempts(count, now, error, parked=True)
        if failure in {Failure.REFUSED, Failure.MISSING} and not full:
            return Attempts(count, now, error)
        hopeless = count >= patience.tries and (failure is Failure.MISSING or partner_well)
        if hopeless:
            return Attempts(count, now, error, parked=True)
        return Attempts(count, now + pause(count, patience, jitter=jitter), error)


FRESH = Attempts()


def put_whole(*, patch: bool, confirmed: bool, failed: bool, final: bool, vanished: bool) -> bool:
    """Whether to send the whole object by PUT, not a part of it by PATCH (PUSH-4).

    Args:
        patch: the partner's dialect takes PATCH for this kind.
        confirmed: the partner has confirmed an earlier state of it.
        failed: the last attempt failed or its outcome is unknown: a repeated
            PATCH would append a session's periods twice.
        final: nothing follows this state.
        vanished: a field it had is gone, which PATCH cannot say.
    """
    return not patch or not confirmed or failed or final or vanished


def held_until(last_sent: float | None, window: float, *, urgent: bool) -> float:
    """Return when a changed object may leave.

    The first change leaves at once; those within `window` seconds of the last
    sending leave together at its end, unless urgent.
    """
    if urgent or last_sent is None:
        return 0.0
    return last_sent + window


@dataclass(frozen=True, slots=True)
class Allowance:
    """A bucket of sendings: `rate` a second, at most `burst` saved up. Rate 0 is no limit."""

    rate: float
    burst: float
    left: float
    at: float

    def give_back(self) -> "Allowance":
        """Return the bucket with one that was taken and not used."""
        return replace(self, left=self.left + 1) if self.rate else self

    def take(self, now: float) -> "tuple[Allowance, float]":
        """Take one; returns the bucket and the seconds to wait when it was empty, else 0."""
        if not self.rate:
            return self, 0.0
        left = min(self.burst, self.left + (now - self.at) * self.rate)
        if left >= 1:
            return Allowance(self.rate, self.burst, left - 1, now), 0.0
        return Allowance(self.rate, self.burst, left, now), (1 - left) / self.rate

"""What a station's own clock is worth: its offset, learned from what arrives live.

A wrong clock shifts everything by the same amount; a queue that is replayed after hours offline
does not: its messages arrive within moments, each late by another time. Only an offset that
several messages agree on, over a stretch of real time, is believed (BO-18, Q18, reliability 1.7).
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

# Below this an offset is delay and jitter, not a wrong clock.
LEAST_OFFSET_S = 60.0
# Messages agree when their offsets lie this close together …
_AGREEMENT_S = 10.0
_MESSAGES = 4
# … over at least this much real time. Times ahead of ours cannot be late, so they need none.
_STRETCH_S = 30.0


# No charger reports from before: such a clock was never set, and says nothing of its offset.
_EARLIEST_YEAR = 2010


def never_set(at: datetime) -> bool:
    """Tell whether a time is that of a clock that was never set."""
    return at.year < _EARLIEST_YEAR


@dataclass(slots=True)
class StationClock:
    """Learns how far a station's clock is off; `offset_s` is what must be added to its times."""

    offset_s: float = 0.0
    _heard: deque[tuple[datetime, float]] = field(default_factory=lambda: deque(maxlen=_MESSAGES))

    def heard(self, at: datetime, received_at: datetime) -> bool:
        """Take in a time that a station gave; tell whether the offset changed."""
        late = (received_at - at).total_seconds()
        if self.offset_s == 0.0 and abs(late) < LEAST_OFFSET_S:
            if self._heard:
                self._heard.clear()
            return False
        heard = self._heard
        heard.append((received_at, late))
        stretch = (received_at - heard[0][0]).total_seconds()
        if len(heard) < _MESSAGES or (late > 0 and stretch < _STRETCH_S):
            return False
        lates = [one for _, one in heard]
        if max(lates) - min(lates) > _AGREEMENT_S:
            return False
        middle = median(lates)
        if middle > 0 and stretch < _STRETCH_S:
            return False
        offset = middle if abs(middle) >= LEAST_OFFSET_S else 0.0
        changed = abs(offset - self.offset_s) > _AGREEMENT_S
        if changed:
            self.offset_s = offset
        return changed

    def corrected(self, at: datetime) -> datetime:
        """Return what time it really was when the station's clock showed `at`."""
        return at + timedelta(seconds=self.offset_s) if self.offset_s else at

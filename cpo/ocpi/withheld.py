"""What partners were not shown when they asked, because it must not be sent as it is (promise 7).

A list cannot say that an object is missing from it, and to a partner that only asks nothing is
ever pushed: without this nobody would learn which field is wrong.
"""

from collections import OrderedDict

import structlog

from cpo.ocpi.dialect import Rendered
from cpo.services.ports import DirtyMark, Kind, Now
from cpo.telemetry import Metrics

log = structlog.get_logger()

# For each partner; whoever has so many of them reads the log.
MOST_NAMED = 1000

Item = tuple[Kind, str]


class Withheld:
    """Names what was left out for each partner, until it is shown or gone."""

    def __init__(self, metrics: Metrics, now: Now) -> None:
        self._metrics = metrics
        self._now = now
        self._found: dict[str, OrderedDict[Item, DirtyMark]] = {}

    def look(self, partner_id: str, kind: Kind, object_id: str, rendered: Rendered) -> None:
        """Take note of what a partner is shown of an object."""
        reason = rendered.held_back
        found = self._found.get(partner_id)
        if reason is None:
            if found is not None and (kind, object_id) in found:
                del found[kind, object_id]
            return
        if found is None:
            found = self._found[partner_id] = OrderedDict()
        known = found.get((kind, object_id))
        if known is not None and known.last_error == reason:
            return
        found[kind, object_id] = DirtyMark(
            partner_id,
            kind,
            object_id,
            generation=0,
            since=self._now() if known is None else known.since,
            last_error=reason,
            parked=True,
        )
        if len(found) > MOST_NAMED:
            found.popitem(last=False)
        self._metrics.outbox_dead.inc(partner_id, kind)
        log.error("ocpi.withheld", partner=partner_id, kind=kind, object=object_id, reason=reason)

    def marks(self, partner_id: str) -> list[DirtyMark]:
        """Return what a partner was not shown, oldest first."""
        return list(self._found.get(partner_id, {}).values())

"""What a partner's answers teach about its habits: nobody has to set what can be seen.

A partner that does not take PATCH gets whole objects from then on. One that chokes on fractions of
seconds gets whole seconds, if that turns out to be the cure.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from cpo.domain.quirks import DateStyle, Quirks
from cpo.ocpi.client import Answer
from cpo.ocpi.delivery import Failure
from cpo.ocpi.freight import Item, Parcel
from cpo.services.ports import Kind

# HTTP's own words for "not with this method", whatever the object is.
NO_SUCH_METHOD = frozenset({405, 501})
PATCH_QUIRK = {Kind.EVSE: "evse_patch", Kind.SESSION: "session_patch"}
_FRACTION = re.compile(rb'T\d\d:\d\d:\d\d\.\d+Z?"')
_ABOUT_DATES = re.compile(r"date|time|last_updated|iso.?8601|rfc.?3339", re.IGNORECASE)


@dataclass(slots=True)
class Lessons:
    """What one lane has seen of its partner.

    `taken` is None until a PATCH was answered. `missed` are the units whose PATCH found nothing;
    a second miss after the whole object was taken says that PATCH itself is what is missing.
    `trial` is the object that is being sent with whole seconds to see whether that helps, and
    `helps` what came of it.
    """

    taken: bool | None = None
    missed: set[str] = field(default_factory=set)
    trial: Item | None = None
    helps: bool | None = None

    def succeeded(self, item: Item, parcel: Parcel) -> None:
        """Take a success into account."""
        if parcel.method == "PATCH":
            self.taken = True
            self.missed.clear()
        if self.trial == item:
            self.trial, self.helps = None, True

    def failed(
        self, item: Item, parcel: Parcel, answer: Answer, quirks: Quirks, *, confirmed: bool
    ) -> tuple[dict[str, Any], bool]:
        """Take a failure into account; returns the quirks that follow, most often none.

        And whether the object is to be sent in the other way that they mean.

        Args:
            item: what was sent.
            parcel: as what.
            answer: what the partner said.
            quirks: how it is spoken to at present.
            confirmed: it had taken the whole object before.
        """
        if parcel.method == "PATCH":
            learnt = self._patch(item, parcel, answer, confirmed=confirmed)
            return learnt, bool(learnt)
        if not parcel.full or answer.failure is not Failure.REFUSED:
            return {}, False
        fractions = parcel.body is not None and _FRACTION.search(parcel.body) is not None
        if self.trial == item and not fractions:
            # They were not what it did not like.
            self.trial, self.helps = None, False
            return {"date_style": DateStyle.EXACT.value}, False
        if not fractions or self.helps is False or not _ABOUT_DATES.search(answer.detail):
            return {}, False
        if self.trial is not None or self.helps:
            # It was on its way before the change.
            return {}, True
        if quirks.date_style is not DateStyle.EXACT:
            return {}, False
        self.trial = item
        return {"date_style": DateStyle.SECONDS.value}, True

    def _patch(
        self, item: Item, parcel: Parcel, answer: Answer, *, confirmed: bool
    ) -> dict[str, Any]:
        unable = answer.http_status in NO_SUCH_METHOD
        if answer.failure in {Failure.MISSING, Failure.REFUSED} and not self.taken:
            unable = unable or (confirmed and parcel.unit in self.missed)
            self.missed.add(parcel.unit)
        if not unable:
            return {}
        self.taken = False
        return {PATCH_QUIRK[item[0]]: False}


def methods(allow: str | None) -> frozenset[str]:
    """Read an Allow header; empty where there is none."""
    return frozenset(word.strip().upper() for word in (allow or "").split(",") if word.strip())

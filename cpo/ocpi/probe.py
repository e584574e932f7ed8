"""A look at a partner's habits by harmless requests, so that nobody has to guess its dialect."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cpo.domain.location import Location
from cpo.domain.partner import Partner
from cpo.domain.quirks import DateStyle
from cpo.errors import Conflict
from cpo.ocpi.client import Answer, Client, Line
from cpo.ocpi.delivery import Failure
from cpo.ocpi.dialect import Quirks
from cpo.ocpi.envelope import with_query
from cpo.ocpi.freight import Speaks
from cpo.ocpi.habits import methods
from cpo.services.memory import Memory

BIG_PAGE = 1000
# An instant of the near past in both ways, so that the answers are short.
INSTANTS = {"seconds": "2026-01-01T00:00:00Z", "fractions": "2026-01-01T00:00:00.500Z"}
NEEDED: dict[tuple[str, ...], DateStyle] = {
    ("seconds",): DateStyle.SECONDS,
    ("fractions",): DateStyle.MILLISECONDS,
}


class Probe:
    """Measures token coding, slashes, methods, page size, answers to GET of one object, dates.

    `seen` tells what the lane of a partner has learnt from its answers, `sees` which locations it
    may see: no other is named to it.
    """

    def __init__(
        self,
        client: Client,
        speaks: Speaks,
        memory: Memory,
        seen: Callable[[str], dict[str, Any]],
        sees: Callable[[Partner, Location], bool],
    ) -> None:
        self._sees = sees
        self._seen = seen
        self._client = client
        self._speaks = speaks
        self._sites = memory.sites

    async def run(self, partner: Partner) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what was found, and the quirks that follow from it.

        Whether a partner takes PATCH is asked by OPTIONS; where it does not say, its first answers
        to what is really sent decide, as for dates that it takes in a query and not in an object
        (`habits.py`).
        """
        if partner.version is None or partner.versions_url is None:
            raise Conflict(f"partner {partner.name!r} is not registered")
        line = self._speaks.line(partner)
        found: dict[str, Any] = {}
        quirks = Quirks.of(partner.quirks)
        encoded = await self._takes(replace(line, encoded_token=True), partner.versions_url)
        raw = await self._takes(replace(line, encoded_token=False), partner.versions_url)
        found["token_base64"], found["token_raw"] = encoded, raw
        usual = self._speaks.dialect(partner, partner.version).base64_tokens
        if encoded != raw:
            quirks = replace(quirks, base64_tokens=None if encoded == usual else encoded)
            line = replace(line, encoded_token=encoded)
        await self._slashes(partner, line, found)
        if found.get("slash_after_segments") is True and not found.get("no_slash_after_segments"):
            quirks = replace(quirks, trailing_slash=True)
        await self._methods(partner, line, found)
        if found["patch"] is not None:
            quirks = replace(quirks, evse_patch=found["patch"])
        await self._pages(partner, line, found)
        style = await self._dates(partner, line, found)
        if style is not None:
            quirks = replace(quirks, date_style=style)
        shape = found.get("object_in_list")
        if shape is not None:
            quirks = replace(quirks, lists_for_objects=shape)
        return found, quirks.stored()

    async def _dates(self, partner: Partner, line: Line, found: dict[str, Any]) -> DateStyle | None:
        """Ask for tokens since an instant, written in either way.

        Returns the style it needs; None where it takes both or neither, and what its answers to
        what is really sent have taught stays.
        """
        url = partner.endpoint("tokens", "SENDER")
        if url is None:
            return None
        taken = []
        for name, text in INSTANTS.items():
            asked = with_query(line.url(url), {"date_from": text, "limit": "1"})
            if (await self._client.request(line, "GET", asked)).ok:
                taken.append(name)
        found["dates_taken"] = taken
        return NEEDED.get(tuple(taken))

    async def _takes(self, line: Line, url: str) -> bool:
        answer = await self._client.request(line, "GET", url, routed=False)
        return answer.ok

    async def _slashes(self, partner: Partner, line: Line, found: dict[str, Any]) -> None:
        base = partner.endpoint("locations", "RECEIVER")
        location = self._shown(partner)
        if base is None or location is None:
            return
        path = (location.country_code, location.party_id, location.id)
        plain = await self._client.request(
            replace(line, redirects=False),
            "GET",
            replace(line, trailing_slash=False).url(base, *path),
        )
        slashed = await self._client.request(
            replace(line, redirects=False),
            "GET",
            replace(line, trailing_slash=True).url(base, *path),
        )
        found["no_slash_after_segments"] = _served(plain)
        found["slash_after_segments"] = _served(slashed)
        found["redirects"] = any(a.http_status in {301, 302, 307, 308} for a in (plain, slashed))
        shown = plain if plain.ok else slashed
        if shown.ok:
            found["object_in_list"] = isinstance(shown.data, list)
            found["empty_data"] = shown.data is None

    def _shown(self, partner: Partner) -> Location | None:
        """Return a location with an EVSE that the partner may see."""
        return next(
            (x for x in self._sites.locations.values() if x.evses and self._sees(partner, x)), None
        )

    async def _methods(self, partner: Partner, line: Line, found: dict[str, Any]) -> None:
        """Ask which methods an EVSE of ours takes: OPTIONS changes nothing."""
        found["patch"] = self._seen(partner.id).get("patch_taken")
        base = partner.endpoint("locations", "RECEIVER")
        location = self._shown(partner)
        if base is None or location is None or found["patch"] is not None:
            return
        path = (location.country_code, location.party_id, location.id, location.evses[0].uid)
        answer = await self._client.request(line, "OPTIONS", line.url(base, *path))
        allowed = methods(answer.allow)
        if "PUT" in allowed:
            found["patch"] = "PATCH" in allowed

    async def _pages(self, partner: Partner, line: Line, found: dict[str, Any]) -> None:
        url = partner.endpoint("tokens", "SENDER")
        if url is None:
            return
        answer = await self._client.request(
            line, "GET", with_query(line.url(url), {"limit": str(BIG_PAGE), "offset": "0"})
        )
        found["tokens_total"] = answer.total
        if answer.ok and isinstance(answer.data, list):
            found["tokens_page"] = len(answer.data)
            found["tokens_has_next"] = answer.next_url is not None
            found["dates"] = _styles(answer.data)


def _styles(items: list[Any]) -> list[str]:
    """Name the ways in which a partner writes its own instants."""
    found = set()
    for item in items:
        text = str(item.get("last_updated", "")) if isinstance(item, dict) else ""
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z?|[+-]\d\d:\d\d)", text):
            found.add("fractions" if "." in text else "seconds")
            found.add("with Z" if text.endswith("Z") else "without Z")
    return sorted(found)


def _served(answer: Answer) -> bool:
    """Whether something answers at an address, be it that the object is not there."""
    return answer.ok or (
        answer.failure is Failure.MISSING and answer.envelope.status_code is not None
    )

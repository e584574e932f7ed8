"""VAT numbers that drivers enter at a station, asked of a validation service (2.1, C25)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from cpo.services.contracts import Fetcher

log = structlog.get_logger()

_NUMBER: Final = re.compile(r"[A-Z]{2}[A-Z0-9+*]{2,13}")
_LENGTHS: Final = {
    "name": 50, "address1": 100, "address2": 100, "city": 100, "postalCode": 20, "country": 50,
}  # fmt: skip
_NEEDED: Final = ("name", "address1", "city", "country")


@dataclass(frozen=True, slots=True, kw_only=True)
class VatRules:
    """Who is asked, with which bearer token, and for how many seconds."""

    url: str | None = None
    key: str | None = None
    timeout: float = 10.0


class VatNumbers:
    """Asks the validation service; without one no number is valid."""

    def __init__(self, fetcher: Fetcher, rules: VatRules) -> None:
        self._fetcher = fetcher
        self._rules = rules

    async def company(self, number: str) -> tuple[bool, dict[str, str] | None]:
        """Return whether a number is valid, and whose it is as AddressType of OCPP.

        What is no VAT number by its form (country, then up to 13 characters) is not asked about.
        The service gets `{"vatNumber": …}` posted and answers `{"valid": true, "company": {…}}`.
        """
        bare = re.sub(r"[\s.-]", "", number).upper()
        if self._rules.url is None or not _NUMBER.fullmatch(bare):
            return False, None
        headers = {"Authorization": f"Bearer {self._rules.key}"} if self._rules.key else {}
        found = await self._fetcher.fetch(
            self._rules.url,
            json.dumps({"vatNumber": bare}).encode(),
            content_type="application/json",
            timeout=self._rules.timeout,
            trusted=True,
            headers=headers,
        )
        try:
            answer: Any = json.loads(found) if found is not None else {}
        except (ValueError, RecursionError):
            answer = {}
        if not isinstance(answer, dict) or answer.get("valid") is not True:
            log.info("vat_number.not_valid", answered=found is not None)
            return False, None
        return True, _address(answer.get("company"))


def _address(given: Any) -> dict[str, str] | None:
    if not isinstance(given, Mapping):
        return None
    found = {
        name: given[name][:most]
        for name, most in _LENGTHS.items()
        if isinstance(given.get(name), str) and given[name]
    }
    return found if all(name in found for name in _NEEDED) else None

"""The eMSP's own drivers: their tokens, and what it answers when asked about one."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chargers_sim.emsp.journal import ocpi_time, utc_now

_FIELDS = (
    "country_code",
    "party_id",
    "uid",
    "type",
    "contract_id",
    "visual_number",
    "issuer",
    "group_id",
    "valid",
    "whitelist",
    "language",
    "default_profile_type",
    "energy_contract",
)
_ANSWER_KEYS = (
    "allowed",
    "delay",
    "unknown",
    "location",
    "authorization_reference",
    "info",
    "token",
)

_GENERATED = "04FFEE"


class BadToken(ValueError):
    """A token was described in a way that cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered to a real-time authorization of one token."""

    allowed: str | None = None
    """An AllowedType; None decides by the token's `valid`."""
    delay: float = 0
    """Seconds before the answer."""
    unknown: bool = False
    """Whether to deny knowing the token at all."""
    location: Any = None
    """Own LocationReferences instead of those asked about."""
    authorization_reference: str | None = None
    info: Any = None
    token: Any = None
    """A token to give back instead of the one held."""

    @classmethod
    def read(cls, raw: Any) -> "Answer":
        """Read an answer from JSON: an AllowedType alone, or an object.

        Raises:
            BadToken: a key is unknown.
        """
        if isinstance(raw, str):
            return cls(allowed=raw)
        if not isinstance(raw, dict):
            raise BadToken("authorize is an AllowedType or an object")
        unknown = [key for key in raw if key not in _ANSWER_KEYS]
        if unknown:
            raise BadToken(f"unknown key authorize.{unknown[0]}; known: {', '.join(_ANSWER_KEYS)}")
        return cls(**{**raw, "delay": float(raw.get("delay", 0))})


@dataclass(slots=True, kw_only=True)
class Driver:
    """A token in 2.3.0 spelling, and the answer given about it."""

    token: dict[str, Any]
    answer: Answer = field(default_factory=Answer)


class Drivers:
    """All tokens, in order of creation."""

    def __init__(
        self,
        owner: tuple[str, str],
        *,
        generated: int = 0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Hold no tokens yet but `generated` ones, which are made when they are asked for."""
        self.owner = owner
        self.generated = generated
        self._now = now
        self._last = ""
        self._held: dict[tuple[str, str], Driver] = {}
        self._born = ocpi_time(now())

    def change(self, raw: Mapping[str, Any]) -> Driver:
        """Add a token or change one; what is not named stays, or gets a default.

        Args:
            raw: fields of a Token, and `authorize` for the real-time answer.

        Raises:
            BadToken: a field is unknown or the uid is missing.
        """
        uid = raw.get("uid")
        if not isinstance(uid, str) or not uid:
            raise BadToken("uid is missing")
        unknown = [name for name in raw if name not in (*_FIELDS, "authorize", "last_updated")]
        if unknown:
            raise BadToken(f"unknown key {unknown[0]!r} in a token")
        kind = str(raw.get("type", "RFID"))
        driver = self._held.get((uid.casefold(), kind))
        if driver is None:
            driver = Driver(token=self._new_token(uid, kind))
            self._held[uid.casefold(), kind] = driver
        driver.token.update({name: raw[name] for name in _FIELDS if name in raw})
        driver.token["last_updated"] = raw.get("last_updated") or self._tick()
        if "authorize" in raw:
            driver.answer = Answer.read(raw["authorize"])
        return driver

    def find(self, uid: str, kind: str | None = None) -> Driver | None:
        """Return the token with this uid, of this type when one is asked for."""
        for (held_uid, held_kind), driver in self._held.items():
            if held_uid == uid.casefold() and kind in (None, held_kind):
                return driver
        number = self._number(uid)
        return None if number is None or kind not in (None, "RFID") else self._generate(number)

    def page(
        self,
        offset: int,
        limit: int,
        *,
        date_from: str | None = None,
        date_to: str | None = None,
    ) -> tuple[list[Driver], int]:
        """Return one page of tokens, those held before those generated, and the total."""
        held = self.listed(date_from=date_from, date_to=date_to)
        in_time = (date_from is None or self._born >= date_from) and (
            date_to is None or self._born < date_to
        )
        total = len(held) + (self.generated if in_time else 0)
        numbers = range(max(offset, len(held)), min(offset + limit, total))
        page = held[offset : offset + limit]
        return [*page, *(self._generate(number - len(held)) for number in numbers)], total

    def _generate(self, number: int) -> Driver:
        token = self._new_token(f"{_GENERATED}{number:09X}", "RFID")
        return Driver(token={**token, "last_updated": self._born})

    def _number(self, uid: str) -> int | None:
        """Return which generated token a uid is, if any."""
        digits = uid.upper().removeprefix(_GENERATED)
        if len(uid) != len(_GENERATED) + 9 or len(digits) != 9:
            return None
        try:
            number = int(digits, 16)
        except ValueError:
            return None
        return number if number < self.generated else None

    def listed(self, *, date_from: str | None = None, date_to: str | None = None) -> list[Driver]:
        """Return tokens in order of creation, changed from (inclusive) to (exclusive)."""
        return [
            driver
            for driver in self._held.values()
            if (date_from is None or driver.token["last_updated"] >= date_from)
            and (date_to is None or driver.token["last_updated"] < date_to)
        ]

    def __len__(self) -> int:
        return len(self._held) + self.generated

    def _new_token(self, uid: str, kind: str) -> dict[str, Any]:
        country, party = self.owner
        name = "".join(letter for letter in uid.upper() if letter.isalnum())[-9:].rjust(9, "0")
        return {
            "country_code": country,
            "party_id": party,
            "uid": uid,
            "type": kind,
            "contract_id": f"{country}-{party}-C{name}",
            "issuer": f"{country} {party} Mobility",
            "valid": True,
            "whitelist": "ALLOWED",
            "language": "en",
        }

    def _tick(self) -> str:
        """Return a last_updated later than any before, for pulls by date."""
        at = ocpi_time(self._now())
        if at <= self._last:
            after = datetime.fromisoformat(self._last) + timedelta(milliseconds=1)
            at = ocpi_time(after)
        self._last = at
        return at


def new_reference() -> str:
    """Return a fresh authorization reference (36 characters)."""
    return str(uuid.uuid4())


SAMPLE_TOKENS: tuple[Mapping[str, Any], ...] = (
    {"uid": "04A1B2C3D4E5F6", "type": "RFID", "visual_number": "MSP-0001", "whitelist": "ALLOWED"},
    {"uid": "04A1B2C3D4E5F7", "type": "RFID", "visual_number": "MSP-0002", "whitelist": "ALWAYS"},
    {"uid": "04A1B2C3D4E5F8", "type": "RFID", "whitelist": "ALLOWED_OFFLINE"},
    {"uid": "04A1B2C3D4E5F9", "type": "RFID", "whitelist": "NEVER"},
    {"uid": "04BLOCKED00001", "type": "RFID", "whitelist": "ALLOWED", "valid": False},
    {"uid": "04FLEET0000001", "type": "RFID", "whitelist": "ALLOWED", "group_id": "FLEET-1"},
    {"uid": "APP-USER-000000000000000000000000001", "type": "APP_USER", "whitelist": "NEVER"},
)
"""Tokens a double starts with: every whitelist, an invalid card, a group, an app user."""

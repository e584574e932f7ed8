"""The habits of one partner, where it differs from the OCPI version it speaks."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from cpo.errors import Invalid


class DateStyle(StrEnum):
    """How instants are written to a partner."""

    EXACT = "exact"  # whole seconds, with milliseconds where there are any
    SECONDS = "seconds"  # cut to whole seconds
    MILLISECONDS = "milliseconds"  # always with three digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """A partner's habits, as far as they differ from its version; stored as JSON.

    None means: as the version says.
    """

    base64_tokens: bool | None = None
    trailing_slash: bool | None = None  # None: as the partner's own URLs are
    session_patch: bool = False  # PATCH for changes of a Session, PUT for its end
    evse_patch: bool = True  # PATCH for EVSE statuses; False: PUT of the whole Location
    page_size: int | None = None
    date_style: DateStyle = DateStyle.EXACT
    lists_for_objects: bool = False  # answers a GET of one object with a list of one
    empty_data: bool = True  # may leave out `data` where an object or list is due
    same_host_redirects: bool = False  # 307 and 308 on the same host are followed
    currency_decimals: bool = False  # money with the currency's own decimals instead of four
    command_auth_method: str = "AUTH_REQUEST"  # 2.1.1: how a remote start was authorized
    cdr_end_date_time: bool = False  # 2.1.1: wants end_date_time beside a CDR's stop_date_time

    @property
    def form(self) -> tuple[Any, ...]:
        """What the rendered texts of one version differ by; equal forms share them (D20)."""
        return (
            self.date_style,
            self.currency_decimals,
            self.command_auth_method,
            self.cdr_end_date_time,
        )

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Quirks":
        """Read quirks as they are stored or as the operator sets them.

        Raises:
            Invalid: names an unknown quirk, or one with a value it cannot have.
        """
        known = {one.name: one for one in fields(cls)}
        read: dict[str, Any] = {}
        for name, value in stored.items():
            if name not in known:
                raise Invalid(f"quirks.{name}", f"is none of {', '.join(sorted(known))}")
            read[name] = _quirk(name, value)
        return cls(**read)

    def stored(self) -> dict[str, Any]:
        """Return what differs from the defaults, for storage."""
        default = Quirks()
        return {
            one.name: str(value) if isinstance(value, StrEnum) else value
            for one in fields(self)
            if (value := getattr(self, one.name)) != getattr(default, one.name)
        }


def _quirk(name: str, value: Any) -> Any:
    if name == "date_style":
        if value not in list(DateStyle):
            raise Invalid(f"quirks.{name}", f"is none of {', '.join(DateStyle)}")
        return DateStyle(value)
    if name == "page_size":
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000
        ):
            raise Invalid(f"quirks.{name}", "is not a number from 1 to 10000")
        return value
    if name == "command_auth_method":
        if value not in ("AUTH_REQUEST", "WHITELIST"):
            raise Invalid(f"quirks.{name}", "is neither AUTH_REQUEST nor WHITELIST")
        return value
    if value is None and name in ("base64_tokens", "trailing_slash"):
        return None
    if not isinstance(value, bool):
        raise Invalid(f"quirks.{name}", "is neither true nor false")
    return value

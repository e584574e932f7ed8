"""What is known of kinds of chargers: habits and repairs by vendor, model and firmware. Pure.

Profiles are data. Of several that fit, a later one wins; the habits that the operator gave a
station win over all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from cpo.domain.events import Boot
from cpo.domain.station import Station
from cpo.domain.tokens import ID_TAG_LENGTH, hex_alias_of
from cpo.errors import Invalid

ANY_TAG: Final = ("a tag of 1 to 20 printable characters",)
HABITS: Final[Mapping[str, tuple[str, ...]]] = {
    "assume_version": ("1.6", "2.0.1", "2.1"),
    "pings": ("on", "off"),
    "compression": ("on", "off"),
    "intake": ("lenient", "strict"),
    "triggers": ("on", "off"),
    "inventory": ("on", "off"),
    "local_list": ("auto", "on", "off"),
    "energy_unit": ("Wh", "kWh"),
    "close": ("frame", "cut"),
    "tags": ("any", "hex"),
    "fixed_tag": ANY_TAG,
}
"""Habits and their values: assume_version for a charger that names no subprotocol, pings off for
one that cannot answer them, compression off for one whose permessage-deflate is broken, intake
strict for one under test, triggers off for one that a TriggerMessage upsets, inventory off for one
that the question for its configuration upsets, energy_unit kWh for one whose meter counts kWh and
calls them Wh, close cut for one that never returns after a WebSocket close, tags hex for one that
is started remotely with hexadecimal tags only, fixed_tag for one with only a tag of its own."""
REPAIRS: Final = ("too_long", "open_enums", "empty", "fractions")
"""Repair rules as lists of field names: may be longer, may have unknown values, may be an empty
list, may have fractions."""
OPERATOR: Final = "station"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuirkProfile:
    """What holds for chargers whose BootNotification fits the patterns (* and ?, any case)."""

    name: str
    vendor: str = "*"
    model: str = "*"
    firmware: str = "*"
    note: str = ""
    habits: Mapping[str, str] = field(default_factory=dict)
    repairs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def fits(self, boot: Boot) -> bool:
        """Tell whether a station is of this kind."""
        return all(
            fnmatchcase((said or "").lower(), pattern.lower())
            for said, pattern in (
                (boot.vendor, self.vendor),
                (boot.model, self.model),
                (boot.firmware_version, self.firmware),
            )
        )


@dataclass(frozen=True, slots=True)
class Habit:
    """A habit's value and where it came from: the station's record, or a profile."""

    value: str
    source: str


def fits_habit(name: str, value: Any) -> bool:
    """Tell whether a habit may have a value."""
    if HABITS[name] is ANY_TAG:
        return isinstance(value, str) and 1 <= len(value) <= ID_TAG_LENGTH and value.isprintable()
    return value in HABITS[name]


def remote_tag(uid: str, habits: Mapping[str, Habit]) -> str:
    """Return the tag that stands for a uid in a remote start at a station (Q33)."""
    if "fixed_tag" in habits:
        return habits["fixed_tag"].value
    if "tags" in habits and habits["tags"].value == "hex":
        return hex_alias_of(uid)
    return uid


def fitting(station: Station, profiles: Iterable[QuirkProfile]) -> list[QuirkProfile]:
    """Return the profiles of a station, in order; none before its first boot."""
    return [p for p in profiles if station.boot is not None and p.fits(station.boot)]


def habits_of(station: Station, profiles: Iterable[QuirkProfile]) -> dict[str, Habit]:
    """Return the habits that hold for a station, with where each came from."""
    found = {
        name: Habit(value, f"profile {profile.name}")
        for profile in fitting(station, profiles)
        for name, value in profile.habits.items()
    }
    own = {name: Habit(value, OPERATOR) for name, value in (station.settings or {}).items()}
    return found | own


def repairs_of(station: Station, profiles: Iterable[QuirkProfile]) -> dict[str, frozenset[str]]:
    """Return the repair rules that profiles add for a station."""
    found: dict[str, frozenset[str]] = {}
    for profile in fitting(station, profiles):
        for name, fields in profile.repairs.items():
            found[name] = found.get(name, frozenset()) | fields
    return found


def read_profile(given: Mapping[str, Any]) -> QuirkProfile:
    """Read a profile from a settings table.

    Raises:
        Invalid: names the key that cannot be used.
    """
    texts = {n: given[n] for n in ("name", "vendor", "model", "firmware", "note") if n in given}
    name = texts.get("name")
    if not isinstance(name, str) or not name:
        raise Invalid("name", "is missing")
    unknown = set(given) - {"name", "vendor", "model", "firmware", "note", *HABITS, *REPAIRS}
    if unknown:
        raise Invalid(min(unknown), f"is unknown (quirk profile {name!r})")
    habits = {n: given[n] for n in HABITS if given.get(n) is not None}
    for habit, value in habits.items():
        if not fits_habit(habit, value):
            raise Invalid(habit, f"is none of {', '.join(HABITS[habit])} (quirk profile {name!r})")
    repairs = {n: frozenset(given[n]) for n in REPAIRS if given.get(n)}
    return QuirkProfile(**texts, habits=habits, repairs=repairs)

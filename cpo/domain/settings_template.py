"""Settings templates: how stations of a vendor, model and firmware shall be set, and their drift.

A setting is a configuration key of OCPP 1.6 or a variable of 2.x; a template may hold both, and a
station gets those that its version knows. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

from cpo.domain.events import Boot
from cpo.errors import Invalid

_MOST_SETTINGS: Final = 500
_LONGEST: Final = 2500
_SECRETS: Final = frozenset({"authorizationkey", "basicauthpassword"})
# A station that said yes this often and still has another value will not keep it (CM-24).
MOST_TRIES: Final = 3
KEYS, VARIABLES = "key", "variable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value; `form` tells whether it is a key of 1.6 or a variable of 2.x.

    `name` is what a station's kept variables call it, `item` how it is asked for.
    """

    name: str
    form: str
    item: Mapping[str, Any]
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Settings for the stations that fit; patterns as in file names, case does not count.

    `local_list` says whether their local authorization lists are kept: auto, on, off.
    """

    id: str
    vendor: str | None
    model: str | None
    firmware: str | None
    settings: tuple[Setting, ...]
    local_list: str | None = None

    def fits(self, boot: Boot) -> bool:
        """Tell whether a station that introduced itself so gets it."""
        return (
            _fits(self.vendor, boot.vendor)
            and _fits(self.model, boot.model)
            and _fits(self.firmware, boot.firmware_version)
        )

    @property
    def rank(self) -> tuple[int, str]:
        """Return its place: what says more of the station comes later, and wins."""
        return sum(p is not None for p in (self.vendor, self.model, self.firmware)), self.id


def _fits(pattern: str | None, value: str | None) -> bool:
    return pattern is None or fnmatchcase((value or "").lower(), pattern.lower())


def read_template(id: str, body: Any) -> Template:
    """Read a template; raises Invalid naming the field."""
    if not isinstance(body, Mapping):
        raise Invalid("", "an object is expected")
    for unknown in body.keys() - {"id", "vendor", "model", "firmware", "settings", "local_list"}:
        raise Invalid(unknown, "is unknown")
    local_list = body.get("local_list")
    if local_list not in (None, "auto", "on", "off"):
        raise Invalid("local_list", "must be auto, on or off")
    given = body.get("settings", [] if local_list is not None else None)
    if isinstance(given, Mapping):
        given = [{"key": key, "value": value} for key, value in given.items()]
    if (
        not isinstance(given, Sequence)
        or isinstance(given, str)
        or (not given and local_list is None)
    ):
        raise Invalid("settings", "a list of settings, or keys with values, is expected")
    if len(given) > _MOST_SETTINGS:
        raise Invalid("settings", f"more than {_MOST_SETTINGS}")
    settings = tuple(_setting(entry, f"settings[{n}]") for n, entry in enumerate(given))
    if len({s.name for s in settings}) != len(settings):
        raise Invalid("settings", "names one twice")
    return Template(
        id=id,
        vendor=_pattern(body, "vendor"),
        model=_pattern(body, "model"),
        firmware=_pattern(body, "firmware"),
        settings=settings,
        local_list=local_list,
    )


def template_document(template: Template) -> dict[str, Any]:
    """Return a template as it is kept and shown; `read_template` reads it back."""
    return {
        "id": template.id,
        "vendor": template.vendor,
        "model": template.model,
        "firmware": template.firmware,
        "settings": [{**s.item, "value": s.value} for s in template.settings],
        **({"local_list": template.local_list} if template.local_list is not None else {}),
    }


def _pattern(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= 100 or not value.isprintable():
        raise Invalid(name, "a text of 1 to 100 characters is expected")
    return value


def _setting(entry: Any, path: str) -> Setting:
    if not isinstance(entry, Mapping):
        raise Invalid(path, "an object is expected")
    value = entry.get("value")
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int | Decimal):
        value = str(value)
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise Invalid(f"{path}.value", f"a text of at most {_LONGEST} characters is expected")
    if "key" in entry:
        key = _name(entry["key"], f"{path}.key")
        item: dict[str, Any] = {"key": key}
        return Setting(name=f"Configuration/{key}", form=KEYS, item=item, value=value)
    component = _part(entry.get("component"), f"{path}.component")
    variable = _part(entry.get("variable"), f"{path}.variable")
    item = {"component": component, "variable": variable}
    name = f"{_shown(component)}/{_shown(variable)}"
    return Setting(name=name, form=VARIABLES, item=item, value=value)


def _name(value: Any, path: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 100 or not value.isprintable():
        raise Invalid(path, "a name of 1 to 100 characters is expected")
    if value.lower() in _SECRETS:
        raise Invalid(path, "passwords are rotated, not templated")
    return value


def _part(value: Any, path: str) -> dict[str, Any]:
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise Invalid(path, "is missing; or name a key of OCPP 1.6")
    made = {**given, "name": _name(given.get("name"), f"{path}.name")}
    evse = made.get("evse")
    if evse is not None and not (isinstance(evse, Mapping) and isinstance(evse.get("id"), int)):
        raise Invalid(f"{path}.evse", "an object with an id is expected")
    return made


def _shown(part: Mapping[str, Any]) -> str:
    # As services/equipment names variables.
    text = f"{part['name']}[{part['instance']}]" if part.get("instance") else str(part["name"])
    if evse := part.get("evse"):
        text += f"@{evse['id']}"
        if "connectorId" in evse:
            text += f".{evse['connectorId']}"
    return text


def wanted(templates: Iterable[Template], boot: Boot | None, form: str) -> dict[str, Setting]:
    """Return the settings of a station by name, of all templates that fit it."""
    if boot is None:
        return {}
    found: dict[str, Setting] = {}
    for template in sorted((t for t in templates if t.fits(boot)), key=lambda t: t.rank):
        found |= {s.name: s for s in template.settings if s.form == form}
    return found


# --- drift ----------------------------------------------------------------------------------------


class State(StrEnum):
    """How a setting of a station stands."""

    OK = "ok"
    DIFFERS = "differs"
    UNKNOWN = "unknown"  # its value was never read
    REBOOT_REQUIRED = "reboot-required"
    REFUSED = "refused"
    NOT_KEPT = "not-kept"  # said yes, and has another value every time


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of writing a value: the station's word, how often, with which firmware."""

    value: str
    status: str
    tries: int = 1
    firmware: str | None = None


_YES: Final = frozenset({"Accepted", "RebootRequired"})


def state_of(
    setting: Setting, actual: str | None, attempt: Attempt | None, firmware: str | None
) -> State:
    """Tell how a setting stands; what was tried with another value or firmware does not count."""
    counts = (
        attempt
        if attempt and (attempt.value, attempt.firmware) == (setting.value, firmware)
        else None
    )
    if counts is not None and counts.status not in _YES:
        return State.REFUSED
    if counts is not None and counts.status == "RebootRequired":
        return State.REBOOT_REQUIRED
    if actual is None:
        return State.UNKNOWN
    if same_value(actual, setting.value):
        return State.OK
    if counts is not None and counts.tries >= MOST_TRIES:
        return State.NOT_KEPT
    return State.DIFFERS


def to_write(state: State) -> bool:
    """Tell whether a setting is worth writing: never again what was refused (BO-15)."""
    return state in (State.DIFFERS, State.UNKNOWN)


def same_value(one: str, other: str) -> bool:
    """Compare two values as stations write them: True, 300.0 and lists with blanks."""
    one, other = one.strip(), other.strip()
    if one.lower() == other.lower() and one.lower() in ("true", "false"):
        return True
    try:
        return Decimal(one) == Decimal(other)
    except InvalidOperation:
        return [p.strip() for p in one.split(",")] == [p.strip() for p in other.split(",")]

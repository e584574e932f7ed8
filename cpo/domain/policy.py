"""What the contract with a partner says about what it sees and gets."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from cpo.domain.cdr import Cdr
from cpo.errors import Invalid

VERSIONS = ("2.1.1", "2.2.1", "2.3.0")
MOST_IDS = 100_000
SUPPRESSED = "suppressed_by_policy"


def _ids(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MOST_IDS
        and all(isinstance(item, str) and 1 <= len(item) <= 36 for item in value)
    )


def _versions(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(item in VERSIONS for item in value)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _amount(value: Any) -> bool:
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return number and 0 <= value <= 1_000_000


def _duration(value: Any) -> bool:
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return number and 0 <= value <= 10 * 366 * 24 * 3600


# Name, what it means, what its value is, and the test of it.
RULES: Mapping[str, tuple[str, str, Callable[[Any], bool]]] = {
    "versions": ("OCPI versions it is offered", "a list of 2.1.1, 2.2.1, 2.3.0", _versions),
    "locations": (
        "the only locations it sees; one that it no longer sees is pushed as REMOVED",
        "a list of location ids",
        _ids,
    ),
    "tariffs": (
        "the only tariffs it sees; connectors name no others to it",
        "a list of tariff ids",
        _ids,
    ),
    "strict": ("nothing is sent again after an outage: it pulls", "true or false", _truth),
    "unlock": ("it may unlock connectors", "true or false", _truth),
    "commands_by_capability": (
        "start, reservation and unlocking are NOT_SUPPORTED where the EVSE does not announce them",
        "true or false",
        _truth,
    ),
    "authorize_unknown_tokens": (
        "it is asked about tokens that nobody gave us",
        "true or false",
        _truth,
    ),
    "sessions_without_date_from": (
        "it may list sessions without saying since when",
        "true or false",
        _truth,
    ),
    "rotate_every": (
        "its tokens and ours are renewed so often; 0 = never",
        "a number of seconds",
        _duration,
    ),
    "suspended_evse_is_parking": (
        "it pays for parking, not for charging, while the EVSE gives no energy (SuspendedEVSE)",
        "true or false",
        _truth,
    ),
    "state_of_charge": (
        "its Sessions show how full the car's battery is, where the station tells; false = not",
        "true or false",
        _truth,
    ),
    "min_cdr_kwh": (
        "CDRs with less energy are held back from it",
        "a number of kWh",
        _amount,
    ),
    "min_cdr_seconds": (
        "CDRs of shorter sessions are held back from it",
        "a number of seconds",
        _amount,
    ),
}


def check_policy(policy: Mapping[str, Any]) -> None:
    """Refuse a policy that says what nobody understands.

    Raises:
        Invalid: names the rule.
    """
    for name, value in policy.items():
        if name not in RULES:
            raise Invalid(f"policy.{name}", f"is none of {', '.join(RULES)}")
        _, form, fits = RULES[name]
        if value is not None and not fits(value):
            raise Invalid(f"policy.{name}", f"is not {form}")


def suppressed(policy: Mapping[str, Any], cdr: Cdr) -> bool:
    """Tell whether a CDR is too small to be sent (promise 2: by default none is)."""
    kwh, seconds = policy.get("min_cdr_kwh"), policy.get("min_cdr_seconds")
    lasted = Decimal(str((cdr.end_date_time - cdr.start_date_time).total_seconds()))
    return (kwh is not None and cdr.energy_wh < Decimal(str(kwh)) * 1000) or (
        seconds is not None and lasted < Decimal(str(seconds))
    )

"""What differs between the OCPI versions, seen from an eMSP, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SENDER = "SENDER"
RECEIVER = "RECEIVER"

_MODULES_211 = (
    ("cdrs", RECEIVER),
    ("commands", SENDER),
    ("credentials", SENDER),
    ("locations", RECEIVER),
    ("sessions", RECEIVER),
    ("tariffs", RECEIVER),
    ("tokens", SENDER),
)
_MODULES_22 = (*_MODULES_211, ("chargingprofiles", SENDER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One OCPI version: which modules it has and how its messages look."""

    version: str
    base64_token: bool
    """Whether the Authorization header carries the token in Base64 (TRANS-3)."""
    roles: bool
    """Whether credentials list roles, and endpoints carry one."""
    routing: bool
    """Whether functional requests carry OCPI-from and OCPI-to headers (HDR-3)."""
    owner_in_body: bool
    """Whether objects name their owner's country and party."""
    periods_append: bool
    """Whether a Session PATCH appends its charging periods (SES-6)."""
    patch_dated: bool
    """Whether a PATCH must carry last_updated (TRANS-18)."""
    hub_in_roles: bool
    """Whether a hub shows itself as role HUB (2.2.1), or names a hub_party_id (2.3.0)."""
    modules: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    result_object: str
    """The object a command's asynchronous result is made of."""
    session_start: str
    contract_field: str
    token_fields: tuple[str, ...]
    token_types: tuple[str, ...]
    """Types it knows; others are sent as OTHER."""

    def token(self, token: Mapping[str, Any]) -> dict[str, Any]:
        """Render a driver token (kept in 2.3.0 spelling) in this version."""
        rendered = {name: token[name] for name in self.token_fields if token.get(name) is not None}
        rendered[self.contract_field] = token["contract_id"]
        if rendered["type"] not in self.token_types:
            rendered["type"] = "OTHER"
        return rendered


_COMMANDS_211 = ("RESERVE_NOW", "START_SESSION", "STOP_SESSION", "UNLOCK_CONNECTOR")
_TOKEN_211 = (
    "uid",
    "type",
    "visual_number",
    "issuer",
    "valid",
    "whitelist",
    "language",
    "last_updated",
)
_TOKEN_22 = (
    "country_code",
    "party_id",
    *_TOKEN_211,
    "group_id",
    "default_profile_type",
    "energy_contract",
)

V211 = Edition(
    version="2.1.1",
    base64_token=False,
    roles=False,
    routing=False,
    owner_in_body=False,
    periods_append=False,
    patch_dated=False,
    hub_in_roles=False,
    modules=_MODULES_211,
    commands=_COMMANDS_211,
    result_object="CommandResponse",
    session_start="start_datetime",
    contract_field="auth_id",
    token_fields=_TOKEN_211,
    token_types=("RFID", "OTHER"),
)
V221 = Edition(
    version="2.2.1",
    base64_token=True,
    roles=True,
    routing=True,
    owner_in_body=True,
    periods_append=True,
    patch_dated=True,
    hub_in_roles=True,
    modules=_MODULES_22,
    commands=(*_COMMANDS_211, "CANCEL_RESERVATION"),
    result_object="CommandResult",
    session_start="start_date_time",
    contract_field="contract_id",
    token_fields=_TOKEN_22,
    token_types=("AD_HOC_USER", "APP_USER", "OTHER", "RFID"),
)
V230 = Edition(
    version="2.3.0",
    base64_token=True,
    roles=True,
    routing=True,
    owner_in_body=True,
    periods_append=True,
    patch_dated=True,
    hub_in_roles=False,
    modules=_MODULES_22,
    commands=V221.commands,
    result_object="CommandResult",
    session_start="start_date_time",
    contract_field="contract_id",
    token_fields=_TOKEN_22,
    token_types=("AD_HOC_USER", "APP_USER", "EMAID", "OTHER", "RFID"),
)

EDITIONS = {edition.version: edition for edition in (V211, V221, V230)}
"""The versions spoken, lowest first."""

"""The domain in the words of OCPI 2.1.1, and what partners say in them.

This version knows less: no parties in objects, no tax, one tariff for a connector, fewer plugs.
What it cannot say is left out where the rest stays true, and named as a problem where it does not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cpo.domain.partner import Endpoint, PartyRole
from cpo.domain.tokens import Token, Whitelist
from cpo.errors import Invalid, NotFound
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import (
    DEFAULT,
    ChargingPreferences,
    ChargingProfile,
    ClientInfo,
    CommandRequest,
    Credentials,
    Quirks,
    Rendered,
)
from cpo.ocpi.fields import read_all
from cpo.ocpi.rendering import (
    Write,
    compact,
    instant_writer,
    message,
    rendered,
)
from cpo.ocpi.v211 import wire, words
from cpo.ocpi.v211.charges import Charges
from cpo.services.ports import RealTimeAnswer

# This version's partners are eMSPs with one party: the modules tell which side they serve (V-8).
PARTNER_ROLES = {
    "cdrs": "RECEIVER",
    "commands": "SENDER",
    "credentials": "SENDER",
    "locations": "RECEIVER",
    "sessions": "RECEIVER",
    "tariffs": "RECEIVER",
    "tokens": "SENDER",
}
# The response and the result of a command share one word list here.
_RESULTS = {
    "CANCELED_RESERVATION": "REJECTED",
    "EVSE_INOPERATIVE": "REJECTED",
    "EVSE_OCCUPIED": "REJECTED",
    "FAILED": "REJECTED",
    "OFFLINE": "REJECTED",
    "SCHEDULED": "ACCEPTED",
    "UNKNOWN_RESERVATION": "REJECTED",
}


class Codec(Charges):
    """See `cpo.ocpi.dialect.Codec`."""

    version = "2.1.1"

    # --- versions and credentials -----------------------------------------------------------------

    def versions(self, versions: Sequence[tuple[str, str]]) -> bytes:
        """Write the list of (version, URL)."""
        return exact_json.encode([{"version": version, "url": url} for version, url in versions])

    def version_details(self, endpoints: Sequence[Endpoint]) -> bytes:
        """Write the details of this version, each module once: there are no roles."""
        urls: dict[str, str] = {}
        for one in endpoints:
            urls.setdefault(one.identifier, one.url)
        return exact_json.encode(
            {
                "version": self.version,
                "endpoints": [{"identifier": name, "url": url} for name, url in urls.items()],
            }
        )

    def write_credentials(self, credentials: Credentials) -> bytes:
        """Write credentials of ours, with the first party that is a CPO; raises Invalid."""
        if not credentials.roles:
            raise Invalid("roles", "at least one party is needed")
        ours = next((role for role in credentials.roles if role.role == "CPO"), None)
        party = ours or credentials.roles[0]
        return message(
            wire.Credentials,
            {
                "token": credentials.token,
                "url": credentials.url,
                "business_details": {"name": party.name, **(party.details or {})},
                "party_id": party.party_id,
                "country_code": party.country_code,
            },
        )

    def read_versions(self, data: Any) -> list[tuple[str, str]]:
        """Read the list of (version, URL)."""
        listed = data.get("versions") if isinstance(data, Mapping) else data
        if not isinstance(listed, list):
            raise Invalid("", "a list of versions is expected")
        good, bad = read_all(wire.Version, listed)
        if not good:
            raise bad[0] if bad else Invalid("", "the list of versions is empty")
        return [(one.version, one.url) for one in good]

    def read_version_details(self, data: Any) -> list[Endpoint]:
        """Read the endpoints, with the role that a partner as eMSP has in each module (V-8)."""
        listed = data.get("endpoints") if isinstance(data, Mapping) else None
        if not isinstance(listed, list):
            raise Invalid("endpoints", "a list is expected")
        good, bad = read_all(wire.Endpoint, listed)
        if not good:
            raise bad[0] if bad else Invalid("endpoints", "empty")
        return [
            Endpoint(
                identifier=one.identifier.lower(),
                role=PARTNER_ROLES.get(one.identifier.lower(), "RECEIVER"),
                url=one.url,
            )
            for one in good
        ]

    def read_credentials(self, data: Any) -> Credentials:
        """Read a partner's credentials; its one party is an eMSP."""
        read = wire.Credentials.read(data)
        details = read.business_details.model_dump(exclude={"name"}, exclude_none=True)
        return Credentials(
            token=read.token,
            url=read.url,
            roles=(
                PartyRole(
                    role="EMSP",
                    country_code=read.country_code.upper(),
                    party_id=read.party_id.upper(),
                    name=read.business_details.name,
                    details=details or None,
                ),
            ),
        )

    # --- tokens -----------------------------------------------------------------------------------

    def token(self, token: Token, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a token as its owner gave it to us."""
        return rendered(wire.Token, _token_document(token, instant_writer(quirks.date_style)))

    def read_token(
        self, data: Any, *, owner: tuple[str, str] | None = None, partner_id: str | None = None
    ) -> Token:
        """Read a token; the owner, which it does not name, is required."""
        return _token(wire.Token.read(data), owner, partner_id)

    def read_token_patch(self, data: Any, known: Token) -> Token:
        """Read a PATCH of a token on top of what we hold; last_updated may be missing here."""
        if not isinstance(data, Mapping):
            raise Invalid("", "an object is expected")
        held = _token_document(known, exact_json.instant)
        held["type"] = known.type
        changes = {name: value for name, value in data.items() if value is not None}
        for name in ("uid", "type"):
            if str(changes.get(name, held[name])).casefold() != held[name].casefold():
                raise Invalid(name, "differs from the token's")
        owner = (known.country_code, known.party_id)
        return _token(wire.Token.read(held | changes), owner, known.partner_id)

    def read_tokens(
        self, data: Any, *, owner: tuple[str, str] | None = None, partner_id: str | None = None
    ) -> tuple[list[Token], list[Invalid]]:
        """Read a page of tokens: the good ones, and what is wrong with the others (TRANS-26)."""
        if not isinstance(data, list):
            raise Invalid("", "a list is expected")
        good, bad = read_all(wire.Token, data)
        return [_token(token, owner, partner_id) for token in good], bad

    def location_references(
        self, location_id: str, evse_uids: Sequence[str], connector_id: str | None = None
    ) -> bytes:
        """Write the body of a real-time authorization (TOK-21)."""
        document = compact(
            {
                "location_id": location_id,
                "evse_uids": list(evse_uids),
                "connector_ids": [connector_id] if connector_id else [],
            }
        )
        return message(wire.LocationReferences, document)

    def read_authorization_info(
        self,
        data: Any,
        *,
        partner_id: str | None = None,
    ) -> RealTimeAnswer:
        """Read the answer to a real-time authorization, in which there is never a token."""
        read = wire.AuthorizationInfo.read(data)
        return RealTimeAnswer(
            allowed=read.allowed,
            evse_uids=tuple(read.location.evse_uids) or None if read.location else None,
            message=read.info.text if read.info else None,
        )

    # --- commands ---------------------------------------------------------------------------------

    def command_response(
        self,
        result: str,
        timeout: int,
        message: str | None = None,
    ) -> bytes:
        """Write the immediate answer to a command."""
        return _result(result)

    def command_result(
        self,
        result: str,
        message: str | None = None,
    ) -> bytes:
        """Write what the station made of a command, in the nearest word there is (CMD-3)."""
        return _result(result)

    def read_command(
        self,
        name: str,
        data: Any,
        *,
        owner: tuple[str, str] | None = None,
        partner_id: str | None = None,
    ) -> CommandRequest:
        """Read a command; raises NotFound for a name that this version does not have."""
        match name:
            case "START_SESSION":
                start = wire.StartSession.read(data)
                return CommandRequest(
                    name=name,
                    response_url=start.response_url,
                    token=_token(start.token, owner, partner_id),
                    location_id=start.location_id,
                    evse_uid=start.evse_uid or None,
                )
            case "STOP_SESSION":
                stop = wire.StopSession.read(data)
                return CommandRequest(
                    name=name, response_url=stop.response_url, session_id=stop.session_id
                )
            case "RESERVE_NOW":
                reserve = wire.ReserveNow.read(data)
                return CommandRequest(
                    name=name,
                    response_url=reserve.response_url,
                    token=_token(reserve.token, owner, partner_id),
                    location_id=reserve.location_id,
                    evse_uid=reserve.evse_uid or None,
                    reservation_id=str(reserve.reservation_id),
                    expiry_date=reserve.expiry_date,
                )
            case "UNLOCK_CONNECTOR":
                unlock = wire.UnlockConnector.read(data)
                return CommandRequest(
                    name=name,
                    response_url=unlock.response_url,
                    location_id=unlock.location_id,
                    evse_uid=unlock.evse_uid,
                    connector_id=unlock.connector_id,
                )
            case _:
                raise NotFound("command", name)

    # --- modules that this version does not have: nobody can ask for them -------------------------

    def charging_profile_response(self, result: str, timeout: int) -> bytes:
        """Raise NotFound."""
        raise NotFound("module", "chargingprofiles")

    def charging_profile_result(self, result: str, profile: ChargingProfile | None = None) -> bytes:
        """Raise NotFound."""
        raise NotFound("module", "chargingprofiles")

    def active_charging_profile(self, profile: ChargingProfile) -> bytes:
        """Raise NotFound."""
        raise NotFound("module", "chargingprofiles")

    def read_set_charging_profile(self, data: Any) -> tuple[ChargingProfile, str]:
        """Raise NotFound."""
        raise NotFound("module", "chargingprofiles")

    def read_charging_preferences(self, data: Any) -> ChargingPreferences:
        """Raise NotFound."""
        raise NotFound("module", "charging_preferences")

    def client_info(self, info: ClientInfo) -> bytes:
        """Raise NotFound."""
        raise NotFound("module", "hubclientinfo")

    def read_client_info(self, data: Any) -> ClientInfo:
        """Raise NotFound."""
        raise NotFound("module", "hubclientinfo")


CODEC = Codec()


def _token_document(token: Token, write: Write) -> dict[str, Any]:
    return compact(
        {
            "uid": token.uid,
            "type": token.type if token.type in words.TOKEN_TYPES else "OTHER",
            "auth_id": token.contract_id,
            "visual_number": token.visual_number,
            "issuer": token.issuer,
            "valid": token.valid,
            "whitelist": str(token.whitelist),
            "language": (token.details or {}).get("language"),
            "last_updated": token.last_updated and write(token.last_updated),
        }
    )


def _token(read: wire.Token, owner: tuple[str, str] | None, partner_id: str | None) -> Token:
    if owner is None:
        raise Invalid("party_id", "a token of 2.1.1 needs the party that it came from")
    country_code, party_id = owner
    return Token(
        country_code=country_code,
        party_id=party_id,
        uid=read.uid,
        type=read.type,
        contract_id=read.auth_id,
        issuer=read.issuer,
        valid=read.valid,
        whitelist=Whitelist(read.whitelist),
        partner_id=partner_id,
        visual_number=read.visual_number or None,
        details={"language": read.language} if read.language else None,
        last_updated=read.last_updated,
    )


def _result(word: str) -> bytes:
    return message(wire.CommandResponse, {"result": _RESULTS.get(str(word), str(word))})

"""Versions, credentials, tokens and hub client info in the words of OCPI 2.2.1."""

from collections.abc import Mapping, Sequence
from typing import Any

from cpo.domain.partner import Endpoint, PartyRole
from cpo.domain.tokens import Token, Whitelist
from cpo.errors import Invalid
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import (
    DEFAULT,
    ClientInfo,
    Credentials,
    Quirks,
    Rendered,
)
from cpo.ocpi.fields import Ci36, Wire, read_all
from cpo.ocpi.rendering import (
    Write,
    compact,
    instant_writer,
    message,
    rendered,
)
from cpo.ocpi.v221 import wire
from cpo.ocpi.v221.vocabulary import Chapter
from cpo.services.ports import RealTimeAnswer

# Which side of a module a partner serves when it does not say (V-8). Of the credentials the role
# means nothing (CRED), so that it is always the same here.
PARTNER_ROLES = {
    "cdrs": "RECEIVER",
    "chargingprofiles": "SENDER",
    "commands": "SENDER",
    "credentials": "SENDER",
    "hubclientinfo": "SENDER",
    "locations": "RECEIVER",
    "sessions": "RECEIVER",
    "tariffs": "RECEIVER",
    "tokens": "SENDER",
}


class Parties(Chapter):
    """Who partners are, and whom they stand for."""

    def versions(self, versions: Sequence[tuple[str, str]]) -> bytes:
        """Write the list of (version, URL)."""
        return exact_json.encode([{"version": version, "url": url} for version, url in versions])

    def version_details(self, endpoints: Sequence[Endpoint]) -> bytes:
        """Write the details of this version."""
        return exact_json.encode(
            {
                "version": self.version,
                "endpoints": [
                    {"identifier": one.identifier, "role": one.role, "url": one.url}
                    for one in endpoints
                ],
            }
        )

    def write_credentials(self, credentials: Credentials) -> bytes:
        """Write credentials of ours; raises Invalid when the settings made them impossible."""
        return message(wire.Credentials, self._credentials_document(credentials))

    def _credentials_document(self, credentials: Credentials) -> dict[str, Any]:
        return {
            "token": credentials.token,
            "url": credentials.url,
            "roles": [
                {
                    "role": role.role,
                    "business_details": {"name": role.name, **(role.details or {})},
                    "party_id": role.party_id,
                    "country_code": role.country_code,
                }
                for role in credentials.roles
            ],
        }

    def read_versions(self, data: Any) -> list[tuple[str, str]]:
        """Read the list of (version, URL)."""
        return read_versions(data)

    def read_version_details(self, data: Any) -> list[Endpoint]:
        """Read the endpoints; the role, where it is missing, from the module (V-8)."""
        listed = data.get("endpoints") if isinstance(data, Mapping) else None
        if not isinstance(listed, list):
            raise Invalid("endpoints", "a list is expected")
        good, bad = read_all(wire.Endpoint, [_with_role(one) for one in listed])
        if not good:
            raise bad[0] if bad else Invalid("endpoints", "empty")
        return [
            Endpoint(
                identifier=one.identifier.lower(),
                role="SENDER" if one.identifier.lower() == "credentials" else one.role,
                url=one.url,
            )
            for one in good
        ]

    def read_credentials(self, data: Any) -> Credentials:
        """Read a partner's credentials; a hub names itself by its role (CRED-13)."""
        read = wire.Credentials.read(data)
        hub = next((role for role in read.roles if role.role == "HUB"), None)
        return Credentials(
            token=read.token,
            url=read.url,
            roles=tuple(party_role(role) for role in read.roles),
            hub_party=None if hub is None else hub.country_code + hub.party_id,
        )

    def token(self, token: Token, quirks: Quirks = DEFAULT) -> Rendered:
        """Render a token as its owner gave it to us."""
        write = instant_writer(quirks.date_style)
        return rendered(self._words.token, self._token_document(token, write))

    def _token_document(self, token: Token, write: Write) -> dict[str, Any]:
        details = token.details or {}
        return compact(
            {
                "country_code": token.country_code,
                "party_id": token.party_id,
                "uid": token.uid,
                "type": token.type if token.type in self._words.token_types else "OTHER",
                "contract_id": token.contract_id,
                "visual_number": token.visual_number,
                "issuer": token.issuer,
                "group_id": token.group_id,
                "valid": token.valid,
                "whitelist": str(token.whitelist),
                "language": details.get("language"),
                "default_profile_type": details.get("default_profile_type"),
                "energy_contract": details.get("energy_contract"),
                "last_updated": token.last_updated and write(token.last_updated),
            }
        )

    def read_token(
        self, data: Any, *, owner: tuple[str, str] | None = None, partner_id: str | None = None
    ) -> Token:
        """Read a token."""
        return read_by(self._words.token.read(data), partner_id)

    def read_token_patch(self, data: Any, known: Token) -> Token:
        """Read a PATCH of a token on top of what we hold; last_updated is required (TRANS-18)."""
        if not isinstance(data, Mapping):
            raise Invalid("", "an object is expected")
        if data.get("last_updated") is None:
            raise Invalid("last_updated", "required")
        held = self._token_document(known, exact_json.instant)
        held["type"] = known.type
        changes = {name: value for name, value in data.items() if value is not None}
        for name in ("country_code", "party_id", "uid", "type"):
            if str(changes.get(name, held[name])).casefold() != held[name].casefold():
                raise Invalid(name, "differs from the token's")
        return read_by(self._words.token.read(held | changes), known.partner_id)

    def read_tokens(
        self, data: Any, *, owner: tuple[str, str] | None = None, partner_id: str | None = None
    ) -> tuple[list[Token], list[Invalid]]:
        """Read a page of tokens: the good ones, and what is wrong with the others (TRANS-26)."""
        if not isinstance(data, list):
            raise Invalid("", "a list is expected")
        good, bad = read_all(self._words.token, data)
        return [read_by(token, partner_id) for token in good], bad

    def location_references(
        self,
        location_id: str,
        evse_uids: Sequence[str],
        connector_id: str | None = None,
    ) -> bytes:
        """Write the body of a real-time authorization (TOK-21)."""
        document = compact({"location_id": location_id, "evse_uids": list(evse_uids)})
        return message(wire.LocationReferences, document)

    def read_authorization_info(
        self, data: Any, *, partner_id: str | None = None
    ) -> RealTimeAnswer:
        """Read the answer to a real-time authorization.

        A token is required in it, and often missing: what was asked about is known anyway.
        """
        read = _Answer.read(data)
        token = data.get("token")
        return RealTimeAnswer(
            allowed=read.allowed,
            token=None if token is None else self.read_token(token, partner_id=partner_id),
            authorization_reference=read.authorization_reference or None,
            evse_uids=tuple(read.location.evse_uids) or None if read.location else None,
            message=read.info.text if read.info else None,
        )

    def client_info(self, info: ClientInfo) -> bytes:
        """Write what we hold of a hub's party."""
        return message(
            self._words.client_info,
            {
                "party_id": info.party_id,
                "country_code": info.country_code,
                "role": info.role,
                "status": info.status,
                "last_updated": exact_json.instant(info.last_updated),
            },
        )

    def read_client_info(self, data: Any) -> ClientInfo:
        """Read what a hub says of a party."""
        read = self._words.client_info.read(data)
        return ClientInfo(
            country_code=read.country_code,
            party_id=read.party_id,
            role=read.role,
            status=read.status,
            last_updated=read.last_updated,
        )


class _Answer(Wire):
    """What is needed of an AuthorizationInfo."""

    allowed: wire.AllowedType
    location: wire.LocationReferences | None = None
    authorization_reference: Ci36 | None = None
    info: wire.DisplayText | None = None


def read_versions(data: Any) -> list[tuple[str, str]]:
    """Read a list of versions in any version's spelling; bad entries are passed over (TRANS-26)."""
    listed = data.get("versions") if isinstance(data, Mapping) else data
    if not isinstance(listed, list):
        raise Invalid("", "a list of versions is expected")
    good, bad = read_all(wire.Version, listed)
    if not good:
        raise bad[0] if bad else Invalid("", "the list of versions is empty")
    return [(one.version, one.url) for one in good]


def party_role(role: wire.CredentialsRole) -> PartyRole:
    """Read one role of a platform."""
    details = role.business_details.model_dump(exclude={"name"}, exclude_none=True)
    return PartyRole(
        role=role.role,
        country_code=role.country_code.upper(),
        party_id=role.party_id.upper(),
        name=role.business_details.name,
        details=details or None,
    )


def _with_role(endpoint: Any) -> Any:
    if isinstance(endpoint, Mapping) and endpoint.get("role") is None:
        module = str(endpoint.get("identifier")).lower()
        return {**endpoint, "role": PARTNER_ROLES.get(module, "RECEIVER")}
    return endpoint


def read_by(read: wire.Token, partner_id: str | None) -> Token:
    """Return the domain's token of one that a partner sent."""
    details: dict[str, Any] = {
        "language": read.language,
        "default_profile_type": read.default_profile_type,
        "energy_contract": read.energy_contract
        and read.energy_contract.model_dump(exclude_none=True),
    }
    return Token(
        country_code=read.country_code,
        party_id=read.party_id,
        uid=read.uid,
        type=read.type,
        contract_id=read.contract_id,
        issuer=read.issuer,
        valid=read.valid,
        whitelist=Whitelist(read.whitelist),
        partner_id=partner_id,
        group_id=read.group_id or None,
        visual_number=read.visual_number or None,
        details={name: value for name, value in details.items() if value} or None,
        last_updated=read.last_updated,
    )

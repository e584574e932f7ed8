"""The handshake with a partner, in both directions (chapter "Credentials").

Whoever starts, each side ends up with the other's endpoints, a token to show
and the hash of a token it issued. Nothing of a handshake that failed is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from cpo.domain.partner import Endpoint, Partner, PartnerStatus, PartyRole
from cpo.errors import CpoError, Invalid, PartnerUnreachable
from cpo.ocpi.access import check_token
from cpo.ocpi.client import Answer, Client, Line, first_object
from cpo.ocpi.delivery import Failure
from cpo.ocpi.dialect import Credentials, Dialect, Quirks
from cpo.ocpi.envelope import Failed, Status
from cpo.services.partners import Partners, ended, fingerprint, issued, new_token
from cpo.services.ports import Now

log = structlog.get_logger()

# The partner calls back twice while our POST waits (CRED-4).
HANDSHAKE_TIMEOUT = 60.0
LOOK_TIMEOUT = 10.0
# How long a partner has for our answer before anything else comes, in seconds.
TAKING_IN = 0.2
# How long a partner's renewal waits for one of ours to end, in seconds.
CROSSING = 3.0
# Behind a hub there may be any number of parties.
MOST_LINES = 1000
# Without any of these there is nothing to do with a partner.
USEFUL = frozenset(
    {"locations", "sessions", "cdrs", "tariffs", "tokens", "commands", "hubclientinfo"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a partner's versions say: the version to speak and its endpoints there."""

    version: str
    endpoints: tuple[Endpoint, ...]
    encoded_token: bool
    redirected: bool


@dataclass(frozen=True, slots=True)
class Spoken:
    """What was worked out of how a partner is spoken to, by version and by (us, them)."""

    partner: Partner
    dialects: dict[str, Dialect] = field(default_factory=dict)
    lines: dict[tuple[tuple[str, str] | None, tuple[str, str] | None], Line] = field(
        default_factory=dict
    )


class Step(PartnerUnreachable):
    """A handshake failed; `status` is what a partner that called us is told."""

    def __init__(self, step: str, detail: str, status: Status) -> None:
        super().__init__(step, detail)
        self.status = status


class Registration:
    """Registers with partners and lets them register with us.

    Args:
        partners: where partners are kept.
        client: sends requests.
        dialects: the versions we speak, oldest first.
        roles: our parties.
        versions_url: where partners start with us; known once the port is.
        now: the clock.
    """

    def __init__(
        self,
        *,
        partners: Partners,
        client: Client,
        dialects: Mapping[str, Dialect],
        roles: Sequence[PartyRole],
        versions_url: Callable[[], str],
        now: Now,
    ) -> None:
        self._partners = partners
        self._client = client
        self._dialects = dialects
        self._roles = tuple(roles)
        self._versions_url = versions_url
        self._now = now
        # Asked for with every request; a changed partner is another object.
        self._spoken: dict[str, Spoken] = {}
        self.on_registered: list[Callable[[Partner], Awaitable[None]]] = []
        # Keeps from a partner what it cannot take before it knows us, and lets it go.
        self.hold: Callable[[str], None] = lambda _: None
        self.let_go: Callable[[str], None] = lambda _: None

    # --- we start -----------------------------------------------------------------------------

    async def connect(self, partner: Partner, token_a: str) -> Partner:
        """Register with a partner that gave us a token and its versions URL.

        Raises:
            PartnerUnreachable: with the step that failed.
        """
        try:
            token_a = check_token(token_a, "token_a")
            url = self._entered_url(partner.versions_url)
        except Invalid as error:
            raise PartnerUnreachable("settings", str(error)) from None
        found = await self._discover(partner, token_a, url, version=None)
        dialect = self.dialect(partner, found.version)
        credentials_url = _credentials(found)
        token_in = new_token()
        # The partner calls back with this token while our POST waits (CRED-4).
        waiting = await self._partners.save(
            replace(
                issued(partner, token_in, at=self._now()),
                status=PartnerStatus.CONNECTING,
                version=found.version,
                endpoints=found.endpoints,
                token_out=token_a,
                quirks=_measured(partner.quirks, dialect, found),
            )
        )
        answer = await self._client.request(
            _handshake_line(partner, token_a, encoded=found.encoded_token),
            "POST",
            credentials_url,
            body=dialect.codec.write_credentials(self.credentials(token_in)),
            routed=False,
            timeout=HANDSHAKE_TIMEOUT,
        )
        theirs = _granted(dialect, answer, "credentials")
        found = replace(found, redirected=found.redirected or answer.redirected)
        try:
            self._check_roles(partner, theirs)
        except Invalid as error:
            # It took us; it must not go on believing in a connection that we do not keep.
            await self.disconnect(replace(waiting, token_out=theirs.token))
            raise PartnerUnreachable("credentials", str(error)) from None
        connected = await self._partners.save(
            replace(
                waiting,
                status=PartnerStatus.CONNECTED,
                token_out=theirs.token,
                quirks=_measured(partner.quirks, dialect, found),
                roles=theirs.roles,
                hub_party=theirs.hub_party,
                versions_url=theirs.url or url,
                registered_at=self._now(),
                last_error=None,
            )
        )
        log.info("partner.registered", partner=partner.id, version=found.version, started_by="us")
        await self._registered(connected)
        return connected

    async def rotate(self, partner: Partner) -> Partner:
        """Exchange both tokens; until the answer came both old ones count (CRED-8)."""
        if partner.token_out is None or partner.version is None or partner.versions_url is None:
            raise PartnerUnreachable("settings", "the partner is not registered")
        dialect = self.dialect(partner, partner.version)
        found = await self._discover(
            partner, partner.token_out, partner.versions_url, version=partner.version
        )
        token_in = new_token()
        waiting = await self._partners.save(issued(partner, token_in, at=self._now()))
        answer = await self._client.request(
            _handshake_line(partner, partner.token_out, encoded=found.encoded_token),
            "PUT",
            _credentials(found),
            body=dialect.codec.write_credentials(self.credentials(token_in)),
            routed=False,
            timeout=HANDSHAKE_TIMEOUT,
        )
        try:
            theirs = _granted(dialect, answer, "credentials")
        except PartnerUnreachable:
            if answer.failure is not Failure.NETWORK:
                await self._partners.save(partner)
            # Without an answer it may have been applied: the grace time settles which token lives.
            raise
        return await self._partners.save(
            replace(
                waiting,
                token_out=theirs.token,
                endpoints=found.endpoints,
                roles=theirs.roles or partner.roles,
                hub_party=theirs.hub_party,
                last_error=None,
            )
        )

    async def disconnect(self, partner: Partner) -> None:
        """Tell a partner that the connection ends; its answer does not matter."""
        url = partner.endpoint("credentials", "SENDER") or partner.endpoint(
            "credentials", "RECEIVER"
        )
        if url is None or partner.token_out is None:
            return
        answer = await self._client.request(self.line(partner), "DELETE", url, routed=False)
        log.info("partner.told_of_end", partner=partner.id, answer=answer.detail or "ok")

    async def refresh(self, partner: Partner) -> Partner:
        """Read a partner's endpoints anew, after one of them turned out to be gone (PUSH-6)."""
        if partner.token_out is None or partner.versions_url is None:
            return partner
        async with self._partners.lock(partner.id):
            found = await self._discover(
                partner, partner.token_out, partner.versions_url, version=partner.version
            )
            current = self._partners.known(partner.id)
            if current.endpoints == found.endpoints:
                return current
            return await self._partners.save(replace(current, endpoints=found.endpoints))

    # --- the partner starts ---------------------------------------------------------------------

    async def accept(self, partner_id: str, hash_a: str, dialect: Dialect, body: Any) -> bytes:
        """Take a partner's POST: call it back, then answer with our credentials.

        Call `answered` once they have left: until then nothing is sent to it.

        Raises Failed: 405 when it is registered already, 3001 to 3003 for what its side lacks,
        and then the invitation stays valid (CRED-1, CRED-3).
        """
        async with self._partners.lock(partner_id):
            partner = self._partners.known(partner_id)
            if partner.token_a_hash != hash_a:
                raise Failed(405, Status.CLIENT_ERROR, "registered already: use PUT")
            token, registered = await self._take(partner, dialect, body)
            self.hold(partner_id)
            connected = await self._partners.save(
                replace(
                    registered,
                    token_a_hash=None,
                    token_a_expires_at=None,
                    token_in_hashes=(fingerprint(token),),
                    token_in_rotated_at=None,
                ),
                audit="partner.registered",
                actor=f"partner {partner.name}",
                detail=_who(registered),
            )
        log.info(
            "partner.registered", partner=partner_id, version=dialect.version, started_by="them"
        )
        await self._registered(connected)
        return dialect.codec.write_credentials(self.credentials(token))

    def answered(self, partner_id: str) -> None:
        """Begin to send to a partner that registered with us: it has our answer, or nearly so."""
        asyncio.get_running_loop().call_later(TAKING_IN, self.let_go, partner_id)

    async def renew(self, partner_id: str, dialect: Dialect, body: Any, *, shown: str) -> bytes:
        """Take a partner's PUT: it has a new token for us and gets one from us (CRED-7).

        Its endpoints are read anew every time, also when the version stays (CRED-2). `shown` is
        the hash of the token it came with. Raises Failed with 3000 while a renewal of ours is
        under way: two that cross would wait for each other.
        """
        lock = self._partners.lock(partner_id)
        try:
            async with asyncio.timeout(CROSSING):
                await lock.acquire()
        except TimeoutError:
            raise Failed(
                200, Status.SERVER_ERROR, "another change of credentials is under way: try again"
            ) from None
        try:
            partner = self._partners.known(partner_id)
            if shown not in partner.token_in_hashes:
                raise Failed(401, Status.CLIENT_ERROR, "the token is no longer valid")
            switched = partner.version != dialect.version
            token, registered = await self._take(partner, dialect, body)
            renewed = await self._partners.save(
                issued(registered, token, at=self._now(), shown=shown),
                audit="partner.renewed",
                actor=f"partner {partner.name}",
                detail=_who(registered),
            )
        finally:
            lock.release()
        log.info("partner.renewed", partner=partner_id, version=dialect.version)
        if switched or renewed.endpoints != partner.endpoints:
            await self._registered(renewed)
        return dialect.codec.write_credentials(self.credentials(token))

    async def drop(self, partner_id: str) -> None:
        """Take a partner's DELETE (CRED-9)."""
        async with self._partners.lock(partner_id):
            partner = self._partners.known(partner_id)
            await self._partners.save(
                ended(partner), audit="partner.left", actor=f"partner {partner.name}"
            )

    async def _take(self, partner: Partner, dialect: Dialect, body: Any) -> tuple[str, Partner]:
        theirs = dialect.codec.read_credentials(body)
        token_out = check_token(theirs.token)
        url = self._client.guard.check(theirs.url, "url")
        self._check_roles(partner, theirs)
        try:
            found = await self._discover(partner, token_out, url, version=dialect.version)
        except Step as error:
            raise Failed(200, error.status, f"{error.step}: {error.detail}") from None
        return new_token(), replace(
            partner,
            status=PartnerStatus.CONNECTED,
            version=found.version,
            versions_url=url,
            endpoints=found.endpoints,
            roles=theirs.roles,
            hub_party=theirs.hub_party,
            token_out=token_out,
            quirks=_measured(partner.quirks, dialect, found),
            registered_at=partner.registered_at or self._now(),
            last_error=None,
        )

    def _check_roles(self, partner: Partner, theirs: Credentials) -> None:
        """Refuse parties that are ours or another partner's (S16); a hub names everybody."""
        if theirs.hub_party is not None or any(r.role == "HUB" for r in theirs.roles):
            return
        ours = {(r.country_code.upper(), r.party_id.upper()) for r in self._roles}
        for index, role in enumerate(theirs.roles):
            if (role.country_code.upper(), role.party_id.upper()) in ours:
                raise Invalid(f"roles[{index}].party_id", "is our own")
            other = self._partners.of_party(role.country_code, role.party_id)
            if other is not None and other.id != partner.id:
                raise Invalid(f"roles[{index}].party_id", "is connected already")

    # --- common ---------------------------------------------------------------------------------

    def credentials(self, token: str) -> Credentials:
        """Return our credentials with a token of the one who reads them (CRED-10, CRED-17)."""
        return Credentials(token=token, url=self._versions_url(), roles=self._roles)

    @property
    def party(self) -> tuple[str, str]:
        """The first of our parties."""
        return self._roles[0].country_code, self._roles[0].party_id

    def dialect(self, partner: Partner, version: str) -> Dialect:
        """Return how a partner speaks a version."""
        dialects = self._kept(partner).dialects
        dialect = dialects.get(version)
        if dialect is None:
            dialect = self._dialects[version].for_partner(Quirks.of(partner.quirks))
            dialects[version] = dialect
        return dialect

    def line(
        self,
        partner: Partner,
        us: tuple[str, str] | None = None,
        them: tuple[str, str] | None = None,
    ) -> Line:
        """Return how a registered partner is spoken to, on behalf of one of our parties.

        `them` is whom it is for, behind a hub; without it that is the hub itself (HDR-5).
        """
        lines = self._kept(partner).lines
        line = lines.get((us, them))
        if line is None:
            if len(lines) >= MOST_LINES:
                lines.clear()
            line = lines[us, them] = self._line(partner, us, them)
        return line

    def _entered_url(self, url: object) -> str:
        """Check a URL that the operator entered, who may learn of the setting that permits more."""
        guard = self._client.guard
        try:
            return guard.check(url, "versions_url")
        except Invalid as error:
            # Raises the same again for what no setting permits.
            replace(guard, allow_private=True).check(url, "versions_url")
            hint = "ocpi.allow_private_urls = true permits http and private addresses"
            raise Invalid(error.field, f"{error.problem} ({hint})") from None

    def _kept(self, partner: Partner) -> Spoken:
        kept = self._spoken.get(partner.id)
        if kept is None or kept.partner is not partner:
            kept = self._spoken[partner.id] = Spoken(partner)
        return kept

    def _line(
        self, partner: Partner, us: tuple[str, str] | None, them: tuple[str, str] | None
    ) -> Line:
        if partner.version is None or partner.token_out is None:
            raise PartnerUnreachable("settings", f"partner {partner.name!r} is not registered")
        dialect = self.dialect(partner, partner.version)
        return Line(
            partner_id=partner.id,
            token=partner.token_out,
            encoded_token=dialect.base64_tokens,
            us=(us or self.party) if dialect.routing_headers else None,
            them=them or receiver(partner),
            trailing_slash=bool(dialect.quirks.trailing_slash),
            redirects=dialect.quirks.same_host_redirects,
            page_size=dialect.quirks.page_size,
        )

    async def _registered(self, partner: Partner) -> None:
        """Start what follows a handshake; none of it may undo the handshake."""
        try:
            await self._partners.registered(partner)
        except CpoError as error:
            log.exception("partner.not_marked", partner=partner.id, error=str(error))
        for listener in self.on_registered:
            await listener(partner)

    async def _look(self, line: Line, url: str) -> Answer:
        """Read one page of a handshake: a person waits for it, so it may take its time."""
        patience = max(self._client.timeout, LOOK_TIMEOUT)
        return await self._client.request(line, "GET", url, routed=False, timeout=patience)

    async def _discover(
        self, partner: Partner, token: str, url: str, *, version: str | None
    ) -> Found:
        """Read a partner's versions and the endpoints of one; raises Step.

        `version` None picks the highest both speak, up to the partner's ceiling (V-5).
        """
        newest = self._dialects[version or list(self._dialects)[-1]]
        quirks = Quirks.of(partner.quirks)
        first = newest.for_partner(quirks).base64_tokens
        codings = (first, not first) if quirks.base64_tokens is None else (first,)
        for encoded in codings:
            line = _handshake_line(partner, token, encoded=encoded)
            answer = await self._look(line, url)
            if answer.failure is not Failure.UNAUTHORIZED:
                break
        redirected = answer.redirected
        offered = dict(_read(answer, "versions", newest.codec.read_versions))
        if version is None:
            ceiling = partner.policy.get("versions")
            both = [v for v in self._dialects if v in offered and (ceiling is None or v in ceiling)]
            if not both:
                raise Step(
                    "versions",
                    f"no common version: the partner has {', '.join(sorted(offered)) or 'none'}",
                    Status.UNSUPPORTED_VERSION,
                )
            version = both[-1]
        elif version not in offered:
            raise Step(
                "versions", f"the partner does not offer {version}", Status.UNSUPPORTED_VERSION
            )
        codec = self._dialects[version].codec
        try:
            details_url = self._client.guard.check(offered[version], "url")
        except Invalid as error:
            raise Step("details", str(error), Status.CLIENT_API_UNUSABLE) from None
        usual = self._dialects[version].base64_tokens
        if quirks.base64_tokens is None and usual != encoded:
            # A partner that reads both gets what its version says.
            line = _handshake_line(partner, token, encoded=usual)
        answer = await self._look(line, details_url)
        if answer.failure is Failure.UNAUTHORIZED and line.encoded_token != encoded:
            line = _handshake_line(partner, token, encoded=encoded)
            answer = await self._look(line, details_url)
        encoded = line.encoded_token
        endpoints = tuple(_read_one(answer, "details", codec.read_version_details))
        try:
            for endpoint in endpoints:
                self._client.guard.check(endpoint.url, f"endpoints.{endpoint.identifier}.url")
        except Invalid as error:
            raise Step("endpoints", str(error), Status.CLIENT_API_UNUSABLE) from None
        if not any(e.identifier in USEFUL for e in endpoints):
            raise Step("endpoints", "none that we could use", Status.ENDPOINTS_MISSING)
        return Found(
            version=version,
            endpoints=endpoints,
            encoded_token=encoded,
            redirected=redirected or answer.redirected,
        )


def _who(partner: Partner) -> str:
    """Say for the audit whom a partner stands for now (S28)."""
    parties = ", ".join(f"{r.role} {r.country_code}-{r.party_id}" for r in partner.roles[:20])
    return f"{partner.version}: {parties}"


def receiver(partner: Partner) -> tuple[str, str] | None:
    """Return the party that requests to a partner are addressed to: the hub, or its eMSP."""
    if partner.hub_party is not None and len(partner.hub_party) > 2:
        return partner.hub_party[:2], partner.hub_party[2:]
    ordered = sorted(partner.roles, key=lambda r: {"HUB": 0, "EMSP": 1}.get(r.role, 2))
    return (ordered[0].country_code, ordered[0].party_id) if ordered else None


def _handshake_line(partner: Partner, token: str, *, encoded: bool) -> Line:
    # Redirects to the same host are followed here, to find out that the partner sends them.
    return Line(partner_id=partner.id, token=token, encoded_token=encoded, redirects=True)


def _credentials(found: Found) -> str:
    for endpoint in found.endpoints:
        if endpoint.identifier == "credentials":
            return endpoint.url
    raise Step("endpoints", "credentials is missing", Status.ENDPOINTS_MISSING)


def _measured(quirks: dict[str, Any], dialect: Dialect, found: Found) -> dict[str, Any]:
    """Keep what the handshake showed of a partner's habits, where that is not the usual."""
    if found.encoded_token != dialect.base64_tokens:
        quirks = {**quirks, "base64_tokens": found.encoded_token}
    if found.redirected:
        quirks = {**quirks, "same_host_redirects": True}
    return quirks


def _read(answer: Answer, step: str, reader: Callable[[Any], Any]) -> Any:
    if not answer.ok:
        raise Step(step, answer.detail, Status.CLIENT_API_UNUSABLE)
    try:
        return reader(answer.data)
    except Invalid as error:
        raise Step(step, str(error), Status.CLIENT_API_UNUSABLE) from None


def _read_one(answer: Answer, step: str, reader: Callable[[Any], Any]) -> Any:
    """Read an answer that is due to hold one object, also where it comes as a list of one."""
    return _read(answer, step, lambda data: reader(first_object(data)))


def _granted(dialect: Dialect, answer: Answer, step: str) -> Credentials:
    theirs: Credentials = _read_one(answer, step, dialect.codec.read_credentials)
    try:
        check_token(theirs.token)
    except Invalid as error:
        raise Step(step, str(error), Status.CLIENT_API_UNUSABLE) from None
    return theirs

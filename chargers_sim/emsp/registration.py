"""Versions and credentials, both ways: being registered with, and registering."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chargers_sim.emsp.caller import Caller, CallFailed
from chargers_sim.emsp.editions import EDITIONS, SENDER, Edition
from chargers_sim.emsp.peers import Peer, new_token
from chargers_sim.emsp.receiver import METHOD_NOT_ALLOWED, Call, Reply
from chargers_sim.emsp.strict import tables

if TYPE_CHECKING:
    from chargers_sim.emsp.double import Emsp

CANNOT_USE_CLIENT = 3001
UNSUPPORTED_VERSION = 3002
ENDPOINTS_MISSING = 3003


class Registration:
    """The handshakes of one double."""

    def __init__(self, emsp: "Emsp") -> None:
        self._emsp = emsp

    # --- answered --------------------

    def versions(self) -> list[dict[str, Any]]:
        """Return the Version objects we publish."""
        return [
            {"version": version, "url": self._emsp.url_of(version)}
            for version in self._emsp.versions
        ]

    def details(self, edition: Edition) -> dict[str, Any]:
        """Return the VersionDetails object of one version."""
        modules = list(edition.modules)
        if self._emsp.hub is not None and edition.roles:
            modules.append(("hubclientinfo", SENDER))
        endpoints = [
            {"identifier": module, "url": self._emsp.module_url(edition, module)}
            | ({"role": role} if edition.roles else {})
            for module, role in modules
        ]
        return {"version": edition.version, "endpoints": endpoints}

    async def answer(self, call: Call) -> Reply:
        """Answer the credentials module."""
        peer = call.peer
        if call.ids or call.method not in {"GET", "POST", "PUT", "DELETE"}:
            return METHOD_NOT_ALLOWED
        if call.method == "GET":
            return Reply(data=self.credentials(call.edition, call.token))
        if peer.registered is (call.method == "POST"):
            # CRED-1: POST twice, or PUT and DELETE before any POST.
            return METHOD_NOT_ALLOWED
        if call.method == "DELETE":
            self._emsp.peers.remove(peer)
            call.exchange.applied = True
            self._emsp.changed()
            return Reply()
        return await self._take(call)

    async def _take(self, call: Call) -> Reply:
        """Take over credentials: call back first, keep nothing when that fails (CRED-3)."""
        body = call.body
        for deviation in tables(call.edition.version).check("Credentials", body):
            self._emsp.journal.blame(
                call.exchange, "Credentials", deviation.path, deviation.problem
            )
        if not isinstance(body, dict) or not body.get("token") or not body.get("url"):
            return Reply(code=2001, message="token and url are required")
        caller = replace(
            self._emsp.caller_for_token(call.peer.name, str(body["token"]), call.edition),
            edition=call.edition,
        )
        try:
            details = await self._details(caller, str(body["url"]), call.edition.version)
        except CallFailed as failure:
            return Reply(code=CANNOT_USE_CLIENT, message=str(failure))
        if details is None:
            return Reply(code=UNSUPPORTED_VERSION, message=f"no {call.edition.version} there")
        if not details.get("endpoints"):
            return Reply(code=ENDPOINTS_MISSING, message="no endpoints there")
        token = new_token()
        peer = call.peer
        peer.tokens_in = [token, call.token] if peer.registered else [token]
        peer.learn_credentials(body, call.edition)
        peer.learn_endpoints(details)
        peer.registered = True
        call.exchange.applied = True
        self._emsp.changed()
        return Reply(data=self.credentials(call.edition, token))

    def credentials(self, edition: Edition, token: str) -> dict[str, Any]:
        """Return our Credentials object, with the token meant for the other side."""
        emsp = self._emsp
        head: dict[str, Any] = {"token": token, "url": emsp.versions_url}
        parties = [
            {
                "role": "EMSP",
                "business_details": {"name": f"Double {country}-{party}"},
                "party_id": emsp.shown(party),
                "country_code": emsp.shown(country),
            }
            for country, party in emsp.parties
        ]
        if not edition.roles:
            first = {name: value for name, value in parties[0].items() if name != "role"}
            return head | first
        if emsp.hub is None:
            return head | {"roles": parties}
        country, party = emsp.hub
        if not edition.hub_in_roles:
            return head | {"roles": parties, "hub_party_id": country + party}
        hub = {
            "role": "HUB",
            "business_details": {"name": f"Hub {country}-{party}"},
            "party_id": party,
            "country_code": country,
        }
        return head | {"roles": [hub]}

    # --- asked --------------------

    async def register(
        self, versions_url: str, token_a: str, *, version: str | None, base64_token: bool | None
    ) -> Peer:
        """Register with a CPO: versions, details, POST credentials.

        Raises:
            CallFailed: a step failed; nothing of the attempt is kept.
        """
        emsp = self._emsp
        wanted = EDITIONS[version] if version else None
        latest = wanted or EDITIONS[emsp.versions[-1]]
        caller = Caller(
            http=emsp.http,
            journal=emsp.journal,
            peer=versions_url,
            token=token_a,
            base64_token=emsp.codes(latest) if base64_token is None else base64_token,
        )
        try:
            offered = await self._versions(caller, versions_url)
        except CallFailed as failure:
            refused = failure.answer is not None and failure.answer.status == 401
            if base64_token is not None or not refused:
                raise
            # A platform of another version may only know the other coding.
            caller = replace(caller, base64_token=not caller.base64_token)
            offered = await self._versions(caller, versions_url)
        common = [v for v in emsp.versions if v in offered and version in (None, v)]
        if not common:
            raise CallFailed("versions", f"no common version; offered are {', '.join(offered)}")
        edition = EDITIONS[common[-1]]
        coding = emsp.codes(edition) if base64_token is None else base64_token
        caller = replace(caller, edition=edition, base64_token=coding)
        peer = Peer(name=versions_url, tokens_in=[new_token()], edition=edition)
        peer.learn_endpoints(await self._fetch_details(caller, offered[edition.version]))
        # The CPO calls back with our token while our POST is open (CRED-4).
        emsp.peers.append(peer)
        try:
            data = await self._send_credentials(caller, peer, "POST", peer.tokens_in[0])
        except CallFailed:
            emsp.peers.remove(peer)
            raise
        peer.learn_credentials(data, edition)
        peer.registered = True
        emsp.changed()
        return peer

    async def rotate(self, peer: Peer, *, version: str | None = None) -> None:
        """Renew both tokens by PUT, on another version's endpoint to switch to it.

        Raises:
            CallFailed: a step failed; the old tokens stay in use.
        """
        edition = EDITIONS[version] if version else _edition_of(peer)
        caller = replace(self._emsp.caller(peer, routed=False), edition=edition)
        offered = await self._versions(caller, str(peer.versions_url))
        if edition.version not in offered:
            raise CallFailed("versions", f"no version {edition.version} there")
        endpoints = peer.endpoints
        peer.learn_endpoints(await self._fetch_details(caller, offered[edition.version]))
        token = new_token()
        peer.tokens_in.insert(0, token)
        peer.renewing = True
        try:
            data = await self._send_credentials(caller, peer, "PUT", token)
        except CallFailed:
            peer.tokens_in.remove(token)
            peer.endpoints = endpoints
            raise
        finally:
            peer.renewing = False
        peer.learn_credentials(data, edition)
        self._emsp.changed()

    async def unregister(self, peer: Peer) -> None:
        """End the connection from our side.

        Raises:
            CallFailed: the CPO did not accept it; the connection is kept.
        """
        caller = self._emsp.caller(peer, routed=False)
        url = self._credentials_url(peer)
        await caller.request("credentials", "DELETE", url, module="credentials")
        self._emsp.peers.remove(peer)
        self._emsp.changed()

    async def _send_credentials(
        self, caller: Caller, peer: Peer, method: str, token: str
    ) -> dict[str, Any]:
        edition = _edition_of(peer) if caller.edition is None else caller.edition
        answer = await replace(caller, timeout=60).request(
            "credentials",
            method,
            self._credentials_url(peer),
            body=self.credentials(edition, token),
            module="credentials",
        )
        for deviation in tables(edition.version).check("Credentials", answer.data):
            self._emsp.journal.blame(
                answer.exchange, "Credentials", deviation.path, deviation.problem
            )
        if not isinstance(answer.data, dict) or not answer.data.get("token"):
            raise CallFailed("credentials", "the answer holds no token", answer=answer)
        return answer.data

    def _credentials_url(self, peer: Peer) -> str:
        url = peer.endpoint("credentials", "SENDER") or peer.endpoint("credentials", "RECEIVER")
        if url is None:
            raise CallFailed("credentials", "the CPO lists no credentials endpoint")
        return url

    async def _versions(self, caller: Caller, url: str) -> dict[str, str]:
        """Return the URL of each version offered."""
        answer = await caller.request("versions", "GET", url, module="versions")
        for deviation in tables("2.3.0").check_list("Version", answer.data):
            self._emsp.journal.blame(answer.exchange, "Version", deviation.path, deviation.problem)
        entries = answer.data if isinstance(answer.data, list) else []
        return {str(e.get("version")): str(e.get("url")) for e in entries if isinstance(e, dict)}

    async def _details(self, caller: Caller, url: str, version: str) -> dict[str, Any] | None:
        offered = await self._versions(caller, url)
        if version not in offered:
            return None
        return await self._fetch_details(caller, offered[version])

    async def _fetch_details(self, caller: Caller, url: str) -> dict[str, Any]:
        answer = await caller.request("version details", "GET", url, module="versions")
        version = caller.edition.version if caller.edition else "2.3.0"
        for deviation in tables(version).check("VersionDetails", answer.data):
            self._emsp.journal.blame(
                answer.exchange, "VersionDetails", deviation.path, deviation.problem
            )
        if not isinstance(answer.data, dict):
            raise CallFailed("version details", "no object in the answer", answer=answer)
        return answer.data


def _edition_of(peer: Peer) -> Edition:
    if peer.edition is None:
        raise CallFailed("credentials", f"not registered with {peer.name}")
    return peer.edition

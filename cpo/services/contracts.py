"""Plug and charge: contract certificates checked, their status and new ones relayed (ISO 15118).

No address that a charger names is asked unless the operator listed it (SEC-19).
"""

import asyncio
import base64
import itertools
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import structlog
from cryptography.exceptions import UnsupportedAlgorithm

from cpo.domain.tokens import Verdict
from cpo.errors import Invalid
from cpo.services.pki import (
    Anchors,
    CertificateStatus,
    ChainFault,
    HashData,
    Revocation,
    Statement,
    names_contract,
    ocsp_question,
    read_chain,
    read_crl,
    read_ocsp,
    responder_url,
)

log = structlog.get_logger()

_CACHED: Final = 10_000
_CANCELLED: Final = frozenset({Verdict.BLOCKED, Verdict.EXPIRED, Verdict.INVALID, Verdict.UNKNOWN})
_Key = tuple[HashData, str]


class Fetcher(Protocol):
    """Asks other servers over HTTP (the OCPP adapter's side)."""

    async def fetch(
        self,
        url: str,
        body: bytes | None,
        *,
        content_type: str,
        timeout: float,
        trusted: bool,
        headers: Mapping[str, str] | None = None,
    ) -> bytes | None:
        """Return the body of a 200, None for anything else.

        Args:
            url: whom to ask.
            body: what to post; None to get.
            content_type: what the body is.
            timeout: seconds for all of it.
            trusted: False for an address that a charger named: it must be a public one.
            headers: further headers.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRules:
    """What the operator sets about plug and charge; durations in seconds."""

    ocsp_responder: str | None = None
    ocsp_allowed: Sequence[str] = ()
    accept_unchecked: bool = False
    ocsp_timeout: float = 5.0
    ocsp_cache: float = 3600.0
    provider_url: str | None = None
    provider_key: str | None = None
    provider_timeout: float = 20.0


@dataclass(frozen=True, slots=True)
class EvCertificate:
    """A provider's answer to a car: EXI in base64, and how many more contracts there are."""

    exi_response: str
    remaining: int | None = None


class Contracts:
    """Checks contract certificates, and relays questions about them."""

    def __init__(
        self,
        anchors: Anchors,
        fetcher: Fetcher,
        rules: ContractRules,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._anchors = anchors
        self._fetcher = fetcher
        self._rules = rules
        self._now = now
        self._known: OrderedDict[_Key, tuple[Statement, datetime]] = OrderedDict()

    # --- Authorize ------------------------------------------------------------------------------

    async def certificate_status(
        self,
        emaid: str,
        *,
        certificate: str | None,
        hash_data: Sequence[Mapping[str, Any]] | None,
    ) -> CertificateStatus:
        """Judge what came with an Authorize: a chain, or hashes of one that the station checked.

        The token's own standing is not looked at here (see `of_contract`).
        """
        try:
            if certificate:
                await self._check_chain(certificate, emaid)
            if hash_data:
                await self._check_hashes(hash_data)
        except ChainFault as fault:
            log.info("contract.not_accepted", status=fault.status, reason=str(fault))
            return fault.status
        return CertificateStatus.ACCEPTED

    @staticmethod
    def of_contract(verdict: Verdict) -> CertificateStatus:
        """Return what a good certificate is worth, given what is known of its contract."""
        return CertificateStatus.CANCELLED if verdict in _CANCELLED else CertificateStatus.ACCEPTED

    async def _check_chain(self, text: str, emaid: str) -> None:
        if not self._anchors:
            raise ChainFault(CertificateStatus.NONE_AVAILABLE, "no roots are configured")
        leaf, *more = read_chain(text)
        try:
            path = self._anchors.path(leaf, more, self._now())
            if not names_contract(leaf, emaid):
                problem = "the certificate is another contract's"
                raise ChainFault(CertificateStatus.CHAIN_ERROR, problem)
            questions = [
                (HashData.of(one, issuer), responder_url(one))
                for one, issuer in itertools.pairwise(path)
                if one not in self._anchors.certificates
            ]
        except (ValueError, UnsupportedAlgorithm):
            # What is inside of a certificate is read only when it is looked at.
            raise ChainFault(CertificateStatus.CHAIN_ERROR, "a certificate is broken") from None
        await self._check_all(questions)

    async def _check_hashes(self, given: Sequence[Mapping[str, Any]]) -> None:
        try:
            questions = [(HashData.read(one), one.get("responderURL")) for one in given]
        except Invalid as invalid:
            raise ChainFault(CertificateStatus.CHAIN_ERROR, str(invalid)) from None
        await self._check_all(questions)

    async def _check_all(self, questions: Sequence[tuple[HashData, str | None]]) -> None:
        """Ask for the status of each certificate at once; the worst answer counts."""
        results = await asyncio.gather(*(self._status(named, url) for named, url in questions))
        for result in results:
            if isinstance(result, Statement) and result.revocation is Revocation.REVOKED:
                raise ChainFault(CertificateStatus.REVOKED, "a certificate is revoked")
        for result in results:
            if isinstance(result, Statement):
                if result.revocation is Revocation.UNKNOWN:
                    raise ChainFault(
                        CertificateStatus.CHAIN_ERROR, "the responder knows no such certificate"
                    )
            elif result.status is not CertificateStatus.NONE_AVAILABLE or (
                not self._rules.accept_unchecked
            ):
                raise result

    async def _status(self, named: HashData, url: str | None) -> Statement | ChainFault:
        try:
            return await self.statement(named, url)
        except ChainFault as fault:
            return fault

    # --- OCSP and CRLs --------------------------------------------------------------------------

    async def statement(self, named: HashData, url: str | None) -> Statement:
        """Return what a responder says of a certificate, from memory while that holds.

        Raises ChainFault when nobody may be asked, nobody answers, or the answer cannot be trusted.
        """
        return await self._ask(named, url, "OCSP")

    async def _ask(self, named: HashData, url: str | None, source: str) -> Statement:
        now = self._now()
        known = self._known.get((named, source))
        if known is not None and known[1] > now:
            return known[0]
        target, trusted = self._target(url, source)
        found = await self._fetcher.fetch(
            target,
            ocsp_question(named) if source == "OCSP" else None,
            content_type="application/ocsp-request",
            timeout=self._rules.ocsp_timeout,
            trusted=trusted,
        )
        if found is None:
            raise ChainFault(CertificateStatus.NONE_AVAILABLE, "the responder does not answer")
        read = read_ocsp if source == "OCSP" else read_crl
        statement = read(found, named, self._anchors, self._now())
        until = now + timedelta(seconds=self._rules.ocsp_cache)
        if statement.next_update is not None:
            until = min(until, statement.next_update)
        self._known[named, source] = (statement, until)
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return statement

    def _target(self, url: str | None, source: str) -> tuple[str, bool]:
        """Return whom to ask, and whether that is the operator's own word."""
        if self._rules.ocsp_responder is not None and source == "OCSP":
            return self._rules.ocsp_responder, True
        if url and any(_within(url, allowed) for allowed in self._rules.ocsp_allowed):
            return url, False
        raise ChainFault(CertificateStatus.NONE_AVAILABLE, "no responder is configured for it")

    async def ocsp_result(self, given: Mapping[str, Any], *, longest: int) -> str | None:
        """Return the OCSP answer about a certificate in base64 (GetCertificateStatus), or None."""
        try:
            statement = await self.statement(HashData.read(given), given.get("responderURL"))
        except (ChainFault, Invalid) as problem:
            log.info("contract.status_not_relayed", reason=str(problem))
            return None
        text = base64.b64encode(statement.der).decode()
        return text if len(text) <= longest else None

    async def chain_status(self, request: Mapping[str, Any]) -> tuple[Revocation, datetime]:
        """Return the status of one certificate of a chain, and until when it holds (2.1, M07)."""
        source = str(request["source"])
        found = Revocation.FAILED
        until: datetime | None = None
        try:
            named = HashData.read(request["certificateHashData"])
        except Invalid:
            return found, self._now()
        for url in request["urls"]:
            try:
                statement = await self._ask(named, url, source)
            except ChainFault as fault:
                log.info("contract.status_unknown", reason=str(fault))
                continue
            found, until = statement.revocation, statement.next_update
            break
        return found, until or self._now() + timedelta(seconds=self._rules.ocsp_cache)

    # --- certificates for cars ------------------------------------------------------------------

    async def ev_certificate(
        self, request: Mapping[str, Any], *, longest: int
    ) -> EvCertificate | None:
        """Relay a car's request to the provider (Get15118EVCertificate); None when that failed.

        Posted and answered as JSON with the names of OCPP: `iso15118SchemaVersion`, `action`,
        `exiRequest` (2.1 also `maximumContractCertificateChains`, `prioritizedEMAIDs`);
        `exiResponse` (2.1 also `remainingContracts`).
        """
        rules = self._rules
        if rules.provider_url is None:
            return None
        body = {name: request[name] for name in _RELAYED if name in request}
        headers = {"Authorization": f"Bearer {rules.provider_key}"} if rules.provider_key else {}
        found = await self._fetcher.fetch(
            rules.provider_url,
            json.dumps(body).encode(),
            content_type="application/json",
            timeout=rules.provider_timeout,
            trusted=True,
            headers=headers,
        )
        try:
            answer = json.loads(found) if found is not None else {}
        except (ValueError, RecursionError):
            answer = {}
        answer = answer if isinstance(answer, dict) else {}
        response = _exi(answer.get("exiResponse"))
        if response is None or not 0 < len(response) <= longest:
            log.warning("contract.provider_failed", answered=found is not None)
            return None
        remaining = answer.get("remainingContracts")
        countable = type(remaining) is int and 0 <= remaining <= _MOST_CONTRACTS
        return EvCertificate(response, remaining if countable else None)


_MOST_CONTRACTS: Final = 2**31 - 1


def _exi(given: Any) -> str | None:
    """Return base64 in one line, as OCPP has it; None for what is none."""
    text = "".join(given.split()) if isinstance(given, str) else "-"
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return text


_STEPS: Final = re.compile(r"(?:^|/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:$|/|\\|%2f|%5c)", re.IGNORECASE)
"""Steps of a path that lead to where they are or above."""

_RELAYED: Final = (
    "iso15118SchemaVersion",
    "action",
    "exiRequest",
    "maximumContractCertificateChains",
    "prioritizedEMAIDs",
)


def _within(url: str, allowed: str) -> bool:
    """Tell whether a URL lies within one that is allowed: same origin, path below it."""
    try:
        one, other = urlsplit(url), urlsplit(allowed)
        same = (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
    except ValueError:
        return False
    if _STEPS.search(one.path):
        return False  # Who asks would walk them, out of what is allowed.
    below = other.path.rstrip("/")
    return (
        same
        and one.username is None
        and (one.path.rstrip("/") == below or one.path.startswith(f"{below}/"))
    )

"""Certificates: what stations want signed, and what they ask about those of cars (ISO 15118)."""

import asyncio
from typing import Any, Final

import structlog

from cpo.domain.tokens import Verdict
from cpo.errors import Refused
from cpo.ocpp.contract import Arrival, Caller, Desk, InboundHandler
from cpo.ocpp.values import write_instant
from cpo.services.authority import expiry, serial_of
from cpo.services.contracts import Contracts
from cpo.services.intake import TokenAnswer
from cpo.services.issued_certificates import FOR_US, REFUSED
from cpo.services.pki import CertificateStatus
from cpo.services.ports import Work

log = structlog.get_logger()

STATION_CERTIFICATE: Final = FOR_US
_KEPT_AS: Final = {STATION_CERTIFICATE: "current"}


async def sign_certificate(desk: Desk, call: Arrival) -> dict[str, Any]:
    """FW-07 (A02, A03): sign for this very station, or reject; the chain follows by a call."""
    station, payload = call.identity, call.payload
    desk.intake.seen(station, at=call.received_at)
    kind = payload.get("certificateType", STATION_CERTIFICATE)
    authority = desk.authorities.get(kind)
    if authority is None:
        return {"status": "Rejected"}
    names = desk.intake.certificate_names(station)
    if kind != STATION_CERTIFICATE:
        names |= desk.intake.evse_names(station)
    try:
        chain = authority.sign(
            payload["csr"], identity=station, names=names, for_cars=kind != STATION_CERTIFICATE
        )
    except Refused as refusal:
        log.warning("station.csr_refused", station=station, reason=str(refusal))
        return {"status": "Rejected"}
    expires_at, serial = expiry(chain), serial_of(chain)
    request: dict[str, Any] = {"certificateChain": chain}
    if "certificateType" in payload:
        request["certificateType"] = kind
    if "requestId" in payload:
        request["requestId"] = payload["requestId"]

    async def deliver(caller: Caller) -> None:
        # In the register before it leaves: the answer may never come.
        await desk.issued.issued(station, serial, kind, expires_at)
        answer = await caller("CertificateSigned", request)
        accepted = answer.get("status") == "Accepted"
        if not accepted:
            await desk.issued.revoke(station, [serial], reason=REFUSED, actor="ocpp")
        elif kind != FOR_US:
            await desk.issued.replaced(station, serial, kind)
        work = Work()
        document = {
            "status": answer.get("status"),
            "type": kind,
            "expires_at": expires_at.isoformat(),
            "serial": serial,
            "chain": chain,
        }
        # One that the station refuses does not take the place of the one it has.
        key = _KEPT_AS.get(kind, kind) if accepted else f"refused {kind}"
        desk.equipment.keep(
            work, station, "station-certificate", key, document, desk.equipment.now()
        )
        await desk.equipment.commit(work)

    desk.afterwards(deliver)
    return {"status": "Accepted"}


async def with_certificate(
    desk: Desk, call: Arrival, answer_of: Any
) -> tuple[TokenAnswer, CertificateStatus | None]:
    """C07: judge the certificate that an Authorize brings, then the contract it is for.

    `answer_of` decides about the token; it is not asked when the certificate is not accepted.
    """
    payload = call.payload
    certificate, hashes = payload.get("certificate"), payload.get("iso15118CertificateHashData")
    if not (certificate or hashes):
        return await answer_of(), None
    status = await desk.contracts.certificate_status(
        payload["idToken"]["idToken"], certificate=certificate, hash_data=hashes
    )
    if status is not CertificateStatus.ACCEPTED:
        return TokenAnswer(Verdict.INVALID), status
    answer = await answer_of()
    return answer, Contracts.of_contract(answer.verdict)


def get_certificate_status(longest: int) -> InboundHandler:
    """M06: the status of a certificate of a car's chain, in the responder's own words.

    Args:
        longest: characters that the version allows for it.
    """

    async def handler(desk: Desk, call: Arrival) -> dict[str, Any]:
        desk.intake.seen(call.identity, at=call.received_at)
        result = await desk.contracts.ocsp_result(call.payload["ocspRequestData"], longest=longest)
        if result is None:
            return {"status": "Failed"}
        return {"status": "Accepted", "ocspResult": result}

    return handler


def get_ev_certificate(longest: int) -> InboundHandler:
    """M01, M02: a car wants a contract certificate, or a newer one; the provider answers."""

    async def handler(desk: Desk, call: Arrival) -> dict[str, Any]:
        desk.intake.seen(call.identity, at=call.received_at)
        found = await desk.contracts.ev_certificate(call.payload, longest=longest)
        if found is None:
            return {"status": "Failed", "exiResponse": ""}
        answer: dict[str, Any] = {"status": "Accepted", "exiResponse": found.exi_response}
        if found.remaining is not None and "maximumContractCertificateChains" in call.payload:
            answer["remainingContracts"] = found.remaining
        return answer

    return handler


async def get_chain_status(desk: Desk, call: Arrival) -> dict[str, Any]:
    """M07: the status of each certificate of a chain, by OCSP or revocation list (2.1)."""
    desk.intake.seen(call.identity, at=call.received_at)
    requests = call.payload["certificateStatusRequests"]
    # At once: with each that is silent the station would wait the longer.
    told = await asyncio.gather(*(desk.contracts.chain_status(request) for request in requests))
    statuses = [
        {
            "certificateHashData": _cut(request["certificateHashData"]),
            "source": request["source"],
            "status": found.value,
            "nextUpdate": write_instant(until),
        }
        for request, (found, until) in zip(requests, told, strict=True)
    ]
    return {"certificateStatus": statuses}


def _cut(hashes: dict[str, Any]) -> dict[str, Any]:
    # What is echoed must fit the schema even where the question did not.
    return {
        "hashAlgorithm": hashes["hashAlgorithm"],
        "issuerNameHash": hashes["issuerNameHash"][:128],
        "issuerKeyHash": hashes["issuerKeyHash"][:128],
        "serialNumber": hashes["serialNumber"][:40],
    }

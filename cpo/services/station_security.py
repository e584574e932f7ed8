"""Secrets and certificates of stations: what ends when, renewals, passwords, security events."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509

from cpo.errors import Conflict, CpoError, NotFound
from cpo.services.authority import Authority
from cpo.services.issued_certificates import (
    COMPROMISED,
    REMOVED,
    Issued,
    IssuedCertificates,
    revoked,
)
from cpo.services.memory import Memory, StationState
from cpo.services.ports import Audit, StationDocument, StationLink, Store, Work
from cpo.telemetry import Metrics

log = structlog.get_logger()

_AGAIN: Final = timedelta(days=1)
_SOON, _EXPIRED, _OK = "soon", "expired", "ok"
_PASSWORD_BYTES: Final = 20
_LIST_VALID: Final = timedelta(days=7)
# How a station is asked for a certificate request: 1.6 by its security extension.
_RENEW: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "1.6": ("ExtendedTriggerMessage", {"requestedMessage": "SignChargePointCertificate"}),
}
_RENEW_2: Final = ("TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"})
_RENEW_V2G: Final = ("TriggerMessage", {"requestedMessage": "SignV2GCertificate"})
_CURRENT: Final = "current"


class StationSecurity:
    """Watches certificates, renews those of stations in time, and rotates passwords.

    `own` names the PEM files of this server by what they are for; `renew_before` is how long before
    its end a certificate counts as expiring soon.
    """

    def __init__(
        self,
        memory: Memory,
        store: Store,
        *,
        now: Callable[[], datetime],
        own: Mapping[str, Path],
        renew_before: timedelta,
        issued: IssuedCertificates | None = None,
        authorities: Mapping[str, Authority] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._memory = memory
        self._store = store
        self._now = now
        self._own = own
        self._renew_before = renew_before
        self._issued = issued or IssuedCertificates(memory, store, now=now)
        self._authorities = authorities or {}
        self._metrics = metrics
        self._asked: dict[tuple[str, str], datetime] = {}
        self._told: dict[tuple[str, str], datetime] = {}

    # --- the calendar -----------------------------------------------------------------------------

    async def certificates(self) -> list[dict[str, Any]]:
        """Return every certificate whose end is known, the first to expire first."""
        found = [
            *self._own_certificates(),
            *[
                self._entry(
                    "station" if kept.key == _CURRENT else "station-for-cars",
                    kept.document["expires_at"],
                    station=kept.station,
                    name=kept.key,
                )
                for kept in await self._store.documents_of_kind("station-certificate")
                if not kept.key.startswith("refused")
            ],
            *[
                self._entry(
                    "installed",
                    kept.document["expires_at"],
                    station=kept.station,
                    name=str(kept.document.get("type")),
                    subject=kept.document.get("subject"),
                )
                for kept in await self._store.documents_of_kind("installed-certificate")
            ],
        ]
        return sorted(found, key=lambda e: (e["expires_at"], e["station"] or "", e["name"]))

    def _own_certificates(self) -> list[dict[str, Any]]:
        found = []
        for name, file in self._own.items():
            try:
                certificates = x509.load_pem_x509_certificates(file.read_bytes())
            except (OSError, ValueError) as error:
                log.warning("certificate.not_readable", name=name, error=str(error))
                continue
            for certificate in certificates:
                subject = certificate.subject.rfc4514_string()
                end = certificate.not_valid_after_utc.isoformat()
                found.append(self._entry("own", end, name=name, subject=subject))
        return found

    def _entry(
        self, kind: str, expires_at: str, *, name: str, station: str | None = None,
        subject: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        end = datetime.fromisoformat(expires_at)
        left = end - self._now()
        state = _EXPIRED if left <= timedelta() else _SOON if left <= self._renew_before else _OK
        asked = self._asked.get((station or "", name))
        return {
            "kind": kind,
            "station": station,
            "name": name,
            "subject": subject,
            "expires_at": end,
            "days_left": left.days,
            "state": state,
            "renewal_asked_at": asked,
        }

    async def sweep(self) -> None:
        """Tell of what expires, once a day each, and ask stations to renew theirs."""
        entries = await self.certificates()
        if self._metrics is not None:
            for state in (_OK, _SOON, _EXPIRED):
                count = sum(entry["state"] == state for entry in entries)
                self._metrics.certificates.set(count, state)
        for entry in entries:
            if entry["state"] == _OK:
                continue
            key = (entry["station"] or "", entry["name"])
            if self._due(self._told, key):
                log.warning(
                    "certificate.expires",
                    kind=entry["kind"],
                    station=entry["station"],
                    name=entry["name"],
                    expires_at=entry["expires_at"].isoformat(),
                )
            if entry["kind"].startswith("station"):
                await self._renew_in_time(entry)

    def _due(self, done: dict[tuple[str, str], datetime], key: tuple[str, str]) -> bool:
        last = done.get(key)
        if last is not None and self._now() - last < _AGAIN:
            return False
        done[key] = self._now()
        return True

    async def _renew_in_time(self, entry: Mapping[str, Any]) -> None:
        state = self._memory.stations.get(entry["station"])
        if state is None or state.link is None:
            return
        if not self._due(self._asked, (entry["station"], entry["name"])):
            return
        try:
            answer = await self._ask_to_renew(state.link, for_cars=entry["name"] != _CURRENT)
        except CpoError as error:
            log.warning("certificate.not_renewed", station=entry["station"], error=str(error))
        else:
            log.info("certificate.renewal_asked", station=entry["station"], answer=answer)

    async def _ask_to_renew(self, link: StationLink, *, for_cars: bool) -> str:
        action, payload = _RENEW_V2G if for_cars else _RENEW.get(link.version, _RENEW_2)
        answer = await link.call(action, dict(payload))
        return str(answer.get("status"))

    # --- the operator -----------------------------------------------------------------------------

    async def renew(self, identity: str, *, for_cars: bool, actor: str) -> dict[str, Any]:
        """Ask a station for a new certificate request; NotFound, Conflict when it is offline."""
        link = await self._on_behalf(identity, actor, "certificate.renew")
        status = await self._ask_to_renew(link, for_cars=for_cars)
        self._asked[identity, _CURRENT] = self._now()
        return {"station": identity, "status": status}

    async def issued(self, identity: str) -> list[Issued]:
        """Return what our authorities signed for a station and has not expired; NotFound."""
        self._state(identity)
        return await self._issued.all(identity)

    async def revoke(
        self, identity: str, serials: Sequence[str] | None, *, compromised: bool, actor: str
    ) -> list[str]:
        """Revoke what we signed for a station, all of it for None; its connection is ended.

        Returns the serial numbers that were not revoked before. Raises NotFound.
        """
        state = self._state(identity)
        wanted = None if serials is None else [s.lower().lstrip("0") for s in serials]
        if wanted is not None:
            known = {one.serial for one in await self._issued.all(identity)}
            for serial in wanted:
                if serial not in known:
                    raise NotFound("certificate", serial)
        reason = COMPROMISED if compromised else REMOVED
        gone = await self._issued.revoke(identity, wanted, reason=reason, actor=actor)
        if gone and state.link is not None:
            await state.link.close(1008, "certificate revoked")
        return gone

    async def revocation_list(self, use: str) -> str:
        """Return the revocation list (PEM) of the authority that signs for a use; NotFound."""
        authority = self._authorities.get(use)
        if authority is None:
            raise NotFound("authority", use)
        uses = [name for name, one in self._authorities.items() if one is authority]
        entries = [
            (one.serial, one.revoked_at, x509.ReasonFlags(one.reason))
            for one in revoked(await self._issued.all(), uses)
            if one.revoked_at is not None
        ]
        return authority.revocation_list(entries, valid=_LIST_VALID)

    async def rotate_password(self, identity: str, *, actor: str) -> dict[str, Any]:
        """Give a station a new random password, which nobody gets to see (FW-09, SEC-15).

        The old one ends when the station has come in with the new one: `rotating` of the station
        tells until then.
        """
        link = await self._on_behalf(identity, actor, "station.rotate-password")
        # 40 hexadecimal digits are what both versions take (A00.FR.205; A01).
        password = secrets.token_hex(_PASSWORD_BYTES)
        action, payload, read = _PASSWORD.get(link.version, _PASSWORD_2)
        status = read(await link.call(action, payload(password)))
        return {"station": identity, "status": status, "rotating": self.rotating(identity)}

    def rotating(self, identity: str) -> bool:
        """Tell whether a station has not yet come in with its new password."""
        return self._state(identity).record.previous_password_hash is not None

    async def _on_behalf(self, identity: str, actor: str, action: str) -> StationLink:
        link = self._state(identity).link
        if link is None:
            raise Conflict(f"station {identity!r} is offline")
        work = Work()
        work.put(Audit(self._now(), actor, action, identity))
        await self._store.commit(work)
        return link

    async def events(self, *, critical: bool) -> Sequence[StationDocument]:
        """Return the security events of all stations, newest first."""
        found = await self._store.documents_of_kind("security-event")
        wanted = (d for d in found if d.document.get("critical") or not critical)
        return sorted(wanted, key=lambda d: (d.at, d.station, d.key), reverse=True)

    def _state(self, identity: str) -> StationState:
        state = self._memory.stations.get(identity)
        if state is None:
            raise NotFound("station", identity)
        return state


_Password = tuple[str, Callable[[str], dict[str, Any]], Callable[[Mapping[str, Any]], str]]


def _variables(password: str) -> dict[str, Any]:
    return {
        "setVariableData": [
            {
                "component": {"name": "SecurityCtrlr"},
                "variable": {"name": "BasicAuthPassword"},
                "attributeValue": password,
            }
        ]
    }


def _attribute_status(answer: Mapping[str, Any]) -> str:
    results = answer.get("setVariableResult") or [{}]
    return str(results[0].get("attributeStatus"))


_PASSWORD: Final[Mapping[str, _Password]] = {
    "1.6": (
        "ChangeConfiguration",
        lambda password: {"key": "AuthorizationKey", "value": password},
        lambda answer: str(answer.get("status")),
    ),
}
_PASSWORD_2: Final[_Password] = ("SetVariables", _variables, _attribute_status)

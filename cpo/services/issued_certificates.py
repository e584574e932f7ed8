"""What our own authorities signed for stations, and what of it counts no more.

The register outlives the stations: a certificate of one that was removed stays revoked until it
expires. What a handshake must know of it is in the station's record.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from cpo.domain import values
from cpo.domain.station import Station
from cpo.services.memory import Memory, StationState
from cpo.services.ports import Audit, StationDocument, Store, Work

log = structlog.get_logger()

SHELF: Final = "\x1fissued certificates"
KIND: Final = "issued-certificate"
FOR_US: Final = "ChargingStationCertificate"

SUPERSEDED: Final = "superseded"
REMOVED: Final = "cessationOfOperation"
REFUSED: Final = "unspecified"
COMPROMISED: Final = "keyCompromise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate of ours; `serial` in hex, `use` as CertificateSigningUseEnumType.

    `reason` says why it was revoked in the words of RFC 5280.
    """

    serial: str
    station: str
    use: str
    expires_at: datetime
    issued_at: datetime
    revoked_at: datetime | None = None
    reason: str | None = None


class IssuedCertificates:
    """Keeps the register, and what of it stands in the stations' records."""

    def __init__(self, memory: Memory, store: Store, *, now: Callable[[], datetime]) -> None:
        self._memory = memory
        self._store = store
        self._now = now
        # With several nodes: has the one in charge of a station revoke.
        self.elsewhere: Callable[[StationState, dict[str, Any]], Awaitable[bytes]] | None = None

    async def all(self, station: str | None = None) -> list[Issued]:
        """Return what has not expired, of one station or of all, the oldest first."""
        prefix = "" if station is None else f"{station}|"
        kept = await self._store.documents(SHELF, KIND, prefix=prefix)
        found = [_read(document) for document in kept]
        now = self._now()
        wanted = (i for i in found if i.expires_at > now and station in (None, i.station))
        return sorted(wanted, key=lambda i: (i.issued_at, i.serial))

    async def issued(self, station: str, serial: str, use: str, expires_at: datetime) -> None:
        """Note a certificate before it leaves for its station."""
        state = self._memory.stations.get(station)
        if state is None:
            return
        work, now = Work(), self._now()
        for old in await self._store.documents(SHELF, KIND, prefix=f"{station}|"):
            if _read(old).expires_at <= now:
                work.delete(old)
        one = Issued(serial=serial, station=station, use=use, expires_at=expires_at, issued_at=now)
        self._put(work, one)
        if use == FOR_US:
            known = state.record.certificates
            self._change(work, state, certificates=(*known, serial))
        await self._commit(work, state)

    async def used(self, station: str, serial: str) -> None:
        """Learn that a station has come in with a certificate: those before it are superseded."""
        state = self._memory.stations.get(station)
        if state is None or serial not in state.record.certificates:
            return
        place = state.record.certificates.index(serial)
        if place:
            older = state.record.certificates[:place]
            await self.revoke(station, older, reason=SUPERSEDED, actor="ocpp")

    async def replaced(self, station: str, serial: str, use: str) -> None:
        """Revoke what a certificate that is not shown to us took the place of."""
        older = [i.serial for i in await self.all(station) if i.use == use and i.serial != serial]
        await self.revoke(station, older, reason=SUPERSEDED, actor="ocpp")

    async def revoke(
        self, station: str, serials: Collection[str] | None, *, reason: str, actor: str
    ) -> list[str]:
        """Revoke certificates of a station, all of them for None; returns which were not yet."""
        state = self._memory.stations.get(station)
        if state is not None and self.elsewhere is not None and not self._memory.holds(state):
            wanted = list(serials) if serials is not None else None
            said = {"serials": wanted, "reason": reason, "actor": actor}
            return msgspec.json.decode(await self.elsewhere(state, said), type=list[str])
        work = Work()
        revoked = await self._revoked(work, station, serials, reason)
        if not revoked:
            return []
        work.put(Audit(self._now(), actor, "certificate.revoke", station, f"{reason}: {revoked}"))
        if state is not None:
            record = state.record
            gone = [s for s in revoked if s in record.certificates]
            self._change(
                work,
                state,
                certificates=tuple(s for s in record.certificates if s not in gone),
                revoked_certificates=(*record.revoked_certificates, *gone),
            )
        await self._commit(work, state)
        log.info("certificate.revoked", station=station, reason=reason, serials=revoked)
        return revoked

    async def removed(self, work: Work, station: str) -> None:
        """Revoke everything of a station that is removed, in the same unit of work."""
        await self._revoked(work, station, None, REMOVED)

    async def revoked_before(self, station: str) -> tuple[str, ...]:
        """Return what an identity may not come in with, from when it was here before."""
        return tuple(i.serial for i in await self.all(station) if i.revoked_at is not None)

    async def _revoked(
        self, work: Work, station: str, serials: Collection[str] | None, reason: str
    ) -> list[str]:
        found = [
            one
            for one in await self.all(station)
            if one.revoked_at is None and (serials is None or one.serial in serials)
        ]
        for one in found:
            self._put(work, replace(one, revoked_at=self._now(), reason=reason))
        return [one.serial for one in found]

    def _put(self, work: Work, issued: Issued) -> None:
        document: dict[str, Any] = {
            "serial": issued.serial,
            "station": issued.station,
            "use": issued.use,
            "expires_at": issued.expires_at.isoformat(),
            "issued_at": issued.issued_at.isoformat(),
            "revoked_at": issued.revoked_at.isoformat() if issued.revoked_at else None,
            "reason": issued.reason,
        }
        key = f"{issued.station}|{issued.serial}"
        work.put(StationDocument(SHELF, KIND, key, document, self._now()))

    def _change(self, work: Work, state: StationState, **changes: tuple[str, ...]) -> None:
        record: Station = values.replace(state.record, **changes)
        work.put(record)
        work.then(lambda _: setattr(state, "record", record))

    async def _commit(self, work: Work, state: StationState | None) -> None:
        if state is not None:
            self._memory.fence(work, state)
        await self._store.commit(work)


def revoked(issued: Iterable[Issued], uses: Collection[str]) -> list[Issued]:
    """Return what belongs on the revocation list of an authority that signs for some uses."""
    return [one for one in issued if one.revoked_at is not None and one.use in uses]


def _read(kept: StationDocument) -> Issued:
    given = kept.document
    revoked_at = given["revoked_at"]
    return Issued(
        serial=given["serial"],
        station=given["station"],
        use=given["use"],
        expires_at=datetime.fromisoformat(given["expires_at"]),
        issued_at=datetime.fromisoformat(given["issued_at"]),
        revoked_at=datetime.fromisoformat(revoked_at) if revoked_at else None,
        reason=given["reason"],
    )

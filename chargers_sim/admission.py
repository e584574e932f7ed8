"""Who may charge: tokens held to the reader, contracts of cars, remote starts, refusals."""

from typing import TYPE_CHECKING

from chargers_sim.errors import NotAnswered, NotPossible, StationOffline
from chargers_sim.outlet import Outlet, Token, Transaction
from chargers_sim.tokens import Verdict

if TYPE_CHECKING:
    from chargers_sim.live import Station


class Admission:
    """Lets drivers charge, as station and server decide."""

    def __init__(self, station: "Station") -> None:
        self._station = station

    async def swipe(self, token: str, outlet: Outlet, kind: str) -> str:
        """Hold a token to the reader: starts, or stops what it started. Returns the status."""
        card = Token(token, kind)
        running = outlet.transaction if outlet.charging else None
        starter = None if running is None else running.token
        if starter is not None and starter.value.casefold() == token.casefold():
            await self._station.stop(outlet.number, token=token)
            return "Accepted"
        verdict = await self.check(card)
        self._station.emit(
            "authorized", id_tag=token, status=verdict.status, connector=outlet.number
        )
        if not verdict.accepted:
            return verdict.status
        master = self._station.tokens.master_group
        if running is not None and master is not None and verdict.group == master:
            await self._station.stop(outlet.number, reason="MasterPass", token=token)
            return "Accepted"
        if running is not None and running.token is not None:
            if verdict.group is not None and verdict.group == running.group:
                await self._station.stop(outlet.number, token=token)
                return "Accepted"
            raise NotPossible(f"connector {outlet.number} charges for another token")
        self._station.model.authorize(outlet.number, card, self._station.now, group=verdict.group)
        await self._station.settled()
        return verdict.status

    async def check(self, token: Token) -> Verdict:
        """Authorize a token as the station is configured to: list, server, cache."""
        if self._station.tokens.pre_authorize:
            known = self._station.tokens.known(token.value, self._station.now)
            if known is not None and known.accepted:
                return known
        if not self._station.link.online:
            return self._station.tokens.offline(token.value, self._station.now)
        try:
            verdict = await self._station.adapter.authorize(token)
        except (StationOffline, NotAnswered):
            return self._station.tokens.offline(token.value, self._station.now)
        self._station.tokens.learn(token.value, verdict, self._station.now)
        return verdict

    async def present(self, emaid: str, connector: int) -> str:
        """Let a car show its contract (ISO 15118). Returns the status."""
        token = Token(emaid, "eMAID")
        verdict = await self.check(token)
        self._station.emit("authorized", id_tag=emaid, status=verdict.status, connector=connector)
        if verdict.accepted:
            self._station.model.authorize(connector, token, self._station.now, group=verdict.group)
            await self._station.settled()
        return verdict.status

    def remote_start(
        self, outlet: Outlet, token: Token, *, remote_start_id: int | None, ask: bool
    ) -> None:
        """Start for a token the server named, after asking about it if so configured."""

        async def begin() -> None:
            verdict = await self.check(token) if ask else Verdict("Accepted")
            if not verdict.accepted:
                self._station.emit("authorized", id_tag=token.value, status=verdict.status)
                return
            self._station.model.authorize(
                outlet.number,
                token,
                self._station.now,
                group=verdict.group,
                remote_start_id=remote_start_id,
                trigger="RemoteStart",
            )
            self._station.dispatch()

        self._station.emit("remote_start", connector=outlet.number, id_tag=token.value)
        self._station.later(begin())

    def deauthorize(self, transaction: Transaction, status: str) -> None:
        """The server did not accept the token of a started transaction: obey the settings."""
        self._station.emit("deauthorized", connector=transaction.outlet, status=status)
        if transaction.running:
            self._station.model.refuse(transaction, self._station.now)
            self._station.dispatch()

"""Deviations of transactions: ids, repeats, what is lost, wrong order."""

# ruff: noqa: D102 - each method is a hook that `Deviation` describes

import re
from typing import TYPE_CHECKING

from chargers_sim.deviation import Deviation
from chargers_sim.happenings import Charged, Happening, StatusChanged
from chargers_sim.outbox import Outgoing, Payload
from chargers_sim.quirks.catalogue import V2, V16, quirk

if TYPE_CHECKING:
    from chargers_sim.live import Station


@quirk(21, "repeats-message-ids")
class RepeatsMessageIds(Deviation):
    """Counts message ids from 1 after every power-up."""

    def message_id(self, proposed: str, number: int) -> str:
        del proposed
        return str(number)


@quirk(22, "repeated-start")
class RepeatedStart(Deviation):
    """Sends the start of a transaction twice, with a new message id."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        if isinstance(happening, Charged) and happening.kind == "Started":
            return [*messages, *(again(m) for m in messages)]
        return messages


@quirk(23, "wild-transaction-ids", V16)
class WildTransactionIds(Deviation):
    """Writes -1, 0 or 2^63-1 as transaction id in MeterValues and StopTransaction."""

    _count = 0

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action in {"MeterValues", "StopTransaction"} and "transactionId" in payload:
            self._count += 1
            payload["transactionId"] = (-1, 0, 2**63 - 1)[self._count % 3]
        return payload


@quirk(24, "stop-of-the-unknown", V16)
class StopOfTheUnknown(Deviation):
    """After each stop sends one for a transaction nobody knows, until it gets a result."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        if not (isinstance(happening, Charged) and happening.kind == "Ended"):
            return messages
        extra = []
        for message in messages:
            if message.action == "StopTransaction":
                unknown = again(message)
                unknown.payload = {**message.content(), "transactionId": 1_999_999_999}
                extra.append(unknown)
        return [*messages, *extra]


@quirk(25, "values-without-transaction", V16)
class ValuesWithoutTransaction(Deviation):
    """Sends MeterValues of a transaction without its id."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "MeterValues":
            payload.pop("transactionId", None)
        return payload


@quirk(26, "colliding-ids", V2)
class CollidingIds(Deviation):
    """Uses the number of the EVSE and the day as transaction id, so that ids collide."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "TransactionEvent":
            evse = (payload.get("evse") or {"id": 1})["id"]
            payload["transactionInfo"]["transactionId"] = f"{evse}-{payload['timestamp'][:10]}"
        return payload


@quirk(27, "zero-means-none", V16)
class ZeroMeansNone(Deviation):
    """Treats the transaction id 0 as no transaction: sends the start again."""

    def understands(self, action: str, answer: Payload) -> bool:
        return action != "StartTransaction" or answer.get("transactionId") != 0


@quirk(28, "stop-without-tag", V16)
class StopWithoutTag(Deviation):
    """Sends StopTransaction without idTag and without reason."""

    def payload(self, station: "Station", action: str, payload: Payload) -> Payload:
        del station
        if action == "StopTransaction":
            payload.pop("idTag", None)
            payload.pop("reason", None)
        return payload


@quirk(29, "lost-start")
class LostStart(Deviation):
    """Loses the start of a transaction: only values and the stop come."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        if isinstance(happening, Charged) and happening.kind == "Started":
            return [m for m in messages if m.action == "StatusNotification"]
        return messages


@quirk(30, "stop-lost-at-power-cut")
class StopLostAtPowerCut(Deviation):
    """After a power cut the stop is missing."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        del station
        lost = isinstance(happening, Charged) and happening.reason == "PowerLoss"
        return [] if lost else messages


@quirk(31, "ends-below-minimum")
class EndsBelowMinimum(Deviation):
    """Ends the transaction when the limit falls below 6 A, instead of suspending it."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        if isinstance(happening, Charged) and happening.state == "SuspendedEVSE":
            transaction = happening.transaction
            if transaction.running:
                station.later(station.end(transaction, "Other"))
        return messages


@quirk(32, "status-order")
class StatusOrder(Deviation):
    """Tells Charging before the start, Available right after the stop, Finishing too early."""

    def messages(
        self, station: "Station", happening: Happening, messages: list[Outgoing]
    ) -> list[Outgoing]:
        if not isinstance(happening, Charged) or happening.kind == "Updated":
            return messages
        word = "Charging" if happening.kind == "Started" else "Available"
        early = StatusChanged(
            outlet=happening.transaction.outlet,
            status=word,  # type: ignore[arg-type]
            error="NoError",
            at_ms=happening.at_ms,
            asked=True,
        )
        return [*station.adapter.render(early), *messages]


@quirk(33, "hex-tags-only")
class HexTagsOnly(Deviation):
    """Refuses a remote start whose token is not hexadecimal."""

    def call(self, station: "Station", action: str, payload: Payload) -> bool:
        if action in {"RemoteStartTransaction", "RequestStartTransaction"}:
            token = payload.get("idTag") or payload.get("idToken", {}).get("idToken", "")
            if not re.fullmatch(r"[0-9A-Fa-f]+", token):
                station.link.refuse_next(action)
        return True


def again(message: Outgoing) -> Outgoing:
    """Make a second message of the same content, with a message id of its own."""
    return Outgoing(
        action=message.action, payload=message.payload, keep=message.keep, checked=False
    )

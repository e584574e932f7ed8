"""What a station remembers over a restart of the simulator: one JSON file each.

Registers, configuration, local list and cache, availability, reservations, charging profiles,
network profiles, certificates, running transactions and the messages that were not answered yet,
with the server's ids of their transactions.
"""

import json
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chargers_sim.errors import BadInput
from chargers_sim.outbox import Outgoing
from chargers_sim.outlet import Reservation, Token, Transaction
from chargers_sim.v2_network import chosen

if TYPE_CHECKING:
    from chargers_sim.live import Station

VERSION = 1


def save(station: "Station", path: Path) -> None:
    """Write the state, whole or not at all."""
    kept = {
        "version": VERSION,
        "identity": station.identity,
        "ocpp": station.version,
        "firmware": station.firmware,
        "configuration": station.adapter.dump(),
        "networks": {} if (networks := chosen(station)) is None else networks.dump(),
        "tokens": station.tokens.dump(),
        "certificates": station.certificates.dump(),
        "profiles": station.profiles.dump(),
        "reservations": [asdict(r) for r in station.model.body.reserved],
        "outlets": {
            str(o.number): {
                "register_mj": o.meter.register_mj,
                "operative": o.operative,
                "reservation": None if o.reservation is None else asdict(o.reservation),
                "transaction": _transaction(o.transaction) if o.charging else None,
            }
            for o in station.model.outlets.values()
        },
        "waiting": [_message(m) for m in station.outbox if m.keep],
    }
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.write_text(json.dumps(kept, indent=1))
    fresh.replace(path)


def load(station: "Station", path: Path) -> bool:
    """Read the state back; False if there is none yet."""
    if not path.exists():
        return False
    try:
        kept = json.loads(path.read_text())
        if kept["version"] != VERSION or kept["identity"] != station.identity:
            raise BadInput(f"{path}: the state of another station: {kept['identity']}")
        station.adapter.load(kept["configuration"])
        if (networks := chosen(station)) is not None:
            networks.load(kept.get("networks", {}))
        station.firmware = str(kept.get("firmware", station.firmware))
        station.tokens.load(kept["tokens"])
        station.certificates.load(kept.get("certificates", {}))
        station.profiles.load(kept.get("profiles", []))
        station.model.body.reserved = [Reservation(**r) for r in kept.get("reservations", [])]
        transactions: dict[str, Transaction] = {}
        for number, saved in kept["outlets"].items():
            outlet = station.model.outlet(int(number))
            outlet.meter.register_mj = saved["register_mj"]
            outlet.operative = saved["operative"]
            if saved.get("reservation") is not None:
                outlet.reservation = Reservation(**saved["reservation"])
            if saved["transaction"] is not None:
                transaction = _read(saved["transaction"])
                transactions[transaction.ref] = transaction
                outlet.transaction, outlet.plugged = transaction, True
        for saved in kept["waiting"]:
            station.outbox.put(_restore(saved, transactions))
    except (OSError, ValueError, LookupError, TypeError) as problem:
        raise BadInput(f"{path}: not a state file: {problem!r}") from problem
    return True


def _transaction(transaction: Transaction | None) -> dict[str, Any] | None:
    if transaction is None:
        return None
    kept = {k: v for k, v in asdict(transaction).items() if k != "history"}
    kept["meter_start_wh"] = str(transaction.meter_start_wh)
    kept["meter_stop_wh"] = None
    return kept


def _read(kept: dict[str, Any]) -> Transaction:
    token = kept.pop("token")
    kept["meter_start_wh"] = Decimal(kept["meter_start_wh"])
    return Transaction(**kept, token=None if token is None else Token(**token))


def _message(message: Outgoing) -> dict[str, Any]:
    payload = message.content()
    ref = None if message.transaction is None else message.transaction.ref
    return {
        "action": message.action,
        "payload": payload,
        "ref": ref,
        "number": None if message.transaction is None else message.transaction.number,
        "message_ids": message.message_ids,
    }


def _restore(kept: dict[str, Any], transactions: dict[str, Transaction]) -> Outgoing:
    ref, payload = kept["ref"], kept["payload"]
    transaction = None
    if ref is not None:
        transaction = transactions.setdefault(
            ref,
            Transaction(
                ref=ref, outlet=0, started_ms=0, meter_start_wh=Decimal(0), number=kept["number"]
            ),
        )
    message = Outgoing(
        action=kept["action"],
        payload=payload,
        keep=True,
        message_ids=kept["message_ids"],
        transaction=transaction,
    )
    if transaction is not None and "transactionId" in payload:

        def late() -> dict[str, Any]:
            # The start before it may have been answered only after the restart.
            number = transaction.number
            return {
                **payload,
                "transactionId": payload["transactionId"] if number is None else number,
            }

        message.payload = late
    if transaction is not None and kept["action"] == "StartTransaction":

        def started(answer: dict[str, Any]) -> None:
            transaction.number = int(answer["transactionId"])

        message.on_answer = started
    return message

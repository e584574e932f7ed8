"""Readings, verdicts and reasons in the words of OCPP 1.6."""

from chargers_sim.clock import iso, parse
from chargers_sim.meter import Reading, Sample
from chargers_sim.outbox import Payload
from chargers_sim.outlet import Transaction
from chargers_sim.tokens import Verdict

REASONS = frozenset(
    {
        "DeAuthorized",
        "EmergencyStop",
        "EVDisconnected",
        "HardReset",
        "Local",
        "Other",
        "PowerLoss",
        "Reboot",
        "Remote",
        "SoftReset",
        "UnlockCommand",
    }
)


def sampled_value(sample: Sample, context: str) -> Payload:
    """Write one sample; values are strings in 1.6, defaults are left in for clarity."""
    value: Payload = {
        "value": str(sample.value),
        "context": context,
        "measurand": sample.measurand,
        "location": sample.location,
    }
    # Frequency and factors have no unit of 1.6; Hz is a deviation of its own.
    if sample.unit and sample.unit != "Hz":
        value["unit"] = sample.unit
    if sample.phase is not None:
        value["phase"] = sample.phase
    if sample.signed is not None:
        value["value"], value["format"] = sample.signed, "SignedData"
    return value


def meter_value(reading: Reading) -> Payload:
    """Write a reading."""
    return {
        "timestamp": iso(reading.at_ms),
        "sampledValue": [sampled_value(s, reading.context) for s in reading.samples],
    }


def transaction_number(transaction: Transaction) -> int:
    """Give the server's number; errata 3.18: -1 if the start never got through."""
    return -1 if transaction.number is None else transaction.number


def reason_word(reason: str | None) -> str:
    """Write why a transaction ended."""
    return reason if reason in REASONS else "Other"


def read_verdict(info: Payload) -> Verdict:
    """Read an IdTagInfo."""
    until = info.get("expiryDate")
    return Verdict(info["status"], info.get("parentIdTag"), None if until is None else parse(until))

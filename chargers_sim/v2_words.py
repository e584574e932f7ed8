"""Readings, tokens and verdicts in the words of OCPP 2.0.1 and 2.1."""

from decimal import Decimal

from chargers_sim.clock import iso, parse
from chargers_sim.meter import Reading, Sample
from chargers_sim.outbox import Payload
from chargers_sim.outlet import Token
from chargers_sim.tokens import Verdict

SCALED = frozenset({"Wh", "W", "varh", "var", "VAh", "VA"})


def number(value: Decimal) -> int | float:
    """Write an exact decimal as the JSON number with the same digits."""
    return int(value) if value == value.to_integral_value() else float(value)


def sampled_value(sample: Sample, context: str, multiplier: int = 0) -> Payload:
    """Write one sample; a multiplier of 3 writes thousands of energy and power units."""
    scaled = multiplier if sample.unit in SCALED else 0
    value: Payload = {
        "value": number(sample.value.scaleb(-scaled)),
        "context": context,
        "measurand": sample.measurand,
        "location": sample.location,
    }
    if sample.unit:
        value["unitOfMeasure"] = {"unit": sample.unit}
    if scaled:
        value["unitOfMeasure"]["multiplier"] = scaled
    if sample.phase is not None:
        value["phase"] = sample.phase
    if sample.signed is not None:
        value["signedMeterValue"] = {
            "signedMeterData": sample.signed,
            "signingMethod": "ECDSA-secp256r1-SHA256",
            "encodingMethod": "OCMF",
            "publicKey": sample.public_key or "",
        }
    return value


def meter_value(reading: Reading, multiplier: int = 0) -> Payload:
    """Write a reading."""
    return {
        "timestamp": iso(reading.at_ms),
        "sampledValue": [sampled_value(s, reading.context, multiplier) for s in reading.samples],
    }


def id_token(token: Token) -> Payload:
    """Write a token with its type."""
    return {"idToken": token.value, "type": token.kind}


def read_verdict(info: Payload) -> Verdict:
    """Read an IdTokenInfo."""
    group = info.get("groupIdToken")
    until = info.get("cacheExpiryDateTime")
    return Verdict(
        info["status"],
        None if group is None else group.get("idToken"),
        None if until is None else parse(until),
    )

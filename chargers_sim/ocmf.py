"""Readings signed in the Open Charge Metering Format, also deliberately spoilt ones."""

import hashlib
import json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chargers_sim.clock import iso
from chargers_sim.meter import Reading, Sample
from chargers_sim.outlet import Outlet


class Signer:
    """Signs the energy register at both ends of a transaction with the meter's own key.

    The key follows from the meter's serial number, so that it is the same at every run.
    """

    def __init__(self, serial: str, *, tampered: bool = False) -> None:
        seed = int.from_bytes(hashlib.sha256(f"ocmf {serial}".encode()).digest(), "big")
        self._key = ec.derive_private_key(seed % (1 << 255) + 1, ec.SECP256R1())
        self._serial = serial
        self._tampered = tampered
        self._page = 0

    @property
    def public_key(self) -> str:
        """The public key as OCMF readers want it: DER, hexadecimal."""
        return (
            self._key.public_key()
            .public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .hex()
        )

    def sign(self, outlet: Outlet, reading: Reading) -> Sample | None:
        """Give the signed sample for the begin or end of a transaction, else None."""
        if reading.context not in {"Transaction.Begin", "Transaction.End"}:
            return None
        self._page += 1
        token = None if outlet.transaction is None else outlet.transaction.token
        kwh = outlet.meter.register_wh() / 1000
        payload = {
            "FV": "1.0",
            "GI": "chargers-sim",
            "GS": outlet.meter.serial,
            "PG": f"T{self._page}",
            "MV": "Example Meters",
            "MM": "EM-1",
            "MS": outlet.meter.serial,
            "IS": token is not None,
            "IL": "VERIFIED" if token is not None else "NONE",
            "IT": "ISO14443" if token is not None else "NONE",
            "ID": "" if token is None else token.value,
            "RD": [
                {
                    "TM": iso(reading.at_ms).split(".")[0].removesuffix("Z") + ",000+0000 S",
                    "TX": "B" if reading.context == "Transaction.Begin" else "E",
                    "RV": float(kwh),
                    "RI": "1-b:1.8.0",
                    "RU": "kWh",
                    "ST": "G",
                }
            ],
        }
        text = json.dumps(payload, separators=(",", ":"))
        signature = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())).hex()
        if self._tampered:
            payload["RD"][0]["RV"] = float(kwh) + 1  # type: ignore[index]
            text = json.dumps(payload, separators=(",", ":"))
        blob = f"OCMF|{text}|{json.dumps({'SD': signature}, separators=(',', ':'))}"
        return Sample(
            measurand="Energy.Active.Import.Register",
            value=outlet.meter.register_wh(),
            unit="Wh",
            signed=blob,
            public_key=self.public_key,
        )

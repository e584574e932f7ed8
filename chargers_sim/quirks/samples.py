"""The energy samples of a message, wherever they are, for deviations that bend them."""

from collections.abc import Iterable
from typing import Any

from chargers_sim.outbox import Payload


def energy(payload: Payload) -> Iterable[Payload]:
    """Give each energy register sample of a message, wherever it is."""
    for values in [*payload.get("meterValue", []), *payload.get("transactionData", [])]:
        for sample in values["sampledValue"]:
            named = sample.get("measurand", "Energy.Active.Import.Register")
            if named == "Energy.Active.Import.Register":
                yield sample


def put(sample: Payload, value: Any) -> None:
    """Write a value into a sample as the text or number it was."""
    sample["value"] = str(value) if isinstance(sample["value"], str) else value

"""What an OCPI object costs: rendered and checked, and read, per version.

Beside it the same document written by msgspec alone, which is the least anybody could spend, and
checked by the pydantic models alone, which is what the quick check saves.

    PYTHONPATH=.:tests/support python benchmarks/ocpi_codec.py      JSON, microseconds of CPU
"""

import json
import time
from collections.abc import Callable

import msgspec
from ocpi_charges import STAMP, cdr, location, session, tariff, token

from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Codec, Rendered, Stamps
from cpo.ocpi.dialects import DIALECTS
from cpo.ocpi.v211 import wire as v211
from cpo.ocpi.v221 import wire as v221
from cpo.ocpi.v230 import wire as v230

MODELS = {"2.1.1": v211, "2.2.1": v221, "2.3.0": v230}
BARE = msgspec.json.Encoder(decimal_format="number")
ROUNDS, TIMES = 9, 100


def microseconds(call: Callable[[], object]) -> float:
    """Return the least CPU time of a call over several rounds."""
    call()
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        for _ in range(TIMES):
            call()
        best = min(best, (time.process_time_ns() - begun) / TIMES / 1000)
    return round(best, 1)


def objects(codec: Codec) -> dict[str, Callable[[], Rendered]]:
    place, running, final, price, driver = location(), session(), cdr(), tariff(), token()
    stamps = Stamps(location=STAMP)
    return {
        "Location": lambda: codec.location(place, statuses={}, stamps=stamps),
        "Session": lambda: codec.session(running),
        "Cdr": lambda: codec.cdr(final),
        "Tariff": lambda: codec.tariff(price),
        "Token": lambda: codec.token(driver),
    }


def measured() -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for version, dialect in DIALECTS.items():
        found[version] = {}
        for name, render in objects(dialect.codec).items():
            text = render().text
            document = exact_json.decode(text)
            model = getattr(MODELS[version], name)
            found[version][name] = {
                "bytes": len(text),
                "rendered_and_checked": microseconds(render),
                "read": microseconds(lambda m=model, d=document: m.read(d)),
                "written_bare": microseconds(lambda d=document: BARE.encode(d)),
                "checked_by_model": microseconds(lambda m=model, d=document: m.problems(d)),
            }
        found[version]["EVSE status"] = {
            "rendered": microseconds(lambda c=dialect.codec: c.evse_status("CHARGING", STAMP))
        }
    return found


if __name__ == "__main__":
    print(json.dumps(measured(), indent=1))

"""Partners that nobody here wrote: PyPI extrawest-ocpi as eMSP, ocpi-211-sdk as client of OCPI 2.1.1.

Each is fetched by name and version into an environment of this run; where that is not possible the
test is skipped with the reason. They take a minute, so they run only where CPO_TEST_THIRD_PARTY is
set, as .ci/run does.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from waiting import until

from tests.conftest import absent
from tests.e2e.conftest import new_site
from tests.support.cpo_process import CpoProcess

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not os.environ.get("CPO_TEST_THIRD_PARTY"), reason="CPO_TEST_THIRD_PARTY is not set"
    ),
]
HERE = Path(__file__).parent / "third_party"
PACKAGES = {
    "extrawest": ("extrawest-ocpi==2025.7.16", "uvicorn==0.54.0"),
    "sdk": ("ocpi-211-sdk==0.0.3",),
}
CARD = "04EXTRA1"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cpo(tmp_path_factory):
    async with CpoProcess(tmp_path_factory.mktemp("cpo")) as process:
        yield process
        assert process.tracebacks() == ""


@pytest.fixture(scope="session")
def python_of(tmp_path_factory):
    """Return the interpreter of an environment with one of the packages."""

    def made(name):
        folder = tmp_path_factory.getbasetemp() / f"venv-{name}"
        python = folder / "bin" / "python"
        if not python.exists():
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            try:
                for command in ([sys.executable, "-m", "venv", folder], [*pip, *PACKAGES[name]]):
                    subprocess.run(command, capture_output=True, check=True, timeout=240)
            except (subprocess.SubprocessError, OSError) as error:
                absent("third-party", f"{PACKAGES[name][0]} cannot be fetched: {error}")
        return str(python)

    return made


@contextlib.asynccontextmanager
async def extrawest(python, version, **environment):
    """An eMSP of that package: its address, and what returns all it holds."""
    process = await asyncio.create_subprocess_exec(
        python, str(HERE / "extrawest_emsp.py"), version, "token-a-of-extrawest", CARD,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "", **environment},
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            port = int(await process.stdout.readline())
        url = f"http://127.0.0.1:{port}"

        async def held():
            async with aiohttp.ClientSession() as http, http.get(f"{url}/held") as answer:
                return json.loads(await answer.text(), parse_float=Decimal)

        yield url, held
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


@pytest.mark.parametrize(
    ("version", "slash"), [("2.2.1", "true"), ("2.2.1", "false"), ("2.1.1", "true")]
)
async def test_extrawest_ocpi_is_served_a_whole_charge(cpo, python_of, version, slash):
    """Registered by us; what it holds afterwards has passed its models. It asks, we ask, all in turn.

    Without the slash it answers 307. Its CDR of 2.1.1 wants a field of 2.2.1: that is a quirk.
    """
    async with extrawest(python_of("extrawest"), version, TRAILING_SLASH=slash) as (url, held):
        site = await new_site(cpo)
        body = {
            "name": f"extrawest {version} {slash}",
            "versions_url": f"{url}/ocpi/versions",
            "token_a": "token-a-of-extrawest",
            "quirks": {"cdr_end_date_time": True} if version == "2.1.1" else {},
        }
        partner = await cpo.api("POST", "/partners/connect", body)
        assert (partner["status"], partner["version"]) == ("connected", version)

        try:

            async def holds(module, id_):
                return (await held()).get(module, {}).get(id_.lower())

            await until(lambda: holds("locations", site.location))
            await until(lambda: holds("tariffs", site.tariff))
            async with site.charger() as charger:
                await charger.boot()
                # NEVER: it is asked each time.
                assert await charger.begin(CARD) == "Accepted"
                await charger.meter(2_000)
                await cpo.api("POST", f"/partners/{partner['id']}/rotate")
                await charger.end(5_000)

                async def billed():
                    state = await held()
                    return next(iter(state.get("cdrs", {}).values()), None)

                cdr = await until(billed)

            async def ended():
                sessions = (await held())["sessions"]
                return [s["status"] for s in sessions.values()] == ["COMPLETED"]

            await until(ended)
            ours = (await cpo.api("GET", "/cdrs?limit=1"))["items"][0]
            state = await held()
            backlog = await cpo.api("GET", f"/partners/{partner['id']}/backlog")
        finally:
            await cpo.api("DELETE", f"/partners/{partner['id']}")

    assert state["asked"][0]["token_uid"].lower() == CARD.lower()
    assert state["asked"][0]["location_reference"]["location_id"].lower() == site.location.lower()
    assert cdr["id"].lower() == ours["id"].lower()
    assert Decimal(str(cdr["total_energy"])) > 0
    assert len(state["cdrs"]) == len(state["sessions"]) == 1
    assert [item for item in backlog["items"] if item["parked"]] == []


async def test_ocpi_211_sdk_reads_what_it_can(cpo, python_of):
    """Versions, credentials, locations, tariffs and tokens, by its models; as a client of 2.1.1."""
    python = python_of("sdk")
    site = await new_site(cpo)
    invited = await cpo.api("POST", "/partners", {"name": "sdk"})
    ocpi = invited["versions_url"].removesuffix("/versions")
    process = await asyncio.create_subprocess_exec(
        python, str(HERE / "sdk_211.py"), ocpi, invited["token_a"], site.location, site.evse,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    said, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()[-2000:]
    read = json.loads(said)

    assert read == {
        "versions": ["2.1.1", "2.2.1", "2.3.0"],
        "registered": [1000, "CPO"],
        "credentials": True,
        "locations": read["locations"],
        "location": site.location,
        "evse": [site.evse, "PLANNED"],
        "connector": ["1", site.tariff],
        "tariffs": read["tariffs"],
        "token": [1000, "04SDK1", "NL-SDK-C1", True],
        "sessions": [],
        "cdrs": [],
        "left": 1000,
    }
    assert site.location in read["locations"]
    assert site.tariff in read["tariffs"]

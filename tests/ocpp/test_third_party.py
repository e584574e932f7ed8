"""A charge point that nobody here wrote: npm ocpp-rpc in strict mode, both directions checked.

Skipped with the reason when Node or the package is absent; fails instead when CPO_TEST_REQUIRE
names `node`.
"""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from waiting import LONG

from cpo.domain.command import CommandKind, StationCommand
from tests.conftest import absent
from tests.ocpp.conftest import PASSWORD

FOLDER = Path(__file__).parent / "third_party"
PARAMETERS = {
    CommandKind.RESERVE: {"reservation_id": "R1", "expiry_date_time": "2030-01-01T00:00:00Z"},
    CommandKind.CANCEL_RESERVATION: {"reservation_id": "R1"},
    CommandKind.AVAILABILITY: {"operational_status": "Operative"},
    CommandKind.RESET: {"type": "OnIdle"},
    CommandKind.TRIGGER: {"requested_message": "Heartbeat"},
    CommandKind.GET_VARIABLES: {"variables": ["OCPPCommCtrlr.HeartbeatInterval"]},
    CommandKind.SEND_LOCAL_LIST: {
        "version": 1,
        "entries": [{"id_token": "TAG", "type": "RFID", "status": "Accepted"}],
    },
    CommandKind.SET_CHARGING_PROFILE: {
        "profile": {
            "id": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": [
                {
                    "chargingRateUnit": "A",
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.1}],
                }
            ],
        }
    },
}
ASKED = [
    CommandKind.START_SESSION,
    CommandKind.STOP_SESSION,
    CommandKind.UNLOCK,
    CommandKind.CLEAR_CACHE,
    *PARAMETERS,
]


@pytest.fixture(scope="module")
def charger_script():
    """The script, with its package installed beside it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        absent("node", "node and npm are not installed")
    if not (FOLDER / "node_modules" / "ocpp-rpc").is_dir():
        try:
            subprocess.run(
                ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"],
                cwd=FOLDER,
                capture_output=True,
                check=True,
                timeout=50,
            )
        except (subprocess.SubprocessError, OSError) as error:
            absent("node", f"ocpp-rpc cannot be installed: {error}")
    return FOLDER / "charger.js"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_rp30_a_strict_client_objects_to_nothing_of_ours(
    backend, books, charger_script, version
):
    process = await asyncio.create_subprocess_exec(
        "node",
        str(charger_script),
        f"ws://127.0.0.1:{backend.port}/ocpp",
        "CP1",
        PASSWORD,
        version,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(LONG):
        line = (await process.stdout.readline()).decode()
    assert line == "charged\n", line
    link = backend.stations.link("CP1")
    replies = {}
    for kind in ASKED:
        command = StationCommand(
            kind=kind,
            evse_id=1,
            connector_id=1,
            id_token="TAG",
            id_token_type="RFID",
            remote_start_id=7,
            transaction="7",
            parameters=PARAMETERS.get(kind, {}),
        )
        replies[kind] = await link.execute(command, timeout=5)
    output, _ = await process.communicate(b"done\n")
    seen = json.loads(output)

    assert seen["objections"] == []
    assert process.returncode == 0
    assert {reply.outcome.value for reply in replies.values()} == {"ACCEPTED"}
    assert len(seen["asked"]) == len(ASKED)
    assert books.only_cdr.energy_wh == 2000

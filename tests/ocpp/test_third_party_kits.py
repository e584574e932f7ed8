"""Test kits and chargers that nobody here wrote: npm ocpp-ws-cli, PyPI test-ocpp, the ocpp package.

The two kits are fetched from their registries into a directory of this run, by name and version;
where that is not possible the test is skipped with the reason. They take half a minute, so they
run only where CPO_TEST_THIRD_PARTY is set, as .ci/run does.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import ocpp.v21
import ocpp.v201
import pytest
from ocpp.routing import on
from websockets.asyncio.client import connect
from websockets.headers import build_authorization_basic

from cpo.domain.command import StationCommand
from tests.conftest import absent
from tests.ocpp.conftest import PASSWORD, SUBPROTOCOL
from tests.ocpp.test_third_party import ASKED, PARAMETERS

WANTED = pytest.mark.skipif(
    not os.environ.get("CPO_TEST_THIRD_PARTY"), reason="CPO_TEST_THIRD_PARTY is not set"
)
WS_CLI = "ocpp-ws-cli@1.1.12"
TEST_OCPP = "test-ocpp==1.0.0"

# Where the kit and the specification differ, by the name of its check; all others must pass.
KIT_IS_WRONG = {
    # OCPP-J 1.6 and 2.x, 3.1.2: the handshake is finished without the header, then the line closed.
    "Server requires subprotocol": {"1.6", "2.0.1"},
    # 2.x, 4.3: RpcFrameworkError when the message id cannot be read. 1.6 has no rule; seen in use.
    "Server enforces MessageId is a string": {"1.6", "2.0.1"},
    # The name of this code in 1.6 is FormationViolation.
    "Server rejects missing payload in CALL": {"1.6"},
    "Server rejects non-object payload in CALL": {"1.6"},
}


def fetched(*command: str, name: str) -> None:
    """Run a package manager; skip the test where it does not bring what was asked for."""
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=150)
    except (subprocess.SubprocessError, OSError) as error:
        absent("third-party", f"{name} cannot be fetched: {error}")


async def output(*command: str, **environment: str) -> tuple[int | None, str]:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    text, _ = await process.communicate()
    return process.returncode, text.decode(errors="replace")


@WANTED
@pytest.mark.timeout(600)
async def test_ocpp_ws_cli_finds_nothing(open_backend, tmp_path):
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        absent("node", "node and npm are not installed")
    fetched(npm, "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), WS_CLI,
            name=WS_CLI)  # fmt: skip
    backend = await open_backend(max_frame_bytes=131_072, messages_per_second=0)
    await backend.register("CP001", allow_without_password=True, security_profile=0)
    kit = tmp_path / "node_modules" / "ocpp-ws-cli" / "dist" / "index.js"
    for version in ("1.6", "2.0.1"):
        folder = tmp_path / version
        folder.mkdir()
        code, said = await output(
            node, str(kit), "test", "--endpoint", f"ws://127.0.0.1:{backend.port}/ocpp",
            "--identity", "CP001", "--protocol", SUBPROTOCOL[version], "--suite", "all",
            "--report", "json", "--report-dir", str(folder),
        )  # fmt: skip
        (report,) = folder.glob("*.json") or pytest.fail(f"{code}: {said[-2000:]}")
        results = json.loads(report.read_text())["testResults"]
        findings = {
            result["name"]: result["issue"]
            for result in results
            if not result["passed"] and version not in KIT_IS_WRONG.get(result["name"], ())
        }
        assert len(results) >= 21, said[-2000:]
        assert findings == {}, version


@WANTED
async def test_test_ocpp_is_content(open_backend, tmp_path):
    fetched(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--target", str(tmp_path), TEST_OCPP, name=TEST_OCPP,
    )  # fmt: skip
    backend = await open_backend()
    await backend.register("CP1")
    url = f"ws://127.0.0.1:{backend.port}/ocpp"
    for version in ("1.6", "2.0.1"):
        for password, wanted in ((PASSWORD, 0), ("wrong", 1)):
            code, said = await output(
                sys.executable, "-m", "test_ocpp", url, "CP1", "--ocpp", version,
                "--password", password, "--trailing-slash", PYTHONPATH=str(tmp_path),
            )  # fmt: skip
            assert code == wanted, said


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def charger_of(package: Any, socket: Any, asked: list[str]) -> Any:
    """A charge point of the `ocpp` package, which checks all payloads of both directions."""

    class Station(package.ChargePoint):  # type: ignore[misc]
        pass

    def answering(action: str) -> Any:
        answer = getattr(package.call_result, action)

        async def accept(_self: Any, **payload: Any) -> Any:
            asked.append(action)
            if action == "GetVariables":
                wanted = payload["get_variable_data"]
                return answer(
                    get_variable_result=[
                        {**one, "attribute_status": "Accepted", "attribute_value": "1"}
                        for one in wanted
                    ]
                )
            status = "Unlocked" if action == "UnlockConnector" else "Accepted"
            return answer(status=status)

        # The package finds handlers by the names of their functions.
        accept.__name__ = f"on_{action}"
        return on(action)(accept)

    for action in (
        "RequestStartTransaction", "RequestStopTransaction", "UnlockConnector", "ClearCache",
        "ReserveNow", "CancelReservation", "ChangeAvailability", "Reset", "TriggerMessage",
        "GetVariables", "SendLocalList", "SetChargingProfile", "GetBaseReport",
    ):  # fmt: skip
        setattr(Station, f"on_{action}", answering(action))
    return Station("CP1", socket)


@pytest.mark.parametrize(("version", "package"), [("2.0.1", ocpp.v201), ("2.1", ocpp.v21)])
async def test_rp30_the_ocpp_packages_charge_point_charges_and_obeys(
    backend, books, version, package
):
    asked: list[str] = []
    socket = await connect(
        f"ws://127.0.0.1:{backend.port}/ocpp/CP1",
        subprotocols=[SUBPROTOCOL[version]],
        additional_headers={"Authorization": build_authorization_basic("CP1", PASSWORD)},
        proxy=None,
    )
    station = charger_of(package, socket, asked)
    reading = asyncio.create_task(station.start())
    call = package.call
    boot = await station.call(
        call.BootNotification(
            charging_station={"model": "ocpp", "vendor_name": "Package"}, reason="PowerUp"
        )
    )
    assert boot.status == "Accepted"
    token = {"id_token": "TAG", "type": "ISO14443"}
    for seq, (kind, minutes, wh) in enumerate(
        (("Started", -60, 1000), ("Updated", -30, 2000), ("Ended", -1, 3000))
    ):
        event = call.TransactionEvent(
            event_type=kind,
            timestamp=backend.at(minutes=minutes),
            trigger_reason="Authorized" if seq == 0 else "MeterValuePeriodic",
            seq_no=seq,
            transaction_info={"transaction_id": "package-1"},
            meter_value=[
                {"timestamp": backend.at(minutes=minutes), "sampled_value": [{"value": wh}]}
            ],
            **({"id_token": token, "evse": {"id": 1, "connector_id": 1}} if seq == 0 else {}),
        )
        answer = await station.call(event)
        assert (answer.id_token_info is not None) is (seq == 0)
    link = backend.stations.link("CP1")
    outcomes = {}
    for kind in ASKED:
        command = StationCommand(
            kind=kind, evse_id=1, connector_id=1, id_token="TAG", id_token_type="RFID",
            remote_start_id=7, transaction="7", parameters=PARAMETERS.get(kind, {}),
        )  # fmt: skip
        reply = await link.execute(command, timeout=20)
        outcomes[kind] = (reply.outcome.value, reply.detail)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await socket.close()

    assert {outcome for outcome, _ in outcomes.values()} == {"ACCEPTED"}, outcomes
    assert len(asked) >= len(ASKED)
    assert books.only_cdr.energy_wh == 2000

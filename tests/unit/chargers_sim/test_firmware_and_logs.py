"""Firmware and log jobs: what is really fetched, verified and sent, and honest failures."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from waiting import LONG

from chargers_sim.live import Station
from chargers_sim.template import load_template
from tests.unit.chargers_sim.test_maintenance import ROOT, ROOT_KEY, ask, certificate

IMAGE = b"header version: 9.8.7 " + bytes(range(256)) * 20
SIGNER = ec.generate_private_key(ec.SECP256R1())
VERSIONS = ["1.6", "2.0.1", "2.1"]


class Files:
    """A web server that hands out an image and takes what is put."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""

    async def give(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        name = request.match_info["name"]
        if name == "broken" or (name == "late" and len(self.asked) < 3):
            return web.Response(status=503)
        return web.Response(body=IMAGE)

    async def take(self, request: web.Request) -> web.Response:
        self.taken[request.match_info["name"]] = await request.text()
        return web.Response(status=201)


@pytest.fixture
async def files():
    made, app = Files(), web.Application()
    app.router.add_get("/{name}", made.give)
    app.router.add_put("/logs/{name}", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    yield made
    await runner.cleanup()


def signed(address: str, *, signature: bytes | None = None, signer: Any = SIGNER) -> dict[str, Any]:
    made = SIGNER.sign(IMAGE, ec.ECDSA(hashes.SHA256())) if signature is None else signature
    return {
        "location": address,
        "retrieveDateTime": "2026-01-01T00:00:00Z",
        "signingCertificate": certificate(signer.public_key()),
        "signature": base64.b64encode(made).decode(),
    }


async def update(loose, settle, station, version, firmware) -> tuple[str | None, list[str]]:
    """Ask for an update; gives the answer's status and the train of statuses told."""
    if version == "1.6" and "signature" not in firmware:
        name, request = (
            "UpdateFirmware",
            {
                "location": firmware["location"],
                "retrieveDate": firmware["retrieveDateTime"],
            },
        )
    else:
        name = "SignedUpdateFirmware" if version == "1.6" else "UpdateFirmware"
        request = {"requestId": 5, "firmware": firmware}
    answer = await ask(loose, settle, name, request)
    if answer.get("status", "Accepted") == "Accepted":
        await station.wait_for("firmware", timeout=LONG)
        await station.online(timeout=LONG)
    told = [
        p
        for action in ("SignedFirmware", "Firmware")
        for p in loose.of(f"{action}StatusNotification")
    ]
    assert all(p.get("requestId", 5) == 5 for p in told)
    return answer.get("status"), [p["status"] for p in told]


def plain(address: str) -> dict[str, Any]:
    return {"location": address, "retrieveDateTime": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_firmware_is_fetched_installed_and_booted(loose, settle, files, version) -> None:
    """FW-01, 044_1, L02: the station comes back with the version that the image names."""
    async with Station(loose.url, "CP1", ocpp=version, reconnect=(0.01, 0.1)) as station:
        _, train = await update(loose, settle, station, version, plain(f"{files.url}/image"))

    stages = ["Downloading", "Downloaded", "Installing"]
    assert train == [*stages, *(["InstallRebooting"] if version != "1.6" else []), "Installed"]
    assert files.asked == ["/image"]
    boots = loose.of("BootNotification")
    boot = boots[-1] if version == "1.6" else boots[-1]["chargingStation"]
    assert (len(boots), boot["firmwareVersion"]) == (2, "9.8.7")
    if version != "1.6":
        assert boots[-1]["reason"] == "FirmwareUpdate"


@pytest.mark.parametrize(
    ("version", "address"),
    [
        ("1.6", "ftp://x/image"),
        ("2.0.1", "sftp://x/image"),
        ("2.1", "http://127.0.0.1:9/image"),
        ("1.6", "{}/broken"),
        ("2.0.1", "no"),
    ],
)
async def test_what_cannot_be_fetched_has_failed(loose, settle, files, version, address) -> None:
    """044_2, L01: no scheme is pretended, no server is imagined."""
    async with Station(loose.url, "CP1", ocpp=version) as station:
        firmware = plain(address.format(files.url))
        _, train = await update(loose, settle, station, version, firmware)

    assert train == ["Downloading", "DownloadFailed"]
    assert len(loose.of("BootNotification")) == 1


async def test_a_download_is_tried_again(loose, settle, files) -> None:
    """L01.FR: retries."""
    request = {
        "location": f"{files.url}/late",
        "retrieveDate": "2026-01-01T00:00:00Z",
        "retries": 3,
        "retryInterval": 60,
    }
    async with Station(loose.url, "CP1", reconnect=(0.01, 0.1)) as station:
        await ask(loose, settle, "UpdateFirmware", request)
        await station.wait_for("firmware", status="Installed", timeout=LONG)

    assert len(files.asked) == 3


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_good_signature_is_verified(loose, settle, files, version) -> None:
    """L01, FW-02: ECDSA over the image."""
    async with Station(loose.url, "CP1", ocpp=version, reconnect=(0.01, 0.1)) as station:
        firmware = signed(f"{files.url}/image")
        status, train = await update(loose, settle, station, version, firmware)

    assert status == "Accepted"
    assert train[1:3] == ["Downloaded", "SignatureVerified"]
    assert train[-1] == "Installed"
    assert [p["type"] for p in loose.of("SecurityEventNotification")] == ["FirmwareUpdated"]


@pytest.mark.parametrize("scheme", ["pss", "pkcs1"])
async def test_an_rsa_signature_is_verified(loose, settle, files, scheme) -> None:
    key = rsa.generate_private_key(65537, 2048)
    sha = hashes.SHA256()
    pad: Any = padding.PSS(padding.MGF1(sha), 32) if scheme == "pss" else padding.PKCS1v15()
    firmware = signed(f"{files.url}/image", signature=key.sign(IMAGE, pad, sha), signer=key)
    async with Station(loose.url, "CP1", ocpp="2.0.1", reconnect=(0.01, 0.1)) as station:
        _, train = await update(loose, settle, station, "2.0.1", firmware)

    assert "SignatureVerified" in train


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("over", [None, b"another image"])
async def test_a_wrong_signature_is_told_and_nothing_installed(
    loose, settle, files, version, over
) -> None:
    """L01, FW-02: InvalidSignature and the security event."""
    made = b"nonsense" if over is None else SIGNER.sign(over, ec.ECDSA(hashes.SHA256()))
    async with Station(loose.url, "CP1", ocpp=version) as station:
        firmware = signed(f"{files.url}/image", signature=made)
        _, train = await update(loose, settle, station, version, firmware)
        await station.settle()

    assert train == ["Downloading", "Downloaded", "InvalidSignature"]
    events = [p["type"] for p in loose.of("SecurityEventNotification")]
    assert events == ["InvalidFirmwareSignature"]
    assert station.firmware == "1.4.2"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_of_nobody_is_refused(loose, settle, files, version) -> None:
    """With a root of the maker installed, another's certificate is InvalidCertificate."""
    name = ROOT_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    stranger = signed(f"{files.url}/image")
    garbage = {**stranger, "signingCertificate": name.decode()}
    async with Station(loose.url, "CP1", ocpp=version) as station:
        no_pem, _ = await update(loose, settle, station, version, garbage)
        other_root = certificate(SIGNER.public_key())
        use = "ManufacturerRootCertificate"
        station.certificates.install(use, other_root)
        not_ours, _ = await update(loose, settle, station, version, stranger)
        station.certificates.install(use, ROOT)

    assert (no_pem, not_ours) == ("InvalidCertificate", "InvalidCertificate")
    assert files.asked == []


async def test_an_update_waits_for_its_time_and_for_the_driver(loose, settle, files) -> None:
    """DownloadScheduled until retrieveDateTime, InstallScheduled while a car charges."""
    async with Station(loose.url, "CP1", ocpp="2.0.1", reconnect=(0.01, 0.1)) as station:
        at = datetime.fromtimestamp(station.now / 1000, UTC) + timedelta(seconds=600)
        firmware = {**plain(f"{files.url}/image"), "retrieveDateTime": at.isoformat()}
        await station.plug()
        await station.swipe("TAG1")
        await ask(loose, settle, "UpdateFirmware", {"requestId": 5, "firmware": firmware})
        await settle(lambda: loose.of("FirmwareStatusNotification"))
        await station.advance(300)
        early = [p["status"] for p in loose.of("FirmwareStatusNotification")]
        await station.advance(300)
        statuses: list[str] = []

        def waits() -> bool:
            statuses[:] = [p["status"] for p in loose.of("FirmwareStatusNotification")]
            return statuses[-1] == "InstallScheduled"

        await settle(waits)
        asked = await ask(
            loose, settle, "TriggerMessage", {"requestedMessage": "FirmwareStatusNotification"}
        )
        await station.stop()
        await station.wait_for("firmware", status="Installed", timeout=LONG)
        await station.online(timeout=LONG)

    assert early == ["DownloadScheduled"]
    assert statuses == ["DownloadScheduled", "Downloading", "Downloaded", "InstallScheduled"]
    assert asked["status"] == "Accepted"
    assert loose.of("FirmwareStatusNotification")[4]["status"] == "InstallScheduled"


@pytest.mark.parametrize(
    ("stage", "last"),
    [("download", "DownloadFailed"), ("install", "InstallationFailed")],
)
async def test_a_stage_fails_on_demand(loose, settle, files, stage, last) -> None:
    async with Station(loose.url, "CP1") as station:
        station.maintenance.breaks = {stage}
        _, train = await update(loose, settle, station, "1.6", plain(f"{files.url}/image"))

    assert train[-1] == last


async def log(loose, settle, station, version, address) -> list[str]:
    if version == "1.6":
        await ask(loose, settle, "GetDiagnostics", {"location": address})
        action = "DiagnosticsStatusNotification"
    else:
        request = {"logType": "DiagnosticsLog", "requestId": 8, "log": {"remoteLocation": address}}
        answer = await ask(loose, settle, "GetLog", request)
        assert answer["status"] == "Accepted"
        action = "LogStatusNotification"
    await station.wait_for("log_upload", timeout=LONG)
    await station.settle()
    assert all(p.get("requestId", 8) == 8 for p in loose.of(action))
    return [p["status"] for p in loose.of(action)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_log_is_put_where_the_server_wants_it(loose, settle, files, version) -> None:
    """N25, 049: the frames of the station, over HTTP PUT."""
    async with Station(loose.url, "CP1", ocpp=version) as station:
        told = await log(loose, settle, station, version, f"{files.url}/logs")

    (text,) = files.taken.values()
    assert told == ["Uploading", "Uploaded"]
    assert "BootNotification" in text


@pytest.mark.parametrize(
    ("version", "address"),
    [
        ("1.6", "ftp://u:p@x/"),
        ("2.0.1", "sftp://x/"),
        ("2.1", "http://127.0.0.1:9/"),
        ("1.6", "{}/nowhere"),
        ("2.0.1", "x"),
    ],
)
async def test_a_log_that_cannot_be_sent_has_failed(loose, settle, files, version, address) -> None:
    async with Station(loose.url, "CP1", ocpp=version) as station:
        told = await log(loose, settle, station, version, address.format(files.url))

    assert told == ["Uploading", "UploadFailed" if version == "1.6" else "UploadFailure"]


async def test_a_log_is_of_the_time_asked_for(loose, settle, files) -> None:
    """GetLog oldestTimestamp and latestTimestamp."""
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await station.advance(3600)
        await station.call("Heartbeat")
        hour = datetime.fromtimestamp(station.now / 1000, UTC) - timedelta(seconds=60)
        where = {"remoteLocation": f"{files.url}/logs", "oldestTimestamp": hour.isoformat()}
        request = {"logType": "DiagnosticsLog", "requestId": 8, "log": where}
        await ask(loose, settle, "GetLog", request)
        await station.wait_for("log_upload", status="Uploaded", timeout=LONG)

    (text,) = files.taken.values()
    assert "Heartbeat" in text
    assert "BootNotification" not in text


async def test_a_second_log_takes_the_place_of_the_first_2_0_1(loose, settle, files) -> None:
    """N25: AcceptedCanceled, to the server and of the first request."""
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        station.maintenance._pause = 0.2
        answers = []
        for number in (8, 9):
            where = {"remoteLocation": f"{files.url}/logs"}
            request = {"logType": "DiagnosticsLog", "requestId": number, "log": where}
            answers.append((await ask(loose, settle, "GetLog", request))["status"])
        await station.wait_for("log_upload", timeout=LONG)
        await station.settle()

    told = [(p["requestId"], p["status"]) for p in loose.of("LogStatusNotification")]
    assert answers == ["Accepted", "AcceptedCanceled"]
    assert (8, "AcceptedCanceled") in told
    assert told[-1] == (9, "Uploaded")
    assert (8, "Uploaded") not in told


def publication(files, name="image.bin", number=5, **more):
    checksum = hashlib.md5(IMAGE, usedforsecurity=False).hexdigest()
    return {
        "location": f"{files.url}/{name}",
        "checksum": checksum.upper(),
        "requestId": number,
        **more,
    }


async def test_l03_l04_a_local_controller_really_publishes_firmware(loose, settle, files) -> None:
    """L03.FR.01, L04: another station updates itself from what was published."""
    hub = load_template("local-controller")
    async with Station(loose.url, "HUB", ocpp="2.0.1", template=hub) as station:
        answer = await ask(loose, settle, "PublishFirmware", publication(files))
        told = await station.wait_for("firmware_published")
        await station.settle()
        (place,) = told["location"]
        async with Station(loose.url, "CP2", ocpp="2.0.1") as other:
            firmware = {"location": place, "retrieveDateTime": "2026-01-01T00:00:00Z"}
            await ask(loose, settle, "UpdateFirmware", {"requestId": 9, "firmware": firmware})
            await other.wait_for("firmware", status="Installed")
            assert other.firmware == "9.8.7"
    statuses = loose.of("PublishFirmwareStatusNotification")

    assert answer == {"status": "Accepted"}
    assert [s["status"] for s in statuses] == [
        "Downloading",
        "Downloaded",
        "ChecksumVerified",
        "Published",
    ]
    assert statuses[-1] == {"status": "Published", "requestId": 5, "location": [place]}


async def test_l04_unpublished_firmware_is_gone(loose, settle, files) -> None:
    asked = publication(files)
    key = {"checksum": asked["checksum"]}
    hub = load_template("local-controller")
    async with Station(loose.url, "HUB", ocpp="2.1", template=hub) as station:
        none = await ask(loose, settle, "UnpublishFirmware", key)
        await ask(loose, settle, "PublishFirmware", asked)
        (place,) = (await station.wait_for("firmware_published"))["location"]
        gone = await ask(loose, settle, "UnpublishFirmware", key)
        async with aiohttp.ClientSession() as http, http.get(place) as answer:
            status = answer.status

    assert [none["status"], gone["status"], status] == ["NoFirmware", "Unpublished", 404]


@pytest.mark.parametrize(
    ("name", "more", "status"),
    [
        ("broken", {}, "DownloadFailed"),
        ("image.bin", {"checksum": "0" * 32}, "InvalidChecksum"),
    ],
)
async def test_l03_what_cannot_be_published_is_told(
    loose, settle, files, name, more, status
) -> None:
    hub = load_template("local-controller")
    async with Station(loose.url, "HUB", ocpp="2.0.1", template=hub) as station:
        await ask(loose, settle, "PublishFirmware", publication(files, name, **more))
        told = await station.wait_for("firmware_published")
        await station.settle()

    assert told["status"] == status
    assert loose.of("PublishFirmwareStatusNotification")[-1] == {"status": status, "requestId": 5}


async def test_l03_a_plain_station_publishes_nothing(loose, settle, files) -> None:
    async with Station(loose.url, "CP1", ocpp="2.0.1") as station:
        await loose.command("PublishFirmware", publication(files))
        await settle(lambda: loose.answered)
        await station.settle()

    assert loose.answered[-1][0] == 4
    assert not loose.of("PublishFirmwareStatusNotification")

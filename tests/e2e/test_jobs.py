"""Logs and firmware over the real server, its file door and chargers that use it."""

import asyncio
import contextlib
import hashlib
import json
import sqlite3

import aiohttp
import pytest
import pytest_asyncio
from raw_charger import CHARGERS
from running import Cpo, password
from waiting import looked

from chargers_sim import Station

VERSIONS = ("1.6", "2.0.1", "2.1")
pytestmark = pytest.mark.asyncio(loop_scope="module")
IMAGE = bytes(range(256)) * 3000
MOST = 900_000


def identity(version, purpose):
    return f"{purpose}-{version.replace('.', '')}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cpo(tmp_path_factory):
    """The server with stations for each purpose and version."""
    settings = {"files.max_upload_bytes": str(MOST)}
    async with Cpo(tmp_path_factory.mktemp("jobs"), **settings) as made:
        for version in VERSIONS:
            for purpose in ("log", "fw", "raw", "crash", "edge"):
                name = identity(version, purpose)
                await made.api("PUT", f"/stations/{name}", {"password": password(name)})
        yield made


def simulated(cpo, name, version):
    return Station(cpo.ocpp_url, name, ocpp=version, password=password(name))


def by_hand(cpo, name, version):
    return CHARGERS[version](cpo.ocpp_url, name, password(name))


async def ended(cpo, job):
    async def look():
        return (await cpo.api("GET", f"/jobs/{job['id']}"))[1]

    return await looked(look, lambda seen: seen["finished_at"] is not None)


async def fetch(cpo, path):
    async with (
        aiohttp.ClientSession() as http,
        http.get(cpo.api_url + path, headers={"Authorization": f"Bearer {cpo.key}"}) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


async def uploaded(cpo, name):
    """Upload a firmware image; returns what the server says."""
    headers = {"Authorization": f"Bearer {cpo.key}"}
    url = f"{cpo.api_url}/firmware?name={name}"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url, data=IMAGE) as answer,
    ):
        return await answer.json()


def steps(job):
    return [note["what"] for note in job["history"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("log_type", ["DiagnosticsLog", "SecurityLog"])
async def test_fw03_fw04_a_log_comes_to_us_and_to_the_operator(cpo, version, log_type):
    """FW-03, FW-04: GetDiagnostics and GetLog, without any server but ours."""
    name = identity(version, "log")
    async with simulated(cpo, name, version):
        status, job = await cpo.api("POST", f"/stations/{name}/get-log", {"log_type": log_type})
        assert status == 202
        done = await ended(cpo, job)
        status, headers, text = await fetch(cpo, f"/jobs/{job['id']}/file")

    assert done["state"] == "done", done
    assert done["attempt"] == 1
    assert "file received" in steps(done)
    assert status == 200
    assert headers["Content-Disposition"].startswith("attachment")
    assert b"BootNotification" in text


@pytest.mark.parametrize("version", VERSIONS)
async def test_fw01_firmware_of_ours_is_fetched_once_and_installed(cpo, version):
    """FW-01, FW-05: the URL is good once; it is nowhere in the frame log or the database."""
    name = identity(version, "fw")
    image = await uploaded(cpo, "v2.bin")
    async with simulated(cpo, name, version) as charger:
        body = {"firmware": image["id"]}
        _, job = await cpo.api("POST", f"/stations/{name}/update-firmware", body)
        done = await ended(cpo, job)
        asked = [text for _, _, text in charger.frames if "/transfer/" in text]

        async def frames():
            path = f"/stations/{name}/messages?action=UpdateFirmware"
            return (await cpo.api("GET", path))[1]["items"]

        log = await looked(frames, bool)
        _, kept = await cpo.api("GET", f"/stations/{name}/documents?kind=firmware-job")
    url = json.loads(asked[0])[3]
    url = url.get("location") or url["firmware"]["location"]
    secret = url.rsplit("/", 1)[1]
    async with aiohttp.ClientSession() as http, http.get(url) as again:
        pass

    assert image["sha256"] == hashlib.sha256(IMAGE).hexdigest()
    assert done["state"] == "done", done
    assert charger.maintenance.firmware_sha256 == image["sha256"]
    assert steps(done)[-1] == "Installed"
    assert "file fetched" in steps(done)
    assert again.status == 404
    assert secret not in str(log) + str(kept) + cpo.log()
    with contextlib.closing(sqlite3.connect(cpo.folder / "cpo.db")) as database:
        assert secret not in "\n".join(database.iterdump())


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_job_of_a_silent_station_is_tried_again_and_times_out(cpo, version):
    """Time-out and retry; CM-24: accepted, and nothing follows."""
    name = identity(version, "raw")
    async with by_hand(cpo, name, version) as charger:
        await charger.boot()
        patience = {"timeout": 0.3, "retries": 1, "retry_interval": 0.05}
        charger.answers["GetDiagnostics"] = lambda _: {"fileName": "a.log"}
        _, job = await cpo.api("POST", f"/stations/{name}/get-log", patience)
        done = await ended(cpo, job)
        asked = [action for action, _ in charger.got if action in ("GetLog", "GetDiagnostics")]
        _, patient = await cpo.api("POST", f"/stations/{name}/get-log", {})
        with pytest.raises(AssertionError, match="409"):
            await cpo.api("POST", f"/stations/{name}/get-log", patience)
        await cpo.api("POST", f"/jobs/{patient['id']}/cancel")

    assert done["state"] == "timed_out"
    assert done["attempt"] == 2
    assert steps(done).count("silence") == 2
    assert len(asked) == 2


async def test_fw04_only_the_status_with_our_request_id_moves_the_job(cpo):
    """FW-01: requestId matched; a failure is tried again, a hopeless one is not."""
    name = identity("2.1", "raw")
    async with simulated(cpo, name, "2.1"):
        body = {"location": "http://127.0.0.1:9/fail", "retries": 1, "retry_interval": 0.05}
        _, job = await cpo.api("POST", f"/stations/{name}/get-log", body)
        done = await ended(cpo, job)

    assert done["state"] == "failed"
    assert done["attempt"] == 2
    assert done["detail"] == "the station reported UploadFailure"


async def test_fw05_the_credentials_of_an_address_reach_the_station_and_nobody_else(cpo):
    """Neither shown nor logged, and gone from the database with the job's end."""
    name = identity("2.1", "raw")
    place = "http://me:hush-hush@127.0.0.1:9/fail?sig=hush-hush"
    async with simulated(cpo, name, "2.1") as charger:
        body = {"location": place, "retries": 0}
        _, job = await cpo.api("POST", f"/stations/{name}/get-log", body)
        done = await ended(cpo, job)
        asked = [text for _, _, text in charger.frames if '"GetLog"' in text]

        async def frames():
            return (await cpo.api("GET", f"/stations/{name}/messages?action=GetLog"))[1]["items"]

        log = await looked(frames, bool)

    assert place in str(asked)
    assert job["parameters"]["location"] == "http://***@127.0.0.1:9/fail?***"
    assert "hush-hush" not in f"{job} {done} {log} {cpo.log()}"
    with contextlib.closing(sqlite3.connect(cpo.folder / "cpo.db")) as database:
        assert "hush-hush" not in "\n".join(database.iterdump())


async def test_fw05_a_url_that_nobody_used_expires(tmp_path):
    """For fetching and for sending; nothing of it stays in the database."""
    async with Cpo(tmp_path, **{"files.link_lifetime": "1"}) as made:
        for name in ("fetches", "sends"):
            await made.api("PUT", f"/stations/{name}", {"password": password(name)})
        image = await uploaded(made, "v3.bin")
        async with (
            CHARGERS["2.0.1"](made.ocpp_url, "sends", password("sends")) as sends,
            CHARGERS["2.0.1"](made.ocpp_url, "fetches", password("fetches")) as fetches,
            aiohttp.ClientSession() as http,
        ):
            await sends.boot()
            await fetches.boot()
            _, place = await upload_place(made, "sends", sends)
            await made.api("POST", "/stations/fetches/update-firmware", {"firmware": image["id"]})

            async def request():
                found = [p for a, p in fetches.got if a == "UpdateFirmware"]
                return found[0]["firmware"]["location"] if found else None

            url = await looked(request, lambda seen: seen is not None)

            async def head():
                async with http.head(url) as answer:
                    return answer.status

            await looked(head, lambda status: status == 404)
            async with http.put(place, data=b"late") as answer:
                assert answer.status == 404
            async with http.get(url) as answer:
                assert answer.status == 404


async def test_sec09_no_station_moves_the_job_of_another(cpo):
    """By its request id, which anybody may guess."""
    mine, other = identity("2.0.1", "edge"), identity("2.0.1", "raw")
    async with by_hand(cpo, mine, "2.0.1") as owner, by_hand(cpo, other, "2.0.1") as guesser:
        await owner.boot()
        await guesser.boot()
        job, _ = await upload_place(cpo, mine, owner)

        async def running():
            return (await cpo.api("GET", f"/jobs/{job['id']}"))[1]

        before = await looked(running, lambda seen: seen["state"] == "running")
        told = {"status": "Uploaded", "requestId": before["request_id"]}
        assert await guesser.call("LogStatusNotification", told) == {}
        after = (await cpo.api("GET", f"/jobs/{job['id']}"))[1]
        await cpo.api("POST", f"/jobs/{job['id']}/cancel")

    assert after == before


async def test_a_job_for_a_station_that_is_away_waits_for_it(cpo):
    name = identity("2.0.1", "log")
    _, job = await cpo.api("POST", f"/stations/{name}/get-log", {})
    assert job["state"] == "waiting"
    async with simulated(cpo, name, "2.0.1"):
        assert (await ended(cpo, job))["state"] == "done"


async def test_a_job_outlives_a_crash_of_ours(cpo):
    """The station was asked before kill -9; its file and status come after, by the same URL."""
    begun = {version: await begin(cpo, version) for version in ("1.6", "2.0.1")}
    await cpo.kill()
    await cpo.start()
    for version, (running, secret) in begun.items():
        name, text = identity(version, "crash"), f"after the crash of {version}".encode()
        async with by_hand(cpo, name, version) as charger:
            await charger.boot()
            uploading = {"status": "Uploading"}
            if version == "1.6":
                await charger.call("DiagnosticsStatusNotification", uploading)
            else:
                await charger.call("LogStatusNotification", uploading | {"requestId": 77})
                await charger.call(
                    "LogStatusNotification", uploading | {"requestId": running["request_id"]}
                )
            async with aiohttp.ClientSession() as http:
                place = f"http://127.0.0.1:{files_port(cpo)}/transfer/{secret}/after.log"
                async with http.put(place, data=text) as answer:
                    assert answer.status == 201
            done = await ended(cpo, running)
        _, _, kept = await fetch(cpo, f"/jobs/{running['id']}/file")

        assert done["state"] == "done"
        assert steps(done).count("Uploading") == 1
        assert kept == text


async def begin(cpo, version):
    """Have a charger accept a job; returns the job and the secret of its URL."""
    name = identity(version, "crash")
    async with by_hand(cpo, name, version) as charger:
        await charger.boot()
        charger.answers["GetDiagnostics"] = lambda _: {"fileName": "a.log"}
        _, job = await cpo.api("POST", f"/stations/{name}/get-log", {})

        async def state():
            return (await cpo.api("GET", f"/jobs/{job['id']}"))[1]

        running = await looked(state, lambda seen: seen["state"] == "running")
        (request,) = [p for a, p in charger.got if a in ("GetDiagnostics", "GetLog")]
    url = request.get("location") or request["log"]["remoteLocation"]
    return running, url.rsplit("/", 1)[1]


def files_port(cpo):
    """Return where the file door is, as the newest start logged it."""
    lines = [line for line in cpo.log().splitlines() if "files.listening" in line]
    return json.loads(lines[-1])["port"]


async def upload_place(cpo, name, charger):
    """Start a job by hand and return its URL."""
    charger.answers["GetDiagnostics"] = lambda _: {"fileName": "a.log"}
    before = len(charger.got)
    _, job = await cpo.api("POST", f"/stations/{name}/get-log", {})

    async def request():
        found = [p for a, p in charger.got[before:] if a in ("GetDiagnostics", "GetLog")]
        return found[0] if found else None

    asked = await looked(request, lambda seen: seen is not None)
    return job, asked.get("location") or asked["log"]["remoteLocation"]


async def test_the_file_door_takes_only_what_it_should(cpo):
    """One-time URLs, size limits; what is cut short is not kept."""
    name = identity("1.6", "edge")
    folder = cpo.folder / "cpo-files"
    async with by_hand(cpo, name, "1.6") as charger:
        await charger.boot()
        job, url = await upload_place(cpo, name, charger)
        stranger = url[:-6] + "AAAAAA"
        async with aiohttp.ClientSession() as http:

            async def put(place, data, **more):
                async with http.put(place, data=data, **more) as answer:
                    return answer.status

            async def endless():
                for _ in range(MOST // 1000 + 2):
                    yield b"x" * 1000

            assert await put(stranger, b"x") == 404
            async with http.get(url) as answer:
                assert answer.status == 404
            async with http.delete(url) as answer:
                assert answer.status == 404
            assert await put(url, b"x" * (MOST + 1)) == 413
            assert await put(f"{url}/long.log", endless()) == 413
            await cut_short(url)
            assert (await cpo.api("GET", f"/jobs/{job['id']}"))[1]["file"] is None

            async def post():
                form = aiohttp.FormData()
                form.add_field("note", "hello")
                form.add_field("file", b"in a form", filename="../../etc/form.log")
                async with http.post(url, data=form) as answer:
                    return answer.status

            # 409 as long as the upload that was cut short has not been noticed to be over.
            assert await looked(post, lambda status: status != 409) == 201
            assert await put(url, b"twice") == 404
        done = await ended(cpo, job)
    _, headers, text = await fetch(cpo, f"/jobs/{job['id']}/file")

    assert done["state"] == "done"
    assert text == b"in a form"
    assert headers["Content-Disposition"].endswith("form.log")
    assert not [path for path in folder.iterdir() if path.suffix == ".part"]
    assert "Traceback" not in cpo.log()


async def cut_short(url):
    """Announce more than is sent, and hang up."""
    host, port = url.split("//")[1].split("/")[0].split(":")
    path = "/" + url.split("//")[1].split("/", 1)[1]
    _reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nabc".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_firmware_may_be_fetched_in_ranges_and_bad_requests_are_named(cpo):
    name = identity("2.0.1", "edge")
    image = await uploaded(cpo, "r.bin")
    assert (await uploaded(cpo, ""))["field"] == "name"
    for body, field in (
        ({}, "firmware"),
        ({"firmware": image["id"], "location": "http://x/y"}, "firmware"),
        ({"firmware": image["id"], "signature": "AA"}, "signature"),
    ):
        with pytest.raises(AssertionError, match=f'"field":"{field}"'):
            await cpo.api("POST", f"/stations/{name}/update-firmware", body)
    with pytest.raises(AssertionError, match="404"):
        await cpo.api("POST", f"/stations/{name}/update-firmware", {"firmware": "nope"})
    async with by_hand(cpo, name, "2.0.1") as charger:
        await charger.boot()
        await cpo.api("POST", f"/stations/{name}/update-firmware", {"firmware": image["id"]})

        async def request():
            found = [p for a, p in charger.got if a == "UpdateFirmware"]
            return found[0]["firmware"]["location"] if found else None

        url = await looked(request, lambda seen: seen is not None)
        with pytest.raises(AssertionError, match="409"):
            await cpo.api("DELETE", f"/firmware/{image['id']}")
        async with aiohttp.ClientSession() as http:
            async with http.head(url) as head:
                assert (head.status, head.content_length) == (200, len(IMAGE))
            async with http.get(url, headers={"Range": f"bytes={len(IMAGE)}-"}) as beyond:
                assert beyond.status == 416
            parts = []
            for span in ("0-999", "1000-"):
                async with http.get(url, headers={"Range": f"bytes={span}"}) as part:
                    assert part.status == 206
                    parts.append(await part.read())
            async with http.get(url) as again:
                assert again.status == 404
    assert b"".join(parts) == IMAGE
    await cpo.api("DELETE", f"/firmware/{image['id']}")


async def test_a_cancelled_job_has_no_url_any_more(cpo):
    name = identity("2.0.1", "log")
    async with by_hand(cpo, name, "2.0.1") as charger:
        await charger.boot()
        job, url = await upload_place(cpo, name, charger)
        _, cancelled = await cpo.api("POST", f"/jobs/{job['id']}/cancel")
        async with aiohttp.ClientSession() as http, http.put(url, data=b"x") as answer:
            assert answer.status == 404
    assert cancelled["state"] == "cancelled"
    _, listed = await cpo.api("GET", f"/stations/{name}/jobs?state=cancelled")
    assert [item["id"] for item in listed["items"]] == [job["id"]]

"""Messages on displays, customer information and data transfers as jobs, over the real server."""

import pytest
import pytest_asyncio
from raw_charger import CHARGERS
from running import Cpo, password
from waiting import looked

from chargers_sim import Station

pytestmark = pytest.mark.asyncio(loop_scope="module")
VERSIONS_2 = ("2.0.1", "2.1")
AT = "2026-06-01T12:00:00Z"
JANE = {"customer_identifier": "Jane Doe"}


def identity(version, purpose):
    return f"{purpose}-{version.replace('.', '')}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cpo(tmp_path_factory):
    async with Cpo(tmp_path_factory.mktemp("reports")) as made:
        for version in ("1.6", *VERSIONS_2):
            for purpose in ("sim", "raw", "away", "data"):
                name = identity(version, purpose)
                await made.api("PUT", f"/stations/{name}", {"password": password(name)})
        yield made


def simulated(cpo, version, purpose="sim"):
    name = identity(version, purpose)
    return Station(cpo.ocpp_url, name, ocpp=version, password=password(name))


def by_hand(cpo, version, purpose="raw"):
    name = identity(version, purpose)
    return CHARGERS[version](cpo.ocpp_url, name, password(name))


async def ordered(cpo, version, what, body=None, purpose="sim"):
    status, job = await cpo.api(
        "POST", f"/stations/{identity(version, purpose)}/{what}", body or {}
    )
    assert status == 202
    return job


async def seen(cpo, job, wanted=lambda seen: seen["finished_at"] is not None):
    async def look():
        return (await cpo.api("GET", f"/jobs/{job['id']}"))[1]

    return await looked(look, wanted)


async def done(cpo, version, what, body=None, purpose="sim"):
    return await seen(cpo, await ordered(cpo, version, what, body, purpose))


@pytest.mark.parametrize("version", VERSIONS_2)
async def test_a_message_is_shown_listed_and_taken_off(cpo, version):
    hello = {"id": 7, "content": "Hello", "language": "en", "priority": "InFront", "state": "Idle"}
    async with simulated(cpo, version):
        shown = await done(cpo, version, "set-display-message", hello)
        every = await done(cpo, version, "get-display-messages")
        others = await done(cpo, version, "get-display-messages", {"ids": [8]})
        gone = await done(cpo, version, "clear-display-message", {"id": 7})
        again = await done(cpo, version, "clear-display-message", {"id": 7})
        none = await done(cpo, version, "get-display-messages")

    assert (shown["state"], shown["answer"]) == ("done", {"status": "Accepted"})
    assert every["state"] == "done"
    (message,) = every["result"]
    assert (message["id"], message["message"]["content"]) == (7, "Hello")
    assert [(j["state"], j["result"]) for j in (others, none)] == [("done", []), ("done", [])]
    assert gone["state"] == "done"
    assert (again["state"], again["detail"]) == ("failed", "the station answered: Unknown")


@pytest.mark.parametrize("version", VERSIONS_2)
async def test_fw11_what_a_station_knows_of_a_customer_is_reported(cpo, version):
    async with simulated(cpo, version):
        body = {"report": True, "id_token": "AABB", "id_token_type": "RFID"}
        told = await done(cpo, version, "customer-information", body)

    assert (told["state"], told["parts"], told["result"]) == ("done", 1, ["token AABB"])


async def part(charger, seq, text, request, *, tbc):
    payload = {"requestId": request, "seqNo": seq, "generatedAt": AT, "data": text, "tbc": tbc}
    await charger.call("NotifyCustomerInformation", payload)


@pytest.mark.parametrize("version", VERSIONS_2)
async def test_fw11_parts_are_one_result_in_order_and_are_gone_when_cleared(cpo, version):
    """SEC-21: nor is anything of it in the frame log; another request's parts are not taken."""
    name = identity(version, "raw")
    async with by_hand(cpo, version) as charger:
        await charger.boot()
        ask = {"report": True} | JANE
        job = await ordered(cpo, version, "customer-information", ask, "raw")
        request = (await charger.wait_for("CustomerInformation"))["requestId"]
        assert charger.got_of("CustomerInformation")[0]["customerIdentifier"] == "Jane Doe"
        await part(charger, 0, "no part of it", request + 1, tbc=False)
        await part(charger, 0, "Jane", request, tbc=True)
        await part(charger, 2, "Doe-3", request, tbc=False)
        gap = await seen(cpo, job, lambda s: s["parts"] == 2)
        assert (gap["state"], gap["result"]) == ("running", ["Jane", "Doe-3"])
        await part(charger, 1, "-Doe-2", request, tbc=True)
        whole = await seen(cpo, job)

        cleared = await done(
            cpo, version, "customer-information", {"clear": True} | JANE, purpose="raw"
        )
        nobody = await seen(cpo, job, lambda s: "customer_identifier" not in s["parameters"])
        cleared = await seen(cpo, cleared, lambda s: "customer_identifier" not in s["parameters"])

        async def frames():
            found = (await cpo.api("GET", f"/stations/{name}/messages?limit=100"))[1]["items"]
            return found if "NotifyCustomerInformation" in str(found) else None

        log = await looked(frames, bool)

    assert (whole["state"], whole["result"]) == ("done", ["Jane", "-Doe-2", "Doe-3"])
    assert cleared["state"] == "done"
    assert cleared["result"] is None
    assert nobody["result"] == []
    assert cleared["parameters"] == {"report": False, "clear": True}
    assert "Jane" not in str(log)
    assert "Doe-2" not in str(log)


@pytest.mark.parametrize("version", VERSIONS_2)
async def test_a_report_that_stays_out_is_asked_for_again_and_times_out(cpo, version):
    async with by_hand(cpo, version) as charger:
        await charger.boot()
        charger.got.clear()
        patience = {"timeout": 0.3, "retries": 1, "retry_interval": 0.05}
        late = await done(cpo, version, "get-display-messages", patience, "raw")
        asked = [payload["requestId"] for payload in charger.got_of("GetDisplayMessages")]
        charger.answers["CustomerInformation"] = lambda _: {"status": "Invalid"}
        refused = await done(cpo, version, "customer-information", {"clear": True} | JANE, "raw")

    assert (late["state"], late["attempt"]) == ("timed_out", 2)
    assert len(set(asked)) == 2
    assert (refused["state"], refused["detail"]) == ("failed", "the station answered: Invalid")
    assert refused["parameters"]["customer_identifier"] == "Jane Doe"


@pytest.mark.parametrize("version", VERSIONS_2)
async def test_a_message_for_a_station_that_is_away_waits_for_it(cpo, version):
    one = await ordered(
        cpo, version, "set-display-message", {"id": 1, "content": "one"}, purpose="away"
    )
    two = await ordered(
        cpo, version, "set-display-message", {"id": 2, "content": "two"}, purpose="away"
    )
    assert (one["state"], two["state"]) == ("waiting", "waiting")
    async with simulated(cpo, version, "away"):
        assert [(await seen(cpo, job))["state"] for job in (one, two)] == ["done", "done"]
        shown = await done(cpo, version, "get-display-messages", purpose="away")

    assert sorted(message["id"] for message in shown["result"]) == [1, 2]


@pytest.mark.parametrize("version", ["1.6", *VERSIONS_2])
async def test_data_is_transferred_once_and_its_answer_is_kept(cpo, version):
    sent = {"vendor_id": "org.example", "message_id": "Ping", "data": "x"}
    async with by_hand(cpo, version, "data") as charger:
        await charger.boot()
        charger.answers["DataTransfer"] = lambda _: {"status": "Accepted", "data": "pong"}
        good = await done(cpo, version, "data-transfer", sent, "data")
        charger.answers["DataTransfer"] = lambda _: {"status": "UnknownVendorId"}
        bad = await done(cpo, version, "data-transfer", sent, "data")
        charger.mute = True
        silent = await done(cpo, version, "data-transfer", sent | {"timeout": 0.3}, purpose="data")
        asked = charger.got_of("DataTransfer")

    assert (good["state"], good["answer"]) == ("done", {"status": "Accepted", "data": "pong"})
    assert asked == [{"vendorId": "org.example", "messageId": "Ping", "data": "x"}] * 3
    assert (bad["state"], bad["answer"]) == ("failed", {"status": "UnknownVendorId"})
    assert (silent["state"], silent["attempt"]) == ("timed_out", 1)


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("set-display-message", {"id": 1}, "content"),
        ("set-display-message", {"id": -1, "content": "x"}, "id"),
        ("get-display-messages", {"ids": []}, "ids"),
        ("clear-display-message", {}, "id"),
        ("customer-information", JANE, "report"),
        ("customer-information", {"report": True}, "customer_identifier"),
        ("customer-information", {"report": True, "id_token": "A"} | JANE, "customer_identifier"),
        ("data-transfer", {}, "vendor_id"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_field(cpo, what, body, field):
    path = f"/stations/{identity('2.1', 'raw')}/{what}"
    status, problem = await cpo.api("POST", path, body, ok=False)

    assert status in (400, 422)
    assert field in str(problem)


async def test_a_station_of_1_6_has_no_display_and_one_that_was_away_says_so_late(cpo):
    waiting = await ordered(cpo, "1.6", "get-display-messages", purpose="away")
    async with by_hand(cpo, "1.6", "away") as charger:
        await charger.boot()
        late = await seen(cpo, waiting)
        path = f"/stations/{identity('1.6', 'away')}/customer-information"
        status, problem = await cpo.api("POST", path, {"report": True} | JANE, ok=False)

    assert (late["state"], late["attempt"]) == ("failed", 0)
    assert "OCPP 1.6, which has no get-display-messages" in late["detail"]
    assert status == 409
    assert "has no customer-information" in str(problem)


@pytest.mark.parametrize("version", VERSIONS_2)
async def test_a_report_outlives_a_crash_of_ours(cpo, version):
    async with by_hand(cpo, version, "away") as charger:
        await charger.boot()
        job = await ordered(cpo, version, "customer-information", {"report": True} | JANE, "away")
        request = (await charger.wait_for("CustomerInformation"))["requestId"]
        await part(charger, 0, "before", request, tbc=True)
        await seen(cpo, job, lambda s: s["parts"] == 1)
        await cpo.kill()
    await cpo.start()
    async with by_hand(cpo, version, "away") as charger:
        await charger.boot()
        await part(charger, 1, "after", request, tbc=False)
        whole = await seen(cpo, job)

    assert (whole["state"], whole["result"]) == ("done", ["before", "after"])

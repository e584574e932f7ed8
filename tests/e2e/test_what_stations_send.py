"""Every message that a station may send, over the real server: answered, acted upon, visible.

One row of the table for each message: what is sent, what it is answered with, and where an operator
sees what came of it. 1.6 has 14 messages, 2.0.1 has 25, 2.1 has 37 and one that nobody answers.
"""

import datetime as dt
import itertools
import json
from decimal import Decimal

import pytest
import pytest_asyncio
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from contract_pki import Mobility, pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from raw_charger import CHARGERS
from running import Cpo, location, password
from waiting import until
from websockets.exceptions import InvalidStatus

from cpo.ocpp import validation
from cpo.ocpp.adapter import DIALECTS

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT = "2026-06-01T10:00:00Z"
CARD = "CARD1"
COMPANY = {"name": "ACME", "address1": "Street 1", "city": "Town", "country": "NL"}
_numbers = itertools.count(1)


async def became(look, check):
    """Look until it is as it should be, and return what was seen."""
    seen = []

    async def passes():
        seen[:] = [await look()]
        return seen[0] is not None and check(seen[0])

    await until(passes)
    return seen[0]


class Place:
    """One station with its charger, and what the operator sees of it."""

    def __init__(self, cpo, version, mobility):
        self.cpo = cpo
        self.version = version
        self.mobility = mobility
        self.number = next(_numbers)
        self.station = f"sends-{self.number}"
        self.charger = None

    async def enter(self):
        await self.cpo.api("PUT", f"/stations/{self.station}", {"password": password(self.station)})
        place = location(self.station, self.number, evses=2)
        await self.cpo.api("PUT", f"/locations/SENDS-{self.number}", place)
        self.evse = place["evses"][0]["uid"]
        made = CHARGERS[self.version](self.cpo.ocpp_url, self.station, password(self.station))
        self.charger = await made.__aenter__()
        await self.charger.boot()

    async def leave(self):
        await self.charger.__aexit__()

    async def send(self, action, /, **payload):
        """Send a call; the answer must be what the schema allows."""
        answer = await self.charger.call(action, payload)
        validation.check(self.version, action, json.loads(json.dumps(answer)), response=True)
        return answer

    async def get(self, path):
        _, answer = await self.cpo.api("GET", path)
        return answer

    async def shown(self, kind, key=None):
        """Return the documents of a kind, or the only one with a key."""
        found = await self.get(f"/stations/{self.station}/documents?kind={kind}")
        documents = {item["key"]: item["document"] for item in found["items"]}
        return documents if key is None else documents[key]

    async def soon(self, kind, check=bool):
        """Return the first document of a kind that is as it should be."""

        async def look():
            return [d for d in (await self.shown(kind)).values() if check(d)]

        return (await became(look, bool))[0]

    async def logged(self, action, count=1):
        """Return the frames of an action, newest first, once that many are in the log."""

        async def look():
            return (await self.get(f"/stations/{self.station}/messages?action={action}"))["items"]

        return await became(look, lambda items: len(items) == count)

    async def view(self):
        return await self.get(f"/stations/{self.station}")

    async def evse_status(self):
        return next(e["status"] for e in (await self.view())["evses"] if e["uid"] == self.evse)

    async def session(self):
        sessions = (await self.get("/sessions?order=newest&limit=100"))["items"]
        mine = [s for s in sessions if s["evse_uid"] == self.evse]
        return await self.get(f"/sessions/{mine[0]['id']}") if mine else None

    async def call(self, action, **payload):
        """Have the operator send a request."""
        body = {"action": action, "payload": payload}
        return (await self.cpo.api("POST", f"/stations/{self.station}/call", body))[1]


def request(name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    """The server, with an authority of its own and the services that it asks."""
    folder = tmp_path_factory.mktemp("sends")
    mobility = Mobility(dt.datetime.now(dt.UTC).replace(microsecond=0))
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    authority.private_key_pem.write_to_path(str(folder / "authority.key"))
    (folder / "roots.pem").write_text(pem(mobility.root.certificate, mobility.sub.certificate))

    async def provide(_):
        return web.json_response({"exiResponse": "ZXhp"})

    async def company(asked):
        number = (await asked.json())["vatNumber"]
        return web.json_response({"valid": number == "NL123456789B01", "company": COMPANY})

    app = web.Application()
    app.router.add_post("/ocsp", mobility.respond)
    app.router.add_post("/provider", provide)
    app.router.add_post("/vat", company)
    async with TestServer(app) as servers:
        settings = {
            "ocpp.tls.authority_certificate": str(folder / "authority.pem"),
            "ocpp.tls.authority_key": str(folder / "authority.key"),
            "ocpp.plug_and_charge.roots": str(folder / "roots.pem"),
            "ocpp.plug_and_charge.ocsp_responder": str(servers.make_url("/ocsp")),
            "ocpp.plug_and_charge.provider_url": str(servers.make_url("/provider")),
            "ocpp.vat_numbers.url": str(servers.make_url("/vat")),
        }
        async with Cpo(folder, **settings) as cpo:
            await cpo.equip([])
            token = {"type": "RFID", "contract_id": "C1", "valid": True}
            await cpo.api("PUT", f"/tokens/{CARD}", token)
            yield cpo, mobility
            assert "Traceback" not in cpo.log()


@pytest.fixture
def entered(world):
    """Make places; called with a version."""
    return lambda version: Place(world[0], version, world[1])


# --- what all versions have -----------------------------------------------------------------------


async def authorize(place):
    """Accepted for a card that is known, Invalid for one that is not."""
    assert await place.charger.ask(CARD) == "Accepted"
    assert await place.charger.ask("NOBODY") == "Invalid"
    newest, _ = await place.logged("Authorize", 2)
    assert "Invalid" in str(newest["answer"])


async def boot(place):
    view = await place.view()
    model = "One" if place.version == "1.6" else "Two"
    assert (view["vendor"], view["model"], view["online"]) == ("Raw", model, True)
    assert view["version"] == place.version


async def data_transfer(place):
    assert await place.send("DataTransfer", vendorId="somebody") == {"status": "UnknownVendorId"}
    (frame,) = await place.logged("DataTransfer")
    assert frame["payload"] == {"vendorId": "somebody"}


async def heartbeat(place):
    before = (await place.view())["last_seen"]
    answer = await place.send("Heartbeat")
    assert answer["currentTime"].endswith("Z")
    assert (await place.view())["last_seen"] > before


async def firmware_status(place):
    more = {} if place.version == "1.6" else {"requestId": 5}
    await place.send("FirmwareStatusNotification", status="Downloading", **more)
    await place.send("FirmwareStatusNotification", status="InstallationFailed", **more)
    (job,) = (await place.shown("firmware-job")).values()
    assert [step["status"] for step in job["history"]] == ["Downloading", "InstallationFailed"]
    assert job["failed"]


async def log_status(place):
    await place.send("LogStatusNotification", status="Uploaded", requestId=4)
    assert (await place.shown("log-job", "4"))["finished"]


async def security_event(place):
    fields = {"type": "TamperDetectionActivated", "timestamp": AT}
    await place.send("SecurityEventNotification", **fields)
    events = (await place.get("/security-events?critical=true&limit=100"))["items"]
    assert place.station in {event["station"] for event in events}


async def sign_certificate(place):
    answer = await place.send("SignCertificate", csr=request(place.station))
    assert answer == {"status": "Accepted"}
    sent = await place.charger.wait_for("CertificateSigned")
    kept = await place.soon("station-certificate")
    assert kept["chain"] == sent["certificateChain"]
    issued = await place.get(f"/stations/{place.station}/issued-certificates")
    assert [one["revoked_at"] for one in issued["items"]] == [None]


async def status(place):
    await place.charger.fault()
    assert await place.evse_status() == "OUTOFORDER"
    await place.charger.available()
    assert await place.evse_status() == "AVAILABLE"


# --- 1.6 ------------------------------------------------------------------------------------------


async def start_transaction(place):
    assert await place.charger.begin(CARD) == "Accepted"
    assert (await place.session())["status"] == "ACTIVE"


async def meter_values_16(place):
    await place.charger.begin(CARD)
    await place.charger.meter(1500)

    async def energy():
        return Decimal(str((await place.session())["kwh"]))

    assert await became(energy, lambda kwh: kwh == Decimal("1.5"))


async def stop_transaction(place):
    await place.charger.begin(CARD)
    await place.charger.end(3000)
    session = await became(place.session, lambda s: s["cdr"] is not None)
    assert session["status"] == "COMPLETED"
    assert Decimal(str((await place.get(f"/cdrs/{session['cdr']}"))["kwh"])) == 3


async def diagnostics_status(place):
    await place.send("DiagnosticsStatusNotification", status="UploadFailed")
    assert (await place.shown("log-job", "current"))["status"] == "UploadFailed"


async def signed_firmware_status(place):
    await place.send("SignedFirmwareStatusNotification", status="InvalidSignature", requestId=9)
    assert (await place.shown("firmware-job", "9"))["failed"]


# --- 2.0.1 ----------------------------------------------------------------------------------------


async def transaction_event(place):
    assert await place.charger.begin(CARD) == "Accepted"
    assert (await place.session())["status"] == "ACTIVE"
    await place.charger.meter(1000)
    await place.charger.end(3000)
    session = await became(place.session, lambda s: s["cdr"] is not None)
    assert session["status"] == "COMPLETED"
    assert Decimal(str((await place.get(f"/cdrs/{session['cdr']}"))["kwh"])) == 3


async def meter_values(place):
    """J02: readings outside a TransactionEvent count for the transaction at their EVSE."""
    await place.charger.begin(CARD)
    value = {"timestamp": place.charger.time(), "sampledValue": [{"value": 2500}]}
    await place.send("MeterValues", evseId=1, meterValue=[value])

    async def energy():
        return Decimal(str((await place.session())["kwh"]))

    assert await became(energy, lambda kwh: kwh == Decimal("1.5"))


def limit_of(amperes, source="EMS"):
    period = {"startPeriod": 0, "limit": amperes}
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
    schedule["startSchedule"] = "2026-01-01T00:00:00Z"
    return {
        "evseId": 1,
        "chargingLimit": {"chargingLimitSource": source},
        "chargingSchedule": [schedule],
    }


async def limits(place):
    return await place.get(f"/stations/{place.station}/limits?evse_id=1")


async def charging_limit(place):
    await place.send("NotifyChargingLimit", **limit_of(8))
    seen = await limits(place)
    assert [step["limit_w"] for step in seen["composite"]] == [8 * 230 * 3]
    assert len(seen["external"]) == 1


async def cleared_limit(place):
    await place.send("NotifyChargingLimit", **limit_of(8))
    await place.send("ClearedChargingLimit", chargingLimitSource="EMS", evseId=1)
    seen = await limits(place)
    assert seen["external"] == []
    assert [step["limit_w"] for step in seen["composite"]] == [None]


async def charging_needs(place):
    await place.charger.begin(CARD)
    car = {"energyAmount": 9000, "evMinCurrent": 6, "evMaxCurrent": 10, "evMaxVoltage": 400}
    needs = {"requestedEnergyTransfer": "AC_three_phase", "acChargingParameters": car}
    answer = await place.send("NotifyEVChargingNeeds", evseId=1, chargingNeeds=needs)
    assert answer["status"] == "Accepted"
    await place.charger.wait_for("SetChargingProfile")
    plan = await place.soon("charging-plan", lambda found: found["outcome"] == "ACCEPTED")
    assert plan["transaction"] == place.charger.transaction
    assert [step["limit_w"] for step in (await limits(place))["composite"]] == [10 * 230 * 3]


async def charging_schedule(place):
    """K17: what a car chooses is compared with the limits; above them it is told them anew."""
    await charging_needs(place)
    told = place.charger.count("SetChargingProfile")
    period = {"startPeriod": 0, "limit": 11_000}
    schedule = {"id": 1, "chargingRateUnit": "W", "chargingSchedulePeriod": [period]}
    schedule["duration"] = 3600
    fields = {"timeBase": place.charger.time(), "evseId": 1, "chargingSchedule": schedule}
    assert (await place.send("NotifyEVChargingSchedule", **fields))["status"] == "Accepted"
    kept = await place.soon("charging-schedule", lambda found: "above" in found)
    assert [(one["ours_w"], one["car_w"]) for one in kept["above"]] == [(6900, 11_000)]

    async def told_anew():
        return place.charger.count("SetChargingProfile")

    await became(told_anew, lambda count: count == told + 1)
    period["limit"] = 6000
    await place.send("NotifyEVChargingSchedule", **fields)
    within = await place.soon("charging-schedule", lambda found: found.get("above") == [])
    assert within["transaction"] == place.charger.transaction


async def notify_report(place):
    def part(seq, name, value, more):
        attribute = {"type": "Actual", "value": value}
        item = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": name}}
        return {
            "requestId": 3, "seqNo": seq, "generatedAt": AT, "tbc": more,
            "reportData": [{**item, "variableAttribute": [attribute]}],
        }  # fmt: skip

    await place.send("NotifyReport", **part(0, "HeartbeatInterval", "300", True))
    assert not (await place.shown("report", "3"))["complete"]
    await place.send("NotifyReport", **part(1, "RetryBackOffWaitMinimum", "10", False))
    assert (await place.shown("report", "3"))["complete"]
    variables = {v["key"]: v for v in (await place.view())["variables"]}
    shown = variables["OCPPCommCtrlr/HeartbeatInterval"]["attributes"]
    assert [attribute["value"] for attribute in shown] == ["300"]


async def monitoring_report(place):
    monitor = {"id": 8, "transaction": False, "value": 70, "type": "UpperThreshold", "severity": 4}
    if place.version == "2.1":
        monitor["eventNotificationType"] = "CustomMonitor"
    item = {"component": {"name": "EVSE"}, "variable": {"name": "Temperature"}}
    await place.send(
        "NotifyMonitoringReport", requestId=2, seqNo=0, generatedAt=AT,
        monitor=[{**item, "variableMonitoring": [monitor]}],
    )  # fmt: skip
    assert (await place.shown("monitor", "8"))["value"] == 70
    assert (await place.shown("monitoring-report", "2"))["complete"]


async def notify_event(place):
    """An event of a variable that is known changes its value; availability is a status."""
    await notify_report(place)
    event = {
        "eventId": 1, "timestamp": place.charger.time(), "trigger": "Delta",
        "eventNotificationType": "HardWiredNotification",
    }  # fmt: skip
    known = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "HeartbeatInterval"}}
    evse = {"name": "Connector", "evse": {"id": 1, "connectorId": 1}}
    available = {"component": evse, "variable": {"name": "AvailabilityState"}}
    events = [
        {**event, **known, "actualValue": "60"},
        {**event, **available, "eventId": 2, "actualValue": "Unavailable"},
    ]
    await place.send("NotifyEvent", generatedAt=AT, seqNo=0, eventData=events)
    assert len(await place.shown("event")) == 1
    variables = {v["key"]: v for v in (await place.view())["variables"]}
    shown = variables["OCPPCommCtrlr/HeartbeatInterval"]["attributes"]
    assert [attribute["value"] for attribute in shown] == ["60"]
    assert await place.evse_status() == "INOPERATIVE"


async def customer_information(place):
    for seq, text in enumerate(("Jane ", "Doe")):
        await place.send(
            "NotifyCustomerInformation", requestId=6, seqNo=seq, generatedAt=AT, data=text,
            tbc=seq == 0,
        )  # fmt: skip
    kept = await place.shown("customer-information", "6")
    assert ("".join(kept["items"]), kept["complete"]) == ("Jane Doe", True)


async def display_messages(place):
    content = {"format": "UTF8", "content": "Welcome"}
    message = {"id": 1, "priority": "NormalCycle", "message": content}
    await place.send("NotifyDisplayMessages", requestId=7, messageInfo=[message])
    kept = await place.shown("display-messages", "7")
    assert [item["message"]["content"] for item in kept["items"]] == ["Welcome"]


def profile(number, amperes):
    period = {"startPeriod": 0, "limit": amperes}
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
    schedule["startSchedule"] = "2026-01-01T00:00:00Z"
    return {
        "id": number,
        "stackLevel": 3,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule],
    }


async def charging_profiles(place):
    """K09: profiles of ours that a station reports count in the schedule that we compute."""
    await place.send(
        "ReportChargingProfiles", requestId=5, chargingLimitSource="CSO", evseId=1,
        chargingProfile=[profile(77, 9)],
    )  # fmt: skip
    assert [step["limit_w"] for step in (await limits(place))["composite"]] == [9 * 230 * 3]


async def publish_firmware(place):
    await place.send(
        "PublishFirmwareStatusNotification", status="Published", requestId=2,
        location=["http://local/fw"],
    )  # fmt: skip
    kept = await place.shown("publish-firmware-job", "2")
    assert (kept["finished"], kept["details"]["location"]) == (True, ["http://local/fw"])


async def reservation_status(place):
    """H04: the reservation of an id that is a text ends by its station's number for it."""
    expires = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    body = {"reservation_id": "R-17", "expiry_date": expires, "token": CARD}
    await place.cpo.api("POST", f"/evses/{place.evse}/reserve", body)
    sent = await place.charger.wait_for("ReserveNow")
    await became(place.session, lambda s: s["status"] == "RESERVATION")
    await place.send(
        "ReservationStatusUpdate", reservationId=sent["id"], reservationUpdateStatus="Removed"
    )
    await became(place.session, lambda s: s["status"] == "COMPLETED")


async def certificate_status(place):
    asked = place.mobility.contract.hash_data()
    answer = await place.send("GetCertificateStatus", ocspRequestData=asked)
    assert answer["status"] == "Accepted"
    assert answer["ocspResult"]


async def ev_certificate(place):
    answer = await place.send(
        "Get15118EVCertificate", iso15118SchemaVersion="x", action="Install", exiRequest="cmVx"
    )
    assert answer == {"status": "Accepted", "exiResponse": "ZXhp"}


# --- 2.1 ------------------------------------------------------------------------------------------


async def battery_swap(place):
    def battery(number):
        return {"evseId": 1, "serialNumber": number, "soC": 50, "soH": 99}

    token = {"idToken": CARD, "type": "ISO14443"}
    for event, number in (("BatteryIn", "old"), ("BatteryOut", "new")):
        await place.send(
            "BatterySwap", eventType=event, requestId=1, idToken=token,
            batteryData=[battery(number)],
        )  # fmt: skip
    swap = await place.shown("battery-swap", "1")
    assert swap["state"] == "done"
    assert [b["serialNumber"] for b in (*swap["in"], *swap["out"])] == ["old", "new"]


async def der(place):
    return await place.get(f"/stations/{place.station}/der")


async def der_alarm(place):
    fields = {"controlType": "FreqDroop", "gridEventFault": "OverFrequency"}
    await place.send("NotifyDERAlarm", timestamp=AT, **fields)
    assert (await der(place))["open_alarms"] == 1
    over = {"timestamp": "2026-06-01T10:05:00Z", "alarmEnded": True}
    await place.send("NotifyDERAlarm", **over, **fields)
    seen = await der(place)
    assert seen["open_alarms"] == 0
    assert [a["document"]["ended_at"] for a in seen["alarms"]] == [over["timestamp"]]


async def der_start_stop(place):
    for number in ("c1", "c2"):
        await place.call(
            "SetDERControl", isDefault=False, controlId=number, controlType="LimitMaxDischarge",
            limitMaxDischarge={"priority": 1, "pctMaxDischargePower": 50},
        )  # fmt: skip
    await place.send(
        "NotifyDERStartStop", controlId="c2", started=True, timestamp=AT, supersededIds=["c1"]
    )
    seen = await der(place)
    assert seen["at_work"] == ["c2"]
    settings = {s["key"]: s["document"].get("superseded_by") for s in seen["settings"]}
    assert settings == {"c1": "c2", "c2": None}
    await place.send("NotifyDERStartStop", controlId="c2", started=False, timestamp=AT)
    assert (await der(place))["at_work"] == []


async def der_report(place):
    control = {"id": "c9", "isDefault": True, "isSuperseded": False}
    gradient = {**control, "gradient": {"priority": 1, "gradient": 2, "softGradient": 1}}
    await place.send("ReportDERControl", requestId=4, gradient=[gradient], tbc=True)
    await place.send("ReportDERControl", requestId=4, gradient=[{**gradient, "id": "c10"}])
    (report,) = (await der(place))["reports"]
    assert report["document"]["complete"]
    assert [item["id"] for item in report["document"]["items"]] == ["c9", "c10"]


async def priority_charging(place):
    """K22: with priority another profile leads."""
    await place.charger.begin(CARD)
    chosen = profile(5, 20) | {"chargingProfilePurpose": "PriorityCharging"}
    for one in (profile(4, 7), chosen):
        await place.call("SetChargingProfile", evseId=1, chargingProfile=one)
    assert [s["limit_w"] for s in (await limits(place))["composite"]] == [7 * 230 * 3]
    key = place.charger.transaction
    await place.send("NotifyPriorityCharging", transactionId=key, activated=True)
    assert [s["limit_w"] for s in (await limits(place))["composite"]] == [20 * 230 * 3]


async def settlement(place):
    """C20: beside its session, with what was billed."""
    await place.charger.begin(CARD)
    await place.charger.end(3000)
    session = await became(place.session, lambda s: s["cdr"] is not None)
    key = place.charger.transaction
    await place.send(
        "NotifySettlement", pspRef=f"psp-{place.number}", status="Settled", transactionId=key,
        settlementAmount=2.5, settlementTime=AT, receiptId="R1",
    )  # fmt: skip
    (settled,) = (await place.session())["settlements"]
    assert (settled["session"], settled["cdr"]) == (session["id"], session["cdr"])
    assert (settled["billed"], settled["difference"]) == (1.5, 1.0)
    listed = (await place.get("/settlements?limit=100"))["items"]
    assert f"psp-{place.number}" in {one["psp_ref"] for one in listed}


async def web_payment(place):
    """C25: it is ours to tell; a station that tells it is understood."""
    await place.send("NotifyWebPaymentStarted", evseId=1, timeout=60)
    assert (await place.shown("web-payment", "1"))["timeout"] == 60


async def open_stream(place):
    await monitoring_report(place)
    await notify_report(place)
    stream = {"id": 3, "params": {"interval": 1, "values": 2}, "variableMonitoringId": 8}
    answer = await place.send("OpenPeriodicEventStream", constantStreamData=stream)
    assert answer == {"status": "Accepted"}
    assert (await place.shown("event-stream", "3"))["constantStreamData"] == stream


async def close_stream(place):
    await open_stream(place)
    await place.send("ClosePeriodicEventStream", id=3)
    assert await place.shown("event-stream") == {}


async def stream_data(place):
    """N15: a SEND, which nobody answers."""
    await open_stream(place)
    values = {"id": 3, "pending": 0, "basetime": AT, "data": [{"t": 1, "v": "71"}]}
    await place.charger._socket.send(json.dumps([6, "s1", "NotifyPeriodicEventStream", values]))
    kept = await place.soon("event-stream-data")
    assert [one["v"] for one in kept["values"]] == ["71"]


async def dynamic_schedule(place):
    """K28: the station pulls what the operator changed."""
    dynamic = profile(6, 10) | {"chargingProfileKind": "Dynamic"}
    del dynamic["chargingSchedule"][0]["startSchedule"]
    await place.call("SetChargingProfile", evseId=1, chargingProfile=dynamic)
    path = f"/stations/{place.station}/dynamic-limit"
    await place.cpo.api("POST", path, {"profile_id": 6, "limit": 13})
    answer = await place.send("PullDynamicScheduleUpdate", chargingProfileId=6)
    assert answer == {"status": "Accepted", "scheduleUpdate": {"limit": 13}}


async def vat_number(place):
    answer = await place.send("VatNumberValidation", vatNumber="NL 123456789 B01", evseId=1)
    assert (answer["status"], answer["company"], answer["evseId"]) == ("Accepted", COMPANY, 1)
    other = await place.send("VatNumberValidation", vatNumber="NL000000000B00")
    assert (other["status"], "company" in other) == ("Rejected", False)


async def chain_status(place):
    party = place.mobility.contract
    names = ("hashAlgorithm", "issuerNameHash", "issuerKeyHash", "serialNumber")
    data = party.hash_data()
    asked = {
        "certificateHashData": {name: data[name] for name in names},
        "source": "OCSP",
        "urls": ["http://named-by-the-charger.example/"],
    }
    answer = await place.send("GetCertificateChainStatus", certificateStatusRequests=[asked])
    assert [one["status"] for one in answer["certificateStatus"]] == ["Good"]


ALL = {
    "Authorize": authorize,
    "BootNotification": boot,
    "DataTransfer": data_transfer,
    "FirmwareStatusNotification": firmware_status,
    "Heartbeat": heartbeat,
    "LogStatusNotification": log_status,
    "SecurityEventNotification": security_event,
    "SignCertificate": sign_certificate,
    "StatusNotification": status,
}
ONLY_16 = {
    "DiagnosticsStatusNotification": diagnostics_status,
    "MeterValues": meter_values_16,
    "SignedFirmwareStatusNotification": signed_firmware_status,
    "StartTransaction": start_transaction,
    "StopTransaction": stop_transaction,
}
FROM_201 = {
    "ClearedChargingLimit": cleared_limit,
    "Get15118EVCertificate": ev_certificate,
    "GetCertificateStatus": certificate_status,
    "MeterValues": meter_values,
    "NotifyChargingLimit": charging_limit,
    "NotifyCustomerInformation": customer_information,
    "NotifyDisplayMessages": display_messages,
    "NotifyEVChargingNeeds": charging_needs,
    "NotifyEVChargingSchedule": charging_schedule,
    "NotifyEvent": notify_event,
    "NotifyMonitoringReport": monitoring_report,
    "NotifyReport": notify_report,
    "PublishFirmwareStatusNotification": publish_firmware,
    "ReportChargingProfiles": charging_profiles,
    "ReservationStatusUpdate": reservation_status,
    "TransactionEvent": transaction_event,
}
FROM_21 = {
    "BatterySwap": battery_swap,
    "ClosePeriodicEventStream": close_stream,
    "GetCertificateChainStatus": chain_status,
    "NotifyDERAlarm": der_alarm,
    "NotifyDERStartStop": der_start_stop,
    "NotifyPeriodicEventStream": stream_data,
    "NotifyPriorityCharging": priority_charging,
    "NotifySettlement": settlement,
    "NotifyWebPaymentStarted": web_payment,
    "OpenPeriodicEventStream": open_stream,
    "PullDynamicScheduleUpdate": dynamic_schedule,
    "ReportDERControl": der_report,
    "VatNumberValidation": vat_number,
}
TABLE = {
    "1.6": ALL | ONLY_16,
    "2.0.1": ALL | FROM_201,
    "2.1": ALL | FROM_201 | FROM_21,
}
ROWS = [(version, action) for version, rows in TABLE.items() for action in sorted(rows)]


async def test_tr06_who_was_refused_is_listed_for_the_operator(world):
    """With the raw path, as it was asked for."""
    cpo, _ = world
    stranger = CHARGERS["1.6"](cpo.ocpp_url, "stranger", "no-password-of-mine")
    with pytest.raises(InvalidStatus):
        await stranger.__aenter__()
    _, answer = await cpo.api("GET", "/refused-connections")

    (entry,) = [one for one in answer["items"] if one["identity"] == "stranger"]
    assert (entry["path"], entry["reason"]) == ("/ocpp/stranger", "unknown identity")
    assert (entry["address"], entry["count"]) == ("127.0.0.1", 1)


async def test_the_table_has_every_message_that_stations_send():
    for version, rows in TABLE.items():
        assert set(rows) == set(DIALECTS[version].handlers)
    assert [len(rows) for rows in TABLE.values()] == [14, 25, 38]


@pytest.mark.parametrize(("version", "action"), ROWS)
async def test_it_is_answered_acted_upon_and_visible(entered, version, action):
    place = entered(version)
    await place.enter()
    try:
        await TABLE[version][action](place)
    finally:
        await place.leave()

"""ocpp-conformance 3.10: firmware, logs, security, device model, limits, reports."""

import pytest
from structlog.testing import capture_logs

from cpo.ocpp import validation
from cpo.ocpp.adapter import DIALECTS
from cpo.services.ports import StationDocument

AT = "2026-06-01T10:00:00Z"


def kept(backend, kind):
    rows = backend.store.rows[StationDocument].values()
    return {row.key: row.document for row in rows if row.kind == kind and row.station == "CP1"}


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_fw01_a_firmware_train_is_followed_to_its_end(backend, version):
    charger = await backend.charger(version)
    more = {} if version == "1.6" else {"requestId": 5}
    for status in ("Downloading", "Downloaded", "Installing", "Downloading", "Installed"):
        await charger.call("FirmwareStatusNotification", status=status, **more)

    (job,) = kept(backend, "firmware-job").values()
    assert job["finished"]
    assert not job["failed"]
    assert [step["status"] for step in job["history"]][-1] == "Installed"


@pytest.mark.parametrize("status", ["DownloadFailed", "InstallationFailed"])
async def test_fw01_a_failed_update_is_a_failed_job(backend, status):
    charger = await backend.charger("1.6")
    await charger.call("FirmwareStatusNotification", status=status)

    assert kept(backend, "firmware-job")["current"]["failed"]


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
@pytest.mark.parametrize(
    ("train", "failed"),
    [
        (("Downloading", "Installed", "Installed", "Installing", "Idle", "Downloaded"), False),
        (("Downloading", "DownloadFailed", "Downloaded", "Idle"), True),
        (("InstallationFailed", "Downloading", "Installed"), False),
    ],
)
async def test_fw01_what_comes_late_or_twice_does_not_undo_an_end(backend, version, train, failed):
    """Order broken, duplicates, and Idle, which a trigger brings; a new train is another try."""
    charger = await backend.charger(version)
    more = {} if version == "1.6" else {"requestId": 5}
    for status in train:
        await charger.call(
            "FirmwareStatusNotification", status=status, **({} if status == "Idle" else more)
        )

    (job,) = (j for key, j in kept(backend, "firmware-job").items() if key != "current" or not more)
    assert (job["finished"], job["failed"]) == (True, failed)
    assert job["status"] == ("DownloadFailed" if failed else "Installed")


async def test_fw02_a_boot_in_the_middle_leaves_the_job_going(backend):
    charger = await backend.charger("2.0.1")
    await charger.call("FirmwareStatusNotification", status="Installing", requestId=5)
    await charger.boot()
    await charger.call("FirmwareStatusNotification", status="Installed", requestId=5)

    assert kept(backend, "firmware-job")["5"]["finished"]


@pytest.mark.parametrize(
    ("version", "action", "payload", "key"),
    [
        ("1.6", "GetDiagnostics", {"location": "ftp://user:secret@host/dir"}, "current"),
        (
            "2.0.1",
            "GetLog",
            {
                "logType": "DiagnosticsLog",
                "requestId": 9,
                "log": {"remoteLocation": "https://user:secret@host/dir?sig=secret"},
            },
            "9",
        ),
    ],
)
async def test_fw03_fw04_fw05_a_log_job_is_kept_without_the_urls_secret(
    backend, version, action, payload, key
):
    charger = await backend.charger(version)
    charger.answers[action] = (
        {"fileName": "log.txt"} if version == "1.6" else {"status": "Accepted"}
    )
    await backend.stations.link("CP1").call(action, payload)
    await backend.notes.flush()

    assert key in kept(backend, "log-job")
    frames = [row for _, row in backend.store.log if type(row).__name__ == "Frame"]
    assert not any("secret" in frame.payload for frame in frames)


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
@pytest.mark.parametrize("name", ["TamperDetectionActivated", "SomethingOfOurOwn" + "x" * 60])
async def test_fw06_any_security_event_is_kept(backend, version, name):
    charger = await backend.charger(version)
    await charger.call("SecurityEventNotification", type=name, timestamp=AT, techInfo="door")

    (event,) = kept(backend, "security-event").values()
    assert event["type"] == name
    assert event["critical"] is (name == "TamperDetectionActivated")
    known = name if name == "TamperDetectionActivated" else "other"
    counted = backend.metrics.security_events._series
    assert counted == {(known, str(event["critical"]).lower()): 1}


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
@pytest.mark.parametrize(
    "status", ["InvalidSignature", "RevokedCertificate", "InstallVerificationFailed"]
)
async def test_fw12_an_update_with_a_bad_signature_has_failed(backend, version, status):
    """And the operator is told; what comes after it does not make it good."""
    charger = await backend.charger(version)
    action = ("Signed" if version == "1.6" else "") + "FirmwareStatusNotification"
    with capture_logs() as logs:
        await charger.call(action, status=status, requestId=3)
    await charger.call(action, status="Downloaded", requestId=3)

    (told,) = [line for line in logs if line["event"] == "station.job_failed"]
    assert (told["station"], told["status"], told["log_level"]) == ("CP1", status, "warning")
    assert kept(backend, "firmware-job")["3"]["failed"]


async def test_bo14_configuration_keys_are_variables_of_the_same_view(backend):
    charger = await backend.charger("1.6")
    charger.answers["GetConfiguration"] = {
        "configurationKey": [
            {"key": "HeartbeatInterval", "readonly": False, "value": "300"},
            {"key": "AuthorizationKey", "readonly": False, "value": "very-secret"},
        ],
        "unknownKey": ["Nope"],
    }
    await backend.stations.link("CP1").call("GetConfiguration", {})
    await backend.notes.flush()

    variables = kept(backend, "variable")
    assert variables["Configuration/HeartbeatInterval"]["attributes"] == [
        {"type": "Actual", "value": "300", "mutability": "ReadWrite"}
    ]
    assert "very-secret" not in str(variables)


async def test_sec13_passwords_are_masked_in_the_log(backend):
    """SEC-13: neither on the way to the station nor back."""
    charger = await backend.charger("1.6")
    charger.answers["GetConfiguration"] = {
        "configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": "back-secret"}]
    }
    link = backend.stations.link("CP1")
    await link.call("ChangeConfiguration", {"key": "AuthorizationKey", "value": "out-secret"})
    await link.call("GetConfiguration", {"key": ["AuthorizationKey"]})
    await backend.notes.flush()

    frames = [row for _, row in backend.store.log if type(row).__name__ == "Frame"]
    text = " ".join(f"{frame.payload} {frame.answer}" for frame in frames)
    assert "secret" not in text
    assert "AuthorizationKey" in text


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_sec13_a_station_that_reports_its_password_finds_no_reader(backend, version):
    """Neither the frame log nor the device model keeps it."""
    charger = await backend.charger(version)
    told = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "variableAttribute": [{"type": "Actual", "value": "told-secret", "mutability": "ReadOnly"}],
    }
    part = {"requestId": 1, "generatedAt": AT, "seqNo": 0, "reportData": [told]}
    await charger.call("NotifyReport", **part)
    await backend.notes.flush()

    (variable,) = kept(backend, "variable").values()
    assert variable["attributes"][0]["value"] == "***"
    assert "told-secret" not in str(backend.store.rows) + str(backend.store.log)


@pytest.mark.parametrize(
    ("status", "taken"),
    [("Accepted", True), ("RebootRequired", True), ("Rejected", False), ("NotSupported", False)],
)
async def test_bo15_a_changed_key_is_kept_only_when_it_was_taken(backend, status, taken):
    charger = await backend.charger("1.6")
    charger.answers["ChangeConfiguration"] = {"status": status}
    link = backend.stations.link("CP1")
    answer = await link.call("ChangeConfiguration", {"key": "A", "value": "1"})

    assert answer == {"status": status}
    assert list(kept(backend, "variable")) == ["Configuration/A"] * taken


def report(request_id, seq, *, tbc, name="V"):
    return {
        "requestId": request_id,
        "generatedAt": AT,
        "seqNo": seq,
        "tbc": tbc,
        "reportData": [
            {
                "component": {"name": "C", "evse": {"id": 1, "connectorId": 2}},
                "variable": {"name": f"{name}{seq}"},
                "variableAttribute": [{"type": "Actual", "value": str(seq)}],
            }
        ],
    }


async def test_bo16_a_report_in_parts_is_joined(backend):
    charger = await backend.charger("2.0.1")
    for seq in range(3):
        await charger.call("NotifyReport", **report(7, seq, tbc=seq < 2))

    assert kept(backend, "report")["7"]["complete"]
    assert set(kept(backend, "variable")) == {"C@1.2/V0", "C@1.2/V1", "C@1.2/V2"}


async def test_bo16_a_part_that_is_missing_is_noticed_and_may_come_late(backend):
    charger = await backend.charger("2.0.1")
    await charger.call("NotifyReport", **report(7, 0, tbc=True))
    await charger.call("NotifyReport", **report(7, 2, tbc=False))
    assert kept(backend, "report")["7"]["missing"] == [1]

    await charger.call("NotifyReport", **report(7, 1, tbc=True))
    assert kept(backend, "report")["7"]["complete"]


MONITOR = {
    "component": {"name": "C"}, "variable": {"name": "V"},
}  # fmt: skip
LIMIT = {"limit": 16.5, "startPeriod": 0}


def profiles(*numbers):
    schedule = {"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [LIMIT]}
    return [
        {"id": number, "stackLevel": number, "chargingProfileKind": "Absolute",
         "chargingProfilePurpose": "TxDefaultProfile", "chargingSchedule": [schedule]}
        for number in numbers
    ]  # fmt: skip


def shown(number):
    message = {"format": "UTF8", "content": f"text {number}"}
    return {"id": number, "priority": "NormalCycle", "message": message}


def monitors(number):
    told = {"id": number, "transaction": False, "value": 1.5, "type": "Delta", "severity": 5}
    told["eventNotificationType"] = "CustomMonitor"  # 2.1 wants it, 2.0.1 puts up with it
    return [{**MONITOR, "variableMonitoring": [told]}]


# Action of ours, what it needs, action of theirs, the kind it is kept as, whether its parts have
# numbers, and its parts by their place.
TRAINS = {
    "GetReport": ({}, "NotifyReport", "report", True, lambda n: {
        "generatedAt": AT, "reportData": report(0, n, tbc=False)["reportData"]}),
    "GetMonitoringReport": ({}, "NotifyMonitoringReport", "monitoring-report", True, lambda n: {
        "generatedAt": AT, "monitor": monitors(n)}),
    "CustomerInformation": (
        {"report": True, "clear": False, "customerIdentifier": "Jane"},
        "NotifyCustomerInformation", "customer-information", True,
        lambda n: {"generatedAt": AT, "data": f"Jane {n}"}),
    "GetDisplayMessages": ({}, "NotifyDisplayMessages", "display-messages", False, lambda n: {
        "messageInfo": [shown(n)]}),
    "GetChargingProfiles": (
        {"chargingProfile": {}}, "ReportChargingProfiles", "charging-profiles", False,
        lambda n: {"evseId": 1, "chargingLimitSource": "EMS", "chargingProfile": profiles(n)}),
    "GetDERControl": ({}, "ReportDERControl", "der-report", False, lambda n: {
        "gradient": [{"id": f"g{n}", "gradient": {"priority": n, "gradient": 1.5,
                                                  "softGradient": 1}}]}),
}  # fmt: skip
EVERY_TRAIN = pytest.mark.parametrize(
    ("version", "asked"),
    [(v, a) for v in ("2.0.1", "2.1") for a in TRAINS if (v, a) != ("2.0.1", "GetDERControl")],
)


class Train:
    """Reports of one kind, as a station tells them part by part."""

    def __init__(self, backend, charger, asked):
        self.backend, self.charger, self.asked = backend, charger, asked
        self.more, self.told, self.kind, self.numbered, self.part = TRAINS[asked]

    async def ask(self, request):
        self.charger.answers[self.asked] = {"status": "Accepted"}
        link = self.backend.stations.link("CP1")
        await link.call(self.asked, {"requestId": request, **self.more})

    async def tell(self, request, n, *, last, place=None):
        part = {"requestId": request, "tbc": not last, **self.part(n)}
        if self.numbered:
            part["seqNo"] = n if place is None else place
        await self.charger.call(self.told, **part)

    def kept(self, request):
        return kept(self.backend, self.kind)[str(request)]

    async def whole(self, *parts):
        """What a report of these parts is kept as when nothing goes wrong."""
        await self.ask(99)
        for place, n in enumerate(parts):
            await self.tell(99, n, last=n == parts[-1], place=place)
        found = self.kept(99)
        assert found["complete"]
        return found["items"]


@pytest.fixture
async def trains(backend):
    async def make(version, asked):
        return Train(backend, await backend.charger(version), asked)

    return make


@EVERY_TRAIN
async def test_bo16_parts_that_come_twice_are_in_the_report_once(trains, version, asked):
    """Also the first or the last one of it, when all had come; nothing of it is lost."""
    train = await trains(version, asked)
    wanted = await train.whole(0, 1, 2)
    await train.ask(7)
    for n in (0, 0, 1, 2, 2, 0):
        await train.tell(7, n, last=n == 2)

    found = train.kept(7)
    assert len(found["items"]) == 3
    assert (found["items"], found["complete"], found["missing"]) == (wanted, True, [])


@EVERY_TRAIN
async def test_bo16_two_reports_at_once_are_two_results(trains, version, asked):
    """Those of a number that nobody asked for are another one still."""
    train = await trains(version, asked)
    one, other = await train.whole(0, 1), await train.whole(2, 3)
    await train.ask(7)
    await train.ask(8)
    await train.tell(7, 0, last=False)
    await train.tell(8, 2, last=False, place=0)
    await train.tell(1234, 4, last=True, place=0)
    assert not train.kept(7)["complete"]
    await train.tell(8, 3, last=True, place=1)
    await train.tell(7, 1, last=True)

    assert train.kept(7)["items"] == one
    assert train.kept(8)["items"] == other
    assert train.kept(7)["complete"]


@EVERY_TRAIN
async def test_bo16_a_report_goes_on_after_a_reconnect(trains, version, asked):
    """A part whose answer was lost with the connection comes again after it."""
    train = await trains(version, asked)
    wanted = await train.whole(0, 1)
    await train.ask(7)
    await train.tell(7, 0, last=False)
    train.charger = await train.backend.charger(version)
    await train.tell(7, 0, last=False)
    await train.tell(7, 1, last=True)

    assert train.kept(7)["items"] == wanted
    assert train.kept(7)["complete"]


@EVERY_TRAIN
@pytest.mark.parametrize("finished", [False, True])
async def test_bo16_a_number_that_is_used_again_is_another_report(trains, version, asked, finished):
    """Whether the first under the number had all its parts or the rest of them stayed out."""
    train = await trains(version, asked)
    wanted = await train.whole(0, 3)
    await train.ask(7)
    await train.tell(7, 0, last=False)
    await train.tell(7, 1, last=finished)
    assert train.kept(7)["complete"] is finished
    await train.ask(7)
    await train.tell(7, 0, last=False)
    assert not train.kept(7)["complete"]
    await train.tell(7, 3, last=True, place=1)

    assert train.kept(7)["items"] == wanted
    assert train.kept(7)["complete"]


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
@pytest.mark.parametrize("asked", [a for a, train in TRAINS.items() if train[3]])
async def test_bo16_parts_out_of_their_order_are_put_in_order(trains, version, asked):
    train = await trains(version, asked)
    wanted = await train.whole(0, 1, 2)
    await train.ask(7)
    await train.tell(7, 2, last=True)
    assert train.kept(7)["missing"] == [0, 1]
    await train.tell(7, 1, last=False)
    await train.tell(7, 0, last=False)

    assert train.kept(7)["items"] == wanted
    assert train.kept(7)["complete"]


@pytest.mark.parametrize("seq", [2**31 - 1, 2**53])
async def test_bo16_s22_a_part_of_an_absurd_number_costs_nothing(backend, seq):
    """No list is made of the parts that such a report would have."""
    charger = await backend.charger("2.0.1")
    await charger.call("NotifyReport", **report(7, seq, tbc=False))

    kept_report = kept(backend, "report")["7"]
    assert not kept_report["complete"]
    assert kept_report["missing"] == list(range(100))
    await charger.call("Heartbeat")


async def test_fw11_customer_information_is_joined(backend):
    charger = await backend.charger("2.0.1")
    for seq, text in enumerate(("one", "two")):
        await charger.call(
            "NotifyCustomerInformation",
            data=text,
            seqNo=seq,
            tbc=seq == 0,
            generatedAt=AT,
            requestId=4,
        )

    assert kept(backend, "customer-information")["4"]["items"] == ["one", "two"]


async def test_fw11_what_is_cleared_at_the_station_is_forgotten_here_too(backend):
    """N10: the next report is what is left."""
    charger = await backend.charger("2.0.1")
    told = {"data": "Jane Doe", "seqNo": 0, "generatedAt": AT, "requestId": 4}
    await charger.call("NotifyCustomerInformation", **told)
    asked = {"requestId": 5, "report": False, "clear": True, "customerIdentifier": "Jane"}
    link = backend.stations.link("CP1")
    charger.answers["CustomerInformation"] = {"status": "Rejected"}
    await link.call("CustomerInformation", asked)
    assert "4" in kept(backend, "customer-information")

    charger.answers["CustomerInformation"] = {"status": "Accepted"}
    await link.call("CustomerInformation", asked)

    assert kept(backend, "customer-information") == {}


async def test_external_charging_limits_come_and_go(backend):
    charger = await backend.charger("2.0.1")
    await charger.call(
        "NotifyChargingLimit", evseId=1, chargingLimit={"chargingLimitSource": "EMS"}
    )
    assert "EMS|1" in kept(backend, "charging-limit")

    await charger.call("ClearedChargingLimit", evseId=1, chargingLimitSource="EMS")
    assert kept(backend, "charging-limit") == {}


async def test_a_limit_that_is_cleared_at_one_evse_stays_at_the_others(backend):
    """K13: EVSE 1 is neither 10 nor 11."""
    charger = await backend.charger("2.0.1")
    for evse in (1, 10, 11):
        limit = {"chargingLimitSource": "EMS"}
        await charger.call("NotifyChargingLimit", evseId=evse, chargingLimit=limit)

    await charger.call("ClearedChargingLimit", evseId=1, chargingLimitSource="EMS")

    assert sorted(kept(backend, "charging-limit")) == ["EMS|10", "EMS|11"]


async def test_a_monitor_that_is_cleared_leaves_those_whose_ids_begin_like_it(backend):
    charger = await backend.charger("2.0.1")
    link = backend.stations.link("CP1")
    for number in (1, 12):
        charger.answers["SetVariableMonitoring"] = {
            "setMonitoringResult": [{
                "id": number, "status": "Accepted", "type": "UpperThreshold", "severity": 5,
                "component": {"name": "Connector"}, "variable": {"name": "Temperature"},
            }]
        }  # fmt: skip
        wanted = {
            "value": 80, "type": "UpperThreshold", "severity": 5,
            "component": {"name": "Connector"}, "variable": {"name": "Temperature"},
        }  # fmt: skip
        await link.call("SetVariableMonitoring", {"setMonitoringData": [wanted]})
    assert sorted(kept(backend, "monitor")) == ["1", "12"]
    charger.answers["ClearVariableMonitoring"] = {
        "clearMonitoringResult": [{"id": 1, "status": "Accepted"}]
    }

    await link.call("ClearVariableMonitoring", {"id": [1]})

    assert sorted(kept(backend, "monitor")) == ["12"]


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_cm18_profiles_that_were_accepted_are_kept_until_cleared(backend, version):
    await backend.charger(version)
    link = backend.stations.link("CP1")
    schedule = {
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 16.0}],
    }
    common = {
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
    }
    if version == "1.6":
        profile = {"chargingProfileId": 3, **common, "chargingSchedule": schedule}
        request = {"connectorId": 1, "csChargingProfiles": profile}
    else:
        profile = {"id": 3, **common, "chargingSchedule": [{"id": 1, **schedule}]}
        request = {"evseId": 1, "chargingProfile": profile}
    await link.call("SetChargingProfile", request)
    assert kept(backend, "charging-profile")["3"]["evse_id"] == 1

    await link.call(
        "ClearChargingProfile", {"id": 3} if version == "1.6" else {"chargingProfileId": 3}
    )
    assert kept(backend, "charging-profile") == {}


async def test_rp08_a_stream_of_21_is_opened_fed_and_closed_without_answers_to_sends(backend):
    charger = await backend.charger("2.1")
    params = {"interval": 1, "values": 5}
    data = {"id": 11, "params": params, "variableMonitoringId": 1}
    answer = await charger.call("OpenPeriodicEventStream", constantStreamData=data)
    assert answer == {"status": "Accepted"}

    await charger.raw_send(6, "s1", "NotifyPeriodicEventStream", {
        "id": 11, "pending": 0, "basetime": AT, "data": [{"t": 0.5, "v": "230"}],
    })  # fmt: skip
    await charger.call("Heartbeat")
    assert charger.strays == []
    assert kept(backend, "event-stream-data")["11"]["data"][0]["v"] == "230"

    await charger.call("ClosePeriodicEventStream", id=11)
    assert kept(backend, "event-stream") == {}


async def test_n07_n15_events_and_streams_tell_the_newest_value_of_a_variable(backend):
    """What a station reports of a variable is what the device model shows."""
    charger = await backend.charger("2.1")
    await charger.call("NotifyReport", **report(1, 0, tbc=False))
    name = {"component": {"name": "C"}, "variable": {"name": "V"}}
    (key,) = kept(backend, "variable")
    component, variable = key.split("/")
    name = {"component": {"name": component}, "variable": {"name": variable}}

    def value():
        return kept(backend, "variable")[key]["attributes"][0]["value"]

    event = {
        "eventId": 1, "timestamp": AT, "trigger": "Alerting", "actualValue": "from an event",
        "eventNotificationType": "CustomMonitor", **name,
    }  # fmt: skip
    await charger.call("NotifyEvent", generatedAt=AT, seqNo=0, eventData=[event])
    assert value() == "from an event"
    charger.answers["SetVariableMonitoring"] = {
        "setMonitoringResult": [
            {"id": 8, "status": "Accepted", "type": "Periodic", "severity": 5, **name}
        ]
    }
    wanted = {"value": 1, "type": "Periodic", "severity": 5, **name}
    link = backend.stations.link("CP1")
    await link.call("SetVariableMonitoring", {"setMonitoringData": [wanted]})
    stream = {"id": 3, "params": {"interval": 1, "values": 2}, "variableMonitoringId": 8}
    await charger.call("OpenPeriodicEventStream", constantStreamData=stream)
    for number in range(3):
        await charger.raw_send(6, f"s{number}", "NotifyPeriodicEventStream", {
            "id": 3, "pending": 0, "basetime": AT, "data": [{"t": number, "v": f"v{number}"}],
        })  # fmt: skip
    await charger.call("Heartbeat")

    assert value() == "v2"
    streamed = kept(backend, "event-stream-data")["3"]["values"]
    assert [one["v"] for one in streamed] == ["v0", "v1", "v2"]


async def test_21_a_field_of_its_own_in_a_report_of_controls_is_passed_over(backend):
    """What is not of the schema is no control."""
    charger = await backend.charger("2.1")

    assert await charger.call("ReportDERControl", requestId=3, vendors=[[]], tbc=False) == {}


async def test_21_what_stations_took_of_der_controls_and_tariffs_is_kept_until_cleared(backend):
    """SetDERControl, SetDefaultTariff, GetTariffs and what clears them."""
    charger = await backend.charger("2.1")
    link = backend.stations.link("CP1")
    der = {"isDefault": True, "controlId": "c1", "controlType": "Gradients"}
    await link.call("SetDERControl", der)
    tariff = {"tariffId": "T1", "currency": "EUR"}
    await link.call("SetDefaultTariff", {"evseId": 0, "tariff": tariff})
    charger.answers["GetTariffs"] = {
        "status": "Accepted",
        "tariffAssignments": [{"tariffId": "T1", "tariffKind": "DefaultTariff"}],
    }
    await link.call("GetTariffs", {"evseId": 0})
    assert kept(backend, "der-setting")["c1"]["controlType"] == "Gradients"
    assert kept(backend, "default-tariff")["0"]["tariff"] == tariff
    assert list(kept(backend, "tariff-assignment")) == ["DefaultTariff|T1"]

    await link.call("ClearDERControl", {"isDefault": True, "controlId": "c1"})
    charger.answers["ClearTariffs"] = {
        "clearTariffsResult": [{"tariffId": "T1", "status": "Accepted"}]
    }
    await link.call("ClearTariffs", {"tariffIds": ["T1"]})
    charger.answers["GetTariffs"] = {"status": "NoTariff"}
    await link.call("GetTariffs", {"evseId": 0})
    for kind in ("der-setting", "default-tariff", "tariff-assignment"):
        assert kept(backend, kind) == {}


SAMPLES = {
    "BatterySwap": {
        "batteryData": [{"evseId": 1, "serialNumber": "B", "soC": 50, "soH": 99}],
        "eventType": "BatteryIn",
        "idToken": {"idToken": "TAG", "type": "Central"},
        "requestId": 1,
    },
    "NotifyDERAlarm": {"controlType": "FreqDroop", "timestamp": AT},
    "NotifyDERStartStop": {"controlId": "c1", "started": True, "timestamp": AT},
    "NotifyPriorityCharging": {"transactionId": "t", "activated": True},
    "NotifySettlement": {
        "pspRef": "p",
        "status": "Settled",
        "settlementAmount": 12.5,
        "settlementTime": AT,
    },
    "NotifyWebPaymentStarted": {"evseId": 1, "timeout": 60},
    "PullDynamicScheduleUpdate": {"chargingProfileId": 1},
    "ReportDERControl": {"requestId": 1},
    "VatNumberValidation": {"vatNumber": "NL1"},
    "GetCertificateChainStatus": {
        "certificateStatusRequests": [
            {
                "certificateHashData": {
                    "hashAlgorithm": "SHA256",
                    "issuerNameHash": "a",
                    "issuerKeyHash": "b",
                    "serialNumber": "1",
                },
                "source": "OCSP",
                "urls": ["http://internal.example/"],
            }
        ]
    },
    "GetCertificateStatus": {
        "ocspRequestData": {
            "hashAlgorithm": "SHA256",
            "issuerNameHash": "a",
            "issuerKeyHash": "b",
            "serialNumber": "1",
            "responderURL": "http://internal.example/",
        }
    },
    "Get15118EVCertificate": {
        "iso15118SchemaVersion": "x",
        "action": "Install",
        "exiRequest": "e",
    },
    "NotifyEVChargingNeeds": {
        "evseId": 1,
        "chargingNeeds": {"requestedEnergyTransfer": "DC"},
    },
    "NotifyEVChargingSchedule": {
        "timeBase": AT,
        "evseId": 1,
        "chargingSchedule": {
            "id": 1,
            "chargingRateUnit": "W",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 11000}],
        },
    },
    "ReservationStatusUpdate": {"reservationId": 1, "reservationUpdateStatus": "Expired"},
    "NotifyDisplayMessages": {"requestId": 1},
    "NotifyMonitoringReport": {"requestId": 1, "seqNo": 0, "generatedAt": AT},
    "PublishFirmwareStatusNotification": {"status": "Published", "requestId": 1},
    "LogStatusNotification": {"status": "Uploaded", "requestId": 1},
    "ReportChargingProfiles": {
        "requestId": 1,
        "chargingLimitSource": "CSO",
        "evseId": 1,
        "chargingProfile": [
            {
                "id": 1,
                "stackLevel": 0,
                "chargingProfilePurpose": "TxProfile",
                "chargingProfileKind": "Absolute",
                "chargingSchedule": [
                    {
                        "id": 1,
                        "chargingRateUnit": "W",
                        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 11000}],
                    }
                ],
            }
        ],
    },
}


@pytest.mark.parametrize("action", sorted(SAMPLES))
async def test_every_further_report_of_21_is_taken_and_answered_by_the_schema(backend, action):
    charger = await backend.charger("2.1")

    answer = await charger.call(action, **SAMPLES[action])

    validation.check("2.1", action, answer, response=True)


@pytest.mark.parametrize(("version", "count"), [("1.6", 14), ("2.0.1", 25), ("2.1", 37)])
def test_every_message_that_stations_send_has_a_handler(version, count):
    """1.6 has 14 requests from stations, 2.0.1 has 25, 2.1 has 37 and one SEND."""
    handlers = set(DIALECTS[version].handlers)

    assert handlers <= validation.actions(version)
    assert len(handlers - {"NotifyPeriodicEventStream"}) == count


def certificate_request(name, *, bits=256, organization=None):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID

    key = (
        ec.generate_private_key(ec.SECP256R1())
        if bits == 256
        else rsa.generate_private_key(public_exponent=65537, key_size=bits)
    )
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organization is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    subject = x509.Name(attributes)
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def authority_files(tmp_path):
    import trustme

    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    certificate, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    authority.cert_pem.write_to_path(str(certificate))
    authority.private_key_pem.write_to_path(str(key))
    return {"authority_certificate": certificate, "authority_key": key}


@pytest.fixture
async def signing(open_backend, authority_files):
    backend = await open_backend(tls=authority_files)
    await backend.register("CP1")
    return backend


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_fw07_a_request_for_itself_is_signed_and_delivered(signing, version):
    from cryptography import x509

    charger = await signing.charger(version)
    answer = await charger.call("SignCertificate", csr=certificate_request("CP1"))
    assert answer == {"status": "Accepted"}
    await signing.until(lambda: "current" in kept(signing, "station-certificate"))

    action, payload = charger.asked[-1]
    certificate = x509.load_pem_x509_certificate(payload["certificateChain"].encode())
    assert action == "CertificateSigned"
    assert certificate.subject.rfc4514_string() == "CN=CP1"
    assert kept(signing, "station-certificate")["current"]["status"] == "Accepted"


@pytest.mark.parametrize(
    "csr",
    [
        pytest.param("garbage", id="garbage"),
        pytest.param(certificate_request("CP2"), id="another station"),
        pytest.param(certificate_request("CP1", bits=1024), id="weak key"),
    ],
)
async def test_fw07_sec18_requests_that_are_not_its_own_or_weak_are_rejected(signing, csr):
    charger = await signing.charger("2.0.1")

    assert await charger.call("SignCertificate", csr=csr) == {"status": "Rejected"}
    assert charger.asked == []


@pytest.fixture
async def particular(open_backend, authority_files):
    """A backend that signs for organizations of ours only."""
    organizations = ["Example Charging", "Example Energy"]
    tls = {**authority_files, "authority_organizations": organizations}
    backend = await open_backend(tls=tls)
    await backend.register("CP1")
    return backend


@pytest.mark.parametrize(
    ("asked", "signed"),
    [("Example Energy", "Example Energy"), (None, "Example Charging")],
)
async def test_fw07_the_organization_of_a_request_is_one_of_ours(particular, asked, signed):
    """FW-07: O = CPO; a request that names none gets our first."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    charger = await particular.charger("2.0.1")
    csr = certificate_request("CP1", organization=asked)
    assert await charger.call("SignCertificate", csr=csr) == {"status": "Accepted"}
    await particular.until(lambda: "current" in kept(particular, "station-certificate"))

    _, payload = charger.asked[-1]
    certificate = x509.load_pem_x509_certificate(payload["certificateChain"].encode())
    (organization,) = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert organization.value == signed


async def test_fw07_a_request_for_another_organization_is_rejected(particular):
    charger = await particular.charger("2.0.1")

    csr = certificate_request("CP1", organization="Somebody Else")

    assert await charger.call("SignCertificate", csr=csr) == {"status": "Rejected"}
    assert charger.asked == []


@pytest.mark.parametrize("kind", ["V2GCertificate", "V2G20Certificate"])
async def test_fw07_a_certificate_for_cars_is_signed_by_the_v2g_authority(
    open_backend, tmp_path, authority_files, kind
):
    """A02, M: for the EVSE's id too; the one it shows to us stays as it is."""
    import trustme
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    v2g = trustme.CA(key_type=trustme.KeyType.ECDSA, organization_name="V2G")
    v2g.cert_pem.write_to_path(str(tmp_path / "v2g.pem"))
    v2g.private_key_pem.write_to_path(str(tmp_path / "v2g.key"))
    backend = await open_backend(
        tls={
            **authority_files,
            "v2g_authority_certificate": tmp_path / "v2g.pem",
            "v2g_authority_key": tmp_path / "v2g.key",
        }
    )
    await backend.site("CP1")
    await backend.register("CP1")
    (evse_id,) = backend.stations.evse_names("CP1")
    charger = await backend.charger("2.1")
    answer = await charger.call(
        "SignCertificate", csr=certificate_request(evse_id), certificateType=kind
    )
    assert answer == {"status": "Accepted"}
    await backend.until(lambda: kind in kept(backend, "station-certificate"))

    _, payload = charger.asked[-1]
    leaf, issuer = x509.load_pem_x509_certificates(payload["certificateChain"].encode())
    leaf.verify_directly_issued_by(issuer)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert payload["certificateType"] == kind
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage
    assert "V2G" in issuer.subject.rfc4514_string()
    refused = await charger.call("SignCertificate", csr=certificate_request(evse_id))
    assert refused == {"status": "Rejected"}


async def test_fw07_a_certificate_that_the_station_refuses_takes_no_place(signing):
    charger = await signing.charger("2.0.1")
    await charger.call("SignCertificate", csr=certificate_request("CP1"))
    await signing.until(lambda: "current" in kept(signing, "station-certificate"))
    before = kept(signing, "station-certificate")["current"]
    charger.answers["CertificateSigned"] = {"status": "Rejected"}
    await charger.call("SignCertificate", csr=certificate_request("CP1"))
    await signing.until(lambda: len(kept(signing, "station-certificate")) == 2)

    assert kept(signing, "station-certificate")["current"] == before


async def test_fw07_without_an_authority_nothing_is_signed(backend, version):
    charger = await backend.charger(version)

    answer = await charger.call("SignCertificate", csr=certificate_request("CP1"))

    assert answer == {"status": "Rejected"}


ROOT = {
    "hashAlgorithm": "SHA256",
    "issuerNameHash": "aa",
    "issuerKeyHash": "bb",
    "serialNumber": "01",
}


def installed(version, *certificates):
    """What a station answers that has these roots."""
    if version == "1.6":
        return {"status": "Accepted", "certificateHashData": list(certificates)}
    return {
        "status": "Accepted",
        "certificateHashDataChain": [
            {"certificateType": "CSMSRootCertificate", "certificateHashData": hashes}
            for hashes in certificates
        ],
    }


async def test_fw08_the_last_root_that_a_station_knows_us_by_is_not_deleted(backend, version):
    """The station is asked which it has: what was known of it may be old, or nothing."""
    from cpo.errors import Invalid

    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    second = {**ROOT, "serialNumber": "0C"}
    charger.answers["GetInstalledCertificateIds"] = installed(version, ROOT, second)
    answer = await link.call("DeleteCertificate", {"certificateHashData": second})
    assert answer == {"status": "Accepted"}
    assert [action for action, _ in charger.asked] == [
        "GetInstalledCertificateIds", "DeleteCertificate",
    ]  # fmt: skip

    charger.answers["GetInstalledCertificateIds"] = installed(version, second)
    for written in ("0C", "c", "0c"):
        wanted = {**second, "serialNumber": written}
        with pytest.raises(Invalid):
            await link.call("DeleteCertificate", {"certificateHashData": wanted})
    assert await link.call("DeleteCertificate", {"certificateHashData": ROOT}) == answer
    assert [action for action, _ in charger.asked].count("DeleteCertificate") == 2


async def test_fw08_a_station_that_cannot_list_its_roots_is_judged_by_what_is_known(
    backend, version
):
    from cpo.errors import Invalid
    from cpo.ocpp import outcomes

    charger = await backend.charger(version)
    link = backend.stations.link("CP1")
    charger.answers["GetInstalledCertificateIds"] = installed(version, ROOT)
    await link.call("GetInstalledCertificateIds", dict(outcomes.OUR_ROOTS[version]))
    charger.answers["GetInstalledCertificateIds"] = ("NotSupported", "no")

    with pytest.raises(Invalid):
        await link.call("DeleteCertificate", {"certificateHashData": ROOT})
    other = {**ROOT, "serialNumber": "02"}
    answer = await link.call("DeleteCertificate", {"certificateHashData": other})
    assert answer == {"status": "Accepted"}

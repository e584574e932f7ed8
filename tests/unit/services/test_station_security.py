"""The expiry calendar, renewals in time, password rotation, security events (item 6, FW-06 to FW-09)."""

from datetime import timedelta

import pytest
import trustme
from charging import NOON
from cryptography import x509
from operating import Link, Operating

from cpo.domain.station import Boot, Station
from cpo.services.authority import Authority
from cpo.services.issued_certificates import FOR_US
from cpo.services.ports import StationDocument, Work
from cpo.services.station_security import StationSecurity


@pytest.fixture
async def world():
    made = Operating()
    await made.client.start_server()
    await made.charging.stations.register(
        Station(identity="CP1", boot=Boot(vendor="A", model="B")), actor="test"
    )
    yield made
    await made.client.close()


async def keep(world, kind, key, document, station="CP1", at=NOON):
    work = Work()
    work.put(StationDocument(station, kind, key, document, at))
    await world.store.commit(work)


async def certificate(world, days, key="current"):
    end = NOON + timedelta(days=days)
    await keep(world, "station-certificate", key, {"expires_at": end.isoformat(), "chain": ""})


async def test_the_calendar_shows_all_of_them_the_first_to_end_first(world, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    world.security._own = {"ocpp.tls.client_ca": tmp_path / "ca.pem"}
    await certificate(world, 90)
    await certificate(world, 5, key="V2GCertificate")
    await certificate(world, 1, key="refused ChargingStationCertificate")
    end = (NOON - timedelta(days=1)).isoformat()
    await keep(
        world, "installed-certificate", "1|x", {"expires_at": end, "type": "CSMSRootCertificate"}
    )

    status, answer, _ = await world.ask("GET", "/api/v1/certificates")
    _, soon, _ = await world.ask("GET", "/api/v1/certificates?state=soon")

    assert status == 200
    assert [(i["kind"], i["state"]) for i in answer["items"]] == [
        ("installed", "expired"), ("station-for-cars", "soon"), ("station", "ok"), ("own", "ok"),
    ]  # fmt: skip
    assert [i["name"] for i in soon["items"]] == ["V2GCertificate"]


@pytest.mark.parametrize(
    ("version", "key", "call"),
    [
        ("1.6", "current", ("ExtendedTriggerMessage", "SignChargePointCertificate")),
        ("2.0.1", "current", ("TriggerMessage", "SignChargingStationCertificate")),
        ("2.1", "V2GCertificate", ("TriggerMessage", "SignV2GCertificate")),
    ],
)
async def test_fw07_a_station_is_asked_to_renew_in_time_once_a_day(world, version, key, call):
    link = world.connect("CP1", version=version, answer={"status": "Accepted"})
    await certificate(world, 10, key=key)

    await world.security.sweep()
    await world.security.sweep()
    assert [(action, p["requestedMessage"]) for action, p, _ in link.executed] == [call]

    world.charging.later = world.charging.pass_time(days=1)
    await world.security.sweep()
    assert len(link.executed) == 2
    assert world.metrics.certificates._series[("soon",)] == 1


async def test_a_certificate_with_time_left_and_an_absent_station_are_left_alone(world):
    await certificate(world, 10)
    await world.security.sweep()
    link = world.connect("CP1", answer={"status": "Accepted"})
    await certificate(world, 31)
    await world.security.sweep()

    assert link.executed == []


async def test_the_operator_may_ask_for_it_at_any_time(world):
    assert (await world.ask("POST", "/api/v1/stations/CP1/renew-certificate", {}))[0] == 409
    assert (await world.ask("POST", "/api/v1/stations/NO/renew-certificate", {}))[0] == 404
    world.connect("CP1", answer={"status": "Accepted"})

    status, answer, _ = await world.ask("POST", "/api/v1/stations/CP1/renew-certificate", {})

    assert (status, answer["status"]) == (200, "Accepted")


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ("1.6", {"status": "Accepted"}),
        ("2.0.1", {"setVariableResult": [{"attributeStatus": "Accepted"}]}),
    ],
)
async def test_sec14_a_rotated_password_is_random_and_shown_to_nobody(world, version, answer):
    link = world.connect("CP1", version=version, answer=answer)

    status, shown, _ = await world.ask("POST", "/api/v1/stations/CP1/rotate-password", {})
    await world.ask("POST", "/api/v1/stations/CP1/rotate-password", {})

    first, second = (str(payload) for _, payload, _ in link.executed)
    assert (status, shown["status"]) == (200, "Accepted")
    assert first != second
    assert not any(part in str(shown) for part in first.split("'") if len(part) == 40)


async def test_fw06_security_events_of_all_stations_newest_first(world):
    for n, critical in enumerate((True, False, True)):
        at = NOON + timedelta(minutes=n)
        await keep(world, "security-event", f"{n}", {"type": f"T{n}", "critical": critical}, at=at)

    _, all_of_them, _ = await world.ask("GET", "/api/v1/security-events?limit=2")
    _, critical, _ = await world.ask("GET", "/api/v1/security-events?critical=true")

    assert [i["key"] for i in all_of_them["items"]] == ["2", "1"]
    assert all_of_them["next_cursor"] == "2"
    assert [i["key"] for i in critical["items"]] == ["2", "0"]
    assert critical["items"][0]["station"] == "CP1"


def test_a_file_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    security = StationSecurity(
        None, None, now=lambda: NOON, renew_before=timedelta(days=30),
        own={"gone": tmp_path / "gone.pem", "ca": tmp_path / "ca.pem"},
    )  # fmt: skip

    (only,) = security._own_certificates()
    subject = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    assert only["subject"] == subject.rfc4514_string()


assert Link


async def test_sec17_what_we_signed_is_listed_and_revoked_by_the_operator(world, tmp_path):
    """The list of revoked ones is signed by the authority itself."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.private_key_pem.write_to_path(str(tmp_path / "ca.key"))
    loaded = Authority.load(
        tmp_path / "ca.pem",
        tmp_path / "ca.key",
        validity=timedelta(days=1),
        now=lambda: world.charging.clock,
    )
    world.security._authorities = {FOR_US: loaded}
    certificates = world.charging.stations.certificates
    for serial in ("a1", "b2"):
        await certificates.issued("CP1", serial, FOR_US, NOON + timedelta(days=5))

    _, listed, _ = await world.ask("GET", "/api/v1/stations/CP1/issued-certificates")
    path = "/api/v1/stations/CP1/revoke-certificates"
    unknown, _, _ = await world.ask("POST", path, {"serials": ["c3"]})
    _, one, _ = await world.ask("POST", path, {"serials": ["0A1"], "compromised": True})
    _, rest, _ = await world.ask("POST", path, {})
    status, text, _ = await world.ask("GET", "/api/v1/certificates/revocation-list")
    none, _, _ = await world.ask("GET", "/api/v1/certificates/revocation-list?use=V2GCertificate")

    assert [i["serial"] for i in listed["items"]] == ["a1", "b2"]
    assert (unknown, none) == (404, 404)
    assert (one["revoked"], rest["revoked"]) == (["a1"], ["b2"])
    assert world.charging.stations.find("CP1").revoked_certificates == ("a1", "b2")
    assert status == 200
    crl = x509.load_pem_x509_crl(text if isinstance(text, bytes) else text.encode())
    assert crl.is_signature_valid(loaded.certificate.public_key())
    reasons = {f"{entry.serial_number:x}": entry.extensions[0].value.reason.value for entry in crl}
    assert reasons == {"a1": "keyCompromise", "b2": "cessationOfOperation"}

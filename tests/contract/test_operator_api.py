"""The operator API over a real database, SQLite and PostgreSQL alike."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from operating import Operating

from cpo.domain.events import EventKind, IdToken, Sample, SignedReading, TransactionEvent
from cpo.services.ports import Frame, Orphan, StationDocument, Work

API = "/api/v1"


@pytest.fixture
async def world(store):
    made = Operating(store)
    await made.client.start_server()
    await made.charging.site(evses=1)
    yield made
    await made.charging.transactions.close()
    await made.charging.commands.close()
    await made.charging.stations.close()
    await made.client.close()


async def items(world, path):
    """Return all items of a list, read in pages of two."""
    found, cursor = [], None
    while True:
        separator = "&" if "?" in path else "?"
        more = f"&cursor={cursor}" if cursor else ""
        status, page, _ = await world.ask("GET", f"{API}{path}{separator}limit=2{more}")
        assert status == 200, page
        assert len(page["items"]) <= 2
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def charge(world, number):
    begin_at = NOON + timedelta(hours=number)
    begin = TransactionEvent(
        kind=EventKind.STARTED, at=begin_at, received_at=begin_at, evse_id=1, connector_id=1,
        id_token=IdToken("TAG"), meter_wh=Decimal(1000),
    )  # fmt: skip
    answer = await world.charging.told(begin)
    at = begin_at + timedelta(minutes=30)
    end = TransactionEvent(
        kind=EventKind.ENDED, at=at, received_at=at, transaction=answer.transaction,
        meter_wh=Decimal(11_000),
    )  # fmt: skip
    await world.charging.told(end)


async def test_charges_are_listed_shown_explained_and_credited(world):
    world.charging.partner()
    await world.charging.token()
    for number in range(3):
        await charge(world, number)

    sessions, cdrs = await items(world, "/sessions"), await items(world, "/cdrs?order=oldest")
    _, cdr, _ = await world.ask("GET", f"{API}/cdrs/{cdrs[0]['id']}")
    _, explained, _ = await world.ask("GET", f"{API}/cdrs/{cdr['id']}/explain")
    _, credit, _ = await world.ask("POST", f"{API}/cdrs/{cdr['id']}/credit", {})

    assert [s["status"] for s in sessions] == ["COMPLETED"] * 3
    assert sessions[0]["start_date_time"] > sessions[-1]["start_date_time"]
    assert [c["session_id"] for c in cdrs] == [s["id"] for s in reversed(sessions)]
    assert (cdr["kwh"], cdr["total_cost"]) == (10, {"excl_vat": 3, "incl_vat": 3.6})
    assert explained["lines"]
    assert credit["credit_reference_id"] == cdr["id"]
    assert len(await items(world, "/cdrs")) == 4


async def test_a_session_is_tried_with_another_tariff_and_a_month_summed_up(world):
    partner = await world.partner()
    await world.charging.token(partner_id=partner.id)
    await charge(world, 0)
    (session,) = await items(world, "/sessions")
    element = {"price_components": [{"type": "ENERGY", "price": 1, "step_size": 1}]}
    body = {
        "session_id": session["id"],
        "tariff": {"id": "X", "currency": "EUR", "elements": [element]},
    }

    _, tried, _ = await world.ask("POST", f"{API}/prices/try", body)
    status, statement, _ = await world.ask(
        "GET", f"{API}/partners/{partner.id}/statement?month=2026-01"
    )
    _, table, headers = await world.ask(
        "GET", f"{API}/partners/{partner.id}/statement?month=2026-01&format=csv"
    )

    assert tried["total_cost"]["excl_vat"] == "10.00"
    assert status == 200, statement
    assert statement["partner_id"] == partner.id
    assert headers["Content-Type"].startswith("text/csv")
    assert table.startswith(b"cdr_id,")


async def test_the_contract_with_a_partner_is_kept_exactly(world, store):
    await world.partner()
    policy = {"min_cdr_kwh": 0.1, "versions": ["2.2.1"]}

    await world.ask("PATCH", f"{API}/partners/P1", {"policy": policy})
    (kept,) = await store.partners()

    assert Decimal(str(kept.policy["min_cdr_kwh"])) == Decimal("0.1")
    assert kept.policy["versions"] == ["2.2.1"]


async def test_a_charge_is_estimated(world):
    query = "kwh=20&charging_seconds=3600"

    status, told, _ = await world.ask("GET", f"{API}/evses/CP1-uid-1-x/estimate?{query}")

    assert status == 200
    assert told["total_cost"] == {"excl_vat": "6.00", "incl_vat": "7.20"}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/evses/CP1-uid-1-x/estimate?kwh=1", "charging_seconds"),
        ("/evses/CP1-uid-1-x/estimate?kwh=-1&charging_seconds=1", "kwh"),
        ("/evses/CP1-uid-1-x/estimate?kwh=1&charging_seconds=1&at=now", "at"),
        ("/evses/CP1-uid-1-x/estimate?kwh=1&charging_seconds=1&type=CHEAP", "type"),
        ("/partners/P1/statement?month=0001-01&time_zone=Asia/Tokyo", "month"),
        ("/partners/P1/statement?month=2026-01&time_zone=Mars", "time_zone"),
    ],
)
async def test_bad_questions_about_prices_are_refused_with_the_field_named(world, path, field):
    await world.partner()

    status, problem, _ = await world.ask("GET", API + path)

    assert (status, problem["field"]) == (422, field)


async def test_the_frame_log_is_paged_filtered_and_exported(world):
    for number in range(7):
        work = Work()
        at = NOON + timedelta(seconds=number // 3)
        action = "Heartbeat" if number % 2 else "StatusNotification"
        work.add(Frame("CP1", at, "in", action, f"m~{number}", "{}", "{}"))
        await world.store.commit(work)

    paged = await items(world, "/stations/CP1/messages")
    late = await items(world, "/stations/CP1/messages?since=2026-06-01T12:00:01Z&action=Heartbeat")
    _, raw, _ = await world.ask("GET", f"{API}/stations/CP1/messages?format=ndjson")

    assert [m["message_id"] for m in paged] == [f"m~{number}" for number in range(6, -1, -1)]
    assert [m["message_id"] for m in late] == ["m~5", "m~3"]
    assert len([json.loads(line) for line in raw.splitlines()]) == 7


async def test_commands_are_kept_with_their_outcome(world):
    world.connect("CP1")
    for number in range(3):
        await world.ask(
            "POST", f"{API}/stations/CP1/reset", {}, headers={"Idempotency-Key": f"k{number}"}
        )
    for _ in range(500):
        found = await items(world, "/commands")
        if all(command["state"] == "done" for command in found):
            break

    assert [command["outcome"] for command in found] == ["ACCEPTED"] * 3


async def test_what_was_put_is_listed(world):
    for number in range(3):
        await world.ask("PUT", f"{API}/tokens/T{number}", {"type": "RFID"})
        await world.ask("PUT", f"{API}/stations/CP{number + 2}", {"password": "0123456789abcdef"})
        await world.ask("POST", f"{API}/partners", {"name": f"MSP {number}"})

    assert {token["uid"] for token in await items(world, "/tokens")} == {"T0", "T1", "T2"}
    assert len(await items(world, "/stations")) == 4
    assert len(await items(world, "/partners")) == 3
    assert len(await items(world, "/locations")) == 1
    assert len(await items(world, "/tariffs")) == 1


async def test_the_audit_trail_and_the_orphans_are_listed(world):
    work = Work()
    work.add(Orphan("CP1", NOON, "no such transaction", "StopTransaction", "[]"))
    await world.store.commit(work)
    await world.ask("PUT", f"{API}/tokens/T1", {"type": "RFID"})

    orphans, audit = await items(world, "/orphans"), await items(world, "/audit")

    assert [row["reason"] for row in orphans] == ["no such transaction"]
    assert ("key:boss", "token.put") in {(row["actor"], row["action"]) for row in audit}


async def test_the_first_key_is_made_once_and_kept_as_a_hash(world, store):
    """S26, S13."""
    from cpo.web.auth import Keys

    first = await Keys([]).load(store, now=lambda: NOON)
    keys = Keys([])
    again = await keys.load(store, now=lambda: NOON)

    assert again is None
    assert keys.actor(f"Bearer {first}", address="x").name == "key:first"
    assert all(first not in key.hash for key in await store.operator_keys())


@pytest.mark.parametrize(
    "odd", ["%00", "a%00b", "%ED%A0%80", "%FF", "%F0%9F%94%8C", "'%22;--", "%0A"]
)
async def test_no_text_in_a_url_upsets_the_database(world, odd):
    """S11, S34: what no database can keep is refused, everything else is just not found."""
    work = Work()
    work.add(Frame("CP1", NOON, "in", "Heartbeat", "1", "{}", None))
    await world.store.commit(work)
    for path in (
        f"/stations/{odd}",
        f"/sessions/{odd}",
        f"/cdrs/{odd}",
        f"/tokens/{odd}",
        f"/commands/{odd}",
        f"/partners/{odd}",
        f"/locations/{odd}",
        f"/evses/{odd}/estimate?kwh=1&charging_seconds=1",
        f"/stations/CP1/messages?action={odd}",
        f"/stations/CP1/documents?kind={odd}&prefix={odd}",
        f"/sessions?cursor={odd}",
    ):
        status, told, _ = await world.ask("GET", f"{API}{path}")
        assert status in (200, 404, 422), (path, told)
    for method, path in (("PUT", f"/tokens/{odd}"), ("PUT", f"/stations/{odd}")):
        status, told, _ = await world.ask(method, f"{API}{path}", {"type": "RFID"})
        assert status in (200, 201, 404, 422), (path, told)


async def signed_charge(world, number, signer, *, wh=10_000):
    """A charge whose meter signs its begin and end."""
    begin_at, end_at = NOON + timedelta(hours=number), NOON + timedelta(hours=number, minutes=30)
    begin = TransactionEvent(
        kind=EventKind.STARTED, at=begin_at, received_at=begin_at, evse_id=1, connector_id=1,
        id_token=IdToken("TAG"), meter_wh=Decimal(1000),
    )  # fmt: skip
    answer = await world.charging.told(begin)
    text = json.dumps(
        {"MS": "M-7", "RD": [
            {"TX": "B", "RV": 1.0, "RU": "kWh", "ST": "G"},
            {"TX": "E", "RV": 1.0 + wh / 1000, "RU": "kWh", "ST": "G"},
        ]}
    )  # fmt: skip
    signature = signer.sign(text.encode(), ec.ECDSA(hashes.SHA256())).hex()
    reading = SignedReading(
        nature="End", data=f"OCMF|{text}|{json.dumps({'SD': signature})}", method="OCMF",
        public_key=public(signer),
    )  # fmt: skip
    end = TransactionEvent(
        kind=EventKind.ENDED, at=end_at, received_at=end_at, transaction=answer.transaction,
        meter_wh=Decimal(11_000), samples=(Sample(end_at, signed=reading),),
    )  # fmt: skip
    await world.charging.told(end)
    status, page, _ = await world.ask("GET", f"{API}/cdrs?limit=1")
    assert status == 200
    return page["items"][0]


def public(signer):
    return signer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo).hex()


async def test_signed_readings_are_checked_with_the_registered_key(world):
    """CDR-16: a key sent along that is not the meter's holds the CDR."""
    world.charging.partner()
    await world.charging.token()
    meter, thief = (ec.derive_private_key(n, ec.SECP256R1()) for n in (5, 6))
    keys = f"{API}/stations/CP1/meter-keys"

    unknown = await signed_charge(world, 0, meter)
    checks = [await explained(world, unknown)]
    made, shown, _ = await world.ask(
        "PUT", f"{keys}/left", {"public_key": public(meter), "serial": "M-7"}
    )
    good = await signed_charge(world, 1, meter)
    forged = await signed_charge(world, 2, thief)
    less = await signed_charge(world, 3, meter, wh=9_000)

    assert (made, shown["source"]) == (200, "registered")
    assert (unknown["hold"], good["hold"]) == ([], [])
    assert forged["hold"] == ["signed_invalid", "signed_key_differs"]
    assert less["hold"] == ["signed_contradicts"]
    checks += [await explained(world, c) for c in (good, forged)]
    assert [c["signed"]["key"] for c in checks] == ["sent along", "registered", "registered"]
    assert {d["code"]: d["holds"] for d in checks[2]["doubts"]} == {
        "signed_invalid": True,
        "signed_key_differs": True,
    }
    assert [c["id"] for c in await items(world, "/cdrs?held=true")] == [less["id"], forged["id"]]
    # A key that came later changes how the record is seen, never the record.
    assert (await explained(world, unknown))["signed"]["key"] == "registered"


async def explained(world, cdr):
    status, found, _ = await world.ask("GET", f"{API}/cdrs/{cdr['id']}/explain")
    assert status == 200
    return found


async def test_a_meters_key_is_listed_replaced_and_forgotten_on_the_record(world):
    keys, first, second = f"{API}/stations/CP1/meter-keys", *(
        public(ec.derive_private_key(n, ec.SECP256R1())) for n in (5, 6)
    )  # fmt: skip
    variable = {
        "component": {"name": "FiscalMetering", "evse": {"id": 1}},
        "variable": {"name": "PublicKey"},
    }
    told = variable | {"attributes": [{"value": second}]}
    work = Work()
    work.put(StationDocument("CP1", "variable", "FiscalMetering@1/PublicKey", told, NOON))
    told = {"attributes": [{"type": "Actual", "value": second}]}
    work.put(StationDocument("CP1", "variable", "Configuration/MeterPublicKey2", told, NOON))
    await world.store.commit(work)

    await world.ask("PUT", f"{keys}/left", {"public_key": second})
    await world.ask("PUT", f"{keys}/left", {"public_key": first, "evse_id": 1})
    _, page, _ = await world.ask("GET", keys)
    listed = [(k["name"], k["source"], k["evse_id"]) for k in page["items"]]
    forgotten, _, _ = await world.ask("DELETE", f"{keys}/left")
    again, _, _ = await world.ask("DELETE", f"{keys}/left")
    nowhere, _, _ = await world.ask(
        "PUT", f"{API}/stations/NONE/meter-keys/a", {"public_key": first}
    )
    refused, problem, _ = await world.ask("PUT", f"{keys}/left", {"public_key": "no key"})
    audit = [row["action"] for row in await items(world, "/audit")]

    assert listed == [
        ("left", "registered", 1),
        ("Configuration/MeterPublicKey2", "announced", 2),
        ("FiscalMetering@1/PublicKey", "announced", 1),
    ]
    assert (forgotten, again, nowhere, refused) == (204, 404, 404, 422)
    assert "public_key" in json.dumps(problem)
    assert audit.count("meter-key.put") == 2
    assert audit.count("meter-key.delete") == 1


async def test_what_waits_for_the_operator_is_listed_and_let_go(world):
    """N14, S7: the hold queue."""
    world.charging.partner()
    await world.charging.token()
    await charge(world, 0)
    begin = TransactionEvent(
        kind=EventKind.STARTED, at=NOON + timedelta(hours=2), received_at=NOON + timedelta(hours=2),
        evse_id=1, connector_id=1, id_token=IdToken("TAG"), meter_wh=Decimal(1000),
    )  # fmt: skip
    answer = await world.charging.told(begin)
    end_at = NOON + timedelta(hours=3)
    await world.charging.told(
        TransactionEvent(
            kind=EventKind.ENDED,
            at=end_at,
            received_at=end_at,
            transaction=answer.transaction,
            meter_wh=Decimal(900),
        )
    )

    [held] = await items(world, "/cdrs?held=true")
    assert held["hold"] == ["meter_stop_below_start"]
    status, released, _ = await world.ask("POST", f"{API}/cdrs/{held['id']}/release")
    assert (status, released["hold"]) == (200, [])
    assert await items(world, "/cdrs?held=true") == []
    assert len(await items(world, "/cdrs?held=false")) == 2
    assert (await world.ask("GET", f"{API}/cdrs?held=maybe"))[0] == 422

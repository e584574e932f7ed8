"""What the services may expect of the store; the same tests over SQLite and PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from cpo.db.store import open_store
from cpo.domain.command import Command, CommandKind, CommandState, Outcome
from cpo.domain.events import Availability, Sample
from cpo.domain.partner import Endpoint, Partner, PartnerStatus, PartyRole
from cpo.domain.station import ConnectorState, EvseStatus, Station
from cpo.domain.transaction import Phase
from cpo.domain.values import replace
from cpo.errors import Conflict, Invalid, StoreUnavailable
from cpo.services.ports import (
    Audit,
    Delivery,
    EvseState,
    Kind,
    OperatorKey,
    Orphan,
    Readings,
    StationDocument,
    TokenAlias,
    Work,
)
from tests.support.stored_objects import (
    HOUR,
    NOON,
    cdr,
    frame,
    location,
    session,
    snapshot,
    tariff,
    token,
    transaction,
    work,
)


async def test_stations_come_back_as_they_were_put(store):
    station = Station(identity="CP1", password_hash="h", settings={"a": "b"}, clock_offset_s=1.5)
    await store.commit(work(station, Station(identity="CP2")))
    changed = replace(station, last_seen_at=NOON)
    await store.commit(work(changed))

    assert sorted(await store.stations(), key=lambda s: s.identity) == [
        changed,
        Station(identity="CP2"),
    ]


async def test_a_deleted_station_is_gone(store):
    await store.commit(work(Station(identity="CP1")))
    unit = Work()
    unit.delete(Station(identity="CP1"))
    await store.commit(unit)

    assert await store.stations() == []


async def test_the_newest_connector_state_replaces_the_older(store):
    state = ConnectorState(
        station="CP1",
        evse_id=1,
        connector_id=1,
        availability=Availability.AVAILABLE,
        at=NOON,
        received_at=NOON,
    )
    newer = replace(state, availability=Availability.FAULTED, error_code="GroundFailure")
    await store.commit(work(state, newer))

    assert await store.connector_states() == [newer]


async def test_an_evse_status_raises_the_last_updated_of_its_location(store):
    await store.commit(work(location()))
    stamp = await store.commit(work(EvseState("LOC1", "E1", EvseStatus.CHARGING)))

    assert await store.evse_states() == [EvseState("LOC1", "E1", EvseStatus.CHARGING, stamp)]
    assert await store.locations() == [(location(), stamp)]


async def test_a_transaction_is_read_with_its_samples_and_its_snapshot(store):
    begun = transaction()
    samples = (
        Sample(NOON, Decimal("1000.10"), context="Transaction.Begin"),
        Sample(NOON, power_w=Decimal("7.4")),
    )
    unit = work(begun)
    unit.add(Readings("tx1", NOON, samples[:1], "0|Started"))
    await store.commit(unit)
    unit = work(replace(begun, last_seq=1))
    unit.add(Readings("tx1", NOON, samples[1:], "1|Updated"))
    await store.commit(unit)

    expected = replace(
        begun,
        first_seq=0,
        last_seq=1,
        samples=samples,
        seen=frozenset({"0|Started", "1|Updated"}),
    )
    assert await store.transaction("tx1") == expected
    assert await store.open_transactions() == [expected]
    assert await store.transaction_by_key("CP1", "1234") == expected
    assert await store.transaction_by_key("CP2", "1234") is None
    assert await store.transaction("other") is None


async def test_what_a_transaction_is_found_by_follows_its_changes(store):
    """Only what has changed is written, on whichever form of it that was."""
    begun = transaction()
    await store.commit(work(begun))
    await store.commit(work(replace(begun, flags=frozenset({"even"}))))
    earlier = replace(begun, started_at=NOON - HOUR, key="77", flags=frozenset({"late"}))
    await store.commit(work(earlier))

    assert await store.transaction_by_key("CP1", "1234") is None
    assert await store.transaction_by_key("CP1", "77") == earlier

    await store.commit(work(replace(earlier, stopped_reason="Local")))
    ended = replace(earlier, phase=Phase.ENDED, flags=frozenset({"settled"}))
    await store.commit(work(ended))

    assert await store.open_transactions() == []
    assert await store.transaction_by_key("CP1", "77") == ended


async def test_readings_of_an_event_that_came_twice_are_kept_once(store):
    """TX20-08: the event's content is the key."""
    await store.commit(work(transaction()))
    for _ in range(2):
        await store.commit(work(add=[Readings("tx1", NOON, (Sample(NOON),), "1|Updated")]))

    assert len((await store.transaction("tx1")).samples) == 1


async def test_readings_without_an_event_are_all_kept(store):
    await store.commit(work(transaction()))
    for minutes in range(2):
        sample = Sample(NOON + timedelta(minutes=minutes))
        await store.commit(work(add=[Readings("tx1", NOON, (sample,))]))

    assert len((await store.transaction("tx1")).samples) == 2


async def test_ended_transactions_are_not_open_and_the_newest_comes_first(store):
    """An ended one counts as open until its books are closed (TX20-06)."""
    settled = frozenset({"settled"})
    await store.commit(
        work(
            transaction("a", key="1", phase=Phase.ENDED, flags=settled),
            transaction("d", key="4", station="CP2", phase=Phase.ENDED),
            transaction("b", key="2", started_at=NOON + HOUR),
            transaction("c", key="3", station="CP2"),
        )
    )

    assert {t.id for t in await store.open_transactions()} == {"b", "c", "d"}
    assert [t.id for t in await store.recent_transactions("CP1", 5)] == ["b", "a"]
    assert [t.id for t in await store.recent_transactions("CP1", 1)] == ["b"]


async def test_recent_transactions_come_without_what_they_were_billed_from(store):
    """Enough to know them again: a station's history is read at its first charge after a start."""
    settled = {"phase": Phase.ENDED, "flags": frozenset({"settled"})}
    stopped = transaction("stopped", key="1", evse_id=1, end_wh=Decimal(9000), **settled)
    lost = transaction("lost", key="2", evse_id=2, started_at=NOON + HOUR, **settled)
    older = transaction("older", key="0", evse_id=2, started_at=NOON, **settled)
    running = transaction("running", key="3", evse_id=3, started_at=NOON + 2 * HOUR)
    unit = work(older, stopped, lost, running)
    told = (Sample(NOON, Decimal(3000)), Sample(NOON + HOUR, Decimal(4000)))
    for one in (older, stopped, lost, running):
        unit.add(Readings(one.id, NOON, told))
    await store.commit(unit)

    recent = {t.id: t for t in await store.recent_transactions("CP1", 5)}

    assert list(recent)[:2] == ["running", "lost"]
    assert recent["running"] == replace(running, samples=told)
    assert recent["stopped"].end_wh == Decimal(9000)
    assert [s.register_wh for s in recent["lost"].samples] == [Decimal(4000)]
    assert not set(recent["older"].samples) & set(told)
    assert {recent[id_].snapshot for id_ in ("lost", "stopped", "older")} == {None}
    assert (await store.transaction("stopped")).samples == told


async def test_ended_transactions_without_a_location_are_found(store):
    ended = {"phase": Phase.ENDED, "flags": frozenset({"settled"})}
    placed = transaction("placed", key="1", snapshot=snapshot(), **ended)
    forgotten = transaction("forgotten", key="2", snapshot=None, **ended)
    running = transaction("running", key="3", snapshot=None)
    await store.commit(work(placed, forgotten, running))
    assert [t.id for t in await store.unplaced_transactions("CP1", 5)] == ["forgotten"]
    assert await store.unplaced_transactions("CP2", 5) == []


async def test_the_same_1_6_start_cannot_be_kept_twice(store):
    """TX16-02: two transactions with the same content are one."""
    await store.commit(work(transaction("a", start_key="CP1|1|TAG|t|0")))

    with pytest.raises(Conflict):
        await store.commit(work(transaction("b", key="9", start_key="CP1|1|TAG|t|0")))


async def test_ids_given_to_1_6_stations_are_unique_over_all_stations(store):
    await store.commit(work(transaction("a", key="77", start_key="CP1|…")))

    with pytest.raises(Conflict):
        await store.commit(work(transaction("b", station="CP2", key="77", start_key="CP2|…")))


async def test_sessions_come_back_with_snapshot_cost_and_stamp(store):
    stamp = await store.commit(work(session()))

    assert await store.session("tx1") == replace(session(), last_updated=stamp)
    assert await store.session("other") is None


async def test_a_snapshot_is_the_newest_that_was_kept(store):
    """A driver identified late, or one that prefers another profile, changes it."""
    await store.commit(work(transaction(), session()))
    later = replace(snapshot(), currency="CHF")
    await store.commit(work(session(snapshot=later)))

    assert (await store.session("tx1")).snapshot == later
    assert (await store.transaction("tx1")).snapshot == later


async def test_nothing_is_remembered_of_what_has_ended(store):
    """I14: memory does not grow with the number of sessions."""
    await store.commit(work(transaction(), session()))
    ended = replace(transaction(), phase=Phase.ENDED)
    await store.commit(work(ended, session(end_date_time=NOON + HOUR)))
    await store.commit(work(session(end_date_time=NOON + HOUR)))

    assert store._snapshots == {}
    assert (await store.transaction("tx1")).snapshot == snapshot()


async def test_cdrs_are_exact_and_never_replaced(store):
    """CDR-1: a CDR's id is taken once."""
    stamp = await store.commit(work(add=[cdr()]))

    with pytest.raises(Conflict):
        await store.commit(work(add=[cdr(currency="CHF")]))
    assert await store.cdr("cdr1") == replace(cdr(), last_updated=stamp)


async def test_the_cdr_of_a_session_is_the_newest_that_is_no_credit(store):
    await store.commit(work(add=[cdr("a")]))
    await store.commit(work(add=[cdr("a-credit", credit=True, credit_reference_id="a")]))
    await store.commit(work(add=[cdr("b")]))

    assert (await store.cdr_of_session("tx1")).id == "b"
    assert await store.cdr_of_session("other") is None


async def test_tariffs_come_back_exactly(store):
    stamp = await store.commit(work(tariff()))

    assert await store.tariffs() == [(replace(tariff(), last_updated=stamp), stamp)]


async def test_tokens_are_found_whatever_the_case_of_their_uid(store):
    """TOK-2: identifiers compare without case, and keep their spelling."""
    stamp = await store.commit(work(token()))
    await store.commit(work(token(party_id="OTH", partner_id=None)))

    assert await store.token("de", "msp", "04a1B2", "RFID") == replace(token(), last_updated=stamp)
    assert await store.token("DE", "MSP", "04A1b2", "APP_USER") is None
    assert {t.party_id for t in await store.tokens_by_uid("04a1b2")} == {"MSP", "OTH"}


async def test_an_alias_leads_to_its_token(store):
    """MAP-5."""
    long = token("0123456789012345678901234567890")
    await store.commit(
        work(long, TokenAlias("ALIAS", "DE", "MSP", "0123456789012345678901234567890", "RFID"))
    )

    assert (await store.token_by_alias("alias")).uid == long.uid
    assert await store.token_by_alias("other") is None


async def test_partners_come_back_with_the_token_we_use(store):
    partner = Partner(
        id="p1",
        name="Msp",
        status=PartnerStatus.CONNECTED,
        roles=(PartyRole(role="EMSP", country_code="DE", party_id="MSP", details={"a": [1]}),),
        endpoints=(Endpoint(identifier="cdrs", role="RECEIVER", url="https://x/cdrs"),),
        token_in_hashes=("h1", "h2"),
        token_out="secret-of-the-partner",
        quirks={"slash": True},
    )
    await store.commit(work(partner))

    assert await store.partners() == [partner]


async def test_the_token_we_use_is_not_to_be_read_in_the_file(sqlite_url):
    """S13: a stolen database, or a backup of it, is of no use without the key."""
    store = await open_store(sqlite_url, vault_key=b"k")
    await store.commit(work(Partner(id="p1", name="Msp", token_out="canary-token-canary")))
    await store.close()
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    content = await asyncio.to_thread(file.read_bytes)

    assert b"p1" in content
    assert b"canary" not in content


async def test_quotes_in_ids_are_data(store):
    """S34: values reach the database as parameters only."""
    evil = "x'); DROP TABLE stations; --"
    await store.commit(work(Station(identity=evil), token(evil), session(evil), frame(1, evil)))

    assert [s.identity for s in await store.stations()] == [evil]
    assert (await store.tokens_by_uid(evil))[0].uid == evil
    assert (await store.session(evil)).id == evil
    assert [f.station async for f in store.frames(evil)] == [evil]
    assert (await store.page("sessions", limit=1, partner_id=evil)).items == []


async def test_commands_are_unfinished_until_reported(store):
    command = Command(
        id="c1",
        kind=CommandKind.START_SESSION,
        station="CP1",
        requested_by="p1",
        created_at=NOON,
        deadline=NOON + HOUR,
        response_url="https://msp/result",
        idempotency_key="k",
        token=token(),
    )
    await store.commit(work(command))
    assert await store.unfinished_commands() == [command]
    done = replace(command, state=CommandState.DONE, outcome=Outcome.ACCEPTED)
    await store.commit(work(done))
    assert await store.unfinished_commands() == [done]
    reported = replace(done, reported_at=NOON)
    await store.commit(work(reported))

    assert await store.unfinished_commands() == []
    assert await store.command("c1") == reported
    assert await store.command_by_idempotency_key("k") == reported
    assert await store.command("other") is None


async def test_operator_keys_orphans_and_audit_are_kept(store):
    key = OperatorKey("first", "hash", ("admin",), NOON)
    await store.commit(
        work(
            key,
            add=[
                Orphan("CP1", NOON, "unknown_transaction", "StopTransaction", "{}", "9"),
                Audit(NOON, "key:first", "station.put", "CP1"),
            ],
        )
    )

    assert await store.operator_keys() == [key]


async def test_audit_and_orphans_can_be_paged_newest_first(store):
    entries = [Audit(NOON + n * HOUR, "key:first", "station.put", f"CP{n}") for n in range(3)]
    orphan = Orphan("CP1", NOON, "unknown_transaction", "StopTransaction", "{}", "9")
    await store.commit(work(add=[*entries, orphan]))
    page = await store.page("audit", limit=2, newest_first=True)
    rest = await store.page("audit", limit=2, newest_first=True, cursor=page.next_cursor)

    assert [entry for entry, _ in [*page.items, *rest.items]] == entries[::-1]
    later = await store.page(
        "audit", limit=2, newest_first=True, cursor=page.next_cursor, date_from=NOON + HOUR
    )
    assert later.items == []
    assert (await store.page("orphans", limit=2)).items == [(orphan, NOON)]


async def test_documents_about_a_station_are_found_by_kind_and_key(store):
    amount = Decimal("1.50")
    found = [
        StationDocument("CP1", "limit", "b", {"amp": amount}, NOON),
        StationDocument("CP1", "limit", "a_1", {"list": [1, None]}, NOON),
        StationDocument("CP1", "log", "a", {}, NOON),
        StationDocument("CP2", "limit", "a", {}, NOON),
    ]
    await store.commit(work(*found))
    await store.commit(work(replace(found[0], document={"amp": amount * 2})))
    unit = Work()
    unit.delete(found[2])
    await store.commit(unit)

    assert await store.documents("CP1") == [
        found[1],
        replace(found[0], document={"amp": amount * 2}),
    ]
    assert await store.documents("CP1", "limit", prefix="a_") == [found[1]]
    assert await store.document("CP2", "limit", "a") == found[3]
    assert await store.document("CP2", "limit", "b") is None
    assert [d.station for d in await store.documents_of_kind("limit")] == ["CP1", "CP1", "CP2"]


async def test_the_frame_log_is_newest_first_and_can_be_filtered(store):
    for n in range(3):
        await store.commit(work(add=[frame(n)]))
    await store.commit(work(add=[frame(3, action="Authorize"), frame(4, station="CP2")]))

    assert [f async for f in store.frames("CP1", limit=2)] == [
        frame(3, action="Authorize"),
        frame(2),
    ]
    assert [f.message_id async for f in store.frames("CP1", action="Heartbeat")] == ["2", "1", "0"]
    found = store.frames("CP1", since=frame(1).at, until=frame(2).at, limit=None)
    assert [f.message_id async for f in found] == ["2", "1"]


async def test_a_long_frame_log_comes_in_the_order_in_which_it_happened(store):
    """Its index is by blocks of 1,024 rows; what is written a little late stands where it was."""
    order = [n + (3 if n % 7 == 0 else 0) for n in range(5_000)]
    written = [frame(n, station=f"CP{place % 3}") for place, n in enumerate(order)]
    await store.commit(work(add=written))
    ours = sorted((f for f in written if f.station == "CP1"), key=lambda f: f.at, reverse=True)

    def instants(frames):
        return [f.at for f in frames]

    assert instants([f async for f in store.frames("CP1", limit=None)]) == instants(ours)
    assert instants([f async for f in store.frames("CP1", limit=700)]) == instants(ours[:700])
    since, until = ours[900].at, ours[650].at
    found = [f async for f in store.frames("CP1", since=since, until=until, limit=None)]
    assert instants(found) == [at for at in instants(ours) if since <= at <= until]
    later = store.frames("CP1", since=NOON + 30 * HOUR, limit=None)
    assert [f async for f in later] == []
    assert [f async for f in store.frames("CP9", limit=None)] == []


async def test_after_a_night_without_frames_those_before_and_after_it_are_found(store):
    """The way to a time leads over ids, which know nothing of a pause."""
    evening = [frame(n) for n in range(1_500)]
    morning = [frame(50_000 + n) for n in range(1_500)]
    await store.commit(work(add=evening))
    await store.commit(work(add=morning))

    found = store.frames("CP1", since=evening[-3].at, until=morning[2].at, limit=None)
    assert [f async for f in found] == (evening[-3:] + morning[:3])[::-1]
    found = store.frames("CP1", until=NOON + timedelta(seconds=25_000), limit=2)
    assert [f async for f in found] == evening[:-3:-1]


# --- marks ------------------------------------------------------------------------------------


async def test_marks_are_committed_with_the_fact_and_listeners_hear_of_them(store):
    """D4, D21, PUSH-10: a crash between the two cannot be."""
    heard = []
    store.on_commit(heard.extend)
    unit = work(session())
    unit.mark(["p1", "p2"], Kind.SESSION, "tx1")
    stamp = await store.commit(unit)

    marks = await store.dirty()
    assert sorted(m.partner_id for m in marks) == ["p1", "p2"]
    assert marks == heard or marks == heard[::-1]
    assert {m.since for m in marks} == {stamp}


async def test_a_mark_is_cleared_only_while_its_generation_is_unchanged(store):
    """PUSH: what changed while it was being sent stays dirty."""
    unit = Work()
    unit.mark(["p1"], Kind.EVSE, "LOC1/E1")
    await store.commit(unit)
    [old] = await store.dirty()
    again = Work()
    again.mark(["p1"], Kind.EVSE, "LOC1/E1")
    await store.commit(again)
    clear = Work()
    clear.delete(old)
    await store.commit(clear)

    [newer] = await store.dirty()
    assert newer.generation > old.generation
    assert newer.since == old.since
    clear = Work()
    clear.delete(newer)
    await store.commit(clear)
    assert await store.dirty() == []


async def test_a_mark_keeps_its_fate_only_while_its_generation_is_unchanged(store):
    unit = Work()
    unit.mark(["p1"], Kind.CDR, "cdr1")
    await store.commit(unit)
    [mark] = await store.dirty()
    failed = replace(mark, attempts=2, next_attempt_at=NOON, last_error="500")
    await store.commit(work(failed))
    assert await store.dirty() == [failed]
    await store.commit(work(replace(failed, generation=mark.generation - 1, attempts=9)))

    assert await store.dirty() == [failed]


async def test_a_parked_mark_is_let_go_when_the_object_changes(store):
    unit = Work()
    unit.mark(["p1"], Kind.CDR, "cdr1")
    await store.commit(unit)
    [mark] = await store.dirty()
    await store.commit(work(replace(mark, attempts=5, parked=True, next_attempt_at=NOON)))
    unit = Work()
    unit.mark(["p1"], Kind.CDR, "cdr1")
    await store.commit(unit)

    [fresh] = await store.dirty()
    assert (fresh.parked, fresh.attempts, fresh.next_attempt_at) == (False, 0, None)


async def test_what_a_partner_confirmed_is_kept(store):
    delivery = Delivery("p1", Kind.CDR, "cdr1", NOON, NOON, "https://msp/cdrs/1", "1000")
    await store.commit(work(delivery))
    newer = replace(delivery, confirmed_at=NOON + HOUR)
    await store.commit(work(newer))

    assert await store.delivery("p1", Kind.CDR, "cdr1") == newer
    assert await store.delivery("p2", Kind.CDR, "cdr1") is None


# --- units ------------------------------------------------------------------------------------


async def test_a_unit_is_kept_whole_or_not_at_all(store):
    await store.commit(work(add=[cdr()]))

    with pytest.raises(Conflict):
        await store.commit(work(Station(identity="CP1"), add=[cdr()]))
    assert await store.stations() == []


async def test_one_bad_unit_does_not_sink_the_others_of_its_batch(store):
    """D3."""
    await store.commit(work(add=[cdr()]))
    units = [work(Station(identity=f"CP{n:03}")) for n in range(40)]
    units[17] = work(Station(identity="bad"), add=[cdr()])
    outcomes = await asyncio.gather(*map(store.commit, units), return_exceptions=True)

    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [17]
    assert isinstance(outcomes[17], Conflict)
    assert len(await store.stations()) == 39


async def test_what_no_database_can_keep_is_refused(store):
    naive = work(frame(1), Station(identity="ok"))
    naive.add(replace(frame(2), at=datetime(2026, 1, 1)))

    with pytest.raises(Invalid):
        await store.commit(naive)
    with pytest.raises(Invalid):
        await store.commit(work(add=[replace(frame(), payload="\ud800")]))
    with pytest.raises(Invalid):
        await store.commit(
            work(
                ConnectorState(
                    station="CP1",
                    evse_id=10**30,
                    connector_id=1,
                    availability=Availability.AVAILABLE,
                    at=NOON,
                    received_at=NOON,
                )
            )
        )
    assert await store.stations() == []


async def test_puts_and_deletes_of_one_object_keep_their_order(store):
    units = []
    for n in range(30):
        unit = Work()
        if n % 3 == 2:
            unit.delete(Station(identity="CP1"))
        else:
            unit.put(Station(identity="CP1", security_profile=n))
        units.append(store.commit(unit))
        units.append(store.commit(work(Station(identity=f"other{n}"))))
    await asyncio.gather(*units)
    found = {s.identity: s for s in await store.stations()}

    assert "CP1" not in found
    assert len(found) == 30


async def test_callbacks_run_in_order_after_the_commit_and_one_that_fails_harms_no_other(store):
    seen = []
    units = []
    for n in range(5):
        unit = work(Station(identity=f"CP{n}"))
        if n == 2:
            unit.then(lambda _: 1 / 0)
        unit.then(lambda stamp, n=n: seen.append((n, stamp)))
        units.append(unit)
    stamps = await asyncio.gather(*map(store.commit, units))

    assert seen == list(enumerate(stamps))


async def test_stamps_rise_from_commit_to_commit(store):
    """Invariant I9."""
    stamps = [await store.commit(work(tariff())) for _ in range(20)]

    assert stamps == sorted(set(stamps))
    assert all(stamp.microsecond % 1000 == 0 for stamp in stamps)


async def test_a_touched_object_is_newer_and_otherwise_the_same(store):
    await store.commit(work(location(), tariff(), session(), add=[cdr()]))
    await store.commit(work(EvseState("LOC1", "E1", EvseStatus.AVAILABLE)))
    unit = Work()
    unit.touch(Kind.TARIFF, "T1")
    unit.touch(Kind.SESSION, "tx1")
    unit.touch(Kind.CDR, "cdr1")
    unit.touch(Kind.EVSE, "LOC1/E1")
    stamp = await store.commit(unit)

    assert await store.session("tx1") == replace(session(), last_updated=stamp)
    assert (await store.cdr("cdr1")).last_updated == stamp
    assert await store.tariffs() == [(replace(tariff(), last_updated=stamp), stamp)]
    assert [state.last_updated for state in await store.evse_states()] == [stamp]
    assert await store.locations() == [(location(), stamp)]


async def test_a_closed_store_takes_nothing(store):
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.commit(work(Station(identity="CP1")))


async def test_units_handed_in_before_closing_are_kept(database_url):
    store = await open_store(database_url, vault_key=b"k")
    waiting = [asyncio.ensure_future(store.commit(work(add=[frame(n)]))) for n in range(200)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*waiting)
    again = await open_store(database_url, vault_key=b"k")

    assert len([f async for f in again.frames("CP1", limit=1000)]) == 200
    await again.close()


async def test_stamps_go_on_after_a_restart_with_a_clock_set_back(database_url):
    """P 1.7: last_updated survives clock steps and restarts."""
    ahead = datetime(2031, 1, 1, tzinfo=UTC)
    store = await open_store(database_url, vault_key=b"k", now=lambda: ahead)
    first = await store.commit(work(tariff()))
    await store.close()
    store = await open_store(database_url, vault_key=b"k", now=lambda: ahead - 1000 * HOUR)
    second = await store.commit(work(tariff()))
    await store.close()

    assert second == first + timedelta(milliseconds=1)


async def test_the_instance_keeps_its_secret(database_url):
    """I21: the same facts give the same ids after a restart."""
    store = await open_store(database_url, vault_key=b"k")
    instance = store.instance
    await store.close()
    store = await open_store(database_url, vault_key=b"k")

    assert store.instance == instance
    await store.close()


# --- pages ------------------------------------------------------------------------------------


async def _ids(store, kind, **query):
    found, cursor = [], None
    while True:
        page = await store.page(kind, cursor=cursor, **query)
        found.append([getattr(item, "id", None) or item.uid for item, _ in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return found, page.total


async def test_pages_follow_last_updated_then_id(store):
    await store.commit(work(add=[cdr(f"b{n}") for n in range(3)]))
    await store.commit(work(add=[cdr(f"a{n}") for n in range(2)]))
    unit = Work()
    unit.touch(Kind.CDR, "b0")
    await store.commit(unit)

    assert await _ids(store, "cdrs", limit=2) == ([["b1", "b2"], ["a0", "a1"], ["b0"]], 5)
    page = await store.page("cdrs", limit=2, offset=3)
    assert [item.id for item, _ in page.items] == ["a1", "b0"]
    assert (await store.page("cdrs", limit=2, offset=10)).items == []


async def test_pages_are_limited_in_time_from_on_and_before(store):
    first = await store.commit(work(add=[cdr("a")]))
    second = await store.commit(work(add=[cdr("b")]))

    assert await _ids(store, "cdrs", limit=9, date_from=second) == ([["b"]], 1)
    assert await _ids(store, "cdrs", limit=9, date_to=second) == ([["a"]], 1)
    assert await _ids(store, "cdrs", limit=9, date_from=first, date_to=second) == ([["a"]], 1)


async def test_pages_hold_only_what_is_the_partners(store):
    """S16."""
    await store.commit(work(session("a"), session("b", partner_id="p2"), token()))
    await store.commit(work(session("c", party_id="OTH")))

    assert await _ids(store, "sessions", limit=9, partner_id="p1") == ([["a", "c"]], 2)
    assert await _ids(store, "sessions", limit=9, party=("NL", "OTH")) == ([["c"]], 1)
    assert await _ids(store, "tokens", limit=9, partner_id="p2") == ([[]], 0)


async def test_every_kind_has_pages(store):
    stamp = await store.commit(work(location(), tariff(), session(), token(), add=[cdr()]))

    for kind, object_ in [
        ("locations", location()),
        ("tariffs", replace(tariff(), last_updated=stamp)),
        ("sessions", replace(session(), last_updated=stamp)),
        ("cdrs", replace(cdr(), last_updated=stamp)),
        ("tokens", replace(token(), last_updated=stamp)),
    ]:
        assert (await store.page(kind, limit=1)).items == [(object_, stamp)]
    with pytest.raises(Invalid):
        await store.page("nonsense", limit=1)


async def test_pages_of_tokens_go_on_within_one_stamp(store):
    await store.commit(work(*(token(f"{n:02}") for n in range(5))))

    assert (await _ids(store, "tokens", limit=2))[0] == [["00", "01"], ["02", "03"], ["04"]]


@pytest.mark.parametrize(
    "cursor", ["x", "////", "bnVsbA", "WzFd", "WzEsMl0", "WyJhIiwgImIiXQ", "é"]
)
async def test_a_cursor_that_we_did_not_make_is_refused(store, cursor):
    with pytest.raises(Invalid) as refused:
        await store.page("cdrs", limit=1, cursor=cursor)
    assert refused.value.field == "cursor"


async def test_the_store_says_when_it_is_well(store):
    await store.ping()


async def test_old_messages_are_forgotten_and_newer_ones_kept(store):
    """S31: frames are kept for a time, not for ever."""
    await store.commit(work(add=[frame(n) for n in range(1200)]))
    later = [frame(5000 + n) for n in range(3)]
    await store.commit(work(add=later))

    assert await store.forget("messages", NOON + timedelta(seconds=4000)) == 1200
    assert [f async for f in store.frames("CP1", limit=9)] == later[::-1]
    assert await store.forget("messages", NOON) == 0


# --- several nodes ----------------------------------------------------------------------------


async def test_the_newest_holder_of_a_station_fences_older_ones_off(store):
    """D2: what an old holder still writes is not kept."""
    old = await store.take_station("CP1", "node-a")
    unit = work(Station(identity="first"))
    unit.fence(old)
    await store.commit(unit)
    new = await store.take_station("CP1", "node-b")
    late = work(Station(identity="late"))
    late.fence(old)
    with pytest.raises(Conflict):
        await store.commit(late)
    unit = work(Station(identity="second"))
    unit.fence(new)
    await store.commit(unit)

    assert new.epoch > old.epoch
    assert await store.seat("CP1") == new
    assert {s.identity for s in await store.stations()} == {"first", "second"}


async def test_a_station_that_was_left_has_no_holder_and_its_epochs_go_on(store):
    old = await store.take_station("CP1", "node-a")
    new = await store.take_station("CP1", "node-b")
    await store.leave_station(old)
    assert await store.seat("CP1") == new
    await store.leave_station(new)

    assert await store.seat("CP1") is None
    assert await store.seat("CP2") is None
    assert (await store.take_station("CP1", "node-a")).epoch > new.epoch


async def test_a_lease_belongs_to_one_owner_until_it_ends(database_url):
    clock = [NOON]
    store = await open_store(database_url, vault_key=b"k", now=lambda: clock[0])

    assert await store.lease("upkeep", "a", NOON + HOUR)
    assert not await store.lease("upkeep", "b", NOON + 2 * HOUR)
    assert await store.lease("upkeep", "a", NOON + 2 * HOUR)
    clock[0] = NOON + 2 * HOUR
    assert await store.lease("upkeep", "b", NOON + 3 * HOUR)
    assert not await store.lease("upkeep", "a", NOON + 3 * HOUR)
    await store.close()

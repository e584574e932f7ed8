"""Backup and restore of the SQLite store (promise P9, invariants I19 and I21)."""

import asyncio
import contextlib
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from waiting import until

from cpo.db import maintenance
from cpo.db.store import open_store
from cpo.domain.partner import Partner, PartnerStatus
from cpo.domain.station import EvseStatus, Station
from cpo.errors import Conflict, Invalid, Misconfigured, NotFound
from cpo.services.ports import EvseState, Kind, Work

PARTNER = Partner(id="p1", name="Msp", status=PartnerStatus.CONNECTED)


def path_of(url):
    return Path(url.removeprefix("sqlite:///"))


async def fill(url, *rows):
    store = await open_store(url, vault_key=b"k")
    work = Work()
    for row in rows:
        work.put(row)
    stamp = await store.commit(work)
    await store.close()
    return stamp


async def test_a_backup_holds_all_and_can_be_restored_elsewhere(sqlite_url, tmp_path):
    await fill(sqlite_url, Station(identity="CP1"), PARTNER)
    await asyncio.to_thread(maintenance.backup, sqlite_url, tmp_path / "backup.db")
    elsewhere = f"sqlite:///{tmp_path / 'new.db'}"
    await asyncio.to_thread(maintenance.restore, elsewhere, tmp_path / "backup.db")
    old, new = [await open_store(url, vault_key=b"k") for url in (sqlite_url, elsewhere)]

    assert await new.stations() == [Station(identity="CP1")]
    assert new.instance == old.instance
    await old.close()
    await new.close()


async def test_a_backup_under_load_holds_everything_answered_before_it(sqlite_url, tmp_path):
    """I21."""
    store = await open_store(sqlite_url, vault_key=b"k")
    answered = []
    stop = False

    async def station(k):
        n = 0
        while not stop:
            work = Work()
            work.put(Station(identity=f"CP{k}-{n}"))
            await store.commit(work)
            answered.append(f"CP{k}-{n}")
            n += 1

    stations = [asyncio.create_task(station(k)) for k in range(20)]
    await until(lambda: len(answered) > 100)
    before = set(answered)
    await asyncio.to_thread(maintenance.backup, sqlite_url, tmp_path / "backup.db")
    stop = True
    await asyncio.gather(*stations)
    await store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        kept = {identity for (identity,) in copy.execute("SELECT identity FROM stations")}

    assert before
    assert before <= kept


async def test_after_a_restore_everything_that_may_have_changed_is_newer_and_due(
    sqlite_url, tmp_path
):
    """A partner that polls from its newest date_from must see what went back."""
    state = EvseState("LOC1", "E1", EvseStatus.CHARGING)
    before = await fill(sqlite_url, PARTNER, replace(PARTNER, id="p2", status="invited"), state)
    with contextlib.closing(sqlite3.connect(path_of(sqlite_url))) as connection:
        connection.execute("INSERT INTO locations VALUES ('LOC1', 'NL', 'EXA', 0, '{}')")
        connection.commit()
    await asyncio.to_thread(maintenance.backup, sqlite_url, tmp_path / "backup.db")
    await asyncio.to_thread(maintenance.restore, sqlite_url, tmp_path / "backup.db")
    store = await open_store(sqlite_url, vault_key=b"k")

    [after] = await store.evse_states()
    assert after.last_updated > before
    assert [(m.partner_id, m.kind, m.object_id) for m in await store.dirty()] == [
        ("p1", Kind.LOCATION, "LOC1")
    ]
    assert await store.commit(Work()) > after.last_updated - timedelta(milliseconds=1)
    await store.close()


async def test_what_was_there_stays_beside_it(sqlite_url, tmp_path):
    await fill(sqlite_url, Station(identity="old"))
    await asyncio.to_thread(maintenance.backup, sqlite_url, tmp_path / "backup.db")
    await fill(sqlite_url, Station(identity="newer"))
    await asyncio.to_thread(maintenance.restore, sqlite_url, tmp_path / "backup.db")
    kept = path_of(sqlite_url).with_name("cpo.db.before-restore")
    with contextlib.closing(sqlite3.connect(kept)) as connection:
        found = {name for (name,) in connection.execute("SELECT identity FROM stations")}

    assert found == {"old", "newer"}
    store = await open_store(sqlite_url, vault_key=b"k")
    assert await store.stations() == [Station(identity="old")]
    await store.close()


async def test_a_running_server_is_not_restored_over(sqlite_url, tmp_path):
    await fill(sqlite_url, Station(identity="CP1"))
    await asyncio.to_thread(maintenance.backup, sqlite_url, tmp_path / "backup.db")
    held = threading.Event()
    release = threading.Event()

    def another_process():
        with contextlib.closing(sqlite3.connect(path_of(sqlite_url))) as connection:
            connection.execute("SELECT * FROM stations").fetchall()
            held.set()
            release.wait()

    thread = threading.Thread(target=another_process)
    thread.start()
    await asyncio.to_thread(held.wait)
    with pytest.raises(Conflict):
        await asyncio.to_thread(maintenance.restore, sqlite_url, tmp_path / "backup.db")
    release.set()
    thread.join()
    store = await open_store(sqlite_url, vault_key=b"k")
    assert await store.stations() == [Station(identity="CP1")]
    await store.close()


async def test_a_damaged_database_can_be_replaced(sqlite_url, tmp_path):
    await fill(sqlite_url, Station(identity="CP1"))
    await asyncio.to_thread(maintenance.backup, sqlite_url, tmp_path / "backup.db")
    path_of(sqlite_url).write_bytes(b"x" * 8192)
    await asyncio.to_thread(maintenance.restore, sqlite_url, tmp_path / "backup.db")
    store = await open_store(sqlite_url, vault_key=b"k")

    assert await store.stations() == [Station(identity="CP1")]
    await store.close()


def test_what_is_no_backup_is_refused_and_changes_nothing(sqlite_url, tmp_path):
    asyncio.run(fill(sqlite_url, Station(identity="CP1")))
    content = path_of(sqlite_url).read_bytes()
    (tmp_path / "junk").write_bytes(b"nonsense" * 1000)
    (tmp_path / "empty").write_bytes(b"")
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as connection:
        connection.execute("CREATE TABLE t (a)")

    for name in ("junk", "empty", "other"):
        with pytest.raises(Invalid):
            maintenance.restore(sqlite_url, tmp_path / name)
    with pytest.raises(NotFound):
        maintenance.restore(sqlite_url, tmp_path / "missing")
    assert path_of(sqlite_url).read_bytes() == content


def test_a_cut_off_backup_is_refused(sqlite_url, tmp_path):
    asyncio.run(fill(sqlite_url, *(Station(identity=f"CP{n}") for n in range(500))))
    maintenance.backup(sqlite_url, tmp_path / "backup.db")
    whole = (tmp_path / "backup.db").read_bytes()
    (tmp_path / "half.db").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(Invalid):
        maintenance.restore(sqlite_url, tmp_path / "half.db")


def test_a_backup_of_a_newer_program_is_refused(sqlite_url, tmp_path):
    asyncio.run(fill(sqlite_url))
    maintenance.backup(sqlite_url, tmp_path / "backup.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(Invalid, match="newer"):
        maintenance.restore(sqlite_url, tmp_path / "backup.db")


def test_a_backup_overwrites_nothing(sqlite_url, tmp_path):
    asyncio.run(fill(sqlite_url))
    (tmp_path / "there").write_text("mine")

    with pytest.raises(Conflict):
        maintenance.backup(sqlite_url, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(NotFound):
        maintenance.backup(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "x")


def test_postgresql_is_left_to_its_own_tools(tmp_path):
    with pytest.raises(Misconfigured, match="pg_dump"):
        maintenance.backup("postgresql://h/cpo", tmp_path / "x")


async def test_the_command_line_migrates_and_tells_where_it_is(database_url):
    before = await asyncio.to_thread(maintenance.status, database_url)
    await asyncio.to_thread(maintenance.upgrade, database_url)
    after = await asyncio.to_thread(maintenance.status, database_url)
    await asyncio.to_thread(maintenance.downgrade, database_url, "base")
    last = await asyncio.to_thread(maintenance.status, database_url)
    await asyncio.to_thread(maintenance.upgrade, database_url)

    assert before["revision"] is None or before["up_to_date"]
    assert after["up_to_date"]
    assert last["revision"] is None

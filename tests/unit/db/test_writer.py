import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, Text

from cpo.db import rows
from cpo.db.columns import UtcTime, microseconds
from cpo.db.statements import Compiler, change, insert_into, insert_once, remove, upsert
from cpo.db.writer import DENSE, LINGER, Plan, Rejected, Unit, Writer, following, generation_of
from cpo.errors import Conflict, Invalid, StoreUnavailable

metadata = MetaData()
pets = Table(
    "pets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text),
    Column("last_updated", UtcTime),
)
visits = Table(
    "visits",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("pet", Text),
)
marks = Table(
    "marks",
    metadata,
    Column("partner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("object", Text, primary_key=True),
    Column("generation", Integer),
    Column("since", UtcTime),
)
PUT = upsert(pets)
ONCE = insert_once(pets)
RENAME = change(pets, ("kind",))
DELETE = remove(pets)
DELETE_KIND = remove(pets, where=("kind",))
VISIT = insert_into(visits)
MARK = upsert(marks)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MS = timedelta(milliseconds=1)


def plan_of(*ops):
    plan = Plan(Compiler("sqlite"))
    plan.add(ops)
    return [(sql.split()[0], [row[0] for row in rows]) for sql, rows in plan.groups(NOON)]


def pet(name, kind="cat"):
    return (PUT, (name, kind, None))


def test_rows_of_one_statement_run_together():
    assert plan_of(pet("a"), (VISIT, ("a",)), pet("b"), (VISIT, ("b",))) == [
        ("INSERT", ["a", "b"]),
        ("INSERT", ["a", "b"]),
    ]


def test_statements_on_different_rows_are_gathered():
    ops = [pet("a"), (DELETE, ("x",)), pet("b"), (DELETE, ("y",))]

    assert plan_of(*ops) == [("INSERT", ["a", "b"]), ("DELETE", ["x", "y"])]


def test_statements_on_one_row_keep_their_order():
    ops = [pet("a"), (DELETE, ("a",)), pet("a"), pet("b")]

    assert plan_of(*ops) == [
        ("INSERT", ["a", "b"]),
        ("DELETE", ["a"]),
        ("INSERT", ["a"]),
    ]


def test_a_sweeping_statement_keeps_its_place():
    ops = [pet("a"), (DELETE_KIND, ("cat",)), pet("b"), (DELETE, ("c",))]

    assert plan_of(*ops) == [
        ("INSERT", ["a"]),
        ("DELETE", ["cat"]),
        ("INSERT", ["b"]),
        ("DELETE", ["c"]),
    ]


OPS = st.lists(
    st.one_of(
        st.tuples(
            st.just(PUT), st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.none())
        ),
        st.tuples(st.just(ONCE), st.tuples(st.sampled_from("abc"), st.just("z"), st.none())),
        st.tuples(st.just(DELETE), st.tuples(st.sampled_from("abc"))),
        st.tuples(st.just(RENAME), st.tuples(st.sampled_from("xy"), st.sampled_from("abc"))),
        st.tuples(st.just(DELETE_KIND), st.tuples(st.sampled_from("xyz"))),
    ),
    max_size=12,
)


@given(OPS)
def test_a_grouped_batch_leaves_the_same_as_one_statement_after_the_other(ops):
    def run(ordered):
        found = {}
        for write, row in ordered:
            if write is PUT:
                found[row[0]] = row[1]
            elif write is ONCE:
                found.setdefault(row[0], row[1])
            elif write is DELETE:
                found.pop(row[0], None)
            elif write is RENAME:
                if row[1] in found:
                    found[row[1]] = row[0]
            else:
                found = {name: kind for name, kind in found.items() if kind != row[0]}
        return found

    compiler = Compiler("sqlite")
    by_sql = {compiler(write).sql: write for write in (PUT, ONCE, DELETE, RENAME, DELETE_KIND)}
    plan = Plan(compiler)
    plan.add(ops)
    grouped = [(by_sql[sql], row) for sql, rows in plan.groups(NOON) for row in rows]

    assert run(grouped) == run(ops)


def test_the_stamp_is_filled_in():
    plan = Plan(Compiler("sqlite"))
    plan.add([pet("a")])

    assert plan.stamped
    assert plan.groups(NOON)[0][1] == [["a", "cat", microseconds(NOON)]]


def test_a_plan_without_stamped_columns_needs_no_stamp():
    plan = Plan(Compiler("sqlite"))
    plan.add([(VISIT, ("a",)), (DELETE, ("b",))])

    assert not plan.stamped


def test_a_row_that_does_not_fit_its_statement_is_a_mistake():
    write = upsert(pets)
    write.columns = ("kind", "name", "last_updated")

    with pytest.raises(ValueError, match="does not fit"):
        Compiler("sqlite")(write)


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_every_statement_of_the_store_compiles(name):
    compiler = Compiler(name)
    for mapping in rows.WRITERS.values():
        for write in (mapping.put, mapping.add, mapping.delete):
            if write is not None:
                compiler(write)


def test_stamps_follow_the_clock_in_whole_milliseconds():
    assert following(NOON, NOON + timedelta(microseconds=5999)) == NOON + 5 * MS


def test_stamps_rise_when_the_clock_does_not():
    assert following(NOON, NOON - timedelta(days=400)) == NOON + MS


def test_generations_are_milliseconds():
    assert generation_of(NOON + MS) == generation_of(NOON) + 1


class FakeLine:
    """Keeps batches in memory; refuses what `refuse` names and fails while `down`."""

    def __init__(self):
        self.compiler = Compiler("sqlite")
        self.batches = []
        self.refuse = set()
        self.down = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.stamp = NOON

    async def write(self, build, *, now, stamped):
        await self.gate.wait()
        self.stamp = following(self.stamp, now)
        names = [row[0] for _, rows in build(self.stamp) for row in rows]
        if self.down:
            raise self.down
        if self.refuse & set(names):
            raise Rejected("taken", taken=True)
        self.batches.append(names)
        return self.stamp

    async def close(self):
        self.closed = True


@pytest.fixture
async def line():
    return FakeLine()


@pytest.fixture
async def writer(line):
    released = []
    writer = Writer(line, mark=MARK, now=lambda: NOON, released=lambda *a: released.append(a))
    writer.heard = released
    yield writer
    await writer.close()


def unit(*names, marks=()):
    return Unit([pet(name) for name in names], list(marks))


async def test_what_gathers_while_the_disk_works_is_one_batch(line, writer):
    line.gate.clear()
    first = writer.submit(unit("a"))
    await asyncio.sleep(0)
    rest = [writer.submit(unit(name)) for name in "bcd"]
    line.gate.set()
    await asyncio.gather(first, *rest)

    assert line.batches == [["a"], ["b", "c", "d"]]


async def test_a_batch_gathers_while_units_come_thick_and_fast(line, writer):
    """4.2: what a batch costs beside its rows is spent once for all that come together."""
    line.gate.clear()
    units = [writer.submit(unit("first"))]
    await asyncio.sleep(0)
    line.gate.set()
    loop = asyncio.get_running_loop()
    end = loop.time() + 3 * LINGER
    while loop.time() < end:
        units += [writer.submit(unit(f"{len(units)}-{n}")) for n in range(DENSE + 4)]
        await asyncio.sleep(0)
    await asyncio.gather(*units)

    assert [len(batch) for batch in line.batches] == [1, len(units) - 1]


async def test_a_stream_that_does_not_end_is_written_all_the_same(line, writer):
    units = [writer.submit(unit("a"))]
    while len(line.batches) < 3:
        units += [writer.submit(unit(f"{len(units)}")) for n in range(DENSE + 4)]
        await asyncio.sleep(0)
    await asyncio.gather(*units)

    assert sum(len(batch) for batch in line.batches) == len(units)


async def test_units_of_one_batch_share_its_stamp(line, writer):
    stamps = await asyncio.gather(*(writer.submit(unit(name)) for name in "ab"))

    assert stamps[0] == stamps[1]
    assert await writer.submit(unit("c")) > stamps[0]


async def test_only_the_bad_unit_fails_and_the_order_of_the_others_is_kept(line, writer):
    line.refuse = {"e"}
    units = [writer.submit(unit(name)) for name in "abcdefgh"]
    outcomes = await asyncio.gather(*units, return_exceptions=True)

    assert [type(o) is Conflict for o in outcomes] == [name == "e" for name in "abcdefgh"]
    assert [name for batch in line.batches for name in batch] == list("abcdfgh")


async def test_a_unit_that_cannot_be_written_down_is_invalid(writer):
    bad = Unit([(MARK, ("p", "k", "o", 1, datetime(2026, 1, 1)))])
    good = writer.submit(unit("a"))

    with pytest.raises(Invalid):
        await writer.submit(bad)
    await good


async def test_a_database_that_is_away_fails_all_and_is_used_again_when_back(line, writer):
    line.down = StoreUnavailable("away")
    outcomes = await asyncio.gather(
        *(writer.submit(unit(name)) for name in "ab"), return_exceptions=True
    )
    line.down = None

    assert [type(o) for o in outcomes] == [StoreUnavailable] * 2
    await writer.submit(unit("c"))
    assert line.batches == [["c"]]


async def test_a_mistake_of_ours_leaves_nobody_waiting(line, writer):
    line.down = ZeroDivisionError()

    with pytest.raises(StoreUnavailable):
        await writer.submit(unit("a"))
    line.down = None
    await writer.submit(unit("b"))


async def test_a_mark_is_told_once_for_each_batch(line, writer):
    line.gate.clear()
    mark = ("p", "session", "1")
    units = [writer.submit(unit(name, marks=[mark])) for name in "ab"]
    line.gate.set()
    stamp = (await asyncio.gather(*units))[0]

    assert writer.heard == [([mark], stamp)]


async def test_a_waiter_that_went_away_harms_nobody(line, writer):
    line.gate.clear()
    gone, there = writer.submit(unit("a")), writer.submit(unit("b"))
    gone.cancel()
    line.gate.set()
    await there

    assert line.batches == [["a", "b"]]


async def test_closing_writes_what_was_handed_in_and_takes_nothing_more(line):
    writer = Writer(line, mark=MARK, now=lambda: NOON, released=lambda *_: None)
    last = writer.submit(unit("a"))
    await writer.close()

    await last
    assert line.closed
    with pytest.raises(StoreUnavailable):
        await writer.submit(unit("b"))


@pytest.mark.parametrize(
    ("changed", "write"),
    [
        ({}, rows.KEEP_TRANSACTION),
        ({"phase": "ended"}, rows.MOVE_TRANSACTION),
        ({"station": "CP2"}, rows.PUT_TRANSACTION),
        ({"key": "2"}, rows.PUT_TRANSACTION),
        ({"start_key": "CP1|1|TAG"}, rows.PUT_TRANSACTION),
        ({"started_at": NOON + MS}, rows.PUT_TRANSACTION),
    ],
)
def test_no_more_of_a_transaction_is_set_than_has_changed(changed, write):
    columns = rows.PUT_TRANSACTION.columns
    stored = dict.fromkeys(columns) | {"id": "tx1", "phase": "active", "started_at": NOON}
    row = tuple((stored | changed | {"body": "{}"})[name] for name in columns)

    assert rows.transaction_write(row, tuple(stored.values())[:-1]) is write
    assert rows.transaction_write(row, None) is rows.PUT_TRANSACTION

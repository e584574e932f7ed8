"""What must hold of everything a CPO sent, checked from the double's records alone. Pure.

The ids are those of the project's reliability notes: I3 amounts agree, I5 sessions end once,
I7 nothing goes back and nothing overlaps, I10 what was pushed equals what is served.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from chargers_sim.emsp import exact
from chargers_sim.emsp.books import Books
from chargers_sim.emsp.journal import Exchange, overlapping

_SENT = {"PUT", "PATCH", "POST"}
_START_FIELDS = ("start_date_time", "start_datetime")
_END_FIELDS = ("end_date_time", "end_datetime", "stop_date_time")
_HOUR = Decimal(3600)
# TIME volumes are hours with 4 decimals: half of the last one, per period.
_HOURS_ROUNDING = Decimal("0.00005")


@dataclass(frozen=True, slots=True)
class Breach:
    """An invariant that does not hold, of which object, and how it shows."""

    invariant: str
    object: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.object}: {self.detail}"


def journal_breaches(exchanges: Sequence[Exchange]) -> list[Breach]:
    """List every breach that a journal alone can show: I2, I3, I5 and I7."""
    return [
        *never_back(exchanges),
        *never_overlapping(exchanges),
        *completed_stays(exchanges),
        *sessions_go_on(exchanges),
        *cdrs_once(exchanges),
        *(
            breach
            for exchange in _arrived(exchanges, "cdrs")
            if isinstance(exchange.body, dict)
            for breach in cdr_adds_up(exchange.body)
        ),
    ]


def never_back(exchanges: Iterable[Exchange]) -> Iterator[Breach]:
    """I7: per object and partner, `last_updated` never decreases in order of arrival."""
    newest: dict[tuple[str | None, str], tuple[datetime, int]] = {}
    for exchange in _arrived(exchanges):
        if exchange.object is None or not isinstance(exchange.body, dict):
            continue
        at = _instant(exchange.body.get("last_updated"))
        if at is None or exchange.module in {"cdrs", "commands", "tokens", "chargingprofiles"}:
            continue
        key = exchange.peer, exchange.object
        before = newest.get(key)
        if before is not None and at < before[0]:
            yield Breach(
                "I7",
                exchange.object,
                f"#{exchange.number} is of {exchange.body['last_updated']}, "
                f"older than #{before[1]} before it",
            )
        else:
            newest[key] = at, exchange.number


def never_overlapping(exchanges: Iterable[Exchange]) -> Iterator[Breach]:
    """I7: never two changing requests in flight for one object."""
    for first, second in overlapping(exchanges):
        yield Breach(
            "I7",
            second.object or "",
            f"#{second.number} came while #{first.number} was still open",
        )


def completed_stays(exchanges: Iterable[Exchange]) -> Iterator[Breach]:
    """I5: COMPLETED (and INVALID) is never followed by another status."""
    final: dict[str, str] = {}
    for exchange in _arrived(exchanges, "sessions"):
        status = exchange.body.get("status") if isinstance(exchange.body, dict) else None
        if exchange.object is None or status is None:
            continue
        before = final.get(exchange.object)
        if before is not None and status != before:
            yield Breach("I5", exchange.object, f"#{exchange.number}: {status} after {before}")
        if status in {"COMPLETED", "INVALID"}:
            final[exchange.object] = status


_BEFORE = {"RESERVATION": 0, "PENDING": 0, "ACTIVE": 1}


def sessions_go_on(exchanges: Iterable[Exchange]) -> Iterator[Breach]:
    """I5: a session that runs never goes back, loses no energy, and its periods are in order."""
    reached: dict[str, int] = {}
    energy: dict[str, Decimal] = {}
    for exchange in _arrived(exchanges, "sessions"):
        key, body = exchange.object, exchange.body
        if key is None or not isinstance(body, dict):
            continue
        rank = _BEFORE.get(str(body.get("status")))
        if rank is not None:
            if rank < reached.get(key, 0):
                yield Breach("I5", key, f"#{exchange.number}: {body['status']} after ACTIVE")
            reached[key] = max(rank, reached.get(key, 0))
        kwh = _number(body.get("kwh"))
        if kwh is not None:
            if kwh < energy.get(key, kwh):
                yield Breach("I5", key, f"#{exchange.number}: {kwh} kWh after {energy[key]}")
            energy[key] = kwh
        starts = [_instant(p.get("start_date_time")) for p in body.get("charging_periods") or ()]
        known = [start for start in starts if start is not None]
        if known != sorted(known):
            yield Breach("I5", key, f"#{exchange.number}: its periods are out of order")


def unfinished(books: Books, *, open_sessions: Iterable[str] = ()) -> Iterator[Breach]:
    """I5: in the end every session is COMPLETED or INVALID but those still open.

    Args:
        books: what the partner holds.
        open_sessions: ids of sessions whose transaction is still open at a charger.
    """
    still_open = set(open_sessions)
    for id_, session in books.sessions.by_id().items():
        status = session.get("status")
        if id_ not in still_open and status not in {"COMPLETED", "INVALID"}:
            yield Breach("I5", f"sessions/{id_}", f"in the end it is {status}")


def cdrs_once(exchanges: Iterable[Exchange]) -> Iterator[Breach]:
    """I2: every body of one CDR id is the same, and a session has one CDR (credits apart)."""
    bodies: dict[str, tuple[Any, int]] = {}
    of_session: dict[str, set[str]] = {}
    credited: set[str] = set()
    for exchange in _arrived(exchanges, "cdrs"):
        cdr = exchange.body
        if not isinstance(cdr, dict):
            continue
        id_ = str(cdr.get("id"))
        first = bodies.setdefault(id_, (cdr, exchange.number))
        if first[0] != cdr:
            yield Breach(
                "I2", f"cdrs/{id_}", f"#{exchange.number} has another body than #{first[1]}"
            )
        if cdr.get("credit"):
            credited.add(str(cdr.get("credit_reference_id")))
        elif cdr.get("session_id") or cdr.get("auth_id"):
            of_session.setdefault(str(_session_key(cdr)), set()).add(id_)
    for session_id, ids in of_session.items():
        if len(ids - credited) > 1:
            yield Breach("I2", f"sessions/{session_id}", f"has CDRs {', '.join(sorted(ids))}")


def cdr_adds_up(cdr: Mapping[str, Any]) -> Iterator[Breach]:
    """I3: periods add up to the totals, cost parts to the cost, and time runs forward."""
    name = f"cdrs/{cdr.get('id')}"
    periods = [p for p in cdr.get("charging_periods") or [] if isinstance(p, dict)]
    energy = _volume(periods, "ENERGY")
    if energy != _number(cdr.get("total_energy")):
        yield Breach("I3", name, f"total_energy {cdr.get('total_energy')}, periods {energy}")
    start, end = _first(cdr, _START_FIELDS), _first(cdr, _END_FIELDS)
    if start is not None and end is not None and end < start:
        yield Breach("I3", name, "ends before it starts")
    starts = [at for period in periods if (at := _instant(period.get("start_date_time")))]
    if starts != sorted(starts):
        yield Breach("I3", name, "its periods are not in order")
    yield from _time_adds_up(name, cdr, periods)
    yield from _cost_adds_up(name, cdr)


def _time_adds_up(
    name: str, cdr: Mapping[str, Any], periods: list[dict[str, Any]]
) -> Iterator[Breach]:
    total = _number(cdr.get("total_time"))
    parts = _volume(periods, "TIME") + _volume(periods, "PARKING_TIME")
    slack = _HOURS_ROUNDING * (2 * len(periods) + 1)
    if total is not None and abs(total - parts) > slack:
        yield Breach("I3", name, f"total_time {total} h, periods {parts} h")
    start, end = _first(cdr, _START_FIELDS), _first(cdr, _END_FIELDS)
    if total is None or start is None or end is None or _volume(periods, "RESERVATION_TIME"):
        return
    lasted = Decimal((end - start).total_seconds()) / _HOUR
    # Times are written to the second or millisecond: allow one second.
    if abs(total - lasted) > slack + 1 / _HOUR:
        yield Breach("I3", name, f"total_time {total} h, lasted {lasted:.4f} h")


def _cost_adds_up(name: str, cdr: Mapping[str, Any]) -> Iterator[Breach]:
    parts = [
        cdr.get(f"total_{part}_cost")
        for part in ("fixed", "energy", "time", "parking", "reservation")
    ]
    total = net(cdr.get("total_cost"))
    if total is not None and total < 0 and not cdr.get("credit"):
        yield Breach("I3", name, f"total_cost {total} is negative")
    known = [amount for part in parts if (amount := net(part)) is not None]
    limited = bool(cdr.get("remark"))  # min or max price: the reason stands in the remark
    if (
        known
        and total is not None
        and not cdr.get("credit")
        and not limited
        and sum(known) != total
    ):
        yield Breach("I3", name, f"total_cost {total}, its parts {sum(known)}")


def net(price: Any) -> Decimal | None:
    """Return the amount without tax of a Price of any version, None when there is none."""
    if isinstance(price, dict):
        price = price.get("excl_vat", price.get("before_taxes"))
    return _number(price)


def sessions_match_cdrs(books: Books) -> Iterator[Breach]:
    """I2 and I3: every completed session has a CDR with its energy."""
    billed = {
        _session_key(cdr): cdr for cdr in books.cdrs.by_id().values() if not cdr.get("credit")
    }
    for id_, session in books.sessions.by_id().items():
        if session.get("status") != "COMPLETED":
            continue
        cdr = billed.get(id_) or billed.get(_session_key(session))
        if cdr is None:
            yield Breach("I2", f"sessions/{id_}", "completed, but no CDR came")
        elif _number(cdr.get("total_energy")) != _number(session.get("kwh")):
            yield Breach(
                "I3",
                f"sessions/{id_}",
                f"kwh {session.get('kwh')}, CDR {cdr.get('total_energy')}",
            )


def _session_key(thing: Mapping[str, Any]) -> Any:
    """Name a CDR's session; CDRs of 2.1.1 do not, but driver, start and place do."""
    if thing.get("session_id"):
        return thing["session_id"]
    place = thing.get("location")
    evses = (place.get("evses") or [{}]) if isinstance(place, dict) else [{}]
    return thing.get("auth_id"), _first(thing, _START_FIELDS), evses[0].get("uid")


def differences(books: Books, served: Mapping[str, list[Any]]) -> Iterator[Breach]:
    """I10: what was pushed equals what the CPO serves, object by object.

    Args:
        books: what the partner holds.
        served: per module the list that the CPO answers to GET.
    """
    for module, things in served.items():
        held = getattr(books, module).by_id()
        there = {str(thing.get("id")): thing for thing in things if isinstance(thing, dict)}
        for id_ in there.keys() - held.keys():
            yield Breach("I10", f"{module}/{id_}", "served, but never pushed")
        for id_ in held.keys() - there.keys():
            yield Breach("I10", f"{module}/{id_}", "held, but no longer served")
        for id_ in held.keys() & there.keys():
            for path, ours, theirs in _unlike(held[id_], there[id_], ""):
                yield Breach("I10", f"{module}/{id_}", f"{path}: held {ours!r}, served {theirs!r}")


def holdings(books: Books) -> dict[str, dict[str, dict[str, str]]]:
    """Return what is held: per module and object, its last_updated and a digest of its body."""
    return {
        module: {
            "/".join([*owner, str(thing.get("id"))]): {
                "last_updated": str(thing.get("last_updated")),
                "digest": digest(thing),
            }
            for owner, thing in getattr(books, module).items()
        }
        for module in ("locations", "tariffs", "sessions", "cdrs")
    }


def digest(thing: Any) -> str:
    """Return a digest that is equal for equal JSON, whatever the order of its keys."""
    return sha256(exact.dumps(_canonical(thing))).hexdigest()[:16]


def _canonical(thing: Any) -> Any:
    if isinstance(thing, dict):
        kept = {key: value for key, value in thing.items() if value not in (None, [])}
        return {key: _canonical(kept[key]) for key in sorted(kept)}
    if isinstance(thing, list):
        return [_canonical(entry) for entry in thing]
    number = _number(thing)
    return str(number.normalize()) if number is not None else thing


def _unlike(ours: Any, theirs: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _unlike(ours.get(key), theirs.get(key), f"{path}.{key}" if path else key)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _unlike(one, other, f"{path}[{number}]")
    elif not _same(ours, theirs):
        yield path, ours, theirs


def _same(ours: Any, theirs: Any) -> bool:
    # Absent, null and (for lists) empty mean the same (TRANS-20).
    if ours in (None, []) and theirs in (None, []):
        return True
    return (type(ours) is type(theirs) and ours == theirs) or (
        _number(ours) is not None and _number(ours) == _number(theirs)
    )


def _arrived(exchanges: Iterable[Exchange], module: str | None = None) -> Iterator[Exchange]:
    """Yield requests that were read fully, whatever was answered."""
    for exchange in exchanges:
        known = module in (None, exchange.module) and exchange.method in _SENT
        if exchange.direction == "in" and exchange.read and known:
            yield exchange


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value)


def _volume(periods: list[dict[str, Any]], kind: str) -> Decimal:
    return sum(
        (
            _number(dimension.get("volume")) or Decimal(0)
            for period in periods
            for dimension in period.get("dimensions") or []
            if isinstance(dimension, dict) and dimension.get("type") == kind
        ),
        Decimal(0),
    )


def _first(thing: Mapping[str, Any], fields: Iterable[str]) -> datetime | None:
    return next((at for field in fields if (at := _instant(thing.get(field)))), None)


def _instant(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else datetime.fromisoformat(text + "Z")

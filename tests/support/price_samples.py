"""Random tariffs and sessions in the format of ``cpo price``; the same for the same seed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

ZONES = [
    "Europe/Amsterdam",
    "UTC",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
]
# Instants around which clocks change somewhere, days and months turn, or nothing happens.
MOMENTS = [
    datetime(2026, 3, 29, 0, 50, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 40, tzinfo=UTC),
    datetime(2026, 11, 1, 5, 40, tzinfo=UTC),
    datetime(2026, 4, 4, 14, 50, tzinfo=UTC),
    datetime(2026, 1, 31, 22, 45, tzinfo=UTC),
    datetime(2026, 6, 7, 21, 50, tzinfo=UTC),
    datetime(2026, 5, 13, 11, 0, tzinfo=UTC),
]
DAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def decimal(rng, most, places):
    return Decimal(rng.randint(0, int(most * 10**places))).scaleb(-places)


def pair(rng, name, pick):
    values = sorted({pick(), pick()})
    kind = rng.random()
    if len(values) == 2 and kind < 0.3:
        return {f"min_{name}": values[0], f"max_{name}": values[1]}
    return {f"{'min' if kind < 0.65 else 'max'}_{name}": values[-1]}


def restrictions(rng, local):
    found = {}
    kinds = ["time", "date", "day", "kwh", "current", "power", "duration"]
    for kind in rng.sample(kinds, rng.choice([0, 1, 1, 1, 2, 2, 3])):
        if kind == "time":
            for name in rng.choice([["start_time"], ["end_time"], ["start_time", "end_time"]]):
                near = local + timedelta(minutes=rng.randint(-20, 50))
                found[name] = rng.choice([near.strftime("%H:%M"), "00:00", "23:30"])
        elif kind == "date":
            day = local.date() + timedelta(days=rng.randint(-1, 1))
            if rng.random() < 0.5:
                found["start_date"] = str(day)
            else:
                found["end_date"] = str(day + timedelta(days=1))
        elif kind == "day":
            found["day_of_week"] = rng.sample(DAYS, rng.randint(1, 5))
        elif kind == "kwh":
            found |= pair(rng, "kwh", lambda: decimal(rng, 12, rng.choice([0, 1, 3])))
        elif kind == "current":
            found |= pair(rng, "current", lambda: Decimal(rng.choice([6, 16, 32])))
        elif kind == "power":
            found |= pair(rng, "power", lambda: Decimal(rng.choice([4, 11, 22])))
        else:
            found |= pair(rng, "duration", lambda: rng.choice([60, 300, 600, 900, 1300]))
    return found


def tariff(rng, local):
    rates = rng.choice([[None], [21], [None, 21], [9, 21], [Decimal("7.7"), 0, None]])
    elements = []
    for _ in range(rng.randint(1, 6)):
        when = restrictions(rng, local)
        kinds = ["FLAT", "ENERGY", "TIME", "PARKING_TIME"]
        if rng.random() < 0.2:
            when["reservation"] = rng.choice(["RESERVATION", "RESERVATION_EXPIRES"])
            kinds = ["FLAT", "TIME"]
        elements.append(
            {
                "price_components": [
                    {
                        "type": kind,
                        "price": rng.choice([0, 1, 2])
                        if rng.random() < 0.2
                        else decimal(rng, 3, 4),
                        "vat": rng.choice(rates),
                        "step_size": rng.choice([0, 1, 1, 60, 300, 500, 900]),
                    }
                    for kind in rng.sample(kinds, rng.randint(1, len(kinds)))
                ],
                "restrictions": when or None,
            }
        )
    found = {"id": "T", "currency": rng.choice(["EUR", "JPY", "KWD"]), "elements": elements}
    included = rng.choice([None, None, "NO", "YES", "N/A"])
    if included:
        found["tax_included"] = included
    names = ("before_taxes", "after_taxes") if included else ("excl_vat", "incl_vat")
    for name, least, most in (("min_price", 0, 3), ("max_price", 3, 9)):
        if rng.random() < 0.2:
            found[name] = {names[0]: least + decimal(rng, most - least, 2)}
            if rng.random() < 0.7:
                found[name][names[1]] = least + decimal(rng, most - least, 2)
    return found


def raw_session(rng, start, seconds):
    end = start + timedelta(seconds=seconds)

    def somewhere():
        return start + timedelta(seconds=rng.randint(-60, seconds + 60))

    times = sorted({somewhere() for _ in range(rng.randint(0, 8))} | {start} - {None})
    if rng.random() < 0.3:
        times = times[1:]
    value = decimal(rng, 900, 3)
    samples = []
    for at in times:
        samples.append({"at": text(at), "total_kwh": value})
        value += decimal(rng, 4, 3) if rng.random() < 0.85 else 0
    session = {
        "start_date_time": text(start),
        "end_date_time": text(end),
        "meter_samples": samples,
    }
    if rng.random() < 0.5:
        session["power_samples"] = [
            {"at": text(at), "power_kw": rng.choice([0, 3, 4, Decimal("10.999"), 11, 22, 50])}
            for at in {somewhere() for _ in range(rng.randint(0, 6))}
        ]
    if rng.random() < 0.5:
        session["current_samples"] = [
            {"at": text(at), "current_a": rng.choice([0, 6, Decimal("15.9"), 16, 32, 40])}
            for at in {somewhere() for _ in range(rng.randint(0, 6))}
        ]
    if rng.random() < 0.6:
        session["states"] = [
            {"at": text(at), "state": rng.choice(["charging", "parking"])}
            for at in {somewhere() for _ in range(rng.randint(0, 5))}
        ]
    if rng.random() < 0.05:
        session["reservation_expired"] = True
    for name in ("meter_samples", "power_samples", "current_samples", "states"):
        if name in session:
            rng.shuffle(session[name])
    return session


def listed_session(rng, start):
    at, periods = start, []
    kinds = rng.choice(
        [["r"], ["r", "c", "p"], ["c"], ["c", "p"], ["c", "p", "c"], ["c", "c", "p"]]
    )
    for kind in kinds:
        wall = rng.choice([0, rng.randint(1, 900), rng.randint(1, 900)])
        dimensions = []
        if kind != "r" and rng.random() < 0.8:
            dimensions.append({"type": "ENERGY", "volume": decimal(rng, 6, 3)})
        name = {"r": "RESERVATION_TIME", "c": "TIME", "p": "PARKING_TIME"}[kind]
        if rng.random() < 0.9 or not dimensions:
            if rng.random() < 0.5:
                dimensions.append({"type": name, "volume": 0, "seconds": wall})
            else:
                dimensions.append({"type": name, "volume": decimal(rng, 1, 4)})
        if rng.random() < 0.4:
            dimensions.append(
                {"type": rng.choice(["MAX_POWER", "MIN_POWER"]), "volume": rng.choice([3, 11, 22])}
            )
        if rng.random() < 0.4:
            dimensions.append({"type": "MAX_CURRENT", "volume": rng.choice([0, 6, 16, 40])})
        periods.append({"start_date_time": text(at), "dimensions": dimensions})
        at += timedelta(seconds=wall)
    return {
        "start_date_time": text(start),
        "end_date_time": text(at),
        "reservation_expired": kinds == ["r"] and rng.random() < 0.6,
        "charging_periods": periods,
    }


def case(rng):
    """One tariff and one session of up to half an hour."""
    from zoneinfo import ZoneInfo

    zone = rng.choice(ZONES)
    start = rng.choice(MOMENTS) + timedelta(seconds=rng.randint(0, 1200))
    local = start.astimezone(ZoneInfo(zone))
    if rng.random() < 0.6:
        session = raw_session(rng, start, rng.choice([0, 1, rng.randint(2, 1500)]))
    else:
        session = listed_session(rng, start)
    return {"time_zone": zone, "tariffs": [tariff(rng, local)], "session": session}

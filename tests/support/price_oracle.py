"""A second calculation of prices: slow, simple, and sharing nothing with the product.

It walks a session second by second and asks at each what the requirement texts (TAR-20 to
TAR-40) ask. Only energy thresholds may fall inside a second; that second is then taken in pieces.
Times must be whole seconds. Everything is a Fraction.
"""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

DAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]


def number(value):
    return Fraction(str(value))


def moment(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def is_active(restrictions, now):
    """All restrictions of an element, ANDed (TAR-21)."""
    r = {k: v for k, v in (restrictions or {}).items() if v not in (None, [])}
    local = now["local"]
    if "day_of_week" in r and DAYS[local.weekday()] not in r["day_of_week"]:
        return False
    today = local.strftime("%Y-%m-%d")
    if "start_date" in r and today < r["start_date"]:
        return False
    if "end_date" in r and today >= r["end_date"]:
        return False
    if "start_time" in r or "end_time" in r:
        clock = local.strftime("%H:%M")
        begin, end = r.get("start_time", "00:00"), r.get("end_time", "24:00")
        if end == "00:00":
            end = "24:00"
        if r.get("start_time") != r.get("end_time"):
            if begin < end:
                if not begin <= clock < end:
                    return False
            elif not (clock >= begin or clock < end):
                return False
    if "min_duration" in r and now["elapsed"] < r["min_duration"]:
        return False
    if "max_duration" in r and now["elapsed"] >= r["max_duration"]:
        return False
    for low, high, value in (
        ("min_kwh", "max_kwh", now["kwh"]),
        ("min_power", "max_power", now["power"]),
        ("min_current", "max_current", now["current"]),
    ):
        if low in r and (value is None or value < number(r[low])):
            return False
        if high in r and value is not None and value >= number(r[high]):
            return False
    return True


def component(tariff, kind, dimension, now):
    """The first active element of a kind with that dimension, and of it the first such price."""
    for element in tariff["elements"]:
        restrictions = element.get("restrictions") or {}
        if restrictions.get("reservation") != kind:
            continue
        for c in element["price_components"]:
            if c["type"] == dimension and is_active(
                {k: v for k, v in restrictions.items() if k != "reservation"}, now
            ):
                return c
    return None


class Bill:
    def __init__(self):
        self.quantities = {}
        self.order = []
        self.last = {}
        self.flat = set()
        self.surplus = {}

    def add(self, dimension, reserved, c, quantity):
        key = (
            dimension,
            reserved,
            number(c["price"]),
            None if c.get("vat") is None else number(c["vat"]),
        )
        if key not in self.quantities:
            self.order.append(key)
        self.quantities[key] = self.quantities.get(key, 0) + quantity
        group = "reserved" if reserved else "energy" if dimension == "ENERGY" else "time"
        if dimension != "FLAT":
            self.last[group] = (key, c.get("step_size") or 0)

    def round_up(self):
        for key, step in self.last.values():
            if step:
                whole = sum(q for k, q in self.quantities.items() if k[:2] == key[:2])
                blocks = -(-whole // step)
                self.surplus[key] = blocks * step - whole
                self.quantities[key] += self.surplus[key]


def steps(case):
    """Yield (now, activity, energy in Wh, seconds of charging, parking, reservation)."""
    session = case["session"]
    zone = ZoneInfo(case["time_zone"])
    start, end = moment(session["start_date_time"]), moment(session["end_date_time"])
    if "charging_periods" in session:
        yield from period_steps(session["charging_periods"], zone, start, end)
        return
    register = sorted((moment(s["at"]), number(s["total_kwh"])) for s in session["meter_samples"])

    def reading(at):
        if not register or at <= register[0][0]:
            return register[0][1] if register else Fraction(0)
        for (a, va), (b, vb) in pairwise(register):
            if a <= at <= b:
                return va + (vb - va) * Fraction((at - a).total_seconds()) / Fraction(
                    (b - a).total_seconds()
                )
        return register[-1][1]

    def held(name, field):
        samples = sorted((moment(s["at"]), s[field]) for s in session.get(name, []))

        def at(instant):
            known = [value for a, value in samples if a <= instant]
            return known[-1] if known else None

        return at

    power, current = held("power_samples", "power_kw"), held("current_samples", "current_a")
    state = held("states", "state")
    base = reading(start)
    seconds = int((end - start).total_seconds())
    before = Fraction(0)
    for i in range(max(seconds, 1)):
        at = start + timedelta(seconds=i)
        after = reading(min(at + timedelta(seconds=1), end)) - base
        length = Fraction(1 if seconds else 0)
        now = {
            "local": at.astimezone(zone),
            "elapsed": i,
            "kwh": before,
            "power": None if power(at) is None else number(power(at)),
            "current": None if current(at) is None else number(current(at)),
        }
        if session.get("reservation_expired"):
            now |= {"kwh": Fraction(0), "power": None, "current": None}
            yield now, "reserved", Fraction(0), 0, 0, length
        elif state(at) == "parking":
            yield now, "parking", (after - before) * 1000, 0, length, 0
        else:
            yield now, "charging", (after - before) * 1000, length, 0, 0
        before = after


def period_steps(periods, zone, start, end):
    kwh = Fraction(0)
    power = current = None
    for n, period in enumerate(periods):
        begin = moment(period["start_date_time"])
        until = moment(periods[n + 1]["start_date_time"]) if n + 1 < len(periods) else end
        volumes = {}
        for d in period["dimensions"]:
            volumes[d["type"]] = (
                number(d["seconds"]) / 3600 if "seconds" in d else number(d["volume"])
            )
        power = volumes.get("MAX_POWER", volumes.get("MIN_POWER", power))
        current = volumes.get("MAX_CURRENT", volumes.get("MIN_CURRENT", current))
        wall = int((until - begin).total_seconds())
        pieces = max(wall, 1)
        for i in range(pieces):
            at = begin + timedelta(seconds=i)
            now = {
                "local": at.astimezone(zone),
                "elapsed": int((at - start).total_seconds()),
                "kwh": kwh,
                "power": power,
                "current": current,
            }
            share = Fraction(1, pieces)
            energy = volumes.get("ENERGY", Fraction(0)) * share
            reserved = volumes.get("RESERVATION_TIME", Fraction(0)) * 3600 * share
            charging = volumes.get("TIME", Fraction(0)) * 3600 * share
            parking = volumes.get("PARKING_TIME", Fraction(0)) * 3600 * share
            kind = "reserved" if reserved else "parking" if parking else "charging"
            yield now, kind, energy * 1000, charging, parking, reserved
            kwh += energy


def price(case, tariff):
    """Answer (net, gross, price limit, bill); None where an amount is not known."""
    expired = bool(case["session"].get("reservation_expired"))
    thresholds = sorted(
        {
            number(e["restrictions"][k])
            for e in tariff["elements"]
            for k in ("min_kwh", "max_kwh")
            if (e.get("restrictions") or {}).get(k) is not None
        }
    )
    bill = Bill()
    for now, kind, wh, charging, parking, reserved in steps(case):
        top = now["kwh"] + wh / 1000
        inside = [t for t in thresholds if now["kwh"] < t < top]
        marks = [now["kwh"], *inside, top]
        for low, high in pairwise(marks):
            share = (high - low) * 1000 / wh if wh else Fraction(1)
            piece(
                bill,
                tariff,
                expired,
                now | {"kwh": low},
                kind,
                [q * share for q in (wh, charging, parking, reserved)],
            )
    bill.round_up()
    return (*totals(bill, tariff), bill)


def piece(bill, tariff, expired, now, kind, quantities):
    wh, charging, parking, reserved = quantities
    if kind == "reserved":

        def found(dimension):
            special = component(tariff, "RESERVATION_EXPIRES", dimension, now) if expired else None
            return special or component(tariff, "RESERVATION", dimension, now)

        if "reserved" not in bill.flat and (c := found("FLAT")):
            bill.flat.add("reserved")
            bill.add("FLAT", True, c, Fraction(1))
        if reserved and (c := found("TIME")):
            bill.add("TIME", True, c, reserved)
        return
    if "session" not in bill.flat and (c := component(tariff, None, "FLAT", now)):
        bill.flat.add("session")
        bill.add("FLAT", False, c, Fraction(1))
    for dimension, quantity in (("ENERGY", wh), ("TIME", charging), ("PARKING_TIME", parking)):
        if quantity and (c := component(tariff, None, dimension, now)):
            bill.add(dimension, False, c, quantity)


PER = {"FLAT": 1, "ENERGY": 1000, "TIME": 3600, "PARKING_TIME": 3600}


def totals(bill, tariff):
    included = tariff.get("tax_included") or "NO"
    net = gross = Fraction(0)
    for (dimension, _, unit_price, vat), quantity in bill.quantities.items():
        billed = quantity * unit_price / PER[dimension]
        rate = Fraction(1) if vat is None else 1 + vat / 100
        if included == "N/A":
            plus = (billed, billed)
        elif included == "NO":
            plus = (billed, billed * rate)
        else:
            plus = (None if vat is None and billed else billed / rate, billed)
        net = None if net is None or plus[0] is None else net + plus[0]
        gross += plus[1]
    if included == "NO" and all(key[3] is None for key in bill.quantities):
        gross = None
    limit = None
    for name, pick in (("min_price", max), ("max_price", min)):
        bound = tariff.get(name)
        if not bound:
            continue
        low = bound.get("excl_vat", bound.get("before_taxes"))
        high = bound.get("incl_vat", bound.get("after_taxes"))
        if included == "N/A" and high is None:
            high = low
        before = (net, gross)
        if net is not None and low is not None:
            net = pick(net, number(low))
        if gross is not None and high is not None:
            gross = pick(gross, number(high))
        if (net, gross) != before:
            limit = name
    return net, gross, limit

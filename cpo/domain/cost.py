"""What a session costs: exact inside, rounded once on the way out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from operator import sub
from typing import Generic, NamedTuple, TypeVar

from cpo.domain.amounts import Amount, Breakdown, Line, Price, Tax
from cpo.domain.ledger import Ledger, Tally
from cpo.domain.money import CURRENCIES, round_half_up, share_out
from cpo.domain.periods import Activity, Period, Record, Stretch
from cpo.domain.price_plan import (
    MILLI,
    NWH_PER_WH,
    US_PER_S,
    Bands,
    Exact,
    LineKey,
    Part,
    Priced,
    PricePlan,
    exact,
    to_instant,
    to_us,
)
from cpo.domain.tariff import Dimension, PriceLimit, Tariff, TaxIncluded

Owner = TypeVar("Owner")
Value = TypeVar("Value")


class worked_out(Generic[Owner, Value]):  # noqa: N801 - used as a decorator
    """A property worked out once, when it is first asked for.

    ``functools.cached_property`` takes a lock for each, which on Python 3.11 costs more than most
    of the values here.
    """

    def __init__(self, work: Callable[[Owner], Value]) -> None:
        self._work = work
        self._name = work.__name__
        self.__doc__ = work.__doc__

    def __get__(self, owner: Owner, _: type[Owner] | None = None) -> Value:
        value = owner.__dict__[self._name] = self._work(owner)
        return value


class Share(NamedTuple):
    """An amount before and after tax, in units of the cost."""

    net: Exact | None
    gross: Exact | None


class Use(NamedTuple):
    """A stretch in which an element gave the price of a line; quantity in kWh, s or times."""

    line: LineKey
    element: int
    begins_at: datetime
    ends_at: datetime
    quantity: Fraction


class Outlook(NamedTuple):
    """When prices change next by time, to which; and the energy in Wh at which they change.

    `power_w` is the power nearest to the present one at which they change.
    """

    at: datetime | None
    prices: dict[Dimension, Fraction]
    energy_wh: Decimal | None
    power_w: Decimal | None = None


class Ended(NamedTuple):
    """A period that is over, and the stretch that follows it: its place, prices and totals."""

    period: Period
    place: int
    after: Stretch
    key: tuple[object, ...]
    marks: list[Decimal]

    def stands_in(self, stretches: Sequence[tuple[Stretch, bool]]) -> bool:
        """Tell whether these stretches still begin with those the period was made of."""
        return self.place < len(stretches) and stretches[self.place][0] is self.after


class Cost:
    """The exact cost of a session so far. Everything in it is worked out when it is asked for."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        end: Exact,
        record: Callable[[], Record] | None = None,
        zone: tzinfo,
        ended: list[Ended] | None = None,
    ) -> None:
        """``ended`` is kept by who carries a price on: what is in it is not worked out again."""
        self._ledger = ledger
        self._ended = [] if ended is None else ended
        self._end = end
        self._known = record
        # So many of what amounts are counted in here make one of the currency.
        self._unit = ledger.plan.unit * ledger.plan.tax_unit
        self.zone = zone

    @worked_out
    def _record(self) -> Record | None:
        """What happened; None where only periods are known. Put together when it is asked for."""
        return None if self._known is None else self._known()

    @property
    def tariff(self) -> Tariff:
        """The tariff that was used."""
        return self._ledger.plan.tariff

    @property
    def currency(self) -> str:
        """ISO 4217 code of every amount."""
        return self.tariff.currency

    @worked_out
    def _surpluses(self) -> list[tuple[Priced, Exact]]:
        return self._ledger.surpluses()

    @worked_out
    def _sums(self) -> Tally[tuple[Part, Decimal | None]]:
        """What was billed at the tariff's prices, per part and rate, in units of the plan."""
        sums = self._ledger.sums
        if self._surpluses:
            sums = sums.copy()
            for priced, surplus in self._surpluses:
                sums.add((priced.part, priced.component.vat), surplus * priced.rate)
        return sums

    @worked_out
    def _shares(self) -> dict[tuple[Part, Decimal | None], Share]:
        """The amounts per part and rate."""
        return {key: self._split(self._sums[key], key[1]) for key in self._sums}

    def _split(self, billed: Exact, vat: Decimal | None) -> Share:
        """Split an amount at the tariff's prices into net and gross."""
        plan, included = self._ledger.plan, self.tariff.tax_included
        base = billed * plan.tax_unit
        if included is TaxIncluded.NOT_APPLICABLE:
            return Share(base, base)
        if vat is None:
            return Share(None if included is TaxIncluded.YES and billed else base, base)
        if included is TaxIncluded.YES:
            return Share(Fraction(base) * plan.tax_unit / plan.gross_of[vat], base)
        return Share(base, billed * plan.gross_of[vat])

    def _amount(self, billed: Exact, vat: Decimal | None) -> Amount:
        return self._exactly(self._split(billed, vat))

    def _exactly(self, share: Share) -> Amount:
        net, gross = (None if a is None else Fraction(a) / self._unit for a in share)
        return Amount(net, gross)

    @worked_out
    def _rates(self) -> dict[Decimal | None, Share]:
        """The amounts per rate."""
        billed: dict[Decimal | None, Exact] = {}
        for key in self._sums:
            vat = key[1]
            billed[vat] = billed[vat] + self._sums[key] if vat in billed else self._sums[key]
        return {vat: self._split(amount, vat) for vat, amount in billed.items()}

    @worked_out
    def _unlimited(self) -> Share:
        whole = _total(self._rates.values())
        if self.tariff.tax_included is TaxIncluded.NO and not self._taxed:
            return Share(whole.net, None)
        return whole

    @worked_out
    def _taxed(self) -> bool:
        """Whether anything billed has a tax rate; if nothing was, whether its energy would have."""
        if self._rates:
            return any(vat is not None for vat in self._rates)
        energy = (self._ledger.price_of(Dimension.ENERGY, s) for s, _ in self._ledger.stretches)
        return any(found is not None and found.component.vat is not None for found in energy)

    @worked_out
    def _limited(self) -> tuple[Share, str | None]:
        tariff, (net, gross) = self.tariff, self._unlimited
        applied: str | None = None
        for name, limit in (("min_price", tariff.min_price), ("max_price", tariff.max_price)):
            if limit is None:
                continue
            bounds = _bounds(tariff, limit)
            new_net = _limit(name, net, bounds[0], self._unit)
            new_gross = _limit(name, gross, bounds[1], self._unit)
            if (new_net, new_gross) != (net, gross):
                applied = name
                net, gross = new_net, new_gross
        return Share(net, gross), applied

    @property
    def total(self) -> Amount:
        """The exact total, within min_price and max_price (TAR-40)."""
        return self._exactly(self._limited[0])

    @property
    def price_limit(self) -> str | None:
        """``min_price`` or ``max_price`` where one of them changed the total."""
        return self._limited[1]

    @property
    def energy_wh(self) -> Decimal:
        """All energy of the session, to the millionth of a Wh."""
        return _decimal(self._ledger.energy, NWH_PER_WH)

    @property
    def time_s(self) -> Decimal:
        """Charging time in seconds."""
        return _decimal(self._ledger.time, US_PER_S)

    @property
    def parking_s(self) -> Decimal:
        """Time the vehicle asked for no power, in seconds."""
        return _decimal(self._ledger.parking, US_PER_S)

    @property
    def reserved_s(self) -> Decimal:
        """Reserved time in seconds."""
        return _decimal(self._ledger.reserved, US_PER_S)

    def price(self, places: int | None = None) -> Price:
        """The total, rounded half up; to the currency's own decimals unless said otherwise."""
        places = CURRENCIES[self.currency] if places is None else places
        return self._rounded(self._limited[0], _taxes(self.tariff, self._rates), places)

    def breakdown(self, places: int = 4) -> Breakdown:
        """The total and its parts, rounded so that the parts add up to it (CDR-11)."""
        billed = [p for p in Part if any(p is part for part, _ in self._shares)]
        rates = [
            {vat: share for (p, vat), share in self._shares.items() if p is part} for part in billed
        ]
        sums = [_total(found.values()) for found in rates]
        whole = self._rounded(self._unlimited, {}, places)
        nets = self._parts(whole.excl_vat, [share.net for share in sums], places)
        grosses = self._parts(whole.incl_vat, [share.gross for share in sums], places)
        parts = {
            part.value: self._with_taxes(net, gross, _taxes(self.tariff, found), places)
            for part, found, net, gross in zip(billed, rates, nets, grosses, strict=True)
        }
        return Breakdown(total=self.price(places), price_limit=self.price_limit, **parts)

    def _parts(
        self, total: Decimal | None, parts: list[Exact | None], places: int
    ) -> list[Decimal] | list[None]:
        if total is None:
            return [None] * len(parts)
        if len(parts) == 1:
            return [total]
        return share_out(total, [part or 0 for part in parts], places, self._unit)

    def _rounded(self, share: Share, taxes: dict[Decimal, Exact], places: int) -> Price:
        net = None if share.net is None else round_half_up(share.net, places, self._unit)
        gross = None if share.gross is None else round_half_up(share.gross, places, self._unit)
        return self._with_taxes(net, gross, taxes, places)

    def _with_taxes(
        self,
        net: Decimal | None,
        gross: Decimal | None,
        taxes: dict[Decimal, Exact],
        places: int,
    ) -> Price:
        """Divide the tax of a rounded price among its rates; after a price limit in proportion."""
        if net is None or gross is None or gross < net or not taxes:
            return Price(excl_vat=net, incl_vat=gross)
        tax = gross - net
        amounts = [tax]
        if len(taxes) > 1:
            whole = sum(taxes.values())
            scale = Fraction(tax) / whole if whole else Fraction(0)
            amounts = share_out(tax, [amount * scale for amount in taxes.values()], places)
        return Price(
            excl_vat=net,
            incl_vat=gross,
            taxes=tuple(
                Tax(rate=rate, amount=amount) for rate, amount in zip(taxes, amounts, strict=True)
            ),
        )

    @property
    def unit_prices_at_end(self) -> dict[Dimension, Fraction]:
        """The prices in force at the end, including tax where it is known."""
        elements = self._ledger.stretches[-1][0].elements if self._ledger.stretches else 0
        return self._unit_prices(elements)

    @property
    def unit_prices_at_start(self) -> dict[Dimension, Fraction]:
        """The prices in force at the start, before anything was drawn or measured."""
        plan, record = self._ledger.plan, self._record
        if record is None:
            return {}
        origin, now = to_us(record.reserved_from or record.started_at), to_us(record.started_at)
        _, hours = plan.calendar(origin, now, now + 1, self.zone)[0]
        unmeasured = plan.power.unknown & plan.current.unknown
        return self._unit_prices(hours & plan.energy.at(0) & unmeasured)

    def outlook(self, span: timedelta) -> Outlook:
        """Say when other prices will hold, as far as time, energy and power decide.

        Each is looked at by itself: the others, the current, and whether the car charges are taken
        to stay as they are at the end.
        """
        plan, record, end = self._ledger.plan, self._record, self._end
        if record is None:
            return Outlook(None, {}, None)
        power = _last(record.power, MILLI, end)
        current = _last(record.current, MILLI, end)
        amps, watts = _allowed(plan.current, current), _allowed(plan.power, power)
        energy = plan.energy.at(self._ledger.energy)
        origin = to_us(record.reserved_from or record.started_at)
        now, until = int(end), int(end) + span // timedelta(microseconds=1)
        (_, hours), *later = plan.calendar(origin, now, until, self.zone)
        prices = self._unit_prices(hours & energy & watts & amps)

        def others(mask: int) -> bool:
            return self._unit_prices(mask & amps) != prices

        reached = next(
            (
                bound
                for bound in plan.energy.bounds
                if bound > self._ledger.energy and others(hours & plan.energy.at(bound) & watts)
            ),
            None,
        )
        near: list[Exact] = [
            b for b, mask in plan.power.across(power) if others(hours & energy & mask)
        ]
        nearest = min(near, key=lambda bound: abs(Fraction(bound - (power or 0))), default=None)
        wh = None if reached is None else _decimal(reached, NWH_PER_WH)
        w = None if nearest is None else _decimal(nearest, MILLI)
        for at, mask in later:
            if others(mask & energy & watts):
                then = self._unit_prices(mask & energy & watts & amps)
                return Outlook(to_instant(at), then, wh, w)
        return Outlook(None, {}, wh, w)

    def _unit_prices(self, elements: int) -> dict[Dimension, Fraction]:
        plan = self._ledger.plan
        found: dict[Dimension, Fraction] = {}
        for dimension in Dimension:
            priced = plan.first(dimension, elements & plan.session[dimension])
            if priced is not None:
                once = priced.rate * _per(dimension) * _HOUR.get(dimension, 1)
                amount = self._amount(once, priced.component.vat)
                found[dimension] = amount.gross or Fraction(0)
        return found

    @property
    def line_keys(self) -> list[LineKey]:
        """The lines' keys, in their order."""
        first_use, dimensions = self._ledger.first_use, list(Dimension)
        return sorted(
            self._ledger.quantities, key=lambda key: (first_use[key], dimensions.index(key[0]))
        )

    @property
    def uses(self) -> list[Use]:
        """Which element priced what, from when to when; without what step_size added."""
        ledger = self._ledger
        starts = [stretch for stretch, _ in ledger.stretches]
        found = []
        for (this, flat_here), after in zip(
            ledger.stretches, [*starts[1:], self._after], strict=True
        ):
            for dimension, quantity in (
                (Dimension.FLAT, int(flat_here)),
                (Dimension.ENERGY, after.energy - this.energy),
                (Dimension.TIME, after.time - this.time + after.reserved - this.reserved),
                (Dimension.PARKING_TIME, after.parking - this.parking),
            ):
                priced = ledger.price_of(dimension, this) if quantity else None
                if priced is not None:
                    found.append(
                        Use(
                            line=priced.line,
                            element=priced.element,
                            begins_at=to_instant(this.at),
                            ends_at=to_instant(after.at),
                            quantity=Fraction(quantity) / _per(dimension),
                        )
                    )
        return found

    @property
    def _after(self) -> Stretch:
        """What stands after the last stretch: the end, with all totals."""
        ledger = self._ledger
        return Stretch(
            self._end,
            Activity.CHARGING,
            0,
            ledger.energy,
            ledger.time,
            ledger.parking,
            ledger.reserved,
        )

    @worked_out
    def lines(self) -> tuple[Line, ...]:
        """The bill, one line for each dimension and unit price, in order of first use."""
        ledger = self._ledger
        surpluses = {priced.line: surplus for priced, surplus in self._surpluses}
        lines = []
        for key in self.line_keys:
            dimension, reservation, price, vat = key
            measured = ledger.quantities[key]
            surplus = surpluses.get(key, 0)
            quantity = measured + surplus
            per = _per(dimension)
            mask = ledger.elements[key]
            elements = tuple(i for i in range(mask.bit_length()) if mask >> i & 1)
            billed = quantity * _rate(ledger.plan, key, elements[0])
            lines.append(
                Line(
                    dimension=dimension,
                    reservation=reservation,
                    quantity=Fraction(quantity) / per,
                    step_surplus=Fraction(surplus) / per,
                    unit_price=price,
                    vat=None if self.tariff.tax_included is TaxIncluded.NOT_APPLICABLE else vat,
                    amount=self._amount(billed, vat),
                    elements=elements,
                )
            )
        return tuple(lines)

    @worked_out
    def periods(self) -> tuple[Period, ...]:
        """The charging periods, cut where the price can change; their sums are the totals."""
        stretches, ended = self._ledger.stretches, self._ended
        if not stretches:
            return ()
        known = 0
        while known < len(ended) and ended[known].stands_in(stretches):
            known += 1
        del ended[known:]
        if ended:
            at, begin, key, before = (
                ended[-1].place,
                ended[-1].after,
                ended[-1].key,
                ended[-1].marks,
            )
        else:
            at, begin = 0, stretches[0][0]
            key, before = self._prices_in(begin), _shown(begin)
        for i in range(at + 1, len(stretches)):
            stretch, flat_here = stretches[i]
            here = self._prices_in(stretch)
            if here == key and not flat_here:
                continue
            marks = _shown(stretch)
            period = self._period(begin, before, stretch, marks)
            ended.append(Ended(period, i, stretch, here, marks))
            begin, key, before = stretch, here, marks
        last = self._period(begin, before, self._after, _shown(self._after))
        return (*(one.period for one in ended), last)

    def _prices_in(self, stretch: Stretch) -> tuple[object, ...]:
        """What tells a stretch from its neighbour: its activity and the prices it can see."""
        timed = Dimension.PARKING_TIME if stretch.activity is Activity.PARKING else Dimension.TIME
        seen = (timed,) if stretch.activity is Activity.RESERVED else (Dimension.ENERGY, timed)
        found = [self._ledger.price_of(dimension, stretch) for dimension in seen]
        prices = (stretch.activity, *(None if f is None else f.component for f in found))
        return (*prices, self._tariff_at(stretch.at)) if self.tariff.changes else prices

    def _period(
        self, this: Stretch, before: list[Decimal], following: Stretch, after: list[Decimal]
    ) -> Period:
        power = self._range(this.at, following.at, "power")
        current = self._range(this.at, following.at, "current")
        energy, time, parking, reserved = map(sub, after, before)
        return Period(
            started_at=to_instant(this.at),
            energy_wh=energy,
            time_s=time,
            parking_s=parking,
            reserved_s=reserved,
            min_power_w=min(power, default=None),
            max_power_w=max(power, default=None),
            min_current_a=min(current, default=None),
            max_current_a=max(current, default=None),
            tariff_id=self._tariff_at(this.at),
        )

    def _tariff_at(self, us: Exact) -> str | None:
        """The id of the tariff in force at an instant of the session."""
        changes = self.tariff.changes
        if not changes:
            return self.tariff.id or None
        return next((id_ for at, id_ in reversed(changes) if to_us(at) <= us), changes[0][1])

    def _range(self, begin: Exact, end: Exact, name: str) -> list[Decimal]:
        """The samples that hold in a period; none where no price depends on them."""
        plan = self._ledger.plan
        bands = plan.power if name == "power" else plan.current
        if not bands.bounds or self._record is None:
            return []
        held: list[Decimal] = []
        samples: Sequence[tuple[datetime, Decimal]] = getattr(self._record, name)
        for at, value in sorted(samples, key=lambda sample: sample[0]):
            us = to_us(at)
            if us <= begin:
                held = [value]
            elif us < end:
                held.append(value)
        return held


def _bounds(tariff: Tariff, limit: PriceLimit) -> tuple[Decimal | None, Decimal | None]:
    """The bounds of the net and of the gross sum."""
    if tariff.tax_included is TaxIncluded.NOT_APPLICABLE:
        # Net and gross are one sum.
        only = limit.excl_vat if limit.incl_vat is None else limit.incl_vat
        return (limit.excl_vat if limit.excl_vat is not None else only, only)
    return limit.excl_vat, limit.incl_vat


def _limit(name: str, amount: Exact | None, bound: Decimal | None, unit: int) -> Exact | None:
    if amount is None or bound is None:
        return amount
    return (max if name == "min_price" else min)(amount, exact(bound, unit))


def _taxes(tariff: Tariff, rates: Mapping[Decimal | None, Share]) -> dict[Decimal, Exact]:
    """How the tax divides among the rates; of a single one only that there is one."""
    if tariff.tax_included is TaxIncluded.NOT_APPLICABLE:
        return {}
    if len(rates) == 1:
        return {vat: 1 for vat in rates if vat is not None}
    return {
        vat: share.gross - share.net
        for vat, share in rates.items()
        if vat is not None and share.net is not None and share.gross is not None
    }


def _total(shares: Iterable[Share]) -> Share:
    found: Share | None = None
    for share in shares:
        if found is None:
            found = share
        else:
            unknown = found.net is None or share.net is None
            net = None if unknown else (found.net or 0) + (share.net or 0)
            found = Share(net, (found.gross or 0) + (share.gross or 0))
    return found or Share(0, 0)


_HOUR = {Dimension.TIME: 3600, Dimension.PARKING_TIME: 3600}


def _shown(stretch: Stretch) -> list[Decimal]:
    """The running totals of a stretch: Wh, and seconds charging, parking and reserved."""
    return [
        _decimal(stretch.energy, NWH_PER_WH),
        _decimal(stretch.time, US_PER_S),
        _decimal(stretch.parking, US_PER_S),
        _decimal(stretch.reserved, US_PER_S),
    ]


def _per(dimension: Dimension) -> int:
    """How many units of the ledger make one kWh, second or time."""
    return {Dimension.FLAT: 1, Dimension.ENERGY: 1000 * NWH_PER_WH}.get(dimension, US_PER_S)


def _rate(plan: PricePlan, key: LineKey, element: int) -> int:
    found = plan.first(key[0], 1 << element)
    if found is None:
        raise LookupError(key)
    return found.rate


def _decimal(value: Exact, per: int) -> Decimal:
    """An exact quantity in whole units, to the sixth decimal."""
    if isinstance(value, int) and value % per == 0:
        return Decimal(value // per)
    return round_half_up(value, 6, per)


def _last(samples: Sequence[tuple[datetime, Decimal]], factor: int, end: Exact) -> Exact | None:
    """Return the last value known up to the end."""
    known = [sample for sample in samples if to_us(sample[0]) <= end]
    return exact(max(known, key=lambda sample: sample[0])[1], factor) if known else None


def _allowed(bands: Bands, value: Exact | None) -> int:
    """Return the elements that allow a value, or none that was measured."""
    return bands.unknown if value is None else bands.at(value)

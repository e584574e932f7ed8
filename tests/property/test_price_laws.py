"""What holds for every tariff and session."""

import random
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cpo.domain.pricing import LivePrice, Samples, price, price_periods
from cpo.domain.tariff import Element
from cpo.domain.values import replace
from cpo.errors import Invalid
from cpo.services.try_out import read_case
from tests.support import price_samples

seeds = st.integers(0, 10**9)
law = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def case_of(seed, raw=True):
    rng = random.Random(seed)
    case = price_samples.case(rng)
    assume(raw is None or ("meter_samples" in case["session"]) is raw)
    try:
        return read_case(case), rng
    except Invalid:
        assume(False)


@given(seeds)
@law
def test_the_periods_add_up_to_the_totals(seed):
    """CDR-10, CDR-22, MAP-22."""
    case, _ = case_of(seed)
    cost = case.cost

    assert sum(p.energy_wh for p in cost.periods) == cost.energy_wh
    assert sum(p.time_s for p in cost.periods) == cost.time_s
    assert sum(p.parking_s for p in cost.periods) == cost.parking_s
    assert sum(p.reserved_s for p in cost.periods) == cost.reserved_s
    length = Decimal(str((case.ended_at - case.started_at).total_seconds()))
    assert cost.time_s + cost.parking_s + cost.reserved_s == length


@given(seeds)
@law
def test_neighbouring_periods_differ_in_something(seed):
    case, _ = case_of(seed)
    starts = [p.started_at for p in case.cost.periods]

    assert starts == sorted(set(starts))


@given(seeds)
@law
def test_the_order_of_samples_does_not_matter(seed):
    """MAP-25."""
    case, rng = case_of(seed)
    record = case.record

    shuffled = replace(
        record,
        **{
            name: tuple(rng.sample(getattr(record, name), len(getattr(record, name))))
            for name in ("meter", "states", "power", "current")
        },
    )

    again = price(shuffled, case.tariff, case.zone)
    assert again.total == case.cost.total
    assert again.lines == case.cost.lines
    assert again.periods == case.cost.periods


@given(seeds, st.integers(1, 9))
@law
def test_splitting_a_period_changes_nothing(seed, tenths):
    """TAR-33, TAR-35."""
    case, rng = case_of(seed, raw=False)
    i = rng.randrange(len(case.periods))
    period = sorted(case.periods, key=lambda p: p.started_at)[i]
    ends = [p.started_at for p in sorted(case.periods, key=lambda p: p.started_at)[i + 1 :]]
    length = (ends[0] if ends else case.ended_at) - period.started_at
    names = ("energy_wh", "time_s", "parking_s", "reserved_s")
    # The order within a period is charging, parking; halves would take turns.
    assume(length > timedelta(0) and not (period.time_s and period.parking_s))
    share = Decimal(tenths) / 10
    at = period.started_at + length * tenths / 10
    assume((at - period.started_at) * 10 == length * tenths)
    first = replace(period, **{n: getattr(period, n) * share for n in names})
    second = replace(period, started_at=at, **{n: getattr(period, n) * (1 - share) for n in names})
    others = [p for p in case.periods if p is not period]

    split = price_periods(
        [*others, first, second],
        case.tariff,
        case.zone,
        started_at=case.started_at,
        ended_at=case.ended_at,
        reservation_expired=case.reservation_expired,
    )

    assert split.total == case.cost.total
    assert split.lines == case.cost.lines


@given(seeds)
@law
def test_without_blocks_to_fill_the_cost_never_falls_as_a_session_goes_on(seed):
    """A block that was filled up at one price is given back when another price takes over."""
    case, _ = case_of(seed)
    tariff = replace(
        case.tariff,
        elements=tuple(
            Element(
                components=tuple(replace(c, step_size=0) for c in e.components),
                restrictions=e.restrictions,
            )
            for e in case.tariff.elements
        ),
    )
    record = replace(case.record, ended_at=None)
    length = case.ended_at - case.started_at

    costs = [
        price(record, tariff, case.zone, until=case.started_at + length * i / 12).total
        for i in range(13)
    ]

    for before, after in pairwise(costs):
        if None not in (before.net, after.net):
            assert before.net <= after.net
        if None not in (before.gross, after.gross):
            assert before.gross <= after.gross


@given(seeds, st.booleans())
@law
def test_the_live_cost_is_that_of_the_record_at_every_sample(seed, in_order):
    """SES-16: one function for the running session and the CDR."""
    case, rng = case_of(seed)
    whole = case.record
    arrivals = [
        (sample.at, name, sample)
        for name in ("meter", "states", "power", "current")
        for sample in getattr(whole, name)
    ]
    if in_order:
        arrivals.sort(key=lambda a: a[0])
    else:
        rng.shuffle(arrivals)
    live, fed = LivePrice(case.tariff, case.zone), LivePrice(case.tariff, case.zone)
    record = replace(whole, ended_at=None, meter=(), states=(), power=(), current=())

    fed.update(record)
    for _, name, sample in arrivals:
        record = replace(record, **{name: (*getattr(record, name), sample)})
        whole_again = price(record, case.tariff, case.zone)
        same(live.update(record), whole_again)
        same(fed.add(Samples(**{name: (sample,)})), whole_again)
    record = replace(record, ended_at=whole.ended_at)
    same(live.update(record), price(whole, case.tariff, case.zone))


def same(one, other):
    assert one.total == other.total
    assert one.price_limit == other.price_limit
    assert one.lines == other.lines
    assert one.periods == other.periods
    assert one.breakdown() == other.breakdown()


@given(seeds, st.sampled_from([0, 2, 3, 4]))
@law
def test_the_rounded_parts_add_up_to_the_rounded_total(seed, places):
    """CDR-11, TAR-41."""
    case, _ = case_of(seed, raw=None)
    cost = case.cost
    b = cost.breakdown(places)
    assume(b.price_limit is None)
    parts = [p for p in (b.fixed, b.energy, b.time, b.parking, b.reservation) if p is not None]

    for side in ("excl_vat", "incl_vat"):
        whole = getattr(b.total, side)
        if whole is not None:
            assert sum((getattr(p, side) for p in parts), Decimal(0)) == whole
    for p in (b.total, *parts):
        if p.taxes:
            assert sum(t.amount for t in p.taxes) == p.incl_vat - p.excl_vat

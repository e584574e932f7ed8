"""Laws of charging profiles and of shared power, for whatever numbers."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from cpo.domain.limits import (
    Period,
    Profile,
    ProfileKind,
    Purpose,
    Running,
    Supply,
    capped,
    composite,
    differences,
    limit_at,
)
from cpo.domain.sharing import Claim, Policy, affordable, allocate, plan

T0 = datetime(2026, 6, 1, 12, tzinfo=UTC)
SUPPLY = Supply(most_w=Decimal(22080))
HOURS = st.integers(-48, 48).map(lambda h: T0 + timedelta(hours=h))
WATTS = st.integers(0, 30_000).map(Decimal)


@st.composite
def profiles(draw):
    kind = draw(st.sampled_from(ProfileKind))
    starts = sorted({0, *draw(st.lists(st.integers(1, 7200), max_size=4))})
    purpose = draw(st.sampled_from(Purpose))
    return Profile(
        id=draw(st.integers(1, 99)),
        evse_id=draw(st.sampled_from([0, 1, 2])),
        purpose=purpose,
        stack_level=draw(st.integers(0, 3)),
        kind=kind,
        unit=draw(st.sampled_from("AW")),
        periods=tuple(Period(s, draw(st.none() | WATTS)) for s in starts),
        recurrence=timedelta(days=1) if kind is ProfileKind.RECURRING else None,
        valid_from=draw(st.none() | HOURS),
        valid_to=draw(st.none() | HOURS),
        start_at=draw(st.none() | HOURS),
        duration_s=draw(st.none() | st.integers(1, 90_000)),
        transaction=draw(st.sampled_from([None, "T1", "T2"])) if purpose is Purpose.TX else None,
    )


RUNNING = Running("T1", T0 - timedelta(minutes=7))


def held(steps, at):
    limit = None
    for step in steps:
        if step.at <= at:
            limit = step.limit_w
    return limit


@settings(max_examples=40)
@given(st.lists(profiles(), max_size=6), st.integers(0, 48 * 3600 - 1), st.sampled_from([0, 1]))
def test_the_composite_is_the_limit_at_every_instant(installed, second, evse):
    """K08: no instant of the composite says anything else than the stack of that instant."""
    found = composite(
        installed, evse_id=evse, start=T0, duration=timedelta(hours=48), supply=SUPPLY,
        running=RUNNING,
    )  # fmt: skip
    at = T0 + timedelta(seconds=second)
    now, _ = limit_at(installed, at, evse_id=evse, supply=SUPPLY, running=RUNNING)

    assert held(found, at) == now
    assert all(a.limit_w != b.limit_w and a.at < b.at for a, b in zip(found, found[1:]))  # noqa: B905, RUF007


@settings(max_examples=40)
@given(st.lists(profiles(), max_size=5), profiles())
def test_a_station_or_external_limit_never_raises_anything(installed, another):
    """K01.FR.39: the least of the purposes counts."""
    if another.purpose not in (Purpose.STATION, Purpose.EXTERNAL):
        return
    if any(p.purpose is another.purpose for p in installed):
        return
    with_it, _ = limit_at([*installed, another], T0, evse_id=1, supply=SUPPLY, running=RUNNING)
    without, _ = limit_at(installed, T0, evse_id=1, supply=SUPPLY, running=RUNNING)

    assert without is None or with_it <= without


@settings(max_examples=40)
@given(st.lists(profiles(), max_size=5), WATTS)
def test_what_is_capped_stays_below_the_cap(installed, cap):
    steps = composite(
        installed, evse_id=1, start=T0, duration=timedelta(hours=5), supply=SUPPLY, running=RUNNING
    )

    assert all(step.limit_w is not None and step.limit_w <= cap for step in capped(steps, cap))


@settings(max_examples=40)
@given(st.lists(profiles(), max_size=5))
def test_a_schedule_does_not_differ_from_itself(installed):
    steps = composite(
        installed, evse_id=1, start=T0, duration=timedelta(hours=5), supply=SUPPLY, running=RUNNING
    )

    assert not differences(steps, steps, start=T0, end=T0 + timedelta(hours=5), supply=SUPPLY)


@st.composite
def claims(draw):
    found = []
    for number in range(draw(st.integers(0, 12))):
        least = draw(st.sampled_from([0, 1380, 4140]))
        found.append(
            Claim(
                evse=f"E{number}",
                min_w=Decimal(least),
                max_w=Decimal(draw(st.integers(least, 150_000))),
                since=draw(st.none() | HOURS),
            )
        )
    return found


@settings(max_examples=40)
@given(claims(), st.integers(0, 400_000), st.integers(0, 400_000), st.sampled_from(Policy))
def test_shares_and_what_is_reserved_never_exceed_the_cap(wanted, cap, reserved, policy):
    """A power cap per location; each gets nothing, or its minimum up to its maximum."""
    shares = allocate(Decimal(cap), Decimal(reserved), wanted, policy)

    assert sum(shares.values()) <= max(cap - reserved, 0)
    for claim in wanted:
        share = shares[claim.evse]
        assert share == 0 or claim.min_w <= share <= claim.max_w


def rank(claim):
    return claim.since, claim.evse


@settings(max_examples=40)
@given(claims(), st.integers(0, 400_000))
def test_first_come_never_gives_a_later_one_what_an_earlier_one_could_use(wanted, cap):
    shares = allocate(Decimal(cap), Decimal(0), wanted, Policy.FIRST_COME)
    left = cap - sum(shares.values())
    for claim in wanted:
        if claim.since is not None and shares[claim.evse] < claim.max_w:
            earlier = [c for c in wanted if c.since is not None and rank(c) < rank(claim)]
            taken = sum(shares[c.evse] for c in earlier)
            assert cap - taken < claim.max_w
    assert left >= 0


@settings(max_examples=40)
@given(claims(), st.integers(0, 400_000))
def test_equal_leaves_nothing_that_somebody_served_could_use(wanted, cap):
    shares = allocate(Decimal(cap), Decimal(0), wanted, Policy.EQUAL)
    active = [c for c in wanted if c.since is not None]
    hungry = [c for c in active if 0 < shares[c.evse] < c.max_w]
    standby = sum(shares[c.evse] for c in wanted if c.since is None)
    level = {shares[c.evse] for c in hungry if shares[c.evse] > c.min_w}

    assert len(level) <= 1
    if hungry:
        assert cap - sum(shares.values()) + standby < len(active)


@settings(max_examples=40)
@given(claims(), claims(), st.integers(0, 400_000), st.data())
def test_however_far_a_change_gets_the_cap_holds(before, after, cap, data):
    """First who gets less; who does not obey keeps its share reserved."""
    limit = Decimal(cap)
    held = allocate(limit, Decimal(0), before, Policy.EQUAL)
    here = [c for c in after if c.evse in held]
    targets = allocate(limit, sum((w for e, w in held.items() if e not in {c.evse for c in here}),
                                  Decimal(0)), here, Policy.EQUAL)  # fmt: skip
    steps = plan(targets, held)
    for evse, share in steps.lower.items():
        if data.draw(st.booleans()):
            held[evse] = share

    for evse, share in affordable(limit, held, steps.raise_).items():
        held[evse] = share

    assert sum(held.values()) <= limit

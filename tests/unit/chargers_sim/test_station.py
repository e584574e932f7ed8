"""The pure parts: car, meter, charging profiles, state machine."""

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargers_sim.car import MJ_PER_WH, Battery, Car, Plan, Segment
from chargers_sim.errors import BadInput, NotPossible
from chargers_sim.happenings import Charged, StatusChanged
from chargers_sim.meter import Meter
from chargers_sim.outlet import Reservation, Token
from chargers_sim.profiles import Limit, Profile, Profiles
from chargers_sim.station import Model
from chargers_sim.template import OutletPlan, Template, load_template, read_template, templates

T0 = 1_767_225_600_000
TAG = Token("TAG1")


def model(*outlets: OutletPlan) -> Model:
    made = Model(Template(outlets=outlets or (OutletPlan(evse=1),)).build("SN"))
    made.run_to(T0)
    return made


def kinds(made: Model) -> list[str]:
    return [
        h.status if isinstance(h, StatusChanged) else f"{h.kind}:{h.trigger}"
        for h in made.drain()
        if isinstance(h, StatusChanged | Charged)
    ]


@given(
    wh=st.integers(1, 100_000),
    seconds=st.integers(1, 20_000),
    cuts=st.lists(st.integers(1, 3_600_000), max_size=20),
)
def test_a_plan_gives_its_energy_however_time_is_cut(wh, seconds, cuts) -> None:
    plan = Plan([Segment(seconds=Decimal(seconds), wh=Decimal(wh))])
    taken = sum(plan.take(cut, None) for cut in cuts) + plan.take(seconds * 1000, None)

    assert taken == wh * MJ_PER_WH


@given(wh=st.integers(1, 50_000), seconds=st.integers(1, 7200), offer=st.integers(500, 22_000))
def test_a_limited_plan_takes_longer_and_gives_the_same(wh, seconds, offer) -> None:
    plan = Plan([Segment(seconds=Decimal(seconds), wh=Decimal(wh))])
    taken = passed = 0
    while not plan.finished:
        step = plan.next_change_ms(offer)
        taken += plan.take(step, offer)
        passed += step

    assert taken == wh * MJ_PER_WH
    assert passed >= seconds * 1000


def test_a_battery_ramps_tapers_and_stops_when_full() -> None:
    battery = Battery(Car(battery_wh=10_000, soc=Decimal(50), max_power_w=10_000))
    powers = []
    while battery.wants == "Charging":
        powers.append(battery.power_w(None))
        battery.take(10_000, None)

    assert powers[0] == 1_000
    assert max(powers) == 10_000
    assert powers[-1] < 2_000
    assert battery.soc == 100


def test_readings_are_the_same_for_the_same_seed() -> None:
    def volts(seed: int) -> list[Decimal]:
        meter = Meter(noise=random.Random(seed))
        return [s.value for s in meter.read(["Voltage"], power_w=0, offered_w=None, soc=None)]

    assert volts(7) == volts(7)
    assert volts(7) != volts(8)


def test_a_register_in_kwh_with_decimals_is_the_same_energy() -> None:
    meter = Meter(register_unit="kWh", decimals=3)
    meter.set_register_wh(Decimal("1234567.890"))
    (sample,) = meter.read(["Energy.Active.Import.Register"], power_w=0, offered_w=None, soc=None)

    assert (sample.value, sample.unit) == (Decimal("1234.56789"), "kWh")


def test_plug_first_and_token_first_both_start() -> None:
    plug_first, token_first = model(), model()
    plug_first.plug(1, T0)
    plug_first.authorize(1, TAG, T0)
    token_first.authorize(1, TAG, T0)
    token_first.plug(1, T0)

    assert "Started:Authorized" in kinds(plug_first)
    assert "Started:CablePluggedIn" in kinds(token_first)


def test_a_token_is_forgotten_when_no_car_comes() -> None:
    made = model()
    made.authorize(1, TAG, T0)
    made.run_to(T0 + 61_000)

    assert made.status(made.outlet(1)) == "Available"


def test_two_plugs_of_one_evse_exclude_each_other() -> None:
    made = model(OutletPlan(evse=1, connector=1), OutletPlan(evse=1, connector=2))
    made.plug(1, T0)

    assert made.status(made.outlet(2)) == "Unavailable"
    with pytest.raises(NotPossible, match="other plug"):
        made.plug(2, T0)


def test_availability_waits_for_the_end_of_a_transaction() -> None:
    made = model()
    made.plug(1, T0)
    made.authorize(1, TAG, T0)

    assert made.set_operative(1, T0, operative=False) is False
    made.stop(1, T0 + 1000)
    assert made.status(made.outlet(1)) == "Unavailable"


def test_a_reservation_expires_and_frees_the_outlet() -> None:
    made = model()
    made.reserve(1, Reservation(number=5, token="TAG1", expires_ms=T0 + 5_000), T0)
    assert made.status(made.outlet(1)) == "Reserved"
    made.run_to(T0 + 5_000)

    assert made.status(made.outlet(1)) == "Available"


def test_a_jammed_lock_is_told() -> None:
    made = model()
    made.outlet(1).lock_works = False

    assert made.unlock(1, T0) is False


@pytest.mark.parametrize("step", [1_000, 7_777, 60_000, 3_600_000])
def test_time_may_pass_in_any_steps(step) -> None:
    """Samples come at their instants and the register does not care how time is cut."""
    made = model()
    made.plug(1, T0)
    made.authorize(1, TAG, T0)
    made.give(1, Plan([Segment(seconds=Decimal(3600), wh=Decimal(12_345))]), T0)
    made.drain()
    at = T0
    while at < T0 + 3_600_000:
        at = min(at + step, T0 + 3_600_000)
        made.run_to(at)
    samples = [h for h in made.drain() if isinstance(h, Charged) and h.reading]

    assert made.outlet(1).meter.register_wh() == 12_345
    assert [s.at_ms - T0 for s in samples] == [60_000 * n for n in range(1, 61)]


def profile(number: int, purpose: str, stack: int, watts: int | None, **more: object) -> Profile:
    return Profile(
        number=number,
        outlet=more.pop("outlet", 0),
        purpose=purpose,
        stack=stack,
        kind=more.pop("kind", "Absolute"),
        unit="W",
        limits=[Limit(start_s=0, value=None if watts is None else Decimal(watts))],
        start_ms=T0 - 1000,
        **more,
    )


def test_the_higher_stack_wins_and_the_station_limit_caps() -> None:
    made = model()
    profiles = Profiles(made.transactions)
    made.plug(1, T0)
    made.authorize(1, TAG, T0)
    profiles.install(profile(1, "TxDefault", 0, 3_000))
    profiles.install(profile(2, "TxDefault", 1, 9_000))
    assert profiles.limit_w(made.outlet(1), T0)[0] == 9_000
    profiles.install(profile(3, "Station", 0, 5_000))
    assert profiles.limit_w(made.outlet(1), T0)[0] == 5_000
    profiles.install(profile(4, "Tx", 0, 1_000, outlet=1))

    assert profiles.limit_w(made.outlet(1), T0)[0] == 1_000


def test_a_daily_profile_comes_back_each_day() -> None:
    made = model()
    profiles = Profiles(made.transactions)
    daily = profile(1, "TxDefault", 0, 2_000, kind="Recurring", recurrence="Daily")
    daily.duration_s = 3600
    profiles.install(daily)
    outlet = made.outlet(1)

    assert profiles.limit_w(outlet, T0)[0] == 2_000
    assert profiles.limit_w(outlet, T0 + 7_200_000)[0] is None
    assert profiles.limit_w(outlet, T0 + 86_400_000)[0] == 2_000


def test_all_templates_load() -> None:
    made = {name: load_template(name) for name in templates()}

    assert len(made) >= 8
    assert all(t.outlets for t in made.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"\nsampled = ["Grid.Mood"]', r"t\.toml:2: sampled: unknown measurand"),
        ('name = "x"\n\nheight = 3', r"t\.toml:3: unknown field 'height'"),
        ('name = "x"\n[[outlets]]\nconnector = 1', r"t\.toml:2: outlets: evse is missing"),
        ('sample_seconds = "x"', r"t\.toml:1: sample_seconds"),
        ('signs = "wax"', r"t\.toml:1: signs"),
        ("name =", r"t\.toml"),
    ],
)
def test_a_broken_template_is_refused_with_file_line_and_field(text, said) -> None:
    with pytest.raises(BadInput, match=said):
        read_template(text, "t.toml")

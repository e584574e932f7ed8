"""Codecs there and back: whatever the operator may enter and a charge may come to."""

import json
import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocpi_charges import NOON, STAMP, cdr, session, tariff, token

from chargers_sim.emsp.strict import tables
from cpo.domain import site_checks as words
from cpo.domain.location import Location, location_document, parse_location
from cpo.domain.periods import Period
from cpo.errors import Invalid, NotFound
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import Codec, Quirks, Stamps
from cpo.ocpi.dialects import DIALECTS

V211, V221, V230 = (DIALECTS[version].codec for version in ("2.1.1", "2.2.1", "2.3.0"))
each_version = pytest.mark.parametrize(
    "codec", [pytest.param(d.codec, id=d.version) for d in DIALECTS.values()]
)
moderate = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# --- what an operator may enter -----------------------------------------------------------------

ids = st.text(string.ascii_letters + string.digits + "*-_/# .", min_size=1, max_size=36)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda at: at.replace(microsecond=0).isoformat() + "Z"
)


def texts(most: int, least: int = 1) -> st.SearchStrategy[str]:
    printable = st.characters(exclude_categories=("Cc", "Cs"))
    return st.text(printable, min_size=least, max_size=most)


def word(values: frozenset[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(values))


def words_of(values: frozenset[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(word(values), max_size=3, unique=True)


amounts = st.decimals(0, 10_000, places=4)
urls = st.just("https://cpo.example/a?b=c")
display_texts = st.lists(
    st.fixed_dictionaries({"language": st.sampled_from(["en", "de"]), "text": texts(512)}),
    max_size=2,
)
images = st.lists(
    st.fixed_dictionaries(
        {"url": urls, "category": word(words.IMAGE_CATEGORIES), "type": st.just("png")},
        optional={"width": st.integers(1, 99_999), "thumbnail": urls},
    ),
    max_size=2,
)
points = st.fixed_dictionaries(
    {
        "latitude": st.decimals(-90, 90, places=6).map(str),
        "longitude": st.decimals(-180, 180, places=7).map(lambda value: f"{value:f}"),
    }
)
businesses = st.fixed_dictionaries({"name": texts(100)}, optional={"website": urls})
connectors = st.fixed_dictionaries(
    {
        "id": ids,
        "standard": word(words.CONNECTOR_STANDARDS),
        "format": word(words.CONNECTOR_FORMATS),
        "power_type": word(words.POWER_TYPES),
        "max_voltage": st.integers(1, 1500),
        "max_amperage": st.integers(1, 3000),
    },
    optional={
        "max_electric_power": st.integers(1, 4_000_000),
        "tariff_ids": st.lists(ids, max_size=3),
        "terms_and_conditions": urls,
        "capabilities": words_of(words.CONNECTOR_CAPABILITIES),
    },
)
evses = st.fixed_dictionaries(
    {
        "uid": ids,
        "connectors": st.lists(
            connectors, min_size=1, max_size=3, unique_by=lambda one: one["id"].casefold()
        ),
    },
    optional={
        "evse_id": ids,
        "status": word(words.STATUSES),
        "capabilities": words_of(words.CAPABILITIES),
        "floor_level": texts(4),
        "coordinates": points,
        "physical_reference": texts(16),
        "directions": display_texts,
        "parking_restrictions": words_of(words.PARKING_RESTRICTIONS),
        "images": images,
        "accepted_service_providers": st.lists(texts(50), max_size=2),
    },
)
bodies = st.fixed_dictionaries(
    {
        "id": ids,
        "country_code": st.sampled_from(["NL", "DE"]),
        "party_id": st.sampled_from(["CPO", "X1Y"]),
        "publish": st.just(True),
        "address": texts(255),
        "city": texts(45),
        "country": st.sampled_from(["NLD", "DEU"]),
        "coordinates": points,
        "time_zone": st.sampled_from(["Europe/Amsterdam", "UTC", "America/St_Johns"]),
    },
    optional={
        "name": texts(255),
        "postal_code": texts(10),
        "state": texts(45),
        "parking_type": word(words.PARKING_TYPES),
        "operator": businesses,
        "owner": businesses,
        "facilities": words_of(words.FACILITIES),
        "directions": display_texts,
        "charging_when_closed": st.booleans(),
        "images": images,
        "opening_times": st.just({"twentyfourseven": True}),
        "energy_mix": st.fixed_dictionaries(
            {"is_green_energy": st.booleans()},
            optional={
                "energy_sources": st.lists(
                    st.fixed_dictionaries(
                        {
                            "source": word(words.ENERGY_SOURCES),
                            "percentage": st.decimals(0, 50, places=2),
                        }
                    ),
                    max_size=2,
                    unique_by=lambda one: one["source"],
                ),
                "environ_impact": st.lists(
                    st.fixed_dictionaries(
                        {"category": word(words.ENVIRONMENTAL_IMPACTS), "amount": amounts}
                    ),
                    max_size=2,
                    unique_by=lambda one: one["category"],
                ),
            },
        ),
        "help_phone": st.just("+31 10 123"),
        "evses": st.lists(
            evses,
            max_size=3,
            unique_by=(lambda one: one["uid"].casefold(), lambda one: one.get("evse_id", id(one))),
        ),
    },
)


def parsed(body: dict[str, Any]) -> Location | None:
    try:
        return parse_location(body)
    except Invalid as refused:
        # Public ids that differ by case only are the one thing these bodies may get wrong.
        if "occurs twice" not in refused.problem:
            raise
        return None


@moderate
@given(bodies)
def test_what_the_operator_entered_is_kept_without_loss(body: dict[str, Any]) -> None:
    location = parsed(body)
    if location is not None:
        document = location_document(location)
        stored = exact_json.decode(exact_json.encode(document))

        assert parse_location(stored) == location


@moderate
@given(bodies)
def test_what_was_accepted_is_valid_for_partners(body: dict[str, Any]) -> None:
    """Promise 7: nothing the operator may enter is held back later, in 2.2.1 and 2.3.0."""
    location = parsed(body)
    if location is None:
        return
    stamps = Stamps(location=STAMP)
    for codec in (V221, V230):
        assert codec.location(location, statuses={}, stamps=stamps).problems == ()
    held_back = V211.location(location, statuses={}, stamps=stamps).problems
    assert {problem.field for problem in held_back} <= {"postal_code"}


@moderate
@given(bodies)
def test_2_3_0_says_all_that_the_operator_entered(body: dict[str, Any]) -> None:
    location = parsed(body)
    if location is None:
        return
    statuses = {evse.uid: evse.operator_status or "AVAILABLE" for evse in location.evses}

    rendered = V230.location(location, statuses=statuses, stamps=Stamps(location=STAMP))

    assert rendered.left_out == ()
    assert parse_location(exact_json.decode(rendered.text)) == location


@moderate
@given(bodies)
def test_another_hand_finds_nothing_wrong_with_a_location(body: dict[str, Any]) -> None:
    """Promise 7, by the checks of the eMSP double, which shares no code with us."""
    location = parsed(body)
    if location is None:
        return
    stamps = Stamps(location=STAMP)
    for version, dialect in DIALECTS.items():
        rendered = dialect.codec.location(location, statuses={}, stamps=stamps)
        if not rendered.problems:
            assert (
                tables(version).check("Location", json.loads(rendered.text, parse_float=Decimal))
                == []
            )


# --- what a charge may come to ------------------------------------------------------------------

exact = st.decimals(0, 100_000, places=6)
periods = st.lists(
    st.builds(
        Period,
        started_at=st.integers(0, 10**6).map(lambda s: NOON + timedelta(seconds=s)),
        energy_wh=exact,
        time_s=exact,
        parking_s=exact,
    ),
    min_size=1,
    max_size=20,
).map(tuple)


@each_version
@moderate
@given(periods)
def test_periods_add_up_to_the_totals(codec: Codec, cut: tuple[Period, ...]) -> None:
    """Promise 6"""
    energy_wh = sum((period.energy_wh for period in cut), Decimal(0))

    document = exact_json.decode(codec.cdr(cdr(periods=cut, energy_wh=energy_wh)).text)
    running = exact_json.decode(codec.session(session(periods=cut, energy_wh=energy_wh)).text)

    def total(*dimensions: str) -> Decimal:
        return sum(
            (
                one["volume"]
                for period in document["charging_periods"]
                for one in period["dimensions"]
                if one["type"] in dimensions
            ),
            Decimal(0),
        )

    assert running["charging_periods"] == document["charging_periods"]
    assert running["kwh"] == document["total_energy"] == total("ENERGY")
    assert abs(document["total_energy"] - energy_wh / 1000) <= Decimal("0.00005")
    assert document["total_time"] == total("TIME", "PARKING_TIME")
    assert document.get("total_parking_time", 0) == total("PARKING_TIME")
    assert all(
        one["volume"] >= 0
        for period in document["charging_periods"]
        for one in period["dimensions"]
    )


@pytest.mark.parametrize("version", sorted(DIALECTS))
@moderate
@given(periods, st.booleans())
def test_another_hand_finds_nothing_wrong_with_a_charge(
    version: str, cut: tuple[Period, ...], whole_cents: bool
) -> None:
    """Promise 7, by the checks of the eMSP double."""
    codec, check = DIALECTS[version].codec, tables(version).check
    quirks = Quirks(currency_decimals=whole_cents)
    energy_wh = sum((period.energy_wh for period in cut), Decimal(0))
    final = codec.cdr(cdr(periods=cut, energy_wh=energy_wh), quirks)
    running = codec.session(session(periods=cut, energy_wh=energy_wh), quirks)
    changed = codec.session_patch(session(periods=cut, energy_wh=energy_wh), quirks)

    assert final.problems == running.problems == changed.problems == ()
    assert check("CDR", json.loads(final.text, parse_float=Decimal)) == []
    assert check("Session", json.loads(running.text, parse_float=Decimal)) == []
    assert check("Session", json.loads(changed.text, parse_float=Decimal), partial=True) == []
    assert check("Tariff", json.loads(codec.tariff(tariff()).text, parse_float=Decimal)) == []
    assert check("Token", json.loads(codec.token(token()).text)) == []


# --- what partners may send ---------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=12)
            | st.sampled_from(["token", "roles", "url", "endpoints", "location"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = sorted(set(exact_json.decode(V230.token(token()).text)))
mangled_tokens = st.dictionaries(st.sampled_from(NAMES), json_values, max_size=4).map(
    lambda changes: exact_json.decode(V230.token(token()).text) | changes
)


@each_version
@moderate
@given(json_values | mangled_tokens)
def test_a_reader_raises_nothing_but_invalid(codec: Codec, data: Any) -> None:
    """No 5xx for any input."""
    readers = [
        codec.read_versions,
        codec.read_version_details,
        codec.read_credentials,
        lambda value: codec.read_token(value, owner=("DE", "EMP")),
        lambda value: codec.read_tokens(value, owner=("DE", "EMP")),
        lambda value: codec.read_token_patch(value, token()),
        codec.read_authorization_info,
        codec.read_charging_preferences,
        codec.read_set_charging_profile,
        codec.read_client_info,
        *(
            lambda value, name=name: codec.read_command(name, value, owner=("DE", "EMP"))
            for name in ("START_SESSION", "STOP_SESSION", "RESERVE_NOW", "UNLOCK_CONNECTOR")
        ),
    ]
    for read in readers:
        try:
            read(data)
        except (Invalid, NotFound):
            continue


@moderate
@given(json_values, bodies, st.data())
def test_a_location_that_cannot_be_read_raises_nothing_but_invalid(
    anything: Any, body: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(body)))
    for value in (anything, body | {name: anything}):
        try:
            parse_location(value)
        except Invalid:
            continue


@moderate
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**18), 10**18) | amounts | texts(30, 0),
        lambda inner: st.lists(inner) | st.dictionaries(texts(5, 0), inner),
        max_leaves=10,
    )
)
def test_exact_json_is_exact(value: Any) -> None:
    """TRANS-23"""
    assert exact_json.decode(exact_json.encode(value)) == value


@moderate
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """TRANS-12"""
    try:
        exact_json.decode(raw)
    except exact_json.NotJson:
        return


@each_version
@moderate
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.booleans(),
)
def test_a_token_survives_the_trip(codec: Codec, at: datetime, valid: bool) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    known = token(valid=valid, last_updated=at)

    read = codec.read_token(
        exact_json.decode(codec.token(known).text), owner=("DE", "EMP"), partner_id="partner-1"
    )

    assert (read.uid, read.contract_id, read.valid, read.last_updated) == (
        known.uid,
        known.contract_id,
        valid,
        at,
    )

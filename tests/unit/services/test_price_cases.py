"""`cpo price` (contract section 6): what it reads, prints and refuses."""

import json
import random
from copy import deepcopy
from decimal import Decimal

import pytest

from cpo.errors import Invalid
from cpo.services.price_cases import run
from cpo.services.try_out import price_case

LISTED = {
    "time_zone": "Europe/Amsterdam",
    "tariffs": [
        {
            "id": "T1",
            "currency": "EUR",
            "elements": [
                {
                    "price_components": [
                        {"type": "ENERGY", "price": 0.45, "vat": 21, "step_size": 1},
                        {"type": "TIME", "price": 6, "vat": 21, "step_size": 60},
                    ]
                }
            ],
        }
    ],
    "session": {
        "start_date_time": "2026-01-05T10:00:00Z",
        "end_date_time": "2026-01-05T10:45:00Z",
        "charging_periods": [
            {
                "start_date_time": "2026-01-05T10:00:00Z",
                "dimensions": [
                    {"type": "ENERGY", "volume": 40},
                    {"type": "TIME", "volume": 0.75, "seconds": 2700},
                ],
            }
        ],
    },
}
RAW = {
    **LISTED,
    "session": {
        "start_date_time": "2026-01-05T10:00:00Z",
        "end_date_time": "2026-01-05T10:45:00Z",
        "meter_samples": [
            {"at": "2026-01-05T10:00:00Z", "total_kwh": 100},
            {"at": "2026-01-05T10:30:00Z", "total_kwh": 112.5},
        ],
        "power_samples": [{"at": "2026-01-05T10:00:00Z", "power_kw": 25}],
        "current_samples": [{"at": "2026-01-05T10:00:00Z", "current_a": 62.5}],
        "states": [{"at": "2026-01-05T10:30:00Z", "state": "parking"}],
    },
}


def write(tmp_path, *cases):
    paths = []
    for i, case in enumerate(cases):
        path = tmp_path / f"{i}.json"
        path.write_text(case if isinstance(case, str) else json.dumps(case))
        paths.append(str(path))
    return paths


def test_a_case_is_printed_as_one_line_of_json(tmp_path):
    outcome = run(write(tmp_path, LISTED))

    assert outcome.exit_code == 0
    (line,) = outcome.lines
    answer = json.loads(line)
    assert answer["currency"] == "EUR"
    assert answer["total_cost"] == {"excl_vat": "22.50", "incl_vat": "27.23"}
    assert answer["total_cost_unrounded"] == {"excl_vat": "22.500000", "incl_vat": "27.225000"}
    assert answer["price_limit"] is None
    assert "charging_periods" not in answer
    assert answer["lines"] == [
        {
            "dimension": "ENERGY",
            "billed_kwh": "40",
            "unit_price": "0.45",
            "vat": "21",
            "excl_vat": "18.000000",
            "incl_vat": "21.780000",
        },
        {
            "dimension": "TIME",
            "billed_seconds": "2700",
            "unit_price": "6",
            "vat": "21",
            "excl_vat": "4.500000",
            "incl_vat": "5.445000",
        },
    ]


def test_a_raw_record_also_prints_its_periods_with_exact_numbers(tmp_path):
    outcome = run(write(tmp_path, RAW))

    answer = json.loads(outcome.lines[0], parse_float=str)
    assert answer["charging_periods"] == [
        {
            "start_date_time": "2026-01-05T10:00:00Z",
            "dimensions": [
                {"type": "ENERGY", "volume": "12.5"},
                {"type": "TIME", "volume": "0.5", "seconds": 1800},
            ],
        },
        {
            "start_date_time": "2026-01-05T10:30:00Z",
            "dimensions": [{"type": "PARKING_TIME", "volume": "0.25", "seconds": 900}],
        },
    ]


def test_several_files_are_a_line_each_in_order(tmp_path):
    other = deepcopy(LISTED)
    other["tariffs"][0]["currency"] = "SEK"

    outcome = run(write(tmp_path, LISTED, other, RAW))

    assert [json.loads(line)["currency"] for line in outcome.lines] == ["EUR", "SEK", "EUR"]


def test_a_broken_file_is_named_with_its_field_and_the_others_are_priced(tmp_path):
    broken = deepcopy(LISTED)
    broken["tariffs"][0]["elements"][0]["price_components"][1]["step_size"] = -1

    paths = write(tmp_path, broken, LISTED)
    outcome = run(paths)

    assert outcome.exit_code == 2
    assert len(outcome.lines) == 1
    (error,) = outcome.errors
    assert paths[0] in error
    assert "tariffs[0].elements[0].price_components[1].step_size" in error


@pytest.mark.parametrize("text", ["", "{", "[1", "NaN", '{"a": NaN}', "\x00", "5", "null", "[]"])
def test_what_is_no_case_is_refused(tmp_path, text):
    outcome = run(write(tmp_path, text))

    assert outcome.exit_code == 2
    assert outcome.lines == ()


def test_a_file_that_is_not_there_is_named():
    outcome = run(["/nowhere/case.json"])

    assert outcome.exit_code == 2
    assert "/nowhere/case.json" in outcome.errors[0]


def without(case, *path):
    return with_(case, *path, None)


def with_(case, *path_and_value):
    *path, value = path_and_value
    changed = deepcopy(case)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


P = ("session", "charging_periods", 0)
BROKEN = [
    (without(LISTED, "time_zone"), "time_zone"),
    (with_(LISTED, "time_zone", "Mars/Olympus"), "time_zone"),
    (with_(LISTED, "time_zone", "../etc/passwd"), "time_zone"),
    (with_(LISTED, "time_zone", 5), "time_zone"),
    (without(LISTED, "tariffs"), "tariffs"),
    (with_(LISTED, "tariffs", []), "tariffs"),
    (with_(LISTED, "tariffs", 0, "currency", "XYZ"), "tariffs[0].currency"),
    (with_(LISTED, "tariffs", 0, "x"), "tariffs[0]"),
    (with_(LISTED, "tariffs", 0, "end_date_time", "2025-01-01T00:00:00Z"), "tariffs"),
    (with_(LISTED, "tariff_type", "CHEAP"), "tariff_type"),
    (without(LISTED, "session"), "session"),
    (with_(LISTED, "session", []), "session"),
    (without(LISTED, "session", "start_date_time"), "session.start_date_time"),
    (with_(LISTED, "session", "end_date_time", "soon"), "session.end_date_time"),
    (with_(LISTED, "session", "end_date_time", "2026-01-05T09:00:00Z"), "session.end_date_time"),
    (with_(LISTED, "session", "end_date_time", "2036-01-05T09:00:00Z"), "session.end_date_time"),
    (with_(LISTED, "session", "reservation_expired", "no"), "session.reservation_expired"),
    (without(LISTED, "session", "charging_periods"), "session.charging_periods"),
    (with_(LISTED, "session", "charging_periods", []), "session.charging_periods"),
    (with_(LISTED, "session", "states", []), "session.states"),
    (with_(LISTED, *P, 5), "session.charging_periods[0]"),
    (without(LISTED, *P, "start_date_time"), "session.charging_periods[0].start_date_time"),
    (
        with_(LISTED, *P, "start_date_time", "2026-01-05T09:59:59Z"),
        "session.charging_periods[0].start_date_time",
    ),
    (without(LISTED, *P, "dimensions"), "session.charging_periods[0].dimensions"),
    (with_(LISTED, *P, "dimensions", 0, 5), "session.charging_periods[0].dimensions[0]"),
    (
        without(LISTED, *P, "dimensions", 0, "volume"),
        "session.charging_periods[0].dimensions[0].volume",
    ),
    (
        with_(LISTED, *P, "dimensions", 0, "volume", -1),
        "session.charging_periods[0].dimensions[0].volume",
    ),
    (
        with_(LISTED, *P, "dimensions", 1, "seconds", "x"),
        "session.charging_periods[0].dimensions[1].seconds",
    ),
    (
        with_(LISTED, *P, "dimensions", 0, "type", "ENERGIE"),
        "session.charging_periods[0].dimensions[0].type",
    ),
    (
        with_(LISTED, *P, "dimensions", 0, "type", ["ENERGY"]),
        "session.charging_periods[0].dimensions[0].type",
    ),
    (
        with_(LISTED, *P, "dimensions", 1, "type", "ENERGY"),
        "session.charging_periods[0].dimensions[1].type",
    ),
    (with_(LISTED, *P, "dimensions", []), "session.charging_periods[0].dimensions"),
    (
        with_(LISTED, *P, "dimensions", 0, "seconds", 1800),
        "session.charging_periods[0].dimensions[0].seconds",
    ),
    (with_(RAW, "session", "meter_samples", {}), "session.meter_samples"),
    (with_(RAW, "session", "meter_samples", 0, 5), "session.meter_samples[0]"),
    (without(RAW, "session", "meter_samples", 1, "at"), "session.meter_samples[1].at"),
    (
        without(RAW, "session", "meter_samples", 1, "total_kwh"),
        "session.meter_samples[1].total_kwh",
    ),
    (
        with_(RAW, "session", "power_samples", 0, "power_kw", -5),
        "session.power_samples[0].power_kw",
    ),
    (
        with_(RAW, "session", "current_samples", 0, "current_a", "x"),
        "session.current_samples[0].current_a",
    ),
    (with_(RAW, "session", "states", 0, "state", "sleeping"), "session.states[0].state"),
]


@pytest.mark.parametrize(("case", "field"), BROKEN, ids=[field for _, field in BROKEN])
def test_a_broken_case_is_refused_with_its_field(case, field):
    with pytest.raises(Invalid) as refused:
        price_case(case)

    assert refused.value.field == field


def test_a_volume_is_billed_as_it_stands_even_where_the_session_is_shorter():
    """What a partner writes of its own session is priced; whether it can have been is its matter."""
    answer = price_case(with_(LISTED, *P, "dimensions", 1, {"type": "TIME", "volume": 2}))

    assert [line["billed_seconds"] for line in answer["lines"] if line["dimension"] == "TIME"] == [
        "7200"
    ]


JUNK = [
    None, True, -1, 0, 10**30, Decimal("1e-30"), "", "x", [], {}, [[]], [{}], {"a": 1},
    "2026-01-05T10:00:00Z", "9998-12-31T23:59:59Z", "1970-01-01T00:00:00+14:00", "00:00", "ENERGY",
]  # fmt: skip


def test_no_junk_anywhere_brings_it_down():
    rng = random.Random("junk")
    for _ in range(3000):
        case = deepcopy(rng.choice([LISTED, RAW]))
        for _ in range(rng.randint(1, 3)):
            put_somewhere(rng, case)
        try:
            price_case(case)
        except Invalid:
            continue


def put_somewhere(rng, at):
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return
        key = rng.choice(keys)
        inner = at[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.8:
            at = inner
            continue
        at[key] = deepcopy(rng.choice(JUNK))
        return

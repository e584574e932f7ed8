"""Scenarios: read, refused with their place, run, reported, traced and replayed."""

import asyncio
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from click.testing import CliRunner

from chargers_sim.cli import _run, group
from chargers_sim.errors import BadInput
from chargers_sim.live import Station
from chargers_sim.recording import Trace
from chargers_sim.recording import read as read_trace
from chargers_sim.report import junit, markdown
from chargers_sim.runner import Runner
from chargers_sim.scenario import load, mismatch, read, shipped

GOOD = """
name = "Good"
ocpp = ["1.6"]

[[steps]]
do = "plug"

[[steps]]
do = "swipe"
tag = "{tag}"

[[steps]]
expect = "event"
event = "transaction_started"
save = { id = "transactionId" }

[[steps]]
do = "charge"
kwh = 2
seconds = 600

[[steps]]
do = "stop"

[[steps]]
expect = "frame"
action = "StopTransaction"
match = { transactionId = "{id}", meterStop = ">= 2000", idTag = "~^TAG", reservationId = "-" }

[[steps]]
expect = "all-answered"

[[steps]]
expect = "emsp"
holds = "cdrs"
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[steps]]\ndo = "fly"', r"s\.toml:2: unknown step 'fly'"),
        ('[[steps]]\ndo = "plug"\nheight = 3', r"s\.toml:3: plug takes no 'height'"),
        ('[[steps]]\ndo = "swipe"', r"s\.toml:2: swipe needs 'tag'"),
        (
            '[[steps]]\ndo = "charge"\nkwh = "x"\nseconds = 1',
            r"s\.toml:3: charge\.kwh: not a Decimal",
        ),
        ('[[steps]]\nexpect = "rain"', r"s\.toml:2: expect: unknown 'rain'"),
        ('[[steps]]\nexpect = "event"\nwhen = 1', r"s\.toml:3: event takes no 'when'"),
        ('color = 1\n[[steps]]\ndo = "plug"', r"s\.toml:1: unknown field 'color'"),
        ('ocpp = ["1.5"]\n[[steps]]\ndo = "plug"', r"s\.toml:1: ocpp: unknown version"),
        ('[[steps]]\ndo = "plug"\nexpect = "event"', r"s\.toml:1: step 1 needs either"),
        ('name = "x"', "steps"),
        ("[[steps", r"s\.toml"),
    ],
)
def test_a_wrong_scenario_is_refused_with_file_line_and_field(text, said) -> None:
    with pytest.raises(BadInput, match=said):
        read(text, "s.toml")


def test_all_shipped_scenarios_are_valid_and_cover_the_commissioning_set() -> None:
    names = set(shipped())

    assert all(load(name).steps for name in names)
    assert {
        "commissioning-local",
        "commissioning-remote",
        "commissioning-suspended",
        "commissioning-unlock",
        "commissioning-reset",
        "commissioning-line-lost",
        "commissioning-fault",
        "offline-hour",
        "power-loss",
        "wrong-meter",
        "repeated-stop",
        "clock-jump",
        "reservation",
        "smart-charging",
        "certificate-renewal",
    } <= names


@pytest.mark.parametrize(
    ("wanted", "got", "good"),
    [
        ({"a.b": 5}, {"a": {"b": "5.0"}}, True),
        ({"a.0.b": "x"}, {"a": [{"b": "x"}]}, True),
        ({"a": ">= 3"}, {"a": 2}, False),
        ({"a": "< 3"}, {"a": 2}, True),
        ({"a": "!= 3"}, {"a": 3}, False),
        ({"a": "~^x.z$"}, {"a": "xyz"}, True),
        ({"a": "-"}, {}, True),
        ({"a": "*"}, {}, False),
        ({"a": True}, {"a": "true"}, True),
    ],
)
def test_values_are_compared_as_a_reader_would(wanted, got, good) -> None:
    assert (mismatch(wanted, got) is None) is good


async def test_a_scenario_runs_and_what_cannot_be_seen_is_skipped(system) -> None:
    scenario = read(GOOD, "good.toml")
    verdict = await Runner(scenario, Station(system.url, "CP1")).run()

    assert verdict.passed
    assert [r.outcome for r in verdict.results] == ["passed"] * 7 + ["skipped"]


async def test_a_failed_expectation_says_what_was_found_and_stops(system) -> None:
    text = GOOD.replace(">= 2000", ">= 9000")
    verdict = await Runner(read(text, "bad.toml"), Station(system.url, "CP1"), patience=2).run()

    failed = verdict.results[-1]
    assert not verdict.passed
    assert failed.outcome == "failed"
    assert failed.detail == "StopTransaction out: meterStop is 2000, expected >= 9000"
    assert len(verdict.results) == 6


async def test_reports_are_valid_junit_and_readable_markdown(system) -> None:
    good = await Runner(read(GOOD, "good.toml"), Station(system.url, "CP1")).run()
    text = GOOD.replace('name = "Good"', 'name = "Bad <&>"').replace(">= 2000", ">= 9000")
    bad = await Runner(read(text, "bad.toml"), Station(system.url, "CP2"), patience=2).run()

    suites = ET.fromstring(junit([good, bad]))
    said = markdown([good, bad])
    assert suites.attrib["failures"] == "1"
    assert [s.attrib["name"] for s in suites] == ["Good [1.6]", "Bad <&> [1.6]"]
    assert suites[1].find("testcase/failure") is not None
    assert "| Good | 1.6 | passed, 1 skipped | 8 |" in said
    assert "**FAILED**" in said


async def test_an_unreachable_server_is_a_failed_verdict(system) -> None:
    system.passwords["CP1"] = "secret"
    station = Station(system.url, "CP1", connect_timeout=4)
    verdict = await Runner(read(GOOD, "good.toml"), station).run()

    assert not verdict.passed
    assert "401" in str(verdict.problem)


async def test_a_trace_is_written_read_and_replayed(system, tmp_path) -> None:
    import asyncio

    path = tmp_path / "frames.jsonl"
    trace = Trace.write_to(path)
    async with Station(system.url, "CP1", on_frame=trace.recorder("CP1", "1.6")) as station:
        await station.plug()
        await station.swipe("TAG1")
        await station.charge(kwh=1, seconds=120)
        await station.stop()
    trace.close()
    sent = sum(t.direction == "out" for t in read_trace(path))
    before = len(system.calls)

    arguments = ["replay", str(path), "--url", system.url, "--identity", "CP2", "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, group, arguments, standalone_mode=False)

    told = json.loads(result.output)
    stops = system.of("StopTransaction")
    assert (told["sent"], told["answered"]) == (sent, sent)
    assert len(system.calls) == before + sent
    assert len(stops) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", r"t\.jsonl:1: not JSON"),
        ('{"at": 1, "station": "A", "dir": "up", "frame": "[]"}', r"t\.jsonl:1: dir"),
        ('{"at": 1, "station": "A", "dir": "out"}', r"t\.jsonl:1: frame"),
    ],
)
def test_a_broken_trace_is_refused_with_its_line(tmp_path, line, said) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(line)
    with pytest.raises(BadInput, match=said):
        list(read_trace(path))


def test_a_server_that_is_not_there_is_no_verdict() -> None:
    """One line says what is wrong; exit 2, as for a wrong file."""
    given = ["commissioning-local", "--url", "ws://127.0.0.1:9/x", "--ocpp", "1.6"]
    done = subprocess.run(
        [sys.executable, "-m", "chargers_sim", "scenario", *given],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "cannot be reached" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("ocpp", ["1.6", "2.0.1", "2.1"])
async def test_shipped_scenarios_run_against_a_central_system_of_others(
    system, tmp_path, ocpp
) -> None:
    """A server on the public `ocpp` package, without eMSP and operator API: those are skipped."""
    names = ["commissioning-local", "commissioning-line-lost", "power-loss", "clock-jump"]
    report = tmp_path / "verdict.xml"
    given = ["--url", system.url, "--identity", "CP1", "--ocpp", ocpp, "--junit", str(report)]
    status = await asyncio.to_thread(_run, ["scenario", *names, *given])

    suites = ET.fromstring(report.read_text())
    assert status == 0
    assert len(suites) == len(names)
    assert suites.attrib["failures"] == "0"
    assert int(suites.attrib["tests"]) == sum(int(s.attrib["tests"]) for s in suites)
    assert all(int(s.attrib["skipped"]) >= 1 for s in suites)

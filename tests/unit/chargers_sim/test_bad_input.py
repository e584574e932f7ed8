"""Whatever is wrong on the command line or in a file: one clear line, exit 2, no traceback."""

import json
import re
import socket
import threading
from pathlib import Path

import pytest
import trustme

from chargers_sim.cli import _run

URL = "ws://127.0.0.1:9/ocpp"
STEP = '\n[[steps]]\ndo = "plug"\n'
OUTLET = "\n[[outlets]]\nevse = 1\n"


def said(capsys, arguments: list[str]) -> str:
    """Run the command line and give the one line it says."""
    status = _run(arguments)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err + shown.out
    lines = shown.err.splitlines()
    assert status == 2, shown
    assert len(lines) == 1, shown
    return lines[0]


SCENARIOS = [
    pytest.param('[[steps]]\ndo = "fly"', "2: unknown step 'fly'", id="unknown step"),
    pytest.param("[[steps]]\ndo = 3", "2: do: not a text", id="step no text"),
    pytest.param('[[steps]]\ndo = "plug"\nheight = 3', "3: plug takes no 'height'", id="field"),
    pytest.param('[[steps]]\ndo = "swipe"', "2: swipe needs 'tag'", id="missing argument"),
    pytest.param('[[steps]]\ndo = "swipe"\ntag = 7', "3: swipe.tag: not a text", id="tag"),
    pytest.param(
        '[[steps]]\ndo = "charge"\nkwh = "much"\nseconds = 1', "3: charge.kwh: not a", id="kwh"
    ),
    pytest.param(
        '[[steps]]\ndo = "charge"\nkwh = 1\nseconds = [1]', "4: charge.seconds: not a", id="list"
    ),
    pytest.param('[[steps]]\ndo = "charge"\nkwh = nan\nseconds = 1', "3: charge.kwh", id="nan"),
    pytest.param('[[steps]]\ndo = "charge"\nkwh = 1\nseconds = -5', "4: charge.seconds", id="-5"),
    pytest.param('[[steps]]\ndo = "plug"\nconnector = "x"', "3: plug.connector", id="connector"),
    pytest.param('[[steps]]\ndo = "plug"\nconnector = 2.5', "3: plug.connector", id="2.5"),
    pytest.param('[[steps]]\ndo = "door"\nopen = "ajar"', "3: door.open", id="door"),
    pytest.param('[[steps]]\nexpect = "rain"', "2: expect: unknown 'rain'", id="expectation"),
    pytest.param('[[steps]]\nexpect = "event"', "2: event needs 'event'", id="event needed"),
    pytest.param('[[steps]]\nexpect = "event"\nevent = 1', "3: event: not a text", id="event"),
    pytest.param(
        '[[steps]]\nexpect = "event"\nevent = "x"\nwhen = 1', "4: event takes no 'when'", id="when"
    ),
    pytest.param(
        '[[steps]]\nexpect = "event"\nevent = "x"\nmatch = "y"', "4: match: not a table", id="match"
    ),
    pytest.param(
        '[[steps]]\nexpect = "event"\nevent = "x"\nwithin = "soon"', "4: within", id="within"
    ),
    pytest.param(
        '[[steps]]\nexpect = "frame"\naction = "X"\ndirection = "up"', "4: direction", id="up"
    ),
    pytest.param('[[steps]]\nexpect = "frame"', "2: frame needs 'action'", id="action needed"),
    pytest.param('[[steps]]\nexpect = "emsp"\nholds = "cars"', "3: holds", id="holds"),
    pytest.param('[[steps]]\nexpect = "meter"', "2: meter needs 'wh'", id="wh needed"),
    pytest.param('[[steps]]\nexpect = "waiting"', "2: waiting needs 'count'", id="count needed"),
    pytest.param('[[steps]]\nexpect = "waiting"\ncount = true', "3: count", id="count"),
    pytest.param('[[steps]]\ndo = "server-call"', "2: server-call needs 'action'", id="call"),
    pytest.param(
        '[[steps]]\ndo = "server-call"\naction = "X"\npayload = 1', "4: payload", id="payload"
    ),
    pytest.param('[[steps]]\ndo = "server-start"', "2: server-start needs 'tag'", id="start"),
    pytest.param('[[steps]]\ndo = "plug"\nonly = "1.5"', "3: only: unknown version", id="only"),
    pytest.param('[[steps]]\ndo = "plug"\nsave = "id"', "3: save: not a table", id="save"),
    pytest.param('[[steps]]\ndo = "plug"\nfails = "yes"', "3: fails: not a true", id="fails"),
    pytest.param('[[steps]]\ndo = "plug"\nexpect = "event"', "1: step 1 needs either", id="both"),
    pytest.param('[[steps]]\nabout = "x"', "1: step 1 needs either", id="neither"),
    pytest.param("steps = [3]", "1: steps: step 1 is not a table", id="steps of numbers"),
    pytest.param("steps = 3", "1: steps: not a list", id="steps a number"),
    pytest.param('name = "x"', "1: steps: a scenario needs", id="no steps"),
    pytest.param("name = 3" + STEP, "1: name: not a text", id="name"),
    pytest.param("color = 1" + STEP, "1: unknown field 'color'", id="top field"),
    pytest.param('ocpp = "1.6"' + STEP, "1: ocpp: not a list", id="ocpp text"),
    pytest.param('ocpp = ["1.5"]' + STEP, "1: ocpp: unknown version '1.5'", id="version"),
    pytest.param("station = 1" + STEP, "1: station: not a table", id="station"),
    pytest.param("vars = 1" + STEP, "1: vars: not a table", id="vars"),
    pytest.param("[station]\nwheels = 4" + STEP, "2: station: unknown field", id="wheels"),
    pytest.param("[station]\nconnectors = 0" + STEP, "2: connectors: 1 to", id="no outlets"),
    pytest.param('[station]\nquirks = ["odd"]' + STEP, "2: quirks: unknown quirk", id="quirk"),
    pytest.param('[station]\ntemplate = "none"' + STEP, "none: No such file", id="template"),
    pytest.param('[station]\nresend = "never"' + STEP, "2: resend", id="resend"),
    pytest.param('[station]\nretry_seconds = "x"' + STEP, "2: retry_seconds", id="retry"),
    pytest.param("[[steps", ":1: not TOML", id="no TOML"),
    pytest.param(b"\xff\xfe\x00", "not UTF-8", id="no text"),
]


@pytest.mark.parametrize(("text", "wanted"), SCENARIOS)
def test_a_broken_scenario(capsys, tmp_path, text, wanted) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    line = said(capsys, ["scenario", str(path), "--url", URL])

    assert line.startswith("chargers-sim: ")
    assert str(path) in line or "none:" in line
    assert re.sub(r"^.*?s\.toml:\s?", "", line).startswith(wanted) or wanted in line, line


TEMPLATES = [
    pytest.param('sampled = ["Grid.Mood"]', "1: sampled: unknown measurand", id="measurand"),
    pytest.param("sampled = [3]", "1: sampled: unknown measurand", id="measurand 3"),
    pytest.param('aligned = ["Nope"]', "1: aligned: unknown measurand", id="aligned"),
    pytest.param("wheels = 4", "1: unknown field 'wheels'", id="field"),
    pytest.param("vendor = 4", "1: vendor:", id="vendor"),
    pytest.param('power_unit = "hp"', "1: power_unit: W or kW", id="unit"),
    pytest.param('register_unit = "J"', "1: register_unit: Wh or kWh", id="register"),
    pytest.param('signs = "pen"', "1: signs: ocmf", id="signs"),
    pytest.param('register_wh = "full"', "1: register_wh", id="register_wh"),
    pytest.param('power_factor = "x"', "1: power_factor", id="power factor"),
    pytest.param("sample_seconds = -1", "1: sample_seconds", id="sample"),
    pytest.param("multiplier = 40", "1: multiplier", id="multiplier"),
    pytest.param('quirks = ["odd"]', "1: quirks: unknown quirk 'odd'", id="quirk"),
    pytest.param("outlets = [3]", "1: outlets: not a table", id="outlet a number"),
    pytest.param("outlets = []", "1: outlets: a station needs", id="no outlets"),
    pytest.param("[[outlets]]\nphases = 3", "1: outlets: evse is missing", id="evse"),
    pytest.param("[[outlets]]\nevse = 0", "2: evse", id="evse 0"),
    pytest.param("[[outlets]]\nevse = 1\nphases = 7", "3: phases", id="phases"),
    pytest.param("[[outlets]]\nevse = 1\nmax_power_w = 0", "3: max_power_w", id="power"),
    pytest.param("[[outlets]]\nevse = 1\ncolor = 7", "3: unknown field 'color'", id="color"),
    pytest.param("[configuration]\nA = 3", "2: configuration: A", id="configuration"),
    pytest.param("name = ", ":1: not TOML", id="no TOML"),
    pytest.param(b"\xff\xfe", "not UTF-8", id="no text"),
]


@pytest.mark.parametrize(("text", "wanted"), TEMPLATES)
def test_a_broken_template(capsys, tmp_path, text, wanted) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    line = said(capsys, ["run", "--url", URL, "--identity", "CP1", "--template", str(path)])

    assert line.startswith(f"chargers-sim: {path}:")
    assert wanted in line, line


RUN = ["run", "--url", URL, "--identity", "CP1"]
FLEET = ["fleet", "--url", URL, "--stations", "1"]
ARGUMENTS = [
    pytest.param(["dance"], "dance", id="unknown command"),
    pytest.param(["run"], "--url", id="run without url"),
    pytest.param(["run", "--url", URL], "--identity", id="run without identity"),
    pytest.param(["run", "--url", "http://x", "--identity", "A"], "ws://", id="http"),
    pytest.param(["run", "--url", "ws://", "--identity", "A"], "--url", id="no host"),
    pytest.param(["run", "--url", "ws://x:99999", "--identity", "A"], "--url", id="no port"),
    pytest.param([*RUN, "--ocpp", "1.5"], "1.5", id="version"),
    pytest.param([*RUN, "--quirk", "odd"], "--quirk: unknown quirk 'odd'", id="quirk"),
    pytest.param([*RUN, "--quirk", "q26"], "is a quirk of OCPP", id="quirk of another version"),
    pytest.param([*RUN, "--fault", "do=explode"], "--fault", id="fault"),
    pytest.param([*RUN, "--fault", "times=x,do=drop"], "--fault: times", id="fault times"),
    pytest.param([*RUN, "--fault", "action=X"], "do= is missing", id="fault without do"),
    pytest.param([*RUN, "--fault", "do=drop,chance=7"], "--fault", id="fault chance"),
    pytest.param([*RUN, "--charge", "kwh=1"], "--charge needs seconds=", id="charge"),
    pytest.param([*RUN, "--charge", "kwh=1,seconds=x"], "--charge", id="charge seconds"),
    pytest.param([*RUN, "--charge", "kwh=1,seconds=1,idle=x"], "--charge", id="charge idle"),
    pytest.param([*RUN, "--charge", "kwh=1,seconds=1,connector=x"], "--charge", id="connector"),
    pytest.param([*RUN, "--script", "fly"], "--script: step 1: unknown step", id="script"),
    pytest.param([*RUN, "--script", "plug a"], "is not name=value", id="script word"),
    pytest.param([*RUN, "--script", "plug 'a"], "--script: step 1", id="script quote"),
    pytest.param([*RUN, "--script", "@/no/such"], "/no/such", id="script file"),
    pytest.param([*RUN, "--template", "none"], "templates are", id="template name"),
    pytest.param([*RUN, "--speed", "0"], "--speed", id="speed"),
    pytest.param([*RUN, "--reconnect", "-1"], "--reconnect", id="reconnect"),
    pytest.param([*RUN, "--cut", "3"], "--cut", id="cut"),
    pytest.param([*RUN, "--connectors", "0"], "--connectors", id="connectors"),
    pytest.param([*RUN, "--ca", "/no/such"], "--ca: only for wss://", id="ca over ws"),
    pytest.param([*RUN, "--trace", "/no/such/t"], "--trace", id="trace"),
    pytest.param([*RUN, "--journal", "/no/such/j"], "/no/such/j", id="journal"),
    pytest.param([*RUN, "--control", "70000"], "--control", id="control"),
    pytest.param([*FLEET, "--ocpp", "9"], "--ocpp", id="fleet version"),
    pytest.param([*FLEET, "--identity", "{x}"], "--identity", id="fleet identity"),
    pytest.param([*FLEET, "--charging", "2"], "--charging", id="fleet charging"),
    pytest.param([*FLEET, "--stations", "0"], "--stations", id="fleet stations"),
    pytest.param([*FLEET, "--seconds", "-1"], "--seconds", id="fleet seconds"),
    pytest.param([*FLEET, "--speed", "0"], "--speed", id="fleet speed"),
    pytest.param([*FLEET, "--ramp", "-1"], "--ramp", id="fleet ramp"),
    pytest.param([*FLEET, "--duration", "0"], "--duration", id="fleet duration"),
    pytest.param([*FLEET, "--sample", "-1"], "--sample", id="fleet sample"),
    pytest.param(["scenario"], "name a FILE.toml", id="scenario without file"),
    pytest.param(["scenario", "commissioning"], "--url is needed", id="scenario without url"),
    pytest.param(["scenario", "none", "--url", URL], "shipped are", id="scenario name"),
    pytest.param(["scenario", "offline-hour", "--url", URL, "--ocpp", "9"], "--ocpp", id="ocpp"),
    pytest.param(["scenario", "offline-hour", "--url", URL, "--var", "x"], "--var", id="var"),
    pytest.param(
        ["scenario", "offline-hour", "--url", URL, "--junit", "/no/such/j.xml"],
        "--junit",
        id="junit",
    ),
    pytest.param(
        ["scenario", "offline-hour", "--url", URL, "--markdown", "/no/such/m"],
        "--markdown",
        id="md",
    ),
    pytest.param(
        ["scenario", "offline-hour", "--url", URL, "--emsp", "127.0.0.1:1"], "--emsp", id="emsp"
    ),
    pytest.param(
        ["scenario", "offline-hour", "--url", URL, "--emsp", "http://127.0.0.1:9"],
        "the eMSP double",
        id="emsp away",
    ),
    pytest.param(["replay", "/no/such", "--url", URL], "/no/such: No such file", id="trace file"),
    pytest.param(["send", "fly"], "send: step 1: unknown step 'fly'", id="send step"),
    pytest.param(["send", "plug", "--control", "nonsense"], "--control", id="send control"),
    pytest.param(["show", "cars"], "cars", id="show"),
    pytest.param(["contract"], "name an EMAID", id="contract"),
    pytest.param(["contract", "X", "--folder", "/proc/x"], "/proc/x", id="contract folder"),
    pytest.param(["emsp", "--party", "Netherlands"], "is not like NL/MSP", id="party"),
    pytest.param(["emsp", "--dialect", "colour=blue"], "colour", id="dialect"),
    pytest.param(["emsp", "--ocpi", "3.0"], "3.0", id="OCPI version"),
    pytest.param(["emsp", "--port", "70000"], "--port", id="emsp port"),
    pytest.param(["emsp", "--versions-url", "http://x"], "belong together", id="emsp token"),
]


@pytest.mark.parametrize(("arguments", "wanted"), ARGUMENTS)
def test_wrong_arguments(capsys, arguments, wanted) -> None:
    assert wanted in said(capsys, arguments)


TRACES = [
    pytest.param("nonsense", "t.jsonl:1: not JSON", id="no JSON"),
    pytest.param('{"at": 1, "station": "A", "dir": "up", "frame": "[]"}', ":1: dir", id="dir"),
    pytest.param('{"at": 1, "station": "A", "dir": "out"}', ":1: frame", id="no frame"),
    pytest.param("[]", ":1: at", id="a list"),
    pytest.param("", "--station is needed", id="empty"),
    pytest.param(b"\xff", "not UTF-8", id="no text"),
]


@pytest.mark.parametrize(("text", "wanted"), TRACES)
def test_a_broken_trace(capsys, tmp_path, text, wanted) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    assert wanted in said(capsys, ["replay", str(path), "--url", URL])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("{", "not a state file", id="no JSON"),
        pytest.param("[]", "not a state file", id="a list"),
        pytest.param(
            '{"version": 1, "identity": "CP2"}', "the state of another station", id="other"
        ),
        pytest.param('{"version": 1, "identity": "CP1"}', "not a state file", id="half"),
    ],
)
def test_a_broken_state_file(capsys, tmp_path, text, wanted) -> None:
    path = tmp_path / "cp1.json"
    path.write_text(text)

    line = said(capsys, [*RUN, "--state", str(path), "--script", "plug"])
    assert str(path) in line
    assert wanted in line


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    other = trustme.CA(key_type=trustme.KeyType.ECDSA)
    own = other.issue_cert(common_name="CP1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "own.pem"))
    own.private_key_pem.write_to_path(str(folder / "own.key"))
    other.private_key_pem.write_to_path(str(folder / "other.key"))
    (folder / "junk.pem").write_text("junk")
    return folder


WSS = ["--url", "wss://127.0.0.1:9/ocpp", "--identity", "CP1"]


@pytest.mark.parametrize("command", ["run", "tui", "scenario"])
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param(["--ca", "junk.pem"], "junk.pem: not a CA certificate", id="ca"),
        pytest.param(["--ca", "none.pem"], "none.pem: not a CA certificate", id="ca absent"),
        pytest.param(
            ["--certificate", "own.pem", "--key", "other.key"],
            "own.pem: not a certificate",
            id="key",
        ),
        pytest.param(["--certificate", "junk.pem"], "junk.pem: not a certificate", id="junk"),
        pytest.param(["--key", "own.key"], "--certificate, which is missing", id="key alone"),
    ],
)
def test_a_wrong_certificate(capsys, certificates, command, options, wanted) -> None:
    given = [str(certificates / o) if o.endswith((".pem", ".key")) else o for o in options]
    named = ["commissioning-local"] if command == "scenario" else []

    assert wanted in said(capsys, [command, *named, *WSS, *given])


class Refusing:
    """A server that says one thing to everybody and hangs up."""

    def __init__(self, answer: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.url = f"ws://127.0.0.1:{self._socket.getsockname()[1]}/ocpp"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)

    def close(self) -> None:
        # Only a shutdown wakes the thread that waits in accept.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.mark.parametrize("command", ["run", "scenario", "replay"])
@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        pytest.param(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", "401", id="401"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404", id="404"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "200", id="no websocket"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "refused the handshake", id="ssh"),
        pytest.param(b"", "refused the handshake", id="hangs up"),
    ],
)
def test_a_server_that_refuses(capsys, tmp_path, command, answer, wanted) -> None:
    frame = json.dumps([2, "1", "Heartbeat", {}])
    trace = tmp_path / "t.jsonl"
    trace.write_text(json.dumps({"at": 1, "station": "A", "dir": "out", "frame": frame}) + "\n")
    server = Refusing(answer)
    try:
        arguments = {
            "run": ["run", "--identity", "A", "--connect-timeout", "1", "--reconnect", "30"],
            "scenario": ["scenario", "offline-hour", "--ocpp", "1.6", "--patience", "0.5"],
            "replay": ["replay", str(trace)],
        }[command]
        status = _run([*arguments, "--url", server.url])
    finally:
        server.close()
    shown = capsys.readouterr()

    assert status == 2
    assert "Traceback" not in shown.out + shown.err
    assert [line for line in (shown.out + shown.err).splitlines() if wanted in line]


def test_a_port_that_is_taken(capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        assert f"port {port}" in said(capsys, ["emsp", "--port", port])


def test_the_table_is_long_enough() -> None:
    """At least sixty different mistakes are tried."""
    text = Path(__file__).read_text()
    assert text.count("pytest.param(") > 150

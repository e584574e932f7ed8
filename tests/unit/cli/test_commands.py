"""The commands of `cpo`, against a small operator API that records what it is asked."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cpo.cli import main


class FakeApi:
    """Answers by (method, path) and keeps the requests."""

    def __init__(self):
        self.answers = {}
        self.requests = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                fake.requests.append((self.command, self.path, dict(self.headers), body))
                path = self.path.split("?")[0]
                status, answer = fake.answers.get((self.command, path), (404, {"detail": "none"}))
                if callable(answer):
                    answer = answer(self.path)
                raw = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - names of the library

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def api():
    fake = FakeApi()
    yield fake
    fake.close()


@pytest.fixture
def cpo(api, tmp_path, monkeypatch):
    """Run `cpo ARGS` as an operator with a key, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*args, **env):
        environ = {"CPO_URL": api.url, "CPO_KEY": "the-key", **env}
        return CliRunner().invoke(main, args, env=environ)

    return call


def test_help_does_not_import_the_server():
    """Contract section 2: help in 0.5 s. What costs time is imported, so imports are looked at."""
    code = (
        "import sys\n"
        "from cpo.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "heavy = {'aiohttp', 'sqlalchemy', 'sqlmodel', 'ocpp', 'pydantic', 'websockets'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "Commands:" in done.stdout
    assert done.stderr.strip() == "[]"


def leaves(group, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*x, id=" ".join(x[0])) for x in leaves(main)]
)
def test_every_command_speaks_json_and_explains_itself(path, command):
    assert any("--json" in parameter.opts for parameter in command.params)
    assert command.help


def test_a_list_is_ndjson_page_after_page(api, cpo):
    def page(path):
        if "cursor=next" in path:
            return {"items": [{"identity": "B"}], "next_cursor": None}
        return {"items": [{"identity": "A"}], "next_cursor": "next"}

    api.answers["GET", "/api/v1/stations"] = (200, page)

    result = cpo("station", "list", "--json")

    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"identity": "A"},
        {"identity": "B"},
    ]
    assert api.requests[0][2]["Authorization"] == "Bearer the-key"


def test_a_list_for_people_is_a_table_that_cannot_steer_the_terminal(api, cpo):
    """S10, SEC-12."""
    item = {"identity": "A", "online": True, "vendor": "\x1b[2Jevil"}
    api.answers["GET", "/api/v1/stations"] = (200, {"items": [item], "next_cursor": None})

    result = cpo("station", "list")

    header, row = result.stdout.splitlines()
    assert header.split()[:2] == ["identity", "online"]
    assert row.split()[:2] == ["A", "yes"]
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 4), (403, 4), (404, 3), (409, 4), (422, 2), (500, 1)]
)
def test_the_exit_code_tells_what_the_api_said(api, cpo, status, code):
    api.answers["GET", "/api/v1/cdrs/x"] = (status, {"detail": "because"})

    result = cpo("cdr", "show", "x")

    assert result.exit_code == code
    assert "because" in result.stderr


def test_nobody_there_is_exit_code_one(cpo):
    result = cpo("partner", "list", "--url", "http://127.0.0.1:1")

    assert result.exit_code == 1
    assert "does not answer" in result.stderr


def test_a_put_sends_the_file(api, cpo, tmp_path):
    api.answers["PUT", "/api/v1/tariffs/T%2F1"] = (200, {"id": "T/1"})
    file = tmp_path / "tariff.json"
    file.write_text('{"currency": "EUR"}')

    result = cpo("tariff", "put", "T/1", str(file), "--json")

    assert json.loads(result.stdout) == {"id": "T/1"}
    assert json.loads(api.requests[0][3]) == {"currency": "EUR"}


def test_a_file_that_is_no_json_is_a_usage_error(cpo, tmp_path):
    file = tmp_path / "tariff.json"
    file.write_text("{")

    assert cpo("tariff", "put", "T", str(file)).exit_code == 2


def test_a_command_is_sent_once_with_a_key_and_waited_for(api, cpo):
    api.answers["POST", "/api/v1/evses/E1/start"] = (202, {"id": "c1", "state": "sent"})
    done = {"id": "c1", "state": "done", "outcome": "ACCEPTED"}
    api.answers["GET", "/api/v1/commands/c1"] = (200, done)

    result = cpo("command", "send", "E1", "start", '{"token_uid": "X"}', "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["outcome"] == "ACCEPTED"
    assert len(api.requests[0][2]["Idempotency-Key"]) > 16


def test_a_command_that_the_station_rejects_exits_with_four(api, cpo):
    rejected = {"id": "c1", "state": "done", "outcome": "REJECTED"}
    api.answers["POST", "/api/v1/stations/S/reset"] = (202, rejected)

    assert cpo("station", "command", "S", "reset").exit_code == 4


@pytest.mark.parametrize(
    ("state", "code"), [("done", 0), ("failed", 1), ("timed_out", 1), ("cancelled", 1)]
)
def test_a_job_that_ends_badly_exits_with_one(api, cpo, state, code):
    job = {"id": "J", "state": "waiting", "attempt": 0}
    api.answers["POST", "/api/v1/stations/S/get-log"] = (202, job)
    api.answers["GET", "/api/v1/jobs/J"] = (200, job | {"state": state, "attempt": 1})

    assert cpo("station", "command", "S", "get-log").exit_code == code


def test_a_password_is_read_from_a_file_never_from_the_arguments(api, cpo, tmp_path):
    """S29."""
    api.answers["PUT", "/api/v1/stations/S"] = (200, {"identity": "S"})
    file = tmp_path / "password"
    file.write_text("hidden\n")

    cpo("station", "put", "S", "--password-file", str(file), "--ocpp-version", "1.6")

    assert json.loads(api.requests[0][3]) == {"password": "hidden", "ocpp_versions": ["1.6"]}


def test_the_operator_key_may_come_from_a_file(api, cpo, tmp_path):
    api.answers["GET", "/api/v1/partners"] = (200, {"items": [], "next_cursor": None})
    file = tmp_path / "key"
    file.write_text("filed\n")

    cpo("partner", "list", "--key-file", str(file))

    assert api.requests[0][2]["Authorization"] == "Bearer filed"


def test_health_is_what_readiness_says(api, cpo):
    assert cpo("health").exit_code == 1

    api.answers["GET", "/health/ready"] = (200, {"ready": True})
    result = cpo("health", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"ready": True}


def test_a_dump_holds_what_a_bug_report_needs_without_secrets(api, cpo):
    empty = {"items": [], "next_cursor": None}
    for name in ("stations", "partners", "outbox", "orphans"):
        api.answers["GET", f"/api/v1/{name}"] = (200, empty)
    api.answers["GET", "/api/v1/stations/CP1/messages"] = (
        200,
        {"items": [{"action": "Heartbeat"}], "next_cursor": None},
    )
    api.answers["GET", "/health/live"] = (200, {"live": True})

    result = cpo("dump", "--station", "CP1", "--json", CPO_SERVER__SECRET_KEY="canary" * 8)

    told = json.loads(result.stdout)
    assert told["messages"] == [{"action": "Heartbeat"}]
    assert told["settings"]["ocpp.port"]["value"] == 9000
    assert "canary" not in result.stdout


def test_check_config_shows_value_and_source(cpo):
    result = cpo("check-config", "--json", CPO_OCPP__PORT="9001")

    assert json.loads(result.stdout)["ocpp.port"] == {
        "value": 9001,
        "source": "environment CPO_OCPP__PORT",
    }


def test_check_config_reads_the_shipped_file(cpo):
    root = Path(__file__).resolve().parents[3]

    assert cpo("check-config", str(root / "config.toml")).exit_code == 0


def test_an_unknown_setting_is_a_usage_error_that_names_the_nearest(cpo):
    result = cpo("check-config", "--set", "ocpp.prot=1")

    assert result.exit_code == 2
    assert "did you mean ocpp.port?" in result.stderr


@pytest.mark.parametrize(
    "args", [["--prot", "1"], ["--ocpp.port"], ["--set", "port"], ["extra"]], ids=" ".join
)
def test_serve_refuses_options_it_does_not_know(cpo, args):
    assert cpo("serve", *args).exit_code == 2


def test_no_colour_where_nobody_sees_it(api, cpo):
    api.answers["GET", "/api/v1/partners"] = (200, {"items": [], "next_cursor": None})

    assert "\x1b" not in cpo("partner", "list").stdout


def test_a_price_is_explained_in_sentences(api, cpo):
    line = {
        "dimension": "ENERGY",
        "unit": "kWh",
        "text": "10 kWh at 0.3 per kWh = 3 EUR",
        "uses": [
            {
                "begins_at": "2026-01-05T10:00:00Z",
                "ends_at": "2026-01-05T11:00:00Z",
                "quantity": "10",
                "element": 0,
                "because": "always",
            }
        ],
    }
    doubt = {"code": "gap", "holds": True, "text": "no reading for 2:00:00"}
    api.answers["GET", "/api/v1/cdrs/C1/explain"] = (200, {"lines": [line], "doubts": [doubt]})

    shown = cpo("cdr", "explain", "C1").output

    assert "HELD gap: no reading for 2:00:00" in shown
    assert "ENERGY: 10 kWh at 0.3 per kWh = 3 EUR" in shown
    assert "element 0 (always)" in shown
    assert json.loads(cpo("cdr", "explain", "C1", "--json").output)["lines"] == [line]


def test_a_tariff_is_tried_and_a_charge_estimated(api, cpo):
    api.answers["POST", "/api/v1/prices/try"] = (200, {"currency": "EUR"})
    api.answers["GET", "/api/v1/evses/E1/estimate"] = (200, {"currency": "SEK"})

    assert json.loads(cpo("tariff", "try", "T1", "S1", "--json").output) == {"currency": "EUR"}
    shown = cpo("tariff", "estimate", "E1", "20", "3600", "--json")
    assert json.loads(shown.output) == {"currency": "SEK"}


def test_a_statement_is_printed_as_json_or_csv(api, cpo):
    api.answers["GET", "/api/v1/partners/P1/statement"] = (200, {"month": "2026-01"})

    shown = cpo("partner", "statement", "P1", "2026-01", "--json")

    assert json.loads(shown.output) == {"month": "2026-01"}
    assert cpo("partner", "statement", "P1", "2026-01", "--csv").exit_code == 0


def test_without_a_key_it_says_how_to_give_one(api, cpo):
    api.answers["GET", "/api/v1/stations"] = (401, {"detail": "send Authorization: Bearer KEY"})

    result = cpo("station", "list", CPO_KEY="")

    assert result.exit_code == 4
    assert "CPO_KEY" in result.stderr
    assert "--key-file" in result.stderr


def test_a_handshake_that_fails_names_its_step(api, cpo, tmp_path):
    api.answers["POST", "/api/v1/partners/connect"] = (
        502,
        {"step": "versions", "detail": "connection refused"},
    )
    (tmp_path / "token.txt").write_text("abc")

    result = cpo("partner", "connect", "x", "http://e/versions", "--token-a-file", "token.txt")

    assert result.exit_code == 1
    assert "versions: connection refused" in result.stderr


@pytest.mark.parametrize("noun", ["session", "cdr"])
def test_what_it_costs_is_a_number_in_a_column(api, cpo, noun):
    row = {"id": "1", "evse_uid": "E1", "total_cost": {"excl_vat": 0.9, "incl_vat": 1.089}}
    api.answers["GET", f"/api/v1/{noun}s"] = (200, {"items": [row], "next_cursor": None})

    header, line = cpo(noun, "list").stdout.splitlines()

    assert "incl_vat" in header
    assert [cell for cell in line.split() if cell in {"0.9", "1.089"}] == ["0.9", "1.089"]
    assert "{" not in line

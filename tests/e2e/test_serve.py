"""`cpo serve` as an operator meets it: what it prints, how it stops, what it refuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("--set", "ocpp.port=0", "--set", "ocpi.port=0", "--set", "operator.port=0")


def cpo(here, *args):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CPO_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cpo", *args],
        cwd=here,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(here, *args):
    """Yield (process, the lines up to `ready`)."""
    process = cpo(here, "serve", *PORTS, *args)
    try:
        lines = []
        while not lines or lines[-1] != "ready":
            line = process.stdout.readline()
            assert line, process.stderr.read()
            lines.append(line.rstrip("\n"))
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def url_of(lines):
    return next(line.split()[2] for line in lines if line.startswith("listening operator"))


def get(url, key=None):
    request = urllib.request.Request(url)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=100) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_prints_where_it_listens_then_ready(tmp_path):
    """Contract section 3."""
    with serving(tmp_path) as (_, lines):
        key, *rest = lines

        assert re.fullmatch(r"operator key: \S{32,}", key)
        assert re.fullmatch(r"listening ocpp ws://[\d.]+:\d+/ocpp", rest[0])
        assert re.fullmatch(r"listening ocpi http://[\d.]+:\d+/ocpi/versions", rest[1])
        assert re.fullmatch(r"listening operator http://127\.0\.0\.1:\d+", rest[2])
        assert rest[3:] == ["ready"]


def test_the_key_is_told_once_and_goes_on_working(tmp_path):
    with serving(tmp_path) as (process, lines):
        key = lines[0].removeprefix("operator key: ")
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=100)

    with serving(tmp_path) as (_, lines):
        assert not any(line.startswith("operator key") for line in lines)
        assert get(f"{url_of(lines)}/api/v1/stations", key)[0] == 200
        assert get(f"{url_of(lines)}/api/v1/stations", "guess")[0] == 401


def test_sigterm_ends_it_cleanly_and_kill_9_is_survived(tmp_path):
    with serving(tmp_path) as (process, _):
        process.kill()

    with serving(tmp_path) as (process, lines):
        assert json.loads(get(f"{url_of(lines)}/health/ready")[1])["ready"] is True
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=100)

        assert process.returncode == 0
        assert "Traceback" not in errors


def test_logs_are_json_on_standard_error_only(tmp_path):
    with serving(tmp_path, "--set", "log.level=info") as (process, lines):
        get(f"{url_of(lines)}/api/v1/stations", "wrong-key-canary")
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=100)

    assert out == ""
    logged = [json.loads(line) for line in errors.splitlines()]
    assert "operator.key_refused" in {line["event"] for line in logged}
    assert "canary" not in errors


def test_a_port_that_is_taken_is_one_line_and_exit_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = cpo(
            tmp_path, "serve", *PORTS[:4], "--operator.host=127.0.0.1", f"--operator.port={port}"
        )
        out, errors = process.communicate(timeout=100)

    assert process.returncode == 1
    assert "ready" not in out
    assert "Traceback" not in errors
    assert f"{port}" in errors.splitlines()[-1]


def test_a_setting_that_cannot_be_used_is_one_line_and_exit_2(tmp_path):
    process = cpo(tmp_path, "serve", "--set", "ocpp.prot=1")
    _, errors = process.communicate(timeout=100)

    assert process.returncode == 2
    assert errors.splitlines()[-1] == (
        "cpo: ocpp.prot: unknown setting; did you mean ocpp.port? (command line)"
    )


def test_no_secret_is_visible_in_the_process_list(tmp_path):
    """S29, I18."""
    (tmp_path / "key").write_text("canary-of-a-secret-key-0123456789abcdef")
    environment = os.environ | {"CPO_SERVER__SECRET_KEY_FILE": str(tmp_path / "key")}

    done = subprocess.run(
        [sys.executable, "-m", "cpo", "check-config"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "canary" not in done.stdout + done.stderr
    assert "environment CPO_SERVER__SECRET_KEY_FILE" in done.stdout


def test_sec22_the_operators_side_is_loopback_asks_for_a_key_and_has_no_test_hooks(tmp_path):
    """A default install; each request of its own description, and the pages of the console."""
    with serving(tmp_path) as (_, lines):
        key, base = lines[0].removeprefix("operator key: "), url_of(lines)
        port = int(base.rsplit(":", 1)[1])
        described = json.loads(get(f"{base}/api/v1/openapi.json", key)[1])
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=100)
        answers = {
            (method, path): asked(f"{base}{re.sub('{.*?}', 'x', path)}", method)
            for path, methods in described["paths"].items()
            for method in methods
            if method in {"get", "put", "post", "patch", "delete"}
        }
        # Having no key is not guessing one: the operator gets in all the while.
        assert get(f"{base}/api/v1/stations", key)[0] == 200
        hooks = [get(f"{base}{hook}", key)[0] for hook in HOOKS]
        page = get(f"{base}/stations")[1]

    assert len(answers) > 100
    assert {a for (_, path), a in answers.items() if path.startswith("/api/")} == {401}
    assert 'action="/login' in page
    assert set(hooks) == {404}
    words = {word for path in described["paths"] for word in re.split(r"[/_-]", path)}
    assert not words & {"test", "tests", "hook", "hooks", "debug", "fake", "mock", "eval", "exec"}


HOOKS = ("/test", "/debug", "/hooks", "/api/v1/test", "/api/v1/debug", "/api/v1/hooks", "/pprof")


def asked(url, method):
    """Ask without a key; returns the status."""
    data = b"{}" if method in {"put", "post", "patch"} else None
    request = urllib.request.Request(url, data=data, method=method.upper())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=100) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_partners_and_chargers_ports_have_no_operators_pages(tmp_path):
    """S30."""
    with serving(tmp_path) as (_, lines):
        partners = next(line.split()[2] for line in lines if line.startswith("listening ocpi"))
        chargers = next(line.split()[2] for line in lines if line.startswith("listening ocpp"))
        bases = (partners.split("/ocpi")[0], chargers.replace("ws:", "http:").split("/ocpp")[0])

        for base in bases:
            for path in ("/metrics", "/health/ready", "/api/v1/stations", "/login", "/"):
                assert get(base + path)[0] in (400, 401, 404, 426), base + path

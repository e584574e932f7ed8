"""`chargers-sim emsp` as a user types it."""

import asyncio
import json
import os
import sys

import pytest
from click.testing import CliRunner

from chargers_sim.emsp_cli import emsp
from tests.support.fake_cpo import FakeCpo


async def run(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chargers_sim.emsp_cli", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip


async def test_it_says_where_it_listens_and_stops_on_sigterm():
    process = await run("--token-a-for-me", "SECRET")
    lines = [(await process.stdout.readline()).decode().strip() for _ in range(4)]
    process.terminate()

    assert await process.wait() == 0
    assert lines[0].startswith("listening emsp http://127.0.0.1:")
    assert lines[1].startswith("versions http://127.0.0.1:")
    assert lines[2:] == ["token-a SECRET", "ready"]


async def test_it_registers_with_a_cpo_and_says_so_in_json():
    async with FakeCpo("2.2.1") as cpo:
        process = await run(
            "--versions-url", cpo.versions_url, "--token-a", cpo.token_in, "--json"
        )  # fmt: skip
        facts = json.loads(await process.stdout.readline())
        process.terminate()
        await process.wait()

    assert facts["peers"][0]["version"] == "2.2.1"


async def test_a_refusal_is_one_line_and_exit_1():
    async with FakeCpo("2.2.1") as cpo:
        process = await run("--versions-url", cpo.versions_url, "--token-a", "wrong")
        _, error = await process.communicate()

    assert process.returncode == 1
    assert error.decode().count("\n") == 1
    assert "HTTP 401" in error.decode()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        pytest.param(["--party", "NLD/MSP"], "NL/MSP", id="party"),
        pytest.param(["--dialect", "token=raw"], "token_coding", id="unknown dialect"),
        pytest.param(["--dialect", "total=odd"], "missing", id="unknown value"),
        pytest.param(["--tls", __file__, __file__], "--tls", id="no certificate"),
        pytest.param(["--token-a", "x"], "belong together", id="half a registration"),
    ],
)
def test_bad_usage_is_exit_2_and_names_what_is_known(arguments, word):
    result = CliRunner().invoke(emsp, arguments)

    assert result.exit_code == 2
    assert word in result.output

"""Who reads the output may go away, as `| head` does: the command ends, and says nothing."""

import asyncio
import os
import sys

import pytest
from waiting import START

COMMANDS = {
    "list": ["scenario", "--list"],
    "show": ["show", "quirks"],
    "help": ["run", "--help"],
    "run": ["run", "--url", "{url}", "--identity", "CP1", "--json"],
    "charge": [
        "run",
        "--url",
        "{url}",
        "--identity",
        "CP1",
        "--tag",
        "T",
        "--charge",
        "kwh=9,seconds=9000",
        "--virtual",
    ],
    "scenario": ["scenario", "commissioning-local", "--url", "{url}", "--ocpp", "1.6"],
    "fleet": ["fleet", "--url", "{url}", "--stations", "2", "--seconds", "1"],
    "emsp": ["emsp", "--port", "0"],
    "contract": ["contract", "NL-SIM-C12345678-X", "--folder", "{folder}", "--ocsp", "0"],
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_command_whose_reader_has_gone_ends_without_a_word(loose, tmp_path, name) -> None:
    read, write = os.pipe()
    os.close(read)
    arguments = [a.format(url=loose.url, folder=tmp_path / "contracts") for a in COMMANDS[name]]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chargers_sim", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=write, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    os.close(write)
    async with asyncio.timeout(START):
        said = await process.stderr.read()
        code = await process.wait()

    assert said == b""
    assert code == 141

"""The example of the simulator's guide runs as it stands: in a pytest of its own, as a user's."""

import asyncio
import os
import re
import sys
from pathlib import Path

from running import ROOT, Cpo

GUIDE = ROOT / "docs" / "simulator" / "README.md"
CONFTEST = """
import types

import pytest

from chargers_sim.pytest_plugin import CentralSystem

pytest_plugins = ["chargers_sim.pytest_plugin"]


@pytest.fixture
def central_system():
    return CentralSystem(url={url!r}, identity="CP1", password="secret")


@pytest.fixture
def partner():
    return types.SimpleNamespace(versions_url={versions_url!r}, token_a={token_a!r})
"""


async def run_pytest(folder: Path, *names: str, **variables: str) -> tuple[int, str]:
    """Run pytest there with warnings as errors; gives exit code and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("-o", "asyncio_default_fixture_loop_scope=function", *names),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def example() -> str:
    return re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]


def test_the_example_of_the_guide_is_short():
    assert len([line for line in example().splitlines() if line.strip()]) <= 20


async def test_the_example_of_the_guide_runs(tmp_path):
    """SIM-7: fixtures for a station, the eMSP double and the virtual clock."""
    users = tmp_path / "users"
    users.mkdir()
    (users / "test_lost_answer.py").write_text(example())
    async with Cpo(tmp_path) as cpo:
        await cpo.equip(["CP1"])
        await cpo.api("PUT", "/stations/CP1", {"password": "secret"})
        _, invited = await cpo.api("POST", "/partners", {"name": "double"})
        facts = {name: invited[name] for name in ("versions_url", "token_a")}
        (users / "conftest.py").write_text(CONFTEST.format(url=cpo.ocpp_url, **facts))

        code, said = await run_pytest(users)

    assert (code, "1 passed" in said) == (0, True), said


async def test_without_a_central_system_the_plugin_says_what_to_set(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["chargers_sim.pytest_plugin"]\n')
    (tmp_path / "test_mine.py").write_text("def test_it(central_system):\n    pass\n")

    code, said = await run_pytest(tmp_path, CHARGERS_SIM_URL="")

    assert code == 1
    assert "set CHARGERS_SIM_URL" in said
    assert "Traceback" not in said

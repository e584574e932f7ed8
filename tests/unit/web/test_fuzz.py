"""No input makes the operator API fail: whatever comes, an answer below 500 that says why."""

import asyncio
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operating import Operating

from cpo.web.server import ROUTES

TEXT = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
# Names that the bodies know, so that their values are reached.
NAMES = sorted(
    {name for route in ROUTES if isinstance(route.body, type) for name in route.body.model_fields}
    | {"id", "elements", "currency", "evses", "coordinates", "type", "contract_id", "valid", "uid"}
)
BODY = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6) | JSON
PART = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
QUERY = st.dictionaries(
    st.sampled_from(["limit", "cursor", "since", "until", "action", "format", "online"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    max_size=3,
)


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r.method} {r.path}")
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_input_is_a_failure_of_ours(route, data, ask):
    """Part 4 of the contract: bad input is 4xx with the field named, never 5xx."""
    path = "/api/v1" + re.sub(
        r"{\w+}",
        lambda _: quote(data.draw(st.sampled_from(["CP1", "T1", "L-CP1"]) | PART), safe=""),
        route.path,
    )
    query = "&".join(f"{name}={quote(value)}" for name, value in data.draw(QUERY).items())
    body = None if route.method == "GET" else json.dumps(data.draw(BODY))

    status, problem, _ = ask(route.method, f"{path}?{query}", body)

    assert status < 500 or (status == 502 and problem["step"]), problem


async def started():
    world = Operating()
    world.registrar.fails_at = "versions"
    await world.client.start_server()
    await world.charging.site(evses=1)
    return world


async def stopped(world):
    await world.charging.commands.close()
    await world.charging.stations.close()
    await world.client.close()


@pytest.fixture(scope="module")
def ask():
    """One world for all examples: what one of them leaves behind must not break the next."""
    with asyncio.Runner() as runner:
        world = runner.run(started())

        def call(method, path, body):
            raw = None if body is None else body.encode()
            return runner.run(world.ask(method, path, raw=raw))

        yield call
        runner.run(stopped(world))

"""The description says what the server does."""

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from operating import Operating

from cpo.web.api.openapi import SCHEMAS, description
from cpo.web.server import ROUTES


@pytest.fixture(scope="module")
def spec():
    return description(ROUTES)


def test_the_description_is_valid_openapi(spec):
    OpenAPIV31SpecValidator(spec).validate()


def test_every_route_is_described_once(spec):
    described = {(m, p) for p, calls in spec["paths"].items() for m in calls}

    assert described == {(r.method.lower(), f"/api/v1{r.path}") for r in ROUTES}
    assert len(described) == len(ROUTES)


def test_operation_ids_are_unique(spec):
    ids = [call["operationId"] for calls in spec["paths"].values() for call in calls.values()]

    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(spec):
    names = set(re.findall(r"#/components/schemas/(\w+)", str(spec)))

    assert names <= set(spec["components"]["schemas"])
    assert set(SCHEMAS) <= names


async def test_the_server_gives_its_description_without_a_key():
    world = Operating()
    await world.client.start_server()

    status, told, _ = await world.ask("GET", "/api/v1/openapi.json", key=None)

    assert (status, told["openapi"]) == (200, "3.1.0")
    await world.client.close()

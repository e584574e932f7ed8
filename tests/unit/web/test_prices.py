"""What the operator may ask about prices: a try-out, an estimate, a statement."""

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from charging import NOON
from operating import ADMIN, Operating

from cpo.domain.events import EventKind, IdToken, TransactionEvent
from cpo.services.ports import Delivery, Kind, Work

API = "/api/v1"
EVSE = "CP1-uid-1-x"


@pytest.fixture
async def world():
    made = Operating()
    await made.client.start_server()
    await made.charging.site(evses=1)
    await made.partner()
    yield made
    await made.charging.commands.close()
    await made.charging.stations.close()
    await made.client.close()


async def charged(world):
    """Play a charge of 10 kWh in an hour, and return its CDR."""
    await world.charging.token()
    begin = TransactionEvent(
        kind=EventKind.STARTED, at=NOON, received_at=NOON, evse_id=1, connector_id=1,
        id_token=IdToken("TAG"), meter_wh=Decimal(1000),
    )  # fmt: skip
    answer = await world.charging.told(begin)
    at = NOON + timedelta(hours=1)
    end = TransactionEvent(
        kind=EventKind.ENDED, at=at, received_at=at, transaction=answer.transaction,
        meter_wh=Decimal(11_000),
    )  # fmt: skip
    await world.charging.told(end)
    _, page, _ = await world.ask("GET", f"{API}/cdrs")
    return page["items"][0]


NEW_TARIFF = {
    "currency": "EUR",
    "elements": [
        {"price_components": [{"type": "ENERGY", "price": 0.5, "vat": 21, "step_size": 1}]},
        {"price_components": [{"type": "TIME", "price": 2, "vat": 21, "step_size": 1}]},
    ],
}


async def test_a_tariff_is_tried_on_a_past_session(world):
    cdr = await charged(world)

    status, answer, _ = await world.ask(
        "POST", f"{API}/prices/try", {"session_id": cdr["session_id"], "tariff": NEW_TARIFF}
    )

    assert status == 200
    assert answer["total_cost"] == {"excl_vat": "7.00", "incl_vat": "8.47"}
    assert answer["charging_periods"][0]["dimensions"][0] == {"type": "ENERGY", "volume": 10}


async def test_a_tariff_of_ours_is_tried_by_its_id(world):
    cdr = await charged(world)

    status, answer, _ = await world.ask(
        "POST", f"{API}/prices/try", {"session_id": cdr["session_id"], "tariff_id": "T1"}
    )

    assert status == 200
    assert Decimal(answer["total_cost"]["excl_vat"]) == Decimal(str(cdr["total_cost"]["excl_vat"]))


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"session_id": "none", "tariff_id": "T1"}, 404, None),
        ({"session_id": "S", "tariff_id": "T9"}, 404, None),
        ({"session_id": "S"}, 400, "tariff_id"),
        ({"session_id": "S", "tariff_id": "T1", "tariff": NEW_TARIFF}, 400, "tariff_id"),
        ({"session_id": "S", "tariff": {**NEW_TARIFF, "currency": "X"}}, 400, "tariff.currency"),
    ],
)
async def test_what_cannot_be_tried_is_refused(world, body, status, field):
    got, problem, _ = await world.ask("POST", f"{API}/prices/try", body)

    assert got in {status, 422 if status == 400 else status}
    if field is not None:
        assert field in json.dumps(problem)


async def test_a_charge_is_estimated_by_the_tariff_in_force(world):
    status, answer, _ = await world.ask(
        "GET", f"{API}/evses/{EVSE}/estimate?kwh=20&charging_seconds=3600&parking_seconds=600"
    )

    assert status == 200
    assert answer["tariff_id"] == "T1"
    assert Decimal(answer["total_cost"]["excl_vat"]) == 6
    assert len(answer["charging_periods"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        "charging_seconds=60",
        "kwh=x&charging_seconds=60",
        "kwh=-1&charging_seconds=60",
        "kwh=NaN&charging_seconds=60",
        "kwh=1&charging_seconds=99999999",
        "kwh=1&charging_seconds=9999999",
        "kwh=1&charging_seconds=60&at=soon",
        "kwh=1&charging_seconds=60&type=CHEAP",
    ],
)
async def test_an_estimate_names_the_field_it_cannot_use(world, query):
    status, problem, _ = await world.ask("GET", f"{API}/evses/{EVSE}/estimate?{query}")

    assert 400 <= status < 500
    assert problem["status"] == status


async def test_there_is_no_estimate_for_an_unknown_evse(world):
    status, _, _ = await world.ask("GET", f"{API}/evses/nowhere/estimate?kwh=1&charging_seconds=1")

    assert status == 404


async def test_a_statement_holds_the_month_and_what_the_partner_confirmed(world):
    cdr = await charged(world)
    work = Work()
    work.put(Delivery(partner_id="P1", kind=Kind.CDR, object_id=cdr["id"], confirmed_at=NOON))
    await world.store.commit(work)
    await world.ask("POST", f"{API}/cdrs/{cdr['id']}/credit", {})

    status, found, _ = await world.ask("GET", f"{API}/partners/P1/statement?month=2026-06")

    assert status == 200
    assert [line["credit"] for line in found["lines"]] == [False, True]
    assert found["unconfirmed"] == [f"{cdr['id']}-C"]
    (total,) = found["sums"]
    assert (total["cdrs"], total["credits"]) == (1, 1)
    assert (total["kwh"], total["excl_vat"]) == (0, 0)


async def test_a_statement_comes_as_csv_too(world):
    cdr = await charged(world)

    answer = await world.client.get(
        f"{API}/partners/P1/statement?month=2026-06&format=csv",
        headers={"Authorization": f"Bearer {ADMIN}"},
    )

    text = await answer.text()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert text.splitlines()[1].startswith(cdr["id"])


@pytest.mark.parametrize(
    "query", ["", "month=2026-13", "month=2026-06&time_zone=Mars", "month=2026-06&format=pdf"]
)
async def test_a_statement_without_month_is_refused(world, query):
    status, _, _ = await world.ask("GET", f"{API}/partners/P1/statement?{query}")

    assert 400 <= status < 500


async def test_there_is_no_statement_of_an_unknown_partner(world):
    status, _, _ = await world.ask("GET", f"{API}/partners/P9/statement?month=2026-06")

    assert status == 404

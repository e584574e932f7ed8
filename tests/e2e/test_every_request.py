"""Every request of every version by the operator API of a running server, over a real socket."""

import pytest
from raw_charger import CHARGERS
from running import Cpo, password

from tests.support.requests import COUNTS, least, outgoing, schema


@pytest.mark.parametrize("version", list(COUNTS))
async def test_rp30_an_operator_sends_every_request_and_no_bad_one(tmp_path, version):
    async with Cpo(tmp_path) as cpo:
        await cpo.api("PUT", "/stations/CP1", {"password": password("CP1")})
        async with CHARGERS[version](cpo.ocpp_url, "CP1", password("CP1")) as charger:
            await charger.boot()
            for action in outgoing(version):
                wanted = schema(version, action, response=True)
                asked = schema(version, action, response=False)
                answer, payload = least(wanted, wanted), least(asked, asked)
                charger.answers[action] = lambda _, answer=answer: answer
                body = {"action": action, "payload": payload}
                status, told = await cpo.api("POST", "/stations/CP1/call", body)
                assert (status, told) == (200, {"outcome": "result", "payload": answer}), action
                assert (action, payload) in charger.got

                charger.got.clear()
                bad = {"action": action, "payload": {**payload, "surplus": 1}}
                status, told = await cpo.api("POST", "/stations/CP1/call", bad, ok=False)
                assert status == 422
                assert "unknown field: surplus" in told["detail"]
                assert action not in {name for name, _ in charger.got}
            for action in ("BootNotification", "Nonsense"):
                body = {"action": action, "payload": {}}
                status, told = await cpo.api("POST", "/stations/CP1/call", body, ok=False)
                assert (status, action in told["detail"]) == (422, True)

"""ISO 15118: contracts checked, their status and new certificates relayed (C07, M01, M06, M07)."""

import base64
import datetime as dt

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from charging import NOON
from contract_pki import BROKEN, EMAID, Mobility, Party, broken_answer, pem
from cryptography.x509 import ocsp

from cpo.ocpp.relay import Relay
from cpo.services.contracts import ContractRules, Contracts
from cpo.services.pki import Anchors


class World:
    """A backend that believes a mobility operator, and that operator's servers."""

    def __init__(self, backend, mobility, url):
        self.backend, self.mobility, self.url = backend, mobility, url
        self.wanted = []
        self.elsewhere = []
        self.provider = {"exiResponse": "ZXhp", "remainingContracts": 2}

    async def authorize(self, charger, **more):
        return await charger.call("Authorize", idToken={"idToken": EMAID, "type": "eMAID"}, **more)


@pytest.fixture
async def worlds(open_backend):
    servers, relays = [], []

    async def make(*, token=True, **rules):
        mobility = Mobility(NOON)
        app = web.Application()
        server = TestServer(app)
        world = World(None, mobility, "")

        async def provide(request):
            world.wanted.append((await request.json(), request.headers.get("Authorization")))
            if isinstance(world.provider, dict):
                return web.json_response(world.provider)
            if world.provider in BROKEN:
                return await broken_answer(world.provider, "/elsewhere")
            return web.Response(status=200, text=world.provider)

        async def crl(_):
            return web.Response(body=mobility.revocation_list(mobility.sub))

        async def somewhere(request):
            world.elsewhere.append(request.path)
            return web.Response(status=404)

        app.router.add_post("/ocsp", mobility.respond)
        app.router.add_post("/provider", provide)
        app.router.add_get("/crl", crl)
        app.router.add_route("*", "/{any:.*}", somewhere)
        await server.start_server()
        servers.append(server)
        world.url = url = str(server.make_url("/"))
        settings = {
            "ocsp_responder": f"{url}ocsp",
            "ocsp_timeout": 30.0,
            "provider_url": f"{url}provider",
            "provider_key": "provider-key",
            **rules,
        }
        settings = {
            k: v.replace("{url}", url) if isinstance(v, str) else v for k, v in settings.items()
        }
        if "ocsp_allowed" in settings:
            settings["ocsp_allowed"] = [f"{url}crl", f"{url}ocsp"]
        believed = [mobility.root.certificate, mobility.sub.certificate]
        from cpo.ocpi.guard import UrlGuard

        relays.append(Relay(UrlGuard(allow_private=settings.pop("private", True))))
        anchors = Anchors(settings.pop("anchors", believed))
        contracts = Contracts(anchors, relays[-1], ContractRules(**settings), now=lambda: NOON)
        world.backend = backend = await open_backend(contracts=contracts)
        await backend.site("CP1")
        await backend.register("CP1")
        backend.partner(version="2.3.0")
        if token:
            await backend.token(EMAID.replace("-", ""), type="EMAID", whitelist="ALWAYS")
        return world

    yield make
    for relay in relays:
        await relay.close()
    for server in servers:
        await server.close()


V2 = pytest.mark.parametrize("version", ["2.0.1", "2.1"])


@V2
async def test_c50_a_contract_in_good_standing_is_accepted(worlds, version):
    world = await worlds()
    charger = await world.backend.charger(version)
    data = [world.mobility.contract.hash_data(), world.mobility.sub.hash_data()]

    answer = await world.authorize(charger, iso15118CertificateHashData=data)

    assert answer["certificateStatus"] == "Accepted"
    assert answer["idTokenInfo"]["status"] == "Accepted"
    assert len(world.mobility.asked) == 2


@V2
async def test_c51_a_revoked_certificate_authorizes_nobody(worlds, version):
    world = await worlds()
    charger = await world.backend.charger(version)
    world.mobility.revoked.add(world.mobility.sub.certificate.serial_number)
    data = [world.mobility.contract.hash_data(), world.mobility.sub.hash_data()]

    answer = await world.authorize(charger, iso15118CertificateHashData=data)

    assert answer["certificateStatus"] == "CertificateRevoked"
    assert answer["idTokenInfo"]["status"] == "Invalid"


async def test_c07_what_the_responder_does_not_know_is_no_chain(worlds):
    world = await worlds()
    charger = await world.backend.charger("2.0.1")
    world.mobility.unknown.add(world.mobility.contract.certificate.serial_number)

    answer = await world.authorize(
        charger, iso15118CertificateHashData=[world.mobility.contract.hash_data()]
    )

    assert answer["certificateStatus"] == "CertChainError"


@pytest.mark.parametrize(
    ("signer", "status"),
    [
        ("delegate", "Accepted"),
        ("stranger", "SignatureError"),
        ("neighbour", "SignatureError"),
        ("neighbours_delegate", "SignatureError"),
        ("without_right", "SignatureError"),
        ("ended_delegate", "SignatureError"),
    ],
)
async def test_c07_only_the_issuer_or_its_delegate_may_say_it(worlds, signer, status):
    """Another authority below the same root, and who may sign for that one, know nothing of it."""
    world = await worlds()
    charger = await world.backend.charger("2.0.1")
    world.mobility.signer = getattr(world.mobility, signer)

    answer = await world.authorize(
        charger, iso15118CertificateHashData=[world.mobility.contract.hash_data()]
    )

    assert answer["certificateStatus"] == status


@pytest.mark.parametrize("broken", ["500", "junk"])
@pytest.mark.parametrize(
    ("accept", "status"), [(False, "NoCertificateAvailable"), (True, "Accepted")]
)
async def test_s36_c07_a_status_nobody_can_tell_is_judged_by_the_setting(
    worlds, broken, accept, status
):
    world = await worlds(accept_unchecked=accept)
    charger = await world.backend.charger("2.0.1")
    world.mobility.broken = broken

    answer = await world.authorize(
        charger, iso15118CertificateHashData=[world.mobility.contract.hash_data()]
    )

    assert answer["certificateStatus"] == status
    assert answer["idTokenInfo"]["status"] == ("Accepted" if accept else "Invalid")


HOUR = dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("told_at", "told_until", "status"),
    [
        (NOON - HOUR, None, "Accepted"),
        (NOON - 48 * HOUR, None, "NoCertificateAvailable"),
        (NOON - 48 * HOUR, NOON - HOUR, "NoCertificateAvailable"),
        (NOON + HOUR, NOON + 2 * HOUR, "NoCertificateAvailable"),
    ],
)
async def test_c07_an_old_answer_that_is_played_again_says_nothing(
    worlds, told_at, told_until, status
):
    world = await worlds()
    charger = await world.backend.charger("2.0.1")
    world.mobility.told_at, world.mobility.told_until = told_at, told_until

    answer = await world.authorize(
        charger, iso15118CertificateHashData=[world.mobility.contract.hash_data()]
    )

    assert answer["certificateStatus"] == status


@pytest.mark.parametrize("broken", ["hangs", "huge", "disguised", "404", "moved"])
async def test_c07_a_responder_that_is_no_good_is_one_that_does_not_answer(worlds, broken):
    """Whatever it does, the station has its answer in the time that is set."""
    patience = 0.2 if broken == "hangs" else 30.0
    world = await worlds(ocsp_timeout=patience)
    charger = await world.backend.charger("2.0.1")
    world.mobility.broken = broken

    answer = await world.authorize(
        charger, iso15118CertificateHashData=[world.mobility.contract.hash_data()]
    )

    assert answer["certificateStatus"] == "NoCertificateAvailable"
    assert answer["idTokenInfo"]["status"] == "Invalid"
    assert world.elsewhere == []


async def test_c07_the_answer_is_used_again_while_it_holds(worlds):
    world = await worlds()
    charger = await world.backend.charger("2.0.1")
    data = [world.mobility.contract.hash_data()]

    for _ in range(3):
        await world.authorize(charger, iso15118CertificateHashData=data)

    assert len(world.mobility.asked) == 1


@pytest.mark.parametrize("token", [False, True])
async def test_c07_a_contract_that_is_none_any_more_is_cancelled(worlds, token):
    world = await worlds(token=False)
    if token:
        await world.backend.token(EMAID, type="EMAID", whitelist="ALWAYS", valid=False)
    charger = await world.backend.charger("2.0.1")

    answer = await world.authorize(
        charger, iso15118CertificateHashData=[world.mobility.contract.hash_data()]
    )

    assert answer["certificateStatus"] == "ContractCancelled"
    assert answer["idTokenInfo"]["status"] != "Accepted"


@pytest.mark.parametrize(
    "broken",
    [
        {"issuerNameHash": "zz"},
        {"issuerKeyHash": "00"},
        {"serialNumber": "not-hex"},
        {"serialNumber": "-1"},
    ],
)
async def test_c07_hashes_that_are_none_are_no_chain(worlds, broken):
    world = await worlds()
    charger = await world.backend.charger("2.0.1")
    data = [{**world.mobility.contract.hash_data(), **broken}]

    answer = await world.authorize(charger, iso15118CertificateHashData=data)

    assert answer["certificateStatus"] == "CertChainError"
    assert world.mobility.asked == []


# --- the chain itself -----------------------------------------------------------------------------


@V2
async def test_c52_a_chain_the_station_cannot_check_is_checked_here(worlds, version):
    world = await worlds()
    charger = await world.backend.charger(version)

    answer = await world.authorize(charger, certificate=world.mobility.chain())

    assert answer["certificateStatus"] == "Accepted"
    assert answer["idTokenInfo"]["status"] == "Accepted"
    assert world.mobility.asked == [world.mobility.contract.certificate.serial_number]


def _expired(m):
    return m.chain(Party(EMAID, m.sub, ca=False, now=NOON, days=(-30, -1)))


def _not_yet(m):
    return m.chain(Party(EMAID, m.sub, ca=False, now=NOON, days=(1, 30)))


def _foreign(m):
    return pem(Party(EMAID, m.stranger, ca=False, now=NOON).certificate, m.stranger.certificate)


def _forged(m):
    return m.chain(Party(EMAID, Party("MO Sub-CA", now=NOON), ca=False, now=NOON))


def _another(m):
    return m.chain(Party("DE-8AA-COTHERONE", m.sub, ca=False, now=NOON))


def _by_a_leaf(m):
    return pem(Party(EMAID, m.contract, ca=False, now=NOON).certificate, m.contract.certificate)


def _by_no_signer(m):
    issuer = Party("MO Sub-CA 3", m.root, now=NOON, may=["digital_signature"])
    return pem(Party(EMAID, issuer, ca=False, now=NOON).certificate, issuer.certificate)


def _of_ended_issuer(m):
    issuer = Party("MO Sub-CA 4", m.root, now=NOON, days=(-30, -1))
    return pem(Party(EMAID, issuer, ca=False, now=NOON).certificate, issuer.certificate)


def _wrong_order(m):
    return pem(m.sub.certificate, m.contract.certificate)


def _revoked_issuer(m):
    issuer = Party("MO Sub-CA 5", m.root, now=NOON)
    m.new_issuer = issuer
    m.revoked.add(issuer.certificate.serial_number)
    return pem(Party(EMAID, issuer, ca=False, now=NOON).certificate, issuer.certificate)


def _revoked(m):
    m.revoked.add(m.contract.certificate.serial_number)
    return m.chain()


@pytest.mark.parametrize(
    ("chain", "status"),
    [
        pytest.param(_expired, "CertificateExpired", id="expired"),
        pytest.param(_not_yet, "CertificateExpired", id="not yet valid"),
        pytest.param(_foreign, "CertChainError", id="foreign root"),
        pytest.param(_forged, "SignatureError", id="forged"),
        pytest.param(_another, "CertChainError", id="another contract's"),
        pytest.param(_by_a_leaf, "CertChainError", id="issued by a leaf"),
        pytest.param(_by_no_signer, "CertChainError", id="issuer may not sign"),
        pytest.param(_of_ended_issuer, "CertificateExpired", id="issuer expired"),
        pytest.param(_wrong_order, "CertChainError", id="wrong order"),
        pytest.param(_revoked, "CertificateRevoked", id="revoked"),
        pytest.param(_revoked_issuer, "CertificateRevoked", id="issuer revoked"),
        pytest.param(lambda _: "garbage", "CertChainError", id="garbage"),
    ],
)
async def test_c07_every_flaw_of_a_chain_has_its_word(worlds, chain, status):
    world = await worlds()
    charger = await world.backend.charger("2.0.1")

    answer = await world.authorize(charger, certificate=chain(world.mobility))

    assert answer["certificateStatus"] == status
    assert answer["idTokenInfo"]["status"] == "Invalid"


async def test_s36_without_roots_no_chain_is_believed(worlds):
    world = await worlds(anchors=())
    charger = await world.backend.charger("2.0.1")

    answer = await world.authorize(charger, certificate=world.mobility.chain())

    assert answer["certificateStatus"] == "NoCertificateAvailable"
    assert answer["idTokenInfo"]["status"] == "Invalid"


async def test_au09_an_emaid_without_certificates_is_a_token_like_others(worlds):
    world = await worlds()
    charger = await world.backend.charger("2.0.1")

    answer = await world.authorize(charger)

    assert answer["idTokenInfo"]["status"] == "Accepted"
    assert "certificateStatus" not in answer


# --- whom is asked --------------------------------------------------------------------------------


async def test_sec19_an_address_of_a_charger_is_asked_only_where_the_operator_listed_it(worlds):
    world = await worlds(ocsp_responder=None, ocsp_allowed=True)
    charger = await world.backend.charger("2.0.1")
    listed, other = f"{world.url}ocsp", f"{world.url}provider"
    sneaky = world.url.replace("127.0.0.1", "127.0.0.1.evil.example") + "ocsp"

    strangers = [
        other, sneaky, f"{listed}x", f"{listed}/../inside", f"{listed}/%2e%2E/inside",
        f"{listed}/./../inside", listed.replace("http:", "file:"),
        listed.replace("//", "//somebody@"),
    ]  # fmt: skip
    for url, status in (*((url, "NoCertificateAvailable") for url in strangers),
                        (listed, "Accepted")):  # fmt: skip
        data = [world.mobility.contract.hash_data(url)]
        answer = await world.authorize(charger, iso15118CertificateHashData=data)
        assert answer["certificateStatus"] == status

    assert world.wanted == []
    assert world.elsewhere == []


async def test_sec19_a_listed_name_that_leads_inside_is_not_asked(worlds):
    world = await worlds(ocsp_responder=None, ocsp_allowed=True, private=False)
    charger = await world.backend.charger("2.0.1")
    data = [world.mobility.contract.hash_data(f"{world.url}ocsp")]

    answer = await world.authorize(charger, iso15118CertificateHashData=data)

    assert answer["certificateStatus"] == "NoCertificateAvailable"
    assert world.mobility.asked == []


@V2
async def test_m24_the_responders_own_words_are_relayed(worlds, version):
    world = await worlds()
    charger = await world.backend.charger(version)

    answer = await charger.call(
        "GetCertificateStatus", ocspRequestData=world.mobility.contract.hash_data()
    )

    assert answer["status"] == "Accepted"
    told = ocsp.load_der_ocsp_response(base64.b64decode(answer["ocspResult"]))
    assert told.certificate_status is ocsp.OCSPCertStatus.GOOD


async def test_m24_a_responder_that_is_silent_is_a_failure(worlds):
    world = await worlds()
    charger = await world.backend.charger("2.0.1")
    world.mobility.broken = "500"

    answer = await charger.call(
        "GetCertificateStatus", ocspRequestData=world.mobility.contract.hash_data()
    )

    assert answer == {"status": "Failed"}


async def test_m07_each_certificate_of_a_chain_has_its_status_by_ocsp_or_list(worlds):
    world = await worlds(ocsp_allowed=True)
    charger = await world.backend.charger("2.1")
    good, bad = world.mobility.contract, world.mobility.delegate
    world.mobility.revoked.add(bad.certificate.serial_number)

    def question(party, source, *urls):
        data = party.hash_data()
        del data["responderURL"]
        return {"certificateHashData": data, "source": source, "urls": list(urls)}

    answer = await charger.call(
        "GetCertificateChainStatus",
        certificateStatusRequests=[
            question(good, "OCSP", f"{world.url}ocsp"),
            question(bad, "OCSP", f"{world.url}ocsp"),
            question(bad, "CRL", "http://elsewhere.example/crl", f"{world.url}crl"),
            question(good, "CRL", "http://elsewhere.example/crl"),
        ],
    )

    statuses = answer["certificateStatus"]
    assert [s["status"] for s in statuses] == ["Good", "Revoked", "Revoked", "Failed"]
    assert statuses[0]["nextUpdate"].startswith((NOON + dt.timedelta(hours=6)).isoformat()[:16])


# --- certificates for cars ------------------------------------------------------------------------


@V2
async def test_m26_m28_a_cars_request_goes_to_the_provider_and_back(worlds, version):
    world = await worlds()
    charger = await world.backend.charger(version)
    request = {"iso15118SchemaVersion": "urn:iso:15118:2:2013:MsgDef", "action": "Install",
               "exiRequest": "cmVxdWVzdA=="}  # fmt: skip
    more = {"maximumContractCertificateChains": 2, "prioritizedEMAIDs": [EMAID]} if version == "2.1" else {}  # fmt: skip

    answer = await charger.call("Get15118EVCertificate", **request, **more)

    assert answer["status"] == "Accepted"
    assert answer["exiResponse"] == "ZXhp"
    assert answer.get("remainingContracts") == (2 if version == "2.1" else None)
    assert world.wanted == [({**request, **more}, "Bearer provider-key")]


@pytest.mark.parametrize("remaining", [-1, True, 1.5, "2", 2**70, None])
async def test_m26_a_number_of_contracts_that_is_none_is_left_out(worlds, remaining):
    world = await worlds()
    world.provider = {"exiResponse": "ZXhp", "remainingContracts": remaining}
    charger = await world.backend.charger("2.1")

    answer = await charger.call(
        "Get15118EVCertificate", iso15118SchemaVersion="x", action="Install", exiRequest="e",
        maximumContractCertificateChains=2,
    )  # fmt: skip

    assert answer == {"status": "Accepted", "exiResponse": "ZXhp"}


@pytest.mark.parametrize("broken", ["hangs", "huge", "disguised", "500", "moved"])
async def test_m26_a_provider_that_is_no_good_has_failed(worlds, broken):
    world = await worlds(provider_timeout=0.2 if broken == "hangs" else 30.0)
    world.provider = broken
    charger = await world.backend.charger("2.0.1")

    answer = await charger.call(
        "Get15118EVCertificate", iso15118SchemaVersion="x", action="Update", exiRequest="e"
    )

    assert answer == {"status": "Failed", "exiResponse": ""}
    assert len(world.wanted) == 1
    assert world.elsewhere == []


@pytest.mark.parametrize("provider", ["no json", "[]", '{"exiResponse": "<html>"}', '{"exiResponse": "\\ud800"}', '{"exiResponse": 5}', '{"exiResponse": ""}',
                                      '{"exiResponse": "' + "A" * 7_501 + '"}'])  # fmt: skip
async def test_m26_what_the_provider_cannot_give_has_failed(worlds, provider):
    world = await worlds()
    world.provider = provider
    charger = await world.backend.charger("2.0.1")

    answer = await charger.call(
        "Get15118EVCertificate", iso15118SchemaVersion="x", action="Update", exiRequest="e"
    )

    assert answer == {"status": "Failed", "exiResponse": ""}


async def test_m26_without_a_provider_it_fails(worlds):
    world = await worlds(provider_url=None)
    charger = await world.backend.charger("2.0.1")

    answer = await charger.call(
        "Get15118EVCertificate", iso15118SchemaVersion="x", action="Install", exiRequest="e"
    )

    assert answer["status"] == "Failed"
    assert world.wanted == []

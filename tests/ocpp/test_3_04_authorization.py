"""ocpp-conformance 3.4: authorization."""

from datetime import timedelta

import pytest

from cpo.services.authorization import AuthorizationRules
from cpo.services.ports import RealTimeAnswer
from tests.ocpp.conftest import Charge16, Charge201


async def authorize(charger, value, kind="ISO14443"):
    if charger.version == "1.6":
        return (await charger.call("Authorize", idTag=value))["idTagInfo"]
    token = {"idToken": value, "type": kind}
    return (await charger.call("Authorize", idToken=token))["idTokenInfo"]


async def test_au01_known_unknown_and_blocked_are_told_apart(backend, version):
    await backend.token("BLOCKED", valid=False)
    await backend.token("OLD", expires_at=backend.clock - timedelta(seconds=1))
    charger = await backend.charger(version)

    tags = ("TAG", "NOBODY", "BLOCKED", "OLD")
    words = [(await authorize(charger, tag))["status"] for tag in tags]

    assert words[0] == "Accepted"
    assert words[1] in {"Invalid", "Unknown"}
    assert words[2:] == ["Blocked", "Expired"]


async def test_au02_tags_of_16_compare_without_case(backend):
    await backend.token("AABBCCDD")
    charger = await backend.charger("1.6")

    assert (await authorize(charger, "aabbccdd"))["status"] == "Accepted"


async def test_au03_the_group_is_told(backend, version):
    await backend.token("GROUPED", group_id="FAMILY")
    charger = await backend.charger(version)

    info = await authorize(charger, "GROUPED")

    if version == "1.6":
        assert info["parentIdTag"] == "FAMILY"
    else:
        assert info["groupIdToken"]["idToken"] == "FAMILY"


@pytest.mark.parametrize(
    ("whitelist", "emsp", "status"),
    [
        ("ALWAYS", None, {"Accepted"}),
        ("ALLOWED", None, {"Accepted"}),
        ("ALLOWED", "ALLOWED", {"Accepted"}),
        ("ALLOWED_OFFLINE", None, {"Accepted"}),
        ("ALLOWED_OFFLINE", "BLOCKED", {"Blocked"}),
        ("NEVER", "ALLOWED", {"Accepted"}),
        ("NEVER", "NO_CREDIT", {"NoCredit", "Blocked"}),
        ("NEVER", "EXPIRED", {"Expired"}),
        ("NEVER", "NOT_ALLOWED", {"NotAtThisLocation", "Invalid", "Unknown", "Blocked"}),
        ("NEVER", None, {"Invalid", "Unknown", "Blocked"}),
    ],
)
async def test_au04_s36_the_whitelist_decides_who_is_asked(
    backend, version, whitelist, emsp, status
):
    """Silence of the eMSP authorises nobody unless the token's whitelist says so."""
    await backend.token("ROAMER", whitelist=whitelist)
    partner = backend.partner()
    if emsp is not None:
        backend.emsp.answers["ROAMER"] = RealTimeAnswer(allowed=emsp)
    charger = await backend.charger(version)

    assert (await authorize(charger, "ROAMER"))["status"] in status
    assert partner.id == "P1"


async def test_au05_a_retried_start_is_not_a_concurrent_one(charge):
    await charge.start()

    assert (await charge.start())["idTagInfo"]["status"] == "Accepted"


async def start_at(backend, version, identity, tag, **fields):
    charger = await backend.charger(version, identity)
    charge = (Charge16 if version == "1.6" else Charge201)(backend, charger)
    charge.id = f"tx-{identity}"
    if version == "1.6":
        return charge, (await charge.start(idTag=tag, **fields))["idTagInfo"]["status"]
    token = {"idToken": tag, "type": "ISO14443"}
    return charge, (await charge.start(idToken=token, **fields))["idTokenInfo"]["status"]


@pytest.mark.parametrize("allowed", [True, False])
async def test_au05_a_token_charges_twice_only_where_the_policy_says_so(
    open_backend, version, allowed
):
    """A retried start is told what the first was told, and what has ended counts no more."""
    backend = await open_backend()
    backend.authorizations._rules = AuthorizationRules(concurrent=allowed)
    for identity in ("CP1", "CP2"):
        await backend.site(identity)
        await backend.register(identity)
    backend.partner()
    await backend.token("TAG")
    first, word = await start_at(backend, version, "CP1", "TAG")
    second, other = await start_at(backend, version, "CP2", "tag" if version == "1.6" else "TAG")
    first.seq = second.seq = 0
    again = [await first.start(), await second.start()]

    field = "idTagInfo" if version == "1.6" else "idTokenInfo"
    refused = "Accepted" if allowed else "ConcurrentTx"
    assert (word, other) == ("Accepted", refused)
    assert [answer[field]["status"] for answer in again] == ["Accepted", refused]
    await (first.stop() if version == "1.6" else first.end())
    await (second.stop() if version == "1.6" else second.end())
    _, third = await start_at(backend, version, "CP1", "TAG", timestamp=backend.at())
    assert third == "Accepted"
    cdrs = [row for type_, rows in backend.store.rows.items() if type_.__name__ == "Cdr"
            for row in rows.values()]  # fmt: skip
    assert len(cdrs) == 1 + allowed


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
@pytest.mark.parametrize("later", [False, True])
async def test_au07_a_token_that_became_invalid_is_told_so_in_the_transaction(
    backend, version, later
):
    """With the start, or with the event that first names it; one we never had, too."""
    await backend.token("TAG", valid=False)
    token = {"idToken": "TAG", "type": "ISO14443"}
    words = []
    for value in ("TAG", "NOBODY"):
        charge = Charge201(backend, await backend.charger(version))
        charge.id = value
        token = {"idToken": value, "type": "ISO14443"}
        if later:
            await charge.start(idToken=None, triggerReason="CablePluggedIn")
            answer = await charge.update(idToken=token, triggerReason="Authorized")
        else:
            answer = await charge.start(idToken=token)
        words.append(answer["idTokenInfo"]["status"])
        await charge.end()

    assert words[0] == "Blocked"
    assert words[1] in {"Invalid", "Unknown"}
    assert [row for type_, rows in backend.store.rows.items() if type_.__name__ == "Cdr"
            for row in rows] == []  # fmt: skip


async def test_au09_no_authorization_is_no_token(charge201, books):
    answer = await charge201.start(idToken={"idToken": "", "type": "NoAuthorization"})

    assert "idTokenInfo" not in answer
    assert books.transactions[0].id_token is None


@pytest.mark.parametrize(
    "kind", ["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress"]
)
async def test_au09_every_kind_of_token_is_taken(backend, kind):
    charger = await backend.charger("2.0.1")

    assert (await authorize(charger, "NOBODY-AT-ALL", kind))["status"] in {"Invalid", "Unknown"}


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
@pytest.mark.parametrize(
    ("held", "fitting"),
    [
        ("RFID", {"ISO14443", "ISO15693", "Local", "Central"}),
        ("APP_USER", {"Central"}),
        ("OTHER", {"eMAID", "Central", "KeyCode", "Local", "MacAddress"}),
    ],
)
async def test_au09_a_token_is_matched_by_value_and_type(backend, version, held, fitting):
    await backend.token("VALUE", type=held)
    charger = await backend.charger(version)
    kinds = ["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress"]

    told = {kind: (await authorize(charger, "VALUE", kind))["status"] for kind in kinds}

    assert {kind for kind, word in told.items() if word == "Accepted"} == fitting


@pytest.mark.parametrize("version", ["2.0.1", "2.1"])
async def test_au09_a_charge_without_authorization_reaches_no_partner(backend, version):
    charge = Charge201(backend, await backend.charger(version))
    nobody = {"idToken": "", "type": "NoAuthorization"}
    await charge.start(idToken=nobody)
    await charge.update(idToken=nobody)
    await charge.end(idToken=nobody)

    rows = [row for type_, rows in backend.store.rows.items() if type_.__name__ in {"Session", "Cdr"}
            for row in rows.values()]  # fmt: skip
    assert [row for row in rows if row.partner_id or row.token] == []
    assert backend.emsp.asked == []


async def test_au02_a_stop_by_the_tag_in_other_letters_is_the_starters(backend):
    """And a start, and a repeat of it."""
    await backend.token("AABBCCDD")
    charge = Charge16(backend, await backend.charger("1.6"))
    first = await charge.start(idTag="aabbccdd")
    again = await charge.start(idTag="AABBccdd")
    await charge.stop(idTag="AaBbCcDd")

    (transaction,) = backend.memory.stations["CP1"].transactions.values()
    assert first == again
    assert transaction.flags & {"stopped_by_another_token"} == set()
    assert transaction.token.uid == "AABBCCDD"


async def test_au10_a_group_is_not_a_token(backend, version):
    await backend.token("MEMBER", group_id="GROUPID")
    charger = await backend.charger(version)

    assert (await authorize(charger, "GROUPID"))["status"] != "Accepted"


@pytest.mark.parametrize(
    ("tag", "flagged"), [("AUNT", False), ("GUARD", False), ("STRANGER", True)]
)
@pytest.mark.parametrize("of", ["1.6", "2.0.1", "2.1"])
async def test_au03_au11_tx16_12_who_may_stop_what_another_started(open_backend, of, tag, flagged):
    """One of the group and a master pass, told with their group; a stranger's stop is noted."""
    backend = await open_backend()
    backend.authorizations._rules = AuthorizationRules(master_pass_group="GUARDS")
    await backend.site("CP1")
    await backend.register("CP1")
    backend.partner()
    for uid, group in (("TAG", "FAMILY"), ("AUNT", "FAMILY"), ("GUARD", "GUARDS")):
        await backend.token(uid, group_id=group)
    await backend.token("STRANGER")
    charger = await backend.charger(of)
    if of == "1.6":
        charge = Charge16(backend, charger)
        await charge.start()
        info = (await charge.stop(idTag=tag))["idTagInfo"]
        group = info.get("parentIdTag")
    else:
        charge = Charge201(backend, charger)
        await charge.start()
        info = (await charge.end(idToken={"idToken": tag, "type": "ISO14443"}))["idTokenInfo"]
        group = (info.get("groupIdToken") or {}).get("idToken")

    (transaction,) = backend.memory.stations["CP1"].transactions.values()
    assert not transaction.open
    assert info["status"] == "Accepted"
    assert group == {"AUNT": "FAMILY", "GUARD": "GUARDS"}.get(tag)
    assert ("stopped_by_another_token" in transaction.flags) is flagged

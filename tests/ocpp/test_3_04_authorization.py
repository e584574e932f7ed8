"""ocpp-conformance 3.4: authorization."""

import pytest

from cpo.services.ports import RealTimeAnswer


async def authorize(charger, value, kind="ISO14443"):
    if charger.version == "1.6":
        return (await charger.call("Authorize", idTag=value))["idTagInfo"]
    token = {"idToken": value, "type": kind}
    return (await charger.call("Authorize", idToken=token))["idTokenInfo"]


async def test_au01_known_unknown_and_blocked_are_told_apart(backend, version):
    await backend.token("BLOCKED", valid=False)
    charger = await backend.charger(version)

    words = [(await authorize(charger, tag))["status"] for tag in ("TAG", "NOBODY", "BLOCKED")]

    assert words[0] == "Accepted"
    assert words[1] in {"Invalid", "Unknown"}
    assert words[2] == "Blocked"


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


async def test_au07_a_token_that_became_invalid_is_told_so_in_the_transaction(backend, charge201):
    await backend.token("TAG", valid=False)

    answer = await charge201.start()

    assert answer["idTokenInfo"]["status"] in {"Blocked", "Invalid"}


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


async def test_au10_a_group_is_not_a_token(backend, version):
    await backend.token("MEMBER", group_id="GROUPID")
    charger = await backend.charger(version)

    assert (await authorize(charger, "GROUPID"))["status"] != "Accepted"

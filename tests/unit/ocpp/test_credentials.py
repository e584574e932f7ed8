"""cpo/ocpp/credentials.py: identities in paths, credentials in headers."""

import base64

import pytest

from cpo.ocpp.credentials import basic_password, identity_from_path


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        pytest.param("/ocpp/CP1", "CP1", id="plain"),
        pytest.param("/ocpp/RDAM%20123", "RDAM 123", id="TR-08 percent-encoded"),
        pytest.param("/ocpp/CP1/", "CP1", id="TR-09 trailing slash"),
        pytest.param("/ocpp//CP1", "CP1", id="TR-09 doubled slash"),
        pytest.param("/ocpp/CP1?x=1", "CP1", id="TR-09 query"),
        pytest.param("/ocpp/1.6/CP1", "CP1", id="TR-10 version in the path"),
        pytest.param("/ocpp/CP1/CP1", "CP1", id="Q3 identity twice"),
        pytest.param("/ocpp/CP1/CP2", None, id="two identities"),
        pytest.param("/ocpp/RDAM%2F1", None, id="TR-08 encoded slash"),
        pytest.param("/ocpp/CP%00", None, id="TR-08 NUL"),
        pytest.param("/ocpp/..", None, id="TR-08 dots"),
        pytest.param("/ocpp/%2e%2e", None, id="S11 encoded dots"),
        pytest.param("/ocpp/..%2f..%2fetc", None, id="S11 traversal"),
        pytest.param("/ocpp/CP%2541", None, id="S11 decoded once only"),
        pytest.param("/ocpp/CP:1", "CP:1", id="S11 colon"),
        pytest.param("/ocpp/" + "x" * 49, None, id="TR-11 too long"),
        pytest.param("/ocpp/" + "x" * 48, "x" * 48, id="TR-11 48 characters"),
        pytest.param("/ocpp/CP%C3%A9", None, id="S11 Unicode"),
        pytest.param("/ocpp/%0d%0aX", None, id="S11 line break"),
        pytest.param("/ocpp/", None, id="empty"),
        pytest.param("/ocppCP1", None, id="no slash after the prefix"),
        pytest.param("/other/CP1", None, id="another path"),
        pytest.param("/ocpp/a/b/CP1", None, id="too many segments"),
    ],
)
def test_tr08_tr09_tr11_s11_reads_identities_off_paths(path: str, identity: str | None) -> None:
    assert identity_from_path(path, "/ocpp") == identity


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer x",
        "Basic",
        "Basic ???",
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic " + base64.b64encode(b"CP2:password").decode(),
    ],
)
def test_what_is_no_login_of_this_station_is_no_credential(header: str | None) -> None:
    assert basic_password(header, "CP1") is None


def test_q40_the_password_is_bytes() -> None:
    header = "Basic " + base64.b64encode(b"CP1:\xde\xad\xbe:\xef").decode()

    assert basic_password(header, "CP1") == b"\xde\xad\xbe:\xef"


def test_an_identity_may_hold_a_colon() -> None:
    header = "Basic " + base64.b64encode(b"A:B:secret").decode()

    assert basic_password(header, "A:B") == b"secret"

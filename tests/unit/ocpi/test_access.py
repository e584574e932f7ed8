"""Credentials tokens."""

import base64

import pytest

from cpo.errors import Invalid
from cpo.ocpi.access import authorization, check_token, presented


def test_TRANS_3_the_token_goes_out_raw_or_in_base64():
    assert authorization("abc", encoded=False) == "Token abc"
    assert authorization("abc", encoded=True) == "Token YWJj"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        "Token the-token-itself!",
        f"Token {b64('the-token-itself!')}",
        f"token {b64('the-token-itself!')}",
        f"Token {b64('the-token-itself!').rstrip('=')}",
        f"Token   {b64('the-token-itself!' + chr(10))} ",
    ],
)
def test_TRANS_4_raw_and_encoded_tokens_are_both_understood(header):
    assert "the-token-itself!" in presented(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Token",
        "Token ",
        "Bearer abc",
        "Basic YWJj",
        "Token \u00e4bc",
        "Token " + "a" * 300,
    ],
)
def test_S14_what_is_no_token_gives_nothing_and_never_fails(header):
    assert presented(header) == ()


@pytest.mark.parametrize("value", ["/w==", "AAAA", "=", "%%%%", "YWJj\x00"])
def test_S14_broken_base64_is_only_taken_raw(value):
    assert presented(f"Token {value}")[0] == value


@pytest.mark.parametrize("token", [None, "", 5, "a" * 65, "with space", "new\nline", "\u00fcml"])
def test_CRED_11_a_token_we_cannot_use_is_refused(token):
    with pytest.raises(Invalid) as caught:
        check_token(token)

    assert caught.value.field == "token"

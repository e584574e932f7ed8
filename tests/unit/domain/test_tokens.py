"""The whitelist table (TOK-20, N23, P32)."""

from datetime import UTC, datetime, timedelta

import pytest

from cpo.domain.tokens import Allowed, Token, Verdict, Whitelist, decide, must_ask

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def token(whitelist="ALWAYS", *, valid=True, expires_at=None):
    return Token(
        country_code="NL",
        party_id="MSP",
        uid="U1",
        type="RFID",
        contract_id="C1",
        issuer="MSP",
        valid=valid,
        whitelist=Whitelist(whitelist),
        expires_at=expires_at,
    )


@pytest.mark.parametrize(
    ("whitelist", "valid", "ask"),
    [
        ("ALWAYS", True, False),
        ("ALWAYS", False, False),
        ("ALLOWED", True, False),
        ("ALLOWED", False, True),
        ("ALLOWED_OFFLINE", True, True),
        ("ALLOWED_OFFLINE", False, True),
        ("NEVER", True, True),
        ("NEVER", False, True),
    ],
)
def test_the_whitelist_says_whether_the_emsp_is_asked(whitelist, valid, ask):
    """TOK-20."""
    assert must_ask(token(whitelist, valid=valid)) is ask


@pytest.mark.parametrize(
    ("whitelist", "valid", "verdict"),
    [
        ("ALWAYS", True, Verdict.ACCEPTED),
        ("ALWAYS", False, Verdict.BLOCKED),
        ("ALLOWED", True, Verdict.ACCEPTED),
        ("ALLOWED", False, Verdict.BLOCKED),
        ("ALLOWED_OFFLINE", True, Verdict.ACCEPTED),
        ("ALLOWED_OFFLINE", False, Verdict.BLOCKED),
        ("NEVER", True, Verdict.INVALID),
        ("NEVER", False, Verdict.BLOCKED),
    ],
)
def test_without_an_answer_only_the_rule_can_accept(whitelist, valid, verdict):
    """TOK-20, S36: fails closed."""
    assert decide(token(whitelist, valid=valid), answer=None, now=NOW) is verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Allowed.ALLOWED, Verdict.ACCEPTED),
        (Allowed.BLOCKED, Verdict.BLOCKED),
        (Allowed.EXPIRED, Verdict.EXPIRED),
        (Allowed.NO_CREDIT, Verdict.NO_CREDIT),
        (Allowed.NOT_ALLOWED, Verdict.INVALID),
    ],
)
def test_the_emsps_answer_decides(answer, verdict):
    """TOK-22."""
    assert decide(token("NEVER", valid=False), answer=answer, now=NOW) is verdict


def test_a_token_of_ours_expires():
    """AU-01."""
    expired = token(expires_at=NOW - timedelta(seconds=1))

    assert decide(expired, answer=None, now=NOW) is Verdict.EXPIRED

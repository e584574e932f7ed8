"""Credentials tokens: shown and read. Pure.

`token_in` is what a partner shows us, `token_out` what we show it (chapter
"Credentials": A, B and C change sides with who starts, so they name nothing).
"""

import base64
import binascii

from cpo.errors import Invalid

LONGEST = 64


def check_token(token: object, field: str = "token") -> str:
    """Return a token a partner gave us to use; raises Invalid (CRED-11)."""
    if not isinstance(token, str) or not token:
        raise Invalid(field, "is missing")
    if len(token) > LONGEST:
        raise Invalid(field, f"is longer than {LONGEST} characters")
    if not all("!" <= c <= "~" for c in token):
        raise Invalid(field, "holds characters outside U+0021 to U+007E")
    return token


def authorization(token: str, *, encoded: bool) -> str:
    """Write the Authorization header: the token itself, or Base64 of it (TRANS-2, TRANS-3)."""
    return f"Token {base64.b64encode(token.encode()).decode() if encoded else token}"


def presented(header: str | None) -> tuple[str, ...]:
    """Read an Authorization header into the tokens it may mean, likeliest first (TRANS-4).

    Partners send the token raw or in Base64, whatever their version says, and
    some encode it with a line feed at its end. Empty when it is no Token header.
    """
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() != "token" or not value or len(value) > 4 * LONGEST or not value.isascii():
        return ()
    try:
        padded = value + "=" * (-len(value) % 4)
        decoded = base64.b64decode(padded, validate=True).decode().removesuffix("\n")
    except (ValueError, binascii.Error):
        return (value,)
    return (value, decoded) if decoded.isascii() and decoded else (value,)

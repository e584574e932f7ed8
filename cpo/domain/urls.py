"""URLs that may hold credentials, as they may be shown and logged (FW-05). Pure."""

import re
from typing import Final

MASK: Final = "***"
_LOGIN: Final = re.compile(r"(://)[^/@\s\"]+@")
# Signed URLs of object stores carry their key in the query.
_QUERY: Final = re.compile(r"(://[^\s\"?#]+\?)[^\s\"#]+")


def without_secrets(text: str) -> str:
    """Return a text with the logins and the queries of its URLs starred out."""
    if "@" in text:
        text = _LOGIN.sub(rf"\1{MASK}@", text)
    if "?" in text:
        text = _QUERY.sub(rf"\1{MASK}", text)
    return text

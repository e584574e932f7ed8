"""How this double deviates from the book, as partners in the field do."""

from dataclasses import dataclass, fields
from typing import Any


class BadDialect(ValueError):
    """A dialect was described in a way that cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Ways of a partner; the defaults are those of the specification."""

    token_coding: str = "version"  # noqa: S105
    """`version`, `raw` or `base64`: how we show our token, and how we want to be shown one."""
    trailing_slash: bool = False
    """Whether published URLs end with a slash."""
    list_for_object: bool = False
    """Whether a single object is answered as a list of one."""
    omit_data: bool = False
    """Whether answers to PUT, PATCH and POST of objects come as an empty body."""
    total: str = "right"
    """X-Total-Count: `right`, `page` (objects on this page), `wrong` or `missing`."""
    link: str = "right"
    """Link: `right`, `missing`, `same` (points at the page itself) or `relative`."""
    cdr_location: str = "absolute"
    """Location header after a CDR: `absolute`, `relative` or `missing`."""
    unknown_token: str = "both"  # noqa: S105
    """Authorize of an unknown token: `404`, `2004` (with HTTP 200) or `both`."""
    duplicate_cdr: str = "accept"
    """The same CDR again: `accept` or `refuse` (status 2000, HTTP 200)."""
    refuse_invalid: bool = False
    """Whether an object that breaks its field table is refused with 2001."""
    dates: str = "Z"
    """Times we write: `Z`, `none` (no designator) or `offset` (+00:00)."""
    lower_case: bool = False
    """Whether our country and party are written in lower case."""
    page_size: int = 50
    """Largest page of our lists."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> "Dialect":
        """Read a dialect from names and values, given as text or as themselves.

        Raises:
            BadDialect: a name or a value is unknown.
        """
        known = {entry.name: entry for entry in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in raw.items():
            if name not in known:
                raise BadDialect(f"unknown dialect {name!r}; known are {', '.join(known)}")
            values[name] = _typed(name, known[name].type, value)
        return cls(**values)


_CHOICES = {
    "token_coding": ("version", "raw", "base64"),
    "total": ("right", "page", "wrong", "missing"),
    "link": ("right", "missing", "same", "relative"),
    "cdr_location": ("absolute", "relative", "missing"),
    "unknown_token": ("404", "2004", "both"),
    "duplicate_cdr": ("accept", "refuse"),
    "dates": ("Z", "none", "offset"),
}


def _typed(name: str, wanted: Any, value: Any) -> Any:
    if wanted is bool or wanted == "bool":
        text = str(value).lower()
        if text not in {"true", "false", "yes", "no", "1", "0"}:
            raise BadDialect(f"dialect {name} is true or false, not {value!r}")
        return text in {"true", "yes", "1"}
    if wanted is int or wanted == "int":
        if not str(value).isdigit() or int(value) < 1:
            raise BadDialect(f"dialect {name} is a number from 1, not {value!r}")
        return int(value)
    if str(value) not in _CHOICES[name]:
        raise BadDialect(f"dialect {name} is one of {', '.join(_CHOICES[name])}, not {value!r}")
    return str(value)

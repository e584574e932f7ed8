"""Column types that keep instants, decimals and documents exactly, on SQLite and PostgreSQL.

What SQLAlchemy brings drops the offset of an aware time and sends decimals through float on
SQLite, so every table of this package uses these instead.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import BigInteger, DateTime, Dialect, Numeric, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def microseconds(at: datetime) -> int:
    """Count an aware time in microseconds since 1970; TypeError for a naive one."""
    return (at - EPOCH) // MICROSECOND


def aware(at: datetime) -> datetime:
    """Return a time, TypeError when it is naive: nobody can say later which zone it meant."""
    if at.tzinfo is None:
        msg = f"a naive time cannot be stored: {at!r}"
        raise TypeError(msg)
    return at


def instant(count: int) -> datetime:
    """Turn microseconds since 1970 into an aware UTC time."""
    return EPOCH + timedelta(microseconds=count)


def dump(value: Any) -> str:
    """Write a value as JSON text; decimals become numbers with all their digits."""
    return _encode(value).decode()


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time to the microsecond, in both databases ordered as time is.

    PostgreSQL keeps `timestamptz`; SQLite, which has no such type, the microseconds since 1970
    as an integer.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type in one database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive times."""
        if value is None:
            return None
        return microseconds(value) if dialect.name == "sqlite" else aware(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give back an aware UTC time."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return instant(value)
        return value.astimezone(UTC) if isinstance(value, datetime) else None


class Exact(TypeDecorator[Decimal]):
    """A decimal with all its digits: text in SQLite, NUMERIC without bounds in PostgreSQL."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type in one database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Refuse what is not a finite decimal."""
        if value is None:
            return None
        if not isinstance(value, Decimal) or not value.is_finite():
            msg = f"only finite decimals can be stored: {value!r}"
            raise ValueError(msg)
        return str(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """Give back the decimal that was stored."""
        return None if value is None else Decimal(value)


class Document(TypeDecorator[Any]):
    """Any JSON value, kept as text; numbers with a fraction come back as decimals."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the value as JSON."""
        return None if value is None else dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Read the value back."""
        return None if value is None else _decode(value)

"""What all tables share."""

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, SmallInteger, Text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from cpo.db.columns import UtcTime

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)
# A composite key is the table itself: one tree to write instead of two.
CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}


class Row(SQLModel, registry=registry(metadata=metadata)):
    """Base of the tables; they hold columns only, `cpo.db.rows` knows what they mean."""


def sequence() -> Any:
    """Return a key that the database counts up."""
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Field(default=None, sa_column=Column(kind, primary_key=True, autoincrement=True))


def text_key() -> Any:
    """Return a part of a primary key."""
    return Field(primary_key=True, sa_type=Text)


def text(*, index: bool = False) -> Any:
    """Return a text without a limit."""
    return Field(sa_type=Text, index=index)


def optional_text(*, index: bool = False) -> Any:
    """Return a text that may be absent."""
    return Field(default=None, sa_type=Text, nullable=True, index=index)


def small() -> Any:
    """Return a small number, such as one of a few kinds."""
    return Field(sa_type=SmallInteger)


def time(*, index: bool = False) -> Any:
    """Return an instant."""
    return Field(sa_type=UtcTime, index=index)


def optional_time(*, index: bool = False) -> Any:
    """Return an instant that may be absent."""
    return Field(default=None, sa_type=UtcTime, nullable=True, index=index)

"""Transactions, what held at their start, and their readings."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint

from cpo.db.tables.row import Row, optional_text, sequence, text, text_key, time


class TransactionRow(Row, table=True):
    """A transaction; `body` is the domain's Transaction without readings and snapshot.

    `start_key` is the content of a 1.6 StartTransaction: the same content twice is one
    transaction. The ids that we give to 1.6 stations are unique over all of them, and open
    transactions have an index of their own: both are partial indexes, made by the migrations
    only, because naming them here would load the dialects of all databases.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        UniqueConstraint("start_key"),
        Index("ix_transactions_station", "station", "started_at"),
        Index("ix_transactions_key", "key", "station"),
    )

    id: str = text_key()
    station: str = text()
    key: str = text()
    start_key: str | None = optional_text()
    phase: str = text()
    started_at: datetime = time()
    body: str = text()


class SnapshotRow(Row, table=True):
    """What held when a session began: location, tariff, currency. Written once."""

    __tablename__ = "snapshots"

    id: str = text_key()
    body: str = text()


class ReadingsRow(Row, table=True):
    """The samples that one message brought; a 2.x event is taken in once."""

    __tablename__ = "readings"
    __table_args__ = (UniqueConstraint("transaction_id", "event_key"),)

    id: int | None = sequence()
    transaction_id: str = text()
    received_at: datetime = time()
    event_key: str | None = optional_text()
    samples: str = text()

"""The frame log, and messages that fit nothing we know."""

from datetime import datetime

from sqlalchemy import Index

from cpo.db.tables.row import Row, optional_text, sequence, text, time


class MessageRow(Row, table=True):
    """One exchange with a station.

    Its index, of an expression (decision 0036), is made by the migrations only.
    """

    __tablename__ = "messages"

    id: int | None = sequence()
    station: str = text()
    at: datetime = time()
    direction: str = text()
    action: str = text()
    message_id: str = text()
    payload: str = text()
    answer: str | None = optional_text()
    deviations: str | None = optional_text()


class OrphanRow(Row, table=True):
    """A message that fits nothing we know, kept for the operator."""

    __tablename__ = "orphans"
    __table_args__ = (Index("ix_orphans_page", "at", "id"),)

    id: int | None = sequence()
    station: str = text(index=True)
    at: datetime = time()
    reason: str = text()
    action: str = text()
    payload: str = text()
    transaction: str | None = optional_text()

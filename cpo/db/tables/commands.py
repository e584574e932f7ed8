"""Commands to stations."""

from datetime import datetime

from sqlalchemy import Index

from cpo.db.tables.row import Row, optional_text, text, text_key, time


class CommandRow(Row, table=True):
    """A command; `unfinished` until it is done and, where it came by OCPI, reported.

    Unfinished ones have a partial index, made by the migrations only.
    """

    __tablename__ = "commands"
    __table_args__ = (
        Index("ix_commands_station", "station", "created_at"),
        Index("ix_commands_page", "last_updated", "id"),
        Index("ix_commands_idempotency_key", "idempotency_key"),
    )

    id: str = text_key()
    station: str = text()
    created_at: datetime = time()
    unfinished: bool
    idempotency_key: str | None = optional_text()
    last_updated: datetime = time()
    body: str = text()

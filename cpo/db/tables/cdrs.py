"""Charge detail records."""

from datetime import datetime

from sqlalchemy import Index

from cpo.db.tables.row import Row, optional_text, small, text, text_key, time


class CdrRow(Row, table=True):
    """A CDR, never changed; `body` is the domain's Cdr as JSON, with its snapshot.

    `held`: it waits for the operator. Those have a partial index, made by the migrations only.
    `listed`: in which partners' lists it stands, see `cpo.services.ports.Listed`.
    """

    __tablename__ = "cdrs"
    __table_args__ = (
        Index("ix_cdrs_page", "last_updated", "id"),
        Index("ix_cdrs_partner_page", "partner_id", "last_updated", "id", "listed"),
        Index("ix_cdrs_session", "session_id"),
    )

    id: str = text_key()
    session_id: str = text()
    credit: bool
    country_code: str = text()
    party_id: str = text()
    partner_id: str | None = optional_text()
    ended_at: datetime = time()
    last_updated: datetime = time()
    body: str = text()
    held: bool
    listed: int = small()

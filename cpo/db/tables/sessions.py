"""OCPI Sessions."""

from datetime import datetime

from sqlalchemy import Index

from cpo.db.tables.row import Row, optional_text, small, text, text_key, time


class SessionRow(Row, table=True):
    """A session in its newest form; `body` is the domain's Session without its snapshot.

    `listed`: in which partners' lists it stands, see `cpo.services.ports.Listed`.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_page", "last_updated", "id"),
        Index("ix_sessions_partner_page", "partner_id", "last_updated", "id", "listed"),
    )

    id: str = text_key()
    country_code: str = text()
    party_id: str = text()
    partner_id: str | None = optional_text()
    station: str = text(index=True)
    status: str = text()
    started_at: datetime = time()
    last_updated: datetime = time()
    body: str = text()
    listed: int = small()

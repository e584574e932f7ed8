"""Tariffs."""

from datetime import datetime

from sqlalchemy import Index

from cpo.db.tables.row import Row, text, text_key, time


class TariffRow(Row, table=True):
    """A tariff as the operator entered it."""

    __tablename__ = "tariffs"
    __table_args__ = (Index("ix_tariffs_page", "last_updated", "id"),)

    id: str = text_key()
    country_code: str = text()
    party_id: str = text()
    last_updated: datetime = time()
    body: str = text()

"""Locations and the published status of their EVSEs."""

from datetime import datetime

from sqlalchemy import Index

from cpo.db.tables.row import CLUSTERED, Row, text, text_key, time


class LocationRow(Row, table=True):
    """A location as the operator entered it.

    `last_updated` also follows its EVSEs' status, as OCPI wants it.
    """

    __tablename__ = "locations"
    __table_args__ = (Index("ix_locations_page", "last_updated", "id"),)

    id: str = text_key()
    country_code: str = text()
    party_id: str = text()
    last_updated: datetime = time()
    body: str = text()


class EvseStateRow(Row, table=True):
    """The published status of one EVSE."""

    __tablename__ = "evse_states"
    __table_args__ = CLUSTERED

    location_id: str = text_key()
    evse_uid: str = text_key()
    status: str = text()
    last_updated: datetime = time()

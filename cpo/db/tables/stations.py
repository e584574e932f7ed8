"""Stations, the newest status of their connectors, and who holds their sockets."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger
from sqlmodel import Field

from cpo.db.columns import Document
from cpo.db.tables.row import CLUSTERED, Row, optional_text, text, text_key, time


class StationRow(Row, table=True):
    """A registered charge point; `body` is the domain's Station as JSON."""

    __tablename__ = "stations"

    identity: str = text_key()
    body: str = text()


class ConnectorStateRow(Row, table=True):
    """The newest status of a connector; (0, 0) is the station as a whole."""

    __tablename__ = "connector_states"
    __table_args__ = CLUSTERED

    station: str = text_key()
    evse_id: int = Field(primary_key=True)
    connector_id: int = Field(primary_key=True)
    availability: str = text()
    at: datetime = time()
    received_at: datetime = time()
    activity: str | None = optional_text()
    error_code: str | None = optional_text()
    info: str | None = optional_text()
    vendor_error_code: str | None = optional_text()


class StationDocumentRow(Row, table=True):
    """What a station says of itself beyond its status: variables, jobs, certificates, limits."""

    __tablename__ = "station_documents"

    station: str = text_key()
    kind: str = text_key()
    key: str = text_key()
    at: datetime = time()
    document: dict[str, Any] = Field(sa_type=Document)


class StationOwnerRow(Row, table=True):
    """The node that answers for a station; a newer epoch beats an older one (fencing).

    `online` is the OCPP version of its live connection there, empty without one.
    """

    __tablename__ = "station_owners"
    __table_args__ = CLUSTERED

    station: str = text_key()
    node: str = text(index=True)
    epoch: int = Field(sa_type=BigInteger)
    since: datetime = time()
    online: str = text()

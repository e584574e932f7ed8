"""Several nodes on one database: who is alive, and what changed lately."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field

from cpo.db.tables.row import CLUSTERED, Row, text_key, time


class NodeRow(Row, table=True):
    """A node that runs; `beat` counts up while it does. Without its row it can write nothing."""

    __tablename__ = "nodes"

    id: str = text_key()
    beat: int = Field(sa_type=BigInteger)
    since: datetime = time()


class ChangeRow(Row, table=True):
    """When an object that nodes keep in memory changed last; one row for each, not each change."""

    __tablename__ = "changes"
    __table_args__ = CLUSTERED

    kind: str = text_key()
    key: str = text_key()
    last_updated: datetime = time(index=True)

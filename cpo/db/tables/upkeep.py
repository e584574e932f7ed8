"""The instance itself, leases of its jobs, and the audit trail."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from cpo.db.tables.row import Row, optional_time, sequence, text, text_key, time


class InstanceRow(Row, table=True):
    """The one row about this database.

    `secret` is what ids are derived with; `last_stamp` is the newest last_updated ever given.
    """

    __tablename__ = "instance"

    id: int = Field(primary_key=True)
    secret: str = text()
    last_stamp: datetime = time()
    restored_at: datetime | None = optional_time()


class OperatorKeyRow(Row, table=True):
    """A key of the operator API that we made, as a hash."""

    __tablename__ = "operator_keys"

    name: str = text_key()
    body: str = text()


class LeaseRow(Row, table=True):
    """Who may run a job now; a newer epoch beats an older one."""

    __tablename__ = "leases"

    name: str = text_key()
    owner: str = text()
    until: datetime = time()
    epoch: int = Field(sa_type=BigInteger)


class AuditRow(Row, table=True):
    """Who did what, when. Only ever added to."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_page", "at", "id"),)

    id: int | None = sequence()
    at: datetime = time()
    actor: str = text()
    action: str = text()
    subject: str = text(index=True)
    detail: str = text()

"""What partners have not heard of yet, and what they have confirmed."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field

from cpo.db.tables.row import CLUSTERED, Row, optional_text, optional_time, text, text_key, time


class DirtyMarkRow(Row, table=True):
    """An object that a partner does not have in its newest form (design D4)."""

    __tablename__ = "dirty_marks"
    __table_args__ = CLUSTERED

    partner_id: str = text_key()
    kind: str = text_key()
    object_id: str = text_key()
    generation: int = Field(sa_type=BigInteger)
    since: datetime = time()
    attempts: int = 0
    next_attempt_at: datetime | None = optional_time()
    last_error: str | None = optional_text()
    parked: bool = False


class WireTextRow(Row, table=True):
    """An object as partners get to see it, rendered once (design D20).

    `form` is what texts of one object differ by: OCPI version and habits of the partner. It
    counts while `object_updated_at` is the object's last_updated.
    """

    __tablename__ = "wire_texts"
    __table_args__ = CLUSTERED

    kind: str = text_key()
    form: str = text_key()
    object_id: str = text_key()
    object_updated_at: datetime = time()
    body: str = text()


class DeliveryRow(Row, table=True):
    """The newest form of an object that a partner has confirmed."""

    __tablename__ = "deliveries"
    __table_args__ = CLUSTERED

    partner_id: str = text_key()
    kind: str = text_key()
    object_id: str = text_key()
    confirmed_at: datetime = time()
    object_updated_at: datetime | None = optional_time()
    location: str | None = optional_text()
    answer: str | None = optional_text()

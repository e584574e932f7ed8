"""Partners."""

from cpo.db.tables.row import Row, optional_text, text, text_key


class PartnerRow(Row, table=True):
    """A platform we speak OCPI with.

    Tokens it may show to us are in `body` as hashes only; the one we show to it is sealed with a
    key that is not in the database.
    """

    __tablename__ = "partners"

    id: str = text_key()
    body: str = text()
    sealed_token: str | None = optional_text()

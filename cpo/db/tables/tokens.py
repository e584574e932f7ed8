"""Tokens of drivers."""

from datetime import datetime

from sqlalchemy import Index

from cpo.db.tables.row import Row, optional_text, text, text_key, time


class TokenRow(Row, table=True):
    """A driver's token.

    The key is in capitals, for OCPI compares it without case; `body` keeps the spelling.
    """

    __tablename__ = "tokens"
    __table_args__ = (
        Index("ix_tokens_page", "last_updated", "uid", "country_code", "party_id", "type"),
        Index("ix_tokens_uid", "uid"),
        Index("ix_tokens_partner", "partner_id"),
    )

    country_code: str = text_key()
    party_id: str = text_key()
    uid: str = text_key()
    type: str = text_key()
    partner_id: str | None = optional_text()
    last_updated: datetime = time()
    body: str = text()


class TokenAliasRow(Row, table=True):
    """What a 1.6 station gets in place of a uid that its idTags cannot carry."""

    __tablename__ = "token_aliases"

    alias: str = text_key()
    country_code: str = text()
    party_id: str = text()
    uid: str = text()
    type: str = text()

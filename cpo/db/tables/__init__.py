"""The tables, by noun."""

from cpo.db.tables import (
    cdrs,
    commands,
    deliveries,
    locations,
    messages,
    nodes,
    partners,
    sessions,
    stations,
    tariffs,
    tokens,
    transactions,
    upkeep,
)
from cpo.db.tables.row import metadata

__all__ = [
    "cdrs",
    "commands",
    "deliveries",
    "locations",
    "messages",
    "metadata",
    "nodes",
    "partners",
    "sessions",
    "stations",
    "tariffs",
    "tokens",
    "transactions",
    "upkeep",
]

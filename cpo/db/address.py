"""Reads `database.url`."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cpo.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is: a SQLite file, or a PostgreSQL server."""

    url: str
    path: Path | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a SQLite file."""
        return self.path is not None

    @property
    def sqlalchemy(self) -> str:
        """The PostgreSQL address as SQLAlchemy spells it."""
        return "postgresql+asyncpg" + self.url.removeprefix("postgresql")

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://…`."""
        scheme = urlsplit(url).scheme
        if scheme == "sqlite":
            name = url.removeprefix("sqlite:///")
            if name == url or name in ("", ":memory:"):
                raise Misconfigured(
                    "database.url", "a file is needed, such as sqlite:///cpo.db: facts must last"
                )
            return cls(url, Path(name))
        if scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
            return cls("postgresql" + url[len(scheme) :])
        raise Misconfigured(
            "database.url", f"{scheme or url!r} is not known; use sqlite:///… or postgresql://…"
        )

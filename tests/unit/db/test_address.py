from pathlib import Path

import pytest

from cpo.db.address import Address
from cpo.errors import Misconfigured


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///cpo.db", "cpo.db"), ("sqlite:////var/lib/cpo.db", "/var/lib/cpo.db")],
)
def test_a_sqlite_address_names_a_file(url, path):
    assert Address.of(url).path == Path(path)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_postgresql_address_may_be_spelled_in_three_ways(scheme):
    address = Address.of(f"{scheme}://u:p@h:5433/cpo")

    assert address.url == "postgresql://u:p@h:5433/cpo"
    assert address.sqlalchemy == "postgresql+asyncpg://u:p@h:5433/cpo"
    assert not address.is_sqlite


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///", "mysql://x/y", ""]
)
def test_an_address_that_cannot_keep_facts_is_refused(url):
    with pytest.raises(Misconfigured) as refused:
        Address.of(url)
    assert refused.value.key == "database.url"

"""Texts are rendered once, and anew when what they depend on changed (D20)."""

from datetime import UTC, datetime, timedelta

import ocpi_charges
import pytest

from cpo.domain.partner import Partner
from cpo.domain.station import StatusRules
from cpo.domain.values import replace
from cpo.ocpi.assembly import DIALECTS
from cpo.ocpi.shelf import Shelf
from cpo.ocpi.withheld import Withheld
from cpo.services.memory import Memory
from cpo.services.publishing import Publishing
from cpo.telemetry import Metrics

AT = datetime(2026, 1, 1, tzinfo=UTC)
DIALECT = DIALECTS["2.2.1"]
PARTNER = Partner(id="p1", name="one", version="2.2.1")


class Nobody:
    def all(self):
        return ()

    def get(self, partner_id):
        return None


def keep_tariff(memory, tariff, at):
    memory.sites.tariffs[tariff.id] = tariff
    memory.sites.tariff_stamps[tariff.id] = at


@pytest.fixture
def memory():
    """A location whose connectors name two tariffs, of which only the first is in force."""
    memory = Memory()
    memory.sites.put(ocpi_charges.location(), AT)
    for tariff_id in ("T-1", "T-2"):
        keep_tariff(memory, replace(ocpi_charges.tariff(), id=tariff_id, valid_until=None), AT)
    return memory


@pytest.fixture
def shelf(memory):
    withheld = Withheld(Metrics(), lambda: AT)
    return Shelf(memory, Publishing(memory, Nobody(), StatusRules()), withheld)


def test_D20_a_location_is_rendered_once_for_all_who_see_the_same(shelf):
    first = shelf.location(DIALECT, "LOC-1", PARTNER)
    again = shelf.location(DIALECT, "LOC-1", replace(PARTNER, id="p2"))

    assert first.tariffs == ("T-1",)
    assert again is first


def test_D20_a_change_of_a_location_or_of_its_status_renders_it_anew(shelf, memory):
    first = shelf.location(DIALECT, "LOC-1", PARTNER)
    memory.sites.stamps["LOC-1"] = AT + timedelta(seconds=1)
    second = shelf.location(DIALECT, "LOC-1", PARTNER)

    assert b'"last_updated":"2026-01-01T00:00:01Z"' in second.rendered.text
    assert second.rendered.text != first.rendered.text


def test_TAR_5_D20_what_other_tariffs_say_changes_which_of_them_a_connector_names(shelf, memory):
    end = AT + timedelta(days=30)
    first = shelf.location(DIALECT, "LOC-1", PARTNER)
    keep_tariff(memory, replace(memory.sites.tariffs["T-1"], valid_until=end), AT)
    keep_tariff(memory, replace(memory.sites.tariffs["T-2"], valid_from=end), AT)
    second = shelf.location(DIALECT, "LOC-1", PARTNER)

    assert (first.tariffs, second.tariffs) == (("T-1",), ("T-1", "T-2"))
    assert b'"tariff_ids":["T-1","T-2"]' in second.rendered.text
    assert shelf.location(DIALECT, "LOC-1", PARTNER) is second

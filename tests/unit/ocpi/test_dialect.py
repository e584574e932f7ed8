import pytest

from cpo.errors import Invalid
from cpo.ocpi.dialect import DateStyle, Quirks
from cpo.ocpi.dialects import DIALECTS, V211, V221, V230, newest_common


def test_each_version_codes_its_tokens() -> None:
    """TRANS-3"""
    assert {v: d.base64_tokens for v, d in DIALECTS.items()} == {
        "2.1.1": False,
        "2.2.1": True,
        "2.3.0": True,
    }


@pytest.mark.parametrize("coded", [True, False])
def test_a_partner_may_code_tokens_otherwise(coded: bool) -> None:
    """TRANS-4"""
    dialect = V221.for_partner(Quirks(base64_tokens=coded))

    assert dialect.base64_tokens is coded
    assert dialect.codec is V221.codec


def test_without_habits_a_partner_speaks_its_version() -> None:
    assert V230.for_partner(Quirks()).base64_tokens is True


def test_2_1_1_has_no_routing_and_no_roles() -> None:
    """HDR-3, V-1"""
    assert (V211.routing_headers, V211.endpoint_roles, V211.credit_cdrs) == (False, False, False)
    assert "CANCEL_RESERVATION" not in V211.commands
    assert "chargingprofiles" not in V211.modules


def test_reservations_are_no_sessions_of_2_1_1() -> None:
    """SES-2"""
    assert "RESERVATION" not in V211.session_statuses
    assert "RESERVATION" in V221.session_statuses & V230.session_statuses


@pytest.mark.parametrize(
    ("offered", "ceiling", "chosen"),
    [
        ({"2.1.1", "2.2.1", "2.3.0"}, None, "2.3.0"),
        ({"2.1.1", "2.2.1", "2.3.0"}, "2.2.1", "2.2.1"),
        ({"2.1.1", "2.2", "2.0"}, None, "2.1.1"),
        ({"2.2"}, None, None),
        ({"2.3.0"}, "2.2.1", None),
        ({"2.3.0"}, "9.9", "2.3.0"),
        (set(), None, None),
    ],
)
def test_the_newest_common_version_is_chosen(
    offered: set[str], ceiling: str | None, chosen: str | None
) -> None:
    """V-5"""
    assert newest_common(offered, ceiling=ceiling) == chosen


def test_habits_survive_storage() -> None:
    quirks = Quirks(
        base64_tokens=False,
        trailing_slash=True,
        session_patch=True,
        evse_patch=False,
        page_size=100,
        date_style=DateStyle.SECONDS,
        lists_for_objects=True,
        empty_data=False,
        same_host_redirects=True,
        currency_decimals=True,
        command_auth_method="WHITELIST",
        cdr_end_date_time=True,
    )

    assert Quirks.of(quirks.stored()) == quirks
    assert Quirks().stored() == {}
    assert Quirks.of({}) == Quirks()
    assert Quirks.of({"base64_tokens": None, "trailing_slash": None, "page_size": None}) == Quirks()


@pytest.mark.parametrize(
    ("stored", "field"),
    [
        ({"colour": "red"}, "quirks.colour"),
        ({"date_style": "roman"}, "quirks.date_style"),
        ({"date_style": []}, "quirks.date_style"),
        ({"page_size": 0}, "quirks.page_size"),
        ({"page_size": True}, "quirks.page_size"),
        ({"session_patch": None}, "quirks.session_patch"),
        ({"base64_tokens": "yes"}, "quirks.base64_tokens"),
        ({"command_auth_method": "COMMAND"}, "quirks.command_auth_method"),
    ],
)
def test_a_habit_that_cannot_be_names_itself(stored: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        Quirks.of(stored)

    assert refused.value.field == field

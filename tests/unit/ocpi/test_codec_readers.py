"""What partners send, read into the domain; and the small messages they get."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from ocpi_charges import NOON, token

from cpo.domain.partner import Endpoint, PartyRole
from cpo.domain.tokens import Whitelist
from cpo.errors import Invalid, NotFound
from cpo.ocpi import exact_json
from cpo.ocpi.dialect import (
    ChargingPreferences,
    ChargingProfile,
    ClientInfo,
    Codec,
    Credentials,
)
from cpo.ocpi.dialects import DIALECTS

OWNER = ("DE", "EMP")

each_version = pytest.mark.parametrize(
    "codec", [pytest.param(d.codec, id=d.version) for d in DIALECTS.values()]
)
V211, V221, V230 = (DIALECTS[version].codec for version in ("2.1.1", "2.2.1", "2.3.0"))
since_2_2 = pytest.mark.parametrize(
    "codec", [pytest.param(V221, id="2.2.1"), pytest.param(V230, id="2.3.0")]
)


def sent_token(codec: Codec, **changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = exact_json.decode(codec.token(token()).text)
    return document | changes


# --- versions and credentials -------------------------------------------------------------------


@each_version
def test_versions_are_read_in_every_spelling(codec: Codec) -> None:
    """V-4, TRANS-26: what cannot be understood is passed over."""
    listed = [
        {"version": "2.2.1", "url": "https://emsp.example/2.2.1/"},
        {"version": "9.9", "url": "https://emsp.example/9.9"},
        {"version": "2.3.0"},
    ]
    expected = [("2.2.1", "https://emsp.example/2.2.1/"), ("9.9", "https://emsp.example/9.9")]

    assert codec.read_versions(listed) == expected
    assert codec.read_versions({"versions": listed}) == expected


@each_version
def test_our_versions_are_read_back(codec: Codec) -> None:
    """V-1"""
    ours = [
        ("2.1.1", "https://cpo.example/ocpi/2.1.1"),
        ("2.3.0", "https://cpo.example/ocpi/2.3.0"),
    ]

    assert codec.read_versions(exact_json.decode(codec.versions(ours))) == ours


@each_version
@pytest.mark.parametrize("data", [None, {}, [], "2.2.1", [1], [{"version": "2.2.1"}]])
def test_what_is_no_list_of_versions_is_refused(codec: Codec, data: object) -> None:
    with pytest.raises(Invalid):
        codec.read_versions(data)


@since_2_2
def test_a_role_that_is_missing_is_known_from_the_module(codec: Codec) -> None:
    """V-8"""
    details = {
        "version": codec.version,  # type: ignore[attr-defined]
        "endpoints": [
            {"identifier": "locations", "url": "https://emsp.example/locations"},
            {"identifier": "Tokens", "role": "SENDER", "url": "https://emsp.example/tokens"},
            {"identifier": "credentials", "role": "RECEIVER", "url": "https://emsp.example/c"},
            {"identifier": "custom", "role": "RECEIVER", "url": "https://emsp.example/x"},
            {"identifier": "broken", "role": "RECEIVER", "url": "not a url"},
        ],
    }

    assert codec.read_version_details(details) == [
        Endpoint(identifier="locations", role="RECEIVER", url="https://emsp.example/locations"),
        Endpoint(identifier="tokens", role="SENDER", url="https://emsp.example/tokens"),
        Endpoint(identifier="credentials", role="SENDER", url="https://emsp.example/c"),
        Endpoint(identifier="custom", role="RECEIVER", url="https://emsp.example/x"),
    ]


def test_2_1_1_has_no_roles() -> None:
    """V-8"""
    details = {
        "version": "2.1.1",
        "endpoints": [
            {"identifier": "cdrs", "url": "https://emsp.example/cdrs"},
            {"identifier": "tokens", "url": "https://emsp.example/tokens"},
        ],
    }

    assert [(one.identifier, one.role) for one in V211.read_version_details(details)] == [
        ("cdrs", "RECEIVER"),
        ("tokens", "SENDER"),
    ]


@each_version
@pytest.mark.parametrize("data", [None, [], {}, {"endpoints": []}, {"endpoints": [1]}])
def test_what_are_no_version_details_is_refused(codec: Codec, data: object) -> None:
    with pytest.raises(Invalid):
        codec.read_version_details(data)


@each_version
def test_our_version_details_are_read_back(codec: Codec) -> None:
    """V-3"""
    ours = [
        Endpoint(identifier="cdrs", role="RECEIVER", url="https://cpo.example/cdrs"),
        Endpoint(identifier="tokens", role="SENDER", url="https://cpo.example/tokens"),
    ]

    document = exact_json.decode(codec.version_details(ours))

    assert codec.read_version_details(document) == ours


def test_2_1_1_lists_each_module_once() -> None:
    both = [
        Endpoint(identifier="tokens", role=role, url="https://cpo.example/tokens")
        for role in ("SENDER", "RECEIVER")
    ]

    assert len(exact_json.decode(V211.version_details(both))["endpoints"]) == 1


def credentials(**changes: Any) -> Credentials:
    given: dict[str, Any] = {
        "token": "secret-1",
        "url": "https://cpo.example/ocpi/versions",
        "roles": (
            PartyRole(
                role="CPO",
                country_code="NL",
                party_id="CPO",
                name="Example",
                details={"website": "https://cpo.example"},
            ),
            PartyRole(role="CPO", country_code="BE", party_id="CPO", name="Example België"),
        ),
    }
    return Credentials(**given | changes)


@since_2_2
def test_credentials_survive_the_trip(codec: Codec) -> None:
    """CRED-12: several parties on one platform."""
    assert codec.read_credentials(exact_json.decode(codec.write_credentials(credentials()))) == (
        credentials()
    )


def test_credentials_of_2_1_1_name_one_party() -> None:
    """CRED-12"""
    document = exact_json.decode(V211.write_credentials(credentials()))

    assert document == {
        "token": "secret-1",
        "url": "https://cpo.example/ocpi/versions",
        "business_details": {"name": "Example", "website": "https://cpo.example"},
        "party_id": "CPO",
        "country_code": "NL",
    }


def test_a_partner_of_2_1_1_is_an_emsp() -> None:
    """V-8"""
    read = V211.read_credentials(
        {
            "token": "t",
            "url": "https://emsp.example/versions",
            "business_details": {"name": "Example eMSP"},
            "party_id": "emp",
            "country_code": "de",
        }
    )

    assert read.roles == (
        PartyRole(role="EMSP", country_code="DE", party_id="EMP", name="Example eMSP"),
    )


def hub_credentials(**more: Any) -> dict[str, Any]:
    return {
        "token": "t",
        "url": "https://hub.example/versions",
        "roles": [
            {
                "role": role,
                "business_details": {"name": party},
                "party_id": party,
                "country_code": "NL",
            }
            for role, party in (("HUB", "HUB"), ("EMSP", "EMP"))
        ],
    } | more


@since_2_2
def test_a_hub_that_names_itself_by_role_is_known_in_every_version(codec: Codec) -> None:
    """CRED-13"""
    assert codec.read_credentials(hub_credentials()).hub_party == "NLHUB"


def test_2_3_0_names_the_hub_beside_the_parties() -> None:
    """CRED-13"""
    sent = hub_credentials(hub_party_id="NLHUB")
    sent["roles"] = sent["roles"][1:]

    read = V230.read_credentials(sent)

    assert read.hub_party == "NLHUB"
    assert [role.role for role in read.roles] == ["EMSP"]
    assert exact_json.decode(V230.write_credentials(read))["hub_party_id"] == "NLHUB"


@each_version
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"token": None}, "token"),
        ({"token": "t" * 65}, "token"),
        ({"url": "ftp://emsp.example"}, "url"),
        ({"url": 7}, "url"),
    ],
)
def test_credentials_that_cannot_be_used_name_the_field(
    codec: Codec, change: dict[str, Any], field: str
) -> None:
    document = exact_json.decode(codec.write_credentials(credentials())) | change

    with pytest.raises(Invalid) as refused:
        codec.read_credentials(document)

    assert refused.value.field == field


@each_version
def test_credentials_that_our_settings_made_impossible_are_not_sent(codec: Codec) -> None:
    """Promise 7"""
    with pytest.raises(Invalid):
        codec.write_credentials(credentials(token="two words"))
    with pytest.raises(Invalid):
        codec.write_credentials(credentials(roles=()))


# --- tokens -------------------------------------------------------------------------------------


@since_2_2
def test_a_token_survives_the_trip(codec: Codec) -> None:
    """TOK-32: hints for later are kept."""
    assert codec.read_token(sent_token(codec), partner_id="partner-1") == token()


@since_2_2
@pytest.mark.parametrize("field", ["country_code", "party_id", "contract_id"])
def test_a_token_names_its_party_itself(codec: Codec, field: str) -> None:
    """TOK-3: also where the URL would tell."""
    with pytest.raises(Invalid) as refused:
        codec.read_token(sent_token(codec, **{field: None}), owner=OWNER)

    assert (refused.value.field, refused.value.problem) == (field, "required")


def test_a_token_of_2_1_1_takes_its_party_from_outside() -> None:
    """TOK-2"""
    read = V211.read_token(sent_token(V211), owner=OWNER, partner_id="partner-1")

    assert (read.country_code, read.party_id, read.uid) == ("DE", "EMP", "04A2B3C4")
    assert read.contract_id == "DE-EMP-C12345678-X"
    assert read.details == {"language": "de"}
    with pytest.raises(Invalid, match="needs the party"):
        V211.read_token(sent_token(V211))


@each_version
def test_a_token_is_read_tolerantly(codec: Codec) -> None:
    """TRANS-20, TRANS-22, TRANS-24; trap 30"""
    sloppy = sent_token(
        codec,
        type="HOLOGRAM",
        visual_number=None,
        group_id="",
        colour="red",
        last_updated="2026-06-01T14:00:00.123456+02:00",
    )

    read = codec.read_token(sloppy, owner=OWNER)

    assert read.type == "HOLOGRAM"
    assert read.visual_number is None
    assert read.group_id is None
    assert read.last_updated == datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)


@each_version
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uid", None),
        ("uid", "U" * 37),
        ("uid", {}),
        ("uid", 412),
        ("type", None),
        ("type", ["RFID"]),
        ("valid", None),
        ("valid", "perhaps"),
        ("valid", "yes"),
        ("valid", 1),
        ("whitelist", None),
        ("whitelist", "SOMETIMES"),
        ("issuer", None),
        ("issuer", "I" * 65),
        ("last_updated", None),
        ("last_updated", "yesterday"),
        ("last_updated", 1_750_000_000),
        ("language", "deutsch"),
    ],
)
def test_a_token_that_cannot_be_used_names_the_field(
    codec: Codec, field: str, value: object
) -> None:
    with pytest.raises(Invalid) as refused:
        codec.read_token(sent_token(codec, **{field: value}), owner=OWNER)

    assert refused.value.field == field


@each_version
@pytest.mark.parametrize("data", [None, [], "token", 1, True])
def test_a_token_that_is_no_object_is_refused(codec: Codec, data: object) -> None:
    with pytest.raises(Invalid):
        codec.read_token(data, owner=OWNER)
    with pytest.raises(Invalid):
        codec.read_token_patch(data, token())
    with pytest.raises(Invalid):
        codec.read_tokens(data if not isinstance(data, list) else {}, owner=OWNER)


@each_version
def test_a_patch_changes_what_it_names(codec: Codec) -> None:
    """TOK-1, OWN-2"""
    patch = {"valid": False, "whitelist": "NEVER", "last_updated": "2026-06-02T00:00:00Z"}

    read = codec.read_token_patch(patch, token())

    assert read.valid is False
    assert read.whitelist is Whitelist.NEVER
    assert read.last_updated == datetime(2026, 6, 2, tzinfo=UTC)
    assert read.contract_id == token().contract_id
    assert read.partner_id == "partner-1"


@since_2_2
def test_a_patch_without_last_updated_is_refused(codec: Codec) -> None:
    """TRANS-18"""
    with pytest.raises(Invalid) as refused:
        codec.read_token_patch({"valid": False}, token())

    assert refused.value.field == "last_updated"


def test_2_1_1_takes_a_patch_without_last_updated() -> None:
    """OWN-2: its own examples have none."""
    assert V211.read_token_patch({"valid": False}, token()).last_updated == NOON


@each_version
@pytest.mark.parametrize("field", ["uid", "type"])
def test_a_patch_does_not_make_another_token(codec: Codec, field: str) -> None:
    """TOK-3"""
    patch = {field: "OTHER", "last_updated": "2026-06-02T00:00:00Z"}

    with pytest.raises(Invalid) as refused:
        codec.read_token_patch(patch, token())

    assert refused.value.field == field


@each_version
def test_a_patch_of_a_token_of_unknown_type_keeps_its_type(codec: Codec) -> None:
    """TRANS-24"""
    patch = {"valid": False, "last_updated": "2026-06-02T00:00:00Z"}

    assert codec.read_token_patch(patch, token(type="EMAID")).type == "EMAID"


@each_version
def test_of_a_page_the_good_tokens_are_read_and_the_bad_ones_named(codec: Codec) -> None:
    """TRANS-26"""
    page = [sent_token(codec), sent_token(codec, uid=None), 5, sent_token(codec, uid="B")]

    good, bad = codec.read_tokens(page, owner=OWNER, partner_id="p")

    assert [one.uid for one in good] == ["04A2B3C4", "B"]
    assert [problem.field for problem in bad] == ["[1].uid", "[2]"]


# --- real-time authorization --------------------------------------------------------------------


@each_version
def test_we_ask_about_the_evse(codec: Codec) -> None:
    """TOK-21"""
    document = exact_json.decode(codec.location_references("LOC-1", ("EVSE-1",)))

    assert document == {"location_id": "LOC-1", "evse_uids": ["EVSE-1"]}


def test_2_1_1_also_names_the_connector() -> None:
    """TOK-21"""
    assert exact_json.decode(V211.location_references("LOC-1", ("EVSE-1",), "2")) == {
        "location_id": "LOC-1",
        "evse_uids": ["EVSE-1"],
        "connector_ids": ["2"],
    }


@since_2_2
def test_an_answer_brings_token_and_reference(codec: Codec) -> None:
    """TOK-22, TOK-23"""
    answer = codec.read_authorization_info(
        {
            "allowed": "ALLOWED",
            "token": sent_token(codec),
            "location": {"location_id": "LOC-1", "evse_uids": ["EVSE-1"]},
            "authorization_reference": "ref-1",
            "info": {"language": "en", "text": "Welcome"},
        },
        partner_id="partner-1",
    )

    assert answer.allowed == "ALLOWED"
    assert answer.token == token()
    assert answer.authorization_reference == "ref-1"
    assert answer.evse_uids == ("EVSE-1",)
    assert answer.message == "Welcome"


@each_version
def test_an_answer_may_be_as_short_as_can_be(codec: Codec) -> None:
    """Tolerant in: the token is often missing."""
    answer = codec.read_authorization_info({"allowed": "NO_CREDIT"})

    assert (answer.allowed, answer.token, answer.evse_uids) == ("NO_CREDIT", None, None)


@each_version
def test_a_location_without_evses_limits_nothing(codec: Codec) -> None:
    """TRANS-20: absent = null = empty."""
    answer = codec.read_authorization_info(
        {"allowed": "ALLOWED", "location": {"location_id": "LOC-1", "evse_uids": []}}
    )

    assert answer.evse_uids is None


@each_version
@pytest.mark.parametrize("data", [None, [], {}, {"allowed": "MAYBE"}, {"allowed": True}])
def test_an_answer_that_says_nothing_is_refused(codec: Codec, data: object) -> None:
    """TOK-24: fails closed."""
    with pytest.raises(Invalid):
        codec.read_authorization_info(data)


# --- commands -----------------------------------------------------------------------------------


def command(codec: Codec, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {"response_url": "https://emsp.example/results/1?a=b&c=d"}
    match name:
        case "START_SESSION":
            return body | {
                "token": sent_token(codec),
                "location_id": "LOC-1",
                "evse_uid": "EVSE-1",
                "connector_id": "1",
                "authorization_reference": "ref-1",
            }
        case "STOP_SESSION":
            return body | {"session_id": "SESSION-1"}
        case "RESERVE_NOW":
            return body | {
                "token": sent_token(codec),
                "expiry_date": "2026-06-01T13:00:00Z",
                "reservation_id": 17 if codec is V211 else "R-17",
                "location_id": "LOC-1",
                "evse_uid": "EVSE-1",
            }
        case "CANCEL_RESERVATION":
            return body | {"reservation_id": "R-17"}
        case _:
            return body | {"location_id": "LOC-1", "evse_uid": "EVSE-1", "connector_id": "1"}


COMMANDS = [
    pytest.param(dialect.codec, name, id=f"{dialect.version} {name}")
    for dialect in DIALECTS.values()
    for name in sorted(dialect.commands)
]


@pytest.mark.parametrize(("codec", "name"), COMMANDS)
def test_every_command_of_a_version_is_read(codec: Codec, name: str) -> None:
    """CMD-1"""
    read = codec.read_command(name, command(codec, name), owner=OWNER, partner_id="p")

    assert read.name == name
    assert read.response_url == "https://emsp.example/results/1?a=b&c=d"


@pytest.mark.parametrize(("codec", "name"), COMMANDS)
def test_a_command_without_any_of_its_required_fields_names_the_field(
    codec: Codec, name: str
) -> None:
    """CMD-6"""
    optional = {"evse_uid", "connector_id", "authorization_reference"}
    if name == "UNLOCK_CONNECTOR":
        optional = set()
    for field in command(codec, name).keys() - optional:
        for value in (None, {"a": []}):
            with pytest.raises(Invalid) as refused:
                codec.read_command(name, command(codec, name) | {field: value}, owner=OWNER)
            assert refused.value.field.split(".")[0] == field


@since_2_2
def test_a_start_brings_everything_a_session_needs(codec: Codec) -> None:
    """CMD-9"""
    read = codec.read_command("START_SESSION", command(codec, "START_SESSION"), partner_id="p")

    assert (read.location_id, read.evse_uid, read.connector_id) == ("LOC-1", "EVSE-1", "1")
    assert read.authorization_reference == "ref-1"
    assert read.token is not None
    assert (read.token.uid, read.token.partner_id) == ("04A2B3C4", "p")


@since_2_2
def test_a_connector_without_its_evse_is_refused(codec: Codec) -> None:
    """CMD-9"""
    with pytest.raises(Invalid, match="evse_uid is required"):
        codec.read_command("START_SESSION", command(codec, "START_SESSION") | {"evse_uid": None})


@each_version
def test_a_start_may_leave_the_evse_to_us(codec: Codec) -> None:
    """CMD-10"""
    body = command(codec, "START_SESSION") | {"evse_uid": None, "connector_id": None}

    assert codec.read_command("START_SESSION", body, owner=OWNER).evse_uid is None


def test_a_reservation_id_of_2_1_1_is_a_number() -> None:
    """CMD-14"""
    read = V211.read_command("RESERVE_NOW", command(V211, "RESERVE_NOW"), owner=OWNER)

    assert read.reservation_id == "17"
    assert read.expiry_date == datetime(2026, 6, 1, 13, tzinfo=UTC)


@each_version
def test_an_unknown_command_is_not_found(codec: Codec) -> None:
    with pytest.raises(NotFound):
        codec.read_command("MAKE_COFFEE", {})


def test_2_1_1_cannot_cancel_a_reservation() -> None:
    """CMD-1"""
    with pytest.raises(NotFound):
        V211.read_command("CANCEL_RESERVATION", command(V221, "CANCEL_RESERVATION"))


@since_2_2
def test_answers_to_commands(codec: Codec) -> None:
    """CMD-3, CMD-4: bare objects."""
    assert exact_json.decode(codec.command_response("ACCEPTED", 30, "on its way")) == {
        "result": "ACCEPTED",
        "timeout": 30,
        "message": [{"language": "en", "text": "on its way"}],
    }
    assert exact_json.decode(codec.command_result("EVSE_OCCUPIED")) == {"result": "EVSE_OCCUPIED"}


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        ("ACCEPTED", "ACCEPTED"),
        ("EVSE_OCCUPIED", "REJECTED"),
        ("EVSE_INOPERATIVE", "REJECTED"),
        ("FAILED", "REJECTED"),
        ("UNKNOWN_RESERVATION", "REJECTED"),
        ("TIMEOUT", "TIMEOUT"),
        ("NOT_SUPPORTED", "NOT_SUPPORTED"),
        ("OFFLINE", "REJECTED"),
    ],
)
def test_2_1_1_has_one_word_list_for_both_answers(outcome: str, word: str) -> None:
    """CMD-3"""
    assert exact_json.decode(V211.command_result(outcome, "why")) == {"result": word}
    assert exact_json.decode(V211.command_response(outcome, 30)) == {"result": word}


@each_version
def test_every_outcome_of_ours_has_a_word(codec: Codec) -> None:
    """MAP-30"""
    from cpo.domain.command import Outcome

    for outcome in Outcome:
        codec.command_result(outcome)


@each_version
def test_a_word_that_does_not_exist_is_a_mistake_of_ours(codec: Codec) -> None:
    with pytest.raises(Invalid):
        codec.command_result("HOORAY")


# --- charging profiles, preferences, hubs -------------------------------------------------------

PROFILE = ChargingProfile(
    charging_rate_unit="W",
    periods=((0, Decimal(11000)), (1800, Decimal("7400.55"))),
    start_date_time=NOON,
    duration=3600,
)


@since_2_2
def test_a_profile_is_read(codec: Codec) -> None:
    """CP-1"""
    body = {
        "charging_profile": {
            "charging_rate_unit": "W",
            "start_date_time": "2026-06-01T12:00:00Z",
            "duration": 3600,
            "charging_profile_period": [
                {"start_period": 0, "limit": 11000},
                {"start_period": 1800, "limit": Decimal("7400.55")},
            ],
        },
        "response_url": "https://emsp.example/r",
    }

    assert codec.read_set_charging_profile(body) == (PROFILE, "https://emsp.example/r")


@since_2_2
def test_an_active_profile_has_limits_of_one_decimal(codec: Codec) -> None:
    """CP-3, CP-5"""
    document = exact_json.decode(codec.active_charging_profile(PROFILE))

    assert document["start_date_time"] == "2026-06-01T12:00:00Z"
    assert document["charging_profile"]["charging_profile_period"][1] == {
        "start_period": 1800,
        "limit": Decimal("7400.6"),
    }
    assert exact_json.decode(codec.charging_profile_result("ACCEPTED", PROFILE)) == {
        "result": "ACCEPTED",
        "profile": document,
    }


@since_2_2
def test_an_active_profile_needs_a_start(codec: Codec) -> None:
    """CP-5"""
    with pytest.raises(Invalid):
        codec.active_charging_profile(ChargingProfile(charging_rate_unit="A"))


@since_2_2
def test_answers_about_profiles(codec: Codec) -> None:
    """CP-1, CP-2"""
    assert exact_json.decode(codec.charging_profile_response("TOO_OFTEN", 30)) == {
        "result": "TOO_OFTEN",
        "timeout": 30,
    }
    assert exact_json.decode(codec.charging_profile_result("UNKNOWN")) == {"result": "UNKNOWN"}


@since_2_2
def test_preferences_are_read(codec: Codec) -> None:
    """SES-18"""
    assert codec.read_charging_preferences(
        {"profile_type": "GREEN", "departure_time": "2026-06-01T12:00:00Z", "energy_need": "20.5"}
    ) == ChargingPreferences(profile_type="GREEN", departure_time=NOON, energy_need=Decimal("20.5"))
    with pytest.raises(Invalid) as refused:
        codec.read_charging_preferences({"profile_type": "LAZY"})
    assert refused.value.field == "profile_type"


@since_2_2
def test_what_a_hub_says_of_a_party_survives_the_trip(codec: Codec) -> None:
    """HUB-1"""
    info = ClientInfo(
        country_code="DE", party_id="EMP", role="EMSP", status="OFFLINE", last_updated=NOON
    )

    assert codec.read_client_info(exact_json.decode(codec.client_info(info))) == info


def test_2_1_1_has_none_of_these_modules() -> None:
    """Section 1: only 2.2.1 and later."""
    info = ClientInfo(
        country_code="DE", party_id="EMP", role="EMSP", status="OFFLINE", last_updated=NOON
    )
    for ask in (
        lambda: V211.charging_profile_response("ACCEPTED", 1),
        lambda: V211.charging_profile_result("ACCEPTED"),
        lambda: V211.active_charging_profile(PROFILE),
        lambda: V211.read_set_charging_profile({}),
        lambda: V211.read_charging_preferences({}),
        lambda: V211.client_info(info),
        lambda: V211.read_client_info({}),
    ):
        with pytest.raises(NotFound):
            ask()

"""Settings: TOML file < environment < command line; the only reader of either.

Every key has a default, a unit where it has one, and a sentence that says what it does: the
reference page and `config.toml` are written from the classes below and compared by a test.
"""

import difflib
import json
import os
import re
import tomllib
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cpo.errors import Misconfigured

ENV_PREFIX = "CPO_"
# Read by the command line itself, not settings of the server.
ENV_RESERVED = ("CPO_CONFIG", "CPO_URL", "CPO_KEY", "CPO_KEY_FILE", "CPO_TEST_")
MASK = "********"

Scope = Literal["read", "operate", "admin"]


def _time_zone(name: str) -> str:
    if name not in zoneinfo.available_timezones():
        raise ValueError("not a time zone of the IANA database")
    return name


def _url_scheme(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not url.startswith(schemes):
            raise ValueError("must start with " + " or ".join(schemes))
        return url

    return AfterValidator(check)


def _without_trailing_slash(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.query or parts.fragment:
        raise ValueError("must have no query and no fragment")
    return url.rstrip("/")


def unit(name: str) -> dict[str, Any]:
    """Return the extra of a field that states its unit."""
    return {"unit": name}


# Not shorter than 0.05 s: tests need no waiting, and zero would spin.
Lifetime = Annotated[float, Field(ge=0, json_schema_extra=unit("seconds"))]
Seconds = Annotated[float, Field(ge=0.05, le=86_400 * 366, json_schema_extra=unit("seconds"))]
ShownStatus = Literal[
    "AVAILABLE", "BLOCKED", "CHARGING", "INOPERATIVE", "OUTOFORDER", "RESERVED", "UNKNOWN"
]
PerSecond = Annotated[float, Field(ge=0, json_schema_extra=unit("per second, 0 = no limit"))]
Port = Annotated[int, Field(ge=0, le=65_535)]
Host = Annotated[str, Field(min_length=1, max_length=255)]


class Section(BaseModel):
    """A table of the settings file. Knows its keys and refuses others."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BusinessDetails(Section):
    """The name under which a party is known."""

    name: str = Field(
        "Example Charging", min_length=1, max_length=100, description="our name, told to partners"
    )
    website: str | None = Field(None, max_length=255, description="our web site")


class Party(Section):
    """One CPO party that we are towards partners."""

    country_code: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$", to_upper=True)] = (
        Field(examples=["NL"], description="ISO 3166 alpha-2 country code")
    )
    party_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{3}$", to_upper=True)] = Field(
        examples=["EXA"],
        description="our party id of three characters, as the eMI3 register gives it",
    )
    currency: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="ISO 4217 code of our prices")
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        "Europe/Amsterdam", description="time zone of locations that state none"
    )
    business_details: BusinessDetails = BusinessDetails()


class Database(Section):
    """Where everything is kept."""

    url: Annotated[
        str, _url_scheme("sqlite:///", "postgresql://"), Field(json_schema_extra={"secret": True})
    ] = Field(
        "sqlite:///cpo.db",
        description="an SQLite file (`sqlite:///cpo.db`, `sqlite:////var/lib/cpo/cpo.db`) "
        "or `postgresql://user:password@host/name`",
    )
    keep_messages: Lifetime = Field(
        86_400 * 90, description="how long the frame log is kept; 0 = for ever"
    )
    keep_audit: Lifetime = Field(0, description="how long the audit trail is kept; 0 = for ever")


class Bus(Section):
    """How several nodes find each other."""

    url: Annotated[
        str, _url_scheme("local:", "nats://", "tls://"), Field(json_schema_extra={"secret": True})
    ] = Field(
        "local:",
        description="`local:` for one process; `nats://host:4222` lets several nodes share one "
        "PostgreSQL database",
    )
    node_timeout: Seconds = Field(
        10,
        description="how long a node may show no sign of life before the others take over what "
        "it did; only with several nodes",
    )
    poll_interval: Seconds = Field(
        1,
        description="how often a node looks for changes of others that the bus did not tell it "
        "of; only with several nodes",
    )


class Tls(Section):
    """TLS on the charge points' port; off as long as no certificate is named."""

    certificate: Path | None = Field(None, description="PEM file with our certificate chain")
    key: Path | None = Field(None, description="PEM file with its private key")
    second_certificate: Path | None = Field(
        None,
        description="a second chain with a key of another kind (RSA beside ECDSA), for chargers "
        "that know only one",
    )
    second_key: Path | None = Field(None, description="PEM file with its private key")
    client_crl: Path | None = Field(
        None,
        description="PEM file with the revocation lists of those CAs; without a list that is valid "
        "now no certificate of theirs is accepted then",
    )
    client_ca: Path | None = Field(
        None, description="PEM file of the CAs whose charge point certificates are accepted"
    )
    authority_certificate: Path | None = Field(
        None,
        description="PEM file of the CA that signs what charge points ask to have signed; "
        "without it such requests are rejected",
    )
    authority_key: Path | None = Field(None, description="PEM file with that CA's private key")
    v2g_authority_certificate: Path | None = Field(
        None,
        description="PEM file of the CA that signs what charge points show to cars "
        "(V2GCertificate of ISO 15118)",
    )
    v2g_authority_key: Path | None = Field(None, description="PEM file with that CA's private key")
    authority_organizations: list[str] = Field(
        [],
        description="names that a certificate request may give as its organization: others are "
        "rejected, and stations are told the first (CpoName, OrganizationName); none: any will do",
    )
    certificate_days: int = Field(
        365, ge=1, le=3650, description="days for which a charge point's certificate is signed"
    )

    renew_before_days: int = Field(
        30,
        ge=1,
        le=365,
        description="days before its end from which a certificate is alarmed, and stations are "
        "asked to renew theirs",
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.second_certificate is None) != (self.second_key is None):
            raise ValueError("second_certificate and second_key are given together or not at all")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are given together or not at all")
        if (self.authority_certificate is None) != (self.authority_key is None):
            raise ValueError(
                "authority_certificate and authority_key are given together or not at all"
            )
        if (self.v2g_authority_certificate is None) != (self.v2g_authority_key is None):
            raise ValueError(
                "v2g_authority_certificate and v2g_authority_key are given together or not at all"
            )
        return self


class LocalList(Section):
    """Local authorization lists: the tokens that stations accept by themselves."""

    mode: Literal["auto", "on", "off"] = Field(
        "auto",
        description="`auto` keeps the list of every station that says it has one and has it "
        "switched on; `on` of all; a settings template and a station's habits say it for theirs",
    )
    max_entries: int = Field(
        5_000,
        ge=1,
        le=100_000,
        description="entries at most, however many a station takes: own drivers first, then the "
        "tokens that were used last",
    )
    interval: Seconds = Field(
        60, description="how long changes are gathered; a token that is withdrawn goes at once"
    )


class QuirkProfile(Section):
    """What holds for chargers of one kind, by what their BootNotification says."""

    name: str = Field(min_length=1, max_length=64, description="shown where it applies")
    vendor: str = Field("*", description="pattern (`*`, `?`) for the vendor, in any case")
    model: str = Field("*", description="pattern for the model")
    firmware: str = Field("*", description="pattern for the firmware version")
    note: str = Field("", description="why it is so, for those who read it")
    assume_version: Literal["1.6", "2.0.1", "2.1"] | None = Field(
        None, description="for chargers that name no subprotocol"
    )
    pings: Literal["on", "off"] | None = Field(
        None, description="off for chargers that cannot answer WebSocket pings"
    )
    compression: Literal["on", "off"] | None = Field(
        None, description="off for chargers whose permessage-deflate is broken"
    )
    intake: Literal["lenient", "strict"] | None = Field(
        None, description="strict: what breaks the schema is refused"
    )
    triggers: Literal["on", "off"] | None = Field(
        None, description="off for chargers that TriggerMessage upsets"
    )
    inventory: Literal["on", "off"] | None = Field(
        None, description="off for chargers that the question for their configuration upsets"
    )
    local_list: Literal["auto", "on", "off"] | None = Field(
        None, description="whether their local authorization lists are kept (`ocpp.local_list`)"
    )
    energy_unit: Literal["Wh", "kWh"] | None = Field(
        None, description="kWh for chargers whose meter counts kWh and calls them Wh"
    )
    close: Literal["frame", "cut"] | None = Field(
        None, description="cut for chargers that never return after a WebSocket close"
    )
    tags: Literal["any", "hex"] | None = Field(
        None, description="hex for chargers that take hexadecimal tags only in a remote start"
    )
    fixed_tag: str | None = Field(
        None,
        min_length=1,
        max_length=20,
        description="for chargers that take one tag of their own only in a remote start",
    )
    too_long: list[str] = Field([], description="fields that may be longer than the schema says")
    open_enums: list[str] = Field([], description="fields whose words may be none of the schema's")
    empty: list[str] = Field([], description="lists that may be empty")
    fractions: list[str] = Field([], description="whole numbers that may have fractions")


_HttpUrl = Annotated[str, _url_scheme("http://", "https://")]


class PlugAndCharge(Section):
    """Contracts in cars (ISO 15118): their certificates, their status, and where new ones are."""

    roots: Path | None = Field(
        None,
        description="PEM file of the V2G and MO roots, and of sub-CAs and OCSP responders, that "
        "are believed",
    )
    ocsp_responder: _HttpUrl | None = Field(
        None, description="OCSP responder that is asked, whatever a charger or certificate names"
    )
    ocsp_allowed: list[_HttpUrl] = Field(
        [],
        description="URLs below which a responder or revocation list that a charger or certificate "
        "names may be asked; none: no address on a charger's word",
    )
    ocsp_unreachable: Literal["refuse", "accept"] = Field(
        "refuse", description="what becomes of a contract whose status cannot be learned"
    )
    ocsp_timeout: Seconds = Field(5, description="how long a responder may take")
    ocsp_cache: Lifetime = Field(
        3600, description="how long its answer is used again, if it does not end before"
    )
    provider_url: _HttpUrl | None = Field(
        None,
        description="provider of contract certificates: requests of cars are posted there as JSON; "
        "none: they fail",
    )
    provider_key: SecretStr | None = Field(None, description="bearer token for the provider")
    provider_timeout: Seconds = Field(20, description="how long the provider may take")


class VatNumberService(Section):
    """The service that knows whether a VAT number is valid (OCPP 2.1, VatNumberValidation)."""

    url: _HttpUrl | None = Field(
        None,
        description="numbers that drivers enter are posted there as JSON; none: no number is valid",
    )
    key: SecretStr | None = Field(None, description="bearer token for it")
    timeout: Seconds = Field(10, description="how long it may take")


class Ocpp(Section):
    """The side of the charge points."""

    host: Host = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - charge points come from outside
    port: Port = Field(9000, description="port to listen on; 0 picks a free one")
    path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$")] = Field(
        "/ocpp", description="charge points connect to `ws://host:port{path}/{identity}`"
    )
    unknown_stations: Literal["reject", "register"] = Field(
        "reject",
        description="what to do with a station that nobody entered: `reject` answers as to a "
        "wrong password; `register` keeps it "
        "as pending: served, not published",
    )
    unknown_identity_status: Literal[401, 404] = Field(
        401, description="HTTP status for an unknown identity; 404 tells strangers which exist"
    )
    min_security_profile: int = Field(
        0, ge=0, le=3, description="lowest OCPP security profile that any station may use"
    )
    heartbeat_interval: Seconds = Field(
        300,
        description="told to stations in BootNotification, spread by a tenth so that a fleet that "
        "booted together does not beat together",
    )
    call_timeout: Seconds = Field(30, description="how long a station may take to answer a request")
    offline_grace: Lifetime = Field(
        300,
        description="a station may be away this long before its EVSEs become UNKNOWN; 0 = at once",
    )
    start_timeout: Seconds = Field(
        120,
        description="a remote start that was accepted, and whose transaction has not come after "
        "this long, is reported as missing; a station's own ConnectionTimeOut wins where it is "
        "known",
    )
    settle_time: Seconds = Field(
        60, description="how long the CDR of an ended transaction waits for events that are missing"
    )
    stale_transaction_after: Seconds = Field(
        86400,
        description="an open transaction whose connector is free, or whose station is silent, this "
        "long is ended with the evidence there is; its CDR is held",
    )
    stale_sessions: Literal["completed", "invalid"] = Field(
        "completed",
        description="what partners are told of the session of such a transaction",
    )
    settings_check_interval: Lifetime = Field(
        86_400,
        description="how often the settings that templates want are read from stations that stay "
        "connected, so that a change from elsewhere shows as drift; 0 = only at boots",
    )
    connects_per_minute: Annotated[
        float, Field(ge=0, json_schema_extra=unit("per minute, 0 = no limit"))
    ] = Field(10, description="connections of one identity; over it: 429")
    messages_per_second: PerSecond = Field(
        10, description="messages of one station; over it the station's socket is read slower"
    )
    messages_burst: int = Field(
        100, ge=1, description="messages a station may send at once before that limit holds"
    )
    flood_limit: int = Field(
        300,
        ge=0,
        description="messages in a row over that limit, sent without waiting for their answers, "
        "until the connection is closed with 1008; 0 = never",
    )
    accepts_per_second: PerSecond = Field(
        200, description="handshakes of all stations; over it: 503 with Retry-After"
    )
    max_connections: int = Field(
        0, ge=0, description="live connections; over it: 503; 0 = as many as file handles allow"
    )
    max_handshakes: int = Field(
        4_000,
        ge=1,
        description="connections whose handshake is not over; over it, who has dawdled longest has "
        "to go, and a TLS handshake is refused; never more than a quarter of the file handles",
    )
    compression: bool = Field(
        True,
        description="permessage-deflate for charge points that offer it (OCPP 2.0.1 asks for it); "
        "off for one kind or station by its habit",
    )
    max_frame_bytes: Annotated[int, Field(ge=1024, json_schema_extra=unit("bytes"))] = Field(
        262_144, description="longest message taken from a station"
    )
    handshake_timeout: Seconds = Field(10, description="time for a connection to become a session")
    ping_interval: Seconds = Field(30, description="WebSocket ping to each station")
    ping_timeout: Seconds = Field(30, description="a ping unanswered this long ends the connection")
    available_status: ShownStatus = Field(
        "AVAILABLE", description="OCPI status of an EVSE that says Available"
    )
    preparing_status: Literal["CHARGING", "AVAILABLE", "BLOCKED"] = Field(
        "CHARGING", description="OCPI status of an EVSE whose cable is in before the charge"
    )
    charging_status: ShownStatus = Field(
        "CHARGING", description="OCPI status of an EVSE that charges"
    )
    suspended_ev_status: ShownStatus = Field(
        "CHARGING", description="OCPI status of an EVSE whose car takes no energy"
    )
    suspended_evse_status: ShownStatus = Field(
        "CHARGING", description="OCPI status of an EVSE that gives its car no energy"
    )
    finishing_status: Literal["CHARGING", "BLOCKED"] = Field(
        "CHARGING", description="OCPI status of an EVSE whose cable is still in after the charge"
    )
    blocked_after: Lifetime = Field(
        0,
        description="where a cable that is in before or after the charge means BLOCKED: after "
        "this long, and CHARGING until then",
    )
    reserved_status: ShownStatus = Field(
        "RESERVED", description="OCPI status of an EVSE that is reserved"
    )
    unavailable_status: ShownStatus = Field(
        "INOPERATIVE",
        description="OCPI status of an EVSE that says Unavailable, or whose station does",
    )
    faulted_status: ShownStatus = Field(
        "OUTOFORDER", description="OCPI status of an EVSE that says Faulted, or whose station does"
    )
    refresh_delay: Seconds = Field(
        10,
        description="how long after a station came in what it has not told is asked for: its "
        "statuses, its boot data, after its first boot its inventory",
    )
    master_pass_group: str | None = Field(
        None,
        min_length=1,
        max_length=36,
        description="group whose tokens stop every transaction and start none; written to "
        "stations of 2.x as AuthCtrlr.MasterPassGroupId at each boot",
    )
    concurrent_transactions: bool = Field(
        True,
        description="whether a token may charge at several EVSEs at once; false: a second start is "
        "told ConcurrentTx",
    )
    token_cache: Lifetime = Field(
        0, description="how long stations may keep an accepted token in their cache; 0 = no limit"
    )
    asked_token_cache: Lifetime = Field(
        900, description="the same for tokens that their eMSP has to be asked about"
    )
    clear_caches: bool = Field(
        True,
        description="a token that is withdrawn empties the caches of the stations where it was "
        "used lately (ClearCache)",
    )
    stop_withdrawn: bool = Field(
        False, description="a token that is withdrawn stops the sessions that it started"
    )
    local_list: LocalList = LocalList()
    plug_and_charge: PlugAndCharge = PlugAndCharge()
    vat_numbers: VatNumberService = VatNumberService()
    tls: Tls = Tls()
    quirk_profiles: list[QuirkProfile] = Field(
        [],
        description="what holds for chargers of a kind, after the profiles that come with cpo; "
        "the habits of a station win",
    )


class Files(Section):
    """Files of charge points: firmware that they fetch, logs that they send, by one-time URLs."""

    host: Host = Field("127.0.0.1", description="address to listen on for charge points")
    port: Port = Field(0, description="port to listen on; 0 picks a free one")
    public_url: Annotated[str, AfterValidator(_without_trailing_slash)] | None = Field(
        None,
        description="base of the URLs told to charge points; unset: `http://127.0.0.1:` and the "
        "port (`https` where `ocpp.tls.certificate` is set)",
    )
    directory: str = Field(
        "cpo-files",
        min_length=1,
        description="folder of the files, made when the first one comes",
    )
    max_upload_bytes: Annotated[int, Field(ge=1, json_schema_extra=unit("bytes"))] = Field(
        268_435_456, description="longest log taken from a charge point"
    )
    max_firmware_bytes: Annotated[int, Field(ge=1, json_schema_extra=unit("bytes"))] = Field(
        1_073_741_824, description="longest firmware image taken from the operator"
    )
    max_total_bytes: Annotated[int, Field(ge=1, json_schema_extra=unit("bytes"))] = Field(
        10_737_418_240, description="all files together; over it: 507"
    )
    max_transfers: int = Field(
        50, ge=1, description="transfers at once; over it: 503 with Retry-After"
    )
    link_lifetime: Seconds = Field(86_400, description="how long a URL may be used, once")
    idle_timeout: Seconds = Field(60, description="a transfer that stands still this long is cut")
    keep_uploads: Lifetime = Field(
        86_400 * 30, description="how long logs of charge points are kept; 0 = for ever"
    )


class Jobs(Section):
    """Jobs at charge points: how patient we are with them."""

    log_timeout: Seconds = Field(
        900, description="a charge point that is silent about a log this long has not done it"
    )
    firmware_timeout: Seconds = Field(
        7_200, description="the same for a firmware update; it may reboot meanwhile"
    )
    answer_timeout: Seconds = Field(
        300, description="the same for messages on displays, customer information and data"
    )
    retries: int = Field(
        1,
        ge=0,
        le=20,
        description="further attempts after one that failed; data is sent once unless its job says",
    )
    retry_interval: Seconds = Field(60, description="wait before the next attempt")
    keep: Lifetime = Field(
        86_400 * 90, description="how long jobs that have ended are kept; 0 = for ever"
    )


class Push(Section):
    """Delivery of changes to partners; each partner has a lane of its own."""

    backoff_min: Seconds = Field(1, description="first wait after a failure")
    backoff_max: Seconds = Field(
        300, description="longest wait between two attempts, the first too"
    )
    timeout: Seconds = Field(10, description="how long a partner may take to answer")
    drain_rate: PerSecond = Field(
        50, description="objects sent to a partner that was away, until it has caught up"
    )


class Ocpi(Section):
    """The side of the partners."""

    host: Host = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - partners come from outside
    port: Port = Field(8080, description="port to listen on; 0 picks a free one")
    public_url: Annotated[str, AfterValidator(_without_trailing_slash)] | None = Field(
        None,
        description="base of every URL told to partners; unset: `http://127.0.0.1:` and the port",
    )
    allow_private_urls: bool = Field(
        False,
        description="partners' URLs may be plain http and point at loopback or private addresses",
    )
    status_debounce: Seconds = Field(
        1, description="window in which later status changes of an EVSE are gathered into one"
    )
    session_update_interval: Seconds = Field(
        60, description="shortest time between two updates of a running Session"
    )
    authorize_timeout: Seconds = Field(
        5, description="budget for real-time authorization at the eMSP"
    )
    token_sync_interval: Seconds = Field(
        3600, description="how often the tokens of each partner are pulled"
    )
    rotate_every: Lifetime = Field(
        0,
        description="how often the tokens of each partner and ours are renewed; 0 = only when an "
        "operator says so; a partner's policy `rotate_every` wins",
    )
    rotation_overlap: Seconds = Field(
        900,
        description="how long a partner may go on with its old token after a renewal, "
        "unless it uses the new one before",
    )
    command_timeout: Seconds = Field(
        30, description="a command's result is posted to the partner within this time"
    )
    requests_per_second: PerSecond = Field(
        50, description="requests of one partner, with a burst of twice that; over it: 429"
    )
    push: Push = Push()


HOLD_REASONS = (
    "meter_stop_below_start",
    "meter_stop_implausible",
    "meter_reset",
    "implausible_jump",
    "implausible_power",
    "unit_suspect",
    "gap",
    "no_energy",
    "estimated",
    "estimated_end",
    "start_unknown",
    "stop_before_start",
    "clock_implausible",
    "tariff_unknown",
    "placed_later",
    "written_off",
    "signed_invalid",
    "signed_key_differs",
    "signed_contradicts",
)
"""The reasons for which a CDR waits for the operator by default."""

NOTED_REASONS = (
    "another_token_than_asked",
    "session_relative",
    "begin_rejected",
    "dip_ignored",
    "energy_exported",
    "energy_missing_before",
    "stop_values_differ",
    "stop_repeated_differently",
    "interrupted",
    "stale",
    "events_missing",
    "matched_without_id",
    "clock_ahead",
    "stopped_by_another_token",
    "signed_differs",
)
"""Those that are only noted by default: what they speak of was settled without a guess."""


def _reason(value: str) -> str:
    known = (*HOLD_REASONS, *NOTED_REASONS)
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value


class BillingRules(Section):
    """What is doubtful about a charge, and waits for the operator instead of being billed."""

    hold: list[Annotated[str, AfterValidator(_reason)]] = Field(
        list(HOLD_REASONS),
        description="the reasons for which a CDR is held (docs/pricing.md names them all); a `gap` "
        "only where the price may have changed within it",
    )
    longest_gap: Seconds = Field(
        3600, description="readings with energy between them that lie further apart are a `gap`"
    )
    power_margin: float = Field(
        2,
        gt=0,
        le=1000,
        description="more than so many times what the connector delivers, over five minutes or "
        "longer, is `implausible_power`",
    )


class ApiKey(Section):
    """A key for the operator API."""

    name: str = Field(min_length=1, max_length=64, description="who uses it; in audit rows")
    key: SecretStr = Field(min_length=1, description="a random text of 16 characters or more")
    scopes: list[Scope] = Field(
        ["read"],
        min_length=1,
        description="what it may do: `read`, `operate` (commands), `admin` (everything)",
    )


class Operator(Section):
    """The side of the operator."""

    host: Host = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(8081, description="port to listen on; 0 picks a free one")
    api_keys: list[ApiKey] = Field(
        [],
        description="keys of the operator API; none: one with scope `admin` is made at the first "
        "start and printed once as `operator key: KEY`",
    )


class Server(Section):
    """The process."""

    drain_timeout: Seconds = Field(10, description="from SIGTERM to the end of the process")
    secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="encrypts the partners' tokens at rest; unset: made at the first start and "
        "kept in a file beside the SQLite file (PostgreSQL: `cpo.key`)",
    )


class Log(Section):
    """Logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level written"
    )
    format: Literal["auto", "json", "text"] = Field(
        "auto", description="how lines look: `auto` writes text on a terminal and JSON elsewhere"
    )


class Settings(Section):
    """All settings of `cpo`."""

    parties: list[Party] = Field(
        [Party(country_code="NL", party_id="EXA")],
        min_length=1,
        description="the CPO parties we are; several may share one instance",
    )
    database: Database = Database()
    bus: Bus = Bus()
    ocpp: Ocpp = Ocpp()
    files: Files = Files()
    jobs: Jobs = Jobs()
    ocpi: Ocpi = Ocpi()
    billing: BillingRules = BillingRules()
    operator: Operator = Operator()
    server: Server = Server()
    log: Log = Log()

    @model_validator(mode="after")
    def _unique(self) -> Self:
        ids = [(party.country_code, party.party_id) for party in self.parties]
        if len(ids) != len(set(ids)):
            raise ValueError("two parties have the same country_code and party_id")
        names = [key.name for key in self.operator.api_keys]
        if len(names) != len(set(names)):
            raise ValueError("two operator.api_keys have the same name")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting, as the reference page shows it. `path` is dotted, `[]` marks an array."""

    path: str
    section: type[Section]
    default: Any
    unit: str | None
    meaning: str
    choices: tuple[Any, ...]
    secret: bool


def _secret(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return "SecretStr" in str(info.annotation) or (isinstance(extra, dict) and "secret" in extra)


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return (True, False) if annotation is bool else ()


def catalogue(section: type[Section] = Settings, prefix: str = "") -> Iterator[Key]:
    """Yield every setting in the order of the classes."""
    for name, info in section.model_fields.items():
        path = f"{prefix}{name}"
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from catalogue(inner, f"{path}.")
            continue
        items = [a for a in get_args(inner) if isinstance(a, type) and issubclass(a, Section)]
        if get_origin(inner) is list and items:
            yield from catalogue(items[0], f"{path}[].")
            continue
        extra = info.json_schema_extra
        default = info.examples[0] if info.examples else info.default
        yield Key(
            path=path,
            section=section,
            default=None if default is PydanticUndefined else default,
            unit=str(extra["unit"]) if isinstance(extra, dict) and "unit" in extra else None,
            meaning=info.description or "",
            choices=_choices(inner),
            secret=_secret(info),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and where each one that is not a default came from, by dotted path."""

    settings: Settings
    origins: Mapping[str, str] = field(default_factory=dict)

    def effective(self) -> list[dict[str, Any]]:
        """Return `key`, `value` and `source` of every setting, secrets masked."""
        secrets = {key.path for key in catalogue() if key.secret}
        return [
            {"key": path, "value": _masked(value, path, secrets), "source": self._source(path)}
            for path, value in _leaves(self.settings.model_dump(mode="python"))
        ]

    def _source(self, path: str) -> str:
        while path:
            if path in self.origins:
                return self.origins[path]
            path = re.sub(r"(\.[^.\[]+|\[\d+\]|^[^.\[]+)$", "", path)
        return "default"


def load(
    file: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Loaded:
    """Read the settings from all places.

    Args:
        file: a TOML file, or None for none.
        environ: the environment; by default that of this process.
        overrides: dotted path to text, from the command line.

    Raises:
        Misconfigured: a file cannot be read, a key is unknown or a value cannot be used.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if file is not None:
        table = _read_toml(file)
        for path, _ in _leaves(table):
            origins[path] = f"file {file}"
        values = table
    for name, text in sorted((os.environ if environ is None else environ).items()):
        if (found := _from_environment(name, text)) is not None:
            path, value = found
            _put(values, path, value, origins, f"environment {name}")
    for path, text in (overrides or {}).items():
        _put(values, path, _parsed(path, text), origins, "command line")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _misconfigured(error, origins) from None
    return Loaded(settings=settings, origins=origins)


def masked_url(url: str) -> str:
    """Return a URL without its password."""
    return re.sub(r"(?<=://)([^/@:]*):[^@/]*@", rf"\1:{MASK}@", url)


def nearest(path: str) -> str | None:
    """Return the known key that looks most like this one."""
    plain = re.sub(r"\[\d+\]", "[]", path)
    known = [key.path for key in catalogue()]
    known += sorted({prefix for path in known for prefix in _prefixes(path)})
    found = difflib.get_close_matches(plain, known, n=1, cutoff=0.5)
    if not found:
        last = plain.rsplit(".", 1)[-1]
        by_last = {path.rsplit(".", 1)[-1]: path for path in reversed(known)}
        found = [by_last[name] for name in difflib.get_close_matches(last, by_last, n=1)]
    return found[0] if found else None


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    for end in range(1, len(parts)):
        yield ".".join(parts[:end])


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(str(file), f"is not TOML: {error}") from None


def _from_environment(name: str, text: str) -> tuple[str, Any] | None:
    if not name.startswith(ENV_PREFIX) or name.startswith(ENV_RESERVED):
        return None
    known = {_environment_name(path): path for path in _settable()}
    if name in known:
        return known[name], _parsed(known[name], text)
    bare = name.removesuffix("_FILE")
    if bare in known and bare != name:
        try:
            content = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(name, f"cannot read {text!r}: {error}") from None
        return known[bare], _parsed(known[bare], content.strip("\r\n"))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5 if "__" in name else 0.8)
    # A variable of somebody else may begin with CPO_ too; one with our separator is meant for us.
    if close or "__" in name:
        hint = f"; did you mean {close[0]}?" if close else ""
        raise Misconfigured(name, f"unknown setting{hint}")
    return None


def _settable() -> Iterator[str]:
    """Yield the paths that one variable can set: an array only as a whole."""
    for key in catalogue():
        for path in (*_prefixes(key.path), key.path):
            if "[]" not in path.removesuffix("[]"):
                yield path.removesuffix("[]")


def _environment_name(path: str) -> str:
    return ENV_PREFIX + path.replace(".", "__").upper()


def _parsed(path: str, text: str) -> Any:
    """Read text as the setting's type; arrays and tables are JSON."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise Misconfigured(path, f"is not JSON: {error}") from None
    return text or None


def _put(
    values: dict[str, Any], path: str, value: Any, origins: dict[str, str], origin: str
) -> None:
    *parents, last = path.split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise Misconfigured(path, f"{name} is not a table")
    table[last] = value
    for old in [old for old in origins if old.startswith((f"{path}.", f"{path}["))]:
        del origins[old]
    origins[path] = origin


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def _masked(value: Any, path: str, secrets: set[str]) -> Any:
    if re.sub(r"\[\d+\]", "[]", path) in secrets and value is not None:
        return masked_url(value) if isinstance(value, str) else MASK
    return str(value) if isinstance(value, Path) else value


def _misconfigured(error: ValidationError, origins: Mapping[str, str]) -> Misconfigured:
    first = error.errors(include_url=False, include_input=False)[0]
    path = _dotted(first["loc"])
    origin = next((o for p, o in origins.items() if p == path or p.startswith(path + ".")), None)
    where = f" ({origin})" if origin else ""
    if first["type"] == "extra_forbidden":
        known = nearest(path)
        hint = f"; did you mean {known}?" if known else ""
        return Misconfigured(path, f"unknown setting{hint}{where}")
    problem = first["msg"].removeprefix("Value error, ")
    return Misconfigured(path or "settings", f"{problem[:1].lower()}{problem[1:]}{where}")


def _dotted(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")
